//! SIGKILL at every stage of an order and of its fetch: whatever was acknowledged is fetched and scored in the end, and its workitem is
//! completed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::ground::{Engine, Stage};
use crate::stage::archive::{Archive, Mode};
use crate::stage::ledger::ask;
use crate::stage::load::client;
use crate::stage::server::{Osteon, Settings, was_killed};
use crate::stage::study::{Study, uid};
use crate::table::Row;

/// Where a process may die, in the order in which an order comes by.
const STAGES: [&str; 11] = [
    "order.before-commit",
    "order.after-commit",
    "fetch.after-list",
    "fetch.after-instance",
    "fetch.before-commit",
    "fetch.after-commit",
    "settle.before-commit",
    "settle.after-commit",
    "made.before-begin",
    "made.before-commit",
    "made.after-commit",
];

/// A fetch whose worker was killed is taken again when its lease of a minute is over.
const SETTLED_WITHIN: Duration = Duration::from_secs(150);

/// What was acknowledged.
#[derive(Clone, Debug)]
enum Order {
    Study(String),
    Workitem { study: String, workitem: String },
}

impl Order {
    /// Of study `number`, by turns over REST and by a workitem.
    fn of(study: &Study, number: u64) -> Self {
        let study = study.uid.clone();
        if number.is_multiple_of(2) {
            Self::Study(study)
        } else {
            let workitem = format!("{study}.9");
            Self::Workitem { study, workitem }
        }
    }

    /// Whether it was acknowledged.
    async fn place(&self, client: &reqwest::Client, door: &str, study: &Study) -> bool {
        let request = match self {
            Self::Study(study) => client
                .post(format!("{door}/v1/studies/{study}/score"))
                .body(json!({ "peer": "archive" }).to_string()),
            Self::Workitem { workitem, .. } => client
                .post(format!("{door}/dicom-web/workitems?{workitem}"))
                .header("content-type", "application/dicom+json")
                .body(workitem_of(study).to_string()),
        };
        let answer = request.timeout(Duration::from_secs(5)).send().await;
        // what was kept although its sender never heard of it is there already
        answer.is_ok_and(|answer| answer.status().is_success() || answer.status() == StatusCode::CONFLICT)
    }

    fn study(&self) -> &str {
        match self {
            Self::Study(study) | Self::Workitem { study, .. } => study,
        }
    }

    /// Whether nobody knows of it any more.
    async fn is_lost(&self, client: &reqwest::Client, door: &str) -> bool {
        let mut paths = vec![format!("/v1/studies/{}", self.study())];
        if let Self::Workitem { workitem, .. } = self {
            paths.push(format!("/dicom-web/workitems/{workitem}"));
        }
        for path in paths {
            if ask(client, door, &path)
                .await
                .is_none_or(|(status, _)| status != 200)
            {
                return true;
            }
        }
        false
    }

    /// Whether one content of its study has several outcomes.
    async fn was_scored_twice(&self, client: &reqwest::Client, door: &str) -> bool {
        let path = format!("/v1/studies/{}/timeline", self.study());
        let events = of(client, door, &path, |body| body["events"].clone()).await;
        let scored = events.as_array().into_iter().flatten();
        let generations: Vec<_> = scored
            .filter(|event| event["kind"] == "scored")
            .map(|event| event["generation"].to_string())
            .collect();
        generations.iter().collect::<BTreeSet<_>>().len() < generations.len()
    }

    /// Where it stands: `done`, or what it is instead.
    async fn stands(&self, client: &reqwest::Client, door: &str) -> String {
        let study = self.study();
        let state = of(client, door, &format!("/v1/studies/{study}"), |body| {
            body["state"].clone()
        })
        .await;
        let workitem = match self {
            Self::Study(_) => "COMPLETED".into(),
            Self::Workitem { workitem, .. } => {
                let path = format!("/dicom-web/workitems/{workitem}");
                of(client, door, &path, |body| {
                    body[0]["00741000"]["Value"][0].clone()
                })
                .await
            }
        };
        if (&state, &workitem) == (&"scored".into(), &"COMPLETED".into()) {
            "done".to_owned()
        } else {
            format!("study {state}, workitem {workitem}")
        }
    }
}

async fn of(client: &reqwest::Client, door: &str, path: &str, part: impl Fn(&Value) -> Value) -> Value {
    ask(client, door, path)
        .await
        .map(|(_, body)| part(&body))
        .unwrap_or_default()
}

/// An order for all images of a study, which the archive has.
fn workitem_of(study: &Study) -> Value {
    let references: Vec<_> = study
        .images
        .iter()
        .map(|image| json!({ "00081155": { "vr": "UI", "Value": [image.uid] } }))
        .collect();
    let place = json!({ "00080054": { "vr": "AE", "Value": ["ARCHIVE"] } });
    json!({ "00404021": { "vr": "SQ", "Value": [{
        "0020000D": { "vr": "UI", "Value": [study.uid] },
        "00081199": { "vr": "SQ", "Value": references },
        "0040E021": { "vr": "SQ", "Value": [place] },
    }]}})
}

pub(crate) async fn run(stage: &Stage, engine: Engine) -> Result<Vec<Row>, String> {
    let mut row = Row::new(
        "orders",
        "SIGKILL while studies are ordered and fetched",
        engine.name(),
    );
    let ground = stage.ground("orders", engine)?;
    let archive = Archive::start(Mode::ShortPages(2)).await;
    let config = ground.folder.join("osteon.toml");
    let text = format!(
        "[[destinations]]\nname = \"archive\"\nkind = \"stow\"\nuse = [\"studies\"]\nae-title = \"ARCHIVE\"\nurl = \"{}\"\n",
        archive.url()
    );
    std::fs::write(&config, text).map_err(|error| error.to_string())?;
    let mut settings = Settings {
        // a study may be under way in every one of these deaths
        max_attempts: 1000,
        ..ground.settings("ordered")
    };
    let arguments = [
        "--config",
        &config.display().to_string(),
        "--fetch-attempts",
        "1000",
    ];
    settings.arguments.extend(arguments.map(str::to_owned));
    let (door, client) = (settings.url(), client());

    let (mut orders, mut number, mut kills, mut missed) = (Vec::new(), 0, 0, Vec::new());
    for round in 0..if stage.quick() { 1 } else { 8 } {
        for place in STAGES {
            let armed = settings.armed(format!("{place}={}*off->return(kill)", round % 3));
            let mut server = Osteon::spawn(&armed)?;
            let began = Instant::now();
            loop {
                if let Some(status) = server.exited() {
                    if !was_killed(status) {
                        return Err(format!(
                            "at {place} it ended with {status}: {}",
                            server.last_words()
                        ));
                    }
                    kills += 1;
                    break;
                }
                if began.elapsed() > Duration::from_secs(15) {
                    missed.push(place);
                    server.kill();
                    break;
                }
                let study = Study::new(&uid(ground.run, number), 3, 64);
                for image in &study.images {
                    archive.hold(image.bytes.clone());
                }
                let order = Order::of(&study, number);
                if order.place(&client, &door, &study).await {
                    orders.push(order);
                    number += 1;
                }
                sleep(Duration::from_millis(150)).await;
            }
        }
    }

    let _server = Osteon::start(&settings).await?;
    let began = Instant::now();
    let mut waiting = orders.clone();
    while !waiting.is_empty() && began.elapsed() < SETTLED_WITHIN {
        let mut still = Vec::new();
        for order in waiting {
            if order.stands(&client, &door).await != "done" {
                still.push(order);
            }
        }
        waiting = still;
        sleep(Duration::from_millis(500)).await;
    }
    row.done = format!("{kills} kills; {} orders acknowledged", orders.len());
    let (mut lost, mut doubled) = (0, 0);
    for order in &orders {
        lost += usize::from(order.is_lost(&client, &door).await);
        doubled += usize::from(order.was_scored_twice(&client, &door).await);
    }
    row.counts = Some([lost, doubled, waiting.len()]);
    row.damage = lost + doubled > 0;
    row.must(
        !row.damage,
        format!("{lost} orders are lost and {doubled} were scored twice"),
    );
    if let Some(order) = waiting.first() {
        let stands = order.stands(&client, &door).await;
        row.must(
            false,
            format!("{} orders have no end: {order:?} is {stands}", waiting.len()),
        );
    }
    row.must(
        !orders.is_empty(),
        "nothing was acknowledged: the test has shown nothing",
    );
    row.must(missed.is_empty(), format!("no order came by {missed:?}"));
    row.figure(format!("{} instances fetched", archive.requests().retrievals));
    row.figure(format!(
        "all ended {:.0} s after the last kill",
        began.elapsed().as_secs_f64()
    ));
    Ok(vec![row])
}

//! The same image fifty times at once, at several doors, makes one study with one result; a late image makes exactly one more, which says what
//! it supersedes.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::sleep;

use crate::ground::{Engine, Stage};
use crate::stage::ledger::{Ledger, ask};
use crate::stage::load::{client, store};
use crate::stage::server::{Osteon, Settings};
use crate::stage::study::{Study, uid};
use crate::table::Row;

const TIMES: usize = 50;

pub(crate) async fn run(stage: &Stage, engine: Engine) -> Result<Vec<Row>, String> {
    let ground = stage.ground("duplicates", engine)?;
    let first = Settings {
        lease_seconds: 10.0,
        ..ground.settings("door-1")
    };
    let mut servers = vec![Osteon::start(&first).await?];
    if engine == Engine::Postgres {
        for name in ["door-2", "door-3"] {
            servers.push(Osteon::start(&first.beside(name)).await?);
        }
    }
    let doors: Vec<String> = servers.iter().map(|server| server.settings.url()).collect();
    let ledger = Ledger::default();
    let number = if stage.quick() { 6 } else { 40 };
    let studies: Vec<Study> = (0..number)
        .map(|index| Study::new(&uid(ground.run, index), 2, 64))
        .collect();

    let mut row = Row::new(
        "duplicates",
        format!("the same image {TIMES} times at once"),
        engine.name(),
    );
    let client = client();
    for study in &studies {
        let image = &study.images[..1];
        ledger.sent(study);
        let sends = (0..TIMES).map(|index| store(&client, &doors[index % doors.len()], image));
        let answers = join_all(sends).await;
        let statuses: Vec<u16> = answers
            .iter()
            .map(|answer| answer.status)
            .filter(|status| *status != 200)
            .collect();
        row.must(
            statuses.is_empty(),
            format!(
                "{} of {TIMES} were answered {:?}",
                statuses.len(),
                statuses.first()
            ),
        );
        ledger.acknowledged(&study.uid, &[image[0].uid.clone()]);
    }
    let audit = ledger.audit(&doors, Duration::from_secs(30)).await;
    row.done = format!("{number} studies, {TIMES} times each, at {} doors", doors.len());
    row.audited(&audit);
    for study in &studies {
        let body = look(&client, &doors[0], &study.uid).await;
        let [generation, instances] = ["generation", "instances"].map(|key| body[key].as_i64());
        row.must(
            (generation, instances) == (Some(1), Some(1)),
            format!(
                "{} has generation {generation:?} and {instances:?} images",
                study.uid
            ),
        );
    }

    let mut late = Row::new(
        "duplicates",
        "a late image makes one superseding result",
        engine.name(),
    );
    let mut former = Vec::new();
    for (index, study) in studies.iter().enumerate() {
        former.push(look(&client, &doors[0], &study.uid).await["result_key"].clone());
        let answer = store(&client, &doors[index % doors.len()], &study.images[1..]).await;
        ledger.acknowledged(&study.uid, &answer.stored);
    }
    sleep(Duration::from_millis(500)).await;
    let audit = ledger.audit(&doors, Duration::from_secs(30)).await;
    late.done = format!("{number} studies");
    late.audited(&audit);
    for (study, former) in studies.iter().zip(&former) {
        let body = look(&client, &doors[0], &study.uid).await;
        late.must(
            body["generation"] == 2,
            format!("{} has generation {}", study.uid, body["generation"]),
        );
        late.must(
            body["result_key"] != *former,
            format!("{} kept its result_key", study.uid),
        );
        late.must(
            body["supersedes"]
                .to_string()
                .contains(former.as_str().unwrap_or("?")),
            format!("{} supersedes {} and not {former}", study.uid, body["supersedes"]),
        );
    }
    Ok(vec![row, late])
}

async fn look(client: &reqwest::Client, door: &str, study: &str) -> Value {
    let answer = ask(client, door, &format!("/v1/studies/{study}")).await;
    answer.map(|(_, body)| body).unwrap_or_default()
}

//! F8: the archive that results go to is down, slow, full, cuts the line, or says that it stored and did not. In the end it has every result
//! exactly once; what it will never take is dead, visible, and goes on when somebody says so.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use osteon::report::{capture_uid, report_uid};
use serde_json::Value;
use tokio::time::sleep;

use crate::ground::{Engine, Ground, Stage};
use crate::stage::archive::{Archive, Mode};
use crate::stage::ledger::{Ledger, ask};
use crate::stage::load::{client, store};
use crate::stage::server::{Osteon, Settings, free_port, metric_becomes};
use crate::stage::study::{Study, uid};
use crate::table::Row;

/// Studies in each phase.
const STUDIES: u64 = 5;
/// More images has no study of these tests.
const MOST_IMAGES: usize = 8;
/// After the longest wait between two attempts, everything has to be there.
const DELIVERED_WITHIN: Duration = Duration::from_secs(90);

/// One way to misbehave.
struct Phase {
    name: &'static str,
    mode: Mode,
    /// Whether results may arrive all the same.
    arrives: bool,
}

fn phases() -> Vec<Phase> {
    let phase = |name, mode, arrives| Phase { name, mode, arrives };
    vec![
        phase("slow", Mode::Slow(Duration::from_secs(3)), true),
        phase("unavailable", Mode::Unavailable, false),
        phase("out of resources", Mode::Rejecting(0xA700), false),
        phase("lying", Mode::Lying, false),
        phase("cut after storing", Mode::CutAfterStoring, true),
        phase("cut before storing", Mode::CutBeforeStoring, false),
    ]
}

struct Scene {
    settings: Settings,
    ledger: Ledger,
    run: u64,
    sent: u64,
    client: reqwest::Client,
}

impl Scene {
    /// Starts a server that delivers to the archive at this address; nothing is sent yet.
    async fn set(
        ground: &Ground,
        archive: SocketAddr,
        mut settings: Settings,
    ) -> Result<(Self, Osteon), String> {
        let config = configuration(&ground.folder, archive)?;
        settings
            .arguments
            .extend(["--config".to_owned(), config.display().to_string()]);
        let server = Osteon::start(&settings).await?;
        let scene = Self {
            settings,
            ledger: Ledger::default(),
            run: ground.run,
            sent: 0,
            client: client(),
        };
        Ok((scene, server))
    }

    /// Sends studies and waits until they are scored.
    async fn play(&mut self) -> Result<Vec<String>, String> {
        let mut studies = Vec::new();
        for _ in 0..STUDIES {
            let study = Study::new(&uid(self.run, self.sent), 1, 64);
            self.sent += 1;
            self.ledger.sent(&study);
            let answer = store(&self.client, &self.settings.url(), &study.images).await;
            if answer.status != 200 {
                return Err(format!("a study was answered with {}", answer.status));
            }
            self.ledger.acknowledged(&study.uid, &answer.stored);
            studies.push(study.uid);
        }
        Ok(studies)
    }

    async fn deliveries(&self, study: &str) -> Vec<Value> {
        let answer = ask(
            &self.client,
            &self.settings.url(),
            &format!("/v1/studies/{study}"),
        )
        .await;
        answer
            .and_then(|(_, body)| body["deliveries"].as_array().cloned())
            .unwrap_or_default()
    }

    /// How many of these studies have a delivery in this state.
    async fn count(&self, studies: &[String], state: &str) -> usize {
        let mut count = 0;
        for study in studies {
            let deliveries = self.deliveries(study).await;
            count += usize::from(
                !deliveries.is_empty() && deliveries.iter().all(|delivery| delivery["state"] == state),
            );
        }
        count
    }

    /// Waits until all of them are in this state.
    async fn until(&self, studies: &[String], state: &str, within: Duration) -> Result<Duration, String> {
        let began = Instant::now();
        loop {
            let count = self.count(studies, state).await;
            if count == studies.len() {
                return Ok(began.elapsed());
            }
            if began.elapsed() > within {
                let example = self.deliveries(&studies[0]).await;
                return Err(format!(
                    "{count} of {} are {state} after {within:?}, for example {example:?}",
                    studies.len()
                ));
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
}

pub(crate) async fn run(stage: &Stage, engine: Engine) -> Result<Vec<Row>, String> {
    let mut row = Row::new("F8", "an archive that misbehaves", engine.name());
    let ground = stage.ground("F8", engine)?;
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (mut scene, _server) = Scene::set(&ground, address, ground.settings("delivering")).await?;

    // nobody is there at first
    let down = scene.play().await?;
    sleep(Duration::from_secs(6)).await;
    row.must(
        scene.count(&down, "delivered").await == 0,
        "it says delivered, and there is no archive",
    );
    let archive = Archive::start_at(address, Mode::Accepting).await;
    let mut slowest = scene.until(&down, "delivered", DELIVERED_WITHIN).await?;
    let mut studies = down;
    for Phase { name, mode, arrives } in phases() {
        archive.set(mode);
        let before = archive.copies().len();
        let sent = scene.play().await?;
        sleep(Duration::from_secs(if stage.quick() { 4 } else { 20 })).await;
        if !arrives {
            row.must(
                scene.count(&sent, "delivered").await == 0,
                format!("{name}: it says delivered, and nothing arrived"),
            );
            row.must(
                archive.copies().len() == before,
                format!("{name}: something arrived"),
            );
        }
        archive.set(Mode::Accepting);
        match scene.until(&sent, "delivered", DELIVERED_WITHIN).await {
            Ok(took) => slowest = slowest.max(took),
            Err(error) => row.must(false, format!("{name}: {error}")),
        }
        studies.extend(sent);
    }
    let backoff = gaps(&scene, &studies).await;
    let mut dead = letters(stage, engine, &mut scene, &archive, &mut studies).await?;

    let audit = scene
        .ledger
        .audit(&[scene.settings.url()], Duration::from_secs(30))
        .await;
    let objects = exactly_once(&archive, &scene.settings.url(), &studies, &mut row).await;
    row.done = format!(
        "{} ways; {} results, {objects} objects at the archive",
        1 + phases().len(),
        studies.len()
    );
    row.audited(&audit);
    let rising = backoff.windows(2).all(|pair| pair[1] > pair[0]);
    row.must(
        backoff.len() >= 2 && rising,
        format!("the mean waits between attempts are {backoff:.1?} s: they do not rise"),
    );
    row.figure(format!(
        "waits {backoff:.1?} s, delivered {:.0} s after",
        slowest.as_secs_f64()
    ));
    dead.engine = engine.name().to_owned();
    Ok(vec![row, dead, control(stage, engine).await?])
}

/// A server that believes what the archive answers: of one that answers 200 and stores nothing, it must say delivered.
async fn control(stage: &Stage, engine: Engine) -> Result<Row, String> {
    let mut row = Row::new("F8", "control: the archive is believed", engine.name());
    let ground = stage.ground("F8-control", engine)?;
    let archive = Archive::start(Mode::Lying).await;
    let trusting = ground.settings("trusting").armed("deliver.no-verify=return(on)");
    let (mut scene, _server) = Scene::set(&ground, archive.address, trusting).await?;
    let sent = scene.play().await?;
    let said = scene.until(&sent, "delivered", DELIVERED_WITHIN).await;
    let there = archive.copies().len();
    row.done = format!("{} results, {there} objects at the archive", sent.len());
    row.must(
        said.is_ok() && there == 0,
        "nothing was called delivered that is not there: the test cannot fail",
    );
    Ok(row)
}

/// The mean time in seconds between the first and second failure of a delivery, the second and third, and so on.
async fn gaps(scene: &Scene, studies: &[String]) -> Vec<f64> {
    let mut all: Vec<Vec<f64>> = Vec::new();
    for study in studies {
        let timeline = ask(
            &scene.client,
            &scene.settings.url(),
            &format!("/v1/studies/{study}/timeline"),
        )
        .await;
        let events = timeline
            .and_then(|(_, body)| body["events"].as_array().cloned())
            .unwrap_or_default();
        let failures: Vec<f64> = events
            .iter()
            .filter(|event| event["kind"] == "delivery-failed")
            .filter_map(|event| chrono::DateTime::parse_from_rfc3339(event["at"].as_str()?).ok())
            .map(|at| at.timestamp_millis() as f64 / 1000.0)
            .collect();
        for (index, pair) in failures.windows(2).enumerate() {
            all.resize(all.len().max(index + 1), Vec::new());
            all[index].push(pair[1] - pair[0]);
        }
    }
    // a mean of two is none
    let enough = all.iter().take_while(|gaps| gaps.len() > 2);
    enough
        .map(|gaps| gaps.iter().sum::<f64>() / gaps.len() as f64)
        .collect()
}

/// What the archive will never take is dead at once, is counted, and goes on when somebody says so.
async fn letters(
    stage: &Stage,
    engine: Engine,
    scene: &mut Scene,
    archive: &Archive,
    studies: &mut Vec<String>,
) -> Result<Row, String> {
    let mut row = Row::new("F8", "dead letters, and their second life", engine.name());
    let began = Instant::now();
    archive.set(Mode::Rejecting(0xC000));
    let refused = scene.play().await?;
    scene.until(&refused, "dead", DELIVERED_WITHIN).await?;
    let example = scene.deliveries(&refused[0]).await;
    row.must(
        example[0]["cause"]
            .as_str()
            .is_some_and(|cause| cause.contains("C000")),
        format!("the cause is {}", example[0]["cause"]),
    );
    let counted = metric_becomes(&scene.settings.url(), "osteon_jobs_dead", refused.len()).await;
    row.must(counted.is_ok(), counted.err().unwrap_or_default());
    sleep(Duration::from_secs(if stage.quick() { 2 } else { 15 })).await;
    row.must(
        scene.count(&refused, "dead").await == refused.len(),
        "a dead letter did not stay dead",
    );
    archive.set(Mode::Accepting);
    for study in &refused {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_osteon"));
        command.args(["jobs", "retry", study, "--database", &scene.settings.database]);
        command.arg("--data").arg(&scene.settings.data);
        let output = command.output().map_err(|error| error.to_string())?;
        row.must(
            output.status.success(),
            format!(
                "osteon jobs retry: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ),
        );
    }
    match scene.until(&refused, "delivered", DELIVERED_WITHIN).await {
        Ok(took) => row.figure(format!(
            "delivered {:.1} s after osteon jobs retry",
            took.as_secs_f64()
        )),
        Err(error) => row.must(false, error),
    }
    row.done = format!("{} results refused for good", refused.len());
    row.took = began.elapsed();
    studies.extend(refused);
    Ok(row)
}

/// A configuration file with one archive as the only destination.
pub(crate) fn configuration(folder: &Path, address: SocketAddr) -> Result<PathBuf, String> {
    let file = folder.join("osteon.toml");
    let text = format!(
        "[[destinations]]\nname = \"archive\"\nkind = \"stow\"\nurl = \"http://{address}/dicom-web\"\ntimeout-seconds = 5\n"
    );
    std::fs::write(&file, text).map_err(|error| error.to_string())?;
    Ok(file)
}

/// Waits for deliveries, and says which studies have one that did not come through.
pub(crate) async fn undelivered(door: &str, studies: &[String], within: Duration) -> Vec<String> {
    let (client, mut progress) = (client(), Instant::now());
    let mut waiting = studies.to_vec();
    loop {
        let (mut still, before) = (Vec::new(), waiting.len());
        for study in waiting {
            let answer = ask(&client, door, &format!("/v1/studies/{study}")).await;
            let deliveries = answer
                .and_then(|(_, body)| body["deliveries"].as_array().cloned())
                .unwrap_or_default();
            if deliveries.is_empty() || !deliveries.iter().all(has_ended) {
                still.push(study);
            }
        }
        if still.len() < before {
            progress = Instant::now();
        }
        if still.is_empty() || progress.elapsed() > within {
            return still;
        }
        waiting = still;
        sleep(Duration::from_millis(500)).await;
    }
}

/// Whether a delivery came through, or needs to no longer.
fn has_ended(delivery: &serde_json::Value) -> bool {
    delivery["state"] == "delivered" || delivery["state"] == "superseded"
}

/// Holds the archive against what the server says was delivered: the report of every result of every study, the heat maps that were made
/// of the latest, and each of them once. Says how many there are.
pub(crate) async fn exactly_once(archive: &Archive, door: &str, studies: &[String], row: &mut Row) -> usize {
    let copies = archive.copies();
    let twice: Vec<_> = copies.iter().filter(|(_, count)| **count != 1).collect();
    row.must(
        twice.is_empty(),
        format!(
            "{} objects were stored more than once: {:?}",
            twice.len(),
            twice.first()
        ),
    );
    let (client, mut wanted, mut allowed) = (client(), BTreeSet::new(), BTreeSet::new());
    for study in studies {
        let answer = ask(&client, door, &format!("/v1/studies/{study}")).await;
        // a study that was complete before all of it had come again has a result for each of its contents
        for delivery in answer
            .iter()
            .flat_map(|(_, body)| body["deliveries"].as_array())
            .flatten()
        {
            let key = delivery["result_key"].as_str().unwrap_or_default();
            // what a later result took the place of need not have arrived
            if delivery["state"] == "delivered" {
                wanted.insert(report_uid(key));
            }
            allowed.insert(report_uid(key));
            // the images of test studies are named after them; an earlier result may have fewer
            allowed.extend((1..=MOST_IMAGES).map(|image| capture_uid(key, &format!("{study}.{image}"))));
        }
        let latest = answer
            .iter()
            .flat_map(|(_, body)| body["objects"].as_array())
            .flatten();
        wanted.extend(latest.filter_map(|object| object["sop_instance_uid"].as_str().map(str::to_owned)));
    }
    let missing = wanted.iter().filter(|uid| !copies.contains_key(*uid)).count();
    let strangers = copies
        .keys()
        .filter(|uid| !wanted.contains(*uid) && !allowed.contains(*uid))
        .count();
    row.must(
        missing == 0 && strangers == 0 && wanted.len() >= studies.len(),
        format!(
            "the archive lacks {missing} of {} objects and has {strangers} that are of no result",
            wanted.len()
        ),
    );
    copies.len()
}

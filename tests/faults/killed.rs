//! F1: SIGKILL at every stage and at random moments, under load; whatever was acknowledged has its one outcome in the end.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::destinations::{configuration, exactly_once, undelivered};
use crate::ground::{Engine, Stage};
use crate::stage::archive::{Archive, Mode};
use crate::stage::ledger::Ledger;
use crate::stage::load::{Load, Plan};
use crate::stage::server::{Osteon, Settings, was_killed};
use crate::table::Row;

/// Where a process may die, in the order in which a study comes by.
const STAGES: [&str; 18] = [
    "accept.before-object",
    "accept.after-object",
    "accept.before-commit",
    "accept.after-commit",
    "enqueue.before-commit",
    "enqueue.after-commit",
    "claim.after-commit",
    "analyse.start",
    "analyse.before-settle",
    "settle.before-begin",
    "settle.before-commit",
    "settle.after-commit",
    "made.before-begin",
    "made.before-commit",
    "made.after-commit",
    "deliver.before-send",
    "deliver.after-send",
    "deliver.after-commit",
];

/// When the next process dies.
enum Death {
    /// When a study has come by this stage so many times.
    At(&'static str, u32),
    /// So long after it was started.
    After(Duration),
}

/// Every stage several times, with deaths at random in between. Not random from run to run, so that a failure can be repeated.
fn deaths(rounds: u32) -> Vec<Death> {
    let mut deaths = Vec::new();
    for round in 0..rounds {
        for (index, stage) in STAGES.into_iter().enumerate() {
            let turn = round * STAGES.len() as u32 + index as u32;
            deaths.push(Death::At(stage, turn * 7 % 11));
            if index % 2 == 0 {
                // from before it listens to under full load
                deaths.push(Death::After(Duration::from_millis(u64::from(turn * 383 % 1500))));
            }
        }
    }
    deaths
}

pub(crate) async fn run(stage: &Stage, engine: Engine) -> Result<Vec<Row>, String> {
    let mut row = Row::new("F1", "SIGKILL at every stage and at random", engine.name());
    let ground = stage.ground("F1", engine)?;
    let archive = Archive::start(Mode::Accepting).await;
    let config = configuration(&ground.folder, archive.address)?;
    let mut settings = Settings {
        // a study may be under way in every one of these deaths
        max_attempts: 1000,
        lease_seconds: 2.0,
        ..ground.settings("killed")
    };
    settings
        .arguments
        .extend(["--config".to_owned(), config.display().to_string()]);
    let doors = vec![settings.url()];
    let ledger = Ledger::default();
    let plan = Plan {
        pause: Duration::from_millis(100),
        ..Plan::new(ground.run, &doors)
    };
    let load = Load::start(plan, &ledger);
    let stop = CancellationToken::new();
    let watch = tokio::spawn(ledger.clone().watch(doors.clone(), stop.clone()));

    let (mut at_stages, mut at_random, mut missed) = (0, 0, Vec::new());
    for death in deaths(if stage.quick() { 1 } else { 10 }) {
        match death {
            Death::At(place, times) => {
                let mut server =
                    Osteon::spawn(&settings.armed(format!("{place}={times}*off->return(kill)")))?;
                match server.ended(Duration::from_secs(12)).await {
                    Some(status) if was_killed(status) => at_stages += 1,
                    Some(status) => {
                        return Err(format!(
                            "at {place} the server ended with {status}: {}",
                            server.last_words()
                        ));
                    }
                    None => {
                        missed.push(place);
                        server.kill();
                    }
                }
            }
            Death::After(moment) => {
                let mut server = Osteon::spawn(&settings)?;
                sleep(moment).await;
                if let Some(status) = server.exited() {
                    return Err(format!(
                        "the server ended by itself with {status}: {}",
                        server.last_words()
                    ));
                }
                server.kill();
                at_random += 1;
            }
        }
    }
    let _server = Osteon::start(&settings).await?;
    let sent = load.stop().await;
    let audit = ledger.audit(&doors, Duration::from_secs(60)).await;
    stop.cancel();
    let _ = watch.await;
    let studies = ledger.studies();
    let undelivered = undelivered(&doors[0], &studies, Duration::from_secs(60)).await;

    row.done = format!(
        "{at_stages} kills at stages, {at_random} at random; {sent} studies sent, {} acknowledged",
        audit.studies
    );
    row.audited(&audit);
    row.must(
        audit.state("scored") == audit.studies,
        format!("not all were scored: {:?}", audit.states),
    );
    let missing = ledger.missing_below(&ground.data);
    row.must(
        missing.is_empty(),
        format!(
            "{} acknowledged images are gone: {:?}",
            missing.len(),
            missing.first()
        ),
    );
    row.must(
        undelivered.is_empty(),
        format!(
            "{} results were not delivered: {:?}",
            undelivered.len(),
            undelivered.first()
        ),
    );
    let objects = exactly_once(&archive, &doors[0], &studies, &mut row).await;
    row.figure(format!("{objects} objects at the archive"));
    row.must(missed.is_empty(), format!("no study came by {missed:?}"));
    row.figure(format!(
        "last outcome {:.1} s after the last kill",
        audit.settled_after.as_secs_f64()
    ));
    Ok(vec![row, control(stage, engine).await?])
}

/// A server that acknowledges before the row is committed: kills must lose studies, else the test above shows nothing.
async fn control(stage: &Stage, engine: Engine) -> Result<Row, String> {
    let mut row = Row::new("F1", "control: acknowledged before it is durable", engine.name());
    let ground = stage.ground("F1-control", engine)?;
    let settings = Settings {
        max_attempts: 1000,
        lease_seconds: 2.0,
        ..ground.settings("careless")
    };
    let doors = vec![settings.url()];
    let ledger = Ledger::default();
    let load = Load::start(Plan::new(ground.run, &doors), &ledger);
    let kills = if stage.quick() { 6 } else { 20 };
    for kill in 0..kills {
        let careless = settings.armed("accept.no-fsync-order=return(on)");
        let mut server = Osteon::start(&careless).await?;
        sleep(Duration::from_millis(200 + kill * 37 % 300)).await;
        server.kill();
    }
    let _server = Osteon::start(&settings).await?;
    let sent = load.stop().await;
    let audit = ledger.audit(&doors, Duration::from_secs(30)).await;
    row.done = format!(
        "{kills} kills; {sent} studies sent, {} acknowledged",
        audit.studies
    );
    row.control(&audit, audit.lost.len(), "lost");
    Ok(row)
}

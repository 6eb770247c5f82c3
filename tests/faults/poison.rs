//! F3: one study in a hundred takes down, hangs or exhausts whatever analyses it; it is dead after exactly so many attempts, and all others
//! are scored.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::ground::{Engine, Stage};
use crate::stage::ledger::{Ledger, ask};
use crate::stage::load::{Load, Plan, client, store};
use crate::stage::server::{Settings, metric_becomes};
use crate::stage::study::{Study, poison};
use crate::stage::supervisor::Supervised;
use crate::table::Row;

const ATTEMPTS: u32 = 5;

pub(crate) async fn run(stage: &Stage, engine: Engine) -> Result<Vec<Row>, String> {
    let mut row = Row::new("F3", "1 % poison: abort, hang, memory, panic", engine.name());
    let ground = stage.ground("F3", engine)?;
    let settings = Settings {
        max_attempts: ATTEMPTS,
        lease_seconds: 2.0,
        ..ground.settings("poisoned")
    };
    let doors = vec![settings.url()];
    let supervised = Supervised::start(&settings);
    supervised.ready(Duration::from_secs(30)).await?;
    let ledger = Ledger::default();
    let plan = Plan {
        poison_every: 100,
        images: 1,
        pause: Duration::from_millis(10),
        ..Plan::new(ground.run, &doors)
    };
    let wanted = if stage.quick() { 420 } else { 2000 };
    let load = Load::start(plan, &ledger);
    let began = Instant::now();
    while load.sent() < wanted && began.elapsed() < Duration::from_secs(180) {
        sleep(Duration::from_millis(50)).await;
    }
    let sent = load.stop().await;
    let audit = ledger.audit(&doors, Duration::from_secs(120)).await;

    let (mut poisoned, mut innocent_failed, mut survived) = (0, Vec::new(), Vec::new());
    for study in ledger.studies() {
        let is_poison = study.contains(".666.");
        poisoned += usize::from(is_poison);
        let (state, claims) = fate(&doors[0], &study).await;
        if is_poison && (state != "failed" || claims != ATTEMPTS) {
            survived.push(format!("{study} {state} after {claims} claims"));
        } else if !is_poison && state != "scored" {
            innocent_failed.push(format!("{study} {state} after {claims} claims"));
        }
    }
    let dead = metric_becomes(&doors[0], "osteon_jobs_dead", poisoned).await;
    let ends = supervised.stop().await;
    row.done = format!(
        "{sent} studies sent, {} acknowledged, {poisoned} of them poison",
        audit.studies
    );
    row.audited(&audit);
    row.must(poisoned >= 4, "fewer than four were poison");
    row.must(
        survived.is_empty(),
        format!(
            "{} poison studies were not dead at {ATTEMPTS} attempts: {survived:?}",
            survived.len()
        ),
    );
    row.must(
        innocent_failed.is_empty(),
        format!(
            "{} others were not scored: {innocent_failed:?}",
            innocent_failed.len()
        ),
    );
    row.must(
        ends.crashed > 0,
        "the server never crashed: the poison did not work",
    );
    row.must(dead.is_ok(), dead.err().unwrap_or_default());
    row.figure(format!(
        "{} crashes, all settled after {:.0} s",
        ends.crashed,
        audit.settled_after.as_secs_f64()
    ));
    Ok(vec![row, control(stage, engine).await?])
}

/// State of a study, and how often it was claimed.
async fn fate(door: &str, study: &str) -> (String, u32) {
    let client = client();
    let Some((_, body)) = ask(&client, door, &format!("/v1/studies/{study}")).await else {
        return ("unknown".to_owned(), 0);
    };
    let timeline = ask(&client, door, &format!("/v1/studies/{study}/timeline")).await;
    let events = timeline
        .and_then(|(_, body)| body["events"].as_array().cloned())
        .unwrap_or_default();
    let of = |kind: &str| {
        let all = events
            .iter()
            .filter(|event| event["kind"] == kind && event["job"] != "deliver");
        all.count()
    };
    // what is put back untried, because it has to run alone, is no attempt
    let claims = of("claimed").saturating_sub(of("released"));
    (
        body["state"].as_str().unwrap_or("unknown").to_owned(),
        claims as u32,
    )
}

/// Attempts are not counted when a job is claimed: what takes the process down is tried for ever.
async fn control(stage: &Stage, engine: Engine) -> Result<Row, String> {
    let mut row = Row::new("F3", "control: attempts not counted at claim", engine.name());
    let ground = stage.ground("F3-control", engine)?;
    let settings = Settings {
        max_attempts: ATTEMPTS,
        lease_seconds: 0.3,
        ..ground.settings("uncounted").armed("claim.no-count=return(on)")
    };
    let supervised = Supervised::start(&settings);
    supervised.ready(Duration::from_secs(30)).await?;
    let study = Study::new(&poison(ground.run, 0, 1), 1, 64);
    let answer = store(&client(), &settings.url(), &study.images).await;
    if answer.status != 200 {
        return Err(format!("the poison was answered with {}", answer.status));
    }
    let began = Instant::now();
    let (mut state, mut crashes) = (String::new(), 0);
    while began.elapsed() < Duration::from_secs(45) && crashes <= ATTEMPTS && state != "failed" {
        sleep(Duration::from_millis(300)).await;
        crashes = supervised.ends().crashed;
        state = fate(&settings.url(), &study.uid).await.0;
    }
    supervised.stop().await;
    row.done = format!("1 poison study took the server down {crashes} times");
    row.must(
        crashes > ATTEMPTS && state != "failed",
        format!("it was {state} after {crashes} crashes: the test cannot fail"),
    );
    Ok(row)
}

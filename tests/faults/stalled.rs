//! F4: a worker stalls past its lease, another one takes the job, and the first one wakes up: what it writes late must change nothing.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::ground::{Engine, Stage};
use crate::stage::ledger::{Audit, Ledger};
use crate::stage::load::{Load, Plan};
use crate::stage::server::{Osteon, Settings, metric};
use crate::table::Row;

pub(crate) async fn run(stage: &Stage, engine: Engine) -> Result<Vec<Row>, String> {
    let seconds = if stage.quick() { 8 } else { 60 };
    let mut row = Row::new("F4", "a worker stalls past its lease", engine.name());
    let (audit, sent, fenced) = stalls(stage, engine, "", seconds).await?;
    row.done = format!("{sent} studies sent, {} acknowledged", audit.studies);
    row.audited(&audit);
    row.must(
        audit.state("scored") == audit.studies,
        format!("not all were scored: {:?}", audit.states),
    );
    row.must(
        fenced > 0.0,
        "no late write was fenced: nothing stalled past its lease",
    );
    row.figure(format!("{fenced} late writes fenced"));

    let mut control = Row::new("F4", "control: the token is not compared", engine.name());
    let (audit, sent, _) = stalls(stage, engine, "settle.no-fence=return(on);", seconds.min(15)).await?;
    control.done = format!("{sent} studies sent, {} acknowledged", audit.studies);
    control.control(&audit, audit.doubled.len(), "doubled");

    let mut rows = vec![row, control];
    if engine == Engine::Postgres {
        rows.push(held(stage, engine).await?);
    }
    Ok(rows)
}

/// In one of two processes one result in five is written two and a half leases late.
async fn stalls(
    stage: &Stage,
    engine: Engine,
    more: &str,
    seconds: u64,
) -> Result<(Audit, u64, f64), String> {
    let ground = stage.ground("F4", engine)?;
    let stalling = Settings {
        lease_seconds: 1.0,
        max_attempts: 50,
        ..ground
            .settings("stalling")
            .armed(format!("{more}settle.before-begin=20%return(slow:2500)"))
    };
    let _stalling = Osteon::start(&stalling).await?;
    let _steady = Osteon::start(&stalling.beside("steady").armed(more)).await?;
    let doors = vec![stalling.url()];
    let ledger = Ledger::default();
    let stop = CancellationToken::new();
    let watch = tokio::spawn(ledger.clone().watch(doors.clone(), stop.clone()));
    let plan = Plan {
        images: 1,
        ..Plan::new(ground.run, &doors)
    };
    let load = Load::start(plan, &ledger);
    sleep(Duration::from_secs(seconds)).await;
    let sent = load.stop().await;
    // until also the last sleeper has woken up
    let _ = ledger.audit(&doors, Duration::from_secs(60)).await;
    sleep(Duration::from_secs(3)).await;
    let audit = ledger.audit(&doors, Duration::from_secs(60)).await;
    stop.cancel();
    let _ = watch.await;
    let fenced = metric(&doors[0], "osteon_fenced_total").await.unwrap_or(0.0);
    Ok((audit, sent, fenced))
}

/// A whole replica is held by SIGSTOP again and again, in the middle of its jobs, while another one goes on.
async fn held(stage: &Stage, engine: Engine) -> Result<Row, String> {
    let mut row = Row::new("F4", "a replica is held by SIGSTOP", engine.name());
    let ground = stage.ground("F4-held", engine)?;
    let steady = Settings {
        lease_seconds: 1.0,
        max_attempts: 50,
        ..ground.settings("steady")
    };
    // its jobs take a while, so that it is held in the middle of one
    let halting = steady
        .beside("halting")
        .armed("settle.before-begin=return(slow:150)");
    let _going = Osteon::start(&steady).await?;
    let held = Osteon::start(&halting).await?;
    let doors = vec![steady.url()];
    let ledger = Ledger::default();
    let load = Load::start(Plan::new(ground.run, &doors), &ledger);
    let holds = if stage.quick() { 3 } else { 20 };
    let mut fenced = 0.0;
    for _ in 0..holds {
        sleep(Duration::from_millis(700)).await;
        held.signal(Signal::STOP);
        sleep(Duration::from_millis(2500)).await;
        held.signal(Signal::CONT);
    }
    sleep(Duration::from_secs(1)).await;
    let sent = load.stop().await;
    let both = vec![steady.url(), halting.url()];
    let audit = ledger.audit(&both, Duration::from_secs(60)).await;
    for door in &both {
        fenced += metric(door, "osteon_fenced_total").await.unwrap_or(0.0);
    }
    row.done = format!(
        "held {holds} times; {sent} studies sent, {} acknowledged",
        audit.studies
    );
    row.audited(&audit);
    row.must(
        audit.state("scored") == audit.studies,
        format!("not all were scored: {:?}", audit.states),
    );
    row.must(
        fenced > 0.0,
        "no late write was fenced: it was never held in the middle of a job",
    );
    row.figure(format!("{fenced} late writes fenced"));
    Ok(row)
}

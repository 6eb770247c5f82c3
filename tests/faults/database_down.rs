//! F9: PostgreSQL is stopped at once, as if its machine were lost, and comes back after some seconds.

use std::time::{Duration, Instant};

use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::ground::{Engine, Stage};
use crate::stage::ledger::{Ledger, ask};
use crate::stage::load::{Load, Plan, client};
use crate::stage::postgres::Postgres;
use crate::stage::server::{Osteon, ready};
use crate::table::Row;

/// How soon it must work again when the database is back.
const RESUMES_WITHIN: Duration = Duration::from_secs(30);

pub(crate) async fn run(stage: &Stage, engine: Engine) -> Result<Vec<Row>, String> {
    if engine == Engine::Sqlite {
        // it has no process to stop
        return Ok(Vec::new());
    }
    let mut row = Row::new("F9", "PostgreSQL stopped at once", engine.name());
    let ground = stage.ground("F9", engine)?;
    // one of its own, since it is stopped
    let postgres = block_in_place(|| Postgres::start(&ground.folder.join("postgres"), &[]))?;
    let mut settings = ground.settings("orphan");
    settings.database = postgres.database("osteon")?;
    let mut server = Osteon::start(&settings).await?;
    let doors = vec![settings.url()];
    let ledger = Ledger::default();
    let load = Load::start(Plan::new(ground.run, &doors), &ledger);

    let stops = if stage.quick() { 2 } else { 12 };
    let mut slowest = Duration::ZERO;
    let mut unexpected = Vec::new();
    for stop in 0..stops {
        sleep(Duration::from_millis(2500)).await;
        load.take();
        block_in_place(|| postgres.down("immediate"))?;
        sleep(Duration::from_secs(2 + stop % 3 * 2)).await;
        let live = ask(&client(), &doors[0], "/health/live")
            .await
            .map(|(status, _)| status);
        row.must(live == Some(200), "it was not live while the database was away");
        if stop == 0 {
            let ready = ready(&doors[0]).await;
            row.figure(format!(
                "readiness meanwhile {}",
                ready.map_or("silent".to_owned(), |status| status.to_string())
            ));
        }
        block_in_place(|| postgres.up())?;
        let up = Instant::now();
        let mut back = None;
        while back.is_none() && up.elapsed() < RESUMES_WITHIN * 2 {
            sleep(Duration::from_millis(50)).await;
            back = load.tally().last_acknowledged.filter(|at| *at > up);
        }
        match back {
            Some(at) => slowest = slowest.max(at - up),
            None => row.must(false, "nothing was acknowledged after the database was back"),
        }
        let tally = load.take();
        unexpected.extend(
            tally
                .statuses
                .keys()
                .filter(|status| ![0, 200, 202, 503].contains(*status))
                .copied(),
        );
        row.must(
            !tally.statuses.contains_key(&0),
            "some requests had no answer at all",
        );
        if let Some(status) = server.exited() {
            return Err(format!("the server ended with {status}: {}", server.last_words()));
        }
    }
    sleep(Duration::from_secs(1)).await;
    let sent = load.stop().await;
    let audit = ledger.audit(&doors, RESUMES_WITHIN).await;
    row.done = format!(
        "stopped {stops} times; {sent} studies sent, {} acknowledged",
        audit.studies
    );
    row.audited(&audit);
    row.must(
        audit.state("scored") == audit.studies,
        format!("not all were scored: {:?}", audit.states),
    );
    row.must(
        slowest < RESUMES_WITHIN,
        format!("it took {slowest:?} to acknowledge again"),
    );
    row.must(
        unexpected.is_empty(),
        format!("answers other than 200, 202 and 503: {unexpected:?}"),
    );
    row.figure(format!("back {:.1} s after", slowest.as_secs_f64()));
    Ok(vec![row, control(stage, engine).await?])
}

/// A server that acknowledges before the row is committed: what comes while the database is away must be lost.
async fn control(stage: &Stage, engine: Engine) -> Result<Row, String> {
    let mut row = Row::new("F9", "control: acknowledged before it is durable", engine.name());
    let ground = stage.ground("F9-control", engine)?;
    let postgres = block_in_place(|| Postgres::start(&ground.folder.join("postgres"), &[]))?;
    let mut settings = ground
        .settings("careless")
        .armed("accept.no-fsync-order=return(on)");
    settings.database = postgres.database("osteon")?;
    let _server = Osteon::start(&settings).await?;
    let doors = vec![settings.url()];
    let ledger = Ledger::default();
    let load = Load::start(Plan::new(ground.run, &doors), &ledger);
    sleep(Duration::from_millis(1500)).await;
    block_in_place(|| postgres.down("immediate"))?;
    sleep(Duration::from_millis(1500)).await;
    block_in_place(|| postgres.up())?;
    sleep(Duration::from_secs(2)).await;
    let sent = load.stop().await;
    let audit = ledger.audit(&doors, RESUMES_WITHIN).await;
    row.done = format!(
        "stopped once; {sent} studies sent, {} acknowledged",
        audit.studies
    );
    row.control(&audit, audit.lost.len(), "lost");
    Ok(row)
}

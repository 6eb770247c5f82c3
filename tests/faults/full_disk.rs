//! F2: the disk is full. A small file system of its own, mounted where only the server sees it, holds the objects, the database or both, and
//! a ballast file fills it to the last block.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::ground::{Engine, Ground, Stage};
use crate::stage::ledger::{Ledger, ask};
use crate::stage::load::{Load, Plan, client};
use crate::stage::server::{Osteon, Settings};
use crate::table::Row;

/// How soon it must work again when there is room.
const RECOVERS_WITHIN: Duration = Duration::from_secs(10);

pub(crate) async fn run(stage: &Stage, engine: Engine) -> Result<Vec<Row>, String> {
    let places: &[&str] = match engine {
        Engine::Sqlite => &["objects", "database", "data"],
        // where PostgreSQL keeps its files is not the server's disk
        Engine::Postgres => &["objects"],
    };
    if stage.without("tmpfs") {
        return Ok(vec![
            Row::new("F2", "disk full", engine.name()).left_out("--without tmpfs"),
        ]);
    }
    let through = private_mounts()?;
    let mut rows = Vec::new();
    for place in places {
        rows.push(filled(stage, engine, place, &through).await?);
    }
    if places.contains(&"database") {
        rows.push(control(stage, engine, &through).await?);
    }
    Ok(rows)
}

/// The command that gives what it starts mounts of its own.
fn private_mounts() -> Result<Vec<String>, String> {
    let ways: [&[&str]; 2] = [&["unshare", "-m"], &["unshare", "-Urm"]];
    for way in ways {
        let mut trial = Command::new(way[0]);
        trial
            .args(&way[1..])
            .args(["sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]);
        if trial.output().is_ok_and(|output| output.status.success()) {
            return Ok(way.iter().map(|word| (*word).to_owned()).collect());
        }
    }
    Err("a small file system cannot be mounted with unshare (util-linux): run as root or where user namespaces are allowed, \
         or say --without tmpfs"
        .to_owned())
}

async fn filled(stage: &Stage, engine: Engine, place: &str, through: &[String]) -> Result<Row, String> {
    let mut row = Row::new("F2", format!("disk full: {place}"), engine.name());
    let ground = stage.ground("F2", engine)?;
    let mut settings = ground.settings("full");
    let small = on_small_disk(&mut settings, &ground, place, through)?;
    let server = Osteon::start(&settings).await?;
    let doors = vec![settings.url()];
    let ledger = Ledger::default();
    let load = Load::start(Plan::new(ground.run, &doors), &ledger);
    sleep(Duration::from_secs(2)).await;
    row.must(
        ledger.studies().len() > 3,
        "hardly anything was acknowledged before the disk was full",
    );

    let rounds = if stage.quick() { 1 } else { 4 };
    let (mut refused, mut unexpected, mut slowest) = (0, Vec::new(), Duration::ZERO);
    for _ in 0..rounds {
        load.take();
        let ballast = seen_by(&server, &small).join("ballast");
        fill(&ballast)?;
        sleep(Duration::from_secs(4)).await;
        // what others deleted meanwhile is taken, too
        fill(&ballast)?;
        sleep(Duration::from_secs(1)).await;
        let tally = load.take();
        refused += tally.statuses.get(&507).copied().unwrap_or(0);
        unexpected.extend(
            tally
                .statuses
                .keys()
                .filter(|status| ![200, 202, 503, 507].contains(*status))
                .copied(),
        );
        let live = ask(&client(), &doors[0], "/health/live")
            .await
            .map(|(status, _)| status);
        row.must(live == Some(200), "it was not live while the disk was full");
        fs::remove_file(&ballast).map_err(|error| format!("the ballast stays: {error}"))?;
        let (freed, mut back) = (Instant::now(), None);
        while back.is_none() && freed.elapsed() < RECOVERS_WITHIN * 2 {
            sleep(Duration::from_millis(50)).await;
            back = load.tally().last_acknowledged.filter(|at| *at > freed);
        }
        match back {
            Some(at) => slowest = slowest.max(at - freed),
            None => row.must(false, "nothing was acknowledged after there was room again"),
        }
    }
    sleep(Duration::from_secs(1)).await;
    let sent = load.stop().await;
    let audit = ledger.audit(&doors, Duration::from_secs(60)).await;
    row.done = format!(
        "filled {rounds} times; {sent} studies sent, {} acknowledged",
        audit.studies
    );
    row.audited(&audit);
    row.must(
        audit.state("scored") == audit.studies,
        format!("not all were scored: {:?}", audit.states),
    );
    row.must(
        refused > 0,
        "nothing was answered with 507: the disk was never full",
    );
    row.must(
        unexpected.is_empty(),
        format!("answers other than 200, 202, 503 and 507: {unexpected:?}"),
    );
    row.must(
        slowest < RECOVERS_WITHIN,
        format!("it took {slowest:?} to acknowledge again"),
    );
    row.figure(format!(
        "{refused} times 507, back {:.1} s after",
        slowest.as_secs_f64()
    ));
    let missing = ledger.missing_below(&seen_by(&server, &ground.data));
    row.must(
        missing.is_empty(),
        format!(
            "{} acknowledged images are gone: {:?}",
            missing.len(),
            missing.first()
        ),
    );
    Ok(row)
}

/// A server that acknowledges before the row is committed: what comes while there is no room for rows must be lost.
async fn control(stage: &Stage, engine: Engine, through: &[String]) -> Result<Row, String> {
    let mut row = Row::new("F2", "control: acknowledged before it is durable", engine.name());
    let ground = stage.ground("F2-control", engine)?;
    let mut settings = ground
        .settings("careless")
        .armed("accept.no-fsync-order=return(on)");
    let small = on_small_disk(&mut settings, &ground, "database", through)?;
    let server = Osteon::start(&settings).await?;
    let doors = vec![settings.url()];
    let ledger = Ledger::default();
    let load = Load::start(Plan::new(ground.run, &doors), &ledger);
    sleep(Duration::from_secs(1)).await;
    let ballast = seen_by(&server, &small).join("ballast");
    fill(&ballast)?;
    sleep(Duration::from_secs(2)).await;
    let sent = load.stop().await;
    fs::remove_file(&ballast).map_err(|error| format!("the ballast stays: {error}"))?;
    let audit = ledger.audit(&doors, Duration::from_secs(20)).await;
    row.done = format!("filled once; {sent} studies sent, {} acknowledged", audit.studies);
    row.control(&audit, audit.lost.len(), "lost");
    Ok(row)
}

/// Has the server's objects, database or both on a small file system that only it sees; gives where that is.
fn on_small_disk(
    settings: &mut Settings,
    ground: &Ground,
    place: &str,
    through: &[String],
) -> Result<PathBuf, String> {
    let small = match place {
        "data" => ground.data.clone(),
        other => ground.data.join(other),
    };
    fs::create_dir_all(&small).map_err(|error| error.to_string())?;
    if place == "database" {
        settings.database = format!("sqlite:{}", small.join("osteon.sqlite").display());
    }
    let mount = format!(
        "mount -t tmpfs -o size=160m tmpfs '{}' && exec \"$@\"",
        small.display()
    );
    settings.through = through.to_vec();
    settings
        .through
        .extend(["sh", "-c", &mount, "sh"].map(String::from));
    Ok(small)
}

/// A path as the server sees it, with its own mounts.
fn seen_by(server: &Osteon, path: &Path) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{}/root", server.pid()));
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Appends until there is no room.
fn fill(ballast: &Path) -> Result<(), String> {
    let opened = OpenOptions::new().create(true).append(true).open(ballast);
    let mut file = opened.map_err(|error| format!("no ballast at {}: {error}", ballast.display()))?;
    for size in [1 << 20, 4096, 64] {
        let block = vec![7; size];
        while file.write_all(&block).is_ok() {}
    }
    Ok(())
}

//! Three replicas with mixed roles on one PostgreSQL and one S3 bucket, killed, held and stopped at random under load at all doors.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::ground::{Engine, Stage};
use crate::stage::ledger::Ledger;
use crate::stage::load::{Load, Plan};
use crate::stage::s3::S3Server;
use crate::stage::server::Settings;
use crate::stage::supervisor::Supervised;
use crate::table::Row;

const ROLES: [&str; 3] = ["all", "door", "worker"];

pub(crate) async fn run(stage: &Stage, engine: Engine) -> Result<Vec<Row>, String> {
    if engine == Engine::Sqlite {
        // it belongs to one process
        return Ok(Vec::new());
    }
    let mut row = Row::new("replicas", "three replicas, killed at random", "PostgreSQL, S3");
    if stage.without("s3") {
        return Ok(vec![row.left_out("--without s3")]);
    }
    let ground = stage.ground("replicas", engine)?;
    let s3 = S3Server::start(&ground.folder.join("s3")).await;
    let mut first = Settings {
        lease_seconds: 1.5,
        max_attempts: 200,
        objects: format!("s3://{}/studies", s3.bucket),
        ..ground.settings(ROLES[0])
    };
    first
        .environment
        .extend(s3.environment().map(|(name, value)| (name.to_owned(), value)));
    let settings = ROLES.map(|role| Settings {
        role,
        // what a replica keeps on its own disk is its own
        data: ground.folder.join(role),
        ..if role == ROLES[0] {
            first.clone()
        } else {
            first.beside(role)
        }
    });
    for one in &settings {
        std::fs::create_dir_all(&one.data).map_err(|error| error.to_string())?;
    }
    let replicas = settings.each_ref().map(Supervised::start);
    for replica in &replicas {
        replica.ready(Duration::from_secs(30)).await?;
    }
    let doors: Vec<String> = replicas[..2]
        .iter()
        .map(|replica| replica.settings.url())
        .collect();
    let ledger = Ledger::default();
    let stop = CancellationToken::new();
    let watch = tokio::spawn(ledger.clone().watch(doors.clone(), stop.clone()));
    let plan = Plan {
        senders: 6,
        ..Plan::new(ground.run, &doors)
    };
    let load = Load::start(plan, &ledger);
    let time = Duration::from_secs(if stage.quick() { 40 } else { 300 });
    let (began, mut turn, mut done) = (Instant::now(), 0_usize, BTreeMap::<&str, u32>::new());
    while began.elapsed() < time {
        turn += 1;
        sleep(Duration::from_millis((turn * 463 % 900) as u64 + 200)).await;
        let replica = &replicas[turn * 5 % 7 % 3];
        let (name, signal) = match turn % 8 {
            3 => ("stopped", Signal::TERM),
            6 => ("held", Signal::STOP),
            _ => ("killed", Signal::KILL),
        };
        if !replica.signal(signal) {
            continue;
        }
        *done.entry(name).or_default() += 1;
        if signal == Signal::STOP {
            sleep(Duration::from_millis(2200)).await;
            replica.signal(Signal::CONT);
        }
    }
    for replica in &replicas {
        replica.ready(Duration::from_secs(30)).await?;
    }
    let sent = load.stop().await;
    let audit = ledger.audit(&doors, Duration::from_secs(60)).await;
    stop.cancel();
    let _ = watch.await;
    row.done = format!("{done:?}; {sent} studies sent, {} acknowledged", audit.studies);
    row.audited(&audit);
    row.must(
        audit.state("scored") == audit.studies,
        format!("not all were scored: {:?}", audit.states),
    );
    let missing = ledger.missing_below(&s3.folder());
    row.must(
        missing.is_empty(),
        format!(
            "{} acknowledged images are gone: {:?}",
            missing.len(),
            missing.first()
        ),
    );
    row.must(
        done.get("killed").copied().unwrap_or(0) > 5,
        "hardly any was killed",
    );
    row.figure(format!(
        "last outcome {:.1} s after the last kill",
        audit.settled_after.as_secs_f64()
    ));
    for replica in replicas {
        let name = replica.settings.name.clone();
        let ends = replica.stop().await;
        row.must(
            ends.crashed == 0,
            format!("{name} crashed {} times by itself", ends.crashed),
        );
    }
    Ok(vec![row])
}

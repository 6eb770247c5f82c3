//! F10: the clock that leases are counted by jumps an hour ahead and an hour back, while jobs run. The clock is that of the database: SQLite
//! lives in the server's process, PostgreSQL in its own. libfaketime stands between the process and its clock and reads the offset from a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::task::block_in_place;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::destinations::{configuration, exactly_once, undelivered};
use crate::ground::{Engine, Ground, Stage};
use crate::stage::archive::{Archive, Mode};
use crate::stage::ledger::{Ledger, ask};
use crate::stage::load::{Load, Plan, client, store};
use crate::stage::postgres::Postgres;
use crate::stage::server::{Osteon, Settings, metric};
use crate::stage::study::{Study, uid};
use crate::table::Row;

/// Where the clock stands, in hours from the true time, one after the other. It is left where it was set back to: whatever waited for a
/// time before must not wait for that time to come again.
const JUMPS: [i64; 3] = [1, 0, -1];

pub(crate) async fn run(stage: &Stage, engine: Engine) -> Result<Vec<Row>, String> {
    let mut row = Row::new("F10", "the clock jumps by an hour, ahead and back", engine.name());
    if stage.without("faketime") {
        return Ok(vec![row.left_out("--without faketime")]);
    }
    let ground = stage.ground("F10", engine)?;
    let archive = Archive::start(Mode::Accepting).await;
    let config = configuration(&ground.folder, archive.address)?;
    let Jumping {
        mut settings,
        offset,
        postgres: _postgres,
    } = Jumping::on(&ground, engine, "")?;
    settings
        .arguments
        .extend(["--config".to_owned(), config.display().to_string()]);
    let server = Osteon::start(&settings).await?;
    let doors = vec![settings.url()];
    let ledger = Ledger::default();
    let stop = CancellationToken::new();
    let watch = tokio::spawn(ledger.clone().watch(doors.clone(), stop.clone()));
    let plan = Plan {
        // fewer than two workers analyse, or the rest would take longer than anyone waits here
        pause: Duration::from_millis(400),
        ..Plan::new(ground.run, &doors)
    };
    let load = Load::start(plan, &ledger);
    let rounds = if stage.quick() { 1 } else { 6 };
    let (mut jumps, mut probe) = (0, 900_000);
    for _ in 0..rounds {
        for hours in JUMPS {
            sleep(Duration::from_secs(3)).await;
            // some deliveries wait for their next attempt when it jumps
            archive.set(Mode::CutBeforeStoring);
            sleep(Duration::from_millis(1500)).await;
            set(&offset, hours)?;
            archive.set(Mode::Accepting);
            jumps += 1;
            sleep(Duration::from_millis(500)).await;
            probe += 1;
            let seen = clock(&doors[0], &uid(ground.run, probe), &ledger).await?;
            row.must(
                (seen - hours).abs() < 1,
                format!("the clock was to be at {hours} h and is at {seen} h: the test shows nothing"),
            );
        }
    }
    sleep(Duration::from_secs(1)).await;
    let sent = load.stop().await;
    let audit = ledger.audit(&doors, Duration::from_secs(120)).await;
    stop.cancel();
    let _ = watch.await;
    row.done = format!(
        "{jumps} jumps; {sent} studies sent, {} acknowledged",
        audit.studies
    );
    row.audited(&audit);
    row.must(
        audit.state("scored") == audit.studies,
        format!("not all were scored: {:?}", audit.states),
    );
    let fenced = metric(&doors[0], "osteon_fenced_total").await.unwrap_or(0.0);
    row.figure(format!(
        "{fenced} late writes fenced, last outcome {:.1} s after",
        audit.settled_after.as_secs_f64()
    ));
    let studies = ledger.studies();
    let undelivered = undelivered(&doors[0], &studies, Duration::from_secs(30)).await;
    row.must(
        undelivered.is_empty(),
        format!(
            "{} results were not delivered: {:?}",
            undelivered.len(),
            undelivered.first()
        ),
    );
    if undelivered.is_empty() {
        exactly_once(&archive, &doors[0], &studies, &mut row).await;
    }
    drop(server);
    Ok(vec![row, control(stage, engine).await?])
}

/// Servers that do not compare the token: when the clock jumps ahead every lease has run out, and what one is about to write is done by the
/// other, too. The one takes its time for that, but less than a lease, so that without a jump nothing would be done twice.
async fn control(stage: &Stage, engine: Engine) -> Result<Row, String> {
    let mut row = Row::new("F10", "control: the token is not compared", engine.name());
    let ground = stage.ground("F10-control", engine)?;
    let Jumping {
        settings,
        offset,
        postgres: _postgres,
    } = Jumping::on(
        &ground,
        engine,
        "settle.no-fence=return(on);settle.before-begin=50%return(slow:2500);",
    )?;
    let _slow = Osteon::start(&settings).await?;
    let steady = settings.beside("steady").armed("settle.no-fence=return(on)");
    let _steady = Osteon::start(&steady).await?;
    let doors = vec![settings.url()];
    let ledger = Ledger::default();
    let stop = CancellationToken::new();
    let watch = tokio::spawn(ledger.clone().watch(doors.clone(), stop.clone()));
    let plan = Plan {
        // little enough that nothing waits: what has been queued for longer would be taken first
        images: 1,
        pause: Duration::from_millis(400),
        ..Plan::new(ground.run, &doors)
    };
    let load = Load::start(plan, &ledger);
    for hours in 1..=4 {
        sleep(Duration::from_secs(2)).await;
        set(&offset, hours)?;
    }
    let sent = load.stop().await;
    let audit = ledger.audit(&doors, Duration::from_secs(60)).await;
    stop.cancel();
    let _ = watch.await;
    row.done = format!(
        "4 jumps ahead; {sent} studies sent, {} acknowledged",
        audit.studies
    );
    row.control(&audit, audit.doubled.len(), "doubled");
    Ok(row)
}

/// A server whose database has a clock that jumps.
struct Jumping {
    settings: Settings,
    /// The file that says by how much.
    offset: PathBuf,
    /// The database, where it is a process of its own.
    postgres: Option<Postgres>,
}

impl Jumping {
    fn on(ground: &Ground, engine: Engine, armed: &str) -> Result<Self, String> {
        let offset = ground.folder.join("offset");
        set(&offset, 0)?;
        // PostgreSQL's user may not be able to enter the folder of the cache
        let copy = ground.folder.join("libfaketime.so.1");
        fs::copy(library()?, &copy).map_err(|error| format!("libfaketime cannot be copied: {error}"))?;
        let environment = faked(&copy, &offset);
        let mut settings = Settings {
            lease_seconds: 3.0,
            max_attempts: 50,
            // jobs take a while, so that some run when the clock jumps
            ..ground
                .settings("jumping")
                .armed(format!("{armed}analyse.before-settle=return(slow:120)"))
        };
        let postgres = match engine {
            Engine::Sqlite => None,
            Engine::Postgres => Some(block_in_place(|| {
                Postgres::start(&ground.folder.join("postgres"), &environment)
            })?),
        };
        match &postgres {
            None => settings.environment.extend(environment),
            Some(postgres) => settings.database = postgres.database("osteon")?,
        }
        Ok(Self {
            settings,
            offset,
            postgres,
        })
    }
}

/// How many hours the server's `received_at` of a fresh study is from the true time.
async fn clock(door: &str, study: &str, ledger: &Ledger) -> Result<i64, String> {
    let study = Study::new(study, 1, 64);
    ledger.sent(&study);
    for _ in 0..50 {
        let answer = store(&client(), door, &study.images).await;
        ledger.acknowledged(&study.uid, &answer.stored);
        if answer.status == 200 {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let answer = ask(&client(), door, &format!("/v1/studies/{}", study.uid)).await;
    let received = answer.and_then(|(_, body)| body["received_at"].as_str().map(str::to_owned));
    let received = received.ok_or("the study that asks for the time was not stored")?;
    let received = chrono::DateTime::parse_from_rfc3339(&received).map_err(|error| error.to_string())?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_err(|error| error.to_string())?;
    Ok((received.timestamp() - now.as_secs() as i64 + 1800).div_euclid(3600))
}

fn set(offset: &Path, hours: i64) -> Result<(), String> {
    // renamed into place, so that nobody reads half of it
    let fresh = offset.with_extension("new");
    let written =
        fs::write(&fresh, format!("{:+}\n", hours * 3600)).and_then(|()| fs::rename(&fresh, offset));
    written.map_err(|error| format!("the offset of the clock cannot be written: {error}"))
}

/// What makes a process read its clock through the library.
fn faked(library: &Path, offset: &Path) -> Vec<(String, String)> {
    [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", offset.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        // what counts how long something took does not jump when a clock is set
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("FAKETIME_DONT_RESET", "1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// The library: where the Makefile says, or where Debian puts it.
fn library() -> Result<PathBuf, String> {
    let named = std::env::var_os("OSTEON_LIBFAKETIME").map(PathBuf::from);
    let debian = [
        "x86_64-linux-gnu/faketime",
        "aarch64-linux-gnu/faketime",
        "faketime",
    ]
    .map(|folder| Path::new("/usr/lib").join(folder).join("libfaketime.so.1"));
    named.into_iter().chain(debian).find(|path| path.is_file()).ok_or_else(|| {
        "libfaketime is not there: run scripts/fetch-libfaketime and name what it prints in OSTEON_LIBFAKETIME (make faults does), \
         or say --without faketime"
            .to_owned()
    })
}

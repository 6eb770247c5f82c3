//! The first table: studies a second from STOW-RS to the stored result, and what each costs.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::Signal;
use sqlx::{AnyConnection, Connection as _, Row as _};
use tokio::time::sleep;

use crate::ground::{Engine, Ground, Place};
use crate::senders::{Sent, Studies, now};
use crate::stage::archive::{Archive, Mode};
use crate::stage::server::Osteon;
use crate::table::{self, millis, quantile};
use crate::{Options, cost};

/// Studies that are sent before anything is measured.
const WARM_UP: usize = 32;
/// Studies that are sent one after the other, for the time that one takes where none waits before it.
const CALM: usize = 40;
/// How long all of it may take until a study counts as stuck.
const PATIENCE: Duration = Duration::from_mins(5);
/// What is settled in the end, and when: results or deliveries.
const RESULTS: &str = "SELECT study_uid, made_at FROM results";
const DELIVERIES: &str = "SELECT study_uid, settled_at FROM jobs WHERE kind = 'deliver' AND state = 'done' AND settled_at IS NOT NULL";

/// What is measured.
struct Case {
    name: &'static str,
    engine: Engine,
    roles: &'static [&'static str],
    /// Whether it ends with the report in an archive.
    delivered: bool,
    /// Whether the model of the repository is asked, about images of its size.
    bundled: bool,
}

const CASES: [Case; 7] = [
    Case::new("one server", Engine::Sqlite, &["all"]),
    Case::new("one server", Engine::Postgres, &["all"]),
    Case::new("three servers", Engine::Postgres, &["all", "all", "all"]),
    Case::new(
        "a door and two workers",
        Engine::Postgres,
        &["door", "worker", "worker"],
    ),
    Case::new(
        "one server, to the report in the archive",
        Engine::Sqlite,
        &["all"],
    )
    .delivered(),
    Case::new(
        "one server, to the report in the archive",
        Engine::Postgres,
        &["all"],
    )
    .delivered(),
    Case::new("one server, the bundled model", Engine::Sqlite, &["all"]).bundled(),
];

impl Case {
    const fn new(name: &'static str, engine: Engine, roles: &'static [&'static str]) -> Self {
        Self {
            name,
            engine,
            roles,
            delivered: false,
            bundled: false,
        }
    }

    const fn delivered(self) -> Self {
        Self {
            delivered: true,
            ..self
        }
    }

    const fn bundled(self) -> Self {
        Self {
            bundled: true,
            ..self
        }
    }

    const fn settled(&self) -> &'static str {
        if self.delivered { DELIVERIES } else { RESULTS }
    }
}

/// Measures every case and prints the table.
pub(crate) async fn table(ground: &Ground, options: &Options) -> Result<()> {
    let mut rows = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        if options.engines.contains(&case.engine) {
            let run = 10 * (number as u64 + 1);
            let row = measure(ground, case, run, options).await;
            rows.push(row.with_context(|| format!("{}, {}", case.name, case.engine.name()))?);
        }
    }
    println!(
        "{} studies of one image, {} clients; calm: {CALM} studies, one after the other\n",
        options.studies, options.clients
    );
    let headings = [
        "servers",
        "database",
        "studies/s",
        "osteon CPU ms",
        "database CPU ms",
        "WAL syncs",
        "p50 ms",
        "p99 ms",
        "calm p50 ms",
        "calm p99 ms",
        "errors",
    ];
    table::print(&headings, &rows);
    Ok(())
}

async fn measure(ground: &Ground, case: &Case, run: u64, options: &Options) -> Result<Vec<String>> {
    let mut place = ground.place(case.engine)?;
    let archive = Archive::start(Mode::Accepting).await;
    if case.bundled {
        place.settings.models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    }
    if case.delivered {
        deliver_to(&mut place, &archive)?;
    }
    let rows = if case.bundled { 512 } else { 64 };
    let studies = if case.bundled {
        options.studies / 4
    } else {
        options.studies
    };
    let [warm_up, load, calm] = [WARM_UP, studies, CALM]
        .map(|count| (run, count))
        .into_iter()
        .enumerate()
        .map(|(phase, (run, count))| Arc::new(Studies::new(run + phase as u64, count, rows)))
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| anyhow!("there are three phases"))?;

    let syncs = wal_syncs(&place).await?;
    let servers = start(case, &place).await?;
    let doors: Vec<String> = servers
        .iter()
        .filter(|server| server.settings.role != "worker")
        .map(|server| server.settings.url())
        .collect();
    let mut database = AnyConnection::connect(&place.url).await?;
    let first = warm_up.send(&doors, 4, Duration::ZERO).await?;
    settled(&mut database, case, warm_up.len() - first.errors).await?;

    let spent = |servers: &[Osteon]| -> Duration {
        servers.iter().map(|server| cost::of_process(server.pid())).sum()
    };
    let of_database = || place.postgres.map(cost::of_family).unwrap_or_default();
    let (before, before_database, began) = (spent(&servers), of_database(), now());
    let loaded = load.send(&doors, options.clients, Duration::ZERO).await?;
    let known = warm_up.len() + load.len() - first.errors - loaded.errors;
    settled(&mut database, case, known).await?;
    let osteon = spent(&servers).saturating_sub(before) / load.len() as u32;
    let of_database = of_database().saturating_sub(before_database) / load.len() as u32;

    let calmly = calm.send(&doors, 1, Duration::from_millis(150)).await?;
    let ends = settled(&mut database, case, known + calm.len() - calmly.errors).await?;
    let errors = first.errors + loaded.errors + calmly.errors + unwanted(&mut database).await?;
    database.close().await?;
    stop(servers).await?;
    let all = warm_up.len() + load.len() + calm.len();
    let syncs = wal_syncs(&place)
        .await?
        .zip(syncs)
        .map_or("-".to_owned(), |(after, before)| {
            format!("{:.1}", (after - before) as f64 / all as f64)
        });
    let last = loaded.acknowledged.keys().filter_map(|uid| ends.get(uid)).max();
    let seconds = (last.copied().unwrap_or_default() - began) as f64 / 1000.0;
    let (waited, calm) = (waits(&loaded, &ends), waits(&calmly, &ends));
    Ok(vec![
        case.name.to_owned(),
        case.engine.name().to_owned(),
        format!("{:.1}", load.len() as f64 / seconds),
        millis(osteon),
        if case.engine == Engine::Postgres {
            millis(of_database)
        } else {
            "-".to_owned()
        },
        syncs,
        quantile(&waited, 0.5).as_millis().to_string(),
        quantile(&waited, 0.99).as_millis().to_string(),
        quantile(&calm, 0.5).as_millis().to_string(),
        quantile(&calm, 0.99).as_millis().to_string(),
        errors.to_string(),
    ])
}

/// Makes `archive` the destination of all results.
pub(crate) fn deliver_to(place: &mut Place, archive: &Archive) -> Result<()> {
    let path = place.settings.data.join("osteon.toml");
    let url = archive.url();
    std::fs::write(
        &path,
        format!("[[destinations]]\nname = \"archive\"\nkind = \"stow\"\nurl = \"{url}\"\n"),
    )?;
    let path = path.to_string_lossy().into_owned();
    place.settings.arguments.extend(["--config".to_owned(), path]);
    Ok(())
}

async fn start(case: &Case, place: &Place) -> Result<Vec<Osteon>> {
    let mut servers = Vec::new();
    for (number, role) in case.roles.iter().enumerate() {
        let mut settings = place.settings.beside(&format!("server-{}", number + 1));
        settings.role = role;
        let server = Osteon::start(&settings).await;
        servers.push(server.map_err(|error| anyhow!(error))?);
    }
    Ok(servers)
}

/// Stops servers in order, so that their connections have told PostgreSQL's statistics everything.
pub(crate) async fn stop(servers: Vec<Osteon>) -> Result<()> {
    for mut server in servers {
        server.signal(Signal::TERM);
        if server.ended(Duration::from_secs(30)).await.is_none() {
            bail!("a server did not stop: {}", server.last_words());
        }
    }
    Ok(())
}

/// Waits until `count` studies are settled, and says when each was.
async fn settled(database: &mut AnyConnection, case: &Case, count: usize) -> Result<HashMap<String, i64>> {
    let began = Instant::now();
    loop {
        let rows = sqlx::query(case.settled()).fetch_all(&mut *database).await?;
        if rows.len() >= count {
            let ends = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
            return ends.collect();
        }
        if began.elapsed() > PATIENCE {
            bail!("{} of {count} studies were settled in {PATIENCE:?}", rows.len());
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// From each acknowledgment to the end.
fn waits(sent: &Sent, ends: &HashMap<String, i64>) -> Vec<Duration> {
    let wait = |(uid, acknowledged): (&String, &i64)| {
        let wait = ends.get(uid)? - acknowledged;
        Some(Duration::from_millis(u64::try_from(wait).unwrap_or(0)))
    };
    sent.acknowledged.iter().filter_map(wait).collect()
}

/// Studies that were not scored, and attempts that failed.
async fn unwanted(database: &mut AnyConnection) -> Result<usize> {
    let row = sqlx::query(
        "SELECT (SELECT count(*) FROM studies WHERE state <> 'scored') + (SELECT count(*) FROM events WHERE kind IN \
         ('attempt-failed', 'failed', 'refused', 'superseded', 'delivery-failed', 'delivery-dead'))",
    )
    .fetch_one(database)
    .await?;
    Ok(row.try_get::<i64, _>(0)? as usize)
}

/// How often PostgreSQL has synchronised its log; `None` where it does not say.
async fn wal_syncs(place: &Place) -> Result<Option<i64>> {
    if place.postgres.is_none() {
        return Ok(None);
    }
    let mut database = AnyConnection::connect(&place.url).await?;
    let row = sqlx::query("SELECT wal_sync FROM pg_stat_wal")
        .fetch_one(&mut database)
        .await;
    database.close().await?;
    Ok(row.ok().and_then(|row| row.try_get(0).ok()))
}

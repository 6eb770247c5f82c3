//! Many stored studies at once: copies of one that real servers have taken in, scored and delivered, row for row.
//!
//! Invariant: the copies have UIDs, keys and digests of their own, which lie as real ones do: UIDs rise by device, digests are random.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use osteon::dicom::StudyUid;
use osteon::store::{OWN_ARCHIVE, Store, StoreSettings};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, Row as _};
use tokio::time::sleep;

use crate::ground::{Engine, Ground, Place};
use crate::rate::{deliver_to, stop};
use crate::senders::{Studies, now};
use crate::stage::archive::{Archive, Mode};
use crate::stage::server::Osteon;

/// When a destination that is down is tried again, in milliseconds from now: after this program has ended.
const LATER: i64 = 36_000_000;
/// How many copies one transaction makes.
const BATCH: u64 = 100_000;

/// A database whose studies can be multiplied.
pub(crate) struct Stock {
    pub(crate) engine: Engine,
    pub(crate) place: Place,
    pub(crate) settings: StoreSettings,
    /// The study that the others are copies of.
    pub(crate) original: StudyUid,
    stored: u64,
}

impl Stock {
    /// One study, brought from its arrival to its delivery by a real server.
    pub(crate) async fn new(ground: &Ground, engine: Engine) -> Result<Self> {
        let mut place = ground.place(engine)?;
        let archive = Archive::start(Mode::Accepting).await;
        deliver_to(&mut place, &archive)?;
        let server = Osteon::start(&place.settings)
            .await
            .map_err(|error| anyhow!(error))?;
        let studies = Arc::new(Studies::new(9, 1, 64));
        let sent = studies.send(&[place.settings.url()], 1, Duration::ZERO).await?;
        let uid = sent
            .acknowledged
            .keys()
            .next()
            .ok_or_else(|| anyhow!("it was not taken"))?;
        let original = StudyUid::parse(uid)?;
        let mut settings = StoreSettings::in_folder(&place.settings.data);
        settings.database = place
            .settings
            .database
            .parse()
            .map_err(|error| anyhow!("{error}"))?;
        settings.destinations = vec!["archive".to_owned()];
        let store = Store::open(&settings).await?;
        while store
            .deliveries(&original)
            .await?
            .first()
            .map(|delivery| delivery.state)
            != Some("delivered")
        {
            sleep(Duration::from_millis(50)).await;
        }
        store.close().await;
        stop(vec![server]).await?;
        Ok(Self {
            engine,
            place,
            settings,
            original,
            stored: 1,
        })
    }

    /// Adds copies until `stored` studies are there.
    pub(crate) async fn fill(&mut self, stored: u64) -> Result<()> {
        let mut database = self.bulk().await?;
        while self.stored < stored {
            let count = BATCH.min(stored - self.stored);
            let statements = copies(self.engine, self.stored, count, true, self.original.as_str());
            for statement in statements {
                database.execute(AssertSqlSafe(statement)).await?;
            }
            self.stored += count;
        }
        self.tidy(database).await
    }

    /// Adds studies whose analysis waits, and as many deliveries of which all but one wait for a later time, as for an archive that is down.
    pub(crate) async fn wait(&mut self, count: u64) -> Result<()> {
        let mut database = self.bulk().await?;
        for statement in copies(self.engine, self.stored, count, false, self.original.as_str()) {
            database.execute(AssertSqlSafe(statement)).await?;
        }
        self.stored += count;
        self.tidy(database).await
    }

    async fn bulk(&self) -> Result<AnyConnection> {
        let mut database = AnyConnection::connect(&self.place.url).await?;
        let settings = match self.engine {
            Engine::Sqlite => {
                "PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000"
            }
            Engine::Postgres => "SET work_mem = '256MB'",
        };
        database.execute(settings).await?;
        Ok(database)
    }

    /// What autovacuum and checkpoints would have done by then.
    async fn tidy(&self, mut database: AnyConnection) -> Result<()> {
        let statements: &[&str] = match self.engine {
            Engine::Sqlite => &["PRAGMA wal_checkpoint(TRUNCATE)"],
            Engine::Postgres => &["VACUUM ANALYZE", "CHECKPOINT"],
        };
        for statement in statements {
            database.execute(AssertSqlSafe((*statement).to_owned())).await?;
        }
        Ok(database.close().await?)
    }

    /// The rows that tables were read through without an index since the beginning; only PostgreSQL counts them.
    pub(crate) async fn scanned(&self) -> Result<Option<i64>> {
        if self.engine == Engine::Sqlite {
            return Ok(None);
        }
        let mut database = AnyConnection::connect(&self.place.url).await?;
        let row = sqlx::query("SELECT CAST(sum(seq_tup_read) AS BIGINT) FROM pg_stat_user_tables")
            .fetch_one(&mut database)
            .await?;
        database.close().await?;
        Ok(row.try_get(0)?)
    }
}

/// The statements that make `count` copies after the first `from`: settled ones, or such as wait for a worker.
fn copies(engine: Engine, from: u64, count: u64, settled: bool, original: &str) -> Vec<String> {
    let (first, last) = (from + 1, from + count);
    let (series, key, digest) = match engine {
        Engine::Sqlite => (
            format!(
                "(WITH RECURSIVE s(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM s WHERE i < {last}) SELECT i FROM s) AS s"
            ),
            "lower(hex(randomblob(32)))",
            "lower(hex(randomblob(32)))",
        ),
        Engine::Postgres => (
            format!("generate_series(CAST({first} AS BIGINT), {last}) AS s(i)"),
            "md5(random()::text) || md5(random()::text)",
            "md5(random()::text) || md5(random()::text)",
        ),
    };
    let uid = "'1.3.6.1.4.1.99999.9.' || (i % 7) || '.' || (1000000000 + i)";
    let mut statements = vec![
        "BEGIN".to_owned(),
        // a study every twenty seconds, the latest some weeks ago
        format!(
            "CREATE TEMPORARY TABLE copies AS SELECT i, {uid} AS study, {uid} || '.1' AS sop, {key} AS result_key, \
             {digest} AS object, CAST(2000000000 + (2000000 - i) * 20000 AS BIGINT) AS ago FROM {series}"
        ),
    ];
    let (state, result) = if settled {
        ("t.state", "c.result_key")
    } else {
        ("'analysing'", "NULL")
    };
    statements.push(format!(
        "INSERT INTO studies (study_uid, state, received_at, last_arrival_at, generation, result_key, latest_key, expected, ordered, \
         due_at, completeness) SELECT c.study, {state}, t.received_at - c.ago, t.last_arrival_at - c.ago, t.generation, {result}, \
         {result}, t.expected, t.ordered, t.due_at - c.ago, t.completeness FROM studies t, copies c WHERE t.study_uid = '{original}'"
    ));
    statements.push(format!(
        "INSERT INTO instances (sop_uid, study_uid, series_uid, sop_class, transfer_syntax, object_sha256, bytes, received_at, urgent, \
         number, described) SELECT c.sop, c.study, c.study || '.0', t.sop_class, t.transfer_syntax, c.object, t.bytes, \
         t.received_at - c.ago, t.urgent, t.number, t.described FROM instances t, copies c \
         WHERE t.study_uid = '{original}' AND made_for IS NULL"
    ));
    statements.extend(records(original));
    statements.extend(if settled {
        settled_rows(original)
    } else {
        waiting_rows(original, first)
    });
    statements.extend(["DROP TABLE copies".to_owned(), "COMMIT".to_owned()]);
    statements
}

/// What the copies are found by: each is of another patient.
fn records(original: &str) -> [String; 3] {
    let of = format!("t.study_uid = '{original}'");
    [
        format!(
            "INSERT INTO study_records (study_uid, patient_id, patient_name, patient_name_groups, study_date, study_time, \
             accession_number, referring_physician, study_id, attributes) SELECT c.study, t.patient_id || c.i, \
             t.patient_name || c.i, t.patient_name_groups, t.study_date, t.study_time, t.accession_number || c.i, \
             t.referring_physician, t.study_id, replace(t.attributes, '{original}', c.study) FROM study_records t, copies c WHERE {of}"
        ),
        format!(
            "INSERT INTO series_records (study_uid, series_uid, modality, number, start_date, start_time, attributes) \
             SELECT c.study, c.study || '.0', t.modality, t.number, t.start_date, t.start_time, t.attributes \
             FROM series_records t, copies c WHERE {of} AND t.series_uid IN \
             (SELECT series_uid FROM instances WHERE study_uid = '{original}' AND made_for IS NULL)"
        ),
        format!(
            "INSERT INTO headers (sop_uid, header, whole) SELECT c.sop, replace(t.header, '{original}', c.study), t.whole \
             FROM headers t JOIN instances i ON i.sop_uid = t.sop_uid, copies c WHERE i.study_uid = '{original}' \
             AND i.made_for IS NULL"
        ),
    ]
}

fn settled_rows(original: &str) -> Vec<String> {
    let of = format!("WHERE t.study_uid = '{original}'");
    vec![
        format!(
            "INSERT INTO results (result_key, study_uid, generation, outcome, model_name, model_version, model_digest, input_digest, \
             completeness, body, made_at) SELECT c.result_key, c.study, t.generation, t.outcome, t.model_name, t.model_version, \
             t.model_digest, c.object, t.completeness, replace(t.body, '{original}', c.study), t.made_at - c.ago \
             FROM results t, copies c {of}"
        ),
        "INSERT INTO result_inputs (result_key, sop_uid, object_sha256) SELECT result_key, sop, object FROM copies".to_owned(),
        format!(
            "INSERT INTO jobs (job_id, kind, study_uid, generation, result_key, destination, state, attempts, answered, token, \
             available_at, queued_at, settled_at) SELECT CASE WHEN t.kind = 'analyse' THEN 'analyse/' || c.study || '/' || t.generation \
             ELSE 'deliver/' || c.result_key || '/' || t.destination END, t.kind, c.study, t.generation, \
             CASE WHEN t.kind = 'deliver' THEN c.result_key END, t.destination, t.state, t.attempts, t.answered, t.token, \
             t.available_at - c.ago, t.queued_at - c.ago, t.settled_at - c.ago FROM jobs t, copies c {of}"
        ),
        format!(
            "INSERT INTO events (study_uid, generation, at, seq, kind, detail) SELECT c.study, t.generation, t.at - c.ago, t.seq, \
             t.kind, replace(t.detail, '{original}', c.study) FROM events t, copies c {of}"
        ),
    ]
}

fn waiting_rows(original: &str, first: u64) -> Vec<String> {
    let of = format!("WHERE t.study_uid = '{original}'");
    let due = format!(
        "CASE WHEN c.i = {first} THEN t.queued_at ELSE {} END",
        now() + LATER
    );
    vec![
        format!(
            "INSERT INTO jobs (job_id, kind, study_uid, generation, state, attempts, answered, token, available_at, queued_at) \
             SELECT 'analyse/' || c.study || '/' || t.generation, t.kind, c.study, t.generation, 'ready', 0, 0, 0, \
             t.queued_at - c.ago, t.queued_at - c.ago FROM jobs t, copies c {of} AND t.kind = 'analyse'"
        ),
        format!(
            "INSERT INTO events (study_uid, generation, at, seq, kind, detail) SELECT c.study, t.generation, t.at - c.ago, t.seq, \
             t.kind, replace(t.detail, '{original}', c.study) FROM events t, copies c {of} AND t.kind IN ('received', 'queued')"
        ),
        format!(
            "INSERT INTO jobs (job_id, kind, study_uid, generation, result_key, destination, state, attempts, answered, token, \
             available_at, queued_at) SELECT 'deliver/' || c.result_key || '/' || t.destination, t.kind, c.study, t.generation, \
             c.result_key, t.destination, 'ready', 1, 1, 1, {due}, t.queued_at FROM jobs t, copies c {of} AND t.kind = 'deliver' \
             AND t.destination <> '{OWN_ARCHIVE}'"
        ),
    ]
}

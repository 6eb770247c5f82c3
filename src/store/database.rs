//! The database, SQLite or PostgreSQL: how it is opened, how it is written, and the one place where their SQL differs.
//!
//! Invariant: a write that does not commit costs its connection. Closing a connection rolls back whatever state the engine
//! is in; an explicit ROLLBACK fails after a full disk, where SQLite has rolled back already, and would leave the pool
//! with a connection that believes it is inside a transaction.

use std::time::Duration;

use sqlx::any::{AnyArguments, AnyPoolOptions, install_default_drivers};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AnyPool, Connection, Executor};

use super::{DatabasePlace, StoreError};

static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations");

/// How long a writer waits for another one, and everyone for a connection.
const BUSY: Duration = Duration::from_secs(5);
/// SQLite has one writer at a time, the others are readers; PostgreSQL shares its limit (100 by default) among all replicas.
pub(super) const CONNECTIONS: u32 = 8;
/// How long a commit may take.
const COMMIT: Duration = Duration::from_secs(30);
/// A connection that was idle for longer is tried before it is used: the database may have been restarted.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// What every SQLite connection is set to. FULL: a commit survives a power cut.
const SQLITE_SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
                               PRAGMA busy_timeout = 5000";
/// What every PostgreSQL connection is set to: a commit survives a crash of the server, whatever its default is. A statement
/// that waits for a lock or runs for too long is an error, and not a hanging sender.
const POSTGRES_SETTINGS: &str = "SET synchronous_commit = on; SET lock_timeout = '10s'; SET statement_timeout = '60s'; \
                                 SET idle_in_transaction_session_timeout = '60s'; SET client_min_messages = warning";

/// Which engine answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Sqlite,
    Postgres,
}

/// One statement in the words of both engines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sql {
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
}

/// One statement from literals and from the words in which the engines differ:
/// - `now`: the database's clock in milliseconds since 1970, when the statement came: PostgreSQL finds what is due by an index only if
///   the time is the same for every row;
/// - `skip_locked`: rows that another transaction is about to take are passed over (SQLite has one writer);
/// - `for_update`: the row is locked until the transaction ends (the same);
/// - `study_columns`: the beginning of every query for a `StudyRow`;
/// - `awaited`: a column of a study, how many instances it lacks of those that a scheduled workitem lists; of several, the fewest;
/// - `has_input`: whether all instances are there that a workitem lists;
/// - `urgent`: of a study, 1 where an instance or a workitem that has not ended says that it goes before others, else 0.
macro_rules! sql {
    ($($part:tt)*) => {
        $crate::store::database::Sql {
            sqlite: concat!($($crate::store::database::part!(sqlite $part)),*),
            postgres: concat!($($crate::store::database::part!(postgres $part)),*),
        }
    };
}
macro_rules! part {
    ($engine:ident $text:literal) => {
        $text
    };
    (sqlite now) => {
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    };
    (postgres now) => {
        "CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT)"
    };
    (sqlite skip_locked) => {
        ""
    };
    (postgres skip_locked) => {
        " FOR UPDATE SKIP LOCKED"
    };
    (sqlite for_update) => {
        ""
    };
    (postgres for_update) => {
        " FOR NO KEY UPDATE"
    };
    ($engine:ident study_columns) => {
        "SELECT studies.study_uid, state, received_at, last_arrival_at, studies.generation, studies.result_key, \
         CASE WHEN state = 'received' AND fetches = 0 AND studies.generation > 0 THEN due_at END AS due_at, \
         results.made_at, results.body, results.completeness, results.supersedes, \
         (SELECT count(*) FROM instances WHERE instances.study_uid = studies.study_uid AND made_for IS NULL) AS instances \
         FROM studies LEFT JOIN results ON results.result_key = studies.result_key "
    };
    ($engine:ident awaited) => {
        "(SELECT min(lacking) FROM (SELECT count(*) - count(instances.sop_uid) AS lacking FROM workitems \
         JOIN workitem_inputs ON workitem_inputs.workitem_uid = workitems.workitem_uid \
         LEFT JOIN instances ON instances.sop_uid = workitem_inputs.sop_uid AND instances.study_uid = workitems.study_uid \
         AND instances.removed_at IS NULL \
         WHERE workitems.study_uid = studies.study_uid AND workitems.state IN ('SCHEDULED', 'IN PROGRESS') \
         AND workitems.state = 'SCHEDULED' GROUP BY workitems.workitem_uid) AS waiting) AS awaited"
    };
    ($engine:ident has_input) => {
        "NOT EXISTS (SELECT 1 FROM workitem_inputs WHERE workitem_inputs.workitem_uid = workitems.workitem_uid \
         AND NOT EXISTS (SELECT 1 FROM instances WHERE instances.sop_uid = workitem_inputs.sop_uid \
         AND instances.study_uid = workitems.study_uid AND instances.removed_at IS NULL))"
    };
    ($engine:ident urgent) => {
        "CASE WHEN EXISTS (SELECT 1 FROM instances WHERE instances.study_uid = studies.study_uid AND instances.urgent = 1) \
         OR EXISTS (SELECT 1 FROM workitems WHERE workitems.study_uid = studies.study_uid AND workitems.urgent = 1 \
         AND workitems.state IN ('SCHEDULED', 'IN PROGRESS')) THEN 1 ELSE 0 END"
    };
}
pub(super) use {part, sql};

/// How a lock on a name is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    /// By any number at once.
    Shared,
    /// By nobody else.
    Exclusive,
}

/// A statement on its way, with what is bound to it.
pub(super) type Statement = Query<'static, Any, AnyArguments>;

#[derive(Clone, Debug)]
pub(super) struct Database {
    pool: AnyPool,
    /// Of SQLite one connection of its own: writers wait for it in the order in which they came, where those of several connections would
    /// try again and again; and what it has read stays in its memory, because nobody else changes the file.
    writers: AnyPool,
    engine: Engine,
}

impl Database {
    pub(super) async fn open(place: &DatabasePlace) -> Result<Self, StoreError> {
        install_default_drivers();
        let (engine, settings) = match place {
            DatabasePlace::Sqlite(_) => (Engine::Sqlite, SQLITE_SETTINGS),
            DatabasePlace::Postgres(_) => (Engine::Postgres, POSTGRES_SETTINGS),
        };
        bring_up_to_date(engine, &place.url()).await?;
        let options = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(BUSY)
            .test_before_acquire(false)
            .before_acquire(|connection, known| {
                Box::pin(async move {
                    if known.idle_for > TRUSTED_IDLE {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .after_connect(move |connection, _| {
                Box::pin(async move { connection.execute(settings).await.map(drop) })
            });
        let pool = options.clone().connect(&place.url()).await?;
        let writers = match engine {
            Engine::Sqlite => options.max_connections(1).connect(&place.url()).await?,
            Engine::Postgres => pool.clone(),
        };
        Ok(Self {
            pool,
            writers,
            engine,
        })
    }

    /// A statement in this engine's words.
    pub(super) fn query(&self, sql: Sql) -> Statement {
        query(self.engine, sql)
    }

    /// Which engine answers.
    pub(super) fn engine(&self) -> Engine {
        self.engine
    }

    /// For statements that only read.
    pub(super) fn read(&self) -> &AnyPool {
        &self.pool
    }

    #[cfg(test)]
    pub(super) fn writers(&self) -> &AnyPool {
        &self.writers
    }

    /// Begins a write; nothing is kept unless [`Write::commit`] returns.
    pub(super) async fn write(&self) -> Result<Write, StoreError> {
        let mut write = Write {
            connection: Some(self.writers.acquire().await?),
            engine: self.engine,
        };
        // IMMEDIATE: wait for the other writer here and not in the middle, where SQLite would refuse at once
        let begin = match self.engine {
            Engine::Sqlite => "BEGIN IMMEDIATE",
            Engine::Postgres => "BEGIN",
        };
        write.connection()?.execute(begin).await?;
        Ok(write)
    }

    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        self.pool.acquire().await?.ping().await?;
        Ok(())
    }

    pub(super) async fn close(&self) {
        self.writers.close().await;
        self.pool.close().await;
    }
}

/// Over a connection of its own: on a large table it takes as long as it takes, and other servers wait for the one that is at it.
async fn bring_up_to_date(engine: Engine, url: &str) -> Result<(), StoreError> {
    let settings = match engine {
        Engine::Sqlite => SQLITE_SETTINGS,
        Engine::Postgres => "SET synchronous_commit = on; SET client_min_messages = warning",
    };
    let pool = AnyPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(BUSY)
        .after_connect(move |connection, _| {
            Box::pin(async move { connection.execute(settings).await.map(drop) })
        })
        .connect(url)
        .await?;
    let migrated = MIGRATIONS.run(&pool).await;
    pool.close().await;
    migrated.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => StoreError::from(error),
        other => StoreError::Database(other.into()),
    })
}

/// A write transaction.
pub(super) struct Write {
    connection: Option<PoolConnection<Any>>,
    engine: Engine,
}

impl Write {
    /// A statement in this engine's words.
    pub(super) fn query(&self, sql: Sql) -> Statement {
        query(self.engine, sql)
    }

    pub(super) fn engine(&self) -> Engine {
        self.engine
    }

    /// The connection, for one statement.
    pub(super) fn connection(&mut self) -> Result<&mut AnyConnection, StoreError> {
        self.connection
            .as_deref_mut()
            .ok_or_else(|| sqlx::Error::PoolClosed.into())
    }

    /// Holds a name until the transaction ends. (SQLite has one writer, which is that lock.)
    pub(super) async fn lock(&mut self, name: String, how: Lock) -> Result<(), StoreError> {
        if self.engine == Engine::Sqlite {
            return Ok(());
        }
        let lock = match how {
            Lock::Shared => {
                sql!("SELECT CAST(pg_advisory_xact_lock_shared(hashtextextended($1, 0)) AS TEXT)")
            }
            Lock::Exclusive => sql!("SELECT CAST(pg_advisory_xact_lock(hashtextextended($1, 0)) AS TEXT)"),
        };
        self.query(lock).bind(name).execute(self.connection()?).await?;
        Ok(())
    }

    /// Makes everything that was written durable.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        let commit = self.connection()?.execute("COMMIT");
        // a server whose synchronous standby is away waits without an end; what became of the commit is not known then, and
        // whoever asked for it asks again
        match tokio::time::timeout(COMMIT, commit).await {
            Ok(committed) => committed?,
            Err(_) => {
                return Err(StoreError::Unavailable(
                    "the commit was not confirmed in time".into(),
                ));
            }
        };
        // committed: the connection goes back to the pool
        drop(self.connection.take());
        Ok(())
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

fn query(engine: Engine, sql: Sql) -> Statement {
    sqlx::query(match engine {
        Engine::Sqlite => sql.sqlite,
        Engine::Postgres => sql.postgres,
    })
}

/// A duration as the database counts it.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}

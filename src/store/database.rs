//! The SQLite database: how it is opened, and how it is written.
//!
//! Invariant: a write that does not commit costs its connection. Closing a connection rolls back whatever state SQLite
//! is in; an explicit ROLLBACK fails after a full disk, where SQLite has rolled back already, and would leave the pool
//! with a connection that believes it is inside a transaction.

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqliteConnection, SqlitePool};

use super::StoreError;

static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations");

/// How long a writer waits for another one.
const BUSY: Duration = Duration::from_secs(5);
/// SQLite has one writer at a time; the others are readers.
pub(super) const CONNECTIONS: u32 = 8;

/// One statement from parts that are all known when the crate is built.
macro_rules! sql {
    ($($part:tt)*) => { concat!($($part)*) };
}
/// The database's clock in milliseconds since 1970, as an SQL expression.
macro_rules! now {
    () => {
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    };
}
pub(super) use {now, sql};

#[derive(Clone, Debug)]
pub(super) struct Database {
    pool: SqlitePool,
}

impl Database {
    pub(super) async fn open(file: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(BUSY)
            .connect_with(options)
            .await?;
        MIGRATIONS.run(&pool).await.map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                StoreError::from(error)
            }
            other => StoreError::Database(other.into()),
        })?;
        Ok(Self { pool })
    }

    /// For statements that only read.
    pub(super) fn read(&self) -> &SqlitePool {
        &self.pool
    }

    /// Begins a write; nothing is kept unless [`Write::commit`] returns.
    pub(super) async fn write(&self) -> Result<Write, StoreError> {
        let mut write = Write {
            connection: Some(self.pool.acquire().await?),
        };
        // IMMEDIATE: wait for the other writer here and not in the middle, where SQLite would refuse at once
        sqlx::query("BEGIN IMMEDIATE")
            .execute(write.connection()?)
            .await?;
        Ok(write)
    }

    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

/// A write transaction.
pub(super) struct Write {
    connection: Option<PoolConnection<Sqlite>>,
}

impl Write {
    /// The connection, for one statement.
    pub(super) fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.connection
            .as_deref_mut()
            .ok_or_else(|| sqlx::Error::PoolClosed.into())
    }

    /// Makes everything that was written durable.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        sqlx::query("COMMIT").execute(self.connection()?).await?;
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

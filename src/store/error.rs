//! What can go wrong in the store, in words that hold neither patient data nor a path of the server.

use std::io;

use sqlx::error::DatabaseError;

use crate::fault::{Fault, FaultKind};

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk or the bucket, or the quota on it, is full.
    #[error("there is no room left to store this: free space in the store and send it again")]
    Full(#[source] Cause),
    /// The data folder, the bucket or the database may not be written.
    #[error("the store cannot be written: give the server the right to write it and try again")]
    ReadOnly(#[source] Cause),
    /// Another writer held the database for too long.
    #[error("the database is busy: try again in a moment")]
    Busy(#[source] Cause),
    /// The disk failed, or a part of the store is out of reach.
    #[error("the store cannot be reached: try again, and look at the server's log if this stays")]
    Unavailable(#[source] Cause),
    /// An object is gone or is not what was stored.
    #[error("a stored object is missing or damaged: send the instance again")]
    Damaged,
    /// An object is encrypted and its key is not among those of the server.
    #[error(
        "a stored object is encrypted with a key that this server does not have: add the key to its file of keys"
    )]
    KeyMissing,
    /// The database answered something that this version does not understand.
    #[error("the database could not be used: it may be damaged or belong to another version")]
    Database(#[source] Cause),
}

/// What lies under a [`StoreError`]: for the server's log, never for an answer.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full(error.into())
            }
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Self::ReadOnly(error.into())
            }
            _ => Self::Unavailable(error.into()),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let primary = error.as_database_error().and_then(primary_code);
        match (primary, error) {
            // https://sqlite.org/rescode.html: BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN
            (Some(5 | 6), error) | (None, error @ sqlx::Error::PoolTimedOut) => Self::Busy(error.into()),
            (Some(8), error) => Self::ReadOnly(error.into()),
            (Some(13), error) => Self::Full(error.into()),
            (Some(10 | 14), error)
            | (None, error @ (sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed)) => {
                Self::Unavailable(error.into())
            }
            (None, sqlx::Error::Io(error)) => Self::from(error),
            (_, error) => Self::Database(error.into()),
        }
    }
}

/// SQLite's primary result code: the low byte of the extended one.
fn primary_code(error: &dyn DatabaseError) -> Option<i32> {
    error.code()?.parse::<i32>().ok().map(|extended| extended & 0xff)
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        let (kind, code) = match &error {
            StoreError::Full(_) => (FaultKind::NoSpace, "no-space"),
            StoreError::ReadOnly(_) => (FaultKind::Unavailable, "store-read-only"),
            StoreError::Busy(_) => (FaultKind::Overloaded, "store-busy"),
            StoreError::Unavailable(_) => (FaultKind::Unavailable, "store-unavailable"),
            StoreError::Damaged => (FaultKind::Internal, "object-damaged"),
            StoreError::KeyMissing => (FaultKind::Internal, "object-key-missing"),
            StoreError::Database(_) => (FaultKind::Internal, "database"),
        };
        let message = error.to_string();
        if let StoreError::Full(cause)
        | StoreError::ReadOnly(cause)
        | StoreError::Busy(cause)
        | StoreError::Unavailable(cause)
        | StoreError::Database(cause) = error
        {
            tracing::warn!(code, cause = %cause, "the store could not do what was asked");
        }
        Fault::new(kind, code, message)
    }
}

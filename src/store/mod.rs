//! What must survive: pixel objects on disk, and studies, instances and jobs in SQLite beside them.
//!
//! Invariants:
//! - an object is on disk, synchronised, before a row names it; a crash between the two leaves an object without a row;
//! - a row is committed with `synchronous = FULL` before a method returns, so what was accepted can be acknowledged;
//! - a study's result, where there is one, covers every instance that the study has;
//! - a job is settled only by the claim that holds its current token;
//! - leases and times come from the database's clock.
//!
//! All SQL of the crate is in this folder.

mod database;
mod error;
mod jobs;
mod objects;
mod outcome;
mod row;
mod studies;

use std::path::Path;

use bytes::Bytes;

pub use error::{Cause, StoreError};
pub use jobs::{Job, Settled, WaitingStudies, WaitingStudy};
pub use objects::{KeysError, ObjectKeys, ObjectPlace, ObjectState, Objects, PlaceError, Sha, StoredObject};
pub use row::{InstanceRow, NewInstance, StudyRow, StudyState, Timestamp};
pub use studies::Accepted;

use database::Database;

/// A handle to everything stored under one data folder; a clone is the same store.
#[derive(Clone, Debug)]
pub struct Store {
    database: Database,
    objects: Objects,
}

impl Store {
    /// Opens the store in `folder`, which is made if it is missing, and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError`] where the folder cannot be written or what lies there is not a store.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        let objects = Objects::open(&ObjectPlace::Folder(folder.join("objects")), None).await?;
        let database = Database::open(&folder.join("osteon.sqlite")).await?;
        Ok(Self { database, objects })
    }

    /// Keeps the bytes of one object; when this returns they survive a crash.
    pub async fn put_object(&self, bytes: Bytes) -> Result<Sha, StoreError> {
        self.objects.put(bytes).await
    }

    /// The bytes of an object, exactly as they were put.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where they are gone or no longer have this digest.
    pub async fn object(&self, sha: &Sha) -> Result<Bytes, StoreError> {
        self.objects.get(sha).await
    }

    /// Whether the database answers, for a readiness check.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.database.ping().await
    }

    /// Waits for what is running in the database and closes it.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

#[cfg(test)]
mod job_tests;
#[cfg(test)]
mod tests;

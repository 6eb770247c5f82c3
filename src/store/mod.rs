//! What must survive: pixel objects in a folder or a bucket, and studies, jobs, results, workitems and events in SQLite or PostgreSQL.
//!
//! Invariants:
//! - an object is kept, synchronised, before a row names it; a crash between the two leaves an object without a row;
//! - a row is committed and on disk before a method returns, so what was accepted can be acknowledged;
//! - a study's result, where there is one, covers every instance that the study has;
//! - a job is settled only by the claim that holds its current token;
//! - leases and times come from the database's clock.
//!
//! All SQL of the crate is in this folder.

mod arrivals;
mod check;
mod database;
mod deliveries;
mod error;
mod events;
mod fetches;
mod giving_up;
mod held;
mod job;
mod made;
mod objects;
mod oversight;
mod place;
mod queue;
mod records;
mod result_key;
mod results;
mod retrieval;
mod row;
mod search;
mod studies;
mod sweep;
mod workitems;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

pub use arrivals::{Accepted, Asked, Patience, Snapshot};
pub use check::{Disagreement, StoreReport};
pub use deliveries::DeliveryRow;
pub use error::{Cause, StoreError};
pub use events::{Event, EventKind};
pub use fetches::Fetched;
pub use job::{Job, JobRow, Kind, Settled, Work};
pub use made::{MadeObject, OWN_ARCHIVE};
pub use objects::{
    KeysError, ObjectKeys, ObjectPlace, ObjectState, Objects, PlaceError, Sha, Stored, StoredObject,
};
pub use oversight::Backlog;
pub use place::DatabasePlace;
pub use result_key::ResultKey;
pub use results::{Input, NewResult, ResultRow, input_digest};
pub use retrieval::KeptHeader;
pub use row::{Basis, Completeness, InstanceRow, NewInstance, StudyRow, StudyState, Timestamp};
pub use search::{Found, Search, StudyCounts};
pub use sweep::Swept;
pub use workitems::{MOST_FOUND, NewWorkitem, Report, Target};

use database::Database;

/// Where everything is kept.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// The rows.
    pub database: DatabasePlace,
    /// The pixels.
    pub objects: ObjectPlace,
    /// With what they are encrypted, if they are.
    pub keys: Option<ObjectKeys>,
    /// The names of the destinations that every result is queued for.
    pub destinations: Vec<String>,
}

impl StoreSettings {
    /// SQLite and a folder of objects, side by side in one folder.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            database: DatabasePlace::Sqlite(folder.join("osteon.sqlite")),
            objects: ObjectPlace::Folder(folder.join("objects")),
            keys: None,
            destinations: Vec::new(),
        }
    }
}

/// A handle to everything that is stored; a clone is the same store.
#[derive(Clone, Debug)]
pub struct Store {
    database: Database,
    objects: Objects,
    destinations: Arc<[String]>,
}

impl Store {
    /// Opens the store, whose folders are made if they are missing, and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError`] where a place cannot be reached or written, or what lies there is not a store.
    pub async fn open(settings: &StoreSettings) -> Result<Self, StoreError> {
        let objects = Objects::open(&settings.objects, settings.keys.clone()).await?;
        let database = Database::open(&settings.database).await?;
        Ok(Self {
            database,
            objects,
            destinations: settings.destinations.clone().into(),
        })
    }

    /// Keeps the bytes of one object; when this returns they survive a crash.
    pub async fn put_object(&self, bytes: Bytes) -> Result<(Sha, Stored), StoreError> {
        self.objects.keep(bytes).await
    }

    /// The bytes of an object, exactly as they were put.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where they are gone or no longer have this digest.
    pub async fn object(&self, sha: &Sha) -> Result<Bytes, StoreError> {
        self.objects.get(sha).await
    }

    /// Whether database and objects can be reached, for a readiness check.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.database.ping().await?;
        self.objects.ping().await
    }

    /// Waits for what is running in the database and closes it.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

#[cfg(test)]
mod deliveries_tests;
#[cfg(test)]
mod fetch_tests;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod made_tests;
#[cfg(test)]
mod queue_tests;
#[cfg(test)]
mod record_tests;
#[cfg(test)]
mod retry_tests;
#[cfg(test)]
mod sweep_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod urgency_tests;
#[cfg(test)]
mod workitem_ending_tests;
#[cfg(test)]
mod workitem_search_tests;
#[cfg(test)]
mod workitem_subscription_tests;
#[cfg(test)]
mod workitem_tests;

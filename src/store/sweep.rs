//! What nobody needs any more: objects without a row, and images that the retention policy lets go.
//!
//! Invariant: an object that a row names is never removed. The sweeper takes only objects that are older than any sender needs from
//! storing one to naming it, and looks once more how old they are before it does. One that was there before a sender came could be taken between the two, so the sender, in the
//! transaction that names it, holds a lock on its digest and looks whether it is still there; the sweeper holds the same lock,
//! against all others, from its last look for a name until the object is gone.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt as _, pin_mut};
use serde_json::json;
use sqlx::Row;

use super::database::{Engine, Lock, millis, sql};
use super::events::{EventKind, happened};
use super::{Sha, Store, StoreError, StoredObject, Timestamp};

/// How many images the retention policy looks at for one transaction.
const BATCH: i64 = 100;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many objects.
    pub objects: u64,
    /// How much they took.
    pub bytes: u64,
}

/// By the clock of this machine: an age of hours forgives a place whose clock differs by minutes.
fn is_old(modified: Timestamp, age: Duration) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    modified.0.saturating_add(millis(age)) <= millis(now)
}

impl Store {
    /// Removes objects that are older than `age` and that neither an instance nor a result names, and what writers have left half-written.
    pub async fn sweep(&self, age: Duration) -> Result<Swept, StoreError> {
        self.objects.remove_leftovers().await?;
        let mut swept = Swept::default();
        let objects = self.objects.list();
        pin_mut!(objects);
        while let Some(object) = objects.next().await {
            let object = object?;
            // most are named: that is found out without keeping a writer waiting
            if is_old(object.modified, age)
                && !self.is_named(&object.sha).await?
                && self.removed_unnamed(&object, age).await?
            {
                swept.objects += 1;
                swept.bytes += object.bytes;
            }
        }
        Ok(swept)
    }

    /// Whether an instance or a result needs an object.
    pub(super) async fn is_named(&self, object: &Sha) -> Result<bool, StoreError> {
        let named = self
            .database
            .query(NAMED)
            .bind(object.to_string())
            .fetch_optional(self.database.read())
            .await?;
        Ok(named.is_some())
    }

    /// To its end also where the sweep is not: a removal that was cut off could come about after its lock is gone.
    async fn removed_unnamed(&self, object: &StoredObject, age: Duration) -> Result<bool, StoreError> {
        let (store, object) = (self.clone(), object.clone());
        let removal = tokio::spawn(async move { store.remove_unnamed(&object, age).await });
        removal
            .await
            .map_err(|error| StoreError::Unavailable(error.into()))?
    }

    /// `object` is what the list said of it, which may be long ago.
    pub(super) async fn remove_unnamed(
        &self,
        object: &StoredObject,
        age: Duration,
    ) -> Result<bool, StoreError> {
        let mut write = self.database.write().await?;
        if write.engine() == Engine::Postgres {
            // the lock lasts for as long as this process is at it, even if it is stopped for a while
            let patient = sql!("SET LOCAL idle_in_transaction_session_timeout = 0");
            write.query(patient).execute(write.connection()?).await?;
        }
        write.lock(object.sha.to_string(), Lock::Exclusive).await?;
        let named = write
            .query(NAMED)
            .bind(object.sha.to_string())
            .fetch_optional(write.connection()?)
            .await?;
        // another sweeper may have taken it since it was listed, and a sender stored it anew, who need not hold the lock
        let unwanted = named.is_none()
            && self
                .objects
                .modified(&object.sha)
                .await?
                .is_some_and(|at| is_old(at, age));
        if unwanted {
            self.objects.remove(&object.sha).await?;
        }
        write.commit().await?;
        Ok(unwanted)
    }

    /// Lets go of the images of studies that are settled, whose results are delivered or given up, and of which nothing has arrived for
    /// `age`. Results, what was made of them, and events stay; the sweeper removes the objects. Gives the number of studies.
    pub async fn forget_images(&self, age: Duration) -> Result<usize, StoreError> {
        let (mut forgotten, mut last) = (0, (i64::MIN, String::new()));
        loop {
            let rows = self
                .database
                .query(sql!(
                    "SELECT received_at, sop_uid, study_uid FROM instances WHERE removed_at IS NULL AND made_for IS NULL \
                     AND received_at <= " now " - $1 AND (received_at, sop_uid) > ($2, $3) ORDER BY received_at, sop_uid LIMIT $4"
                ))
                .bind(millis(age))
                .bind(last.0)
                .bind(last.1)
                .bind(BATCH)
                .fetch_all(self.database.read())
                .await?;
            let Some(end) = rows.last() else {
                return Ok(forgotten);
            };
            last = (end.try_get("received_at")?, end.try_get("sop_uid")?);
            let mut studies = BTreeSet::new();
            for row in &rows {
                studies.insert(row.try_get::<String, _>("study_uid")?);
            }
            forgotten += self.forget_settled(studies, age).await?;
        }
    }

    /// Lets go of the images of those studies of which that may be; gives their number.
    async fn forget_settled(&self, studies: BTreeSet<String>, age: Duration) -> Result<usize, StoreError> {
        let mut forgotten = 0;
        let mut write = self.database.write().await?;
        for study in studies {
            let row = write
                .query(sql!(
                    "UPDATE studies SET images_removed_at = " now " WHERE study_uid = $1 AND state IN ('scored', 'refused', 'failed') \
                     AND last_arrival_at <= " now " - $2 \
                     AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.study_uid = studies.study_uid AND jobs.state IN ('ready', 'running')) \
                     RETURNING generation"
                ))
                .bind(study.clone())
                .bind(millis(age))
                .fetch_optional(write.connection()?)
                .await?;
            let Some(row) = row else { continue };
            let removed = write
                .query(
                    sql!("UPDATE instances SET removed_at = " now " WHERE study_uid = $1 AND removed_at IS NULL AND made_for IS NULL"),
                )
                .bind(study.clone())
                .execute(write.connection()?)
                .await?
                .rows_affected();
            // of a study with images on several pages, only once
            if removed > 0 {
                let detail = json!({ "instances": removed });
                happened(
                    &mut write,
                    &study,
                    row.try_get("generation")?,
                    EventKind::ImagesRemoved,
                    &detail,
                )
                .await?;
                forgotten += 1;
            }
        }
        write.commit().await?;
        Ok(forgotten)
    }
}

/// Who needs an object: an instance whose image was not let go, or a result of a study whose images were not.
const NAMED: super::database::Sql = sql!(
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM instances WHERE object_sha256 = $1 AND removed_at IS NULL) \
     OR EXISTS (SELECT 1 FROM result_inputs JOIN results ON results.result_key = result_inputs.result_key \
     JOIN studies ON studies.study_uid = results.study_uid \
     WHERE result_inputs.object_sha256 = $1 AND studies.images_removed_at IS NULL)"
);

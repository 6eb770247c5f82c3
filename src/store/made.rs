//! The objects that are made of a result: instances of its study, beside those that were received.
//!
//! Invariants:
//! - they are queued in the transaction that makes the result, as a delivery to this store itself;
//! - all objects of a result become rows in one transaction, and only once: whoever finds one finds all, and those stay; what ends a
//!   making, well or not, ends the workitems that wait for the result;
//! - each result of a study gets its own, also where a later one has taken its place.

use serde_json::{Value, json};

use super::database::{Lock, Write, sql};
use super::deliveries::{delivery_id, wake_deliveries};
use super::events::{EventKind, happened};
use super::held::hold;
use super::records::put_own_record;
use super::row::InstanceRow;
use super::workitems::end_workitems;
use super::{Job, NewInstance, ObjectState, ResultKey, Settled, Store, StoreError, Stored, Work};
use crate::dicom::StudyUid;
use crate::dicom::record::Record;
use crate::failpoint;

/// The name of this store among the destinations of a result; no destination of the configuration may have it.
pub const OWN_ARCHIVE: &str = "osteon";

/// An object that was made of a result and whose bytes are stored.
#[derive(Clone, Debug, PartialEq)]
pub struct MadeObject {
    /// Who it is.
    pub instance: NewInstance,
    /// What it is found by.
    pub record: Record,
    /// Whether its bytes were there before.
    pub stored: Stored,
}

impl Store {
    /// What was made of a result, by series and UID; empty until it was made.
    pub async fn made_for(
        &self,
        study: &StudyUid,
        result: &ResultKey,
    ) -> Result<Vec<InstanceRow>, StoreError> {
        let rows = self
            .database
            .query(sql!(
                "SELECT * FROM instances WHERE study_uid = $1 AND made_for = $2 ORDER BY series_uid, sop_uid"
            ))
            .bind(study.to_string())
            .bind(result.to_string())
            .fetch_all(self.database.read())
            .await?;
        rows.iter().map(InstanceRow::read).collect()
    }

    /// Ends the claim of a delivery to this store: `objects` are the result's from now on, unless it has some. `detail` is what the
    /// study's timeline says of them beside their number.
    ///
    /// # Errors
    /// [`StoreError::Busy`] where the sweeper took one before it had a row, or a UID is that of an instance of another study; then
    /// nothing was written.
    pub async fn keep_made(
        &self,
        job: &Job,
        objects: &[MadeObject],
        detail: &Value,
    ) -> Result<Settled, StoreError> {
        let Work::Deliver { result, .. } = &job.work else {
            return Ok(Settled::Stale);
        };
        let mut write = self.database.write().await?;
        hold(&mut write, job.study.as_str()).await?;
        let held = write
            .query(sql!(
                "UPDATE jobs SET state = 'done', cause = NULL, settled_at = " now
                " WHERE job_id = $1 AND token = $2 AND state = 'running'"
            ))
            .bind(job.id.clone())
            .bind(job.token)
            .execute(write.connection()?)
            .await?
            .rows_affected();
        if held == 1 && !objects.is_empty() && !is_made(&mut write, job, result).await? {
            for object in objects {
                self.put_made(&mut write, result, object).await?;
            }
            let mut detail = detail.clone();
            detail["result_key"] = json!(result);
            detail["objects"] = json!(objects.len());
            happened(
                &mut write,
                job.study.as_str(),
                job.generation,
                EventKind::ObjectsMade,
                &detail,
            )
            .await?;
        }
        if held == 1 {
            wake_deliveries(&mut write, job.study.as_str(), result).await?;
            end_workitems(&mut write, job.study.as_str(), result).await?;
        }
        failpoint::reach("made.before-commit").await?;
        write.commit().await?;
        failpoint::reach("made.after-commit").await?;
        Ok(Settled::of(held))
    }

    async fn put_made(
        &self,
        write: &mut Write,
        result: &ResultKey,
        object: &MadeObject,
    ) -> Result<(), StoreError> {
        let MadeObject {
            instance,
            record,
            stored,
        } = object;
        if *stored == Stored::Before {
            write.lock(instance.object.to_string(), Lock::Shared).await?;
            if self.objects.check(&instance.object, false).await? != ObjectState::Present {
                return Err(StoreError::Busy("an object was swept before it had a row".into()));
            }
        }
        // a copy that came back before this was written is what was made
        let written = write
            .query(sql!(
                "INSERT INTO instances \
                 (sop_uid, study_uid, series_uid, sop_class, transfer_syntax, object_sha256, bytes, urgent, number, described, \
                 received_at, made_for) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, 1, " now ", $9) \
                 ON CONFLICT (sop_uid) DO UPDATE SET series_uid = excluded.series_uid, sop_class = excluded.sop_class, \
                 transfer_syntax = excluded.transfer_syntax, object_sha256 = excluded.object_sha256, bytes = excluded.bytes, \
                 urgent = 0, number = excluded.number, described = 1, removed_at = NULL, made_for = excluded.made_for \
                 WHERE instances.study_uid = excluded.study_uid"
            ))
            .bind(instance.uid.to_string())
            .bind(instance.study.to_string())
            .bind(instance.series.to_string())
            .bind(instance.class.clone())
            .bind(instance.transfer_syntax.clone())
            .bind(instance.object.to_string())
            .bind(instance.bytes)
            .bind(record.instance.number)
            .bind(result.to_string())
            .execute(write.connection()?)
            .await?
            .rows_affected();
        if written == 0 {
            return Err(StoreError::Busy(
                "the UID of an object is taken in another study".into(),
            ));
        }
        put_own_record(write, instance, record).await
    }

    /// Queues the making of a result's objects, if it was never queued: the result is from before objects were kept.
    pub async fn queue_making(
        &self,
        study: &StudyUid,
        generation: i64,
        result: &ResultKey,
    ) -> Result<(), StoreError> {
        let mut write = self.database.write().await?;
        put_making(&mut write, study, generation, result).await?;
        write.commit().await
    }
}

/// Queues the making of a result's objects; where it waits, runs or has ended well, nothing changes, and one that was given up is tried
/// anew.
pub(super) async fn put_making(
    write: &mut Write,
    study: &StudyUid,
    generation: i64,
    result: &ResultKey,
) -> Result<(), StoreError> {
    write
        .query(sql!(
            "INSERT INTO jobs (job_id, kind, study_uid, generation, result_key, destination, state, attempts, answered, token, \
             urgent, available_at, queued_at) SELECT CAST($1 AS TEXT), 'deliver', study_uid, CAST($3 AS BIGINT), CAST($4 AS TEXT), \
             CAST($5 AS TEXT), 'ready', 0, 0, 0, " urgent ", " now ", " now " FROM studies WHERE study_uid = $2 \
             ON CONFLICT (job_id) DO UPDATE SET state = 'ready', attempts = 0, answered = 0, token = jobs.token + 1, \
             urgent = excluded.urgent, available_at = excluded.available_at, queued_at = excluded.queued_at, settled_at = NULL, cause = NULL WHERE jobs.state = 'dead'"
        ))
        .bind(delivery_id(result, OWN_ARCHIVE))
        .bind(study.to_string())
        .bind(generation)
        .bind(result.to_string())
        .bind(OWN_ARCHIVE)
        .execute(write.connection()?)
        .await?;
    Ok(())
}

/// Whether the making of a result's objects waits or runs.
pub(super) async fn is_being_made(write: &mut Write, result: &ResultKey) -> Result<bool, StoreError> {
    let making = write
        .query(sql!(
            "SELECT 1 FROM jobs WHERE job_id = $1 AND state IN ('ready', 'running')"
        ))
        .bind(delivery_id(result, OWN_ARCHIVE))
        .fetch_optional(write.connection()?)
        .await?;
    Ok(making.is_some())
}

async fn is_made(write: &mut Write, job: &Job, result: &ResultKey) -> Result<bool, StoreError> {
    let made = write
        .query(sql!(
            "SELECT 1 FROM instances WHERE study_uid = $1 AND made_for = $2 LIMIT 1"
        ))
        .bind(job.study.to_string())
        .bind(result.to_string())
        .fetch_optional(write.connection()?)
        .await?;
    Ok(made.is_some())
}

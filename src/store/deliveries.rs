//! The outbox: which results wait to be sent where, and what became of it.
//!
//! Invariant: a delivery is queued in the transaction that makes its result, so that neither is there without the other.

use serde::Serialize;
use serde_json::json;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::database::{Write, sql};
use super::events::{EventKind, happened};
use super::held::hold;
use super::workitems::end_workitems;
use super::{Job, OWN_ARCHIVE, ResultKey, Settled, Store, StoreError, Timestamp, Work};
use crate::dicom::StudyUid;
use crate::failpoint;

/// Where a result stands on its way to a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeliveryRow {
    /// The name of the destination.
    pub destination: String,
    /// Which result.
    pub result_key: ResultKey,
    /// `waiting`, `sending`, `delivered`, `superseded` or `dead`.
    pub state: &'static str,
    /// How often it was tried.
    pub attempts: i64,
    /// Why it is not there yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// When it arrived, or was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Timestamp>,
}

/// The objects of a result are made, or will not be: the deliveries that wait for them are due.
pub(super) async fn wake_deliveries(
    write: &mut Write,
    study: &str,
    result: &ResultKey,
) -> Result<(), StoreError> {
    write
        .query(sql!(
            "UPDATE jobs SET available_at = " now " WHERE study_uid = $1 AND kind = 'deliver' AND result_key = $2 AND state = 'ready' \
             AND available_at > " now
        ))
        .bind(study.to_owned())
        .bind(result.to_string())
        .execute(write.connection()?)
        .await?;
    Ok(())
}

/// Queues a result for every destination; one that was delivered before is sent again, for another may have taken its place since.
pub(super) async fn queue_deliveries(
    write: &mut Write,
    job: &Job,
    result: &ResultKey,
    destinations: &[String],
) -> Result<(), StoreError> {
    for destination in destinations {
        supersede(write, job, result, destination).await?;
        write
            .query(sql!(
                "INSERT INTO jobs (job_id, kind, study_uid, generation, result_key, destination, state, attempts, answered, token, \
                 urgent, available_at, queued_at) SELECT CAST($1 AS TEXT), 'deliver', study_uid, CAST($3 AS BIGINT), CAST($4 AS TEXT), \
                 CAST($5 AS TEXT), 'ready', 0, 0, 0, " urgent ", " now ", " now " FROM studies WHERE study_uid = $2 \
                 ON CONFLICT (job_id) DO UPDATE SET state = 'ready', attempts = 0, answered = 0, token = jobs.token + 1, \
                 urgent = excluded.urgent, available_at = excluded.available_at, queued_at = excluded.queued_at, generation = excluded.generation, settled_at = NULL, cause = NULL"
            ))
            .bind(delivery_id(result, destination))
            .bind(job.study.to_string())
            .bind(job.generation)
            .bind(result.to_string())
            .bind(destination.clone())
            .execute(write.connection()?)
            .await?;
        let detail = json!({ "destination": destination, "result_key": result });
        happened(
            write,
            job.study.as_str(),
            job.generation,
            EventKind::DeliveryQueued,
            &detail,
        )
        .await?;
    }
    Ok(())
}

/// Ends the deliveries of earlier results of the study to this destination: one that waits longer for its next attempt would arrive after
/// this one, and be taken for the newest. One that is under way ends without being written down.
async fn supersede(
    write: &mut Write,
    job: &Job,
    result: &ResultKey,
    destination: &str,
) -> Result<(), StoreError> {
    let ended = write
        .query(sql!(
            "UPDATE jobs SET state = 'done', token = token + 1, settled_at = " now ", cause = $4 \
             WHERE study_uid = $1 AND kind = 'deliver' AND destination = $2 AND result_key <> $3 \
             AND state IN ('ready', 'running', 'dead') RETURNING result_key"
        ))
        .bind(job.study.to_string())
        .bind(destination.to_owned())
        .bind(result.to_string())
        .bind(SUPERSEDED)
        .fetch_all(write.connection()?)
        .await?;
    for row in &ended {
        let detail =
            json!({ "destination": destination, "result_key": row.try_get::<&str, _>("result_key")? });
        happened(
            write,
            job.study.as_str(),
            job.generation,
            EventKind::DeliverySuperseded,
            &detail,
        )
        .await?;
    }
    Ok(())
}

/// Why a delivery ended that nobody needs any more.
const SUPERSEDED: &str = "a later result is sent in its place";

impl Store {
    /// A result has arrived, and its destination has shown that it did.
    pub async fn delivered(&self, job: &Job) -> Result<Settled, StoreError> {
        self.end_delivery(job, None).await
    }

    /// Sending a result is given up for `cause`; it can be put back by hand.
    pub async fn bury_delivery(&self, job: &Job, cause: &str) -> Result<Settled, StoreError> {
        self.end_delivery(job, Some(cause)).await
    }

    async fn end_delivery(&self, job: &Job, cause: Option<&str>) -> Result<Settled, StoreError> {
        let Work::Deliver { result, destination } = &job.work else {
            return Ok(Settled::Stale);
        };
        let mut write = self.database.write().await?;
        let is_making = destination == OWN_ARCHIVE;
        if is_making {
            hold(&mut write, job.study.as_str()).await?;
        }
        let held = write
            .query(sql!(
                "UPDATE jobs SET state = $3, cause = $4, settled_at = " now
                " WHERE job_id = $1 AND token = $2 AND state = 'running'"
            ))
            .bind(job.id.clone())
            .bind(job.token)
            .bind(if cause.is_none() { "done" } else { "dead" })
            .bind(cause.map(str::to_owned))
            .execute(write.connection()?)
            .await?
            .rows_affected();
        if held == 1 {
            let (kind, detail) = match cause {
                None => (
                    EventKind::Delivered,
                    json!({ "destination": destination, "attempt": job.attempt }),
                ),
                Some(cause) => (
                    EventKind::DeliveryDead,
                    json!({ "destination": destination, "attempts": job.attempt, "cause": cause }),
                ),
            };
            happened(&mut write, job.study.as_str(), job.generation, kind, &detail).await?;
            if is_making {
                wake_deliveries(&mut write, job.study.as_str(), result).await?;
                end_workitems(&mut write, job.study.as_str(), result).await?;
            }
        }
        write.commit().await?;
        failpoint::reach("deliver.after-commit").await?;
        Ok(Settled::of(held))
    }

    /// Where the results of a study stand on their way to the destinations, the latest first.
    pub async fn deliveries(&self, study: &StudyUid) -> Result<Vec<DeliveryRow>, StoreError> {
        let rows = self
            .database
            .query(sql!(
                "SELECT destination, result_key, state, attempts, cause, settled_at FROM jobs \
                 WHERE study_uid = $1 AND kind = 'deliver' AND destination <> $2 ORDER BY queued_at DESC, destination"
            ))
            .bind(study.to_string())
            .bind(OWN_ARCHIVE)
            .fetch_all(self.database.read())
            .await?;
        rows.iter().map(DeliveryRow::read).collect()
    }

    /// Where the making of a result's objects stands: their delivery to this store. `None` where it was never queued.
    pub async fn making(&self, result: &ResultKey) -> Result<Option<DeliveryRow>, StoreError> {
        let row = self
            .database
            .query(sql!(
                "SELECT destination, result_key, state, attempts, cause, settled_at FROM jobs WHERE job_id = $1"
            ))
            .bind(delivery_id(result, OWN_ARCHIVE))
            .fetch_optional(self.database.read())
            .await?;
        row.as_ref().map(DeliveryRow::read).transpose()
    }
}

impl DeliveryRow {
    fn read(row: &AnyRow) -> Result<Self, StoreError> {
        let cause: Option<String> = row.try_get("cause")?;
        Ok(Self {
            destination: row.try_get("destination")?,
            result_key: ResultKey::stored(row.try_get("result_key")?),
            state: match row.try_get("state")? {
                "ready" => "waiting",
                "running" => "sending",
                "done" if cause.as_deref() == Some(SUPERSEDED) => "superseded",
                "done" => "delivered",
                _ => "dead",
            },
            attempts: row.try_get("attempts")?,
            cause,
            settled_at: row.try_get::<Option<i64>, _>("settled_at")?.map(Timestamp),
        })
    }
}

/// The name of the job that sends a result somewhere.
pub(super) fn delivery_id(result: &ResultKey, destination: &str) -> String {
    format!("deliver/{result}/{destination}")
}

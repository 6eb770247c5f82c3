//! For those who look after the server: what waits, what is dead, and how a dead job is put back.

use std::time::Duration;

use serde_json::json;
use sqlx::Row;

use super::database::{millis, sql};
use super::events::{EventKind, happened};
use super::fetches::wait_for;
use super::held::hold;
use super::job::JobRow;
use super::row::study_uid;
use super::{Store, StoreError};
use crate::dicom::StudyUid;

/// How much of each kind of work there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Studies that wait to be complete.
    pub received: i64,
    /// Analyses that wait or run.
    pub analyses: i64,
    /// Deliveries that wait or run.
    pub deliveries: i64,
    /// Fetches that wait or run.
    pub fetches: i64,
    /// Workitems that order a score of this server and have not ended.
    pub workitems: i64,
    /// Jobs that were given up and not put back.
    pub dead: i64,
    /// How long the job has been waiting that has waited longest, in milliseconds.
    pub oldest_ms: i64,
}

impl Store {
    /// How much there is to do.
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        let row = self
            .database
            .query(sql!(
                "SELECT (SELECT count(*) FROM studies WHERE state = 'received') AS received, \
                 (SELECT count(*) FROM jobs WHERE state = 'dead') AS dead, \
                 (SELECT count(*) FROM jobs WHERE kind = 'analyse' AND state IN ('ready', 'running')) AS analyses, \
                 (SELECT count(*) FROM jobs WHERE kind = 'deliver' AND state IN ('ready', 'running')) AS deliveries, \
                 (SELECT count(*) FROM jobs WHERE kind = 'fetch' AND state IN ('ready', 'running')) AS fetches, \
                 (SELECT count(*) FROM workitems WHERE study_uid IS NOT NULL AND state IN ('SCHEDULED', 'IN PROGRESS')) AS workitems, \
                 coalesce((SELECT " now " - min(queued_at) FROM jobs WHERE state IN ('ready', 'running')), 0) AS oldest"
            ))
            .fetch_one(self.database.read())
            .await?;
        Ok(Backlog {
            received: row.try_get("received")?,
            analyses: row.try_get("analyses")?,
            deliveries: row.try_get("deliveries")?,
            fetches: row.try_get("fetches")?,
            workitems: row.try_get("workitems")?,
            dead: row.try_get("dead")?,
            oldest_ms: row.try_get("oldest")?,
        })
    }

    /// Brings back what waits for a time that no rule sets so far ahead: `farthest` for what is to be complete, the others for jobs of each
    /// kind, `errands` for those that wait for a peer. It was written before the database's clock was set back, and would wait for as long
    /// as it was set back by. Gives their number.
    pub async fn mend_times(
        &self,
        farthest: Duration,
        analyses: Duration,
        errands: Duration,
    ) -> Result<u64, StoreError> {
        let due = self
            .database
            .query(
                sql!("UPDATE studies SET due_at = " now " WHERE state = 'received' AND due_at > $1 + " now),
            )
            .bind(millis(farthest))
            .execute(self.database.read())
            .await?;
        let mut mended = due.rows_affected();
        for (kind, farthest) in [("analyse", analyses), ("deliver", errands), ("fetch", errands)] {
            let jobs = self
                .database
                .query(sql!(
                    "UPDATE jobs SET available_at = " now " WHERE kind = $2 AND state IN ('ready', 'running') \
                     AND available_at > $1 + " now
                ))
                .bind(millis(farthest))
                .bind(kind)
                .execute(self.database.read())
                .await?;
            mended += jobs.rows_affected();
        }
        Ok(mended)
    }

    /// At most `limit` jobs that are not done, those that have waited longest first; only the dead ones, if `dead`.
    pub async fn jobs(&self, dead: bool, limit: u32) -> Result<Vec<JobRow>, StoreError> {
        let rows = self
            .database
            .query(if dead {
                sql!("SELECT * FROM jobs WHERE state = 'dead' ORDER BY settled_at LIMIT $1")
            } else {
                sql!("SELECT * FROM jobs WHERE state IN ('ready', 'running') ORDER BY available_at LIMIT $1")
            })
            .bind(i64::from(limit))
            .fetch_all(self.database.read())
            .await?;
        rows.iter().map(JobRow::read).collect()
    }

    /// Puts the dead jobs of a study back, with all attempts before them; gives their number. The outcome `failed` of an analysis
    /// that is put back stands until there is another.
    pub async fn retry_dead(&self, study: &StudyUid) -> Result<usize, StoreError> {
        let mut write = self.database.write().await?;
        hold(&mut write, study.as_str()).await?;
        let rows = write
            .query(sql!(
                "UPDATE jobs SET state = 'ready', attempts = 0, answered = 0, token = token + 1, settled_at = NULL, \
                 available_at = " now ", queued_at = " now " WHERE study_uid = $1 AND state = 'dead' \
                 AND (kind <> 'analyse' OR generation = (SELECT generation FROM studies WHERE studies.study_uid = jobs.study_uid)) \
                 RETURNING kind, generation, destination, peer"
            ))
            .bind(study.to_string())
            .fetch_all(write.connection()?)
            .await?;
        for row in &rows {
            let (kind, mut generation): (String, i64) = (row.try_get("kind")?, row.try_get("generation")?);
            let destination: Option<String> = row.try_get("destination")?;
            let peer: Option<String> = row.try_get("peer")?;
            if kind == "fetch" {
                generation = wait_for(&mut write, study.as_str()).await?;
            }
            if kind == "analyse" {
                write
                    .query(sql!(
                        "UPDATE studies SET state = 'analysing' WHERE study_uid = $1"
                    ))
                    .bind(study.to_string())
                    .execute(write.connection()?)
                    .await?;
            }
            let detail = json!({ "job": kind, "destination": destination, "peer": peer });
            happened(
                &mut write,
                study.as_str(),
                generation,
                EventKind::Retried,
                &detail,
            )
            .await?;
        }
        write.commit().await?;
        Ok(rows.len())
    }

    /// Puts every job back that is dead now; gives their number. One that dies again meanwhile stays dead: a destination that refuses
    /// at once would keep this going without an end.
    pub async fn retry_all_dead(&self) -> Result<usize, StoreError> {
        let studies = self
            .database
            .query(sql!("SELECT DISTINCT study_uid FROM jobs WHERE state = 'dead'"))
            .fetch_all(self.database.read())
            .await?;
        let mut retried = 0;
        for row in &studies {
            retried += self.retry_dead(&study_uid(row)?).await?;
        }
        Ok(retried)
    }
}

//! The queue of analyses: one job for each study and generation.
//!
//! Invariants:
//! - an attempt is counted when the job is claimed, so a worker that dies without a word has spent one;
//! - every claim has its own token, and only the claim that holds the current one can settle, renew or put back the job;
//! - a job whose attempts are spent is dead, and its study has the visible outcome `failed`, with the cause.

use std::time::Duration;

use sqlx::Row;

use super::database::{now, sql};
use super::outcome::{give_up_spent, set_outcome};
use super::row::study_uid;
use super::{Store, StoreError, Timestamp};
use crate::dicom::StudyUid;
use crate::finding::StudyResult;

/// How much longer than an urgent study another must have waited to be analysed before it.
const URGENT_BEFORE: Duration = Duration::from_mins(10);

/// The studies that wait to be complete, and the database's time when they were looked at.
#[derive(Clone, Debug)]
pub struct WaitingStudies {
    /// The database's time.
    pub now: Timestamp,
    /// Those that have waited longest, first.
    pub studies: Vec<WaitingStudy>,
}

/// A study that is received and not yet queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingStudy {
    /// Its UID.
    pub study: StudyUid,
    /// Its generation when it was looked at.
    pub generation: i64,
    /// How many instances it had.
    pub instances: i64,
    /// When its content last changed.
    pub last_arrival_at: Timestamp,
}

/// A claimed job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The study to analyse.
    pub study: StudyUid,
    /// The generation of the study that the result will belong to.
    pub generation: i64,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The fencing token of this claim.
    token: i64,
}

/// What became of an attempt to settle a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Settled {
    /// It was written.
    Stored,
    /// Another claim, or a later generation of the study, holds the job now; nothing was changed.
    Stale,
}

impl Store {
    /// At most `limit` studies that are received and not yet queued.
    pub async fn waiting(&self, limit: u32) -> Result<WaitingStudies, StoreError> {
        let rows = sqlx::query(
            "SELECT study_uid, generation, last_arrival_at, \
             (SELECT count(*) FROM instances WHERE instances.study_uid = studies.study_uid) AS instances \
             FROM studies WHERE state = 'received' ORDER BY last_arrival_at LIMIT ?1",
        )
        .bind(limit)
        .fetch_all(self.database.read())
        .await?;
        let studies = rows.iter().map(|row| {
            Ok(WaitingStudy {
                study: study_uid(row)?,
                generation: row.try_get("generation")?,
                instances: row.try_get("instances")?,
                last_arrival_at: Timestamp(row.try_get("last_arrival_at")?),
            })
        });
        let studies = studies.collect::<Result<_, StoreError>>()?;
        let now = sqlx::query(sql!("SELECT ", now!()))
            .fetch_one(self.database.read())
            .await?;
        Ok(WaitingStudies {
            now: Timestamp(now.try_get(0)?),
            studies,
        })
    }

    /// Queues the analysis of a study as it was at `generation`; `false` if it has changed or was queued since.
    pub async fn enqueue(&self, study: &StudyUid, generation: i64) -> Result<bool, StoreError> {
        let mut write = self.database.write().await?;
        let marked = sqlx::query(
            "UPDATE studies SET state = 'analysing' WHERE study_uid = ?1 AND generation = ?2 AND state = 'received'",
        )
        .bind(study.as_str())
        .bind(generation)
        .execute(write.connection()?)
        .await?
        .rows_affected();
        if marked == 1 {
            sqlx::query(sql!(
                "INSERT INTO jobs (study_uid, generation, state, attempts, token, available_at) \
                 VALUES (?1, ?2, 'ready', 0, 0, ",
                now!(),
                // as if it had waited that long already: it goes first, and what really has waited for longer never starves
                " - ?3 * EXISTS (SELECT 1 FROM instances WHERE study_uid = ?1 AND urgent = 1)",
                ") ON CONFLICT (study_uid, generation) DO NOTHING"
            ))
            .bind(study.as_str())
            .bind(generation)
            .bind(millis(URGENT_BEFORE))
            .execute(write.connection()?)
            .await?;
        }
        write.commit().await?;
        Ok(marked == 1)
    }

    /// Takes the job that has waited longest, for as long as `lease`; a job whose lease has run out is taken again.
    /// Jobs that have had `max_attempts` are given up on the way.
    pub async fn claim_job(&self, lease: Duration, max_attempts: u32) -> Result<Option<Job>, StoreError> {
        if self.due_in().await?.is_none_or(|due| !due.is_zero()) {
            return Ok(None);
        }
        let mut write = self.database.write().await?;
        give_up_spent(&mut write, max_attempts).await?;
        let row = sqlx::query(sql!(
            "UPDATE jobs SET state = 'running', attempts = attempts + 1, token = token + 1, available_at = ?1 + ",
            now!(),
            " WHERE (study_uid, generation) = (SELECT study_uid, generation FROM jobs \
             WHERE state IN ('ready', 'running') AND available_at <= ",
            now!(),
            " ORDER BY available_at LIMIT 1) RETURNING study_uid, generation, attempts, token"
        ))
        .bind(millis(lease))
        .fetch_optional(write.connection()?)
        .await?;
        let job = row.map(|row| {
            Ok::<_, StoreError>(Job {
                study: study_uid(&row)?,
                generation: row.try_get("generation")?,
                attempt: row.try_get("attempts")?,
                token: row.try_get("token")?,
            })
        });
        let job = job.transpose()?;
        write.commit().await?;
        Ok(job)
    }

    /// How long until a job may be claimed; `None` if there is none to wait for.
    pub async fn due_in(&self) -> Result<Option<Duration>, StoreError> {
        let row = sqlx::query(sql!(
            "SELECT min(available_at) - ",
            now!(),
            " FROM jobs WHERE state IN ('ready', 'running')"
        ))
        .fetch_one(self.database.read())
        .await?;
        let millis: Option<i64> = row.try_get(0)?;
        Ok(millis.map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(0))))
    }

    /// Extends the lease of a job that is making progress.
    pub async fn renew(&self, job: &Job, lease: Duration) -> Result<Settled, StoreError> {
        let mut write = self.database.write().await?;
        let renewed = sqlx::query(sql!(
            "UPDATE jobs SET available_at = ?4 + ",
            now!(),
            " WHERE study_uid = ?1 AND generation = ?2 AND token = ?3 AND state = 'running'"
        ))
        .bind(job.study.as_str())
        .bind(job.generation)
        .bind(job.token)
        .bind(millis(lease))
        .execute(write.connection()?)
        .await?
        .rows_affected();
        write.commit().await?;
        Ok(if renewed == 1 {
            Settled::Stored
        } else {
            Settled::Stale
        })
    }

    /// Stores the result of a job and makes it the study's outcome.
    pub async fn complete(&self, job: &Job, result: &StudyResult) -> Result<Settled, StoreError> {
        self.settle(job, "done", result).await
    }

    /// Gives a job up: it is dead, and `result` is the study's outcome.
    pub async fn bury(&self, job: &Job, result: &StudyResult) -> Result<Settled, StoreError> {
        self.settle(job, "dead", result).await
    }

    /// Puts a job back after an attempt that failed for `cause`, to be claimed again after `delay`.
    pub async fn fail_attempt(&self, job: &Job, cause: &str, delay: Duration) -> Result<Settled, StoreError> {
        self.put_back(job, Some(cause), delay, 0).await
    }

    /// Puts a job back untried, to be claimed again after `delay`: the attempt does not count.
    pub async fn release(&self, job: &Job, delay: Duration) -> Result<Settled, StoreError> {
        self.put_back(job, None, delay, 1).await
    }

    async fn put_back(
        &self,
        job: &Job,
        cause: Option<&str>,
        delay: Duration,
        uncounted: i64,
    ) -> Result<Settled, StoreError> {
        let mut write = self.database.write().await?;
        let changed = sqlx::query(sql!(
            "UPDATE jobs SET state = 'ready', attempts = attempts - ?6, cause = coalesce(?4, cause), \
             available_at = ?5 + ",
            now!(),
            " WHERE study_uid = ?1 AND generation = ?2 AND token = ?3 AND state = 'running'"
        ))
        .bind(job.study.as_str())
        .bind(job.generation)
        .bind(job.token)
        .bind(cause)
        .bind(millis(delay))
        .bind(uncounted)
        .execute(write.connection()?)
        .await?
        .rows_affected();
        write.commit().await?;
        Ok(if changed == 1 {
            Settled::Stored
        } else {
            Settled::Stale
        })
    }

    async fn settle(
        &self,
        job: &Job,
        state: &'static str,
        result: &StudyResult,
    ) -> Result<Settled, StoreError> {
        let mut write = self.database.write().await?;
        let held = sqlx::query(sql!(
            "UPDATE jobs SET state = ?4, cause = ?5, settled_at = ",
            now!(),
            " WHERE study_uid = ?1 AND generation = ?2 AND token = ?3 AND state = 'running'"
        ))
        .bind(job.study.as_str())
        .bind(job.generation)
        .bind(job.token)
        .bind(state)
        .bind(result.reason.as_ref().map(|reason| reason.message.as_str()))
        .execute(write.connection()?)
        .await?
        .rows_affected();
        if held == 1 {
            set_outcome(&mut write, &job.study, job.generation, result).await?;
        }
        write.commit().await?;
        Ok(if held == 1 {
            Settled::Stored
        } else {
            Settled::Stale
        })
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}

//! The queue of analyses, deliveries and fetches.
//!
//! Invariants:
//! - an attempt is counted when the job is claimed, so a worker that dies without a word has spent one;
//! - every claim has its own token, and only the claim that holds the current one can settle, renew or put back the job;
//! - a job whose attempts are spent is dead, and its study has the visible outcome `failed`, with the cause;
//! - a job's name is made from what it is about, so that the same work is never queued twice;
//! - leases are in the database's time;
//! - what is urgent goes first, also after it was put back, and what is not never starves.

use std::time::Duration;

use serde_json::json;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::arrivals::Snapshot;
use super::database::{Write, millis, sql};
use super::events::{EventKind, happened, happened_anew};
use super::row::{key, snapshot, study_uid, to_json, unreadable};
use super::workitems::begin_workitems;
use super::{Completeness, Job, Kind, Settled, Store, StoreError, Work};
use crate::failpoint;

/// How much longer than urgent work other work must have waited to go before it.
const URGENT_BEFORE: Duration = Duration::from_mins(10);

/// A study that counts as complete and is not yet queued.
struct Due {
    study: String,
    generation: i64,
    snapshot: Snapshot,
}

impl Store {
    /// Queues the analysis of at most `limit` studies that count as complete; `describe` says how complete each is. Gives their number.
    pub async fn enqueue_due(
        &self,
        limit: u32,
        describe: impl Fn(&Snapshot) -> Completeness,
    ) -> Result<usize, StoreError> {
        let is_due = self
            .database
            .query(sql!("SELECT 1 FROM studies WHERE state = 'received' AND fetches = 0 AND generation > 0 AND due_at <= " now " LIMIT 1"))
            .fetch_optional(self.database.read())
            .await?;
        if is_due.is_none() {
            return Ok(0);
        }
        let mut write = self.database.write().await?;
        let due = due(&mut write, limit).await?;
        for study in &due {
            let completeness = to_json(&describe(&study.snapshot))?;
            enqueue(&mut write, study, completeness).await?;
        }
        failpoint::reach("enqueue.before-commit").await?;
        write.commit().await?;
        failpoint::reach("enqueue.after-commit").await?;
        Ok(due.len())
    }

    /// How long until a received study counts as complete; `None` if none is received.
    pub async fn next_due_in(&self) -> Result<Option<Duration>, StoreError> {
        self.millis_until(self.database.query(
            sql!("SELECT min(due_at) - " now " FROM studies WHERE state = 'received' AND fetches = 0 AND generation > 0"),
        ))
        .await
    }

    /// How long until a job may be claimed; `None` if there is none to wait for.
    pub async fn due_in(&self, kind: Kind<'_>) -> Result<Option<Duration>, StoreError> {
        let query = self
            .database
            .query(sql!(
                // each half is the first entry of an index
                "SELECT min(first) - " now " FROM (SELECT min(available_at) AS first FROM jobs WHERE kind = $1 \
                 AND coalesce(destination, peer, '') = $2 AND urgent = 1 AND state IN ('ready', 'running') \
                 UNION ALL SELECT min(available_at) AS first FROM jobs WHERE kind = $1 \
                 AND coalesce(destination, peer, '') = $2 AND urgent = 0 AND state IN ('ready', 'running')) AS firsts"
            ))
            .bind(kind.name())
            .bind(kind.peer());
        self.millis_until(query).await
    }

    async fn millis_until(&self, query: super::database::Statement) -> Result<Option<Duration>, StoreError> {
        let row = query.fetch_one(self.database.read()).await?;
        let millis: Option<i64> = row.try_get(0)?;
        Ok(millis.map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(0))))
    }

    /// Takes at most `limit` of the jobs that have waited longest, those that are urgent as if for ten minutes more, for as long as `lease`;
    /// a job whose lease has run out is taken again. Jobs that have had `max_attempts` are given up on the way.
    pub async fn claim(
        &self,
        kind: Kind<'_>,
        limit: usize,
        lease: Duration,
        max_attempts: u32,
    ) -> Result<Vec<Job>, StoreError> {
        if self.due_in(kind).await?.is_none_or(|due| !due.is_zero()) {
            return Ok(Vec::new());
        }
        // before the claim, since nothing that fails after it may lose what was claimed; and apart from it, so that what cannot be
        // given up takes no place from what can be done
        self.give_up_all_spent(kind, max_attempts).await?;
        let mut write = self.database.write().await?;
        let mut waiting = Vec::new();
        for urgent in [true, false] {
            let rows = write
                .query(sql!(
                    "SELECT job_id, study_uid, generation, attempts, answered, token, result_key, destination, peer, urgent, available_at \
                     FROM jobs WHERE kind = $1 AND coalesce(destination, peer, '') = $4 AND urgent = $5 \
                     AND state IN ('ready', 'running') AND attempts < $3 AND available_at <= " now " ORDER BY available_at LIMIT $2" skip_locked
                ))
                .bind(kind.name())
                .bind(limit as i64)
                .bind(i64::from(max_attempts))
                .bind(kind.peer())
                .bind(i64::from(urgent))
                .fetch_all(write.connection()?)
                .await?;
            for row in rows {
                let since: i64 = row.try_get("available_at")?;
                let ahead = if urgent { millis(URGENT_BEFORE) } else { 0 };
                waiting.push((since.saturating_sub(ahead), row));
            }
        }
        waiting.sort_by_key(|(since, _)| *since);
        let mut claimed = Vec::new();
        for (_, row) in waiting.iter().take(limit) {
            claimed.push(take(&mut write, row, lease).await?);
        }
        write.commit().await?;
        if !claimed.is_empty() {
            failpoint::reach("claim.after-commit").await?;
        }
        Ok(claimed)
    }

    /// Extends the lease of a job that is making progress.
    pub async fn renew(&self, job: &Job, lease: Duration) -> Result<Settled, StoreError> {
        let renewed = self
            .database
            .query(sql!(
                "UPDATE jobs SET available_at = $3 + " now " WHERE job_id = $1 AND token = $2 AND state = 'running'"
            ))
            .bind(job.id.clone())
            .bind(job.token)
            .bind(millis(lease))
            .execute(self.database.read())
            .await?;
        Ok(Settled::of(renewed.rows_affected()))
    }

    /// Puts a job back after an attempt that failed for `cause`, to be claimed again after `delay`.
    pub async fn fail_attempt(&self, job: &Job, cause: &str, delay: Duration) -> Result<Settled, StoreError> {
        self.put_back(job, Some(cause), delay).await
    }

    /// Puts a job back untried, to be claimed again after `delay`: the attempt does not count.
    pub async fn release(&self, job: &Job, delay: Duration) -> Result<Settled, StoreError> {
        self.put_back(job, None, delay).await
    }

    async fn put_back(&self, job: &Job, cause: Option<&str>, delay: Duration) -> Result<Settled, StoreError> {
        let mut write = self.database.write().await?;
        let uncounted = i64::from(cause.is_none());
        let changed = write
            .query(sql!(
                // what is put back untried keeps its place, and what is held against it
                "UPDATE jobs SET state = 'ready', attempts = attempts - $5, \
                 answered = CASE WHEN $5 = 1 THEN answered ELSE attempts END, cause = coalesce($3, cause), \
                 available_at = CASE WHEN $4 > 0 THEN $4 + " now " ELSE queued_at END \
                 WHERE job_id = $1 AND token = $2 AND state = 'running'"
            ))
            .bind(job.id.clone())
            .bind(job.token)
            .bind(cause.map(str::to_owned))
            .bind(millis(delay))
            .bind(uncounted)
            .execute(write.connection()?)
            .await?
            .rows_affected();
        // a queue that is full for an hour is no event every second
        if changed == 1 && (cause.is_some() || delay.is_zero()) {
            let (kind, detail) = match (&job.work, cause) {
                (Work::Analyse, Some(cause)) => (
                    EventKind::AttemptFailed,
                    json!({ "attempt": job.attempt, "cause": cause }),
                ),
                (Work::Deliver { destination, .. }, Some(cause)) => (
                    EventKind::DeliveryFailed,
                    json!({ "attempt": job.attempt, "cause": cause, "destination": destination }),
                ),
                (Work::Fetch { peer }, Some(cause)) => (
                    EventKind::FetchFailed,
                    json!({ "attempt": job.attempt, "cause": cause, "peer": peer }),
                ),
                (_, None) => (
                    EventKind::Released,
                    json!({ "attempt": job.attempt, "job": job.kind().name(), "peer": job.peer() }),
                ),
            };
            happened(&mut write, job.study.as_str(), job.generation, kind, &detail).await?;
        }
        write.commit().await?;
        Ok(Settled::of(changed))
    }
}

impl Job {
    /// Where its study is fetched from, for a fetch.
    pub(super) fn peer(&self) -> Option<&str> {
        match &self.work {
            Work::Fetch { peer } => Some(peer),
            Work::Analyse | Work::Deliver { .. } => None,
        }
    }

    /// What kind of work it is.
    #[must_use]
    pub fn kind(&self) -> Kind<'_> {
        match &self.work {
            Work::Analyse => Kind::Analyse,
            Work::Deliver { destination, .. } => Kind::Deliver(destination),
            Work::Fetch { peer } => Kind::Fetch(peer),
        }
    }

    /// The job of a row whose attempts are spent.
    pub(super) fn given_up(row: &AnyRow) -> Result<Self, StoreError> {
        Self::read(row, row.try_get("attempts")?, false, row.try_get("token")?)
    }

    fn read(row: &AnyRow, attempt: i64, suspect: bool, token: i64) -> Result<Self, StoreError> {
        let work = match (
            key(row, "result_key")?,
            row.try_get::<Option<String>, _>("destination")?,
            row.try_get::<Option<String>, _>("peer")?,
        ) {
            (None, None, None) => Work::Analyse,
            (Some(result), Some(destination), None) => Work::Deliver { result, destination },
            (None, None, Some(peer)) => Work::Fetch { peer },
            _ => {
                return Err(unreadable(
                    "a delivery needs a result and a destination, a fetch a peer",
                ));
            }
        };
        Ok(Self {
            id: row.try_get("job_id")?,
            work,
            study: study_uid(row)?,
            generation: row.try_get("generation")?,
            attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
            suspect,
            urgent: row.try_get::<i64, _>("urgent")? != 0,
            token,
        })
    }
}

/// The studies that count as complete, those that have for longest first; each is held until the transaction ends.
async fn due(write: &mut Write, limit: u32) -> Result<Vec<Due>, StoreError> {
    let rows = write
        .query(sql!(
            "SELECT study_uid, generation, expected, ordered, " awaited ", \
             (SELECT count(*) FROM instances WHERE instances.study_uid = studies.study_uid AND made_for IS NULL) AS instances \
             FROM studies WHERE state = 'received' AND fetches = 0 AND generation > 0 AND due_at <= " now " ORDER BY due_at LIMIT $1" skip_locked
        ))
        .bind(i64::from(limit))
        .fetch_all(write.connection()?)
        .await?;
    let due = rows.iter().map(|row| {
        Ok(Due {
            study: row.try_get("study_uid")?,
            generation: row.try_get("generation")?,
            snapshot: snapshot(row)?,
        })
    });
    due.collect()
}

async fn enqueue(write: &mut Write, due: &Due, completeness: String) -> Result<(), StoreError> {
    write
        .query(sql!(
            "UPDATE studies SET state = 'analysing', completeness = $2 WHERE study_uid = $1"
        ))
        .bind(due.study.clone())
        .bind(completeness.clone())
        .execute(write.connection()?)
        .await?;
    write
        .query(sql!(
            "INSERT INTO jobs (job_id, kind, study_uid, generation, state, attempts, answered, token, urgent, available_at, queued_at) \
             SELECT CAST($1 AS TEXT), 'analyse', study_uid, CAST($3 AS BIGINT), 'ready', 0, 0, 0, " urgent ", " now ", " now
            " FROM studies WHERE study_uid = $2 ON CONFLICT (job_id) DO NOTHING"
        ))
        .bind(format!("analyse/{}/{}", due.study, due.generation))
        .bind(due.study.clone())
        .bind(due.generation)
        .execute(write.connection()?)
        .await?;
    let detail: serde_json::Value = super::row::from_json(&completeness)?;
    happened(write, &due.study, due.generation, EventKind::Queued, &detail).await
}

/// Claims the job of this row.
async fn take(write: &mut Write, row: &AnyRow, lease: Duration) -> Result<Job, StoreError> {
    let (attempts, answered): (i64, i64) = (row.try_get("attempts")?, row.try_get("answered")?);
    let token = row.try_get::<i64, _>("token")? + 1;
    let attempt = if failpoint::is_off("claim.no-count") {
        attempts
    } else {
        attempts + 1
    };
    let job = Job::read(row, attempt, attempts > answered, token)?;
    write
        .query(sql!(
            "UPDATE jobs SET state = 'running', attempts = $3, token = $2, claimed_at = " now ", available_at = $4 + " now " WHERE job_id = $1"
        ))
        .bind(job.id.clone())
        .bind(token)
        .bind(attempt)
        .bind(millis(lease))
        .execute(write.connection()?)
        .await?;
    if job.work == Work::Analyse {
        happened_anew(
            write,
            job.study.as_str(),
            job.generation,
            EventKind::Claimed,
            &json!({ "attempt": job.attempt }),
        )
        .await?;
        begin_workitems(write, job.study.as_str()).await?;
    }
    Ok(job)
}

/// Holds the jobs of a study that is held: before its workitems, as whoever claims does.
pub(super) async fn hold_jobs(write: &mut Write, study: &str) -> Result<(), StoreError> {
    write
        .query(sql!(
            "SELECT job_id FROM jobs WHERE study_uid = $1 AND state IN ('ready', 'running') ORDER BY job_id" for_update
        ))
        .bind(study.to_owned())
        .fetch_all(write.connection()?)
        .await?;
    Ok(())
}

/// What says whether a study goes before others has changed: so have its jobs.
pub(super) async fn rank_jobs(write: &mut Write, study: &str) -> Result<(), StoreError> {
    write
        .query(sql!(
            "UPDATE jobs SET urgent = (SELECT " urgent " FROM studies WHERE studies.study_uid = jobs.study_uid) \
             WHERE study_uid = $1 AND state IN ('ready', 'running')"
        ))
        .bind(study.to_owned())
        .execute(write.connection()?)
        .await?;
    Ok(())
}

//! Fetches: studies that were ordered from a peer, and what became of each order.
//!
//! Invariants:
//! - while a fetch of a study waits or runs the study is not complete: `fetches` counts them in the transaction that queues or ends one;
//! - a fetch that ends well is followed by an analysis of what there is then; one that is given up leaves the study with an outcome:
//!   `failed` with the cause where nothing of it is there, otherwise what is there is analysed or stays as it was.

use serde_json::json;
use sqlx::Row;

use super::arrivals::end_analyses;
use super::database::{Sql, Write, sql};
use super::events::{EventKind, happened};
use super::held::{hold, hold_or_make};
use super::results::set_outcome;
use super::workitems::abandon_workitems;
use super::{Job, NewResult, Settled, Store, StoreError};
use crate::dicom::StudyUid;
use crate::failpoint;

/// What a fetch that ended well has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// How many instances the peer listed.
    pub listed: i64,
    /// How many of them came in this attempt.
    pub fetched: i64,
    /// How many were here before.
    pub already_here: i64,
    /// Why some could not be taken: the first reason.
    pub refused: Option<String>,
}

/// How a fetch ends.
enum End<'a> {
    Well(&'a Fetched),
    GivenUp(&'a str),
}

/// Jobs to fetch for which a workitem has come since they were claimed that lists what is not here: it may have been made of what the peer
/// has got since it was asked.
const ASKED_SINCE: Sql = sql!(
    "SELECT 1 FROM jobs JOIN workitems ON workitems.study_uid = jobs.study_uid AND workitems.peer = jobs.peer \
     WHERE jobs.job_id = $1 AND workitems.state IN ('SCHEDULED', 'IN PROGRESS') AND workitems.state = 'SCHEDULED' \
     AND workitems.created_at >= jobs.claimed_at AND NOT (" has_input ") LIMIT 1"
);

impl Store {
    /// Orders a study from `peer`, a name of the configuration. When this returns the order survives a crash; one that waits or runs
    /// already is the same order.
    pub async fn order_fetch(&self, study: &StudyUid, peer: &str) -> Result<(), StoreError> {
        let mut write = self.database.write().await?;
        hold_or_make(&mut write, study.as_str()).await?;
        queue_fetch(&mut write, study.as_str(), peer).await?;
        failpoint::reach("order.before-commit").await?;
        write.commit().await?;
        failpoint::reach("order.after-commit").await?;
        Ok(())
    }

    /// All that the peer has and that can be taken is here: the study is complete and is analysed, also if it was before. Where a workitem
    /// came meanwhile that lists more, the peer is asked once more first.
    pub async fn fetched(&self, job: &Job, fetched: &Fetched) -> Result<Settled, StoreError> {
        self.end_fetch(job, &End::Well(fetched)).await
    }

    /// A fetch is given up for `cause`; it can be put back by hand.
    pub async fn bury_fetch(&self, job: &Job, cause: &str) -> Result<Settled, StoreError> {
        self.end_fetch(job, &End::GivenUp(cause)).await
    }

    async fn end_fetch(&self, job: &Job, end: &End<'_>) -> Result<Settled, StoreError> {
        let (state, cause) = match end {
            End::Well(_) => ("done", None),
            End::GivenUp(cause) => ("dead", Some((*cause).to_owned())),
        };
        let mut write = self.database.write().await?;
        hold(&mut write, job.study.as_str()).await?;
        if matches!(end, End::Well(_)) && look_again(&mut write, job).await? {
            write.commit().await?;
            return Ok(Settled::Stored);
        }
        let held = write
            .query(sql!(
                "UPDATE jobs SET state = $3, cause = $4, settled_at = " now
                " WHERE job_id = $1 AND token = $2 AND state = 'running'"
            ))
            .bind(job.id.clone())
            .bind(job.token)
            .bind(state)
            .bind(cause)
            .execute(write.connection()?)
            .await?
            .rows_affected();
        if held == 1 {
            match end {
                End::Well(fetched) => complete(&mut write, job, fetched).await?,
                End::GivenUp(cause) => give_up(&mut write, job, cause).await?,
            }
        }
        failpoint::reach("fetch.before-commit").await?;
        write.commit().await?;
        failpoint::reach("fetch.after-commit").await?;
        Ok(Settled::of(held))
    }
}

/// Queues a fetch of a study that is held, if the same one does not wait or run already.
pub(super) async fn queue_fetch(write: &mut Write, study: &str, peer: &str) -> Result<(), StoreError> {
    let queued = write
        .query(sql!(
            "INSERT INTO jobs (job_id, kind, study_uid, generation, peer, state, attempts, answered, token, urgent, available_at, queued_at) \
             SELECT CAST($1 AS TEXT), 'fetch', study_uid, generation, CAST($3 AS TEXT), 'ready', 0, 0, 0, " urgent ", " now ", " now
            " FROM studies WHERE study_uid = $2 \
             ON CONFLICT (job_id) DO UPDATE SET state = 'ready', attempts = 0, answered = 0, token = jobs.token + 1, \
             urgent = excluded.urgent, available_at = excluded.available_at, queued_at = excluded.queued_at, generation = excluded.generation, settled_at = NULL, \
             cause = NULL WHERE jobs.state IN ('done', 'dead')"
        ))
        .bind(format!("fetch/{study}/{peer}"))
        .bind(study.to_owned())
        .bind(peer.to_owned())
        .execute(write.connection()?)
        .await?
        .rows_affected();
    if queued == 1 {
        let generation = wait_for(write, study).await?;
        let detail = json!({ "peer": peer });
        happened(write, study, generation, EventKind::FetchQueued, &detail).await?;
    }
    Ok(())
}

/// Puts a fetch that ended well back where a workitem came while it ran and lacks input; gives whether it did.
async fn look_again(write: &mut Write, job: &Job) -> Result<bool, StoreError> {
    let asked = write
        .query(ASKED_SINCE)
        .bind(job.id.clone())
        .fetch_optional(write.connection()?)
        .await?;
    if asked.is_none() {
        return Ok(false);
    }
    let again = write
        .query(sql!(
            "UPDATE jobs SET state = 'ready', attempts = 0, answered = 0, available_at = " now
            " WHERE job_id = $1 AND token = $2 AND state = 'running'"
        ))
        .bind(job.id.clone())
        .bind(job.token)
        .execute(write.connection()?)
        .await?
        .rows_affected();
    if again == 1 {
        let detail = json!({ "peer": job.peer(), "again": "a workitem that came meanwhile lists more" });
        happened(
            write,
            job.study.as_str(),
            job.generation,
            EventKind::FetchQueued,
            &detail,
        )
        .await?;
    }
    Ok(again == 1)
}

/// One more fetch is waited for. A study of which nothing is here, and which has failed for that, is waited for anew. Gives the study's
/// generation.
pub(super) async fn wait_for(write: &mut Write, study: &str) -> Result<i64, StoreError> {
    write
        .query(sql!(
            "UPDATE studies SET state = 'received', result_key = NULL, generation = generation + 1 WHERE study_uid = $1 \
             AND state = 'failed' AND NOT EXISTS (SELECT 1 FROM instances WHERE instances.study_uid = studies.study_uid AND made_for IS NULL)"
        ))
        .bind(study.to_owned())
        .execute(write.connection()?)
        .await?;
    let row = write
        .query(sql!(
            "UPDATE studies SET fetches = fetches + 1 WHERE study_uid = $1 RETURNING generation"
        ))
        .bind(study.to_owned())
        .fetch_one(write.connection()?)
        .await?;
    Ok(row.try_get("generation")?)
}

/// A study is due now, with as many instances expected as the peer listed. One that is settled is analysed anew; of one whose analysis
/// waits or runs nothing has changed since that was queued.
async fn complete(write: &mut Write, job: &Job, fetched: &Fetched) -> Result<(), StoreError> {
    let row = write
        .query(sql!(
            "UPDATE studies SET fetches = fetches - 1, expected = $2, due_at = " now ", \
             generation = generation + CASE WHEN state IN ('received', 'analysing') THEN 0 ELSE 1 END, \
             state = CASE WHEN state = 'analysing' THEN 'analysing' ELSE 'received' END \
             WHERE study_uid = $1 RETURNING generation, state"
        ))
        .bind(job.study.to_string())
        .bind(fetched.listed)
        .fetch_one(write.connection()?)
        .await?;
    if row.try_get::<String, _>("state")? == "received" {
        end_analyses(write, job.study.as_str(), "superseded by an order").await?;
    }
    let detail = json!({
        "peer": job.peer(),
        "attempt": job.attempt,
        "listed": fetched.listed,
        "fetched": fetched.fetched,
        "already_here": fetched.already_here,
        "refused": fetched.refused,
    });
    let generation = row.try_get("generation")?;
    happened(write, job.study.as_str(), generation, EventKind::Fetched, &detail).await?;
    let missing = "not all instances that the workitem lists could be fetched";
    abandon_workitems(write, job, "input-missing", missing).await
}

/// Nothing more comes from this peer: a study of which nothing is here, and which nobody else is asked for, has failed.
pub(super) async fn give_up(write: &mut Write, job: &Job, cause: &str) -> Result<(), StoreError> {
    let study = job.study.as_str();
    let row = write
        .query(sql!(
            "UPDATE studies SET fetches = fetches - 1, due_at = " now " WHERE study_uid = $1 RETURNING generation, fetches, state, \
             (SELECT count(*) FROM instances WHERE instances.study_uid = studies.study_uid AND made_for IS NULL) AS instances"
        ))
        .bind(study.to_owned())
        .fetch_one(write.connection()?)
        .await?;
    let (generation, fetches): (i64, i64) = (row.try_get("generation")?, row.try_get("fetches")?);
    let detail = json!({ "peer": job.peer(), "attempts": job.attempt, "cause": cause });
    happened(write, study, generation, EventKind::FetchDead, &detail).await?;
    let message = format!(
        "the study could not be fetched from {}: {cause}",
        job.peer().unwrap_or_default()
    );
    abandon_workitems(write, job, "fetch-failed", &message).await?;
    if fetches == 0 && row.try_get::<i64, _>("instances")? == 0 {
        let job = Job {
            generation,
            ..job.clone()
        };
        let result = NewResult::failed(&job, "fetch-failed", message);
        let held = hold(write, study).await?;
        set_outcome(write, held, &job, &result, None).await?;
    }
    Ok(())
}

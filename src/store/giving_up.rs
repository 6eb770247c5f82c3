//! Jobs that end without a word of a worker: those whose attempts are spent, and those that no server does any more.
//!
//! Invariant: a job is given up in a transaction that holds its study before the job, and what it leaves is visible: a study that
//! failed with the cause, a delivery or a fetch that is dead, workitems that have ended.

use std::time::Duration;

use serde_json::json;
use sqlx::Row;

use super::database::{Write, millis, sql};
use super::deliveries::wake_deliveries;
use super::events::{EventKind, happened};
use super::fetches;
use super::held::{Held, hold};
use super::job::Kind;
use super::results::set_outcome;
use super::workitems::end_workitems;
use super::{Job, NewResult, OWN_ARCHIVE, Store, StoreError, Work};
use crate::fault::Fault;

/// Why a job was given up that no server takes.
const UNKNOWN_PEER: &str = "this peer is not in the configuration any more";

impl Store {
    /// Buries what may be claimed but has no attempt left. What cannot be buried now is left for the next time.
    pub(super) async fn give_up_all_spent(
        &self,
        kind: Kind<'_>,
        max_attempts: u32,
    ) -> Result<(), StoreError> {
        let mut spent = Vec::new();
        for urgent in [1_i64, 0] {
            spent.extend(self
            .database
            .query(sql!(
                // of those at the head of the queue, so that it costs no more where more waits
                "SELECT job_id FROM (SELECT job_id, attempts FROM jobs WHERE kind = $1 AND coalesce(destination, peer, '') = $3 \
                 AND urgent = $4 AND state IN ('ready', 'running') AND available_at <= " now " ORDER BY available_at LIMIT 100) AS due \
                 WHERE attempts >= $2"
            ))
            .bind(kind.name())
            .bind(i64::from(max_attempts))
            .bind(kind.peer())
            .bind(urgent)
            .fetch_all(self.database.read())
            .await?);
        }
        for row in spent {
            if let Err(error) = self.give_up(row.try_get("job_id")?, max_attempts, None).await {
                let fault = Fault::from(error);
                tracing::warn!(
                    code = fault.code,
                    "a job without attempts could not be given up yet"
                );
            }
        }
        Ok(())
    }

    /// Gives up what has waited for longer than `age` for a peer of which there is no queue in `served`; gives their number. Not sooner:
    /// while a configuration is rolled out, another server may know it already.
    pub async fn give_up_unserved(&self, served: &[Kind<'_>], age: Duration) -> Result<usize, StoreError> {
        let waiting = self
            .database
            .query(sql!(
                "SELECT DISTINCT kind, coalesce(destination, peer, '') AS peer FROM jobs WHERE kind <> 'analyse' \
                 AND state IN ('ready', 'running')"
            ))
            .fetch_all(self.database.read())
            .await?;
        let mut ended = 0;
        for row in waiting {
            let (kind, peer): (String, String) = (row.try_get("kind")?, row.try_get("peer")?);
            if !served.iter().any(|one| one.name() == kind && one.peer() == peer) {
                ended += self.give_up_queue(&kind, peer, age).await?;
            }
        }
        Ok(ended)
    }

    async fn give_up_queue(&self, kind: &str, peer: String, age: Duration) -> Result<usize, StoreError> {
        let old = self
            .database
            .query(sql!(
                "SELECT job_id FROM jobs WHERE kind = $1 AND coalesce(destination, peer, '') = $2 AND state IN ('ready', 'running') \
                 AND available_at <= " now " AND queued_at <= " now " - $3"
            ))
            .bind(kind.to_owned())
            .bind(peer)
            .bind(millis(age))
            .fetch_all(self.database.read())
            .await?;
        for row in &old {
            self.give_up(row.try_get("job_id")?, 0, Some(UNKNOWN_PEER))
                .await?;
        }
        Ok(old.len())
    }

    /// Buries a job that may be claimed and has had so many attempts. Without a `cause` its workers died or stalled and could not say why.
    async fn give_up(&self, job: &str, attempts: u32, cause: Option<&str>) -> Result<(), StoreError> {
        let mut write = self.database.write().await?;
        let row = write
            .query(sql!("SELECT study_uid FROM jobs WHERE job_id = $1"))
            .bind(job.to_owned())
            .fetch_one(write.connection()?)
            .await?;
        let study = hold(&mut write, row.try_get("study_uid")?).await?;
        let ended = write
            .query(sql!(
                "UPDATE jobs SET state = 'dead', token = token + 1, settled_at = " now ", cause = coalesce($3, cause) \
                 WHERE job_id = $1 AND state IN ('ready', 'running') AND attempts >= $2 AND available_at <= " now
                " RETURNING job_id, kind, study_uid, generation, attempts, cause, token, result_key, destination, peer, urgent"
            ))
            .bind(job.to_owned())
            .bind(i64::from(attempts))
            .bind(cause.map(str::to_owned))
            .fetch_optional(write.connection()?)
            .await?;
        if let Some(row) = ended {
            let cause = row.try_get("cause")?;
            leave_outcome(
                &mut write,
                study,
                &Job::given_up(&row)?,
                cause,
                &self.destinations,
            )
            .await?;
        }
        write.commit().await
    }
}

/// What a job leaves that was given up after all of its attempts; `cause` is the last known one.
async fn leave_outcome(
    write: &mut Write,
    study: Option<Held>,
    job: &Job,
    cause: Option<String>,
    destinations: &[String],
) -> Result<(), StoreError> {
    let attempts = job.attempt;
    match &job.work {
        Work::Deliver { result, destination } => {
            let detail = json!({ "destination": destination, "attempts": attempts, "cause": cause });
            let (study, generation) = (job.study.as_str(), job.generation);
            happened(write, study, generation, EventKind::DeliveryDead, &detail).await?;
            if destination == OWN_ARCHIVE {
                wake_deliveries(write, study, result).await?;
                end_workitems(write, study, result).await?;
            }
            Ok(())
        }
        Work::Fetch { .. } => {
            let cause =
                cause.unwrap_or_else(|| "the server stopped or stalled while it was fetched".to_owned());
            fetches::give_up(write, job, &cause).await
        }
        Work::Analyse => {
            let cause =
                cause.unwrap_or_else(|| "the server stopped or stalled during the analysis".to_owned());
            let message =
                format!("the analysis was given up after {attempts} attempts; the last known cause: {cause}");
            let result = NewResult::failed(job, "analysis-failed", message);
            set_outcome(write, study, job, &result, Some(destinations)).await
        }
    }
}

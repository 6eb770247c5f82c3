//! The outbox is emptied: what a stored result is made into is kept here, then sent, and counts as delivered when the destination
//! has shown that it is there.
//!
//! Invariants: an attempt that was cut off is made again, and the destination ends with one copy, for the objects of a result always
//! have the same UIDs and the same bytes; what a destination does, or does not do, never touches the result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::undelivered::{Next, Undelivered};
use super::worker::{BREATH, POLL};
use super::{Workflow, fhir, objects};
use crate::failpoint;
use crate::fault::Fault;
use crate::peer::{self, Destination, Parcel};
use crate::store::{Job, Kind, OWN_ARCHIVE, ResultRow, Settled, Store, StoreError, Work};

/// How many results are sent to a destination at the same time.
const AT_ONCE: usize = 4;
/// How long a delivery may be silent before another worker takes it; it is renewed while it runs.
const LEASE: Duration = Duration::from_mins(1);
/// How long one attempt may take, whatever its destination does.
const LONGEST: Duration = Duration::from_mins(15);
/// The wait after the first attempt that failed; it doubles with each further one.
const RETRY: Duration = Duration::from_secs(1);
/// The longest wait between two attempts, unless the destination asks for more.
const LONGEST_RETRY: Duration = Duration::from_mins(10);

/// No delivery waits for longer, whatever its destination asks for. What waits longer than this was written before a clock was set back, so a
/// shift by an hour must stand out.
pub(super) const LONGEST_WAIT: Duration = Duration::from_mins(15);

/// Sends what waits until `stop` is cancelled; then what is under way has the time to end that the workflow gives.
pub(super) async fn run(workflow: Workflow, stop: CancellationToken) {
    let mut running = JoinSet::new();
    // objects are made at the rate at which results are; first, for others wait for them
    let own = (
        OWN_ARCHIVE.to_owned(),
        Arc::new(Semaphore::new(workflow.settings.workers)),
    );
    let others = workflow
        .destinations
        .iter()
        .map(|destination| (destination.name.clone(), Arc::new(Semaphore::new(AT_ONCE))));
    let places: Vec<_> = std::iter::once(own).chain(others).collect();
    let abandon = CancellationToken::new();
    while !stop.is_cancelled() {
        while running.try_join_next().is_some() {}
        let pause = match start(&workflow, &places, &mut running, &abandon).await {
            Ok(pause) => pause,
            Err(error) => {
                let fault = Fault::from(error);
                tracing::warn!(
                    code = fault.code,
                    "the outbox could not be looked at; it is tried again"
                );
                POLL
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = workflow.outbox.notified() => {}
            Some(_) = running.join_next() => {}
            () = sleep(pause.clamp(BREATH, POLL)) => {}
        }
    }
    let drained = timeout(workflow.settings.drain, async {
        while running.join_next().await.is_some() {}
    });
    if drained.await.is_err() {
        abandon.cancel();
        while running.join_next().await.is_some() {}
    }
}

/// Begins as many deliveries to each destination as it has `places` free, and says how long nothing will be due.
async fn start(
    workflow: &Workflow,
    places: &[(String, Arc<Semaphore>)],
    running: &mut JoinSet<()>,
    abandon: &CancellationToken,
) -> Result<Duration, StoreError> {
    let attempts = workflow.settings.delivery_attempts;
    let mut pause = POLL;
    for (destination, places) in places {
        let (queue, room) = (Kind::Deliver(destination), places.available_permits());
        if room == 0 {
            continue;
        }
        for job in workflow.store.claim(queue, room, LEASE, attempts).await? {
            let place = places.clone().try_acquire_owned();
            let delivery = run_job(workflow.clone(), job, abandon.clone());
            running.spawn(async move {
                delivery.await;
                drop(place);
            });
        }
        pause = pause.min(workflow.store.due_in(queue).await?.unwrap_or(POLL));
    }
    Ok(pause)
}

async fn run_job(workflow: Workflow, job: Job, abandon: CancellationToken) {
    let began = Instant::now();
    let ended = tokio::select! {
        () = abandon.cancelled() => None,
        ended = timeout(LONGEST, deliver(&workflow, &job)) => {
            Some(ended.unwrap_or_else(|_| Err(Undelivered::passing("it took too long"))))
        }
        () = keep(&workflow.store, &job) => return,
    };
    if let Err(error) = settle(&workflow, &job, ended, began).await {
        // the lease runs out, and it is sent again; the destination is asked first whether it has it
        let fault = Fault::from(error);
        tracing::warn!(code = fault.code, "what became of a delivery could not be stored");
    }
}

/// Renews the lease until another claim has the job.
async fn keep(store: &Store, job: &Job) {
    loop {
        sleep(LEASE / 3).await;
        if matches!(store.renew(job, LEASE).await, Ok(Settled::Stale)) {
            return;
        }
    }
}

async fn settle(
    workflow: &Workflow,
    job: &Job,
    ended: Option<Result<Settled, Undelivered>>,
    began: Instant,
) -> Result<(), StoreError> {
    let store = &workflow.store;
    let Work::Deliver { destination, .. } = &job.work else {
        return Ok(());
    };
    let elapsed_ms = began.elapsed().as_millis() as u64;
    let (settled, outcome) = match ended {
        None => (store.release(job, Duration::ZERO).await?, "released"),
        Some(Ok(settled)) => (settled, "delivered"),
        Some(Err(failed)) => match failed.next {
            Next::Wait(pause) => (store.release(job, pause).await?, "released"),
            Next::Retry(after) if job.attempt < workflow.settings.delivery_attempts => {
                let delay = after.unwrap_or_default().max(backoff(job)).min(LONGEST_WAIT);
                (store.fail_attempt(job, &failed.cause, delay).await?, "failed")
            }
            Next::Retry(_) | Next::Bury => (store.bury_delivery(job, &failed.cause).await?, "dead"),
        },
    };
    let outcome = if settled == Settled::Stale {
        "superseded"
    } else {
        outcome
    };
    workflow.metrics.delivery(destination, outcome);
    tracing::info!(
        destination,
        attempt = job.attempt,
        elapsed_ms,
        outcome,
        "workflow.delivery"
    );
    Ok(())
}

/// Doubles with every attempt, and differs from job to job between half of that and all of it, so that what failed together does
/// not come back together.
fn backoff(job: &Job) -> Duration {
    let doubled = RETRY
        .saturating_mul(1 << job.attempt.saturating_sub(1).min(16))
        .min(LONGEST_RETRY);
    let hash = Sha256::digest(format!("{}/{}", job.id, job.attempt).as_bytes());
    doubled.mul_f64(0.5 + f64::from(hash[0]) / 512.0)
}

async fn deliver(workflow: &Workflow, job: &Job) -> Result<Settled, Undelivered> {
    let Work::Deliver { result, destination } = &job.work else {
        return Err(Undelivered::lasting("it is no delivery"));
    };
    if destination == OWN_ARCHIVE {
        return objects::make(workflow, job, result).await;
    }
    let Some(destination) = workflow.destinations.named(destination) else {
        return Err(Undelivered::passing(
            "this destination is not in the configuration any more",
        ));
    };
    let Some(row) = workflow.store.result(result).await? else {
        return Err(Undelivered::lasting("its result is not stored any more"));
    };
    send(workflow, job, destination, &row).await?;
    failpoint::reach("deliver.after-send")
        .await
        .map_err(StoreError::from)?;
    Ok(workflow.store.delivered(job).await?)
}

/// Sends all that the destination takes of a result.
async fn send(
    workflow: &Workflow,
    job: &Job,
    destination: &Destination,
    row: &ResultRow,
) -> Result<(), Undelivered> {
    let parcel = |body: Bytes, objects| Parcel {
        key: row.key.to_string(),
        study: row.study.clone(),
        body,
        objects,
    };
    let before_send = || async {
        let reached = failpoint::reach("deliver.before-send").await;
        reached.map_err(StoreError::from)
    };
    match destination.kind {
        peer::Kind::Webhook => {
            let body = match destination.format.unwrap_or_default() {
                peer::Format::Json => body(row),
                peer::Format::Fhir => fhir::bundle(&workflow.store, row).await?,
            };
            before_send().await?;
            peer::deliver(destination, &parcel(body.to_string().into(), Vec::new())).await?;
        }
        peer::Kind::Stow => {
            let mut waiting = objects::made(workflow, job, row).await?;
            waiting.retain(|row| destination.takes(&row.instance.class));
            before_send().await?;
            while !waiting.is_empty() {
                let portion = objects::portion(&workflow.store, &mut waiting).await?;
                peer::deliver(destination, &parcel(Bytes::new(), portion)).await?;
            }
        }
    }
    Ok(())
}

/// What a webhook gets that wants JSON.
fn body(row: &ResultRow) -> serde_json::Value {
    json!({
        "study_instance_uid": row.study,
        "result_key": row.key,
        "supersedes": row.supersedes,
        "made_at": row.made_at,
        "completeness": row.completeness,
        "result": row.body,
    })
}

#[cfg(test)]
#[path = "deliver_tests.rs"]
mod tests;

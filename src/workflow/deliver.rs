//! The outbox is emptied: a stored result becomes what its destination takes, is sent, and counts as delivered when the
//! destination has shown that it is there.
//!
//! Invariants: an attempt that was cut off is made again, and the destination ends with one copy, for the objects of a result always
//! have the same UIDs and the same bytes; what a destination does, or does not do, never touches the result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, FixedOffset};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Workflow;
use super::worker::{BREATH, POLL};
use crate::dicom::{Instance, InstanceUid, SeriesUid};
use crate::failpoint;
use crate::fault::Fault;
use crate::peer::{self, Parcel, ParcelObject, PeerError};
use crate::report::{self, SourceInstance};
use crate::store::{Input, Job, Kind, ResultKey, ResultRow, Settled, Store, StoreError, Work};

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

/// Why an attempt failed.
struct Undelivered {
    cause: String,
    /// Whether another attempt may succeed.
    retry: bool,
    /// How long the destination wants to be left alone.
    after: Option<Duration>,
}

impl Undelivered {
    fn passing(cause: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            retry: true,
            after: None,
        }
    }

    fn lasting(cause: impl Into<String>) -> Self {
        Self {
            retry: false,
            ..Self::passing(cause)
        }
    }
}

impl From<StoreError> for Undelivered {
    fn from(error: StoreError) -> Self {
        Self::passing(Fault::from(error).message)
    }
}

impl From<PeerError> for Undelivered {
    fn from(error: PeerError) -> Self {
        Self {
            cause: error.to_string(),
            retry: error.retry,
            after: error.retry_after,
        }
    }
}

/// Sends what waits until `stop` is cancelled; then what is under way has the time to end that the workflow gives.
pub(super) async fn run(workflow: Workflow, stop: CancellationToken) {
    let mut running = JoinSet::new();
    let places: Vec<_> = workflow
        .destinations
        .iter()
        .map(|destination| (destination.name.clone(), Arc::new(Semaphore::new(AT_ONCE))))
        .collect();
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
    ended: Option<Result<(), Undelivered>>,
    began: Instant,
) -> Result<(), StoreError> {
    let store = &workflow.store;
    let Work::Deliver { destination, .. } = &job.work else {
        return Ok(());
    };
    let elapsed_ms = began.elapsed().as_millis() as u64;
    let (settled, outcome) = match ended {
        None => (store.release(job, Duration::ZERO).await?, "released"),
        Some(Ok(())) => (store.delivered(job).await?, "delivered"),
        Some(Err(failed)) if !failed.retry || job.attempt >= workflow.settings.delivery_attempts => {
            (store.bury_delivery(job, &failed.cause).await?, "dead")
        }
        Some(Err(failed)) => {
            let delay = failed
                .after
                .unwrap_or_default()
                .max(backoff(job))
                .min(LONGEST_WAIT);
            (store.fail_attempt(job, &failed.cause, delay).await?, "failed")
        }
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

async fn deliver(workflow: &Workflow, job: &Job) -> Result<(), Undelivered> {
    let Work::Deliver { result, destination } = &job.work else {
        return Err(Undelivered::lasting("it is no delivery"));
    };
    let Some(destination) = workflow.destinations.named(destination) else {
        return Err(Undelivered::passing(
            "this destination is not in the configuration any more",
        ));
    };
    let Some(row) = workflow.store.result(result).await? else {
        return Err(Undelivered::lasting("its result is not stored any more"));
    };
    let objects = match destination.kind {
        peer::Kind::Webhook => Vec::new(),
        peer::Kind::Stow | peer::Kind::Dimse => vec![structured_report(&workflow.store, result, &row).await?],
    };
    let parcel = Parcel {
        key: result.to_string(),
        study: row.study.clone(),
        json: Bytes::from(body(&row).to_string()),
        objects,
    };
    failpoint::reach("deliver.before-send")
        .await
        .map_err(StoreError::from)?;
    peer::deliver(destination, &parcel).await?;
    failpoint::reach("deliver.after-send")
        .await
        .map_err(StoreError::from)?;
    Ok(())
}

/// What a webhook gets.
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

/// What an archive gets.
async fn structured_report(
    store: &Store,
    key: &ResultKey,
    row: &ResultRow,
) -> Result<ParcelObject, Undelivered> {
    let mut inputs = row.inputs.clone();
    if inputs.is_empty() {
        // a study that was given up before it was looked at
        let instances = store.instances(&row.study).await?.into_iter();
        inputs.extend(instances.map(|row| Input {
            instance: row.instance.uid,
            object: row.instance.object,
        }));
    }
    let (mut sources, mut header) = (Vec::new(), None);
    for input in inputs {
        let bytes = store.object(&input.object).await?;
        let parsed = tokio::task::spawn_blocking(move || Instance::parse(bytes)).await;
        let Ok(Ok(instance)) = parsed else { continue };
        if let Ok(source) = SourceInstance::of(&instance.header) {
            sources.push(source);
            header.get_or_insert(instance.header);
        }
    }
    let header = header.ok_or_else(|| Undelivered::lasting("none of its images can be read any more"))?;
    let made_at = made_at(row);
    let report = report::structured_report(&row.body, key.as_str(), &sources, &header, made_at)
        .map_err(|error| Undelivered::lasting(error.to_string()))?;
    let mut file = Vec::new();
    report
        .write_all(&mut file)
        .map_err(|_| Undelivered::lasting("its report could not be written"))?;
    let unusable = |_| Undelivered::lasting("its report has no valid UID");
    Ok(ParcelObject {
        class: report.meta().media_storage_sop_class_uid().to_owned(),
        series: SeriesUid::parse(&report::report_series_uid(key.as_str())).map_err(unusable)?,
        uid: InstanceUid::parse(&report::report_uid(key.as_str())).map_err(unusable)?,
        file: file.into(),
    })
}

fn made_at(row: &ResultRow) -> DateTime<FixedOffset> {
    DateTime::from_timestamp_millis(row.made_at.0)
        .unwrap_or_default()
        .fixed_offset()
}

#[cfg(test)]
#[path = "deliver_tests.rs"]
mod tests;

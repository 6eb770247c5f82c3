//! Jobs that wait for peers: deliveries and fetches are claimed, kept while they run, and settled.
//!
//! Invariants: an attempt that was cut off is made again; one that another claim has taken over writes nothing; what fails waits longer
//! each time, and is given up visibly after its attempts, or at once where another cannot help.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::failure::{Failure, Next};
use super::worker::{BREATH, POLL};
use super::{Workflow, deliver, fetch, objects};
use crate::fault::Fault;
use crate::peer::{Destination, Destinations, Use};
use crate::store::{Fetched, Job, Kind, OWN_ARCHIVE, Settled, Store, StoreError, Work};

/// How long an errand may be silent before another worker takes it; it is renewed while it runs.
const LEASE: Duration = Duration::from_mins(1);
/// The wait after the first attempt that failed; it doubles with each further one.
const RETRY: Duration = Duration::from_secs(1);
/// The longest wait between two attempts, unless the peer asks for more.
const LONGEST_RETRY: Duration = Duration::from_mins(10);

/// No errand waits for longer, whatever its peer asks for. What waits longer than this was written before a clock was set back, so a
/// shift by an hour must stand out.
pub(super) const LONGEST_WAIT: Duration = Duration::from_mins(15);

/// How errands of one kind are run.
struct Manner {
    /// What is done for each peer: a queue of its own, and places of its own, so that one that is slow or silent holds up no other.
    lanes: Vec<Lane>,
    attempts: u32,
    /// How long one attempt may take, whatever the peer does; what a fetch has brought by then stays.
    longest: Duration,
    /// Wakes whoever waits for work.
    wake: Arc<Notify>,
}

/// The errands to one peer.
struct Lane {
    peer: String,
    uses: Use,
    places: Arc<Semaphore>,
}

/// The queue of the errands to a peer.
fn queue(peer: &str, uses: Use) -> Kind<'_> {
    match uses {
        Use::Results => Kind::Deliver(peer),
        Use::Studies => Kind::Fetch(peer),
    }
}

/// The queues of all errands that the configuration has peers for, and that of making objects.
pub(super) fn queues(destinations: &Destinations) -> Vec<Kind<'_>> {
    let of = |uses| {
        let peers = destinations.used_for(uses);
        peers.map(move |peer| queue(&peer.name, uses))
    };
    let own = std::iter::once(Kind::Deliver(OWN_ARCHIVE));
    own.chain(of(Use::Results)).chain(of(Use::Studies)).collect()
}

fn lanes(workflow: &Workflow, uses: Use, at_once: usize) -> Vec<Lane> {
    let peers = workflow.destinations.used_for(uses);
    let lane = |peer: &Destination| Lane {
        peer: peer.name.clone(),
        uses,
        places: Arc::new(Semaphore::new(at_once)),
    };
    peers.map(lane).collect()
}

/// What an attempt that went well has done.
enum Done {
    Delivered,
    /// The objects of a result were made, and the job was settled with them.
    Made(Settled),
    Fetched(Fetched),
}

/// Makes objects and sends results until `stop` is cancelled.
pub(super) async fn deliveries(workflow: Workflow, stop: CancellationToken) {
    // objects are made at the rate at which results are; first, for deliveries to archives wait for them
    let mut all = vec![Lane {
        peer: OWN_ARCHIVE.to_owned(),
        uses: Use::Results,
        places: Arc::new(Semaphore::new(workflow.settings.workers)),
    }];
    all.extend(lanes(&workflow, Use::Results, 4));
    let manner = Manner {
        lanes: all,
        attempts: workflow.settings.delivery_attempts,
        longest: Duration::from_mins(15),
        wake: workflow.outbox.clone(),
    };
    run(workflow, manner, stop).await;
}

/// Fetches studies until `stop` is cancelled. Each holds one image, which may be large.
pub(super) async fn fetches(workflow: Workflow, stop: CancellationToken) {
    let manner = Manner {
        lanes: lanes(&workflow, Use::Studies, 2),
        attempts: workflow.settings.fetch_attempts,
        longest: Duration::from_hours(1),
        wake: workflow.orders.clone(),
    };
    run(workflow, manner, stop).await;
}

/// Runs errands until `stop` is cancelled; then what is under way has the time to end that the workflow gives.
async fn run(workflow: Workflow, manner: Manner, stop: CancellationToken) {
    let manner = Arc::new(manner);
    let mut running = JoinSet::new();
    let abandon = CancellationToken::new();
    while !stop.is_cancelled() {
        while running.try_join_next().is_some() {}
        let pause = match start(&workflow, &manner, &mut running, &abandon).await {
            Ok(pause) => pause,
            Err(error) => {
                let fault = Fault::from(error);
                tracing::warn!(
                    code = fault.code,
                    "the queue of a peer could not be looked at; it is tried again"
                );
                POLL
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = manner.wake.notified() => {}
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

/// Begins as many errands to each peer as it has places free, and says how long nothing will be due.
async fn start(
    workflow: &Workflow,
    manner: &Arc<Manner>,
    running: &mut JoinSet<()>,
    abandon: &CancellationToken,
) -> Result<Duration, StoreError> {
    let (store, mut pause) = (&workflow.store, POLL);
    for lane in &manner.lanes {
        let (queue, room) = (queue(&lane.peer, lane.uses), lane.places.available_permits());
        if room == 0 {
            continue;
        }
        for job in store.claim(queue, room, LEASE, manner.attempts).await? {
            let place = lane.places.clone().try_acquire_owned();
            let errand = run_job(workflow.clone(), manner.clone(), job, abandon.clone());
            running.spawn(async move {
                errand.await;
                drop(place);
            });
        }
        pause = pause.min(store.due_in(queue).await?.unwrap_or(POLL));
    }
    Ok(pause)
}

async fn run_job(workflow: Workflow, manner: Arc<Manner>, job: Job, abandon: CancellationToken) {
    let began = Instant::now();
    let ended = tokio::select! {
        () = abandon.cancelled() => None,
        ended = timeout(manner.longest, attempt(&workflow, &job)) => {
            Some(ended.unwrap_or_else(|_| Err(Failure::passing("it took too long"))))
        }
        () = keep(&workflow.store, &job) => return,
    };
    if let Err(error) = settle(&workflow, &manner, &job, ended, began).await {
        // the lease runs out, and it is done again; what was done already is found then
        let fault = Fault::from(error);
        tracing::warn!(
            code = fault.code,
            kind = job.kind().name(),
            "what became of a job could not be stored"
        );
    }
}

async fn attempt(workflow: &Workflow, job: &Job) -> Result<Done, Failure> {
    match &job.work {
        Work::Deliver { result, destination } if destination == OWN_ARCHIVE => {
            Ok(Done::Made(objects::make(workflow, job, result).await?))
        }
        Work::Deliver { result, destination } => {
            deliver::deliver(workflow, job, result, destination).await?;
            Ok(Done::Delivered)
        }
        Work::Fetch { peer } => Ok(Done::Fetched(fetch::fetch(workflow, &job.study, peer).await?)),
        Work::Analyse => Err(Failure::lasting("an analysis needs no peer")),
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
    manner: &Manner,
    job: &Job,
    ended: Option<Result<Done, Failure>>,
    began: Instant,
) -> Result<(), StoreError> {
    let store = &workflow.store;
    let (settled, outcome) = match ended {
        None => (store.release(job, Duration::ZERO).await?, "released"),
        Some(Ok(Done::Delivered)) => (store.delivered(job).await?, "delivered"),
        Some(Ok(Done::Fetched(fetched))) => (store.fetched(job, &fetched).await?, "fetched"),
        Some(Ok(Done::Made(settled))) => (settled, "delivered"),
        Some(Err(failed)) => match failed.next {
            Next::Wait(pause) => (store.release(job, pause).await?, "released"),
            Next::Retry(after) if job.attempt < manner.attempts => {
                let delay = after.unwrap_or_default().max(backoff(job)).min(LONGEST_WAIT);
                (store.fail_attempt(job, &failed.cause, delay).await?, "failed")
            }
            Next::Retry(_) | Next::Bury => (bury(store, job, &failed.cause).await?, "dead"),
        },
    };
    let outcome = if settled == Settled::Stale {
        "superseded"
    } else {
        outcome
    };
    report(workflow, job, outcome, began);
    Ok(())
}

async fn bury(store: &Store, job: &Job, cause: &str) -> Result<Settled, StoreError> {
    match job.kind() {
        Kind::Fetch(_) => store.bury_fetch(job, cause).await,
        Kind::Analyse | Kind::Deliver(_) => store.bury_delivery(job, cause).await,
    }
}

fn report(workflow: &Workflow, job: &Job, outcome: &'static str, began: Instant) {
    let elapsed_ms = began.elapsed().as_millis() as u64;
    match &job.work {
        Work::Fetch { peer } => {
            workflow.metrics.work.fetch(peer, outcome);
            // the study is due now
            workflow.arrival.notify_one();
            tracing::info!(peer, attempt = job.attempt, elapsed_ms, outcome, "workflow.fetch");
        }
        Work::Deliver { destination, .. } => {
            workflow.metrics.work.delivery(destination, outcome);
            tracing::info!(
                destination,
                attempt = job.attempt,
                elapsed_ms,
                outcome,
                "workflow.delivery"
            );
        }
        Work::Analyse => {}
    }
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

#[cfg(test)]
#[path = "errand_tests.rs"]
mod tests;

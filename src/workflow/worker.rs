//! The loop that queues what is complete, claims jobs, runs them, and settles them.
//!
//! Invariants: a panic or a hang in an analysis is a failed attempt and nothing more; an engine that is
//! overloaded or still loading costs no attempt; what cannot be settled because the store is out of reach is settled when it is back, or done again when
//! the lease has run out; a job whose last attempt ended without a word, perhaps because it took the server down, runs alone, so that it
//! cannot take the attempts of others with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::analyse::{Stopped, TOO_LARGE, analyse};
use super::completeness::describe;
use super::lease::Lease;
use super::{Workflow, WorkflowSettings};
use crate::fault::{Fault, FaultKind};
use crate::finding::{Outcome, Reason};
use crate::store::{Job, Kind, NewResult, Settled, StoreError};

/// The longest time between two looks at the database, where other processes may have changed something.
pub(super) const POLL: Duration = Duration::from_millis(500);
/// The shortest: what is due may be held by another process for a while, and asking for it without a pause would not bring it sooner.
pub(super) const BREATH: Duration = Duration::from_millis(20);
/// How many complete studies are queued at once.
const LOOK: u32 = 100;
/// The longest wait between two attempts.
pub(super) const LONGEST_RETRY: Duration = Duration::from_mins(1);
/// The codes of a full queue, of a model that is still loading or whose devices are gone, and of a store that is away or full: nothing was tried, and waiting
/// is all that is needed.
const NOT_TRIED: [&str; 8] = [
    "overloaded",
    "too-many-requests",
    "not-ready",
    "device-failed",
    "store-busy",
    "store-unavailable",
    "store-read-only",
    "no-space",
];

/// What a worker is at.
#[derive(Default)]
struct Hands {
    running: JoinSet<()>,
    /// A job runs that may take the server down: nothing else is begun.
    alone: bool,
    /// Such a job waits until nothing else runs.
    wary: bool,
}

pub(super) async fn run(workflow: Workflow, stop: CancellationToken) {
    let mut hands = Hands::default();
    let abandon = CancellationToken::new();
    while !stop.is_cancelled() {
        while hands.running.try_join_next().is_some() {}
        let pause = match look(&workflow, &mut hands, &abandon).await {
            Ok(pause) => pause,
            Err(error) => {
                // the conversion logs the cause
                let fault = Fault::from(error);
                tracing::warn!(
                    code = fault.code,
                    "the worker could not look for work and tries again"
                );
                POLL
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = workflow.arrival.notified() => {}
            Some(_) = hands.running.join_next() => {}
            () = sleep(pause.max(BREATH)) => {}
        }
    }
    let mut running = hands.running;
    let drained = timeout(workflow.settings.drain, async {
        while running.join_next().await.is_some() {}
    })
    .await;
    if drained.is_err() {
        tracing::warn!(
            jobs = running.len(),
            "analyses still ran when the worker had to stop: they are put back"
        );
        abandon.cancel();
        while running.join_next().await.is_some() {}
    }
}

/// Queues what is complete, starts as many jobs as there is room for, and says how long nothing will be due.
async fn look(
    workflow: &Workflow,
    hands: &mut Hands,
    abandon: &CancellationToken,
) -> Result<Duration, StoreError> {
    let store = &workflow.store;
    while store.enqueue_due(LOOK, describe).await? >= LOOK as usize {}
    let complete = store.next_due_in().await?.unwrap_or(POLL);
    Ok(POLL.min(complete).min(start(workflow, hands, abandon).await?))
}

/// Starts as many jobs as there are and there is room for, and says how long the next one will not be due.
async fn start(
    workflow: &Workflow,
    hands: &mut Hands,
    abandon: &CancellationToken,
) -> Result<Duration, StoreError> {
    let settings = &workflow.settings;
    // without a model nothing is claimed, so that waiting for one costs no attempt
    while workflow.scorer.model().is_some() {
        let room = hands.room(settings.workers);
        if room == 0 {
            break;
        }
        let jobs = workflow
            .store
            .claim(Kind::Analyse, room, settings.lease, settings.max_attempts)
            .await?;
        if hands.running.is_empty() {
            // what was waited for comes next, or another worker has it, or it was superseded
            hands.wary = false;
        }
        if jobs.is_empty() {
            return Ok(workflow.store.due_in(Kind::Analyse).await?.unwrap_or(POLL));
        }
        hands.alone = jobs.len() == 1 && jobs[0].suspect && hands.running.is_empty();
        let run = |job| run_job(workflow.clone(), job, abandon.clone());
        let (begun, put_back): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|job| hands.alone || !job.suspect);
        // first of all, for what comes now may fail, and these are claimed
        for job in begun {
            hands.running.spawn(run(job));
        }
        let mut all_back = Ok(());
        for job in put_back {
            hands.wary = true;
            // whether it was put back or is another's now: it is not this worker's
            if let Err(error) = workflow.store.release(&job, Duration::ZERO).await {
                all_back = Err(error);
            }
        }
        all_back?;
    }
    Ok(POLL)
}

impl Hands {
    /// How many jobs may be begun now.
    fn room(&mut self, workers: usize) -> usize {
        let running = self.running.len();
        if running == 0 {
            self.alone = false;
        }
        match (self.alone, self.wary) {
            (true, _) => 0,
            (false, true) => usize::from(running == 0),
            (false, false) => workers.saturating_sub(running),
        }
    }
}

async fn run_job(workflow: Workflow, job: Job, abandon: CancellationToken) {
    let began = Instant::now();
    let lease = Arc::new(Lease::new(workflow.settings.lease));
    let analysis = {
        let (workflow, job, lease) = (workflow.clone(), job.clone(), lease.clone());
        async move { analyse(&workflow.store, &*workflow.scorer, &job, &lease).await }
    };
    // a task of its own, so that a panic ends there
    let analysis = AbortOnDropHandle::new(tokio::spawn(analysis));
    let ended = tokio::select! {
        () = abandon.cancelled() => None,
        ended = analysis => Some(ended.unwrap_or_else(|_| Err(Stopped::Fault(panicked())))),
        () = lease.nearly_over() => Some(Err(Stopped::Fault(stalled(workflow.settings.lease)))),
    };
    let verdict = ended.map_or(Verdict::Release(Duration::ZERO), |ended| {
        judge(&workflow.settings, &job, ended)
    });
    settle(&workflow, &job, verdict, began, &abandon).await;
}

/// What is to be written about an attempt.
#[derive(Debug)]
enum Verdict {
    /// The study's outcome.
    Complete(NewResult),
    /// The study's outcome, for want of further attempts.
    Bury(NewResult),
    /// Another attempt, for this cause, after this delay.
    Retry(String, Duration),
    /// Not an attempt at all; again after this delay.
    Release(Duration),
    /// Nothing: the job is another's.
    Leave,
}

fn judge(settings: &WorkflowSettings, job: &Job, ended: Result<NewResult, Stopped>) -> Verdict {
    let result = match ended {
        Ok(result) => result,
        Err(Stopped::Stale) => return Verdict::Leave,
        Err(Stopped::Fault(fault)) => NewResult::failed(job, fault.code, fault.message),
    };
    let body = &result.body;
    let instances = body
        .instances
        .iter()
        .filter(|instance| instance.outcome == Outcome::Failed);
    let of_study = body.reason.iter().filter(|_| body.outcome == Outcome::Failed);
    let failures: Vec<&Reason> = instances
        .filter_map(|instance| instance.reason.as_ref())
        .chain(of_study)
        .collect();
    let Some(first) = failures.first() else {
        return Verdict::Complete(result);
    };
    if failures
        .iter()
        .all(|reason| NOT_TRIED.contains(&reason.code.as_str()))
    {
        return Verdict::Release(settings.retry);
    }
    // what cannot change before somebody sets something anew is not tried again by itself
    let may_pass = failures.iter().any(|reason| reason.code != TOO_LARGE);
    if may_pass && job.attempt < settings.max_attempts {
        let doubled = settings
            .retry
            .saturating_mul(1 << job.attempt.saturating_sub(1).min(16));
        return Verdict::Retry(first.message.clone(), doubled.min(LONGEST_RETRY));
    }
    // some instances may have been scored all the same
    if body.outcome == Outcome::Failed {
        Verdict::Bury(result)
    } else {
        Verdict::Complete(result)
    }
}

/// Writes the verdict; while the store is out of reach, for as long as the lease may last.
async fn settle(
    workflow: &Workflow,
    job: &Job,
    verdict: Verdict,
    began: Instant,
    abandon: &CancellationToken,
) {
    let (store, deadline) = (&workflow.store, Instant::now() + workflow.settings.lease);
    loop {
        let settled = match &verdict {
            Verdict::Complete(result) => store.complete(job, result).await,
            Verdict::Bury(result) => store.bury(job, result).await,
            Verdict::Retry(cause, delay) => store.fail_attempt(job, cause, *delay).await,
            Verdict::Release(delay) => store.release(job, *delay).await,
            Verdict::Leave => Ok(Settled::Stale),
        };
        match settled {
            Ok(settled) => {
                workflow.outbox.notify_one();
                return report(workflow, job, &verdict, settled, began);
            }
            Err(error) => {
                let fault = Fault::from(error);
                tracing::warn!(
                    code = fault.code,
                    "the outcome of an analysis could not be stored yet"
                );
                if Instant::now() > deadline || abandon.is_cancelled() {
                    return;
                }
                sleep(POLL).await;
            }
        }
    }
}

fn report(workflow: &Workflow, job: &Job, verdict: &Verdict, settled: Settled, began: Instant) {
    let (attempt, elapsed_ms) = (job.attempt, began.elapsed().as_millis() as u64);
    match (settled, verdict) {
        (Settled::Stale, _) | (_, Verdict::Leave) => {
            workflow.metrics.work.fenced();
            tracing::info!(
                attempt,
                elapsed_ms,
                "an analysis was superseded; nothing was stored"
            );
        }
        (_, Verdict::Complete(result) | Verdict::Bury(result)) => {
            let (outcome, instances) = (result.body.outcome, result.body.instances.len());
            workflow.metrics.work.study_settled(outcome);
            tracing::info!(
                attempt,
                elapsed_ms,
                ?outcome,
                instances,
                "a study has its outcome"
            );
        }
        (_, Verdict::Retry(cause, _)) => {
            tracing::warn!(
                attempt,
                elapsed_ms,
                cause,
                "an analysis failed; it is tried again"
            );
        }
        (_, Verdict::Release(_)) => tracing::info!(attempt, elapsed_ms, "an analysis was put back untried"),
    }
}

fn stalled(lease: Duration) -> Fault {
    let message = format!(
        "the analysis made no progress for most of its lease of {} seconds",
        lease.as_secs_f32()
    );
    Fault::new(FaultKind::Internal, "timeout", message)
}

fn panicked() -> Fault {
    Fault::new(
        FaultKind::Internal,
        "analysis-stopped",
        "the analysis stopped unexpectedly",
    )
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;

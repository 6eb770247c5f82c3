//! The loop that queues what is complete, claims jobs, runs them, and settles them.
//!
//! Invariants: a panic or a hang in an analysis is a failed attempt and nothing more; an engine that is
//! overloaded or still loading costs no attempt; what cannot be settled because the store is out of reach is settled when it is back, or done again when
//! the lease has run out.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::analyse::{Stopped, analyse};
use super::completeness::{Decision, Snapshot, decide};
use super::{Workflow, WorkflowSettings};
use crate::fault::{Fault, FaultKind};
use crate::finding::{Outcome, Reason, StudyResult};
use crate::store::{Job, Settled, StoreError};

/// The longest time between two looks at the database, where other processes may have changed something.
const POLL: Duration = Duration::from_secs(1);
/// How many waiting studies one look takes.
const LOOK: u32 = 100;
/// The longest wait between two attempts.
const LONGEST_RETRY: Duration = Duration::from_mins(1);
/// The codes of a full queue and of a model that is still loading: nothing was tried, and waiting is all that is needed.
const NOT_TRIED: [&str; 3] = ["overloaded", "too-many-requests", "not-ready"];

pub(super) async fn run(workflow: Workflow, stop: CancellationToken) {
    let mut running = JoinSet::new();
    let abandon = CancellationToken::new();
    while !stop.is_cancelled() {
        while running.try_join_next().is_some() {}
        let pause = match look(&workflow, &mut running, &abandon).await {
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
            Some(_) = running.join_next() => {}
            () = sleep(pause) => {}
        }
    }
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
    running: &mut JoinSet<()>,
    abandon: &CancellationToken,
) -> Result<Duration, StoreError> {
    let mut pause = POLL;
    let waiting = workflow.store.waiting(LOOK).await?;
    if waiting.studies.len() >= LOOK as usize {
        pause = Duration::ZERO;
    }
    for study in &waiting.studies {
        let snapshot = Snapshot {
            last_arrival_at: study.last_arrival_at,
        };
        match decide(&snapshot, workflow.settings.quiet, waiting.now) {
            Decision::Ready => {
                workflow.store.enqueue(&study.study, study.generation).await?;
            }
            Decision::Wait(until) => {
                let millis = u64::try_from(until.0 - waiting.now.0).unwrap_or(0);
                // the oldest come first: the others wait at least as long
                pause = POLL.min(Duration::from_millis(millis));
                break;
            }
        }
    }
    Ok(pause.min(start(workflow, running, abandon).await?))
}

/// Starts as many jobs as there are and there is room for, and says how long the next one will not be due.
async fn start(
    workflow: &Workflow,
    running: &mut JoinSet<()>,
    abandon: &CancellationToken,
) -> Result<Duration, StoreError> {
    let WorkflowSettings {
        lease,
        max_attempts,
        workers,
        ..
    } = workflow.settings;
    // without a model nothing is claimed, so that waiting for one costs no attempt
    while running.len() < workers && workflow.scorer.model().is_some() {
        match workflow.store.claim_job(lease, max_attempts).await? {
            Some(job) => running.spawn(run_job(workflow.clone(), job, abandon.clone())),
            None => return Ok(workflow.store.due_in().await?.unwrap_or(POLL)),
        };
    }
    Ok(POLL)
}

async fn run_job(workflow: Workflow, job: Job, abandon: CancellationToken) {
    let began = Instant::now();
    let analysis = {
        let (workflow, job) = (workflow.clone(), job.clone());
        async move { analyse(&workflow.store, &*workflow.scorer, &job, workflow.settings.lease).await }
    };
    // a task of its own, so that a panic ends there
    let analysis = AbortOnDropHandle::new(tokio::spawn(analysis));
    let verdict = tokio::select! {
        () = abandon.cancelled() => Verdict::Release(Duration::ZERO),
        ended = analysis => judge(&workflow.settings, &job, ended.unwrap_or_else(|_| Err(Stopped::Fault(panicked())))),
    };
    settle(&workflow, &job, verdict, began, &abandon).await;
}

/// What is to be written about an attempt.
#[derive(Debug)]
enum Verdict {
    /// The study's outcome.
    Complete(StudyResult),
    /// The study's outcome, for want of further attempts.
    Bury(StudyResult),
    /// Another attempt, for this cause, after this delay.
    Retry(String, Duration),
    /// Not an attempt at all; again after this delay.
    Release(Duration),
    /// Nothing: the job is another's.
    Leave,
}

fn judge(settings: &WorkflowSettings, job: &Job, ended: Result<StudyResult, Stopped>) -> Verdict {
    let result = match ended {
        Ok(result) => result,
        Err(Stopped::Stale) => return Verdict::Leave,
        Err(Stopped::Fault(fault)) => StudyResult {
            outcome: Outcome::Failed,
            reason: Some(Reason::from(&fault)),
            findings: Vec::new(),
            instances: Vec::new(),
        },
    };
    let instances = result
        .instances
        .iter()
        .filter(|instance| instance.outcome == Outcome::Failed);
    let of_study = result.reason.iter().filter(|_| result.outcome == Outcome::Failed);
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
    if job.attempt < settings.max_attempts {
        let doubled = settings
            .retry
            .saturating_mul(1 << job.attempt.saturating_sub(1).min(16));
        return Verdict::Retry(first.message.clone(), doubled.min(LONGEST_RETRY));
    }
    // some instances may have been scored all the same
    if result.outcome == Outcome::Failed {
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
            Ok(settled) => return log(job, &verdict, settled, began),
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

fn log(job: &Job, verdict: &Verdict, settled: Settled, began: Instant) {
    let (attempt, elapsed_ms) = (job.attempt, began.elapsed().as_millis() as u64);
    match (settled, verdict) {
        (Settled::Stale, _) | (_, Verdict::Leave) => {
            tracing::info!(
                attempt,
                elapsed_ms,
                "an analysis was superseded; nothing was stored"
            );
        }
        (_, Verdict::Complete(result) | Verdict::Bury(result)) => {
            let (outcome, instances) = (result.outcome, result.instances.len());
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

fn panicked() -> Fault {
    Fault::new(
        FaultKind::Internal,
        "analysis-stopped",
        "the analysis stopped unexpectedly",
    )
}

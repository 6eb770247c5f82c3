//! From an arrival to an outcome: every acknowledged study ends scored, refused with a reason, or failed with a cause.
//!
//! Invariants:
//! - every door ends in [`Workflow::accept`], which returns only when the instance is durable;
//! - all state is in the store: a worker that dies anywhere loses nothing, and any other one goes on from there;
//! - a result is written once, by the claim that holds the job.

mod analyse;
mod completeness;
mod ingest;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::store::Store;
pub use analyse::{Score, Scoring};
pub use completeness::{Decision, Snapshot, decide};
pub use ingest::Submission;

/// How the workflow behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkflowSettings {
    /// A study is complete when nothing of it has arrived for this long.
    pub quiet: Duration,
    /// How long a worker may be silent about a job before another one takes it.
    pub lease: Duration,
    /// How often an analysis is tried.
    pub max_attempts: u32,
    /// The wait after a failed attempt; it doubles with each further one.
    pub retry: Duration,
    /// How many studies are analysed at the same time.
    pub workers: usize,
    /// How long a stopping worker waits for the analyses that run.
    pub drain: Duration,
}

impl Default for WorkflowSettings {
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(2),
            lease: Duration::from_mins(1),
            max_attempts: 5,
            retry: Duration::from_secs(1),
            workers: 2,
            drain: Duration::from_secs(10),
        }
    }
}

/// A handle to the workflow; a clone is the same workflow.
#[derive(Clone)]
pub struct Workflow {
    store: Store,
    scorer: Arc<dyn Score>,
    settings: WorkflowSettings,
    /// Wakes the worker.
    arrival: Arc<Notify>,
}

impl Workflow {
    /// A workflow over `store`, whose images `scorer` looks at. Nothing is analysed until [`Workflow::run`].
    pub fn new(store: Store, scorer: Arc<dyn Score>, settings: WorkflowSettings) -> Self {
        Self {
            store,
            scorer,
            settings,
            arrival: Arc::default(),
        }
    }

    /// Analyses what is complete until `stop` is cancelled; then no job is begun, those that run are given
    /// [`WorkflowSettings::drain`] to end, and the rest are put back for another worker.
    pub async fn run(self, stop: CancellationToken) {
        worker::run(self, stop).await;
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

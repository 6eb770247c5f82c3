//! From an arrival to an outcome: every acknowledged study ends scored, refused with a reason, or failed with a cause.
//!
//! Invariants:
//! - every door ends in [`Workflow::accept`], which returns only when the instance is durable;
//! - all state is in the store: a worker that dies anywhere loses nothing, and any other one goes on from there;
//! - a result is written once, by the claim that holds the job.

mod account;
mod analyse;
mod completeness;
mod deliver;
mod describe;
mod errand;
mod failure;
mod fetch;
mod fhir;
mod ingest;
mod lease;
mod objects;
mod order;
mod replay;
mod sources;
mod supervise;
mod upkeep;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::peer::Destinations;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
pub use account::account;
pub use analyse::{Chosen, Explaining, Score, Scoring};
pub use completeness::Patience;
pub use fhir::fhir;
pub use ingest::Submission;
pub use order::Created;
pub use replay::{Replay, replay};
use supervise::supervise;

/// What a server does of the way from arrival to result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It takes studies in and shows what became of them; it has no models.
    Door,
    /// It scores what others have taken in, sends results, and answers requests for scores.
    Worker,
    /// All of it.
    #[default]
    All,
}

impl Role {
    /// Whether studies are taken in.
    #[must_use]
    pub fn takes_studies(self) -> bool {
        self != Self::Worker
    }

    /// Whether models are loaded and work is done.
    #[must_use]
    pub fn works(self) -> bool {
        self != Self::Door
    }
}

impl std::str::FromStr for Role {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "door" => Ok(Self::Door),
            "worker" => Ok(Self::Worker),
            "all" => Ok(Self::All),
            _ => Err("the roles are door, worker and all"),
        }
    }
}

/// How the workflow behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkflowSettings {
    /// How long studies are waited for.
    pub patience: Patience,
    /// How long a worker may be silent about a job before another one takes it.
    pub lease: Duration,
    /// How often an analysis is tried.
    pub max_attempts: u32,
    /// The wait after a failed attempt; it doubles with each further one.
    pub retry: Duration,
    /// How many studies are analysed at the same time.
    pub workers: usize,
    /// How often a delivery is tried.
    pub delivery_attempts: u32,
    /// How often it is tried to fetch a study.
    pub fetch_attempts: u32,
    /// The most bytes of an instance that is fetched.
    pub instance_limit: usize,
    /// How long a stopping worker waits for what runs.
    pub drain: Duration,
    /// How long images are kept after the last arrival of their study; for ever, without it.
    pub keep_images: Option<Duration>,
}

impl Default for WorkflowSettings {
    fn default() -> Self {
        Self {
            patience: Patience {
                quiet: Duration::from_secs(2),
                overdue: Duration::from_mins(5),
            },
            lease: Duration::from_mins(1),
            max_attempts: 5,
            retry: Duration::from_secs(1),
            workers: 2,
            delivery_attempts: 12,
            fetch_attempts: 10,
            instance_limit: 256 << 20,
            drain: Duration::from_secs(10),
            keep_images: None,
        }
    }
}

/// A handle to the workflow; a clone is the same workflow.
#[derive(Clone)]
pub struct Workflow {
    store: Store,
    scorer: Arc<dyn Score>,
    settings: WorkflowSettings,
    destinations: Arc<Destinations>,
    metrics: Metrics,
    /// Wakes the worker.
    arrival: Arc<Notify>,
    /// Wakes whoever empties the outbox.
    outbox: Arc<Notify>,
    /// Wakes whoever fetches studies.
    orders: Arc<Notify>,
}

impl Workflow {
    /// A workflow over `store`, whose images `scorer` looks at, whose results go to `destinations` and whose studies may come from there.
    /// Nothing is analysed, sent or fetched until [`Workflow::run`].
    pub fn new(
        store: Store,
        scorer: Arc<dyn Score>,
        destinations: Destinations,
        metrics: Metrics,
        settings: WorkflowSettings,
    ) -> Self {
        Self {
            store,
            scorer,
            settings,
            destinations: Arc::new(destinations),
            metrics,
            arrival: Arc::default(),
            outbox: Arc::default(),
            orders: Arc::default(),
        }
    }

    /// Analyses what is complete, sends what is finished and fetches what was ordered until `stop` is cancelled; then nothing is begun,
    /// what runs is given [`WorkflowSettings::drain`] to end, and the rest is put back for another worker.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(
            supervise("worker", &stop, || worker::run(self.clone(), stop.clone())),
            supervise("outbox", &stop, || errand::deliveries(self.clone(), stop.clone())),
            supervise("fetches", &stop, || errand::fetches(self.clone(), stop.clone())),
            supervise("upkeep", &stop, || upkeep::run(self.clone(), stop.clone())),
        );
    }
}

#[cfg(test)]
mod fetch_tests;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

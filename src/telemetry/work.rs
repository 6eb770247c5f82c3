//! The metrics of the way from arrival to result, of results to their destinations, and of studies from peers.

use prometheus::{Error, Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::finding::Outcome;

/// Handles to them; clones count together.
#[derive(Clone)]
pub struct Work {
    studies: IntCounterVec,
    fenced: IntCounter,
    deliveries: IntCounterVec,
    fetches: IntCounterVec,
    waiting: IntGaugeVec,
    dead: IntGauge,
    oldest: Gauge,
    reachable: IntGauge,
}

impl Work {
    pub(super) fn new(registry: &Registry) -> Result<Self, Error> {
        let work = Self {
            studies: IntCounterVec::new(
                Opts::new("osteon_studies_total", "Studies that reached their outcome"),
                &["outcome"],
            )?,
            fenced: IntCounter::new(
                "osteon_fenced_total",
                "Attempts whose result was not written, because a later claim or arrival had overtaken them",
            )?,
            deliveries: IntCounterVec::new(
                Opts::new(
                    "osteon_deliveries_total",
                    "Attempts to send a result, by what became of them",
                ),
                &["destination", "outcome"],
            )?,
            fetches: IntCounterVec::new(
                Opts::new(
                    "osteon_fetches_total",
                    "Attempts to fetch a study, by what became of them",
                ),
                &["peer", "outcome"],
            )?,
            waiting: IntGaugeVec::new(
                Opts::new(
                    "osteon_work_waiting",
                    "Studies that wait to be complete (received), jobs that wait or run (analyse, deliver, fetch), and orders that have not ended \
                     (workitem), of all replicas",
                ),
                &["kind"],
            )?,
            dead: IntGauge::new(
                "osteon_jobs_dead",
                "Jobs that were given up and wait for someone to look at them",
            )?,
            oldest: Gauge::new(
                "osteon_oldest_job_seconds",
                "How long the job has waited that has waited longest",
            )?,
            reachable: IntGauge::new(
                "osteon_store_reachable",
                "1 if database and images could be reached when it was last tried",
            )?,
        };
        registry.register(Box::new(work.studies.clone()))?;
        registry.register(Box::new(work.fenced.clone()))?;
        registry.register(Box::new(work.deliveries.clone()))?;
        registry.register(Box::new(work.fetches.clone()))?;
        registry.register(Box::new(work.waiting.clone()))?;
        registry.register(Box::new(work.dead.clone()))?;
        registry.register(Box::new(work.oldest.clone()))?;
        registry.register(Box::new(work.reachable.clone()))?;
        Ok(work)
    }

    /// A study reached its outcome.
    pub fn study_settled(&self, outcome: Outcome) {
        self.studies.with_label_values(&[outcome.name()]).inc();
    }

    /// The result of an attempt was not written, because something had overtaken it.
    pub fn fenced(&self) {
        self.fenced.inc();
    }

    /// An attempt to send a result to `destination`, a name of the configuration, ended.
    pub fn delivery(&self, destination: &str, outcome: &str) {
        self.deliveries.with_label_values(&[destination, outcome]).inc();
    }

    /// An attempt to fetch a study from `peer`, a name of the configuration, ended.
    pub fn fetch(&self, peer: &str, outcome: &str) {
        self.fetches.with_label_values(&[peer, outcome]).inc();
    }

    /// How much work waits, by its kind, how many jobs are dead, and for how many milliseconds the oldest has waited.
    pub fn backlog(&self, waiting: &[(&str, i64)], dead: i64, oldest_ms: i64) {
        for (kind, count) in waiting {
            self.waiting.with_label_values(&[kind]).set(*count);
        }
        self.dead.set(dead);
        self.oldest.set(oldest_ms as f64 / 1e3);
    }

    /// Whether database and images can be reached.
    pub fn store_reachable(&self, reachable: bool) {
        self.reachable.set(i64::from(reachable));
    }
}

//! The metric registry and the named events that count in it.
//!
//! Every number is counted in one place. Labels are names of models, stages, outcomes and codes: bounded sets, and
//! never a value from a header or a request's text.

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use super::process::Process;
use crate::finding::{InstanceResult, Outcome};

/// Seconds; from a fraction of a millisecond to a long wait.
const BUCKETS: [f64; 14] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Handles to every metric; clones count together.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    outcomes: IntCounterVec,
    stages: HistogramVec,
    probabilities: HistogramVec,
    ready: IntGauge,
    rejected: IntGauge,
}

impl Metrics {
    /// A registry with every metric at zero.
    ///
    /// # Errors
    /// What the registry says of a name that is wrong or stands twice.
    pub fn new() -> Result<Self, prometheus::Error> {
        let counter = |name, help, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let metrics = Self {
            registry: Registry::new(),
            requests: counter(
                "osteon_http_requests_total",
                "HTTP requests",
                &["method", "route", "status"],
            )?,
            outcomes: counter(
                "osteon_images_total",
                "Images that were asked to be scored, by what became of them",
                &["model", "outcome", "reason"],
            )?,
            stages: HistogramVec::new(
                HistogramOpts::new(
                    "osteon_stage_seconds",
                    "Time that a scored image spent in each stage",
                )
                .buckets(BUCKETS.to_vec()),
                &["stage"],
            )?,
            probabilities: HistogramVec::new(
                HistogramOpts::new(
                    "osteon_probability",
                    "Probabilities that were given out: a shift is drift",
                )
                .buckets((1..=10).map(|tenth| f64::from(tenth) / 10.0).collect()),
                &["model", "finding"],
            )?,
            ready: IntGauge::new(
                "osteon_models_ready",
                "Models that proved themselves and are served",
            )?,
            rejected: IntGauge::new("osteon_models_rejected", "Packages that are not served")?,
        };
        metrics.registry.register(Box::new(metrics.requests.clone()))?;
        metrics.registry.register(Box::new(metrics.outcomes.clone()))?;
        metrics.registry.register(Box::new(metrics.stages.clone()))?;
        metrics
            .registry
            .register(Box::new(metrics.probabilities.clone()))?;
        metrics.registry.register(Box::new(metrics.ready.clone()))?;
        metrics.registry.register(Box::new(metrics.rejected.clone()))?;
        metrics.registry.register(Box::new(Process::new()?))?;
        Ok(metrics)
    }

    /// A request was answered; `route` is the pattern, never the path itself.
    pub fn answered(&self, method: &str, route: &str, status: u16) {
        self.requests
            .with_label_values(&[method, route, &status.to_string()])
            .inc();
    }

    /// An image reached its outcome.
    pub fn scored(&self, result: &InstanceResult) {
        let model = result.model.as_ref().map_or("none", |model| model.name.as_str());
        let outcome = match result.outcome {
            Outcome::Scored => "scored",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
        };
        let reason = result.reason.as_ref().map_or("", |reason| reason.code.as_str());
        self.outcomes.with_label_values(&[model, outcome, reason]).inc();
        for finding in &result.findings {
            let Some(probability) = finding.probability() else {
                continue;
            };
            let histogram = self
                .probabilities
                .with_label_values(&[model, finding.label.as_str()]);
            histogram.observe(f64::from(probability));
        }
        if let Some(timings) = &result.timings_ms {
            let stages = [
                ("parse", timings.parse),
                ("decode", timings.decode),
                ("preprocess", timings.preprocess),
                ("queue", timings.queue),
                ("infer", timings.infer),
                ("total", timings.total),
            ];
            for (stage, milliseconds) in stages {
                self.stages
                    .with_label_values(&[stage])
                    .observe(milliseconds / 1e3);
            }
        }
    }

    /// The models folder was loaded.
    pub fn models(&self, ready: usize, rejected: usize) {
        self.ready.set(ready as i64);
        self.rejected.set(rejected as i64);
    }

    /// Everything in Prometheus' text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut bytes = Vec::new();
        // writing to memory cannot fail, and a metric that cannot be written is better missing than fatal
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut bytes);
        String::from_utf8(bytes).unwrap_or_default()
    }
}

//! The metric registry and the named events that count in it.
//!
//! Every number is counted in one place. Labels are names of models, stages, outcomes, codes and sites: bounded sets, and
//! never a value from a header or a request's text. What drifts (scores, refusals, distances, input) is told apart by site.

use std::sync::Arc;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::devices::Devices;
use super::dicom::Dicom;
use super::process::Process;
use super::quantities::Quantities;
use super::work::Work;
use super::{Site, Sites};
use crate::finding::InstanceResult;
use crate::image::Quality;

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
    distances: HistogramVec,
    greys: HistogramVec,
    fields: HistogramVec,
    ready: IntGauge,
    rejected: IntGauge,
    states: IntGaugeVec,
    loads: IntCounterVec,
    /// Of studies, jobs, deliveries and fetches.
    pub work: Work,
    /// Of GPUs.
    pub devices: Devices,
    /// Of the DIMSE door.
    pub dicom: Dicom,
    /// Of regressions.
    pub quantities: Quantities,
    sites: Arc<Sites>,
}

/// What is counted of an image and is no part of its answer.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Where it comes from.
    pub site: Site,
    /// What its pixels are like, where they could be decoded.
    pub quality: Option<Quality>,
}

impl Metrics {
    /// A registry with every metric at zero.
    ///
    /// # Errors
    /// What the registry says of a name that is wrong or stands twice.
    pub fn new() -> Result<Self, prometheus::Error> {
        let counter = |name, help, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let histogram = |name, help, buckets: Vec<f64>, labels: &[&str]| {
            HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels)
        };
        let tenths = |last: u32| (1..=last).map(|tenth| f64::from(tenth) / 10.0).collect();
        let registry = Registry::new();
        let metrics = Self {
            work: Work::new(&registry)?,
            devices: Devices::new(&registry)?,
            dicom: Dicom::new(&registry)?,
            quantities: Quantities::new(&registry)?,
            registry,
            requests: counter(
                "osteon_http_requests_total",
                "HTTP requests",
                &["method", "route", "status"],
            )?,
            outcomes: counter(
                "osteon_images_total",
                "Images that a model was asked to score, by what became of them",
                &["model", "outcome", "reason", "site"],
            )?,
            stages: histogram(
                "osteon_stage_seconds",
                "Time that a scored image spent in each stage",
                BUCKETS.to_vec(),
                &["stage"],
            )?,
            probabilities: histogram(
                "osteon_probability",
                "Probabilities that were given out: a shift is drift",
                tenths(10),
                &["model", "finding", "site"],
            )?,
            distances: histogram(
                "osteon_distance_ratio",
                "Distances of images from what the model knows, as parts of its limit: a shift is drift",
                tenths(20),
                &["model", "site"],
            )?,
            greys: histogram(
                "osteon_input_grey",
                "Mean grey of inputs, 0 black to 1 white: a shift is drift",
                tenths(10),
                &["model", "site"],
            )?,
            fields: histogram(
                "osteon_input_field",
                "Share of images that is no border: a shift is drift",
                tenths(10),
                &["model", "site"],
            )?,
            ready: IntGauge::new(
                "osteon_models_ready",
                "Models that proved themselves and are served",
            )?,
            rejected: IntGauge::new("osteon_models_rejected", "Packages that did not prove themselves")?,
            states: IntGaugeVec::new(
                Opts::new(
                    "osteon_model_state",
                    "1 for the state that a package of the models folder is in",
                ),
                &["model", "version", "state"],
            )?,
            loads: counter(
                "osteon_model_loads_total",
                "Packages that were tried, by whether they proved themselves, and the stage at which they did not",
                &["model", "outcome", "stage"],
            )?,
            sites: Arc::default(),
        };
        metrics.registry.register(Box::new(metrics.requests.clone()))?;
        metrics.registry.register(Box::new(metrics.outcomes.clone()))?;
        metrics.registry.register(Box::new(metrics.stages.clone()))?;
        for histogram in [
            &metrics.probabilities,
            &metrics.distances,
            &metrics.greys,
            &metrics.fields,
        ] {
            metrics.registry.register(Box::new(histogram.clone()))?;
        }
        metrics.registry.register(Box::new(metrics.ready.clone()))?;
        metrics.registry.register(Box::new(metrics.rejected.clone()))?;
        metrics.registry.register(Box::new(metrics.states.clone()))?;
        metrics.registry.register(Box::new(metrics.loads.clone()))?;
        metrics.registry.register(Box::new(Process::new()?))?;
        Ok(metrics)
    }

    /// The same metrics, with names for the sites that images come from.
    #[must_use]
    pub fn with_sites(mut self, sites: Sites) -> Self {
        self.sites = Arc::new(sites);
        self
    }

    /// The site of an image whose header names this institution.
    #[must_use]
    pub fn site(&self, institution: Option<&str>) -> Site {
        self.sites.of(institution)
    }

    /// A request was answered; `route` is the pattern, never the path itself.
    pub fn answered(&self, method: &str, route: &str, status: u16) {
        self.requests
            .with_label_values(&[method, route, &status.to_string()])
            .inc();
    }

    /// An image that a model was asked to score reached its outcome. What was refused before there was a model, such as a request for one
    /// that nobody knows, is a request and no image.
    pub fn scored(&self, result: &InstanceResult, observed: &Observed) {
        let Some(model) = &result.model else { return };
        let (model, site) = (model.name.as_str(), observed.site.name());
        let outcome = result.outcome.name();
        let reason = result.reason.as_ref().map_or("", |reason| reason.code.as_str());
        self.outcomes
            .with_label_values(&[model, outcome, reason, site])
            .inc();
        for finding in &result.findings {
            let Some(probability) = finding.probability() else {
                continue;
            };
            let histogram = self
                .probabilities
                .with_label_values(&[model, finding.label.as_str(), site]);
            histogram.observe(f64::from(probability));
        }
        if let Some(check) = &result.distribution {
            self.distances
                .with_label_values(&[model, site])
                .observe(check.distance / check.limit);
        }
        if let Some(quality) = &observed.quality {
            for (histogram, share) in [(&self.greys, quality.grey), (&self.fields, quality.field)] {
                histogram
                    .with_label_values(&[model, site])
                    .observe(f64::from(share));
            }
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

    /// How many versions are served, and what became of the packages of the models folder: name, version and state of each, and every
    /// state that there is.
    pub fn models(&self, served: usize, packages: &[(String, u32, &str)], states: &[&str]) {
        let failed = packages.iter().filter(|(.., state)| *state == "failed");
        self.ready.set(served as i64);
        self.rejected.set(failed.count() as i64);
        self.states.reset();
        for (model, version, found) in packages {
            for state in states {
                self.states
                    .with_label_values(&[model, version.to_string().as_str(), *state])
                    .set(i64::from(state == found));
            }
        }
    }

    /// A package was tried: it is `ready`, or it did not prove itself at a stage; then it `failed`, or it is `postponed`, because the
    /// reason may pass.
    pub fn model_loaded(&self, model: &str, outcome: &str, stage: &str) {
        self.loads.with_label_values(&[model, outcome, stage]).inc();
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

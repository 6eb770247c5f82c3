//! A model that proved itself, with what runs it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::batcher::{Answer, Batcher, Silent};
use super::request::Call;
use super::statistics::{Counters, Statistics};
use super::workers::{Turn, broken};
use crate::fault::Fault;
use crate::finding::{EmbeddingStatistics, ModelReference};
use crate::image::Tensor;
use crate::model::{ModelManifest, Package, Signed};
use crate::runtime::proof::Proven;
use crate::runtime::{Device, Engine, Prediction, device_names, return_freed_memory};
use crate::telemetry::metrics::Metrics;

/// A model that proved itself and runs.
pub struct ServedModel {
    /// Its manifest.
    pub manifest: ModelManifest,
    /// Its package's digest.
    pub digest: String,
    /// Where the features of the images that it knows lie, if its package says.
    pub distribution: Option<EmbeddingStatistics>,
    /// What runs it; at least one, all of one kind.
    pub devices: Vec<Device>,
    /// How many bits the numbers have that it computes with: 32, or 16; the most where devices differ.
    pub bits: u8,
    /// The sizes in which batches are run there.
    pub(super) batch_sizes: Vec<usize>,
    /// Who vouches for its package.
    pub signed: Signed,
    /// The largest difference of a golden case.
    pub difference: f32,
    /// How long opening, loading and proof took.
    pub proven_in: Duration,
    /// The line that its work waits in.
    pub(super) line: Arc<str>,
    /// Where its work is counted.
    pub(super) counters: Arc<Counters>,
    /// There until it is dropped.
    engines: Option<Engines>,
}

/// What computes.
enum Engines {
    /// One for each of the [`Workers`](super::workers::Workers), by its number; never two threads want the same.
    Cores(Vec<Mutex<Engine>>),
    /// Threads of their own.
    Device(Batcher),
}

impl ServedModel {
    /// Puts proven engines behind a model: one for each worker on the CPU, any number on GPUs, where `queue` images may wait for all of
    /// them.
    ///
    /// # Errors
    /// One sentence where no thread could be started.
    pub(super) fn new(
        package: Package,
        proven: Proven,
        queue: usize,
        proven_in: Duration,
        metrics: &Metrics,
    ) -> Result<Self, String> {
        let (engines, difference) = (&proven.engines, proven.difference);
        let mut devices: Vec<Device> = engines.iter().map(Engine::device).collect();
        devices.dedup();
        let first = engines.first();
        let bits = engines.iter().map(Engine::bits).max().unwrap_or(32);
        let batch_sizes = first.map(Engine::batch_sizes).unwrap_or_default();
        let line: Arc<str> = package.manifest.name.as_str().into();
        let counters = Arc::default();
        let engines = if first.is_some_and(Engine::runs_batches) {
            Engines::Device(
                Batcher::start(&line, proven, queue, &counters, metrics)
                    .map_err(|error| format!("its threads cannot be started: {error}"))?,
            )
        } else {
            Engines::Cores(proven.engines.into_iter().map(Mutex::new).collect())
        };
        Ok(Self {
            line,
            manifest: package.manifest,
            digest: package.digest,
            distribution: package.distribution,
            signed: package.signed,
            difference,
            devices,
            bits,
            batch_sizes,
            proven_in,
            counters,
            engines: Some(engines),
        })
    }

    /// How answers name it.
    #[must_use]
    pub fn reference(&self) -> ModelReference {
        ModelReference {
            name: self.manifest.name.clone(),
            version: self.manifest.version,
            digest: self.digest.clone(),
            provider: self.provider().to_owned(),
            notice: self.manifest.notice.clone(),
        }
    }

    /// `<name>/<version>`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}/{}", self.manifest.name, self.manifest.version)
    }

    /// What runs it, in one word: `cpu`, or `cuda:0,cuda:1`.
    #[must_use]
    pub fn device(&self) -> String {
        device_names(&self.devices)
    }

    /// The execution provider that runs it.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        self.devices.first().copied().unwrap_or_default().provider()
    }

    /// What it did since it was loaded.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.counters.read()
    }

    /// Whether the network runs on the worker that prepared the image, or elsewhere in batches.
    pub(super) fn runs_on_worker(&self) -> bool {
        matches!(self.engines, Some(Engines::Cores(_)))
    }

    /// Runs the network on one image on a thread of the device.
    ///
    /// # Errors
    /// As [`Batcher::run`].
    pub(super) async fn run_on_device(
        &self,
        tensor: Tensor,
        call: &Call,
        deadline: Instant,
    ) -> Result<Answer, Fault> {
        match self.batcher() {
            Some(batcher) => batcher.run(tensor, call, deadline).await,
            None => Err(broken()),
        }
    }

    /// Runs the network on a worker's thread.
    ///
    /// # Errors
    /// The engine's own fault, or that it was asked to stop.
    pub(super) fn run_on_worker(&self, turn: &Turn, tensor: &Tensor) -> Result<Prediction, Fault> {
        let Some(Engines::Cores(engines)) = &self.engines else {
            return Err(broken());
        };
        let engine = engines.get(turn.worker).ok_or_else(broken)?;
        // a panic leaves a session usable: it holds nothing of a run
        let mut engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        let mut predictions = engine.run_until(&[tensor], &turn.stop)?;
        self.counters.executed(1, begun.elapsed());
        predictions.pop().ok_or_else(broken)
    }

    /// Whether none of its devices answers: each fails even on an image that the model was proven with.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.silent().is_some()
    }

    /// That none of its devices answers, if so.
    pub(super) fn silent(&self) -> Option<Silent> {
        self.batcher()?.silent()
    }

    pub(super) fn batcher(&self) -> Option<&Batcher> {
        match &self.engines {
            Some(Engines::Device(batcher)) => Some(batcher),
            _ => None,
        }
    }

    /// How many images wait for a thread of the device.
    pub(super) fn waiting_for_device(&self) -> usize {
        self.batcher().map_or(0, Batcher::waiting)
    }
}

impl Drop for ServedModel {
    /// Freeing sessions takes its time, and ending their threads as long as what they run: whoever gave the last answer, perhaps on a
    /// thread that others wait for, does not.
    fn drop(&mut self) {
        let (engines, place) = (self.engines.take(), self.place());
        let end = move || {
            drop(engines);
            return_freed_memory();
            tracing::info!(model = place, "model.drained");
        };
        match tokio::runtime::Handle::try_current() {
            // where that is about to end, it is dropped here all the same
            Ok(executor) => drop(executor.spawn_blocking(end)),
            Err(_) => end(),
        }
    }
}

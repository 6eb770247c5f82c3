//! A model that proved itself, with what runs it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::batcher::{Answer, Batcher};
use super::request::Call;
use super::statistics::{Counters, Statistics};
use super::workers::{Turn, broken};
use crate::fault::Fault;
use crate::finding::{EmbeddingStatistics, ModelReference};
use crate::image::Tensor;
use crate::model::{ModelManifest, Package, Signed};
use crate::runtime::proof::Proven;
use crate::runtime::{Device, Engine, Prediction};

/// A model that proved itself and runs.
pub struct ServedModel {
    /// Its manifest.
    pub manifest: ModelManifest,
    /// Its package's digest.
    pub digest: String,
    /// Where the features of the images that it knows lie, if its package says.
    pub distribution: Option<EmbeddingStatistics>,
    /// What runs it.
    pub device: Device,
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
    engines: Engines,
}

/// What computes.
enum Engines {
    /// One for each of the [`Workers`](super::workers::Workers), by its number; never two threads want the same.
    Cores(Vec<Mutex<Engine>>),
    /// Threads of their own.
    Device(Batcher),
}

impl ServedModel {
    /// Puts proven engines behind a model: one for each worker on the CPU, any number on a GPU, where `queue` images may wait.
    ///
    /// # Errors
    /// One sentence where no thread could be started.
    pub(super) fn new(
        package: Package,
        proven: Proven,
        queue: usize,
        proven_in: Duration,
    ) -> Result<Self, String> {
        let Proven { engines, difference } = proven;
        let device = engines.first().map(Engine::device).unwrap_or_default();
        let counters = Arc::default();
        let engines = match device {
            Device::Cpu => Engines::Cores(engines.into_iter().map(Mutex::new).collect()),
            Device::Cuda(_) => Engines::Device(
                Batcher::start(engines, queue, &counters)
                    .map_err(|error| format!("its threads cannot be started: {error}"))?,
            ),
        };
        Ok(Self {
            line: package.manifest.name.as_str().into(),
            manifest: package.manifest,
            digest: package.digest,
            distribution: package.distribution,
            signed: package.signed,
            difference,
            device,
            proven_in,
            counters,
            engines,
        })
    }

    /// How answers name it.
    #[must_use]
    pub fn reference(&self) -> ModelReference {
        ModelReference {
            name: self.manifest.name.clone(),
            version: self.manifest.version,
            digest: self.digest.clone(),
            provider: self.device.provider().to_owned(),
            notice: self.manifest.notice.clone(),
        }
    }

    /// What it did since it was loaded.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.counters.read()
    }

    /// Whether the network runs on the worker that prepared the image, or elsewhere in batches.
    pub(super) fn runs_on_worker(&self) -> bool {
        matches!(self.engines, Engines::Cores(_))
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
        match &self.engines {
            Engines::Cores(_) => Err(broken()),
            Engines::Device(batcher) => batcher.run(tensor, call, deadline).await,
        }
    }

    /// Runs the network on a worker's thread.
    ///
    /// # Errors
    /// The engine's own fault, or that it was asked to stop.
    pub(super) fn run_on_worker(&self, turn: &Turn, tensor: &Tensor) -> Result<Prediction, Fault> {
        let Engines::Cores(engines) = &self.engines else {
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

    /// How many images wait for a thread of the device.
    pub(super) fn waiting_for_device(&self) -> usize {
        match &self.engines {
            Engines::Cores(_) => 0,
            Engines::Device(batcher) => batcher.waiting(),
        }
    }
}

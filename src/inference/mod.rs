//! The only door to a model: bytes of one image in, one explicit outcome out.
//!
//! [`Inference::score`] waits its turn in the model's line; then one thread parses, checks the intended use, decodes, preprocesses,
//! measures the quality and runs; what the network says is compared with what it knows, and interpreted. Whatever happens, the answer is an [`InstanceResult`]; a number is in it only where everything held.

mod batcher;
pub mod catalog;
mod decode_memory;
mod explain;
#[cfg(test)]
pub(crate) mod fixture;
mod gates;
mod line;
mod request;
mod score;
mod served;
mod statistics;
mod workers;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use catalog::{Basis, Patience, Repository};
pub use catalog::{Catalog, Indexed, Rejected, RepositorySettings, Settings, State, StudyModel, Versions};
pub use decode_memory::DecodeMemory;
pub(crate) use decode_memory::{Taken, was_full};
pub use explain::{Explained, Heatmap};
pub use request::{Call, ImageBytes, Inferred, Priority, ScoreRequest, TensorRequest};
pub use served::ServedModel;
pub use statistics::{Batches, Spent, Statistics};

use crate::fault::{Fault, FaultKind};
use crate::finding::{Finding, InstanceResult, Reading, Timings};
use crate::image::Tensor;
use crate::runtime::{Device, Prediction, Runtime};
use crate::telemetry::metrics::{Metrics, Observed};
use batcher::Answer;
use gates::Gates;
use score::{Prepared, Unscored, milliseconds};
use statistics::Stages;
use workers::{Turn, Workers, broken};

/// An image that passed every gate, and what the network says of it.
struct Ran {
    prepared: Prepared,
    prediction: Prediction,
    findings: Vec<Finding>,
    /// Its share of the engine's time.
    stages: Stages,
}

fn not_ready(reason: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Unavailable, "not-ready", reason)
}

/// A handle to every served model; clones share them.
#[derive(Clone)]
pub struct Inference {
    catalog: Arc<Catalog>,
    repository: Arc<OnceLock<Repository>>,
    workers: Arc<Workers>,
    /// Places for those who wait for a proof: each holds a thread of those that read and write for all requests.
    loads: Arc<Semaphore>,
    decode_memory: DecodeMemory,
    metrics: Metrics,
    settings: Settings,
}

/// How many requests to load a model wait or are served at the same time.
const LOADS: usize = 4;

impl Inference {
    /// A handle without models; [`Self::load`] fills it.
    ///
    /// # Errors
    /// What the system said, where no thread could be started.
    pub fn new(settings: Settings, metrics: Metrics) -> std::io::Result<Self> {
        Ok(Self {
            catalog: Arc::default(),
            repository: Arc::default(),
            workers: Arc::new(Workers::start(settings.cores, settings.queue)?),
            loads: Arc::new(Semaphore::new(LOADS)),
            decode_memory: DecodeMemory::new(settings.decode_memory, settings.cores),
            metrics,
            settings,
        })
    }

    /// Loads and proves what the settings want, on one device or on each of several, and remembers them for [`Self::look`]: those of the
    /// first call hold. Blocks.
    pub fn load(&self, repository: impl Into<RepositorySettings>, runtimes: impl AsRef<[Runtime]>) {
        let repository = self.repository.get_or_init(|| {
            let catalog = Arc::clone(&self.catalog);
            Repository::new(
                repository.into(),
                self.settings,
                runtimes.as_ref().to_vec(),
                self.metrics.clone(),
                catalog,
            )
        });
        repository.look(Patience::AtOnce);
    }

    /// Looks at the models folder again: what is new, and was the same in the look before, is proven and takes the place of what is
    /// old. Blocks.
    pub fn look(&self) {
        if let Some(repository) = self.repository.get() {
            repository.look(Patience::SecondLook);
        }
    }

    /// Loads a model that was unloaded, or tries again what failed.
    ///
    /// # Errors
    /// `unknown-model`, `model-failed` with the reason of its newest version, where an older one may serve all the same, or `overloaded`
    /// where enough are waiting to be proven.
    pub async fn load_model(&self, name: &str) -> Result<(), Fault> {
        let place = Arc::clone(&self.loads).try_acquire_owned().map_err(|_| {
            let message = "as many models as may be are waiting to be proven: try again in a moment";
            Fault::new(FaultKind::Overloaded, "overloaded", message)
        })?;
        // the place is held for as long as a thread is, also when nobody waits for it any more
        let load = move |repository: &Repository, name: &str| {
            let loaded = repository.load(name);
            drop(place);
            loaded
        };
        self.in_repository(name, load).await
    }

    /// Takes a model away at once, until [`Self::load_model`], whatever is copied into its folder; what it is answering it answers. For
    /// one that served and whose packages are gone, readiness waits no longer.
    ///
    /// # Errors
    /// `unknown-model`.
    pub async fn unload_model(&self, name: &str) -> Result<(), Fault> {
        self.in_repository(name, Repository::unload).await
    }

    async fn in_repository(
        &self,
        name: &str,
        work: impl FnOnce(&Repository, &str) -> Result<(), Fault> + Send + 'static,
    ) -> Result<(), Fault> {
        let (repository, name) = (Arc::clone(&self.repository), name.to_owned());
        let done = tokio::task::spawn_blocking(move || match repository.get() {
            Some(repository) => work(repository, &name),
            None => Err(not_ready("the models are being loaded and proven")),
        });
        done.await.unwrap_or_else(|_| Err(broken()))
    }

    /// The memory that all decode in, for others than the threads that score.
    #[must_use]
    pub fn decode_memory(&self) -> DecodeMemory {
        self.decode_memory.for_others()
    }

    /// Which models there are.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The newest version that is served of the model that scores stored studies; never another model.
    ///
    /// # Errors
    /// `not-ready`, and what there is to do.
    pub fn study_model(&self) -> Result<Arc<ServedModel>, Fault> {
        let chosen = self.catalog.study_model();
        let of = |name: &str| self.catalog.find(name, None).ok();
        if let Some(served) = chosen.as_ref().and_then(|chosen| of(&chosen.name)) {
            // another server may have a device that answers
            return match served.silent() {
                None => Ok(served),
                Some(_) => Err(not_ready(self.catalog.not_ready().unwrap_or_default())),
            };
        }
        let reason = match chosen {
            Some(chosen) => chosen.doubt().filter(|_| chosen.basis == Basis::Missing).unwrap_or_else(|| {
                format!(
                    "the model {} scores stored studies and is not served: GET /v1/models says why, and which model scores them is set with --study-model",
                    chosen.name
                )
            }),
            None => self.catalog.not_ready().unwrap_or_default(),
        };
        Err(not_ready(reason))
    }

    /// How many images one client may have waiting for a model: a request with more can never be answered.
    #[must_use]
    pub fn most_of_a_client(&self) -> usize {
        line::share(self.settings.queue)
    }

    /// How many images wait for a model.
    #[must_use]
    pub fn waiting(&self, model: &ServedModel) -> usize {
        self.workers.waiting(&model.line) + model.waiting_for_device()
    }

    /// Scores one image; every way this can end is an outcome. Beside it, the kind of the fault if there was one.
    pub async fn score(&self, request: ScoreRequest) -> (InstanceResult, Option<FaultKind>) {
        let started = Instant::now();
        let model = Arc::clone(&request.model);
        let (result, observed, fault) = match self.run(request, started).await {
            Ok(Ran {
                mut prepared,
                findings,
                ..
            }) => {
                let observed = std::mem::take(&mut prepared.seen.observed);
                let timings = Timings {
                    total: milliseconds(started.elapsed()),
                    ..prepared.timings
                };
                (
                    score::result(&model, prepared.seen, timings, findings),
                    observed,
                    None,
                )
            }
            Err(Unscored { fault, mut seen }) => {
                let observed = std::mem::take(&mut seen.observed);
                (score::unscored(&model, &fault, *seen), observed, Some(fault.kind))
            }
        };
        self.metrics.scored(&result, &observed);
        self.measured(&model, &result, &observed);
        (result, fault)
    }

    /// Counts the values of regressions.
    fn measured(&self, model: &ServedModel, result: &InstanceResult, observed: &Observed) {
        for (finding, label) in result.findings.iter().zip(model.manifest.labels()) {
            if let (Reading::Quantity { value, .. }, Some(quantity)) = (&finding.reading, &label.quantity) {
                let name = &model.manifest.name;
                self.metrics.quantities.measured(
                    name,
                    &finding.label,
                    &observed.site,
                    *value,
                    quantity.range,
                );
            }
        }
    }

    /// Prepares an image, runs the network on it, between the gates, interprets what it says, and counts what came of it.
    async fn run(&self, request: ScoreRequest, started: Instant) -> Result<Ran, Unscored> {
        let model = Arc::clone(&request.model);
        model.counters.asked();
        let ran = self.through_the_gates(request, started).await;
        let total = started.elapsed();
        match &ran {
            Ok(ran) => model.counters.answered(Stages { total, ..ran.stages }),
            Err(_) => model.counters.failed(total),
        }
        ran
    }

    async fn through_the_gates(&self, request: ScoreRequest, started: Instant) -> Result<Ran, Unscored> {
        let ScoreRequest {
            model,
            image,
            overrides,
            call,
        } = request;
        let deadline = self.deadline(&call, started);
        let gates = Arc::new(Gates::of(&model, overrides));
        let work = {
            let (served, metrics) = (Arc::clone(&model), self.metrics.clone());
            let memory = self.decode_memory.clone();
            let gates = Arc::clone(&gates);
            move |turn: &Turn| {
                let contract = &served.manifest.preprocessing;
                let mut prepared = score::prepare(image, contract, &gates, &metrics, &memory, turn)?;
                prepared.timings.queue = milliseconds(turn.waited);
                if !served.runs_on_worker() {
                    return Ok((prepared, None));
                }
                let begun = Instant::now();
                let tensor = std::mem::take(&mut prepared.tensor);
                let ran = served.run_on_worker(turn, &tensor);
                prepared.timings.infer = milliseconds(begun.elapsed());
                match ran {
                    Ok(prediction) => Ok((prepared, Some(prediction))),
                    Err(fault) => Err(prepared.unscored(fault)),
                }
            }
        };
        let (mut prepared, prediction) = self.workers.run(&model.line, &call, deadline, work).await??;
        let mut batch = 1;
        let prediction = if let Some(prediction) = prediction {
            prepared.seen.device = Some(Device::Cpu);
            prediction
        } else {
            let tensor = std::mem::take(&mut prepared.tensor);
            match model.run_on_device(tensor, &call, deadline).await {
                Ok(answer) => {
                    prepared.timings.queue += milliseconds(answer.waited);
                    prepared.timings.infer = milliseconds(answer.inferred);
                    prepared.seen.device = Some(answer.device);
                    batch = answer.batch;
                    answer.prediction
                }
                Err(fault) => return Err(prepared.unscored(fault)),
            }
        };
        let answered = Instant::now();
        let embedding = prediction.embedding.as_deref();
        let known = model.distribution.as_ref();
        let passed = gates.features(known, embedding, &mut prepared.seen.distribution);
        match passed.and_then(|()| score::findings(&model.manifest, &prediction)) {
            Ok(findings) => Ok(Ran {
                stages: Stages {
                    output: answered.elapsed(),
                    batch,
                    ..Stages::from(&prepared.timings)
                },
                prepared,
                prediction,
                findings,
            }),
            Err(fault) => Err(prepared.unscored(fault)),
        }
    }

    /// Runs a network on a tensor that the caller prepared.
    ///
    /// # Errors
    /// A [`Fault`] where the tensor has not the model's shape, or the model fails.
    pub async fn infer(&self, request: TensorRequest) -> Result<Inferred, Fault> {
        let TensorRequest { model, tensor, call } = request;
        let expected = model.manifest.preprocessing.input_shape();
        if tensor.shape != expected {
            return Err(Fault::new(
                FaultKind::Invalid,
                "shape",
                format!(
                    "the input has the shape {:?} for each image; the model takes {expected:?}",
                    tensor.shape
                ),
            ));
        }
        let started = Instant::now();
        let deadline = self.deadline(&call, started);
        model.counters.asked();
        let ran = self.tensor(&model, tensor, &call, deadline).await;
        let total = started.elapsed();
        let answer = ran.inspect_err(|_| model.counters.failed(total))?;
        model.counters.answered(Stages {
            total,
            queue: answer.waited,
            infer: answer.inferred,
            batch: answer.batch,
            ..Stages::default()
        });
        Ok(Inferred {
            model,
            prediction: answer.prediction,
            waited: answer.waited,
            inferred: answer.inferred,
            device: answer.device,
        })
    }

    /// Runs a network on a tensor of its shape.
    async fn tensor(
        &self,
        model: &Arc<ServedModel>,
        tensor: Tensor,
        call: &Call,
        deadline: Instant,
    ) -> Result<Answer, Fault> {
        if !model.runs_on_worker() {
            return model.run_on_device(tensor, call, deadline).await;
        }
        let served = Arc::clone(model);
        let work = move |turn: &Turn| {
            let begun = Instant::now();
            Ok(Answer {
                prediction: served.run_on_worker(turn, &tensor)?,
                waited: turn.waited,
                inferred: begun.elapsed(),
                batch: 1,
                device: Device::Cpu,
            })
        };
        self.workers.run(&model.line, call, deadline, work).await?
    }

    /// Until when a call that begins now is answered.
    pub(crate) fn deadline(&self, call: &Call, now: Instant) -> Instant {
        let own = self.settings.deadline;
        now + call.deadline.map_or(own, |asked: Duration| asked.min(own))
    }
}

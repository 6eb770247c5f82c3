//! The only door to a model: bytes of one image in, one explicit outcome out.
//!
//! [`Inference::score`] waits its turn in the model's line; then one thread parses, decodes, checks the intended use, preprocesses,
//! runs and interprets. Whatever happens, the answer is an [`InstanceResult`]; a number is in it only where everything held.

mod batcher;
pub mod catalog;
mod line;
mod request;
mod score;
mod served;
mod workers;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

pub use catalog::{Catalog, Indexed, Rejected, RepositorySettings, Settings, State, Versions};
use catalog::{Patience, Repository};
pub use request::{Call, ImageBytes, Inferred, Priority, ScoreRequest, TensorRequest};
pub use served::ServedModel;

use crate::fault::{Fault, FaultKind};
use crate::finding::{InstanceResult, ModelReference, Outcome, Timings};
use crate::image::heatmap;
use crate::runtime::{Prediction, Runtime};
use crate::telemetry::metrics::Metrics;
use score::{Pixels, Prepared, Unscored, milliseconds};
use workers::{Turn, Workers, broken};

/// A handle to every served model; clones share them.
#[derive(Clone)]
pub struct Inference {
    catalog: Arc<Catalog>,
    repository: Arc<OnceLock<Repository>>,
    workers: Arc<Workers>,
    metrics: Metrics,
    settings: Settings,
}

/// What a worker has done of an image.
struct Done {
    prepared: Prepared,
    /// Where the network runs on the worker.
    prediction: Option<Prediction>,
}

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
            metrics,
            settings,
        })
    }

    /// Loads and proves what the settings want, and remembers them for [`Self::look`]: those of the first call hold. Blocks.
    pub fn load(&self, repository: impl Into<RepositorySettings>, runtime: &Runtime) {
        let repository = self.repository.get_or_init(|| {
            let catalog = Arc::clone(&self.catalog);
            Repository::new(
                repository.into(),
                self.settings,
                runtime.clone(),
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
    /// `unknown-model`, or `model-failed` with the reason of its newest version; an older one may serve all the same.
    pub async fn load_model(&self, name: &str) -> Result<(), Fault> {
        self.in_repository(name, Repository::load).await
    }

    /// Takes a model away until [`Self::load_model`], whatever is copied into its folder; what it is answering it answers.
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
            None => Err(Fault::new(
                FaultKind::Unavailable,
                "not-ready",
                "the models are being loaded and proven",
            )),
        });
        done.await.unwrap_or_else(|_| Err(broken()))
    }

    /// Which models there are.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The model that scores stored studies: the first by name.
    #[must_use]
    pub fn default_model(&self) -> Option<ModelReference> {
        self.catalog.all().first().map(|model| model.reference())
    }

    /// How many images wait for a model.
    #[must_use]
    pub fn waiting(&self, model: &ServedModel) -> usize {
        self.workers.waiting(&model.line) + model.waiting_for_device()
    }

    /// Scores one image; every way this can end is an outcome. Beside it, the kind of the fault if there was one.
    pub async fn score(&self, request: ScoreRequest) -> (InstanceResult, Option<FaultKind>) {
        let model = match self.catalog.find(&request.model, request.version) {
            Ok(model) => model,
            Err(fault) => return self.counted(InstanceResult::unscored(&fault, None), Some(fault.kind)),
        };
        match self.run(&model, request).await {
            Ok(result) => {
                let fault = (result.outcome == Outcome::Failed).then_some(FaultKind::Internal);
                self.counted(result, fault)
            }
            Err(unscored) => {
                let result = score::unscored(&model, &unscored.fault, *unscored.seen);
                self.counted(result, Some(unscored.fault.kind))
            }
        }
    }

    async fn run(&self, model: &Arc<ServedModel>, request: ScoreRequest) -> Result<InstanceResult, Unscored> {
        let started = Instant::now();
        let deadline = self.deadline(&request.call, started);
        let ScoreRequest {
            image,
            call,
            override_intended_use: overridden,
            ..
        } = request;
        let (served, own) = (Arc::clone(model), call.clone());
        let work = move |turn: &Turn| {
            let mut prepared = prepared(&served, image, overridden, Pixels::Dropped)?;
            prepared.timings.queue = milliseconds(turn.waited);
            if !served.runs_on_worker() {
                return Ok(Done {
                    prepared,
                    prediction: None,
                });
            }
            let begun = Instant::now();
            let tensor = std::mem::take(&mut prepared.tensor);
            match served.run_on_worker(turn, vec![tensor], &own, deadline) {
                Ok(mut predictions) => {
                    prepared.timings.infer = milliseconds(begun.elapsed());
                    Ok(Done {
                        prepared,
                        prediction: predictions.pop(),
                    })
                }
                Err(fault) => Err(Unscored {
                    fault,
                    seen: Box::new(prepared.seen),
                }),
            }
        };
        let done = self.workers.run(&model.line, &call, deadline, work).await??;
        let Done {
            mut prepared,
            prediction,
        } = done;
        let prediction = match prediction {
            Some(prediction) => prediction,
            None => match model.run_on_device(prepared.tensor, &call, deadline).await {
                Ok(answer) => {
                    prepared.timings.queue += milliseconds(answer.waited);
                    prepared.timings.infer = milliseconds(answer.inferred);
                    answer.prediction
                }
                Err(fault) => {
                    return Err(Unscored {
                        fault,
                        seen: Box::new(prepared.seen),
                    });
                }
            },
        };
        let timings = Timings {
            total: milliseconds(started.elapsed()),
            ..prepared.timings
        };
        Ok(score::result(model, prepared.seen, timings, &prediction))
    }

    /// The radiograph with the evidence for one finding over it, as a PNG; without a name, the first finding.
    ///
    /// # Errors
    /// A [`Fault`] where the image cannot be scored, the finding is unknown or the model gives no map.
    pub async fn heatmap(&self, request: ScoreRequest, finding: Option<&str>) -> Result<Vec<u8>, Fault> {
        let model = self.catalog.find(&request.model, request.version)?;
        let index = finding_index(&model, finding)?;
        let deadline = self.deadline(&request.call, Instant::now());
        let ScoreRequest {
            image,
            call,
            override_intended_use: overridden,
            ..
        } = request;
        let (served, own) = (Arc::clone(&model), call.clone());
        let work = move |turn: &Turn| {
            let mut prepared =
                prepared(&served, image, overridden, Pixels::Kept).map_err(|unscored| unscored.fault)?;
            let image = prepared.image.take().ok_or_else(broken)?;
            let tensors = vec![prepared.tensor];
            let predictions = served.run_on_worker(turn, tensors, &own, deadline)?;
            let prediction = predictions.into_iter().next().ok_or_else(broken)?;
            let maps =
                prediction
                    .heads
                    .into_iter()
                    .zip(&served.manifest.heads)
                    .flat_map(|(head, described)| {
                        let mut maps: Vec<_> = head.activation_maps.into_iter().map(Some).collect();
                        maps.resize(described.labels.len(), None);
                        maps
                    });
            let map = maps.into_iter().nth(index).flatten().ok_or_else(|| {
                Fault::new(
                    FaultKind::NotFound,
                    "no-heatmap",
                    "this model gives no activation map",
                )
            })?;
            let picture = heatmap::overlay(&served.manifest.preprocessing, &image, &map)?;
            picture
                .png()
                .map_err(|error| Fault::new(FaultKind::Internal, "png", error))
        };
        self.workers.run(&model.line, &call, deadline, work).await?
    }

    /// Runs a network on a tensor that the caller prepared.
    ///
    /// # Errors
    /// A [`Fault`] where the model is unknown, the tensor has not its shape, or the model fails.
    pub async fn infer(&self, request: TensorRequest) -> Result<Inferred, Fault> {
        let model = self.catalog.find(&request.model, request.version)?;
        let expected = model.manifest.preprocessing.input_shape();
        if request.tensor.shape != expected {
            return Err(Fault::new(
                FaultKind::Invalid,
                "shape",
                format!(
                    "the input has the shape {:?} for each image; the model takes {expected:?}",
                    request.tensor.shape
                ),
            ));
        }
        let TensorRequest { tensor, call, .. } = request;
        let deadline = self.deadline(&call, Instant::now());
        if !model.runs_on_worker() {
            let answer = model.run_on_device(tensor, &call, deadline).await?;
            return Ok(Inferred {
                prediction: answer.prediction,
                waited: answer.waited,
                inferred: answer.inferred,
                model,
            });
        }
        let (served, own) = (Arc::clone(&model), call.clone());
        let work = move |turn: &Turn| {
            let begun = Instant::now();
            let predictions = served.run_on_worker(turn, vec![tensor], &own, deadline)?;
            let prediction = predictions.into_iter().next().ok_or_else(broken)?;
            Ok::<_, Fault>((prediction, turn.waited, begun.elapsed()))
        };
        let (prediction, waited, inferred) = self.workers.run(&model.line, &call, deadline, work).await??;
        Ok(Inferred {
            model,
            prediction,
            waited,
            inferred,
        })
    }

    fn deadline(&self, call: &Call, now: Instant) -> Instant {
        let own = self.settings.deadline;
        now + call.deadline.map_or(own, |asked: Duration| asked.min(own))
    }

    fn counted(
        &self,
        result: InstanceResult,
        fault: Option<FaultKind>,
    ) -> (InstanceResult, Option<FaultKind>) {
        self.metrics.scored(&result);
        (result, fault)
    }
}

fn prepared(
    model: &ServedModel,
    image: ImageBytes,
    overridden: bool,
    pixels: Pixels,
) -> Result<Prepared, Unscored> {
    let manifest = &model.manifest;
    score::prepare(image, &manifest.preprocessing, pixels, |attributes| {
        score::check(manifest.intended_use.violations(attributes), overridden)
    })
}

/// The place of a finding among the model's labels; the first without a name.
fn finding_index(model: &ServedModel, finding: Option<&str>) -> Result<usize, Fault> {
    let Some(name) = finding else { return Ok(0) };
    let known = || model.manifest.labels().map(|label| label.name.as_str());
    known().position(|label| label == name).ok_or_else(|| {
        let known = known().collect::<Vec<_>>().join(", ");
        Fault::new(
            FaultKind::NotFound,
            "unknown-finding",
            format!("the model's findings are {known}"),
        )
    })
}

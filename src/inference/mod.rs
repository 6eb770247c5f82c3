//! The only door to a model: bytes of one image in, one explicit outcome out.
//!
//! [`Inference::score`] parses, decodes, checks the intended use, preprocesses, waits its turn, runs and interprets.
//! Whatever happens, the answer is an [`InstanceResult`]; a number is in it only where everything held.

pub mod catalog;
mod instance;
mod queue;
mod request;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

pub use catalog::{Catalog, Indexed, Rejected, ServedModel, Settings, State};
pub use request::{Call, ImageBytes, Inferred, Priority, ScoreRequest, TensorRequest};

use crate::dicom::{Attributes, Instance};
use crate::fault::{Fault, FaultKind};
use crate::finding::{
    Finding, InstanceResult, IntendedUseCheck, ModelReference, NotAScore, Outcome, Reason, Timings,
    Violation, interpret,
};
use crate::image::decode::decode_picture;
use crate::image::preprocess::Preprocessing;
use crate::image::{StoredImage, Tensor, heatmap};
use crate::model::ModelManifest;
use crate::runtime::{Prediction, Runtime};
use crate::telemetry::metrics::Metrics;

/// A handle to every served model; clones share them.
#[derive(Clone)]
pub struct Inference {
    catalog: Arc<Catalog>,
    /// Decoding and preprocessing at the same time: as many as there are cores.
    preparing: Arc<Semaphore>,
    /// Images inside: waiting to be prepared, being prepared, waiting to be scored.
    inside: Arc<Semaphore>,
    metrics: Metrics,
    settings: Settings,
}

/// What is known of an image, whether it is scored or not.
#[derive(Clone, Default)]
struct Seen {
    uid: Option<String>,
    view: Option<String>,
    check: Option<IntendedUseCheck>,
    repairs: Vec<Reason>,
}

/// One image ready for a network.
struct Prepared {
    seen: Seen,
    tensor: Tensor,
    timings: Timings,
    /// Where a picture is to be made of it; otherwise the pixels are given up before the image waits its turn.
    image: Option<StoredImage>,
}

/// An image that will not be scored, and what is known of it.
struct Unscored {
    fault: Fault,
    seen: Box<Seen>,
}

impl From<Fault> for Unscored {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            seen: Box::default(),
        }
    }
}

impl Inference {
    /// A handle without models; [`Self::load`] fills it.
    #[must_use]
    pub fn new(settings: Settings, metrics: Metrics) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            catalog: Arc::default(),
            preparing: Arc::new(Semaphore::new(cores)),
            inside: Arc::new(Semaphore::new(settings.queue + cores)),
            metrics,
            settings,
        }
    }

    /// Loads and proves every package under `models`. Blocks.
    pub fn load(&self, models: &Path, runtime: &Runtime) {
        self.catalog.load(models, runtime, self.settings);
        self.metrics
            .models(self.catalog.all().len(), self.catalog.rejected().len());
    }

    /// Which models there are.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// STAND-IN for the lifecycle that is written elsewhere.
    ///
    /// # Errors
    /// `unknown-model`.
    #[expect(clippy::unused_async, reason = "what it stands for waits")]
    pub async fn load_model(&self, name: &str) -> Result<(), Fault> {
        self.catalog.shift(name, true)
    }

    /// STAND-IN for the lifecycle that is written elsewhere.
    ///
    /// # Errors
    /// `unknown-model`.
    #[expect(clippy::unused_async, reason = "what it stands for waits")]
    pub async fn unload_model(&self, name: &str) -> Result<(), Fault> {
        self.catalog.shift(name, false)
    }

    /// The model that scores stored studies: the first by name.
    #[must_use]
    pub fn default_model(&self) -> Option<ModelReference> {
        self.catalog.all().first().map(|model| model.reference())
    }

    /// Scores one image; every way this can end is an outcome. Beside it, the kind of the fault if there was one.
    pub async fn score(&self, request: ScoreRequest) -> (InstanceResult, Option<FaultKind>) {
        let model = match self.catalog.find(&request.model, request.version) {
            Ok(model) => model,
            Err(fault) => return self.counted(InstanceResult::unscored(&fault, None), Some(fault.kind)),
        };
        let started = Instant::now();
        match self.run(&model, request, Pixels::Dropped).await {
            Ok((prepared, ran)) => {
                let result = scored(&model, prepared, ran, started.elapsed());
                let fault = (result.outcome == Outcome::Failed).then_some(FaultKind::Internal);
                self.counted(result, fault)
            }
            Err(unscored) => {
                let result = InstanceResult {
                    view: unscored.seen.view,
                    intended_use: unscored.seen.check,
                    repairs: unscored.seen.repairs,
                    model: Some(model.reference()),
                    ..InstanceResult::unscored(&unscored.fault, unscored.seen.uid)
                };
                self.counted(result, Some(unscored.fault.kind))
            }
        }
    }

    /// The radiograph with the evidence for one finding over it, as a PNG; without a name, the first finding.
    ///
    /// # Errors
    /// A [`Fault`] where the image cannot be scored, the finding is unknown or the model gives no map.
    pub async fn heatmap(&self, request: ScoreRequest, finding: Option<&str>) -> Result<Vec<u8>, Fault> {
        let model = self.catalog.find(&request.model, request.version)?;
        let index = match finding {
            None => 0,
            Some(name) => model
                .manifest
                .labels()
                .position(|label| label.name == name)
                .ok_or_else(|| {
                    let known = model
                        .manifest
                        .labels()
                        .map(|label| label.name.as_str())
                        .collect::<Vec<_>>()
                        .join(", ");
                    Fault::new(
                        FaultKind::NotFound,
                        "unknown-finding",
                        format!("the model's findings are {known}"),
                    )
                })?,
        };
        let (prepared, (prediction, ..)) = self
            .run(&model, request, Pixels::Kept)
            .await
            .map_err(|unscored| unscored.fault)?;
        let image = prepared.image.ok_or_else(broken)?;
        let maps = prediction
            .heads
            .into_iter()
            .zip(&model.manifest.heads)
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
        let contract = model.manifest.preprocessing.clone();
        self.prepare(move || {
            let picture = heatmap::overlay(&contract, &image, &map)?;
            picture
                .png()
                .map_err(|error| Fault::new(FaultKind::Internal, "png", error))
        })
        .await
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
        let _inside = self.inside.try_acquire().map_err(|_| instance::overloaded())?;
        let answer = model.instances.run(request.tensor).await?;
        Ok(Inferred {
            prediction: answer.prediction,
            waited: answer.waited,
            inferred: answer.inferred,
            model,
        })
    }

    async fn run(
        &self,
        model: &ServedModel,
        request: ScoreRequest,
        pixels: Pixels,
    ) -> Result<(Prepared, (Prediction, Duration, Duration)), Unscored> {
        let _inside = self.inside.try_acquire().map_err(|_| instance::overloaded())?;
        let intended = model.manifest.intended_use.clone();
        let contract = model.manifest.preprocessing.clone();
        let mut prepared = self
            .prepare(move || {
                Ok(prepare(request.image, &contract, pixels, |attributes| {
                    check(intended.violations(attributes), request.override_intended_use)
                }))
            })
            .await??;
        let tensor = std::mem::take(&mut prepared.tensor);
        match model.instances.run(tensor).await {
            Ok(answer) => Ok((prepared, (answer.prediction, answer.waited, answer.inferred))),
            Err(fault) => Err(Unscored {
                fault,
                seen: Box::new(prepared.seen),
            }),
        }
    }

    /// Runs blocking work on one of the cores' places; a panic in it is a fault of its own.
    async fn prepare<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let _place = self.preparing.acquire().await.map_err(|_| broken())?;
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|_| Err(broken()))
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

fn scored(
    model: &ServedModel,
    prepared: Prepared,
    (prediction, waited, ran): (Prediction, Duration, Duration),
    total: Duration,
) -> InstanceResult {
    let (outcome, reason, findings) = match findings(&model.manifest, &prediction) {
        Ok(findings) => (Outcome::Scored, None, findings),
        Err(error) => {
            let reason = Reason {
                code: error.code().to_owned(),
                message: error.to_string(),
            };
            (Outcome::Failed, Some(reason), Vec::new())
        }
    };
    let timings = Timings {
        queue: milliseconds(waited),
        infer: milliseconds(ran),
        total: milliseconds(total),
        ..prepared.timings
    };
    InstanceResult {
        outcome,
        reason,
        sop_instance_uid: prepared.seen.uid,
        view: prepared.seen.view,
        findings,
        model: Some(model.reference()),
        intended_use: prepared.seen.check,
        repairs: prepared.seen.repairs,
        timings_ms: Some(timings),
    }
}

fn findings(manifest: &ModelManifest, prediction: &Prediction) -> Result<Vec<Finding>, NotAScore> {
    let mut findings = Vec::new();
    for (head, output) in manifest.heads.iter().zip(&prediction.heads) {
        findings.extend(interpret(head.task, &head.labels, &output.values)?);
    }
    Ok(findings)
}

/// Whether to go on in spite of the violations, and what the answer will say.
fn check(violations: Vec<Violation>, overridden: bool) -> Result<IntendedUseCheck, Fault> {
    let Some(first) = violations.first() else {
        return Ok(IntendedUseCheck::Met);
    };
    if overridden {
        return Ok(IntendedUseCheck::Overridden { violations });
    }
    let all = violations
        .iter()
        .map(|violation| violation.message.as_str())
        .collect::<Vec<_>>()
        .join("; ");
    let message = format!(
        "outside the model's intended use: {all}; for research, ?override=intended-use scores it all the same"
    );
    Err(Fault::new(FaultKind::Refused, code(&first.code), message))
}

/// The violation's code as one of the codes that this crate documents.
fn code(violation: &str) -> &'static str {
    const CODES: [&str; 8] = [
        "modality",
        "modality-unknown",
        "body-part",
        "body-part-unknown",
        "view",
        "view-unknown",
        "age",
        "age-unknown",
    ];
    CODES
        .into_iter()
        .find(|code| *code == violation)
        .unwrap_or("intended-use")
}

/// Whether the decoded pixels outlive preprocessing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pixels {
    Kept,
    Dropped,
}

fn broken() -> Fault {
    Fault::new(
        FaultKind::Internal,
        "panic",
        "the image could not be prepared; the server's log has the cause",
    )
}

/// Parses, decodes and preprocesses; the file's bytes and the pixels are freed as soon as the next step has been done.
fn prepare(
    bytes: ImageBytes,
    contract: &Preprocessing,
    pixels: Pixels,
    check: impl FnOnce(&Attributes) -> Result<IntendedUseCheck, Fault>,
) -> Result<Prepared, Unscored> {
    let mut timings = Timings::default();
    let mut clock = Instant::now();
    let mut lap = || {
        let now = Instant::now();
        milliseconds(now - std::mem::replace(&mut clock, now))
    };
    let mut seen = Seen::default();
    let unscored = |fault: Fault, seen: &mut Seen| Unscored {
        fault,
        seen: Box::new(std::mem::take(seen)),
    };
    let image = match bytes {
        ImageBytes::Picture(bytes) => {
            seen.check = Some(IntendedUseCheck::NotChecked);
            decode_picture(&bytes).map_err(|error| unscored(error.into(), &mut seen))?
        }
        ImageBytes::Dicom(bytes) => {
            let instance = Instance::parse(bytes).map_err(Fault::from)?;
            timings.parse = lap();
            seen.uid = Some(instance.uid.to_string());
            seen.repairs = instance.repairs.iter().map(Reason::from).collect();
            let attributes = Attributes::of(&instance);
            let met = check(&attributes);
            seen.view = attributes.view_position;
            seen.check = Some(met.map_err(|fault| unscored(fault, &mut seen))?);
            contract
                .decode(&instance)
                .map_err(|error| unscored(error.into(), &mut seen))?
        }
    };
    timings.decode = lap();
    let (tensor, _) = contract
        .apply(&image)
        .map_err(|error| unscored(error.into(), &mut seen))?;
    timings.preprocess = lap();
    Ok(Prepared {
        seen,
        tensor,
        timings,
        image: (pixels == Pixels::Kept).then_some(image),
    })
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

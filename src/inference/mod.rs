//! The only door to a model: bytes of one image in, one explicit outcome out.
//!
//! [`Inference::score`] parses, checks the intended use, decodes, preprocesses, measures the quality, waits its turn, runs, compares
//! with what the model knows and interprets.
//! Whatever happens, the answer is an [`InstanceResult`]; a number is in it only where everything held.

pub mod catalog;
mod explain;
mod gates;
mod instance;
mod queue;
mod request;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

pub use catalog::{Catalog, Indexed, Rejected, ServedModel, Settings, State};
pub use explain::Heatmap;
pub use request::{Call, ImageBytes, Inferred, Priority, ScoreRequest, TensorRequest};

use crate::dicom::{Attributes, Instance};
use crate::fault::{Fault, FaultKind};
use crate::finding::{
    DistributionCheck, Finding, InstanceResult, IntendedUseCheck, ModelReference, NotAScore, Outcome,
    QualityCheck, Reason, Timings, interpret,
};
use crate::image::decode::decode_picture;
use crate::image::preprocess::Preprocessing;
use crate::image::{Quality, StoredImage, Tensor};
use crate::model::ModelManifest;
use crate::runtime::{Prediction, Runtime};
use crate::telemetry::metrics::{Metrics, Observed};
use gates::Gates;

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
    quality: Option<QualityCheck>,
    distribution: Option<DistributionCheck>,
    repairs: Vec<Reason>,
    observed: Observed,
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

    /// The model that scores stored studies: the first by name.
    #[must_use]
    pub fn default_model(&self) -> Option<ModelReference> {
        self.catalog.all().first().map(|model| model.reference())
    }

    /// Scores one image; every way this can end is an outcome. Beside it, the kind of the fault if there was one.
    pub async fn score(&self, request: ScoreRequest) -> (InstanceResult, Option<FaultKind>) {
        let model = match self.catalog.find(&request.model, request.version) {
            Ok(model) => model,
            Err(fault) => {
                let result = InstanceResult::unscored(&fault, None);
                return self.counted(result, &Observed::default(), Some(fault.kind));
            }
        };
        let started = Instant::now();
        match self.run(&model, request, Pixels::Dropped).await {
            Ok((mut prepared, ran)) => {
                let observed = std::mem::take(&mut prepared.seen.observed);
                let result = scored(&model, prepared, ran, started.elapsed());
                let fault = (result.outcome == Outcome::Failed).then_some(FaultKind::Internal);
                self.counted(result, &observed, fault)
            }
            Err(unscored) => {
                let result = InstanceResult {
                    view: unscored.seen.view,
                    intended_use: unscored.seen.check,
                    quality: unscored.seen.quality,
                    distribution: unscored.seen.distribution,
                    repairs: unscored.seen.repairs,
                    model: Some(model.reference()),
                    ..InstanceResult::unscored(&unscored.fault, unscored.seen.uid)
                };
                self.counted(result, &unscored.seen.observed, Some(unscored.fault.kind))
            }
        }
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
        let gates = Arc::new(Gates::of(model, request.overrides));
        let contract = model.manifest.preprocessing.clone();
        let mut prepared = {
            let (gates, metrics) = (Arc::clone(&gates), self.metrics.clone());
            self.prepare(move || Ok(prepare(request.image, &contract, pixels, &gates, &metrics)))
                .await??
        };
        let tensor = std::mem::take(&mut prepared.tensor);
        let ran = model.instances.run(tensor).await.and_then(|answer| {
            let embedding = answer.prediction.embedding.as_deref();
            gates.features(
                model.distribution.as_ref(),
                embedding,
                &mut prepared.seen.distribution,
            )?;
            Ok((answer.prediction, answer.waited, answer.inferred))
        });
        match ran {
            Ok(ran) => Ok((prepared, ran)),
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
        observed: &Observed,
        fault: Option<FaultKind>,
    ) -> (InstanceResult, Option<FaultKind>) {
        self.metrics.scored(&result, observed);
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
        quality: prepared.seen.quality,
        distribution: prepared.seen.distribution,
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
    gates: &Gates,
    metrics: &Metrics,
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
            seen.observed.site = metrics.site(attributes.institution.as_deref());
            let met = gates.header(&attributes);
            seen.view = attributes.view_position;
            seen.check = Some(met.map_err(|fault| unscored(fault, &mut seen))?);
            contract
                .decode(&instance)
                .map_err(|error| unscored(error.into(), &mut seen))?
        }
    };
    timings.decode = lap();
    let (plane, placement) = contract
        .plane(&image)
        .map_err(|error| unscored(error.into(), &mut seen))?;
    let measured = Quality::of(&image, &plane, &placement);
    seen.observed.quality = Some(measured);
    gates
        .pixels(measured, &mut seen.quality)
        .map_err(|fault| unscored(fault, &mut seen))?;
    let tensor = contract.tensor(&plane);
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

//! The only door to a model: bytes of one image in, one explicit outcome out.
//!
//! [`Inference::score`] parses, decodes, checks the intended use, preprocesses, waits its turn, runs and interprets.
//! Whatever happens, the answer is an [`InstanceResult`]; a number is in it only where everything held.

pub mod catalog;
mod instance;
mod queue;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use tokio::sync::Semaphore;

pub use catalog::{Catalog, Rejected, ServedModel, Settings};

use crate::dicom::{Attributes, Instance};
use crate::fault::{Fault, FaultKind};
use crate::finding::{
    InstanceResult, IntendedUseCheck, ModelReference, Outcome, Reason, Timings, Violation, interpret,
};
use crate::image::decode::decode_picture;
use crate::image::preprocess::Preprocessing;
use crate::image::{StoredImage, Tensor, heatmap};
use crate::runtime::{Runtime, Scores};
use crate::telemetry::metrics::Metrics;

/// The bytes of one image.
#[derive(Clone, Debug)]
pub enum ImageBytes {
    /// A DICOM file.
    Dicom(Bytes),
    /// A PNG or JPEG file: it has no header to check.
    Picture(Bytes),
}

/// What is asked of a model.
#[derive(Clone, Debug)]
pub struct ScoreRequest {
    /// The model's name.
    pub model: String,
    /// The image.
    pub image: ImageBytes,
    /// Score it even outside the intended use, for research; the answer then says so.
    pub override_intended_use: bool,
}

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
    seen: Seen,
}

impl From<Fault> for Unscored {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            seen: Seen::default(),
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
        let Some(model) = self.catalog.latest(&request.model) else {
            let fault = self.unknown();
            return self.counted(InstanceResult::unscored(&fault, None), Some(fault.kind));
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
        let model = self
            .catalog
            .latest(&request.model)
            .ok_or_else(|| self.unknown())?;
        let labels = &model.manifest.labels;
        let index = match finding {
            None => 0,
            Some(name) => labels
                .iter()
                .position(|label| label.name == name)
                .ok_or_else(|| {
                    let known = labels
                        .iter()
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
        let (prepared, (scores, ..)) = self
            .run(&model, request, Pixels::Kept)
            .await
            .map_err(|unscored| unscored.fault)?;
        let image = prepared.image.ok_or_else(broken)?;
        let map = scores.activation_maps.into_iter().nth(index).ok_or_else(|| {
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

    async fn run(
        &self,
        model: &ServedModel,
        request: ScoreRequest,
        pixels: Pixels,
    ) -> Result<(Prepared, (Scores, Duration, Duration)), Unscored> {
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
            Ok(answer) => Ok((prepared, (answer.scores, answer.waited, answer.inferred))),
            Err(fault) => Err(Unscored {
                fault,
                seen: prepared.seen,
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

    /// The caller's text is not repeated.
    fn unknown(&self) -> Fault {
        if let (Some(reason), true) = (self.catalog.not_ready(), self.catalog.all().is_empty()) {
            return Fault::new(FaultKind::Unavailable, "not-ready", reason);
        }
        let mut known: Vec<String> = self
            .catalog
            .all()
            .iter()
            .map(|model| model.manifest.name.clone())
            .collect();
        known.dedup();
        Fault::new(
            FaultKind::NotFound,
            "unknown-model",
            format!("there is no such model: this server has {}", known.join(", ")),
        )
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
    (scores, waited, ran): (Scores, Duration, Duration),
    total: Duration,
) -> InstanceResult {
    let (outcome, reason, findings) = match interpret(&model.manifest.labels, &scores.probabilities) {
        Ok(findings) => (Outcome::Scored, None, findings),
        Err(error) => {
            let reason = Reason {
                code: "not-a-probability".to_owned(),
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
        findings,
        model: Some(model.reference()),
        intended_use: prepared.seen.check,
        repairs: prepared.seen.repairs,
        timings_ms: Some(timings),
    }
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
        seen: std::mem::take(seen),
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
            let met = check(&Attributes::of(&instance));
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

//! One image on one thread: parsed, checked, decoded, preprocessed, run and interpreted.

use std::time::{Duration, Instant};

use super::request::ImageBytes;
use super::served::ServedModel;
use crate::dicom::{Attributes, Instance};
use crate::fault::{Fault, FaultKind};
use crate::finding::{
    Finding, InstanceResult, IntendedUseCheck, NotAScore, Outcome, Reason, Timings, Violation, interpret,
};
use crate::image::decode::decode_picture;
use crate::image::preprocess::Preprocessing;
use crate::image::{StoredImage, Tensor};
use crate::model::ModelManifest;
use crate::runtime::Prediction;

/// What is known of an image, whether it is scored or not.
#[derive(Clone, Default)]
pub(super) struct Seen {
    uid: Option<String>,
    view: Option<String>,
    check: Option<IntendedUseCheck>,
    repairs: Vec<Reason>,
}

/// One image ready for a network.
pub(super) struct Prepared {
    pub(super) seen: Seen,
    pub(super) tensor: Tensor,
    pub(super) timings: Timings,
    /// Where a picture is to be made of it; otherwise the pixels are given up before the network runs.
    pub(super) image: Option<StoredImage>,
}

/// An image that will not be scored, and what is known of it.
pub(super) struct Unscored {
    pub(super) fault: Fault,
    pub(super) seen: Box<Seen>,
}

impl From<Fault> for Unscored {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            seen: Box::default(),
        }
    }
}

/// Whether the decoded pixels outlive preprocessing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pixels {
    Kept,
    Dropped,
}

/// Parses, decodes and preprocesses; the file's bytes and the pixels are freed as soon as the next step has been done.
pub(super) fn prepare(
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

/// What a model's prediction means for one image.
pub(super) fn result(
    model: &ServedModel,
    seen: Seen,
    timings: Timings,
    prediction: &Prediction,
) -> InstanceResult {
    let (outcome, reason, findings) = match findings(&model.manifest, prediction) {
        Ok(findings) => (Outcome::Scored, None, findings),
        Err(error) => {
            let reason = Reason {
                code: error.code().to_owned(),
                message: error.to_string(),
            };
            (Outcome::Failed, Some(reason), Vec::new())
        }
    };
    InstanceResult {
        outcome,
        reason,
        sop_instance_uid: seen.uid,
        view: seen.view,
        findings,
        model: Some(model.reference()),
        intended_use: seen.check,
        repairs: seen.repairs,
        timings_ms: Some(timings),
    }
}

/// The result of an image that was not scored.
pub(super) fn unscored(model: &ServedModel, fault: &Fault, seen: Seen) -> InstanceResult {
    InstanceResult {
        view: seen.view,
        intended_use: seen.check,
        repairs: seen.repairs,
        model: Some(model.reference()),
        ..InstanceResult::unscored(fault, seen.uid)
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
pub(super) fn check(violations: Vec<Violation>, overridden: bool) -> Result<IntendedUseCheck, Fault> {
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

pub(super) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

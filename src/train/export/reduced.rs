//! An export in fewer bits, which is refused where it would cost more than its bounds.
//!
//! What the reduced network says of the run's held-out patients is compared with what the trained one says; goldens stay those of the
//! trained one, with room for what rounding does to them.

use super::answering::Answering;
use super::comparison::{Comparison, judge};
use super::goldens;
use super::onnx::half_precision;
use super::package::{Draft, lines};
use crate::model::package::{GOLDENS, MODEL};
use crate::model::{Goldens, NumberFormat, ReducedPrecision};
use crate::runtime::{Engine, Runtime};
use crate::train::assess::agreement::Bounds;
use crate::train::data::labels::Part;
use crate::train::run::RunImages;

/// Whom it is tried on.
const WANTED: [Part; 1] = [Part::Validation];

/// Rows that [`reduce`] reads: as often it calls `step`.
#[must_use]
pub fn steps(images: &RunImages) -> usize {
    images.len(&WANTED)
}

/// What a package with weights in fewer bits may cost.
#[must_use]
pub fn bounds(reduced: &ReducedPrecision) -> Bounds {
    Bounds {
        value: None,
        area: reduced.area,
        calibration: reduced.calibration_error,
    }
}

/// Puts the numbers of `draft` into `format`, and answers what that did to each question, in words.
///
/// # Errors
/// A sentence: what moved too far, or which images are gone. The draft is of no use then.
pub fn reduce(
    draft: &mut Draft,
    format: NumberFormat,
    answering: &Answering,
    images: &RunImages,
    runtime: &Runtime,
    step: impl Fn() + Sync,
) -> Result<Vec<(String, String)>, String> {
    let [area, calibration_error] = format.bounds();
    let whole = draft.files.get(MODEL).ok_or("the draft has no model")?;
    let model = match format {
        NumberFormat::Fp16 => half_precision(whole)?,
    };
    let first = answering.first();
    let mut comparison = Comparison::new(answering, runtime, &model, &draft.manifest, steps(images))?;
    images.visit(&WANTED, &first.contract, step, |samples, _| {
        comparison.add(samples)
    })?;
    let agreements = comparison.pairs.agreements(&draft.manifest.heads)?;
    let (changed, decisions) = agreements.iter().fold((0, 0), |(changed, decisions), one| {
        (changed + one.changed, decisions + one.decisions)
    });
    let reduced = ReducedPrecision {
        format,
        area,
        calibration_error,
        images: comparison.pairs.patients.len(),
        // four digits, as thresholds have
        decisions_changed: (changed as f64 / decisions.max(1) as f64 * 1e4).ceil() / 1e4,
    };
    reduced.check()?;
    let mut said = Vec::new();
    for (label, judged) in judge(&comparison.pairs, &draft.manifest.heads, &bounds(&reduced))? {
        let figures = judged.map_err(|reason| {
            format!(
                "{} is not exported, as it costs too much: {label}: {reason}",
                format.name()
            )
        })?;
        said.push((label, figures));
    }
    drop(comparison);
    let goldens = with_room(draft, &model, runtime)?;
    draft.files.insert(GOLDENS.to_owned(), lines(&goldens)?);
    draft.files.insert(MODEL.to_owned(), model);
    draft.manifest.reduced_precision = Some(reduced);
    draft.manifest.check()?;
    Ok(said)
}

/// The goldens with a tolerance that the reduced network keeps: by as much as it is off, and what other processors make of the same sums.
fn with_room(draft: &Draft, model: &[u8], runtime: &Runtime) -> Result<Goldens, String> {
    let goldens = draft.files.get(GOLDENS).ok_or("the draft has no goldens")?;
    let mut goldens: Goldens = serde_json::from_slice(goldens).map_err(|error| error.to_string())?;
    let mut engine = Engine::load(runtime, model, &draft.manifest).map_err(|error| error.to_string())?;
    let mut worst: f32 = 0.0;
    for case in &goldens.cases {
        let tensor = goldens::tensor(&case.input, &draft.manifest.preprocessing, &draft.files)?;
        let answers = engine.run(&[&tensor]).map_err(|error| error.to_string())?;
        let scores = answers.first().map(crate::runtime::Prediction::proof);
        worst = worst.max(case.difference(&scores.unwrap_or_default()));
    }
    goldens.tolerance += worst;
    if goldens.tolerance > MOST_TOLERANCE {
        return Err(format!(
            "rounding moves a golden case by {worst:.1e}: goldens that allow so much prove nothing, so export it in 32 bits"
        ));
    }
    Ok(goldens)
}

/// A golden case that may be further off would not notice a damaged network.
const MOST_TOLERANCE: f32 = 0.5;

//! An export in fewer bits, which is refused where it would cost more than its bounds.
//!
//! What the reduced network says of the run's held-out patients is compared with what the trained one says; goldens stay those of the
//! trained one, with room for what rounding does to them.

use super::answering::Answering;
use super::comparison::{Comparison, judge};
use super::goldens;
use super::onnx::{eight_bits, half_precision};
use super::package::{Draft, lines};
use super::ranges::{self, Observer, convolutions};
use crate::model::package::{GOLDENS, MODEL};
use crate::model::{GoldenInput, Goldens, NumberFormat, ReducedPrecision};
use crate::runtime::{Engine, Prediction, Runtime, in_halves};
use crate::train::assess::agreement::Bounds;
use crate::train::run::{RunImages, Wanted};

/// A golden case that may be further off would not notice a damaged network.
const MOST_OFF: f32 = 0.25;

/// The training's images by which ranges are found.
const CALIBRATION: Wanted = Wanted {
    held_out: false,
    training: ranges::IMAGES,
};

/// Rows that [`reduce`] reads: as often it calls `step`.
#[must_use]
pub fn steps(format: NumberFormat, images: &RunImages) -> usize {
    let calibration = match format {
        NumberFormat::Fp16 => 0,
        NumberFormat::Int8 => images.len(CALIBRATION),
    };
    images.len(Wanted::HELD_OUT) + calibration
}

/// What a package in fewer bits may cost.
#[must_use]
pub fn bounds(reduced: &ReducedPrecision) -> Bounds {
    Bounds {
        value: None,
        area: reduced.area,
        not_inferior: true,
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
    let contract = &answering.first().contract;
    let model = match format {
        NumberFormat::Fp16 => half_precision(whole)?,
        NumberFormat::Int8 => {
            let mut observer = Observer::new(answering)?;
            images.visit(CALIBRATION, contract, &step, |few| observer.add(few.samples))?;
            eight_bits(whole, &convolutions(answering), &observer.ranges())?
        }
    };
    let count = images.len(Wanted::HELD_OUT);
    let runs = runs(format, &model)?;
    let compared = runs.last().ok_or("there is no network to compare")?;
    let mut comparison = Comparison::new(answering, runtime, compared, &draft.manifest, count)?;
    images.visit(Wanted::HELD_OUT, contract, &step, |few| {
        comparison.add(few.samples).map(|_| ())
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
    let (goldens, about) = with_room(draft, format, &runs, runtime)?;
    said.push(("golden cases".to_owned(), about));
    draft.files.insert(GOLDENS.to_owned(), lines(&goldens)?);
    draft.files.insert(MODEL.to_owned(), model);
    draft.manifest.reduced_precision = Some(reduced);
    draft.manifest.check()?;
    Ok(said)
}

/// The networks that a server may make of the file, the one that differs most at the end: `fp16` is computed in 32 bits on a CPU and in
/// 16 on a GPU.
fn runs(format: NumberFormat, model: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    Ok(match format {
        NumberFormat::Fp16 => vec![model.to_vec(), in_halves(model)?],
        NumberFormat::Int8 => vec![model.to_vec()],
    })
}

/// The goldens with a tolerance that the reduced network keeps, and what became of them, in words. Made inputs, which no ranges were
/// found for, are left out where rounding moves them too far.
fn with_room(
    draft: &Draft,
    format: NumberFormat,
    runs: &[Vec<u8>],
    runtime: &Runtime,
) -> Result<(Goldens, String), String> {
    let goldens = draft.files.get(GOLDENS).ok_or("the draft has no goldens")?;
    let mut goldens: Goldens = serde_json::from_slice(goldens).map_err(|error| error.to_string())?;
    let mut engines = runs
        .iter()
        .map(|model| Engine::load(runtime, model, &draft.manifest).map_err(|error| error.to_string()))
        .collect::<Result<Vec<_>, _>>()?;
    let (mut kept, mut left_out, mut worst) = (Vec::new(), Vec::new(), 0.0_f32);
    for case in std::mem::take(&mut goldens.cases) {
        let tensor = goldens::tensor(&case.input, &draft.manifest.preprocessing, &draft.files)?;
        let mut off: f32 = 0.0;
        for engine in &mut engines {
            let answers = engine.run(&[&tensor]).map_err(|error| error.to_string())?;
            let scores = answers.first().map(Prediction::proof).unwrap_or_default();
            off = off.max(case.difference(&scores));
        }
        if off <= MOST_OFF {
            worst = worst.max(off);
            kept.push(case);
        } else if matches!(case.input, GoldenInput::Dicom { .. }) {
            return Err(format!(
                "{} is not exported: it moves golden case {} by {off:.1e}, and goldens that allow more than {MOST_OFF} prove nothing",
                format.name(),
                case.name
            ));
        } else {
            left_out.push(case.name);
        }
    }
    goldens.cases = kept;
    goldens.tolerance += match format {
        // half a step more or less between two layers is another value on another processor
        NumberFormat::Fp16 | NumberFormat::Int8 => 2.0 * worst,
    };
    let mut about = format!(
        "{} at most {worst:.1e} off, {:.1e} is allowed",
        goldens.cases.len(),
        goldens.tolerance
    );
    if !left_out.is_empty() {
        about = format!("{about}; left out: {}", left_out.join(", "));
    }
    Ok((goldens, about))
}

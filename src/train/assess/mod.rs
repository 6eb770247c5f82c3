//! How good a network is on patients that it has never seen, and whether it looks at the right thing.
//!
//! The shortcut audit asks three questions: what the header alone would give, what is left when the corners (where
//! lead markers and labels stand) are blanked, and what the corners alone would give.

pub mod card;

use serde::{Deserialize, Serialize};

use super::data::index::Labelled;
use crate::evaluation::calibration::expected_calibration_error;
use crate::evaluation::interval::{Bootstrap, Estimate, auprc_interval, auroc_interval};
use crate::evaluation::roc::auroc;
use crate::image::Plane;
use crate::image::preprocess::Preprocessing;
use crate::runtime::{Engine, RuntimeError};

/// Rows and columns of a corner, as a share of the image's.
const CORNER: f64 = 0.2;

/// The result for one label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelAssessment {
    /// Its name.
    pub label: String,
    /// Images for which it is known.
    pub images: usize,
    /// Of them, those that have the finding.
    pub positive: usize,
    /// Area under the receiver operating characteristic.
    pub auroc: Estimate,
    /// Average precision.
    pub auprc: Estimate,
    /// Expected calibration error over ten bins.
    pub calibration_error: f64,
    /// Share of the diseased at or above the threshold.
    pub sensitivity: f64,
    /// Share of the healthy below it.
    pub specificity: f64,
    /// Area with the corners blanked.
    pub auroc_without_corners: f64,
    /// Area with everything but the corners blanked.
    pub auroc_corners_only: f64,
    /// Area that each number of the header would give by itself, in the better direction.
    pub auroc_of_header: Vec<(String, f64)>,
}

/// Scores a labelled folder with an exported network.
///
/// # Errors
/// What ONNX Runtime or the evaluation said.
pub fn assess(
    engine: &mut Engine,
    contract: &Preprocessing,
    labels: &[crate::finding::Label],
    labelled: &Labelled,
    covariates: &[&str],
    step: impl Fn(),
) -> Result<Vec<LabelAssessment>, String> {
    let mut whole = Vec::new();
    let mut without = Vec::new();
    let mut only = Vec::new();
    for image in &labelled.samples.images {
        let plane = &*image.plane().map_err(|error| error.to_string())?;
        let mut scores = |plane: &Plane| -> Result<Vec<f32>, RuntimeError> {
            let tensor = contract.tensor(plane);
            Ok(engine
                .run(&[&tensor])?
                .pop()
                .map(|prediction| prediction.values())
                .unwrap_or_default())
        };
        whole.push(scores(plane).map_err(|error| error.to_string())?);
        without.push(scores(&blanked(plane, true)).map_err(|error| error.to_string())?);
        only.push(scores(&blanked(plane, false)).map_err(|error| error.to_string())?);
        step();
    }
    labels
        .iter()
        .enumerate()
        .map(|(index, label)| one(index, label, labelled, covariates, [&whole, &without, &only]))
        .collect()
}

fn one(
    index: usize,
    label: &crate::finding::Label,
    labelled: &Labelled,
    covariates: &[&str],
    [whole, without, only]: [&Vec<Vec<f32>>; 3],
) -> Result<LabelAssessment, String> {
    let samples = &labelled.samples;
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", label.name);
    let known: Vec<usize> = (0..samples.len())
        .filter(|case| !samples.labels[*case][index].is_nan())
        .collect();
    let truth: Vec<bool> = known
        .iter()
        .map(|case| samples.labels[*case][index] > 0.5)
        .collect();
    let patients: Vec<&String> = known.iter().map(|case| &samples.patients[*case]).collect();
    let of = |scores: &Vec<Vec<f32>>| -> Vec<f64> {
        known.iter().map(|case| f64::from(scores[*case][index])).collect()
    };
    let probabilities = of(whole);
    let share = |truth_is: bool, called: bool| {
        let cases = || {
            probabilities
                .iter()
                .zip(&truth)
                .filter(|(_, truth)| **truth == truth_is)
        };
        let right = cases()
            .filter(|(probability, _)| (**probability >= f64::from(label.threshold.unwrap_or(0.5))) == called)
            .count();
        right as f64 / cases().count().max(1) as f64
    };
    let header = covariates
        .iter()
        .enumerate()
        .map(|(column, name)| {
            let values: Vec<f64> = known
                .iter()
                .map(|case| labelled.covariates[*case][column])
                .collect();
            let area = auroc(&values, &truth).map_err(|error| failed(&error))?;
            Ok(((*name).to_owned(), area.max(1.0 - area)))
        })
        .collect::<Result<_, String>>()?;
    let bootstrap = Bootstrap::default();
    Ok(LabelAssessment {
        label: label.name.clone(),
        images: known.len(),
        positive: truth.iter().filter(|present| **present).count(),
        auroc: auroc_interval(&probabilities, &truth, &patients, bootstrap)
            .map_err(|error| failed(&error))?,
        auprc: auprc_interval(&probabilities, &truth, &patients, bootstrap)
            .map_err(|error| failed(&error))?,
        calibration_error: expected_calibration_error(&probabilities, &truth, 10)
            .map_err(|error| failed(&error))?,
        sensitivity: share(true, true),
        specificity: share(false, false),
        auroc_without_corners: auroc(&of(without), &truth).map_err(|error| failed(&error))?,
        auroc_corners_only: auroc(&of(only), &truth).map_err(|error| failed(&error))?,
        auroc_of_header: header,
    })
}

/// The plane with its corners, or with everything else, set to its mean.
fn blanked(plane: &Plane, corners: bool) -> Plane {
    let mean =
        plane.values.iter().map(|value| u64::from(*value)).sum::<u64>() / plane.values.len().max(1) as u64;
    let edge = |place: usize, count: usize| {
        let from_edge = place.min(count - 1 - place);
        (from_edge as f64) < CORNER * count as f64
    };
    let mut blank = plane.clone();
    for (index, value) in blank.values.iter_mut().enumerate() {
        let in_corner = edge(index / plane.columns, plane.rows) && edge(index % plane.columns, plane.columns);
        if in_corner == corners {
            *value = mean as u16;
        }
    }
    blank
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_and_the_rest_are_blanked_apart() {
        let plane = Plane {
            rows: 10,
            columns: 10,
            values: (0..100).map(|value| value * 100).collect(),
        };
        let (without, only) = (blanked(&plane, true), blanked(&plane, false));
        assert_eq!(without.values[0], 4950);
        assert_eq!(without.values[55], 5500);
        assert_eq!(only.values[0], 0);
        assert_eq!(only.values[55], 4950);
        assert_eq!(without.values[5], 500, "an edge is not a corner");
    }
}

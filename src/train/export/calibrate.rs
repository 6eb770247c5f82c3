//! Temperatures and thresholds, from the held-out patients of the networks that answer together.
//!
//! Each network has temperatures of its own. A threshold is chosen on what all of them together say of the images that they held
//! out: of each image the mean over those networks that never trained on it.

use std::collections::BTreeMap;

use super::super::learn::heads::{Heads, Placed};
use super::super::run::Validation;
use crate::evaluation::calibration::{fit_softmax_temperature, fit_temperature};
use crate::finding::Task;

/// One temperature for each logit: of findings each has its own, classes share one, thresholds between grades share one, numbers have 1.
///
/// # Errors
/// A sentence that names the head or label.
pub fn temperatures(heads: &Heads, validation: &Validation) -> Result<Vec<f64>, String> {
    let mut all = Vec::with_capacity(heads.width());
    for placed in heads.placed() {
        all.extend(of_head(heads, &placed, validation)?);
    }
    Ok(all)
}

fn of_head(heads: &Heads, placed: &Placed<'_>, validation: &Validation) -> Result<Vec<f64>, String> {
    let Placed { head, labels, logits } = placed;
    let failed = |error: &dyn std::fmt::Display| format!("head {}: {error}", head.name);
    match head.task {
        Task::Binary | Task::Multilabel => labels
            .clone()
            .zip(logits.clone())
            .map(|(label, logit)| {
                let (scores, truth) = validation.of_label(label, logit);
                fit_temperature(&scores, &truth)
                    .map_err(|error| format!("label {}: {error}", head.labels[label - labels.start]))
            })
            .collect(),
        Task::Multiclass => {
            let known = validation
                .labels
                .iter()
                .zip(&validation.logits)
                .filter_map(|(row, answers)| {
                    let class = row[labels.clone()]
                        .iter()
                        .position(|label| label.is_some_and(|label| label > 0.5))?;
                    Some((answers[logits.clone()].to_vec(), class))
                });
            let (rows, classes): (Vec<Vec<f64>>, Vec<usize>) = known.unzip();
            let one = fit_softmax_temperature(&rows, &classes).map_err(|error| failed(&error))?;
            Ok(vec![one; logits.len()])
        }
        Task::Ordinal => {
            let (mut scores, mut truth) = (Vec::new(), Vec::new());
            for (row, answers) in validation.labels.iter().zip(&validation.logits) {
                let row: Vec<f32> = row.iter().map(|label| label.unwrap_or(f32::NAN)).collect();
                let targets = heads.targets(&row);
                for logit in logits.clone().filter(|logit| !targets[*logit].is_nan()) {
                    scores.push(answers[logit]);
                    truth.push(targets[logit] > 0.5);
                }
            }
            let one = fit_temperature(&scores, &truth).map_err(|error| failed(&error))?;
            Ok(vec![one; logits.len()])
        }
        Task::Regression => Ok(vec![1.0; logits.len()]),
    }
}

/// What one network said of the patients that it held out, and its temperatures.
pub(super) struct HeldOut<'a> {
    pub(super) validation: &'a Validation,
    pub(super) temperatures: Vec<f64>,
}

/// Probabilities of one finding on all held-out images, and the truth; `mirrored` adds what the networks said of the mirror images.
///
/// # Errors
/// A sentence that says what the runs do not hold.
pub(super) fn together(
    members: &[HeldOut<'_>],
    mirrored: bool,
    label: usize,
    logit: usize,
) -> Result<(Vec<f64>, Vec<bool>), String> {
    let mut images: BTreeMap<usize, (f64, f64, bool)> = BTreeMap::new();
    for HeldOut {
        validation,
        temperatures,
    } in members
    {
        let known_places = validation.places.len() == validation.labels.len();
        if members.len() > 1 && !known_places {
            return Err("a run does not say which images it held out: train it again".to_owned());
        }
        let views: Vec<&Vec<Vec<f64>>> = if mirrored {
            let mirror = validation
                .mirrored
                .as_ref()
                .ok_or("a run does not hold what it says of mirror images: train it again")?;
            vec![&validation.logits, mirror]
        } else {
            vec![&validation.logits]
        };
        for (row, labels) in validation.labels.iter().enumerate() {
            let Some(truth) = labels[label] else { continue };
            let place = if known_places { validation.places[row] } else { row };
            let image = images.entry(place).or_insert((0.0, 0.0, truth > 0.5));
            for view in &views {
                image.0 += 1.0 / (1.0 + (-view[row][logit] / temperatures[logit]).exp());
                image.1 += 1.0;
            }
        }
    }
    Ok(images
        .into_values()
        .map(|(sum, count, truth)| (sum / count, truth))
        .unzip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validation(places: &[usize], logits: &[f64]) -> Validation {
        Validation {
            labels: places
                .iter()
                .map(|place| vec![Some(f32::from(u8::from(*place > 1)))])
                .collect(),
            logits: logits.iter().map(|logit| vec![*logit]).collect(),
            patients: places.iter().map(usize::to_string).collect(),
            places: places.to_vec(),
            mirrored: None,
        }
    }

    #[test]
    fn an_image_counts_once_with_the_mean_of_those_that_held_it_out() {
        let (first, second) = (validation(&[0, 2], &[0.0, 2.0]), validation(&[2, 3], &[4.0, 0.0]));
        let member = |validation| HeldOut {
            validation,
            temperatures: vec![2.0],
        };
        let (scores, truth) = together(&[member(&first), member(&second)], false, 0, 0).unwrap();
        let sigmoid = |logit: f64| 1.0 / (1.0 + (-logit).exp());
        let expected = [0.5, f64::midpoint(sigmoid(1.0), sigmoid(2.0)), 0.5];
        assert!(
            scores
                .iter()
                .zip(expected)
                .all(|(found, expected)| (found - expected).abs() < 1e-12),
            "{scores:?}"
        );
        assert_eq!(truth, [false, true, true]);
        assert!(
            together(&[member(&first)], true, 0, 0)
                .unwrap_err()
                .contains("mirror images")
        );
    }
}

//! How logits become probabilities, from the held-out patients of each network.
//!
//! Each network has temperatures of its own, and what its loss counted some cases more than others is taken off. A threshold is chosen on
//! what all of them together say of images that none of them trained on.

use std::collections::BTreeMap;

use super::super::learn::heads::{Heads, Placed};
use super::super::run::Validation;
use crate::evaluation::EvaluationError;
use crate::evaluation::calibration::{TEMPERATURE_RANGE, fit_softmax_temperature, fit_temperature};
use crate::finding::Task;

/// How the logits of one network become probabilities: each is divided by its temperature, and its shift is taken off.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    /// One for each logit: of findings each has its own, classes share one, thresholds between grades share one, numbers have 1.
    pub temperatures: Vec<f64>,
    /// One for each logit: the logarithm of what a true one counted in the loss.
    pub shifts: Vec<f64>,
    /// Which temperatures the held-out images do not tell, in words; those are 1.
    pub warnings: Vec<String>,
}

impl Calibration {
    /// From the held-out patients of a training whose loss counted a true one of each logit by `positive_weights`, or all alike.
    ///
    /// # Errors
    /// A sentence that names the head or label.
    pub fn of(
        heads: &Heads,
        validation: &Validation,
        positive_weights: Option<&[f32]>,
    ) -> Result<Self, String> {
        let shifts = match positive_weights {
            None => vec![0.0; heads.width()],
            Some(weights) if weights.len() == heads.width() => {
                weights.iter().map(|weight| f64::from(*weight).ln()).collect()
            }
            Some(weights) => {
                return Err(format!(
                    "the run has {} weights for {} logits",
                    weights.len(),
                    heads.width()
                ));
            }
        };
        let mut calibration = Self {
            shifts,
            ..Self::default()
        };
        for placed in heads.placed() {
            calibration.add(heads, &placed, validation)?;
        }
        Ok(calibration)
    }

    /// The calibrated logits of a row of logits.
    #[must_use]
    pub fn apply(&self, logits: &[f64]) -> Vec<f64> {
        logits
            .iter()
            .zip(&self.temperatures)
            .zip(&self.shifts)
            .map(|((logit, temperature), shift)| logit / temperature - shift)
            .collect()
    }

    /// What has to be taken from logits before the temperature divides them.
    #[must_use]
    pub fn offsets(&self) -> Vec<f64> {
        let both = self.temperatures.iter().zip(&self.shifts);
        both.map(|(temperature, shift)| temperature * shift).collect()
    }

    fn add(&mut self, heads: &Heads, placed: &Placed<'_>, validation: &Validation) -> Result<(), String> {
        let Placed { head, labels, logits } = placed;
        let of_head = format!("head {}", head.name);
        match head.task {
            Task::Binary | Task::Multilabel => {
                for (label, logit) in labels.clone().zip(logits.clone()) {
                    let (scores, truth) = validation.of_label(label, logit);
                    let shifts = vec![self.shifts[logit]; scores.len()];
                    let name = format!("label {}", head.labels[label - labels.start]);
                    self.push(&name, 1, fit_temperature(&scores, &shifts, &truth))?;
                }
            }
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
                let fitted = fit_softmax_temperature(&rows, &self.shifts[logits.clone()], &classes);
                self.push(&of_head, logits.len(), fitted)?;
            }
            Task::Ordinal => {
                let (mut scores, mut shifts, mut truth) = (Vec::new(), Vec::new(), Vec::new());
                for (row, answers) in validation.labels.iter().zip(&validation.logits) {
                    let row: Vec<f32> = row.iter().map(|label| label.unwrap_or(f32::NAN)).collect();
                    let targets = heads.targets(&row);
                    for logit in logits.clone().filter(|logit| !targets[*logit].is_nan()) {
                        scores.push(answers[logit]);
                        shifts.push(self.shifts[logit]);
                        truth.push(targets[logit] > 0.5);
                    }
                }
                self.push(&of_head, logits.len(), fit_temperature(&scores, &shifts, &truth))?;
            }
            Task::Regression => self.temperatures.extend(logits.clone().map(|_| 1.0)),
        }
        Ok(())
    }

    /// Adds what was fitted for `count` logits.
    fn push(
        &mut self,
        name: &str,
        count: usize,
        fitted: Result<Option<f64>, EvaluationError>,
    ) -> Result<(), String> {
        let fitted = fitted.map_err(|error| format!("{name}: {error}"))?;
        if fitted.is_none() {
            let (low, high) = TEMPERATURE_RANGE;
            self.warnings.push(format!(
                "{name}: the held-out images tell no temperature from {low} to {high}, so it is 1: hold more out, or train longer"
            ));
        }
        let temperature = fitted.unwrap_or(1.0);
        self.temperatures.extend(std::iter::repeat_n(temperature, count));
        Ok(())
    }
}

/// What one network said of the patients that it held out, and how that becomes probabilities.
pub(super) struct HeldOut<'a> {
    pub(super) validation: &'a Validation,
    pub(super) calibration: &'a Calibration,
}

/// What the networks together say of one finding, image by image.
#[derive(Debug)]
pub(super) struct Together {
    pub(super) probabilities: Vec<f64>,
    pub(super) truth: Vec<bool>,
    pub(super) patients: Vec<String>,
    /// Whether all networks held these images out, so that the probabilities are those that are served; otherwise each is the mean over
    /// those networks that did.
    pub(super) by_all: bool,
}

/// An image while its answers are added up.
struct Sum<'a> {
    probabilities: f64,
    networks: usize,
    truth: bool,
    patient: &'a String,
}

/// What the networks together say of one finding: of the images that all held out, if the finding is present on some of these and absent
/// on others, else of all that one of them did; `mirrored` adds what they said of the mirror images.
///
/// # Errors
/// A sentence that says what the runs do not hold.
pub(super) fn together(
    members: &[HeldOut<'_>],
    mirrored: bool,
    label: usize,
    logit: usize,
) -> Result<Together, String> {
    let mut images: BTreeMap<usize, Sum<'_>> = BTreeMap::new();
    for HeldOut {
        validation,
        calibration,
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
            let image = images.entry(place).or_insert(Sum {
                probabilities: 0.0,
                networks: 0,
                truth: truth > 0.5,
                patient: &validation.patients[row],
            });
            let own = views.iter().map(|view| {
                let calibrated = calibration.apply(&view[row])[logit];
                1.0 / (1.0 + (-calibrated).exp())
            });
            image.probabilities += own.sum::<f64>() / views.len() as f64;
            image.networks += 1;
        }
    }
    let of_all = |image: &&Sum<'_>| image.networks == members.len();
    let has = |present: bool| images.values().filter(of_all).any(|image| image.truth == present);
    let by_all = has(true) && has(false);
    let mut together = Together {
        probabilities: Vec::new(),
        truth: Vec::new(),
        patients: Vec::new(),
        by_all,
    };
    for image in images.values().filter(|image| !by_all || of_all(image)) {
        together
            .probabilities
            .push(image.probabilities / image.networks as f64);
        together.truth.push(image.truth);
        together.patients.push(image.patient.clone());
    }
    Ok(together)
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

    /// A network that counts a present finding three times and says everything twice too sure.
    #[test]
    fn logits_are_divided_and_what_the_loss_counted_is_taken_off() {
        use super::super::super::learn::heads::Head;
        let head = Head {
            name: "fracture".to_owned(),
            task: Task::Binary,
            labels: vec!["fracture".to_owned()],
            quantities: Vec::new(),
            weight: 1.0,
        };
        let heads = Heads::new(&[head], &[]);
        let shift = 3.0_f64.ln();
        // half of the images at a logit of 0, three quarters at one of ln 3, a quarter at -ln 3
        let truth = |place: usize| place % 4 < [2, 3, 1][place / 4 % 3];
        let said = |place: usize| 2.0 * ([0.0, shift, -shift][place / 4 % 3] + shift);
        let held_out = Validation {
            labels: (0..1200)
                .map(|place| vec![Some(f32::from(u8::from(truth(place))))])
                .collect(),
            logits: (0..1200).map(|place| vec![said(place)]).collect(),
            patients: (0..1200).map(|place| place.to_string()).collect(),
            places: (0..1200).collect(),
            mirrored: None,
        };
        let calibration = Calibration::of(&heads, &held_out, Some(&[3.0])).unwrap();
        assert!(
            (calibration.temperatures[0] - 2.0).abs() < 0.02,
            "{calibration:?}"
        );
        let none = calibration.apply(&[said(0)])[0];
        assert!(none.abs() < 0.02, "{none}");
        // what the exported network does: first the offset, then the temperature
        let exported = (said(4) - calibration.offsets()[0]) / calibration.temperatures[0];
        assert!((exported - calibration.apply(&[said(4)])[0]).abs() < 1e-12);
        assert!(calibration.warnings.is_empty());
        assert!(Calibration::of(&heads, &held_out, Some(&[3.0; 2])).is_err());

        let mut constant = held_out;
        constant.logits.iter_mut().for_each(|row| row[0] = 0.0);
        let calibration = Calibration::of(&heads, &constant, None).unwrap();
        assert_eq!(calibration.temperatures, [1.0]);
        assert!(calibration.warnings[0].contains("label fracture: the held-out images tell no temperature"));
    }

    #[test]
    fn images_that_all_held_out_are_those_of_the_threshold() {
        let calibration = Calibration {
            temperatures: vec![2.0],
            shifts: vec![0.0],
            warnings: Vec::new(),
        };
        let member = |validation| HeldOut {
            validation,
            calibration: &calibration,
        };
        let sigmoid = |logit: f64| 1.0 / (1.0 + (-logit).exp());
        let near = |found: &[f64], expected: &[f64]| {
            let mut both = found.iter().zip(expected);
            found.len() == expected.len() && both.all(|(found, expected)| (found - expected).abs() < 1e-12)
        };
        let (first, second) = (
            validation(&[0, 2, 5], &[0.0, 2.0, 8.0]),
            validation(&[0, 2, 3], &[1.0, 4.0, 0.0]),
        );
        let found = together(&[member(&first), member(&second)], false, 0, 0).unwrap();
        let means = [
            f64::midpoint(sigmoid(0.0), sigmoid(0.5)),
            f64::midpoint(sigmoid(1.0), sigmoid(2.0)),
        ];
        assert!(found.by_all && near(&found.probabilities, &means), "{found:?}");
        assert_eq!(
            (found.truth, found.patients),
            (vec![false, true], vec!["0".to_owned(), "2".to_owned()])
        );

        // of one class only: each image with the mean of those that held it out
        let (first, second) = (validation(&[0, 2], &[0.0, 2.0]), validation(&[2, 3], &[4.0, 0.0]));
        let found = together(&[member(&first), member(&second)], false, 0, 0).unwrap();
        let means = [0.5, f64::midpoint(sigmoid(1.0), sigmoid(2.0)), 0.5];
        assert!(!found.by_all && near(&found.probabilities, &means), "{found:?}");
        assert_eq!(found.truth, [false, true, true]);
        assert!(
            together(&[member(&first)], true, 0, 0)
                .unwrap_err()
                .contains("mirror images")
        );
    }
}

//! How good answers on held-out images are, head by head: what epochs are chosen by.
//!
//! Findings: AUROC of the logit. Classes: AUROC of each one's probability against the rest. Grades: AUROC of each threshold, named
//! after the grade that begins there, so the lowest grade has none. Numbers: R squared in their own unit. Each has a patient-level
//! interval, or none where it has no value (only one class is known).

use super::super::data::Samples;
use super::heads::{Heads, Placed};
use crate::evaluation::calibration::negative_log_likelihood;
use crate::evaluation::interval::{
    Bootstrap, Estimate, auroc_within_interval, determination_within_interval,
};
use crate::finding::Task;
use crate::model::Activation;

/// What the answers on many images come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// For each label of all heads its measure.
    pub of_labels: Vec<Option<Estimate>>,
    /// The mean over heads, by their weights, of the mean of those that exist; below 0 an R squared counts as 0, or one number of which nothing
    /// is known yet would outweigh all else. NaN where none exists.
    pub mean: f64,
    /// The mean loss over all known targets, without weights: nats, and Huber loss for numbers.
    pub loss: f64,
}

/// The name of a task's measure.
#[must_use]
pub fn name(task: Task) -> &'static str {
    match task {
        Task::Regression => "R2",
        _ => "AUROC",
    }
}

/// Measures the `logits` of `samples`, image first.
#[must_use]
pub fn measure(heads: &Heads, logits: &[Vec<f64>], samples: &Samples, bootstrap: Bootstrap) -> Measured {
    measure_within(heads, logits, samples, &vec![0; samples.labels.len()], bootstrap)
}

/// As [`measure`], of images that several networks answered: `strata` has the number of each image's, and only images of the same one are
/// compared.
#[must_use]
pub fn measure_within(
    heads: &Heads,
    logits: &[Vec<f64>],
    samples: &Samples,
    strata: &[usize],
    bootstrap: Bootstrap,
) -> Measured {
    let mut of_labels = Vec::new();
    let (mut loss, mut known) = (0.0, 0);
    let (mut sum, mut weights) = (0.0, 0.0);
    for placed in heads.placed() {
        let answers = Answers {
            placed: &placed,
            logits,
            samples,
            strata,
        };
        let scored = answers.scored().into_iter();
        let measures: Vec<_> = scored.map(|scored| scored?.estimate(bootstrap)).collect();
        let values: Vec<f64> = measures.iter().flatten().map(|one| one.value.max(0.0)).collect();
        if !values.is_empty() {
            let weight = placed.head.weight;
            sum += weight * values.iter().sum::<f64>() / values.len() as f64;
            weights += weight;
        }
        of_labels.extend(measures);
        let (own, count) = answers.loss(heads);
        loss += own;
        known += count;
    }
    Measured {
        mean: sum / weights,
        of_labels,
        loss: loss / known.max(1) as f64,
    }
}

/// What was said of the images of which a label is known.
pub(in crate::train) struct Scored<'a> {
    /// Scores that rank, or numbers in their unit.
    pub(in crate::train) said: Vec<f64>,
    /// What is true.
    pub(in crate::train) truth: Truth,
    /// Whose images they are.
    pub(in crate::train) patients: Vec<&'a String>,
    /// Which network's answer each is: only those of one are compared.
    strata: Vec<usize>,
}

/// What is true of images.
pub(in crate::train) enum Truth {
    /// Whether it is so.
    Is(Vec<bool>),
    /// A number in its unit.
    Number(Vec<f64>),
}

/// For each label of all heads what the `logits` of `samples` say, and what is true; nothing for the lowest grade.
pub(in crate::train) fn scored<'a>(
    heads: &Heads,
    logits: &[Vec<f64>],
    samples: &'a Samples,
) -> Vec<Option<Scored<'a>>> {
    let of_head = |placed: Placed<'_>| {
        let placed = &placed;
        Answers {
            placed,
            logits,
            samples,
            strata: &vec![0; samples.labels.len()],
        }
        .scored()
    };
    heads.placed().flat_map(of_head).collect()
}

impl Scored<'_> {
    fn estimate(&self, bootstrap: Bootstrap) -> Option<Estimate> {
        match &self.truth {
            Truth::Is(truth) => {
                auroc_within_interval(&self.said, truth, &self.patients, &self.strata, bootstrap).ok()
            }
            Truth::Number(truth) => {
                determination_within_interval(&self.said, truth, &self.patients, &self.strata, bootstrap).ok()
            }
        }
    }
}

/// What one head says of many images.
struct Answers<'h, 's> {
    placed: &'h Placed<'h>,
    logits: &'h [Vec<f64>],
    samples: &'s Samples,
    strata: &'h [usize],
}

impl<'s> Answers<'_, 's> {
    fn scored(&self) -> Vec<Option<Scored<'s>>> {
        let Placed { head, labels, logits } = self.placed;
        let count = labels.len();
        match head.task {
            Task::Binary | Task::Multilabel => (0..count)
                .map(|place| {
                    Some(self.ranked(
                        labels.start + place,
                        |row| row[logits.start + place],
                        |own, at| own[at],
                    ))
                })
                .collect(),
            Task::Multiclass => (0..count)
                .map(|place| {
                    let probability = |row: &[f64]| softmax(&row[logits.clone()])[place];
                    Some(self.ranked(labels.start + place, probability, |own, at| own[at]))
                })
                .collect(),
            Task::Ordinal => std::iter::once(None)
                .chain((1..count).map(|grade| {
                    let end = labels.end;
                    Some(self.ranked(
                        labels.start + grade,
                        |row| row[logits.start + grade - 1],
                        |own, at| own[at..end].iter().sum(),
                    ))
                }))
                .collect(),
            Task::Regression => (0..count).map(|place| self.number(place)).collect(),
        }
    }

    /// The `score` and the `truth` at a label's place; what is unknown there is left out.
    fn ranked(
        &self,
        label: usize,
        score: impl Fn(&[f64]) -> f64,
        truth: impl Fn(&[f32], usize) -> f32,
    ) -> Scored<'s> {
        let cases = self.known(label);
        let labels: Vec<bool> = cases
            .iter()
            .map(|case| truth(&self.samples.labels[*case], label) > 0.5)
            .collect();
        Scored {
            said: cases.iter().map(|case| score(&self.logits[*case])).collect(),
            truth: Truth::Is(labels),
            patients: self.patients(&cases),
            strata: self.strata(&cases),
        }
    }

    fn number(&self, place: usize) -> Option<Scored<'s>> {
        let quantity = self.placed.head.quantities.get(place)?;
        let (label, logit) = (self.placed.labels.start + place, self.placed.logits.start + place);
        let cases = self.known(label);
        let truth: Vec<f64> = cases
            .iter()
            .map(|case| f64::from(self.samples.labels[*case][label]))
            .collect();
        let predicted: Vec<f64> = cases
            .iter()
            .map(|case| self.logits[*case][logit] * f64::from(quantity.scale) + f64::from(quantity.offset))
            .collect();
        Some(Scored {
            said: predicted,
            truth: Truth::Number(truth),
            patients: self.patients(&cases),
            strata: self.strata(&cases),
        })
    }

    /// The loss over what is known, and how much that is.
    fn loss(&self, heads: &Heads) -> (f64, usize) {
        let Placed { head, logits, .. } = self.placed;
        if matches!(head.task, Task::Binary | Task::Multilabel) {
            return self.loss_of_findings();
        }
        let (mut loss, mut known) = (0.0, 0);
        for (row, labels) in self.logits.iter().zip(&self.samples.labels) {
            let targets = &heads.targets(labels)[logits.clone()];
            let own = &row[logits.clone()];
            if head.task == Task::Multiclass {
                if let Some(class) = targets.iter().position(|target| *target > 0.5) {
                    loss -= softmax(own)[class].max(f64::MIN_POSITIVE).ln();
                    known += 1;
                }
                continue;
            }
            for (logit, target) in own.iter().zip(targets).filter(|(_, target)| !target.is_nan()) {
                loss += if head.task == Task::Regression {
                    let apart = (logit - f64::from(*target)).abs();
                    if apart < 1.0 {
                        0.5 * apart * apart
                    } else {
                        apart - 0.5
                    }
                } else {
                    negative_log_likelihood(&[*logit], &[*target > 0.5], 1.0)
                };
                known += 1;
            }
        }
        (loss, known)
    }

    fn loss_of_findings(&self) -> (f64, usize) {
        let (mut loss, mut known) = (0.0, 0);
        for (label, logit) in self.placed.labels.clone().zip(self.placed.logits.clone()) {
            let cases = self.known(label);
            let truth: Vec<bool> = cases
                .iter()
                .map(|case| self.samples.labels[*case][label] > 0.5)
                .collect();
            let logits: Vec<f64> = cases.iter().map(|case| self.logits[*case][logit]).collect();
            loss += negative_log_likelihood(&logits, &truth, 1.0) * cases.len() as f64;
            known += cases.len();
        }
        (loss, known)
    }

    fn known(&self, label: usize) -> Vec<usize> {
        (0..self.samples.labels.len())
            .filter(|case| !self.samples.labels[*case][label].is_nan())
            .collect()
    }

    fn patients(&self, cases: &[usize]) -> Vec<&'s String> {
        cases.iter().map(|case| &self.samples.patients[*case]).collect()
    }

    fn strata(&self, cases: &[usize]) -> Vec<usize> {
        cases.iter().map(|case| self.strata[*case]).collect()
    }
}

/// As the manifest's activation does it.
fn softmax(logits: &[f64]) -> Vec<f64> {
    let logits: Vec<f32> = logits.iter().map(|logit| *logit as f32).collect();
    Activation::Softmax
        .apply(&logits)
        .into_iter()
        .map(f64::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::heads::Head;
    use super::*;
    use crate::finding::label::Quantity;
    use crate::image::Plane;

    fn samples(labels: &[&[f32]]) -> Samples {
        let mut samples = Samples::default();
        for (index, labels) in labels.iter().enumerate() {
            let plane = Plane {
                rows: 1,
                columns: 1,
                values: vec![0],
            };
            samples.push(plane, labels.to_vec(), format!("p{index}"));
        }
        samples
    }

    #[test]
    fn grades_are_measured_at_their_thresholds() {
        let heads = Heads::new(
            &[Head::new("grade", Task::Ordinal, &["none", "mild", "severe"])],
            &[],
        );
        let samples = samples(&[
            &[1., 0., 0.],
            &[0., 1., 0.],
            &[0., 0., 1.],
            &[1., 0., 0.],
            &[f32::NAN; 3],
        ]);
        // the first threshold is right always, the second orders one pair of three wrongly
        let logits = [[-2.0, -1.0], [1.0, 2.0], [2.0, 1.5], [-1.0, -3.0], [9.0, 9.0]].map(|row| row.to_vec());
        let measured = measure(&heads, &logits, &samples, Bootstrap::default());
        let values: Vec<_> = measured
            .of_labels
            .iter()
            .map(|one| one.map(|one| one.value))
            .collect();
        assert_eq!(values, [None, Some(1.0), Some(2.0 / 3.0)]);
        assert!((measured.mean - 5.0 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn heads_count_by_their_weight_and_a_bad_number_is_no_worse_than_none() {
        let age = Quantity {
            unit: "a".to_owned(),
            scale: 10.0,
            offset: 50.0,
            range: [0.0, 120.0],
        };
        let main = Head {
            weight: 3.0,
            ..Head::new("main", Task::Binary, &["fracture"])
        };
        let others = Head::new("others", Task::Multilabel, &["a", "b"]);
        let years = Head {
            quantities: vec![age],
            ..Head::new("age", Task::Regression, &["years"])
        };
        let heads = Heads::new(&[main, others, years], &[]);
        let samples = samples(&[&[1., 1., 0., 50.], &[0., 0., 1., 70.]]);
        // right; wrong and right; ages far off
        let logits = [[1.0, -1.0, -1.0, 40.0], [0.0, 1.0, 1.0, -40.0]].map(|row| row.to_vec());
        let measured = measure(&heads, &logits, &samples, Bootstrap::default());
        assert!(measured.of_labels[3].unwrap().value < -100.0);
        // (3 * 1 + 1 * (0 + 1) / 2 + 1 * 0) / 5
        assert!((measured.mean - 0.7).abs() < 1e-12, "{}", measured.mean);
    }

    #[test]
    fn classes_are_measured_against_the_rest_and_numbers_in_their_unit() {
        let age = Quantity {
            unit: "a".to_owned(),
            scale: 10.0,
            offset: 50.0,
            range: [0.0, 120.0],
        };
        let heads = Heads::new(
            &[
                Head::new("part", Task::Multiclass, &["hip", "hand"]),
                Head {
                    quantities: vec![age],
                    ..Head::new("age", Task::Regression, &["years"])
                },
            ],
            &[],
        );
        let samples = samples(&[&[1., 0., 50.], &[0., 1., 70.], &[1., 0., 60.]]);
        let logits = [[2.0, 0.0, 0.0], [0.0, 1.0, 2.0], [5.0, 4.5, 1.0]].map(|row| row.to_vec());
        let measured = measure(&heads, &logits, &samples, Bootstrap::default());
        let values: Vec<_> = measured
            .of_labels
            .iter()
            .map(|one| one.map(|one| one.value))
            .collect();
        assert_eq!(values, [Some(1.0), Some(1.0), Some(1.0)]);
        // -ln of the right class: ln(1 + exp(-2)), ln(1 + exp(-1)), ln(1 + exp(-0.5)); the numbers are exact
        let expected = [2.0_f64, 1.0, 0.5]
            .map(|gap| (-gap).exp().ln_1p())
            .iter()
            .sum::<f64>()
            / 6.0;
        assert!(
            (measured.loss - expected).abs() < 1e-6,
            "{} {expected}",
            measured.loss
        );
    }
}

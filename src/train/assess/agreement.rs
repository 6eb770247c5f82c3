//! Whether two networks say the same of many images: the trained one on libtorch, and the exported one on ONNX Runtime.
//!
//! Of each question: by how much a value differs at most, whose decision is another, by how much the area under the curve moved, with
//! its interval over the same patients, and by how much the calibration error rose. What may be, [`Bounds`] say.
//!
//! Where an export is not the same function, that it is not worse has to be shown: a loss that a few images do not show may be there all the
//! same.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::{Question, questions};
use crate::evaluation::calibration::expected_calibration_error;
use crate::evaluation::delong::placed_alike;
use crate::evaluation::interval::{
    Bootstrap, Estimate, auroc_difference_interval, auroc_interval, determination_difference_interval,
    determination_interval,
};
use crate::finding::Task;
use crate::model::Head;

/// Fewer patients with, or without a finding say too little of a loss: their pairs come in steps that are as large as what may be lost.
pub const LEAST_PATIENTS: usize = 25;

/// What both said of images, with the truth.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    /// The values of every head, for each image, by the trained network.
    pub trained: Vec<Vec<f32>>,
    /// By the exported one.
    pub exported: Vec<Vec<f32>>,
    /// For each image one value for each label; NaN is unknown.
    pub labels: Vec<Vec<f32>>,
    /// For each image its patient.
    pub patients: Vec<String>,
}

/// What an export may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The most by which a value may differ, where the export is to be the same function; without it decisions may change and are
    /// counted.
    pub value: Option<f32>,
    /// The most by which an area under the curve, or R squared of a number, may move.
    pub area: f64,
    /// Whether it has to be shown that an area did not fall by more than `area`, as in a non-inferiority trial: the lower end of the
    /// movement's interval is above that, with [`LEAST_PATIENTS`] or more; or no pair of an image with it and one without changed its order,
    /// in which a fall could be seen.
    pub not_inferior: bool,
    /// The most by which an expected calibration error may rise.
    pub calibration: f64,
}

/// How far the two agree on one question.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreement {
    /// The question.
    pub label: String,
    /// The largest difference of a value; infinite where one is no number.
    pub difference: f32,
    /// Decisions that were compared: one for each image, but for numbers, which decide nothing.
    pub decisions: usize,
    /// Those that are others.
    pub changed: usize,
    /// The measure and how it moved, where the truth is known of enough images.
    pub measured: Option<Measured>,
}

/// How good the exported network is, and how much better than the trained one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Patients with the finding, and patients without it; of a number twice those of whom it is known.
    pub patients: [usize; 2],
    /// `AUROC` or `R2`.
    pub name: &'static str,
    /// Of the exported network.
    pub area: Estimate,
    /// Exported minus trained, on the same draws of patients.
    pub moved: Estimate,
    /// Whether no pair of an image with the finding and one without changed its order. Then the interval of `moved` is what so many patients
    /// could have shown, whatever the two networks are.
    pub order_kept: bool,
    /// The expected calibration error over ten bins of the exported network, and by how much it is larger.
    pub calibration: Option<[f64; 2]>,
}

impl Pairs {
    /// How far the two agree, question by question.
    ///
    /// # Errors
    /// A sentence, where answers are missing.
    pub fn agreements(&self, heads: &[Head]) -> Result<Vec<Agreement>, String> {
        let (width, columns) = heads.iter().fold((0, 0), |(width, columns), head| {
            (width + head.width(), columns + head.labels.len())
        });
        let whole = |rows: &[Vec<f32>], width: usize| {
            rows.len() == self.patients.len() && rows.iter().all(|row| row.len() == width)
        };
        if !(whole(&self.trained, width) && whole(&self.exported, width) && whole(&self.labels, columns)) {
            return Err("a network does not give the answers that the manifest names".to_owned());
        }
        let mut all = Vec::new();
        let (mut values, mut labels) = (0, 0);
        for head in heads {
            for question in questions(head, values, labels) {
                all.push(self.of_question(head, &question, values));
            }
            if head.task == Task::Regression {
                for place in 0..head.labels.len() {
                    all.push(self.of_number(head, place, [values + place, labels + place]));
                }
            }
            values += head.width();
            labels += head.labels.len();
        }
        Ok(all)
    }

    fn of_question(&self, head: &Head, question: &Question, first: usize) -> Agreement {
        let probability = |row: &Vec<f32>| row[question.values.clone()].iter().sum::<f32>();
        // classes that exclude each other: the likeliest is the answer
        let decides = |row: &Vec<f32>| {
            if head.task == Task::Multiclass {
                let classes = &row[first..first + head.width()];
                classes.iter().all(|other| probability(row) >= *other)
            } else {
                f64::from(probability(row)) >= question.threshold
            }
        };
        let both = || self.trained.iter().zip(&self.exported);
        Agreement {
            label: question.name.clone(),
            decisions: self.patients.len(),
            difference: largest(both().map(|(one, other)| (probability(one), probability(other)))),
            changed: both()
                .filter(|(one, other)| decides(one) != decides(other))
                .count(),
            measured: self.measured(question, probability),
        }
    }

    fn measured(&self, question: &Question, probability: impl Fn(&Vec<f32>) -> f32) -> Option<Measured> {
        let known = self.known(question.labels.start);
        let truth: Vec<bool> = known
            .iter()
            .map(|image| self.labels[*image][question.labels.clone()].iter().sum::<f32>() > 0.5)
            .collect();
        let patients = self.patients_of(&known);
        let of = |rows: &[Vec<f32>]| -> Vec<f64> {
            known
                .iter()
                .map(|image| f64::from(probability(&rows[*image])))
                .collect()
        };
        let (exported, trained) = (of(&self.exported), of(&self.trained));
        let bootstrap = Bootstrap::default();
        let calibration = |scores: &[f64]| expected_calibration_error(scores, &truth, 10).ok();
        let [after, before] = [calibration(&exported)?, calibration(&trained)?];
        let with = |present: bool| -> usize {
            let own = patients
                .iter()
                .zip(&truth)
                .filter(|(_, truth)| **truth == present);
            own.map(|(patient, _)| patient).collect::<BTreeSet<_>>().len()
        };
        Some(Measured {
            patients: [with(true), with(false)],
            name: "AUROC",
            area: auroc_interval(&exported, &truth, &patients, bootstrap).ok()?,
            moved: auroc_difference_interval(&exported, &trained, &truth, &patients, bootstrap).ok()?,
            order_kept: placed_alike(&exported, &trained, &truth),
            calibration: Some([after, after - before]),
        })
    }

    fn of_number(&self, head: &Head, place: usize, [value, column]: [usize; 2]) -> Agreement {
        let label = &head.labels[place];
        let known = self.known(column);
        let patients = self.patients_of(&known);
        let truth: Vec<f64> = known
            .iter()
            .map(|image| f64::from(self.labels[*image][column]))
            .collect();
        let measured = || {
            let quantity = label.quantity.as_ref()?;
            let said = |rows: &[Vec<f32>]| -> Vec<f64> {
                let of = |image: &usize| f64::from(rows[*image][value] * quantity.scale + quantity.offset);
                known.iter().map(of).collect()
            };
            let (after, before) = (said(&self.exported), said(&self.trained));
            let bootstrap = Bootstrap::default();
            let count = patients.iter().collect::<BTreeSet<_>>().len();
            Some(Measured {
                patients: [count; 2],
                name: "R2",
                area: determination_interval(&after, &truth, &patients, bootstrap).ok()?,
                moved: determination_difference_interval(&after, &before, &truth, &patients, bootstrap)
                    .ok()?,
                order_kept: false,
                calibration: None,
            })
        };
        Agreement {
            label: label.name.clone(),
            decisions: 0,
            difference: largest(
                self.trained
                    .iter()
                    .zip(&self.exported)
                    .map(|(one, other)| (one[value], other[value])),
            ),
            changed: 0,
            measured: measured(),
        }
    }

    fn known(&self, column: usize) -> Vec<usize> {
        (0..self.labels.len())
            .filter(|image| !self.labels[*image][column].is_nan())
            .collect()
    }

    fn patients_of(&self, images: &[usize]) -> Vec<&String> {
        images.iter().map(|image| &self.patients[*image]).collect()
    }
}

/// The largest distance of two numbers; what is no number is infinitely far.
fn largest(pairs: impl Iterator<Item = (f32, f32)>) -> f32 {
    pairs.fold(0.0, |most, (one, other)| {
        let apart = (one - other).abs();
        if apart.is_nan() {
            f32::INFINITY
        } else {
            most.max(apart)
        }
    })
}

impl Agreement {
    /// The figures in words, and whether they are within `bounds`.
    ///
    /// # Errors
    /// The same words, with what is not.
    pub fn judge(&self, bounds: &Bounds) -> Result<String, String> {
        let mut beyond: Vec<String> = Vec::new();
        let mut text = String::new();
        // writing to a string cannot fail
        let _ = write!(
            text,
            "{} of {} decisions differ, values by {:.1e}",
            self.changed, self.decisions, self.difference
        );
        // what is no number is never within
        let within = |value: f64, most: f64| value <= most;
        let largest = bounds.value.unwrap_or(f32::MAX);
        if !within(self.difference.into(), largest.into()) {
            beyond.push("values are no longer the trained network's".to_owned());
        }
        match &self.measured {
            None => {
                text.push_str("; truth is known of one class only, so there is no measure");
                if bounds.not_inferior {
                    beyond.push(format!(
                        "nothing shows that it is no worse, which {LEAST_PATIENTS} patients with it and {LEAST_PATIENTS} without may"
                    ));
                }
            }
            Some(measured) => {
                let Measured {
                    name, area, moved, ..
                } = measured;
                let _ = write!(
                    text,
                    "; {name} {:.3} [{:.3}, {:.3}], moved by {:+.1e} [{:+.1e}, {:+.1e}]",
                    area.value, area.lower, area.upper, moved.value, moved.lower, moved.upper
                );
                if measured.order_kept {
                    text.push_str(", no pair of an image with it and one without changed its order");
                }
                if !within(moved.value.abs(), bounds.area) {
                    beyond.push("it moved too far".to_owned());
                } else if bounds.not_inferior {
                    beyond.extend(measured.undecided(bounds.area));
                }
                if let Some([error, risen]) = measured.calibration {
                    let _ = write!(text, "; calibration error {error:.3}, risen by {risen:+.1e}");
                    if !within(risen, bounds.calibration) {
                        beyond.push("the calibration error rose too far".to_owned());
                    }
                }
            }
        }
        if beyond.is_empty() {
            return Ok(text);
        }
        let allowed = bounds
            .value
            .map_or_else(String::new, |value| format!("values {value:.0e}, "));
        Err(format!(
            "{text}: {} (allowed: {allowed}area {}, calibration {})",
            beyond.join(", "),
            bounds.area,
            bounds.calibration
        ))
    }
}

impl Measured {
    /// Why these patients do not show that the measure fell by less than `margin`, and about how many would, where it moved no further than
    /// here: an interval is as wide as one over the square root of their number.
    fn undecided(&self, margin: f64) -> Option<String> {
        let [with, without] = self.patients;
        if with.min(without) < LEAST_PATIENTS {
            return Some(format!(
                "{with} patients with it and {without} without are too few to show that it is no worse: {LEAST_PATIENTS} of each are needed"
            ));
        }
        let Estimate { value, lower, .. } = self.moved;
        // what is no number is never within
        if lower >= -margin || self.order_kept {
            return None;
        }
        let more = ((value - lower) / (value + margin)).powi(2);
        let needed = (with.max(without) as f64 * more).ceil();
        Some(format!(
            "it may be worse by more than {margin}: about {needed} patients with it, and as many without, would tell"
        ))
    }
}

#[cfg(test)]
mod tests;

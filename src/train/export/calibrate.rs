//! How the logits of one network become probabilities.
//!
//! Each is divided by a temperature, what its loss counted some cases more than others is taken off, and an offset is added: one
//! temperature and one offset for each finding, one temperature for all classes or thresholds of a head with an offset for each of them.
//! Temperatures and offsets are fitted to held-out patients; what the loss counted is known.

use std::ops::Range;

use super::super::learn::heads::{Heads, Placed};
use super::super::run::Validation;
use crate::evaluation::EvaluationError;
use crate::evaluation::scaling::{Scaling, TEMPERATURE_RANGE, fit_classes, fit_findings};
use crate::finding::{Task, answered, passed};

/// How the logits of one network become probabilities: `logit / temperature - shift + offset`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    /// One for each logit: of findings each has its own, classes share one, thresholds between grades share one, numbers have 1.
    pub temperatures: Vec<f64>,
    /// One for each logit: the logarithm of what a true one counted in the loss.
    pub shifts: Vec<f64>,
    /// One for each logit; numbers have 0.
    pub offsets: Vec<f64>,
    /// What the held-out images do not tell, in words.
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
        validation.check(heads)?;
        let mut calibration = Self::unfitted(heads, positive_weights)?;
        for question in Question::all(heads) {
            calibration.fit(&question, validation, &|_| true)?;
        }
        Ok(calibration)
    }

    /// What is known without held-out patients.
    ///
    /// # Errors
    /// A sentence, where there is not one weight for each logit.
    pub(super) fn unfitted(heads: &Heads, positive_weights: Option<&[f32]>) -> Result<Self, String> {
        let width = heads.width();
        let shifts = match positive_weights {
            None => vec![0.0; width],
            Some(weights) if weights.len() == width => {
                weights.iter().map(|weight| f64::from(*weight).ln()).collect()
            }
            Some(weights) => {
                return Err(format!(
                    "the run has {} weights for {width} logits",
                    weights.len()
                ));
            }
        };
        Ok(Self {
            temperatures: vec![1.0; width],
            shifts,
            offsets: vec![0.0; width],
            warnings: Vec::new(),
        })
    }

    /// Fits what makes the answers to `question` probabilities, to those patients that are `kept`.
    ///
    /// # Errors
    /// A sentence that names the question.
    pub(super) fn fit(
        &mut self,
        question: &Question<'_>,
        validation: &Validation,
        kept: &dyn Fn(&str) -> bool,
    ) -> Result<(), String> {
        let images = validation.labels.iter().zip(&validation.logits);
        let rows: Vec<Row<'_>> = images
            .zip(&validation.patients)
            .filter(|(_, patient)| kept(patient))
            .map(|((labels, logits), _)| Row {
                labels,
                views: vec![logits.clone()],
            })
            .collect();
        let scaling = question
            .fit(&rows, &self.shifts)
            .map_err(|error| format!("{}: {error}", question.name))?;
        if scaling.temperature.is_none() {
            let (low, high) = TEMPERATURE_RANGE;
            self.warnings.push(format!(
                "{}: the held-out images tell no temperature from {low} to {high}, so it is 1: hold more out, or train longer",
                question.name
            ));
        }
        let own = question.logits.clone();
        self.temperatures[own.clone()].fill(scaling.temperature.unwrap_or(1.0));
        self.offsets[own].copy_from_slice(&scaling.offsets);
        Ok(())
    }

    /// Goes on with what was fitted to the calibrated logits of `question`.
    pub(super) fn then(&mut self, question: &Question<'_>, scaling: &Scaling) {
        let temperature = scaling.temperature.unwrap_or(1.0);
        for (logit, offset) in question.logits.clone().zip(&scaling.offsets) {
            self.temperatures[logit] *= temperature;
            self.shifts[logit] /= temperature;
            self.offsets[logit] = self.offsets[logit] / temperature + offset;
        }
    }

    /// Temperatures as a manifest says them, in 32 bits.
    pub(super) fn round(&mut self) {
        for temperature in &mut self.temperatures {
            *temperature = f64::from(*temperature as f32);
        }
    }

    /// The calibrated logits of a row of logits.
    #[must_use]
    pub fn apply(&self, logits: &[f64]) -> Vec<f64> {
        logits
            .iter()
            .zip(&self.temperatures)
            .zip(self.shifts.iter().zip(&self.offsets))
            .map(|((logit, temperature), (shift, offset))| logit / temperature - shift + offset)
            .collect()
    }

    /// What has to be added to logits before the temperature divides them.
    #[must_use]
    pub fn bias(&self) -> Vec<f64> {
        let added = self.offsets.iter().zip(&self.shifts);
        let both = self.temperatures.iter().zip(added);
        both.map(|(temperature, (offset, shift))| temperature * (offset - shift))
            .collect()
    }
}

/// What is known of one image, and what was said of it: the logits of all heads, by each network and view.
pub(super) struct Row<'a> {
    pub(super) labels: &'a [Option<f32>],
    pub(super) views: Vec<Vec<f64>>,
}

/// A question whose answers are calibrated together: a finding, or a head of classes or grades.
#[derive(Clone, Debug)]
pub(super) struct Question<'a> {
    /// For people.
    pub(super) name: String,
    /// That of its head.
    pub(super) head: &'a str,
    task: Task,
    /// The names of its labels.
    names: &'a [String],
    /// Its labels among those of all heads.
    labels: Range<usize>,
    /// Its logits among those of all heads.
    logits: Range<usize>,
}

/// Of labels that exclude each other the one that is true, and the one that is answered, by their places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) truth: usize,
    pub(super) answered: usize,
}

/// A yes or no that was said with a probability.
pub(super) struct Judged {
    pub(super) probability: f64,
    pub(super) truth: bool,
}

impl<'a> Question<'a> {
    /// All that have probabilities, in the order of the heads.
    pub(super) fn all(heads: &'a Heads) -> Vec<Self> {
        let mut all = Vec::new();
        for Placed { head, labels, logits } in heads.placed() {
            match head.task {
                Task::Binary | Task::Multilabel => {
                    for (place, (label, logit)) in labels.zip(logits).enumerate() {
                        all.push(Self {
                            name: format!("label {}", head.labels[place]),
                            head: &head.name,
                            task: head.task,
                            names: &head.labels[place..=place],
                            labels: label..label + 1,
                            logits: logit..logit + 1,
                        });
                    }
                }
                Task::Multiclass | Task::Ordinal => all.push(Self {
                    name: format!("head {}", head.name),
                    head: &head.name,
                    task: head.task,
                    names: &head.labels,
                    labels,
                    logits,
                }),
                Task::Regression => {}
            }
        }
        all
    }

    /// Whether `logit`, of those of all heads, is one of its answers'.
    pub(super) fn is_of(&self, logit: usize) -> bool {
        self.logits.contains(&logit)
    }

    /// The answer that is true: of a finding 0 or 1, else the place of the class or grade; nothing where it is unknown.
    fn truth(&self, labels: &[Option<f32>]) -> Option<usize> {
        let present = |label: &Option<f32>| label.is_some_and(|label| label > 0.5);
        match &labels[self.labels.clone()] {
            [one] => one.map(|label| usize::from(label > 0.5)),
            all => all.iter().position(present),
        }
    }

    /// What makes `rows` of logits, of which `shifts` are taken, probabilities of its answers.
    pub(super) fn fit(&self, rows: &[Row<'_>], shifts: &[f64]) -> Result<Scaling, EvaluationError> {
        let known = || rows.iter().filter_map(|row| Some((row, self.truth(row.labels)?)));
        if self.task == Task::Multiclass {
            let of_views = |row: &Row<'_>| {
                let views = row.views.iter();
                views.map(|view| view[self.logits.clone()].to_vec()).collect()
            };
            let (logits, classes): (Vec<Vec<Vec<f64>>>, Vec<usize>) =
                known().map(|(row, class)| (of_views(row), class)).unzip();
            return fit_classes(&logits, &shifts[self.logits.clone()], &classes);
        }
        // a finding is its own only threshold: 0 or above it
        let (mut logits, mut taken, mut kinds, mut truth) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (row, answer) in known() {
            for (kind, logit) in self.logits.clone().enumerate() {
                logits.push(row.views.iter().map(|view| view[logit]).collect());
                taken.push(shifts[logit]);
                kinds.push(kind);
                truth.push(answer > kind);
            }
        }
        fit_findings(&logits, &taken, &kinds, &truth, self.logits.len())
    }

    /// What is served by the calibrated logits of `row`: of a finding that it is present, of classes that the likeliest is true, of grades
    /// for each from the second on that it is it or above, which is never likelier than the grade below it or above. Nothing where that is unknown.
    pub(super) fn judged(&self, row: &Row<'_>) -> Vec<Judged> {
        let Some(truth) = self.truth(row.labels) else {
            return Vec::new();
        };
        let means = self.means(row);
        if self.task == Task::Multiclass {
            let likeliest = answered(self.task, self.names.len(), &served(&means));
            return vec![Judged {
                probability: means[likeliest],
                truth: likeliest == truth,
            }];
        }
        let thresholds = if self.task == Task::Ordinal {
            passed(&served(&means)).into_iter().map(f64::from).collect()
        } else {
            means
        };
        let thresholds = thresholds.into_iter().enumerate();
        thresholds
            .map(|(threshold, probability)| Judged {
                probability,
                truth: truth > threshold,
            })
            .collect()
    }

    /// Which class or grade is true, and which the server answers by the calibrated logits of `row`; nothing where that is unknown, and of
    /// findings, which have thresholds.
    pub(super) fn answer(&self, row: &Row<'_>) -> Option<Answer> {
        if !self.excludes() {
            return None;
        }
        Some(Answer {
            truth: self.truth(row.labels)?,
            answered: answered(self.task, self.names.len(), &served(&self.means(row))),
        })
    }

    /// Whether its answers exclude each other, so that one of them is answered.
    fn excludes(&self) -> bool {
        matches!(self.task, Task::Multiclass | Task::Ordinal)
    }

    /// What a network says that answers with the mean of these views: probabilities of classes, or of each threshold by itself.
    fn means(&self, row: &Row<'_>) -> Vec<f64> {
        let mut means = vec![0.0_f64; self.logits.len()];
        for view in &row.views {
            let logits = &view[self.logits.clone()];
            let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let all: f64 = logits.iter().map(|logit| (logit - highest).exp()).sum();
            for (mean, logit) in means.iter_mut().zip(logits) {
                let probability = if self.task == Task::Multiclass {
                    (logit - highest).exp() / all
                } else {
                    1.0 / (1.0 + (-logit).exp())
                };
                *mean += probability / row.views.len() as f64;
            }
        }
        means.into_iter().map(|mean| mean.min(1.0)).collect()
    }

    /// The names of its answers, where one of them is answered.
    pub(super) fn answers(&self) -> &'a [String] {
        if self.excludes() { self.names } else { &[] }
    }

    /// What each of [`Question::judged`] is called.
    pub(super) fn judgements(&self) -> Vec<String> {
        match self.task {
            Task::Multiclass => vec![format!("{}: the likeliest", self.name)],
            Task::Ordinal => {
                let above = self.names.iter().skip(1);
                above.map(|name| format!("{name} or above")).collect()
            }
            _ => self.names.to_vec(),
        }
    }
}

/// As the server has them.
fn served(means: &[f64]) -> Vec<f32> {
    means.iter().map(|mean| *mean as f32).collect()
}

#[cfg(test)]
mod tests;

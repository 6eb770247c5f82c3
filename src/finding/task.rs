//! The kinds of question that a network answers, and what its numbers mean in each.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Finding, Label, Reading};

/// A kind of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Is it there? One label.
    Binary,
    /// Which one of several that exclude each other?
    Multiclass,
    /// Which of several, each for itself?
    Multilabel,
    /// Which of several grades in an order?
    Ordinal,
    /// How much?
    Regression,
}

/// A network's output that is not an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAScore {
    /// NaN, an infinity or a number outside 0 to 1.
    #[error("the model's output for {label} is not a probability between 0 and 1, so there is no score")]
    Probability {
        /// The label whose output it is.
        label: String,
    },
    /// NaN, an infinity or a number outside the range of its quantity.
    #[error(
        "the model's output for {label} is outside the range that its manifest gives, so there is no value"
    )]
    Quantity {
        /// The label whose output it is.
        label: String,
    },
}

impl NotAScore {
    /// The stable code of the outcome.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Probability { .. } => "not-a-probability",
            Self::Quantity { .. } => "out-of-range",
        }
    }
}

/// Gives the numbers of one head their names; `values` are the network's after its activation.
///
/// # Errors
/// [`NotAScore`] for NaN, infinities and values that cannot be: such a number is never a score.
pub fn interpret(task: Task, labels: &[Label], values: &[f32]) -> Result<Vec<Finding>, NotAScore> {
    if task == Task::Regression {
        return labels
            .iter()
            .enumerate()
            .map(|(index, label)| quantity(label, values.get(index)))
            .collect();
    }
    let values = of_labels(task, labels.len(), values);
    let probabilities: Vec<f32> = labels
        .iter()
        .enumerate()
        .map(|(index, label)| {
            let probability = values.get(index).copied().unwrap_or(f32::NAN);
            (0.0..=1.0)
                .contains(&probability)
                .then_some(probability)
                .ok_or_else(|| NotAScore::Probability {
                    label: label.name.clone(),
                })
        })
        .collect::<Result<_, _>>()?;
    let chosen = chosen(task, &probabilities);
    Ok(labels
        .iter()
        .zip(probabilities)
        .enumerate()
        .map(|(index, (label, probability))| Finding {
            label: label.name.clone(),
            code: label.code.clone(),
            reading: Reading::Probability {
                probability,
                threshold: label.threshold,
                positive: label
                    .threshold
                    .map_or(index == chosen, |threshold| probability >= threshold),
            },
        })
        .collect())
}

/// One number for each of `labels` labels: thresholds between grades become grades.
fn of_labels(task: Task, labels: usize, values: &[f32]) -> Cow<'_, [f32]> {
    if task == Task::Ordinal && values.len() + 1 == labels {
        Cow::Owned(grades(values))
    } else {
        Cow::Borrowed(values)
    }
}

/// The place of the one of `labels` labels that exclude each other which counts where none has a threshold; `values` are the network's after its
/// activation.
#[must_use]
pub fn answered(task: Task, labels: usize, values: &[f32]) -> usize {
    chosen(task, &of_labels(task, labels, values))
}

/// Which label counts where none has a threshold: the most probable; of grades the median, the highest one that is reached with a
/// probability of at least one half.
fn chosen(task: Task, probabilities: &[f32]) -> usize {
    if task == Task::Ordinal {
        let mut above: f32 = probabilities.iter().sum();
        let reached = probabilities.iter().take_while(|probability| {
            let reached = above >= 0.5;
            above -= **probability;
            reached
        });
        return reached.count().saturating_sub(1);
    }
    probabilities
        .iter()
        .enumerate()
        .fold(0, |best, (index, probability)| {
            if *probability > probabilities.get(best).copied().unwrap_or(0.0) {
                index
            } else {
                best
            }
        })
}

/// P(grade > k) as it counts: where a threshold is passed with more probability than the one below it, the lower one's counts, for a
/// grade cannot be less than not there.
#[must_use]
pub fn passed(above: &[f32]) -> Vec<f32> {
    let next = |left: &mut f32, &above: &f32| {
        // written so that NaN stays NaN
        *left = if above > *left { *left } else { above };
        Some(*left)
    };
    above.iter().scan(1.0_f32, next).collect()
}

/// Probabilities of the grades from P(grade > k).
fn grades(above: &[f32]) -> Vec<f32> {
    let passed = passed(above);
    let from = std::iter::once(1.0).chain(passed.iter().copied());
    let to = passed.iter().copied().chain(std::iter::once(0.0));
    from.zip(to).map(|(from, to)| from - to).collect()
}

fn quantity(label: &Label, output: Option<&f32>) -> Result<Finding, NotAScore> {
    let measured = label.quantity.as_ref().and_then(|quantity| {
        let value = output? * quantity.scale + quantity.offset;
        let [low, high] = quantity.range;
        (low..=high).contains(&value).then(|| Reading::Quantity {
            value,
            unit: quantity.unit.clone(),
        })
    });
    Ok(Finding {
        label: label.name.clone(),
        code: label.code.clone(),
        reading: measured.ok_or_else(|| NotAScore::Quantity {
            label: label.name.clone(),
        })?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::label;
    use super::*;

    fn positives(task: Task, labels: &[Label], values: &[f32]) -> Vec<bool> {
        interpret(task, labels, values)
            .unwrap()
            .iter()
            .map(|finding| matches!(finding.reading, Reading::Probability { positive: true, .. }))
            .collect()
    }

    #[test]
    fn a_finding_is_positive_from_its_threshold_on() {
        let labels = [label("a", Some(0.5)), label("b", Some(0.2))];
        assert_eq!(positives(Task::Multilabel, &labels, &[0.5, 0.19]), [true, false]);
    }

    #[test]
    fn without_a_threshold_the_most_probable_class_counts() {
        let labels = ["a", "b", "c"].map(|name| label(name, None));
        assert_eq!(
            positives(Task::Multiclass, &labels, &[0.2, 0.45, 0.35]),
            [false, true, false]
        );
    }

    #[test]
    fn a_class_with_a_threshold_counts_from_there_on_beside_the_most_probable() {
        let labels = [label("a", None), label("b", None), label("c", Some(0.1))];
        assert_eq!(
            positives(Task::Multiclass, &labels, &[0.7, 0.2, 0.1]),
            [true, false, true]
        );
    }

    #[test]
    fn grades_come_from_the_thresholds_between_them() {
        let labels = ["none", "mild", "severe"].map(|name| label(name, None));
        let findings = interpret(Task::Ordinal, &labels, &[0.75, 0.25]).unwrap();
        let probabilities: Vec<_> = findings.iter().filter_map(Finding::probability).collect();
        assert_eq!(probabilities, [0.25, 0.5, 0.25]);
        assert_eq!(
            positives(Task::Ordinal, &labels, &[0.75, 0.25]),
            [false, true, false]
        );
        assert_eq!(
            positives(Task::Ordinal, &labels, &[0.4, 0.1]),
            [true, false, false]
        );
        assert_eq!(
            positives(Task::Ordinal, &labels, &[0.9, 0.8]),
            [false, false, true]
        );
        // probabilities of the grades themselves; the most probable one is not the median
        assert_eq!(
            positives(Task::Ordinal, &labels, &[0.4, 0.25, 0.35]),
            [false, true, false]
        );
        // a threshold above the one below it
        let crossed = interpret(Task::Ordinal, &labels, &[0.25, 0.5]).unwrap();
        assert_eq!(crossed[1].probability(), Some(0.0));
        assert_eq!(passed(&[0.25, 0.5]), [0.25, 0.25]);
        assert_eq!(answered(Task::Ordinal, 3, &[0.75, 0.25]), 1);
        assert!(interpret(Task::Ordinal, &labels, &[0.5, f32::NAN]).is_err());
    }

    #[test]
    fn a_quantity_is_scaled_and_within_its_range() {
        let age = Label {
            quantity: Some(super::super::label::Quantity {
                unit: "a".into(),
                scale: 100.0,
                offset: 1.0,
                range: [0.0, 120.0],
            }),
            ..label("age", None)
        };
        let labels = [age];
        let found = interpret(Task::Regression, &labels, &[0.5]).unwrap();
        assert_eq!(
            found[0].reading,
            Reading::Quantity {
                value: 51.0,
                unit: "a".into()
            }
        );
        for odd in [f32::NAN, f32::INFINITY, 2.0, -1.0] {
            let error = interpret(Task::Regression, &labels, &[odd]).unwrap_err();
            assert_eq!(error.code(), "out-of-range");
        }
    }

    #[test]
    fn what_is_not_a_probability_is_never_a_score() {
        let labels = [label("a", Some(0.5))];
        for value in [f32::NAN, f32::INFINITY, -0.1, 1.1] {
            let error = interpret(Task::Binary, &labels, &[value]).unwrap_err();
            assert_eq!(error, NotAScore::Probability { label: "a".into() });
        }
        assert!(
            interpret(Task::Binary, &labels, &[]).is_err(),
            "an output that is too short"
        );
    }
}

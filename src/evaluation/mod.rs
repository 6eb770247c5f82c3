//! How good a classifier's scores are, and how sure that is: pure numbers in, pure numbers out.
//!
//! Scores rank from unlike to like the finding; labels are true where the finding is present. Unknown labels are the
//! caller's to leave out. No randomness but the seed that is an argument.

pub mod calibration;
pub mod conformal;
pub mod delong;
pub mod distribution;
mod flat;
pub mod interval;
pub mod parts;
pub mod roc;
pub mod scaling;
pub mod trainings;

/// Why scores cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// Lists of different lengths.
    #[error("{scores} scores stand against {others} {what}; there must be one for each score")]
    Length {
        /// How many scores.
        scores: usize,
        /// How many of the other list.
        others: usize,
        /// What the other list holds.
        what: &'static str,
    },
    /// Only one class, so nothing can be told apart.
    #[error("{positive} positive and {negative} negative cases; at least one of each is needed")]
    OneClass {
        /// Cases with the finding.
        positive: usize,
        /// Cases without.
        negative: usize,
    },
    /// A score that is not a number.
    #[error("score {index} is not a number")]
    NotANumber {
        /// Its place.
        index: usize,
    },
    /// A setting out of range.
    #[error("{what} is {value}; it must be {range}")]
    Setting {
        /// The setting.
        what: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        range: &'static str,
    },
}

/// Checks what every measure needs: equal lengths, numbers, both classes. Answers (positive, negative) counts.
fn check(scores: &[f64], labels: &[bool]) -> Result<(usize, usize), EvaluationError> {
    if scores.len() != labels.len() {
        return Err(EvaluationError::Length {
            scores: scores.len(),
            others: labels.len(),
            what: "labels",
        });
    }
    if let Some(index) = scores.iter().position(|score| score.is_nan()) {
        return Err(EvaluationError::NotANumber { index });
    }
    let positive = labels.iter().filter(|label| **label).count();
    let negative = labels.len() - positive;
    if positive == 0 || negative == 0 {
        return Err(EvaluationError::OneClass { positive, negative });
    }
    Ok((positive, negative))
}

//! Discrimination: the receiver operating characteristic, its area, average precision, and operating points.
//!
//! Equal scores are one threshold: no result depends on the order of cases. A case is called positive when its score is
//! at or above the threshold.

use serde::{Deserialize, Serialize};

use super::{EvaluationError, check};

/// The curve's point at one threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RocPoint {
    /// Scores at or above it are called positive; infinite at the first point, where nothing is.
    pub threshold: f64,
    /// Share of positive cases called positive.
    pub sensitivity: f64,
    /// Share of negative cases called negative.
    pub specificity: f64,
}

/// Cases called positive so far, going down through the scores, counted in weights.
#[derive(Clone, Copy, Debug)]
struct Step {
    threshold: f64,
    true_positive: f64,
    false_positive: f64,
}

/// Cases sorted once, for curves under many weightings.
#[derive(Clone, Debug)]
pub(super) struct Ranking {
    /// Places of cases, highest score first.
    order: Vec<usize>,
    scores: Vec<f64>,
    labels: Vec<bool>,
}

impl Ranking {
    pub(super) fn new(scores: &[f64], labels: &[bool]) -> Result<Self, EvaluationError> {
        check(scores, labels)?;
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|left, right| scores[*right].total_cmp(&scores[*left]));
        Ok(Self {
            order,
            scores: scores.to_vec(),
            labels: labels.to_vec(),
        })
    }

    fn steps(&self, weight: impl Fn(usize) -> f64) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut step = Step {
            threshold: f64::INFINITY,
            true_positive: 0.0,
            false_positive: 0.0,
        };
        for (rank, case) in self.order.iter().copied().enumerate() {
            step.threshold = self.scores[case];
            if self.labels[case] {
                step.true_positive += weight(case);
            } else {
                step.false_positive += weight(case);
            }
            let next = self.order.get(rank + 1).map(|next| self.scores[*next]);
            // -0.0 and 0.0 are one score
            if next.is_none_or(|next| next < step.threshold) {
                steps.push(step);
            }
        }
        steps
    }

    /// The weighted area, or none where one class has no weight.
    pub(super) fn weighted_auroc(&self, weight: impl Fn(usize) -> f64) -> Option<f64> {
        let [right, pairs] = self.weighted_pairs(weight);
        (pairs > 0.0).then(|| right / pairs)
    }

    /// The weight of the pairs of a positive and a negative case that are in order, ties counting half, and of all pairs.
    pub(super) fn weighted_pairs(&self, weight: impl Fn(usize) -> f64) -> [f64; 2] {
        let steps = self.steps(weight);
        let Some(last) = steps.last() else {
            return [0.0; 2];
        };
        let mut area = 0.0;
        let (mut hits, mut alarms) = (0.0, 0.0);
        for step in &steps {
            area += (step.false_positive - alarms) * f64::midpoint(step.true_positive, hits);
            (hits, alarms) = (step.true_positive, step.false_positive);
        }
        [area, last.true_positive * last.false_positive]
    }

    /// The weighted average precision, or none where no positive case has weight.
    pub(super) fn weighted_auprc(&self, weight: impl Fn(usize) -> f64) -> Option<f64> {
        let steps = self.steps(weight);
        let total = steps.last()?.true_positive;
        if total <= 0.0 {
            return None;
        }
        let mut area = 0.0;
        let mut hits = 0.0;
        for step in &steps {
            if step.true_positive > hits {
                area += (step.true_positive - hits) * step.true_positive
                    / (step.true_positive + step.false_positive);
            }
            hits = step.true_positive;
        }
        Some(area / total)
    }
}

/// The area under the receiver operating characteristic: the probability that a positive case scores above a negative
/// one, ties counting half (the Mann-Whitney statistic).
pub fn auroc(scores: &[f64], labels: &[bool]) -> Result<f64, EvaluationError> {
    let (positive, negative) = check(scores, labels)?;
    let area = Ranking::new(scores, labels)?.weighted_auroc(|_| 1.0);
    area.ok_or(EvaluationError::OneClass { positive, negative })
}

/// Average precision: the area under the precision-recall curve as a sum of steps, without interpolation.
pub fn auprc(scores: &[f64], labels: &[bool]) -> Result<f64, EvaluationError> {
    let (positive, negative) = check(scores, labels)?;
    let area = Ranking::new(scores, labels)?.weighted_auprc(|_| 1.0);
    area.ok_or(EvaluationError::OneClass { positive, negative })
}

/// The curve, from the point where nothing is called positive to the point where everything is.
pub fn roc(scores: &[f64], labels: &[bool]) -> Result<Vec<RocPoint>, EvaluationError> {
    let (positive, negative) = check(scores, labels)?;
    let start = RocPoint {
        threshold: f64::INFINITY,
        sensitivity: 0.0,
        specificity: 1.0,
    };
    let point = |step: Step| RocPoint {
        threshold: step.threshold,
        sensitivity: step.true_positive / positive as f64,
        specificity: 1.0 - step.false_positive / negative as f64,
    };
    let steps = Ranking::new(scores, labels)?.steps(|_| 1.0);
    Ok(std::iter::once(start)
        .chain(steps.into_iter().map(point))
        .collect())
}

/// The highest threshold whose sensitivity reaches `sensitivity` (above 0, at most 1).
pub fn operating_point(
    scores: &[f64],
    labels: &[bool],
    sensitivity: f64,
) -> Result<RocPoint, EvaluationError> {
    if !(sensitivity > 0.0 && sensitivity <= 1.0) {
        let (what, range) = ("the target sensitivity", "above 0 and at most 1");
        return Err(EvaluationError::Setting {
            what,
            value: sensitivity.to_string(),
            range,
        });
    }
    let (positive, negative) = check(scores, labels)?;
    // 0.9 of 10 cases is 9, whatever 9.0 / 10.0 rounds to
    let reached = |point: &RocPoint| point.sensitivity >= sensitivity - 1e-12;
    roc(scores, labels)?
        .into_iter()
        .find(reached)
        .ok_or(EvaluationError::OneClass { positive, negative })
}

#[cfg(test)]
mod tests {
    use super::*;

    // twelve cases with ties within and between the classes
    const SCORES: [f64; 12] = [0.1, 0.4, 0.35, 0.8, 0.8, 0.8, 0.65, 0.4, 0.9, 0.2, 0.65, 0.05];
    const LABELS: [bool; 12] = [
        false, false, true, true, false, true, true, true, true, false, false, false,
    ];

    // scikit-learn 1.9.1: roc_auc_score(LABELS, SCORES)
    const AUROC: f64 = 0.777_777_777_777_777_8;
    // scikit-learn 1.9.1: average_precision_score(LABELS, SCORES)
    const AUPRC: f64 = 0.743_055_555_555_555_5;

    #[test]
    fn areas_equal_scikit_learn() {
        assert!((auroc(&SCORES, &LABELS).unwrap() - AUROC).abs() < 1e-12);
        assert!((auprc(&SCORES, &LABELS).unwrap() - AUPRC).abs() < 1e-12);
    }

    #[test]
    fn perfect_inverted_and_constant_scores() {
        let labels = [false, false, true, true];
        assert!((auroc(&[0.0, 1.0, 2.0, 3.0], &labels).unwrap() - 1.0).abs() < 1e-15);
        assert!(auroc(&[3.0, 2.0, 1.0, 0.0], &labels).unwrap().abs() < 1e-15);
        assert!((auroc(&[7.0; 4], &labels).unwrap() - 0.5).abs() < 1e-15);
    }

    #[test]
    fn the_operating_point_is_the_strictest_that_reaches_the_target() {
        let point = operating_point(&SCORES, &LABELS, 0.8).unwrap();
        assert!((point.threshold - 0.4).abs() < 1e-15, "{point:?}");
        assert!(
            (point.sensitivity - 5.0 / 6.0).abs() < 1e-12 && (point.specificity - 0.5).abs() < 1e-12,
            "{point:?}"
        );
        let curve = roc(&SCORES, &LABELS).unwrap();
        let (first, last) = (curve[0], curve[curve.len() - 1]);
        assert!(
            first.sensitivity == 0.0
                && (last.sensitivity - 1.0).abs() < 1e-15
                && last.specificity.abs() < 1e-15
        );
    }

    #[test]
    fn bad_input_is_named() {
        let one_class = EvaluationError::OneClass {
            positive: 2,
            negative: 0,
        };
        assert_eq!(auroc(&[0.1, 0.2], &[true, true]).unwrap_err(), one_class);
        assert_eq!(
            auroc(&[0.1, f64::NAN], &[true, false]).unwrap_err(),
            EvaluationError::NotANumber { index: 1 }
        );
        assert!(auroc(&[0.1], &[true, false]).is_err());
        assert!(operating_point(&SCORES, &LABELS, 0.0).is_err());
    }
}

//! Discrimination: the receiver operating characteristic, its area, average precision, and operating points.
//!
//! Equal scores are one threshold: no result depends on the order of cases. A case is called positive when its score is
//! at or above the threshold.

use serde::{Deserialize, Serialize};

use super::conformal::rank_for;
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

/// A threshold for new cases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReachedThreshold {
    /// Scores at or above it are called positive.
    pub threshold: f64,
    /// Positive cases that it was chosen on.
    pub positive: usize,
    /// The share of new positive cases that are expected at or above it, where they are of the kind of those.
    pub expected: f64,
}

/// The highest threshold at which `sensitivity` (above 0, at most 1) is expected of new positive cases: of n of them the score of the rank
/// that [`rank_for`] gives, from above. Where that is beyond n, the lowest score, of which less is expected.
pub fn threshold_reaching(
    scores: &[f64],
    labels: &[bool],
    sensitivity: f64,
) -> Result<ReachedThreshold, EvaluationError> {
    if !(sensitivity > 0.0 && sensitivity <= 1.0) {
        let (what, range) = ("the target sensitivity", "above 0 and at most 1");
        return Err(EvaluationError::Setting {
            what,
            value: sensitivity.to_string(),
            range,
        });
    }
    check(scores, labels)?;
    let cases = scores.iter().zip(labels).filter(|(_, label)| **label);
    let mut present: Vec<f64> = cases.map(|(score, _)| *score).collect();
    present.sort_by(|left, right| right.total_cmp(left));
    let positive = present.len();
    let rank = rank_for(sensitivity, positive).clamp(1, positive);
    Ok(ReachedThreshold {
        threshold: present[rank - 1],
        positive,
        expected: rank as f64 / (positive + 1) as f64,
    })
}

/// What is found at `threshold`.
pub fn point_at(scores: &[f64], labels: &[bool], threshold: f64) -> Result<RocPoint, EvaluationError> {
    let (positive, negative) = check(scores, labels)?;
    let called = |label: bool| -> usize {
        let cases = scores.iter().zip(labels);
        cases
            .filter(|(score, own)| **own == label && **score >= threshold)
            .count()
    };
    Ok(RocPoint {
        threshold,
        sensitivity: called(true) as f64 / positive as f64,
        specificity: 1.0 - called(false) as f64 / negative as f64,
    })
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

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
    fn a_threshold_is_for_one_case_more() {
        // of six positives the rank is ceil(0.8 * 7), of which 6/7 is expected
        let reached = threshold_reaching(&SCORES, &LABELS, 0.8).unwrap();
        assert!((reached.threshold - 0.35).abs() < 1e-15, "{reached:?}");
        assert!((reached.expected - 6.0 / 7.0).abs() < 1e-12 && reached.positive == 6);
        let reached = threshold_reaching(&SCORES, &LABELS, 0.7).unwrap();
        assert!((reached.threshold - 0.4).abs() < 1e-15, "{reached:?}");
        let point = point_at(&SCORES, &LABELS, reached.threshold).unwrap();
        assert!(
            (point.sensitivity - 5.0 / 6.0).abs() < 1e-12 && (point.specificity - 0.5).abs() < 1e-12,
            "{point:?}"
        );
        // six are too few for 0.9, of which the lowest promises 6/7
        let reached = threshold_reaching(&SCORES, &LABELS, 0.9).unwrap();
        assert!((reached.expected - 6.0 / 7.0).abs() < 1e-12);
    }

    /// Twenty positives, and the share of a thousand new ones that the threshold finds, over 400 draws of both: the mean is k / (n + 1).
    /// The highest threshold that finds 0.9 of the twenty finds 18/21 = 0.857 of new ones.
    #[test]
    fn new_patients_are_found_as_often_as_is_wanted() {
        let mut random = ChaCha8Rng::seed_from_u64(11);
        let mut found = 0.0;
        for _ in 0..400 {
            let scores: Vec<f64> = (0..21).map(|_| random.random()).collect();
            let labels: Vec<bool> = (0..21).map(|case| case < 20).collect();
            let reached = threshold_reaching(&scores, &labels, 0.9).unwrap();
            found += (0..1000)
                .filter(|_| random.random::<f64>() >= reached.threshold)
                .count() as f64
                / 1000.0;
        }
        // one draw has a standard deviation of 0.063
        assert!((found / 400.0 - 19.0 / 21.0).abs() < 0.01, "{}", found / 400.0);
    }

    #[test]
    fn the_curve_goes_from_nothing_to_everything() {
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
        assert!(threshold_reaching(&SCORES, &LABELS, 0.0).is_err());
    }
}

//! The variance of areas under the receiver operating characteristic by DeLong 1988, and the paired test of two areas.
//!
//! Computed from mid-ranks (Sun and Xu 2014), so in the time of a sort. Cases count as independent: where patients have
//! several images, use the bootstrap of [`interval`](super::interval) instead.

use super::{EvaluationError, check};

/// An area and its variance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeLong {
    /// The area.
    pub auroc: f64,
    /// Of the area, over samples of this size.
    pub variance: f64,
}

/// Two areas on the same cases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedDeLong {
    /// Of the first scores.
    pub first: DeLong,
    /// Of the second scores.
    pub second: DeLong,
    /// Of the two areas.
    pub covariance: f64,
    /// The first area minus the second, in standard errors; 0 where the scores do not differ.
    pub z: f64,
}

/// What each case contributes to the area.
struct Components {
    auroc: f64,
    positive: Vec<f64>,
    negative: Vec<f64>,
}

/// The area and its variance.
pub fn delong(scores: &[f64], labels: &[bool]) -> Result<DeLong, EvaluationError> {
    let components = components(scores, labels)?;
    Ok(DeLong {
        auroc: components.auroc,
        variance: covariance_of_areas(&components, &components),
    })
}

/// Compares two scores on the same cases.
pub fn paired(first: &[f64], second: &[f64], labels: &[bool]) -> Result<PairedDeLong, EvaluationError> {
    let (left, right) = (components(first, labels)?, components(second, labels)?);
    let first = DeLong {
        auroc: left.auroc,
        variance: covariance_of_areas(&left, &left),
    };
    let second = DeLong {
        auroc: right.auroc,
        variance: covariance_of_areas(&right, &right),
    };
    let covariance = covariance_of_areas(&left, &right);
    let variance = first.variance + second.variance - 2.0 * covariance;
    let difference = first.auroc - second.auroc;
    let z = if variance > 1e-18 {
        difference / variance.sqrt()
    } else {
        0.0
    };
    Ok(PairedDeLong {
        first,
        second,
        covariance,
        z,
    })
}

fn components(scores: &[f64], labels: &[bool]) -> Result<Components, EvaluationError> {
    let (positives, negatives) = check(scores, labels)?;
    let of = |class: bool| -> Vec<f64> {
        scores
            .iter()
            .zip(labels)
            .filter(|(_, label)| **label == class)
            .map(|(score, _)| *score)
            .collect()
    };
    let all = mid_ranks(scores);
    let within = |class: bool, others: usize| -> Vec<f64> {
        let own = mid_ranks(&of(class));
        let joint = all
            .iter()
            .zip(labels)
            .filter(|(_, label)| **label == class)
            .map(|(rank, _)| *rank);
        joint
            .zip(own)
            .map(|(joint, own)| (joint - own) / others as f64)
            .collect()
    };
    let positive = within(true, negatives);
    let negative: Vec<f64> = within(false, positives)
        .into_iter()
        .map(|below| 1.0 - below)
        .collect();
    let auroc = positive.iter().sum::<f64>() / positives as f64;
    Ok(Components {
        auroc,
        positive,
        negative,
    })
}

fn covariance_of_areas(left: &Components, right: &Components) -> f64 {
    covariance(&left.positive, &right.positive) / left.positive.len() as f64
        + covariance(&left.negative, &right.negative) / left.negative.len() as f64
}

fn covariance(left: &[f64], right: &[f64]) -> f64 {
    if left.len() < 2 {
        return 0.0;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (left_mean, right_mean) = (mean(left), mean(right));
    let products = left
        .iter()
        .zip(right)
        .map(|(left, right)| (left - left_mean) * (right - right_mean));
    products.sum::<f64>() / (left.len() - 1) as f64
}

/// Ranks from 1, the mean rank for equal scores.
fn mid_ranks(scores: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|left, right| scores[*left].total_cmp(&scores[*right]));
    let mut ranks = vec![0.0; scores.len()];
    let mut start = 0;
    while start < order.len() {
        let tied = order[start..]
            .iter()
            .take_while(|case| scores[**case] <= scores[order[start]])
            .count();
        for case in &order[start..start + tied] {
            ranks[*case] = start as f64 + f64::midpoint(tied as f64, 1.0);
        }
        start += tied;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: [bool; 10] = [true, true, true, true, true, false, false, false, false, false];
    const FIRST: [f64; 10] = [0.9, 0.8, 0.7, 0.4, 0.6, 0.5, 0.6, 0.3, 0.2, 0.1];
    const SECOND: [f64; 10] = [0.7, 0.4, 0.8, 0.5, 0.2, 0.6, 0.3, 0.5, 0.1, 0.2];

    #[test]
    fn variance_equals_the_definition_over_all_pairs() {
        // the placement values of DeLong 1988 written out over all pairs of a positive and a negative case
        let (positive, negative) = FIRST.split_at(5);
        let wins = |positive: f64, negative: f64| {
            if positive > negative {
                1.0
            } else if positive < negative {
                0.0
            } else {
                0.5
            }
        };
        let over = |values: Vec<f64>| {
            (
                values.iter().sum::<f64>() / 5.0,
                covariance(&values, &values) / 5.0,
            )
        };
        let by_positive = positive
            .iter()
            .map(|p| negative.iter().map(|n| wins(*p, *n)).sum::<f64>() / 5.0)
            .collect();
        let by_negative = negative
            .iter()
            .map(|n| positive.iter().map(|p| wins(*p, *n)).sum::<f64>() / 5.0)
            .collect();
        let ((area, first), (_, second)) = (over(by_positive), over(by_negative));
        let found = delong(&FIRST, &LABELS).unwrap();
        assert!(
            (found.auroc - area).abs() < 1e-12 && (found.variance - (first + second)).abs() < 1e-12,
            "{found:?}"
        );
    }

    #[test]
    fn a_score_does_not_differ_from_itself() {
        let same = paired(&FIRST, &FIRST, &LABELS).unwrap();
        assert!(same.z == 0.0 && (same.covariance - same.first.variance).abs() < 1e-15);
        assert!(paired(&FIRST, &SECOND, &LABELS).unwrap().z > 1.0);
    }

    #[test]
    fn ties_share_their_mean_rank() {
        assert_eq!(mid_ranks(&[0.3, 0.1, 0.3, 0.2]), [3.5, 1.0, 3.5, 2.0]);
    }
}

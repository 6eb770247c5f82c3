//! The variance of areas under the receiver operating characteristic by DeLong 1988, and the paired test of two areas.
//!
//! Computed from mid-ranks (Sun and Xu 2014), so in the time of a sort. The test counts patients and not images, as Obuchowski 1997 does for
//! clustered data: where each patient has one image it is DeLong's.

use std::collections::BTreeMap;

use super::{EvaluationError, check};

/// An area and its variance, where cases are independent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeLong {
    /// The area.
    pub auroc: f64,
    /// Of the area, over samples of this size.
    pub variance: f64,
}

/// The test of two areas on the same cases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedTest {
    /// The first area minus the second.
    pub difference: f64,
    /// The standard error of the difference.
    pub error: f64,
    /// The difference in standard errors; 0 where the scores rank alike.
    pub z: f64,
    /// How likely such a difference is, either way, where there is none.
    pub p: f64,
}

/// What each case contributes to an area, or to a sum or difference of areas.
#[derive(Clone)]
pub(super) struct Components {
    pub(super) auroc: f64,
    positive: Vec<f64>,
    negative: Vec<f64>,
}

impl Components {
    /// Those of its area less that of `other`, on the same cases.
    pub(super) fn less(&self, other: &Self) -> Self {
        self.with(other, |own, other| own - other)
    }

    /// Those of the sum of its area and that of `other`, on the same cases.
    pub(super) fn plus(&self, other: &Self) -> Self {
        self.with(other, |own, other| own + other)
    }

    fn with(&self, other: &Self, joined: impl Fn(f64, f64) -> f64) -> Self {
        let all = |own: &[f64], other: &[f64]| -> Vec<f64> {
            let both = own.iter().zip(other);
            both.map(|(own, other)| joined(*own, *other)).collect()
        };
        Self {
            auroc: joined(self.auroc, other.auroc),
            positive: all(&self.positive, &other.positive),
            negative: all(&self.negative, &other.negative),
        }
    }
}

/// Whether two scores put all cases into the same order, with the same ties.
pub(super) fn ranks_alike(first: &[f64], second: &[f64]) -> bool {
    // ranks are whole or halves
    let same = |(first, second): (f64, f64)| (first - second).abs() < 0.25;
    first.len() == second.len() && mid_ranks(first).into_iter().zip(mid_ranks(second)).all(same)
}

/// Whether two scores put each case of one class before the same share of the other class: no pair of the two classes changed its order.
#[must_use]
pub fn placed_alike(first: &[f64], second: &[f64], labels: &[bool]) -> bool {
    let (Ok(first), Ok(second)) = (components(first, labels), components(second, labels)) else {
        return false;
    };
    let apart = first.less(&second);
    let all = apart.positive.iter().chain(&apart.negative);
    all.map(|own| own.abs()).fold(0.0, f64::max) < 1e-12
}

/// The area and its variance.
pub fn delong(scores: &[f64], labels: &[bool]) -> Result<DeLong, EvaluationError> {
    let components = components(scores, labels)?;
    let variance = |of: &[f64]| {
        let squares = of.iter().map(|own| (own - components.auroc).powi(2));
        squares.sum::<f64>() / (of.len().max(2) - 1) as f64 / of.len() as f64
    };
    Ok(DeLong {
        auroc: components.auroc,
        variance: variance(&components.positive) + variance(&components.negative),
    })
}

/// Compares two scores on the same cases, each of which is one of its patient's.
///
/// # Errors
/// Where patients of a class are fewer than two, and where every pair says the same of a difference that is not 0: there is no spread to
/// test it by.
pub fn paired(
    first: &[f64],
    second: &[f64],
    labels: &[bool],
    patients: &[impl AsRef<str>],
) -> Result<PairedTest, EvaluationError> {
    if patients.len() != labels.len() {
        return Err(EvaluationError::Length {
            scores: labels.len(),
            others: patients.len(),
            what: "patients",
        });
    }
    let (first, second) = (components(first, labels)?, components(second, labels)?);
    let difference = first.auroc - second.auroc;
    let variance = variance(&first.less(&second), labels, patients)?;
    let error = variance.max(0.0).sqrt();
    if error <= 1e-9 && difference.abs() > 1e-9 {
        return Err(EvaluationError::Setting {
            what: "the spread of the difference between patients",
            value: "0".to_owned(),
            range: "above 0",
        });
    }
    let z = if error > 1e-9 { difference / error } else { 0.0 };
    Ok(PairedTest {
        difference,
        error,
        z,
        p: libm::erfc(z.abs() / std::f64::consts::SQRT_2),
    })
}

/// What a patient's cases with and without the finding contribute to the difference, and how many there are of each.
#[derive(Clone, Copy, Default)]
struct Share {
    positive: f64,
    negative: f64,
    positives: usize,
    negatives: usize,
}

/// The variance over patients of what `components` are of, as Obuchowski 1997 has it: an area, or a sum or difference of areas on the
/// same cases.
pub(super) fn variance(
    components: &Components,
    labels: &[bool],
    patients: &[impl AsRef<str>],
) -> Result<f64, EvaluationError> {
    let mut shares: BTreeMap<&str, Share> = BTreeMap::new();
    let apart = |of: &[f64]| -> Vec<f64> { of.iter().map(|own| own - components.auroc).collect() };
    let mut positive = apart(&components.positive).into_iter();
    let mut negative = apart(&components.negative).into_iter();
    for (label, patient) in labels.iter().zip(patients) {
        let share = shares.entry(patient.as_ref()).or_default();
        if *label {
            share.positive += positive.next().unwrap_or_default();
            share.positives += 1;
        } else {
            share.negative += negative.next().unwrap_or_default();
            share.negatives += 1;
        }
    }
    let sum = |of: &dyn Fn(&Share) -> f64| shares.values().map(of).sum::<f64>();
    let count = |has: &dyn Fn(&Share) -> bool| shares.values().filter(|share| has(share)).count() as f64;
    let (with, without) = (
        count(&|share| share.positives > 0),
        count(&|share| share.negatives > 0),
    );
    if with < 2.0 || without < 2.0 {
        return Err(EvaluationError::Setting {
            what: "the number of patients with the finding, or without it,",
            value: with.min(without).to_string(),
            range: "2 or more",
        });
    }
    let (positives, negatives) = (components.positive.len() as f64, components.negative.len() as f64);
    let all = shares.len() as f64;
    let of_positive = with / (with - 1.0) * sum(&|share| share.positive.powi(2)) / positives.powi(2);
    let of_negative = without / (without - 1.0) * sum(&|share| share.negative.powi(2)) / negatives.powi(2);
    let of_both = all / (all - 1.0) * sum(&|share| share.positive * share.negative) / (positives * negatives);
    Ok(of_positive + of_negative + 2.0 * of_both)
}

/// Of one score.
pub(super) fn components(scores: &[f64], labels: &[bool]) -> Result<Components, EvaluationError> {
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
            let mean = values.iter().sum::<f64>() / 5.0;
            let squares = values.iter().map(|value| (value - mean).powi(2));
            (mean, squares.sum::<f64>() / 4.0 / 5.0)
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

    fn patients(names: &str) -> Vec<&str> {
        names.split(' ').collect()
    }

    #[test]
    fn the_test_is_delongs_where_each_patient_has_one_image() {
        // MLstatkit 0.1.91: Delong_test(LABELS, FIRST, SECOND) -> z -1.0093898773656793 (of the second minus the first), p
        // 0.3127876912010039, var_diff 0.0318
        let found = paired(&FIRST, &SECOND, &LABELS, &patients("a b c d e f g h i j")).unwrap();
        assert!((found.z - 1.009_389_877_365_679).abs() < 1e-9, "{found:?}");
        assert!((found.p - 0.312_787_691_201).abs() < 1e-9, "{found:?}");
        assert!((found.error.powi(2) - 0.0318).abs() < 1e-12 && (found.difference - 0.18).abs() < 1e-12);
    }

    #[test]
    fn several_images_of_a_patient_are_no_independent_evidence() {
        // the formulas of Obuchowski 1997 over all pairs, in NumPy 2.4.6: variances 0.009733333333333333 and 0.02269866666666667,
        // covariance 0.007573333333333333, z 1.3690951299502314
        let found = paired(&FIRST, &SECOND, &LABELS, &patients("a a b c c a b d d e")).unwrap();
        assert!((found.z - 1.369_095_129_950_231).abs() < 1e-9, "{found:?}");
        // every image four times: by images the error would be half as large
        let owners = patients("a b c d e f g h i j");
        let once = paired(&FIRST, &SECOND, &LABELS, &owners).unwrap();
        let repeated = paired(
            &FIRST.repeat(4),
            &SECOND.repeat(4),
            &LABELS.repeat(4),
            &owners.repeat(4),
        );
        assert!((repeated.unwrap().error - once.error).abs() < 1e-12);
    }

    #[test]
    fn a_score_does_not_differ_from_itself_and_one_patient_is_too_few() {
        let owners = patients("a b c d e f g h i j");
        let same = paired(&FIRST, &FIRST, &LABELS, &owners).unwrap();
        assert_eq!([same.difference, same.z, same.p], [0.0, 0.0, 1.0]);
        let error = paired(&FIRST, &SECOND, &LABELS, &patients("a a a a a b c d e f"));
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("is 1; it must be 2 or more")
        );
        assert!(paired(&FIRST, &SECOND, &LABELS, &["a"]).is_err());
    }

    #[test]
    fn a_difference_without_spread_has_no_test() {
        // all in order, and none: as likely as not, where p were 1
        let owners = patients("a b c d e f g h i j");
        let sure = LABELS.map(|label| f64::from(u8::from(label)));
        let wrong = sure.map(|score| -score);
        for other in [wrong, [0.5; 10]] {
            let error = paired(&sure, &other, &LABELS, &owners).unwrap_err().to_string();
            assert!(error.contains("the spread of the difference"), "{error}");
        }
        // another order within classes is none between them
        let mut within = sure;
        within[0] = 0.9;
        assert!(placed_alike(&sure, &within, &LABELS) && !ranks_alike(&sure, &within));
        assert!(!placed_alike(&FIRST, &SECOND, &LABELS) && ranks_alike(&FIRST, &FIRST.map(f64::exp)));
        let same = paired(&sure, &within, &LABELS, &owners).unwrap();
        assert_eq!([same.difference, same.z, same.p], [0.0, 0.0, 1.0]);
    }

    #[test]
    fn ties_share_their_mean_rank() {
        assert_eq!(mid_ranks(&[0.3, 0.1, 0.3, 0.2]), [3.5, 1.0, 3.5, 2.0]);
    }
}

//! How sure a measure is: percentile intervals from a bootstrap over patients.
//!
//! Whole patients are drawn, with all of their images, because images of one patient resemble one another and an
//! interval over images would be too narrow. The seed makes the draws; equal input gives equal intervals.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::EvaluationError;
use super::roc::Ranking;

/// A measure with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// On the cases as they are.
    pub value: f64,
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

/// How the bootstrap is run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Draws; 1,000 give an end that is stable to about a tenth of the interval's width.
    pub resamples: usize,
    /// Share of draws inside, such as 0.95.
    pub coverage: f64,
    /// Makes the draws.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self {
            resamples: 1000,
            coverage: 0.95,
            seed: 0,
        }
    }
}

/// The area under the receiver operating characteristic, with a patient-level interval.
pub fn auroc_interval(
    scores: &[f64],
    labels: &[bool],
    patients: &[impl AsRef<str>],
    bootstrap: Bootstrap,
) -> Result<Estimate, EvaluationError> {
    let ranking = Ranking::new(scores, labels)?;
    estimate(patients, scores.len(), bootstrap, one_class(labels), |weights| {
        ranking.weighted_auroc(|case| weights[case])
    })
}

/// Average precision, with a patient-level interval.
pub fn auprc_interval(
    scores: &[f64],
    labels: &[bool],
    patients: &[impl AsRef<str>],
    bootstrap: Bootstrap,
) -> Result<Estimate, EvaluationError> {
    let ranking = Ranking::new(scores, labels)?;
    estimate(patients, scores.len(), bootstrap, one_class(labels), |weights| {
        ranking.weighted_auprc(|case| weights[case])
    })
}

/// The first area minus the second on the same cases, with a patient-level interval: the same patients are drawn for both, so what
/// both find hard cancels out.
pub fn auroc_difference_interval(
    first: &[f64],
    second: &[f64],
    labels: &[bool],
    patients: &[impl AsRef<str>],
    bootstrap: Bootstrap,
) -> Result<Estimate, EvaluationError> {
    let (first, second) = (Ranking::new(first, labels)?, Ranking::new(second, labels)?);
    estimate(patients, labels.len(), bootstrap, one_class(labels), |weights| {
        let weight = |case: usize| weights[case];
        Some(first.weighted_auroc(weight)? - second.weighted_auroc(weight)?)
    })
}

/// The share of cases that are right, such as a sensitivity, with a patient-level interval.
pub fn share_interval(
    right: &[bool],
    patients: &[impl AsRef<str>],
    bootstrap: Bootstrap,
) -> Result<Estimate, EvaluationError> {
    let nothing = || EvaluationError::Setting {
        what: "the number of cases",
        value: "0".to_owned(),
        range: "above 0",
    };
    if right.is_empty() {
        return Err(nothing());
    }
    estimate(patients, right.len(), bootstrap, nothing, |weights| {
        let own = |wanted: bool| -> f64 {
            let cases = right.iter().zip(weights).filter(|(right, _)| **right || !wanted);
            // a sum of nothing would be -0
            cases.map(|(_, weight)| weight).sum::<f64>() + 0.0
        };
        Some(own(true) / own(false))
    })
}

/// The coefficient of determination (R squared) of predicted numbers, with a patient-level interval: 1 is exact, 0 no better than
/// the mean.
pub fn determination_interval(
    predicted: &[f64],
    truth: &[f64],
    patients: &[impl AsRef<str>],
    bootstrap: Bootstrap,
) -> Result<Estimate, EvaluationError> {
    check_numbers(predicted, truth)?;
    estimate(patients, truth.len(), bootstrap, constant, |weights| {
        determination(predicted, truth, weights)
    })
}

/// The coefficient of determination of the first minus that of the second, with a patient-level interval: the same patients are drawn for
/// both.
pub fn determination_difference_interval(
    first: &[f64],
    second: &[f64],
    truth: &[f64],
    patients: &[impl AsRef<str>],
    bootstrap: Bootstrap,
) -> Result<Estimate, EvaluationError> {
    check_numbers(first, truth)?;
    check_numbers(second, truth)?;
    estimate(patients, truth.len(), bootstrap, constant, |weights| {
        Some(determination(first, truth, weights)? - determination(second, truth, weights)?)
    })
}

fn determination(predicted: &[f64], truth: &[f64], weights: &[f64]) -> Option<f64> {
    let sum =
        |one: &dyn Fn(usize) -> f64| -> f64 { (0..truth.len()).map(|case| weights[case] * one(case)).sum() };
    let mean = sum(&|case| truth[case]) / sum(&|_| 1.0);
    let spread = sum(&|case| (truth[case] - mean).powi(2));
    (spread > 0.0).then(|| 1.0 - sum(&|case| (truth[case] - predicted[case]).powi(2)) / spread)
}

fn check_numbers(predicted: &[f64], truth: &[f64]) -> Result<(), EvaluationError> {
    if truth.len() != predicted.len() {
        return Err(EvaluationError::Length {
            scores: predicted.len(),
            others: truth.len(),
            what: "true numbers",
        });
    }
    let odd = |index: &usize| !predicted[*index].is_finite() || !truth[*index].is_finite();
    match (0..truth.len()).find(odd) {
        Some(index) => Err(EvaluationError::NotANumber { index }),
        None => Ok(()),
    }
}

fn constant() -> EvaluationError {
    EvaluationError::Setting {
        what: "the spread of the true numbers",
        value: "0".to_owned(),
        range: "above 0",
    }
}

fn one_class(labels: &[bool]) -> impl Fn() -> EvaluationError {
    let positive = labels.iter().filter(|label| **label).count();
    let negative = labels.len() - positive;
    move || EvaluationError::OneClass { positive, negative }
}

/// Draws patients and measures; draws in which the measure has no value (one class only) are drawn anew.
fn estimate(
    patients: &[impl AsRef<str>],
    cases: usize,
    bootstrap: Bootstrap,
    no_value: impl Fn() -> EvaluationError,
    measure: impl Fn(&[f64]) -> Option<f64>,
) -> Result<Estimate, EvaluationError> {
    if patients.len() != cases {
        return Err(EvaluationError::Length {
            scores: cases,
            others: patients.len(),
            what: "patients",
        });
    }
    if !(bootstrap.coverage > 0.0 && bootstrap.coverage < 1.0) || bootstrap.resamples < 2 {
        let (what, range) = (
            "the bootstrap",
            "of a coverage between 0 and 1 and at least 2 resamples",
        );
        return Err(EvaluationError::Setting {
            what,
            value: format!("{bootstrap:?}"),
            range,
        });
    }
    let value = measure(&vec![1.0; cases]).ok_or_else(&no_value)?;
    let mut places = BTreeMap::new();
    for patient in patients {
        let next = places.len();
        places.entry(patient.as_ref()).or_insert(next);
    }
    let owners: Vec<usize> = patients.iter().map(|patient| places[patient.as_ref()]).collect();
    let mut random = ChaCha8Rng::seed_from_u64(bootstrap.seed);
    let mut measured = Vec::with_capacity(bootstrap.resamples);
    // with one patient of a class among few, about a third of the draws miss it; ten times as many are plenty
    for _ in 0..10 * bootstrap.resamples {
        let mut draws = vec![0.0_f64; places.len()];
        for _ in 0..places.len() {
            draws[random.random_range(0..places.len())] += 1.0;
        }
        let weights: Vec<f64> = owners.iter().map(|owner| draws[*owner]).collect();
        measured.extend(measure(&weights));
        if measured.len() == bootstrap.resamples {
            break;
        }
    }
    if measured.len() < 2 {
        return Err(no_value());
    }
    measured.sort_by(f64::total_cmp);
    let tail = (1.0 - bootstrap.coverage) / 2.0;
    Ok(Estimate {
        value,
        lower: quantile(&measured, tail),
        upper: quantile(&measured, 1.0 - tail),
    })
}

/// The quantile of sorted numbers, at least one: linear between the two nearest order statistics (type 7 of Hyndman and Fan 1996, the
/// default of `NumPy`).
#[must_use]
pub fn quantile(sorted: &[f64], probability: f64) -> f64 {
    let position = probability * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::super::delong::delong;
    use super::*;

    fn cases(count: usize) -> (Vec<f64>, Vec<bool>, Vec<String>) {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let labels: Vec<bool> = (0..count).map(|case| case % 3 == 0).collect();
        let scores = labels
            .iter()
            .map(|label| random.random::<f64>() + if *label { 0.4 } else { 0.0 })
            .collect();
        (scores, labels, (0..count).map(|case| case.to_string()).collect())
    }

    #[test]
    fn quantiles_equal_numpy() {
        // NumPy 2: numpy.quantile([1, 2, 4, 8, 16], [0.025, 0.5, 0.9]) -> 1.1, 4.0, 12.8
        let sorted = [1.0, 2.0, 4.0, 8.0, 16.0];
        for (probability, expected) in [(0.025, 1.1), (0.5, 4.0), (0.9, 12.8)] {
            assert!((quantile(&sorted, probability) - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn the_interval_agrees_with_delong_where_each_patient_has_one_image() {
        let (scores, labels, patients) = cases(600);
        let found = auroc_interval(&scores, &labels, &patients, Bootstrap::default()).unwrap();
        let exact = delong(&scores, &labels).unwrap();
        let half = 1.96 * exact.variance.sqrt();
        assert!((found.value - exact.auroc).abs() < 1e-12);
        assert!(
            (found.lower - (exact.auroc - half)).abs() < 0.008,
            "{found:?} {exact:?}"
        );
        assert!(
            (found.upper - (exact.auroc + half)).abs() < 0.008,
            "{found:?} {exact:?}"
        );
    }

    #[test]
    fn the_same_image_four_times_is_no_evidence_for_a_patient_level_interval() {
        let (scores, labels, patients) = cases(90);
        let single = auroc_interval(&scores, &labels, &patients, Bootstrap::default()).unwrap();
        let repeated = auroc_interval(
            &scores.repeat(4),
            &labels.repeat(4),
            &[&patients[..]; 4].concat(),
            Bootstrap::default(),
        );
        let repeated = repeated.unwrap();
        assert!(
            (single.lower - repeated.lower).abs() < 1e-12 && (single.upper - repeated.upper).abs() < 1e-12
        );
    }

    #[test]
    fn a_paired_difference_is_surer_than_the_two_areas() {
        let (scores, labels, patients) = cases(300);
        let other: Vec<f64> = scores
            .iter()
            .zip(&labels)
            .map(|(score, label)| score - if *label { 0.05 } else { 0.0 })
            .collect();
        let with = |scores: &[f64]| auroc_interval(scores, &labels, &patients, Bootstrap::default()).unwrap();
        let apart =
            auroc_difference_interval(&scores, &other, &labels, &patients, Bootstrap::default()).unwrap();
        assert!((apart.value - (with(&scores).value - with(&other).value)).abs() < 1e-12);
        assert!(apart.lower > 0.0, "{apart:?}");
        assert!(
            apart.upper - apart.lower < 0.5 * (with(&scores).upper - with(&scores).lower),
            "{apart:?}"
        );
        let same =
            auroc_difference_interval(&scores, &scores, &labels, &patients, Bootstrap::default()).unwrap();
        assert_eq!([same.lower, same.upper], [0.0, 0.0]);
    }

    #[test]
    fn determination_equals_scikit_learn() {
        // scikit-learn 1.9.1: r2_score([3, -0.5, 2, 7], [2.5, 0.0, 2, 8]) -> 0.9486081370449679
        let patients = ["a", "b", "c", "d"];
        let found = determination_interval(
            &[2.5, 0.0, 2.0, 8.0],
            &[3.0, -0.5, 2.0, 7.0],
            &patients,
            Bootstrap::default(),
        );
        let found = found.unwrap();
        assert!((found.value - 0.948_608_137_044_967_9).abs() < 1e-12);
        assert!(found.lower <= found.value && found.value <= found.upper);
        assert!(determination_interval(&[1.0; 4], &[2.0; 4], &patients, Bootstrap::default()).is_err());
    }

    #[test]
    fn a_share_has_the_interval_of_the_binomial_distribution_where_each_patient_has_one_image() {
        let right: Vec<bool> = (0..200).map(|case| case % 5 > 0).collect();
        let patients: Vec<String> = (0..200).map(|case| case.to_string()).collect();
        let found = share_interval(&right, &patients, Bootstrap::default()).unwrap();
        assert!((found.value - 0.8).abs() < 1e-12);
        // SciPy 1.17.1: scipy.stats.binom.ppf([0.025, 0.975], 200, 0.8) / 200 -> 0.745, 0.855
        assert!((found.lower - 0.745).abs() < 0.0101, "{found:?}");
        assert!((found.upper - 0.855).abs() < 0.0101, "{found:?}");
        // four images of each patient that are all right or all wrong say no more than one
        let owners: Vec<String> = (0..200).map(|case| (case / 4).to_string()).collect();
        let alike: Vec<bool> = (0..200).map(|case| case / 4 % 5 > 0).collect();
        let wide = share_interval(&alike, &owners, Bootstrap::default()).unwrap();
        assert!(
            wide.upper - wide.lower > 1.7 * (found.upper - found.lower),
            "{wide:?}"
        );
        assert!(share_interval(&[], &[] as &[&str], Bootstrap::default()).is_err());
    }

    #[test]
    fn one_seed_gives_one_interval() {
        let (scores, labels, patients) = cases(60);
        let with = |seed| {
            auprc_interval(
                &scores,
                &labels,
                &patients,
                Bootstrap {
                    seed,
                    ..Bootstrap::default()
                },
            )
            .unwrap()
        };
        assert_eq!(with(3), with(3));
        assert_ne!(with(3), with(4));
    }
}

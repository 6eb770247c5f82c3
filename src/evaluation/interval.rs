//! How sure a measure is: percentile intervals from a bootstrap over patients.
//!
//! Whole patients are drawn, with all of their images, because images of one patient resemble one another and an
//! interval over images would be too narrow. The seed makes the draws; equal input gives equal intervals. Where no draw differs from another, as
//! of an area of 1, `flat` has the interval.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::delong::ranks_alike;
use super::roc::Ranking;
use super::{EvaluationError, check, flat};

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
    auroc_within_interval(scores, labels, patients, &vec![0; scores.len()], bootstrap)
}

/// As [`auroc_interval`], of pairs within the same stratum only, all such pairs counting alike: for scores of several networks, which
/// need no common scale then. `strata` has the number of each case's, from 0; patients are drawn within strata.
pub fn auroc_within_interval(
    scores: &[f64],
    labels: &[bool],
    patients: &[impl AsRef<str>],
    strata: &[usize],
    bootstrap: Bootstrap,
) -> Result<Estimate, EvaluationError> {
    check(scores, labels)?;
    check_strata(strata, scores.len())?;
    let rankings = of_strata(strata)
        .into_iter()
        .filter_map(|cases| {
            let scores: Vec<f64> = cases.iter().map(|case| scores[*case]).collect();
            let labels: Vec<bool> = cases.iter().map(|case| labels[*case]).collect();
            // a stratum of one class has no pairs
            Some((Ranking::new(&scores, &labels).ok()?, cases))
        })
        .collect::<Vec<_>>();
    let found = estimate(patients, strata, bootstrap, one_class(labels), |weights| {
        let [right, pairs] = rankings
            .iter()
            .map(|(ranking, cases)| ranking.weighted_pairs(|case| weights[cases[case]]))
            .fold([0.0; 2], |[a, b], [right, pairs]| [a + right, b + pairs]);
        (pairs > 0.0).then(|| right / pairs)
    })?;
    if !flat::is_flat(&found) {
        return Ok(found);
    }
    let pairs = flat::pairs(labels, patients, strata);
    Ok(flat::share(found.value, pairs, bootstrap.coverage))
}

/// Average precision, with a patient-level interval.
pub fn auprc_interval(
    scores: &[f64],
    labels: &[bool],
    patients: &[impl AsRef<str>],
    bootstrap: Bootstrap,
) -> Result<Estimate, EvaluationError> {
    let ranking = Ranking::new(scores, labels)?;
    let strata = vec![0; scores.len()];
    let found = estimate(patients, &strata, bootstrap, one_class(labels), |weights| {
        ranking.weighted_auprc(|case| weights[case])
    })?;
    // at 1 the area is 1, too
    if !flat::is_flat(&found) || found.value < 1.0 - 1e-12 {
        return Ok(found);
    }
    let pairs = flat::pairs(labels, patients, &strata);
    let area = flat::share(1.0, pairs, bootstrap.coverage);
    let (positive, negative) = check(scores, labels)?;
    Ok(flat::average_precision(area.lower, positive, negative))
}

/// The first area minus the second on the same cases, with a patient-level interval: the same patients are drawn for both, so what
/// both find hard cancels out. Two scores that rank all cases alike are one, and their difference is 0 for certain.
pub fn auroc_difference_interval(
    first: &[f64],
    second: &[f64],
    labels: &[bool],
    patients: &[impl AsRef<str>],
    bootstrap: Bootstrap,
) -> Result<Estimate, EvaluationError> {
    let rankings = (Ranking::new(first, labels)?, Ranking::new(second, labels)?);
    let alike = ranks_alike(first, second);
    let (first, second) = rankings;
    let strata = vec![0; labels.len()];
    let found = estimate(patients, &strata, bootstrap, one_class(labels), |weights| {
        let weight = |case: usize| weights[case];
        Some(first.weighted_auroc(weight)? - second.weighted_auroc(weight)?)
    })?;
    if alike || !flat::is_flat(&found) {
        return Ok(found);
    }
    let pairs = flat::pairs(labels, patients, &strata);
    Ok(flat::difference(found.value, pairs, bootstrap.coverage))
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
    let found = estimate(patients, &vec![0; right.len()], bootstrap, nothing, |weights| {
        let own = |wanted: bool| -> f64 {
            let cases = right.iter().zip(weights).filter(|(right, _)| **right || !wanted);
            // a sum of nothing would be -0
            cases.map(|(_, weight)| weight).sum::<f64>() + 0.0
        };
        Some(own(true) / own(false))
    })?;
    if !flat::is_flat(&found) {
        return Ok(found);
    }
    Ok(flat::share(
        found.value,
        flat::count(patients),
        bootstrap.coverage,
    ))
}

/// The coefficient of determination (R squared) of predicted numbers, with a patient-level interval: 1 is exact, 0 no better than
/// the mean.
pub fn determination_interval(
    predicted: &[f64],
    truth: &[f64],
    patients: &[impl AsRef<str>],
    bootstrap: Bootstrap,
) -> Result<Estimate, EvaluationError> {
    determination_within_interval(predicted, truth, patients, &vec![0; truth.len()], bootstrap)
}

/// As [`determination_interval`], beside the mean of each case's own stratum: what the strata's means differ by explains nothing.
/// `strata` has the number of each case's, from 0; patients are drawn within strata.
pub fn determination_within_interval(
    predicted: &[f64],
    truth: &[f64],
    patients: &[impl AsRef<str>],
    strata: &[usize],
    bootstrap: Bootstrap,
) -> Result<Estimate, EvaluationError> {
    check_numbers(predicted, truth)?;
    check_strata(strata, truth.len())?;
    let groups = of_strata(strata);
    estimate(patients, strata, bootstrap, constant, |weights| {
        determination(predicted, truth, &groups, weights)
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
    let strata = vec![0; truth.len()];
    let groups = of_strata(&strata);
    estimate(patients, &strata, bootstrap, constant, |weights| {
        let of = |predicted| determination(predicted, truth, &groups, weights);
        Some(of(first)? - of(second)?)
    })
}

/// R squared, where the spread is around the mean of each of `groups`, the places of their cases.
fn determination(predicted: &[f64], truth: &[f64], groups: &[Vec<usize>], weights: &[f64]) -> Option<f64> {
    let (mut missed, mut spread) = (0.0, 0.0);
    for cases in groups {
        let sum = |one: &dyn Fn(usize) -> f64| -> f64 {
            cases.iter().map(|case| weights[*case] * one(*case)).sum()
        };
        let weight = sum(&|_| 1.0);
        if weight > 0.0 {
            let mean = sum(&|case| truth[case]) / weight;
            spread += sum(&|case| (truth[case] - mean).powi(2));
            missed += sum(&|case| (truth[case] - predicted[case]).powi(2));
        }
    }
    (spread > 0.0).then(|| 1.0 - missed / spread)
}

/// The places of the cases of each stratum.
fn of_strata(strata: &[usize]) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (case, stratum) in strata.iter().enumerate() {
        groups.entry(*stratum).or_default().push(case);
    }
    groups.into_values().collect()
}

fn check_strata(strata: &[usize], cases: usize) -> Result<(), EvaluationError> {
    if strata.len() == cases {
        return Ok(());
    }
    Err(EvaluationError::Length {
        scores: cases,
        others: strata.len(),
        what: "strata",
    })
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

/// Draws patients, of each stratum as many as it has, and measures; draws in which the measure has no value (one class only) are drawn
/// anew. `strata` has one for each case.
pub(super) fn estimate(
    patients: &[impl AsRef<str>],
    strata: &[usize],
    bootstrap: Bootstrap,
    no_value: impl Fn() -> EvaluationError,
    measure: impl Fn(&[f64]) -> Option<f64>,
) -> Result<Estimate, EvaluationError> {
    let cases = strata.len();
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
    let mut owners = Vec::with_capacity(cases);
    // the patients of each stratum, by their places
    let mut own: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (patient, stratum) in patients.iter().zip(strata) {
        let next = places.len();
        let place = *places.entry((stratum, patient.as_ref())).or_insert(next);
        if place == next {
            own.entry(*stratum).or_default().push(place);
        }
        owners.push(place);
    }
    let mut random = ChaCha8Rng::seed_from_u64(bootstrap.seed);
    let mut measured = Vec::with_capacity(bootstrap.resamples);
    // with one patient of a class among few, about a third of the draws miss it; ten times as many are plenty
    for _ in 0..10 * bootstrap.resamples {
        let mut draws = vec![0.0_f64; places.len()];
        for own in own.values() {
            for _ in 0..own.len() {
                draws[own[random.random_range(0..own.len())]] += 1.0;
            }
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

/// The 95 % interval of a `share` of `cases` that are independent of each other (Wilson 1927): it is none of one point, also where the
/// share is 0 or 1. Without cases it is all from 0 to 1.
#[must_use]
pub fn wilson(share: f64, cases: usize) -> [f64; 2] {
    if cases == 0 {
        return [0.0, 1.0];
    }
    let count = cases as f64;
    let squared = 1.959_963_984_540_054_f64.powi(2);
    let middle = share + squared / (2.0 * count);
    let half = (squared * (share * (1.0 - share) + squared / (4.0 * count)) / count).sqrt();
    [middle - half, middle + half].map(|end| (end / (1.0 + squared / count)).clamp(0.0, 1.0))
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
mod tests;

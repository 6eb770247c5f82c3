//! Intervals where no draw of patients differs from another, so that a bootstrap, as DeLong's variance, would be sure of what it has seen: of
//! areas of 1 above all.
//!
//! What is left then is how many patients there are. Of k pairs, each of a patient with the finding and one without, no patient in two of
//! them, all are in order with a probability of the area to the power of k, or less. That is the exact interval of k of k (Clopper and
//! Pearson 1934), and holds for any distribution of scores, for any number of images of a patient, and where patients of one kind are all
//! missed. A closer one has to assume how scores are distributed (Newcombe 2006, method 5), and says too much where that is not so.

use std::collections::{BTreeMap, BTreeSet};

use super::distribution::clopper_pearson;
use super::interval::Estimate;

/// Narrower than any interval that says something.
const FLAT: f64 = 1e-12;

/// Whether it is none of a measure that differed between draws.
pub(super) fn is_flat(estimate: &Estimate) -> bool {
    estimate.upper - estimate.lower < FLAT
}

/// How many pairs of a patient with the finding and another without it there are of patients who are in one pair at most; a pair is of one
/// of the `strata`, which have a number for each case.
pub(super) fn pairs(labels: &[bool], patients: &[impl AsRef<str>], strata: &[usize]) -> usize {
    let mut kinds: BTreeMap<usize, [BTreeSet<&str>; 2]> = BTreeMap::new();
    for ((label, patient), stratum) in labels.iter().zip(patients).zip(strata) {
        kinds.entry(*stratum).or_default()[usize::from(*label)].insert(patient.as_ref());
    }
    let of_stratum = |[without, with]: &[BTreeSet<&str>; 2]| {
        let all = with.union(without).count();
        with.len().min(without.len()).min(all / 2)
    };
    kinds.values().map(of_stratum).sum()
}

/// How many patients there are.
pub(super) fn count(patients: &[impl AsRef<str>]) -> usize {
    patients.iter().map(AsRef::as_ref).collect::<BTreeSet<_>>().len()
}

/// The interval of a share of `units`, which are independent of each other, that no draw moved.
pub(super) fn share(value: f64, units: usize, coverage: f64) -> Estimate {
    let [lower, upper] = clopper_pearson(value, units, coverage);
    Estimate {
        value,
        // of a weighted share it may miss it by rounding
        lower: lower.min(value),
        upper: upper.max(value),
    }
}

/// The interval of an average precision of 1 of so many images with and without the finding, whose area is `lower` or more: as many without it as
/// that allows stand before all with it, where they cost most.
pub(super) fn average_precision(lower: f64, positive: usize, negative: usize) -> Estimate {
    let before = (1.0 - lower) * negative as f64;
    let precision = |rank: usize| rank as f64 / (rank as f64 + before);
    Estimate {
        value: 1.0,
        lower: (1..=positive).map(precision).sum::<f64>() / positive.max(1) as f64,
        upper: 1.0,
    }
}

/// The interval of a difference of two areas that is `value` whoever is drawn: all pairs say so, and of new ones a share may say
/// anything from -1 to 1 that none of `pairs` does.
pub(super) fn difference(value: f64, pairs: usize, coverage: f64) -> Estimate {
    let [_, unseen] = clopper_pearson(0.0, pairs, coverage);
    let seen = (1.0 - unseen) * value;
    Estimate {
        value,
        lower: seen - unseen,
        upper: seen + unseen,
    }
}

#[cfg(test)]
mod tests;

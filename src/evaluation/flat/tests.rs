//! Of [`super`].

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::interval::{
    Bootstrap, auprc_interval, auroc_difference_interval, auroc_interval, auroc_within_interval,
    share_interval,
};
use super::*;

/// Cases with the finding and without it, each of a patient.
fn cases(positive: usize, negative: usize) -> (Vec<bool>, Vec<String>) {
    let labels = (0..positive + negative).map(|case| case < positive).collect();
    (
        labels,
        (0..positive + negative).map(|case| case.to_string()).collect(),
    )
}

fn scores(labels: &[bool]) -> Vec<f64> {
    labels.iter().map(|label| f64::from(u8::from(*label))).collect()
}

#[test]
fn what_separates_all_is_as_sure_as_there_are_patients() {
    let (labels, patients) = cases(20, 100);
    let found = auroc_interval(&scores(&labels), &labels, &patients, Bootstrap::default()).unwrap();
    // SciPy 1.17.1: scipy.stats.beta.ppf(0.025, 20, 1)
    let expected = 0.831_566_529_016_914_6;
    assert!((found.lower - expected).abs() < 1e-9, "{found:?}");
    assert_eq!([found.value, found.upper], [1.0, 1.0]);
    let turned: Vec<f64> = scores(&labels).iter().map(|score| -score).collect();
    let turned = auroc_interval(&turned, &labels, &patients, Bootstrap::default()).unwrap();
    assert!(
        (turned.upper - (1.0 - expected)).abs() < 1e-9 && turned.value.abs() < 1e-12,
        "{turned:?}"
    );
    // what says the same of everybody says nothing of others
    let same = auroc_interval(&[0.5; 120], &labels, &patients, Bootstrap::default()).unwrap();
    assert!(same.lower < 0.3 && same.upper > 0.7, "{same:?}");

    // five images of each patient are no more patients
    let owners = [&patients[..]; 5].concat();
    let all = auroc_interval(
        &scores(&labels.repeat(5)),
        &labels.repeat(5),
        &owners,
        Bootstrap::default(),
    );
    assert!((all.unwrap().lower - expected).abs() < 1e-9);
    // of patients who have an image of each kind two make a pair
    let both: Vec<String> = (0..40).map(|case| (case % 20).to_string()).collect();
    let (labels, _) = cases(20, 20);
    assert_eq!(pairs(&labels, &both, &[0; 40]), 10);
    // a pair is of one stratum
    let strata: Vec<usize> = (0..40).map(|case| usize::from(case % 20 > 14)).collect();
    let (_, patients) = cases(20, 20);
    assert_eq!(pairs(&labels, &patients, &strata), 15 + 5);
    let within = auroc_within_interval(
        &scores(&labels),
        &labels,
        &patients,
        &strata,
        Bootstrap::default(),
    );
    assert!((within.unwrap().lower - expected).abs() < 1e-9);
}

#[test]
fn shares_of_all_and_of_none_are_exact_over_patients() {
    let owners: Vec<String> = (0..30).map(|case| (case / 3).to_string()).collect();
    // SciPy 1.17.1: scipy.stats.beta.ppf(0.025, 10, 1)
    let expected = 0.691_502_892_181_239_2;
    let all = share_interval(&[true; 30], &owners, Bootstrap::default()).unwrap();
    assert!(
        (all.lower - expected).abs() < 1e-9 && (all.upper - 1.0).abs() < 1e-12,
        "{all:?}"
    );
    let none = share_interval(&[false; 30], &owners, Bootstrap::default()).unwrap();
    assert!(
        (none.upper - (1.0 - expected)).abs() < 1e-9 && none.lower.abs() < 1e-12,
        "{none:?}"
    );
    // one of three of each patient: no draw differs
    let third: Vec<bool> = (0..30).map(|case| case % 3 == 0).collect();
    let third = share_interval(&third, &owners, Bootstrap::default()).unwrap();
    assert!(third.lower < 0.2 && third.upper > 0.55, "{third:?}");
}

#[test]
fn an_average_precision_of_1_is_as_sure_as_the_area() {
    let (labels, patients) = cases(20, 100);
    let found = auprc_interval(&scores(&labels), &labels, &patients, Bootstrap::default()).unwrap();
    // NumPy 2.4.6: the mean of r / (r + 16.843) over r from 1 to 20, for 0.16843 of 100 images before all of the 20
    assert!(
        (found.lower - 0.354_194_7).abs() < 1e-6 && (found.upper - 1.0).abs() < 1e-12,
        "{found:?}"
    );
    // as many as that before the last one would cost less
    let area = auroc_interval(&scores(&labels), &labels, &patients, Bootstrap::default()).unwrap();
    assert!(found.lower < area.lower);
}

#[test]
fn two_that_separate_all_may_differ_on_others() {
    let (labels, patients) = cases(20, 100);
    let first = scores(&labels);
    let difference = |second: &[f64]| {
        auroc_difference_interval(&first, second, &labels, &patients, Bootstrap::default()).unwrap()
    };
    let mut second = first.clone();
    second[3] = 0.9;
    let found = difference(&second);
    // SciPy 1.17.1: 1 - scipy.stats.beta.ppf(0.025, 20, 1)
    let unseen = 0.168_433_470_983_085_4;
    assert!(
        (found.lower + unseen).abs() < 1e-9 && (found.upper - unseen).abs() < 1e-9,
        "{found:?}"
    );
    // the same order of all cases, whatever the scale
    let other: Vec<f64> = first.iter().map(|score| score.exp()).collect();
    let same = difference(&other);
    assert_eq!([same.value, same.lower, same.upper], [0.0; 3]);
    // all in order and none: no less than two thirds of that
    let turned: Vec<f64> = first.iter().map(|score| -score).collect();
    let found = difference(&turned);
    assert!(
        (found.lower - (1.0 - 2.0 * unseen)).abs() < 1e-9 && (found.upper - 1.0).abs() < 1e-12,
        "{found:?}"
    );
}

/// One of twelve patients with the finding looks like none of the others, as where a kind of it was not among those that were trained
/// with. Of twenty, 18 % of samples have none of them and are perfect: by [1, 1] so many intervals missed.
#[test]
fn perfect_samples_do_not_hide_those_that_are_missed() {
    let (labels, patients) = cases(20, 60);
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let bootstrap = Bootstrap {
        resamples: 200,
        ..Bootstrap::default()
    };
    let (mut holds, mut perfect) = (0, 0);
    for _ in 0..400 {
        let score = |label: &bool| match label {
            false => random.random_range(0.0..1.0),
            true if random.random_range(0..12) == 0 => -1.0,
            true => 2.0,
        };
        let scores: Vec<f64> = labels.iter().map(score).collect();
        let found = auroc_interval(&scores, &labels, &patients, bootstrap).unwrap();
        perfect += usize::from(found.value > 1.0 - 1e-12);
        holds += usize::from(found.lower <= 11.0 / 12.0 && 11.0 / 12.0 <= found.upper);
    }
    assert!(perfect > 50, "{perfect}");
    assert!(holds >= 372, "{holds} of 400");
}

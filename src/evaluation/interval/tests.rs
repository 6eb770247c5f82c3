//! Of [`super`].

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
fn an_interval_of_shares_is_wilsons() {
    // Python, by the formula with z = 1.959963984540054, as statsmodels' proportion_confint(method="wilson")
    for (share, cases, expected) in [
        (0.95, 20, [0.763_868_806_553_258, 0.991_118_551_199_204_7]),
        (0.9, 20, [0.698_966_354_771_512_8, 0.972_133_518_786_231_9]),
    ] {
        let found = wilson(share, cases);
        assert!(
            found
                .iter()
                .zip(expected)
                .all(|(found, expected)| (found - expected).abs() < 1e-12),
            "{found:?}"
        );
    }
    let [lower, upper] = wilson(1.0, 10);
    assert!(lower < 0.75 && (upper - 1.0).abs() < 1e-12);
    assert_eq!(wilson(0.0, 0), [0.0, 1.0]);
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
    assert!((single.lower - repeated.lower).abs() < 1e-12 && (single.upper - repeated.upper).abs() < 1e-12);
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
    let apart = auroc_difference_interval(&scores, &other, &labels, &patients, Bootstrap::default()).unwrap();
    assert!((apart.value - (with(&scores).value - with(&other).value)).abs() < 1e-12);
    assert!(apart.lower > 0.0, "{apart:?}");
    assert!(
        apart.upper - apart.lower < 0.5 * (with(&scores).upper - with(&scores).lower),
        "{apart:?}"
    );
    let same = auroc_difference_interval(&scores, &scores, &labels, &patients, Bootstrap::default()).unwrap();
    assert_eq!([same.lower, same.upper], [0.0, 0.0]);
}

/// Two networks that each know which of their own cases are positive, one of which says 10 more to all.
#[test]
fn strata_need_no_common_scale() {
    let (scores, labels, patients) = cases(200);
    let strata: Vec<usize> = (0..200).map(|case| case % 2).collect();
    let offset: Vec<f64> = scores
        .iter()
        .zip(&strata)
        .map(|(score, stratum)| score + 10.0 * *stratum as f64)
        .collect();
    let within = |scores: &[f64]| {
        auroc_within_interval(scores, &labels, &patients, &strata, Bootstrap::default()).unwrap()
    };
    let plain = auroc_interval(&scores, &labels, &patients, Bootstrap::default()).unwrap();
    let mixed = auroc_interval(&offset, &labels, &patients, Bootstrap::default()).unwrap();
    assert_eq!(within(&scores), within(&offset));
    assert!(mixed.value < plain.value - 0.1 && (within(&offset).value - plain.value).abs() < 0.03);
    // by the definition, over all pairs of one stratum
    let (mut right, mut pairs) = (0.0, 0.0);
    for one in (0..200).filter(|case| labels[*case]) {
        for other in (0..200).filter(|case| !labels[*case] && strata[*case] == strata[one]) {
            right += f64::from(u8::from(scores[one] > scores[other]));
            pairs += 1.0;
        }
    }
    assert!((within(&offset).value - right / pairs).abs() < 1e-12);
    assert!(auroc_within_interval(&scores, &labels, &patients, &strata[1..], Bootstrap::default()).is_err());
}

#[test]
fn what_only_the_means_of_strata_tell_explains_nothing() {
    // two sites, ten years apart, and a network that knows the site alone
    let truth: Vec<f64> = (0..40)
        .map(|case| f64::from(case % 4) + 10.0 * f64::from(case / 20))
        .collect();
    let predicted: Vec<f64> = (0..40).map(|case| 1.5 + 10.0 * f64::from(case / 20)).collect();
    let patients: Vec<String> = (0..40).map(|case| case.to_string()).collect();
    let strata: Vec<usize> = (0..40).map(|case| case / 20).collect();
    let found = determination_within_interval(&predicted, &truth, &patients, &strata, Bootstrap::default());
    assert!(found.unwrap().value.abs() < 1e-12);
    let found = determination_interval(&predicted, &truth, &patients, Bootstrap::default());
    assert!(found.unwrap().value > 0.9);
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

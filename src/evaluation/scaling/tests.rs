//! Of [`super`].

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::calibration::expected_calibration_error;
use super::super::calibration::tests::{calibrated, sigmoid};
use super::*;

/// `count` true logits, and what came of each by chance.
fn simulated(count: usize, seed: u64) -> (Vec<f64>, Vec<bool>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let logits: Vec<f64> = (0..count).map(|_| 6.0 * random.random::<f64>() - 4.0).collect();
    let labels = logits
        .iter()
        .map(|logit| random.random::<f64>() < sigmoid(*logit))
        .collect();
    (logits, labels)
}

fn fitted(logits: &[f64], shift: f64, labels: &[bool]) -> Scaling {
    let count = logits.len();
    let views: Vec<Vec<f64>> = logits.iter().map(|logit| vec![*logit]).collect();
    fit_findings(&views, &vec![shift; count], &vec![0; count], labels, 1).unwrap()
}

fn error(labels: &[bool], probability: impl Fn(usize) -> f64) -> f64 {
    let probabilities: Vec<f64> = (0..labels.len()).map(probability).collect();
    expected_calibration_error(&probabilities, labels, 10).unwrap()
}

#[test]
fn a_slope_and_an_offset_are_undone() {
    let (logits, labels) = calibrated();
    let found = fitted(&logits, 0.0, &labels);
    assert!((found.temperature.unwrap() - 1.0).abs() < 2e-3 && found.offsets[0].abs() < 2e-3);
    let said: Vec<f64> = logits.iter().map(|logit| 2.5 * (logit + 1.2)).collect();
    let found = fitted(&said, 0.0, &labels);
    let temperature = found.temperature.unwrap();
    assert!((temperature - 2.5).abs() < 0.01, "{found:?}");
    assert!((found.offsets[0] + 1.2).abs() < 5e-3, "{found:?}");
    let after = error(&labels, |case| {
        sigmoid(said[case] / temperature + found.offsets[0])
    });
    assert!(after < 0.005, "{after}");
    // no temperature alone repairs it
    let alone = (4..200).map(|tenth| error(&labels, |case| sigmoid(said[case] * 10.0 / f64::from(tenth))));
    let alone = alone.fold(1.0, f64::min);
    assert!(alone > 0.06, "{alone}");
}

/// In a hundred samples of 400 cases the found offset is off by its sampling error and no more: the root of the mean squared distance
/// is that of the information of the cases, and the mean is that of the prior.
#[test]
fn an_offset_is_found_within_its_sampling_error() {
    let (mut sum, mut squares, mut errors) = (0.0, 0.0, [0.0; 2]);
    for seed in 0..100 {
        let (logits, labels) = simulated(400, seed);
        let said: Vec<f64> = logits.iter().map(|logit| 1.5 * (logit + 1.0)).collect();
        let found = fitted(&said, 0.0, &labels);
        let off = found.offsets[0] + 1.0;
        sum += off;
        squares += off * off;
        // on new cases
        let (logits, labels) = simulated(4000, 1000 + seed);
        let said = |case: usize| 1.5 * (logits[case] + 1.0);
        errors[0] += error(&labels, |case| sigmoid(said(case)));
        errors[1] += error(&labels, |case| {
            sigmoid(said(case) / found.temperature.unwrap() + found.offsets[0])
        });
    }
    // Python, the inverse of the information at the truth of 400 logits that spread evenly from -4 to 2, with slope and offset free
    // and 1 added to the offset's: 0.1469
    let (mean, root) = (sum / 100.0, (squares / 100.0_f64).sqrt());
    assert!(mean.abs() < 0.04 && (root - 0.147).abs() < 0.03, "{mean} {root}");
    let [before, after] = errors.map(|sum| sum / 100.0);
    assert!(before > 0.12 && after < 0.035, "{before} {after}");
}

/// A finding that counts w when it is present has the least loss at the logit plus ln w, whatever the network: here w is 19, for a
/// prevalence of about 5 %.
#[test]
fn what_cases_counted_in_training_is_taken_off() {
    let shift = 19.0_f64.ln();
    let logits: Vec<f64> = (0..4000).map(|case| -6.0 + f64::from(case % 40) / 8.0).collect();
    // of the hundred cases of each logit as many as it says
    let labels: Vec<bool> = (0..4000)
        .map(|case| f64::from(case / 40) + 0.5 < 100.0 * sigmoid(logits[case as usize]))
        .collect();
    let weighted: Vec<f64> = logits.iter().map(|logit| 1.6 * (logit + shift)).collect();
    let found = fitted(&weighted, shift, &labels);
    let temperature = found.temperature.unwrap();
    assert!((temperature - 1.6).abs() < 0.1, "{found:?}");
    assert!(found.offsets[0].abs() < 0.15, "{found:?}");
    let after = error(&labels, |case| {
        sigmoid(weighted[case] / temperature - shift + found.offsets[0])
    });
    assert!(after < 0.01, "{after}");
}

/// Ten cases of each class that a network tells apart altogether: Platt's targets are 11/12 and 1/12, and a logit of 2 / T that says
/// so has T = 2 / ln 11.
#[test]
fn few_cases_that_are_told_apart_make_no_certainty() {
    for sure in [2.0, 600.0, 1e-3 * 600.0] {
        let logits: Vec<f64> = (0..20).map(|case| if case < 10 { sure } else { -sure }).collect();
        let labels: Vec<bool> = (0..20).map(|case| case < 10).collect();
        let found = fitted(&logits, 0.0, &labels);
        let expected = sure / 11.0_f64.ln();
        match found.temperature {
            Some(temperature) => {
                assert!((temperature / expected - 1.0).abs() < 1e-5, "{found:?}");
            }
            // beyond the range
            None => assert!(expected > TEMPERATURE_RANGE.1, "{found:?}"),
        }
        assert!(found.offsets[0].abs() < 1e-6, "{found:?}");
    }
}

/// Three cases with and three without make no offset of 4, and three hundred of each do.
#[test]
fn a_handful_of_cases_makes_no_large_offset() {
    let offset = |count: usize| {
        let logits: Vec<f64> = (0..8 * count)
            .map(|case| -4.0 + if case % 4 == 0 { 0.5 } else { -0.5 })
            .collect();
        let labels: Vec<bool> = (0..8 * count).map(|case| case % 8 < 4).collect();
        fitted(&logits, 0.0, &labels)
    };
    let (few, many) = (offset(1), offset(400));
    assert!(few.offsets[0] < 3.0, "{few:?}");
    assert!(many.offsets[0] > 3.5, "{many:?}");
}

/// A network that says 1.5 too much of everybody, and few positives: after the fit its mean probability is near the share of positives.
#[test]
fn rare_findings_are_centred() {
    // (cases, centre of the true logits, so many times the share at most): the centres are those of a prevalence of 2, 1, 5 %. Python, 200
    // samples with normal logits of deviation 1.5: 1.08, 1.10, 1.03; with a prior of standard deviation 1: 1.33, 1.31, 1.12
    for (count, centre, most) in [(300, -4.8725, 1.15), (500, -5.6084, 1.16), (300, -3.8364, 1.06)] {
        let (mut random, mut ratios) = (ChaCha8Rng::seed_from_u64(5), Vec::new());
        while ratios.len() < 200 {
            let truth: Vec<f64> = (0..count)
                .map(|_| centre + 3.0 * ((0..3).map(|_| random.random::<f64>()).sum::<f64>() - 1.5))
                .collect();
            let labels: Vec<bool> = truth
                .iter()
                .map(|own| random.random::<f64>() < sigmoid(*own))
                .collect();
            let positive = labels.iter().filter(|label| **label).count();
            if positive < 2 {
                continue;
            }
            let said: Vec<f64> = truth.iter().map(|own| own + 1.5).collect();
            let found = fitted(&said, 0.0, &labels);
            let temperature = found.temperature.unwrap_or(1.0);
            let sum: f64 = said
                .iter()
                .map(|own| sigmoid(own / temperature + found.offsets[0]))
                .sum();
            ratios.push(sum / positive as f64);
        }
        let mean = ratios.iter().sum::<f64>() / 200.0;
        assert!(mean > 0.99 && mean < most, "{count} {centre}: {mean}");
    }
}

#[test]
fn where_cases_tell_no_slope_there_is_an_offset_beside_a_temperature_of_1() {
    let labels: Vec<bool> = (0..800).map(|case| case < 200).collect();
    for small in [1e-3, 0.0, -1.0] {
        let logits: Vec<f64> = labels
            .iter()
            .map(|label| if *label { small } else { -small })
            .collect();
        let found = fitted(&logits, 0.0, &labels);
        assert_eq!(found.temperature, None, "{small}");
        let mean = (0..800)
            .map(|case| sigmoid(logits[case] + found.offsets[0]))
            .sum::<f64>()
            / 800.0;
        assert!((mean - 0.25).abs() < 0.01, "{small}: {mean}");
    }
}

#[test]
fn two_classes_have_the_slope_and_offset_of_one_finding() {
    let (logits, labels) = calibrated();
    let said: Vec<f64> = logits.iter().map(|logit| 2.5 * logit + 1.0).collect();
    let rows: Vec<Vec<Vec<f64>>> = said.iter().map(|own| vec![vec![7.0, 7.0 + own]]).collect();
    let classes: Vec<usize> = labels.iter().map(|label| usize::from(*label)).collect();
    for shifts in [[0.0, 0.0], [0.2, -0.3]] {
        let found = fit_classes(&rows, &shifts, &classes).unwrap();
        let expected = fitted(&said, shifts[1] - shifts[0], &labels);
        let temperature = found.temperature.unwrap();
        assert!(
            (temperature - expected.temperature.unwrap()).abs() < 1e-6,
            "{found:?}"
        );
        assert!(
            (found.offsets[1] - found.offsets[0] - expected.offsets[0]).abs() < 1e-6,
            "{found:?}"
        );
    }
}

#[test]
fn classes_have_an_offset_each() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let wrong = [0.9, -0.6, 0.0];
    let (mut rows, mut classes) = (Vec::new(), Vec::new());
    for _ in 0..6000 {
        let truth: Vec<f64> = (0..3).map(|_| 4.0 * random.random::<f64>()).collect();
        let all: f64 = truth.iter().map(|own| own.exp()).sum();
        let mut drawn = random.random::<f64>() * all;
        let class = truth.iter().position(|own| {
            drawn -= own.exp();
            drawn < 0.0
        });
        classes.push(class.unwrap_or(2));
        rows.push(vec![
            truth
                .iter()
                .zip(wrong)
                .map(|(own, wrong)| 2.0 * (own + wrong))
                .collect(),
        ]);
    }
    let found = fit_classes(&rows, &[0.0; 3], &classes).unwrap();
    assert!((found.temperature.unwrap() - 2.0).abs() < 0.1, "{found:?}");
    for (one, other) in [(0, 1), (1, 2)] {
        let difference = found.offsets[one] - found.offsets[other];
        let expected = wrong[other] - wrong[one];
        assert!((difference - expected).abs() < 0.15, "{found:?}");
    }
    // nothing but what holds each to 0 tells what is added to all of them
    let held = |class: usize| {
        let own = classes.iter().filter(|own| **own == class).count() as f64;
        precision(own, 6000.0, 3.0) * found.offsets[class]
    };
    assert!((0..3).map(held).sum::<f64>().abs() < 1e-6, "{found:?}");
}

#[test]
fn thresholds_between_grades_have_one_slope_and_an_offset_each() {
    let (logits, labels) = calibrated();
    let count = logits.len();
    let views: Vec<Vec<f64>> = [1.0, -0.5]
        .iter()
        .flat_map(|off| logits.iter().map(move |logit| vec![1.5 * (logit + off)]))
        .collect();
    let kind: Vec<usize> = (0..2 * count).map(|case| case / count).collect();
    let found = fit_findings(&views, &vec![0.0; 2 * count], &kind, &labels.repeat(2), 2).unwrap();
    assert!((found.temperature.unwrap() - 1.5).abs() < 0.01, "{found:?}");
    assert!(
        (found.offsets[0] + 1.0).abs() < 0.01 && (found.offsets[1] - 0.5).abs() < 0.01,
        "{found:?}"
    );
}

/// Three networks whose logits are the truth and noise of their own: their mean says too little, and with a slope and an offset that each
/// applies it says what is true.
#[test]
fn several_views_are_calibrated_as_their_mean() {
    let (logits, labels) = simulated(4000, 9);
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let views: Vec<Vec<f64>> = logits
        .iter()
        .map(|logit| {
            (0..3)
                .map(|_| 0.5 * (logit + 0.8) + random.random::<f64>() - 0.5)
                .collect()
        })
        .collect();
    let found = fit_findings(&views, &vec![0.0; 4000], &vec![0; 4000], &labels, 1).unwrap();
    let mean = |slope: f64, offset: f64| {
        error(&labels, |case| {
            views[case]
                .iter()
                .map(|own| sigmoid(slope * own + offset))
                .sum::<f64>()
                / 3.0
        })
    };
    let (before, after) = (
        mean(1.0, 0.0),
        mean(1.0 / found.temperature.unwrap(), found.offsets[0]),
    );
    assert!(before > 0.1 && after < 0.02, "{before} {after} {found:?}");
    // the same view three times is one view
    let thrice: Vec<Vec<f64>> = logits.iter().map(|logit| vec![*logit + 0.7; 3]).collect();
    let once: Vec<f64> = logits.iter().map(|logit| logit + 0.7).collect();
    let found = fit_findings(&thrice, &vec![0.0; 4000], &vec![0; 4000], &labels, 1).unwrap();
    let expected = fitted(&once, 0.0, &labels);
    assert!(
        (found.offsets[0] - expected.offsets[0]).abs() < 1e-6,
        "{found:?} {expected:?}"
    );
}

#[test]
fn what_cannot_be_fitted_is_said() {
    let one = vec![vec![1.0], vec![2.0]];
    let fit = |shifts: &[f64], kind: &[usize], labels: &[bool]| fit_findings(&one, shifts, kind, labels, 1);
    assert!(fit(&[0.0; 2], &[0; 2], &[true, false]).is_ok());
    assert!(matches!(
        fit(&[0.0], &[0; 2], &[true, false]),
        Err(EvaluationError::Length { what: "shifts", .. })
    ));
    assert!(matches!(
        fit(&[0.0; 2], &[0; 2], &[true, true]),
        Err(EvaluationError::OneClass { .. })
    ));
    assert!(fit(&[0.0; 2], &[0, 1], &[true, false]).is_err());
    let odd = vec![vec![1.0], vec![f64::INFINITY]];
    assert!(fit_findings(&odd, &[0.0; 2], &[0; 2], &[true, false], 1).is_err());
    assert!(fit_classes(&[vec![vec![0.0; 2]]], &[0.0; 2], &[2]).is_err());
    assert!(fit_classes(&[], &[0.0; 2], &[]).is_err());
    // far beyond what exponentials hold
    let far = vec![vec![1e300], vec![-1e300], vec![1e300]];
    let found = fit_findings(&far, &[0.0; 3], &[0; 3], &[true, false, false], 1).unwrap();
    assert!(found.offsets[0].is_finite(), "{found:?}");
}

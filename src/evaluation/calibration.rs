//! Whether a probability means what it says: the calibration error, with its interval.

use super::EvaluationError;
use super::interval::{Bootstrap, Estimate, estimate};

/// `log(1 + exp(value))` without overflow.
fn softplus(value: f64) -> f64 {
    value.max(0.0) + (-value.abs()).exp().ln_1p()
}

/// The mean negative log-likelihood, in nats, of `labels` under the sigmoid of `logits / temperature`.
#[must_use]
pub fn negative_log_likelihood(logits: &[f64], labels: &[bool], temperature: f64) -> f64 {
    let one = |(logit, label): (&f64, &bool)| {
        let scaled = if *label {
            logit / temperature
        } else {
            -logit / temperature
        };
        softplus(-scaled)
    };
    logits.iter().zip(labels).map(one).sum::<f64>() / logits.len().max(1) as f64
}

/// The expected calibration error over `bins` bins of equal width on [0, 1]: the mean distance between the share of
/// positives and the mean probability in a bin, weighted by its cases.
pub fn expected_calibration_error(
    probabilities: &[f64],
    labels: &[bool],
    bins: usize,
) -> Result<f64, EvaluationError> {
    if labels.len() != probabilities.len() {
        return Err(EvaluationError::Length {
            scores: probabilities.len(),
            others: labels.len(),
            what: "labels",
        });
    }
    if bins == 0 || probabilities.is_empty() {
        let (what, range) = ("the number of bins or cases", "at least 1");
        return Err(EvaluationError::Setting {
            what,
            value: "0".to_owned(),
            range,
        });
    }
    if let Some(bad) = probabilities
        .iter()
        .find(|probability| !(0.0..=1.0).contains(*probability))
    {
        return Err(EvaluationError::Setting {
            what: "a probability",
            value: bad.to_string(),
            range: "from 0 to 1",
        });
    }
    let gaps = gaps(probabilities, labels, bins, |_| 1.0);
    Ok(gaps.iter().map(|gap| gap.abs()).sum())
}

/// As [`expected_calibration_error`], with a patient-level interval from 0 on that holds it.
///
/// What falls into bins by chance only adds to the error, and most where there is none: percentiles of draws would never reach 0. The lower
/// end is the error less what chance alone makes, the distances of the draws' bins from their own; by the triangle inequality the true
/// error is not below it, so that it begins at 0 where probabilities hold. The upper end is that of the basic bootstrap (Davison and
/// Hinkley 1997, section 5.2), from which that chance is taken.
pub fn calibration_error_interval(
    probabilities: &[f64],
    labels: &[bool],
    patients: &[impl AsRef<str>],
    bins: usize,
    bootstrap: Bootstrap,
) -> Result<Estimate, EvaluationError> {
    let value = expected_calibration_error(probabilities, labels, bins)?;
    let no_value = || EvaluationError::Setting {
        what: "the number of cases",
        value: "0".to_owned(),
        range: "at least 1",
    };
    let strata = vec![0; labels.len()];
    let of = |weights: &[f64]| gaps(probabilities, labels, bins, |case| weights[case]);
    let drawn = estimate(patients, &strata, bootstrap, no_value, |weights| {
        Some(of(weights).iter().map(|gap| gap.abs()).sum())
    })?;
    let own = of(&vec![1.0; labels.len()]);
    let chance = estimate(patients, &strata, bootstrap, no_value, |weights| {
        let both = of(weights).into_iter().zip(&own);
        Some(both.map(|(drawn, own)| (drawn - own).abs()).sum())
    })?;
    Ok(Estimate {
        value,
        lower: (value - chance.upper).max(0.0),
        upper: (2.0 * value - drawn.lower).max(value),
    })
}

/// For each bin the share of positives less the mean probability, times the share of cases in it, of cases that each count by their weight.
fn gaps(probabilities: &[f64], labels: &[bool], bins: usize, weight: impl Fn(usize) -> f64) -> Vec<f64> {
    let (mut gaps, mut whole) = (vec![0.0; bins], 0.0);
    for (case, (probability, label)) in probabilities.iter().zip(labels).enumerate() {
        let bin = ((probability * bins as f64) as usize).min(bins - 1);
        gaps[bin] += weight(case) * (f64::from(u8::from(*label)) - probability);
        whole += weight(case);
    }
    gaps.into_iter().map(|gap| gap / whole).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    pub(in crate::evaluation) fn sigmoid(logit: f64) -> f64 {
        1.0 / (1.0 + (-logit).exp())
    }

    /// For each true logit, as many positives in 1,000 as it says.
    pub(in crate::evaluation) fn calibrated() -> (Vec<f64>, Vec<bool>) {
        let mut cases = (Vec::new(), Vec::new());
        for logit in [-3.0, -1.0, -0.5, 0.0, 0.8, 2.0] {
            let positive = (1000.0 * sigmoid(logit)).round() as usize;
            cases.0.extend(std::iter::repeat_n(logit, 1000));
            cases.1.extend((0..1000).map(|case| case < positive));
        }
        cases
    }

    #[test]
    fn likelihood_equals_scikit_learn() {
        // scikit-learn 1.9.1: log_loss([0, 1, 1], expit([-0.5, 2.0, -1.0])) -> 0.6380888942471007
        let loss = negative_log_likelihood(&[-0.5, 2.0, -1.0], &[false, true, true], 1.0);
        assert!((loss - 0.638_088_894_247_100_7).abs() < 1e-12, "{loss}");
        assert!(negative_log_likelihood(&[800.0, -800.0], &[false, true], 1.0).is_finite());
    }

    #[test]
    fn calibration_error_is_small_where_probabilities_hold() {
        let (logits, labels) = calibrated();
        let probabilities: Vec<f64> = logits.iter().map(|logit| sigmoid(*logit)).collect();
        assert!(expected_calibration_error(&probabilities, &labels, 15).unwrap() < 1e-3);
        let certain = vec![1.0; labels.len()];
        let negative = labels.iter().filter(|label| !**label).count() as f64 / labels.len() as f64;
        assert!((expected_calibration_error(&certain, &labels, 15).unwrap() - negative).abs() < 1e-12);
        assert!(expected_calibration_error(&[1.5], &[true], 15).is_err());
    }

    /// Of 100 samples of 200 patients, with two images each: where probabilities hold the interval holds 0, and where they are too high
    /// everywhere it holds by how much, nineteen times of twenty or more.
    #[test]
    fn the_interval_holds_the_true_error() {
        let mut random = ChaCha8Rng::seed_from_u64(8);
        for off in [0.0, 0.03, 0.3] {
            let mut held = 0;
            for seed in 0..100 {
                let (mut probabilities, mut labels, mut patients) = (Vec::new(), Vec::new(), Vec::new());
                for patient in 0..200 {
                    let truth = 0.05 + 0.6 * random.random::<f64>();
                    let label = random.random::<f64>() < truth;
                    for _ in 0..2 {
                        probabilities.push(truth + off);
                        labels.push(label);
                        patients.push(patient.to_string());
                    }
                }
                let bootstrap = Bootstrap {
                    resamples: 100,
                    seed,
                    ..Bootstrap::default()
                };
                let found =
                    calibration_error_interval(&probabilities, &labels, &patients, 10, bootstrap).unwrap();
                assert!(found.lower <= found.value && found.value <= found.upper);
                assert!(off < 0.1 || found.lower > 0.1, "{found:?}");
                held += usize::from(found.lower <= off && off <= found.upper);
            }
            assert!(held >= 93, "{off}: {held}");
        }
        let none: [&str; 0] = [];
        assert!(calibration_error_interval(&[], &[], &none, 10, Bootstrap::default()).is_err());
        assert!(calibration_error_interval(&[0.5], &[true], &none, 10, Bootstrap::default()).is_err());
    }
}

//! Whether a probability means what it says: the temperature that makes it so, and the calibration error.
//!
//! A temperature divides logits (Guo 2017): above 1 it tempers an over-confident network. It never changes the order of
//! cases, so it changes no AUROC.

use super::{EvaluationError, check};

/// Temperatures outside say that the fit failed, not that the network is that far off.
pub const TEMPERATURE_RANGE: (f64, f64) = (0.05, 20.0);

/// The temperature with the least negative log-likelihood of `labels` under `logits / temperature`.
///
/// The likelihood is convex in the inverse temperature, so a golden-section search finds the minimum. Logits that
/// separate the classes perfectly end at the lower end of [`TEMPERATURE_RANGE`].
pub fn fit_temperature(logits: &[f64], labels: &[bool]) -> Result<f64, EvaluationError> {
    check(logits, labels)?;
    Ok(least(|temperature| {
        negative_log_likelihood(logits, labels, temperature)
    }))
}

/// As [`fit_temperature`], for classes that exclude each other: the temperature with the least negative log-likelihood of `classes`
/// under the softmax of `logits / temperature`. Each row of logits has one number for each class.
pub fn fit_softmax_temperature(logits: &[Vec<f64>], classes: &[usize]) -> Result<f64, EvaluationError> {
    if logits.len() != classes.len() {
        return Err(EvaluationError::Length {
            scores: logits.len(),
            others: classes.len(),
            what: "classes",
        });
    }
    let usable =
        |(row, class): (&Vec<f64>, &usize)| *class < row.len() && row.iter().all(|logit| logit.is_finite());
    if let Some(index) = logits.iter().zip(classes).position(|case| !usable(case)) {
        return Err(EvaluationError::NotANumber { index });
    }
    if logits.is_empty() {
        return Err(EvaluationError::OneClass {
            positive: 0,
            negative: 0,
        });
    }
    Ok(least(|temperature| {
        let one = |(row, class): (&Vec<f64>, &usize)| {
            let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = row
                .iter()
                .map(|logit| ((logit - highest) / temperature).exp())
                .sum();
            sum.ln() - (row[*class] - highest) / temperature
        };
        logits.iter().zip(classes).map(one).sum()
    }))
}

/// The temperature of least loss, by a golden-section search.
fn least(loss: impl Fn(f64) -> f64) -> f64 {
    // over the logarithm, so that 0.5 and 2 are equally far from 1
    let (mut low, mut high) = (TEMPERATURE_RANGE.0.ln(), TEMPERATURE_RANGE.1.ln());
    let loss = |logarithm: f64| loss(logarithm.exp());
    let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut left, mut right) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut left_loss, mut right_loss) = (loss(left), loss(right));
    while high - low > 1e-9 {
        if left_loss <= right_loss {
            (high, right, right_loss) = (right, left, left_loss);
            left = high - ratio * (high - low);
            left_loss = loss(left);
        } else {
            (low, left, left_loss) = (left, right, right_loss);
            right = low + ratio * (high - low);
            right_loss = loss(right);
        }
    }
    f64::midpoint(low, high).exp()
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
        // log(1 + exp(-scaled)) without overflow
        (-scaled).max(0.0) + (-scaled.abs()).exp().ln_1p()
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
    let mut gaps = vec![0.0; bins];
    for (probability, label) in probabilities.iter().zip(labels) {
        let bin = ((probability * bins as f64) as usize).min(bins - 1);
        gaps[bin] += f64::from(u8::from(*label)) - probability;
    }
    Ok(gaps.iter().map(|gap| gap.abs()).sum::<f64>() / probabilities.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sigmoid(logit: f64) -> f64 {
        1.0 / (1.0 + (-logit).exp())
    }

    /// For each true logit, as many positives in 1,000 as it says.
    fn calibrated() -> (Vec<f64>, Vec<bool>) {
        let mut cases = (Vec::new(), Vec::new());
        for logit in [-3.0, -1.0, -0.5, 0.0, 0.8, 2.0] {
            let positive = (1000.0 * sigmoid(logit)).round() as usize;
            cases.0.extend(std::iter::repeat_n(logit, 1000));
            cases.1.extend((0..1000).map(|case| case < positive));
        }
        cases
    }

    #[test]
    fn the_temperature_undoes_an_exaggeration() {
        let (logits, labels) = calibrated();
        assert!((fit_temperature(&logits, &labels).unwrap() - 1.0).abs() < 2e-3);
        let exaggerated: Vec<f64> = logits.iter().map(|logit| 2.5 * logit).collect();
        assert!((fit_temperature(&exaggerated, &labels).unwrap() - 2.5).abs() < 5e-3);
    }

    #[test]
    fn two_classes_have_the_temperature_of_one_finding() {
        let (logits, labels) = calibrated();
        let rows: Vec<Vec<f64>> = logits.iter().map(|logit| vec![7.0, 7.0 + 2.5 * logit]).collect();
        let classes: Vec<usize> = labels.iter().map(|label| usize::from(*label)).collect();
        let found = fit_softmax_temperature(&rows, &classes).unwrap();
        let one: Vec<f64> = logits.iter().map(|logit| 2.5 * logit).collect();
        assert!(
            (found - fit_temperature(&one, &labels).unwrap()).abs() < 1e-6,
            "{found}"
        );
        assert!(fit_softmax_temperature(&rows[..1], &[2]).is_err());
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
}

//! Whether a probability means what it says: the temperature that makes it so, and the calibration error.
//!
//! A temperature divides logits (Guo 2017): above 1 it tempers an over-confident network. It never changes the order of
//! cases, so it changes no AUROC. Where a loss counted some cases more than others, its logits are off by the logarithm of that as well,
//! which is known and taken off: `logit / temperature - shift`.
//!
//! Few cases may be told apart altogether, and the likeliest temperature is then as small as any. So a case is not taken for certain, but
//! for as likely as one more case of each kind makes it (Platt 1999).

use super::{EvaluationError, check};

/// Temperatures outside say that the fit failed, not that the network is that far off.
pub const TEMPERATURE_RANGE: (f64, f64) = (0.05, 20.0);

/// The temperature with the least negative log-likelihood of `labels` under `logits / temperature - shifts`; nothing where that is an end of
/// [`TEMPERATURE_RANGE`], so that the cases do not tell.
///
/// The likelihood is convex in the inverse temperature, so a golden-section search finds the minimum. Of n cases of a class each counts as
/// one of it with `(n + 1) / (n + 2)`.
pub fn fit_temperature(
    logits: &[f64],
    shifts: &[f64],
    labels: &[bool],
) -> Result<Option<f64>, EvaluationError> {
    let (positive, negative) = check(logits, labels)?;
    if shifts.len() != logits.len() {
        return Err(EvaluationError::Length {
            scores: logits.len(),
            others: shifts.len(),
            what: "shifts",
        });
    }
    let present = (positive as f64 + 1.0) / (positive as f64 + 2.0);
    let absent = 1.0 / (negative as f64 + 2.0);
    Ok(least(|temperature| {
        let one = |((logit, shift), label): ((&f64, &f64), &bool)| {
            let scaled = logit / temperature - shift;
            softplus(scaled) - scaled * if *label { present } else { absent }
        };
        logits.iter().zip(shifts).zip(labels).map(one).sum()
    }))
}

/// As [`fit_temperature`], for classes that exclude each other: the temperature with the least negative log-likelihood of `classes`
/// under the softmax of `logits / temperature - shifts`. Each row of logits has one number for each class, as `shifts` has. Of n cases of
/// one of k classes each counts as one of it with `(n + 1) / (n + k)`.
pub fn fit_softmax_temperature(
    logits: &[Vec<f64>],
    shifts: &[f64],
    classes: &[usize],
) -> Result<Option<f64>, EvaluationError> {
    if logits.len() != classes.len() {
        return Err(EvaluationError::Length {
            scores: logits.len(),
            others: classes.len(),
            what: "classes",
        });
    }
    let width = shifts.len();
    let usable = |(row, class): (&Vec<f64>, &usize)| {
        *class < width && row.len() == width && row.iter().all(|logit| logit.is_finite())
    };
    if let Some(index) = logits.iter().zip(classes).position(|case| !usable(case)) {
        return Err(EvaluationError::NotANumber { index });
    }
    if logits.is_empty() {
        return Err(EvaluationError::OneClass {
            positive: 0,
            negative: 0,
        });
    }
    let mut counts = vec![0.0; width];
    for class in classes {
        counts[*class] += 1.0;
    }
    Ok(least(|temperature| {
        let one = |(row, class): (&Vec<f64>, &usize)| {
            let scaled: Vec<f64> = row
                .iter()
                .zip(shifts)
                .map(|(logit, shift)| logit / temperature - shift)
                .collect();
            let highest = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scaled.iter().map(|own| (own - highest).exp()).sum();
            let other = 1.0 / (counts[*class] + width as f64);
            // the class itself has n of n + k more than another
            let wanted = other * (scaled.iter().sum::<f64>() + counts[*class] * scaled[*class]);
            sum.ln() + highest - wanted
        };
        logits.iter().zip(classes).map(one).sum()
    }))
}

/// The temperature of least loss, by a golden-section search; nothing where it is at an end of the range.
fn least(loss: impl Fn(f64) -> f64) -> Option<f64> {
    // over the logarithm, so that 0.5 and 2 are equally far from 1
    let ends = [TEMPERATURE_RANGE.0.ln(), TEMPERATURE_RANGE.1.ln()];
    let [mut low, mut high] = ends;
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
    let found = f64::midpoint(low, high);
    let inside = ends.iter().all(|end| (found - end).abs() > 1e-6);
    inside.then(|| found.exp())
}

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

    fn fitted(logits: &[f64], labels: &[bool]) -> Option<f64> {
        fit_temperature(logits, &vec![0.0; logits.len()], labels).unwrap()
    }

    #[test]
    fn the_temperature_undoes_an_exaggeration() {
        let (logits, labels) = calibrated();
        assert!((fitted(&logits, &labels).unwrap() - 1.0).abs() < 2e-3);
        let exaggerated: Vec<f64> = logits.iter().map(|logit| 2.5 * logit).collect();
        assert!((fitted(&exaggerated, &labels).unwrap() - 2.5).abs() < 5e-3);
        assert!(fit_temperature(&logits, &[0.0], &labels).is_err());
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
        let error = |temperature: f64, shift: f64| {
            let probabilities: Vec<f64> = weighted
                .iter()
                .map(|logit| sigmoid(logit / temperature - shift))
                .collect();
            expected_calibration_error(&probabilities, &labels, 10).unwrap()
        };
        let found = fit_temperature(&weighted, &vec![shift; 4000], &labels)
            .unwrap()
            .unwrap();
        assert!((found - 1.6).abs() < 0.05, "{found}");
        assert!(error(found, shift) < 0.01, "{}", error(found, shift));
        // no temperature alone repairs it
        let alone = fitted(&weighted, &labels).unwrap_or(1.0);
        assert!(error(alone, 0.0) > 0.2, "{}", error(alone, 0.0));
    }

    /// Ten cases of each class that a network tells apart altogether: Platt's targets are 11/12 and 1/12, and a logit of 2 / T that says
    /// so has T = 2 / ln 11.
    #[test]
    fn few_cases_that_are_told_apart_make_no_certainty() {
        let logits: Vec<f64> = (0..20).map(|case| if case < 10 { 2.0 } else { -2.0 }).collect();
        let labels: Vec<bool> = (0..20).map(|case| case < 10).collect();
        let found = fitted(&logits, &labels).unwrap();
        assert!((found - 2.0 / 11.0_f64.ln()).abs() < 1e-6, "{found}");
    }

    #[test]
    fn an_end_of_the_range_is_no_temperature() {
        let labels: Vec<bool> = (0..20).map(|case| case < 10).collect();
        for small in [1e-3, 0.0, -1.0] {
            let logits: Vec<f64> = labels
                .iter()
                .map(|label| if *label { small } else { -small })
                .collect();
            assert_eq!(fitted(&logits, &labels), None, "{small}");
        }
    }

    #[test]
    fn two_classes_have_the_temperature_of_one_finding() {
        let (logits, labels) = calibrated();
        let rows: Vec<Vec<f64>> = logits.iter().map(|logit| vec![7.0, 7.0 + 2.5 * logit]).collect();
        let classes: Vec<usize> = labels.iter().map(|label| usize::from(*label)).collect();
        let one: Vec<f64> = logits.iter().map(|logit| 2.5 * logit).collect();
        for shifts in [[0.0, 0.0], [0.2, -0.3]] {
            let found = fit_softmax_temperature(&rows, &shifts, &classes)
                .unwrap()
                .unwrap();
            let own = vec![shifts[1] - shifts[0]; one.len()];
            let expected = fit_temperature(&one, &own, &labels).unwrap().unwrap();
            assert!((found - expected).abs() < 1e-6, "{found}");
        }
        assert!(fit_softmax_temperature(&rows[..1], &[0.0; 2], &[2]).is_err());
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

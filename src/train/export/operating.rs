//! The threshold of a finding, chosen on what the networks together say of their held-out patients, and what it does there.
//!
//! A description names the share of the diseased that is to be found. Of n held-out ones the threshold is at the score of that number from
//! below which a new one is expected to reach with that share (split conformal prediction): the share of the held-out ones themselves
//! would be missed by new patients more often than not.

use std::collections::BTreeSet;

use super::together::Said;
use crate::evaluation::roc::{ReachedThreshold, point_at, threshold_reaching};
use crate::finding::label::OperatingPoint;
use crate::train::assess::held_out::{Figures, HeldOutFinding, of_patients};

/// Digits of a threshold that count: more are more than the choice is worth, and four round trip through any JSON.
const DIGITS: i32 = 4;

/// What was chosen for one finding.
pub(super) struct Chosen {
    pub(super) threshold: f32,
    /// Nothing where no image was held out by all networks.
    pub(super) point: Option<OperatingPoint>,
    pub(super) said: HeldOutFinding,
    /// What people have to know of it.
    pub(super) warnings: Vec<String>,
}

/// Chooses the threshold of `name`, of which the networks `said` so, that is to find the share `wanted` of the diseased.
///
/// # Errors
/// A sentence that names the label.
pub(super) fn choose(name: &str, wanted: f64, said: &Said) -> Result<Chosen, String> {
    let failed = |error: &dyn std::fmt::Display| format!("label {name}: {error}");
    let Said {
        probabilities,
        truth,
        patients,
        by_all,
    } = said;
    let reached = threshold_reaching(probabilities, truth, wanted).map_err(|error| failed(&error))?;
    let threshold = written(reached.threshold).ok_or_else(|| {
        failed(&"the threshold would be 0, and every image would have the finding: ask for less sensitivity")
    })?;
    let mut warnings = Vec::new();
    warnings.extend(too_few(name, wanted, &reached));
    let point = point_at(probabilities, truth, f64::from(threshold)).map_err(|error| failed(&error))?;
    let of_class = |present: bool| -> usize {
        let own = patients.iter().zip(truth).filter(|(_, truth)| **truth == present);
        own.map(|(patient, _)| patient).collect::<BTreeSet<_>>().len()
    };
    let figures = by_all.then(|| Figures {
        sensitivity: of_patients(point.sensitivity, of_class(true)),
        specificity: of_patients(point.specificity, of_class(false)),
    });
    if !by_all {
        warnings.push(format!(
            "label {name}: no image with it, or none without it, was held out by all networks. Its threshold is chosen on the means of fewer networks than are served, which spread otherwise, and has no operating point: take sensitivity and specificity from a test set"
        ));
    }
    Ok(Chosen {
        threshold,
        point: by_all.then_some(OperatingPoint {
            sensitivity: point.sensitivity,
            specificity: point.specificity,
        }),
        said: HeldOutFinding {
            label: name.to_owned(),
            images: truth.len(),
            positive: reached.positive,
            wanted,
            threshold,
            figures,
        },
        warnings,
    })
}

/// Why the held-out images promise less than what is wanted.
fn too_few(name: &str, wanted: f64, reached: &ReachedThreshold) -> Option<String> {
    let ReachedThreshold {
        positive, expected, ..
    } = *reached;
    if expected >= wanted - 1e-9 {
        return None;
    }
    let needed = if wanted < 1.0 {
        // the least n of which rank ceil(wanted (n + 1)) is one
        format!("{:.0} are needed", (wanted / (1.0 - wanted) - 1e-9).ceil())
    } else {
        "no number of them promises all".to_owned()
    };
    Some(format!(
        "label {name}: {positive} held-out images with it are too few to find {wanted} of the diseased: its threshold is at the lowest of them, which new ones reach with {expected:.3}; {needed}"
    ))
}

/// The threshold as the manifest says it, no larger than `score`; nothing where that is no number above 0.
fn written(score: f64) -> Option<f32> {
    if score.is_nan() || score < f64::from(f32::MIN_POSITIVE) {
        return None;
    }
    let unit = 10.0_f64.powi(DIGITS - 1 - score.log10().floor() as i32);
    let mut whole = (score * unit).floor();
    // in 32 bits the number may have become a little larger
    while f64::from((whole / unit) as f32) > score {
        whole -= 1.0;
    }
    let threshold = (whole / unit) as f32;
    (threshold > 0.0).then_some(threshold)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::interval::wilson;

    /// `positive` images with the finding and a thousand without, at evenly spread probabilities below `highest`; each of a patient.
    fn said(positive: usize, highest: f64) -> Said {
        let count = positive + 1000;
        let spread = |place: usize, count: usize| highest * (place as f64 + 0.7) / count as f64;
        Said {
            probabilities: (0..positive)
                .map(|place| spread(place, positive))
                .chain((0..1000).map(|place| 0.5 * spread(place, 1000)))
                .collect(),
            truth: (0..count).map(|place| place < positive).collect(),
            patients: (0..count).map(|place| place.to_string()).collect(),
            by_all: true,
        }
    }

    #[test]
    fn a_threshold_has_four_digits_that_count_and_is_never_above_its_score() {
        for (score, expected) in [
            (0.123_456, 0.1234),
            (0.000_031_239, 0.000_031_23),
            (1.0, 1.0),
            (0.5, 0.5),
        ] {
            let found = written(score).unwrap();
            assert!((f64::from(found) - expected).abs() < 1e-7 * expected, "{found}");
            assert!(f64::from(found) <= score);
        }
        // 0.7 in 32 bits is below 0.7 in 64, and 0.9 above
        for tenth in 1..10 {
            let score = f64::from(tenth) / 10.0;
            assert!(f64::from(written(score).unwrap()) <= score, "{score}");
        }
        for none in [0.0, -0.1, f64::NAN, 1e-320] {
            assert_eq!(written(none), None);
        }
    }

    /// At a prevalence of one in a thousand and more, where all probabilities are below 1e-4.
    #[test]
    fn rare_findings_keep_a_threshold_above_0() {
        let chosen = choose("fracture", 0.9, &said(40, 9e-5)).unwrap();
        let point = chosen.point.unwrap();
        assert!(chosen.threshold > 0.0 && chosen.threshold < 1e-4);
        assert!(point.sensitivity >= 0.9 && point.specificity > 0.05, "{point:?}");
        let refused = choose("fracture", 0.9, &said(40, 0.0)).err().unwrap();
        assert!(
            refused.contains("label fracture: the threshold would be 0"),
            "{refused}"
        );
    }

    /// Of 20 positives the 19th from above is reached by a new one with 19/21, the 18th with 18/21 = 0.857; of 8 the last with 8/9.
    #[test]
    fn what_is_wanted_is_expected_of_new_patients() {
        let chosen = choose("fracture", 0.9, &said(20, 1.0)).unwrap();
        assert!((chosen.point.unwrap().sensitivity - 0.95).abs() < 1e-12);
        assert!(chosen.warnings.is_empty(), "{:?}", chosen.warnings);
        let few = choose("fracture", 0.9, &said(8, 1.0)).unwrap();
        assert!((few.point.unwrap().sensitivity - 1.0).abs() < 1e-12);
        let warning = &few.warnings[0];
        assert!(
            warning.contains("8 held-out images") && warning.contains("0.889; 9 are needed"),
            "{warning}"
        );
        let enough = choose("fracture", 0.9, &said(9, 1.0)).unwrap();
        assert!(enough.warnings.is_empty(), "{:?}", enough.warnings);
        let all = choose("fracture", 1.0, &said(20, 1.0)).unwrap();
        assert!(all.warnings[0].contains("no number of them"));
        let sensitivity = chosen.said.figures.unwrap().sensitivity;
        let [lower, upper] = wilson(0.95, 20);
        assert!((sensitivity.lower - lower).abs() < 1e-12 && (sensitivity.upper - upper).abs() < 1e-12);
    }

    #[test]
    fn what_not_all_networks_held_out_has_no_operating_point() {
        let some = Said {
            by_all: false,
            ..said(20, 1.0)
        };
        let chosen = choose("fracture", 0.9, &some).unwrap();
        assert!(chosen.point.is_none() && chosen.said.figures.is_none());
        assert!(chosen.warnings[0].contains("has no operating point"));
    }
}

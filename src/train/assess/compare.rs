//! Whether one training is better than another, on the images that both held out.
//!
//! Both are asked about the same images, so what both find hard cancels out: the difference has a patient-level bootstrap interval, and, of
//! areas, DeLong's test by patients.

use std::collections::HashMap;

use super::folds::aligned;
use crate::evaluation::delong::{PairedTest, paired};
use crate::evaluation::interval::{
    Bootstrap, Estimate, auroc_difference_interval, auroc_interval, determination_difference_interval,
    determination_interval,
};
use crate::train::data::Samples;
use crate::train::learn::Heads;
use crate::train::learn::measure::{Scored, Truth, scored};
use crate::train::run::Record;

/// Both trainings on one label.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// The label; of a grade, with all above it.
    pub label: String,
    /// `AUROC` or `R2`.
    pub measure: &'static str,
    /// Images of which both and the truth are known.
    pub images: usize,
    /// The first training's measure.
    pub first: Estimate,
    /// The second's.
    pub second: Estimate,
    /// The second minus the first, on the same draws of patients.
    pub difference: Estimate,
    /// DeLong's test of the second area minus the first; nothing for numbers, and where one patient alone has the finding or has not.
    pub test: Option<PairedTest>,
}

/// Compares two finished trainings of the same `heads`.
///
/// # Errors
/// A sentence: why the two cannot be compared.
pub fn compare(heads: &Heads, first: &Record, second: &Record) -> Result<Vec<Compared>, String> {
    let (one, other) = (&first.data, &second.data);
    if one.labels_sha256 != other.labels_sha256
        || one.unreadable_images != other.unreadable_images
        // places of images are counted among those that were taken
        || one.unlabelled_images != other.unlabelled_images
    {
        return Err("they saw other sets of images: train both on the same table".to_owned());
    }
    let (first, second) = (&first.validation, &second.validation);
    let places: HashMap<usize, usize> = (second.places.iter().copied()).zip(0..).collect();
    let both: Vec<(usize, usize)> = (first.places.iter().enumerate())
        .filter_map(|(case, place)| Some((case, *places.get(place)?)))
        .collect();
    if both.is_empty() {
        return Err("they held out no image in common: give both the same seed and --validation, or the table a column split".to_owned());
    }
    let known = |value: &Option<f32>| value.unwrap_or(f32::NAN);
    let samples = Samples {
        labels: both
            .iter()
            .map(|(case, _)| first.labels[*case].iter().map(known).collect())
            .collect(),
        patients: both
            .iter()
            .map(|(case, _)| first.patients[*case].clone())
            .collect(),
        images: Vec::new(),
        body_parts: Vec::new(),
    };
    let of_first: Vec<Vec<f64>> = both.iter().map(|(case, _)| first.logits[*case].clone()).collect();
    let of_second: Vec<Vec<f64>> = both
        .iter()
        .map(|(_, case)| second.logits[*case].clone())
        .collect();
    let pairs = scored(heads, &of_first, &samples)
        .into_iter()
        .zip(scored(heads, &of_second, &samples));
    let compared = heads.labels().zip(pairs);
    Ok(compared
        .filter_map(|(label, (first, second))| one_label(label, &first?, &second?))
        .collect())
}

fn one_label(label: &str, first: &Scored<'_>, second: &Scored<'_>) -> Option<Compared> {
    let (bootstrap, patients) = (Bootstrap::default(), &first.patients);
    let (one, other) = (&first.said, &second.said);
    let (measure, estimates, test) = match &first.truth {
        Truth::Is(truth) => (
            "AUROC",
            [
                auroc_interval(one, truth, patients, bootstrap),
                auroc_interval(other, truth, patients, bootstrap),
                auroc_difference_interval(other, one, truth, patients, bootstrap),
            ],
            paired(other, one, truth, patients).ok(),
        ),
        Truth::Number(truth) => (
            "R2",
            [
                determination_interval(one, truth, patients, bootstrap),
                determination_interval(other, truth, patients, bootstrap),
                determination_difference_interval(other, one, truth, patients, bootstrap),
            ],
            None,
        ),
    };
    let [first, second, difference] = estimates.map(Result::ok);
    Some(Compared {
        label: label.to_owned(),
        measure,
        images: one.len(),
        first: first?,
        second: second?,
        difference: difference?,
        test,
    })
}

/// The comparison as a table for people.
#[must_use]
pub fn table(compared: &[Compared]) -> String {
    let header = [
        "",
        "",
        "images",
        "first",
        "second",
        "second minus first",
        "DeLong z",
        "p",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for own in compared {
        let plain =
            |Estimate { value, lower, upper }: Estimate| format!("{value:.3} [{lower:.3}, {upper:.3}]");
        let signed =
            |Estimate { value, lower, upper }: Estimate| format!("{value:+.3} [{lower:+.3}, {upper:+.3}]");
        let (z, p) = own.test.map_or(("-".to_owned(), "-".to_owned()), |test| {
            (format!("{:+.2}", test.z), format!("{:.4}", test.p))
        });
        rows.push(vec![
            own.label.clone(),
            own.measure.to_owned(),
            own.images.to_string(),
            plain(own.first),
            plain(own.second),
            signed(own.difference),
            z,
            p,
        ]);
    }
    aligned(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::run::{DataRecord, Validation};

    /// Forty images, each of a patient of its own, from place `first` on; the logits of every second finding are turned by `noise`.
    fn record(first: usize, noise: f64) -> Record {
        let cases: Vec<usize> = (first..first + 40).collect();
        let logit = |case: &usize| {
            let truth = 1.0 - 2.0 * (case % 2) as f64;
            truth + noise * ((case * 37 % 17) as f64 - 8.0)
        };
        Record {
            history: Vec::new(),
            best_epoch: 0,
            devices: None,
            data: DataRecord {
                labels_sha256: "one".to_owned(),
                training_images: 0,
                validation_images: 40,
                unreadable_images: 0,
                unlabelled_images: Some(0),
                positive_weights: None,
            },
            validation: Validation {
                labels: cases
                    .iter()
                    .map(|case| vec![Some((1 - case % 2) as f32)])
                    .collect(),
                logits: cases.iter().map(|case| vec![logit(case)]).collect(),
                patients: cases.iter().map(|case| format!("p{case}")).collect(),
                places: cases,
                mirrored: None,
            },
        }
    }

    fn heads() -> Heads {
        Heads::new(&[], &["fracture".to_owned()])
    }

    #[test]
    fn images_that_both_held_out_are_compared() {
        let (good, poor) = (record(0, 0.01), record(10, 0.4));
        let found = compare(&heads(), &poor, &good).unwrap();
        let own = &found[0];
        assert_eq!((own.label.as_str(), own.images), ("fracture", 30));
        assert!(
            (own.second.value - 1.0).abs() < 1e-12 && own.first.value < 0.8,
            "{own:?}"
        );
        assert!((own.difference.value - (own.second.value - own.first.value)).abs() < 1e-12);
        let test = own.test.unwrap();
        assert!(
            own.difference.lower > 0.0 && test.z > 2.0 && test.p < 0.05,
            "{own:?}"
        );
        // the other way round
        let turned = &compare(&heads(), &good, &poor).unwrap()[0];
        assert!((turned.difference.value + own.difference.value).abs() < 1e-12);
        assert!((turned.test.unwrap().z + test.z).abs() < 1e-12);
        let words = table(&found);
        assert!(words.contains("fracture  AUROC  30"), "{words}");
    }

    #[test]
    fn what_cannot_be_compared_says_why() {
        let mut other = record(0, 0.1);
        other.data.labels_sha256 = "another".to_owned();
        let said = |second: &Record| compare(&heads(), &record(0, 0.1), second).unwrap_err();
        assert!(said(&other).contains("other sets of images"));
        assert!(said(&record(40, 0.1)).contains("no image in common"));
        // one class alone has no area
        let mut healthy = record(0, 0.1);
        healthy
            .validation
            .labels
            .iter_mut()
            .for_each(|row| row[0] = Some(0.0));
        assert_eq!(compare(&heads(), &healthy, &healthy).unwrap(), []);
    }
}

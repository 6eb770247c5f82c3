//! Cross-validation: who is held out in which fold, and what all folds come to.
//!
//! Folds are of whole groups (a patient's images and those of one picture, as the index has them), or of whole sites. Each image is in the test set of exactly one fold.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::evaluation::interval::{Bootstrap, Estimate};
use crate::train::data::{Fractions, Samples, Split, SplitError};
use crate::train::learn::Heads;
use crate::train::learn::measure::{measure, measure_within};

/// The images of one fold's test set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Its number from 1, or the site.
    pub name: String,
    /// Places of its images, ascending.
    pub test: Vec<usize>,
}

/// As many folds of groups as `count` says, at least 2, alike in size and in their labels; `groups` has one for each image.
pub fn by_group(
    samples: &Samples,
    groups: &[String],
    count: usize,
    seed: u64,
) -> Result<Vec<Fold>, SplitError> {
    let mut rest: Vec<usize> = (0..samples.len()).collect();
    let mut folds = Vec::new();
    for fold in 0..count {
        let mut test = rest.clone();
        if fold + 1 < count {
            let own = samples.select(&rest);
            let groups: Vec<String> = rest.iter().map(|place| groups[*place].clone()).collect();
            let share = 1.0 / (count - fold) as f64;
            let fractions = Fractions {
                train: 1.0 - share,
                validation: 0.0,
                test: share,
            };
            let split = Split::new(&groups, &own.labels, fractions, seed.wrapping_add(fold as u64))?;
            test = split.test.iter().map(|place| rest[*place]).collect();
            rest = split.train.iter().map(|place| rest[*place]).collect();
        }
        folds.push(Fold {
            name: (fold + 1).to_string(),
            test,
        });
    }
    Ok(folds)
}

/// One fold for each site; `sites` has one for each image.
///
/// # Errors
/// A sentence where there is one site only, or a group was at two, which no fold could hold out.
pub fn by_site(groups: &[String], sites: &[String]) -> Result<Vec<Fold>, String> {
    let mut folds: BTreeMap<&String, Vec<usize>> = BTreeMap::new();
    let mut home: BTreeMap<&String, &String> = BTreeMap::new();
    for (place, (site, group)) in sites.iter().zip(groups).enumerate() {
        folds.entry(site).or_default().push(place);
        if **home.entry(group).or_insert(site) != *site {
            return Err(
                "a patient, or one picture, has images from two sites, so no fold can hold out one of them: give such images one site"
                    .to_owned(),
            );
        }
    }
    if folds.len() < 2 {
        return Err("there is only one site; at least two are needed".to_owned());
    }
    let fold = |(site, test): (&String, Vec<usize>)| Fold {
        name: site.clone(),
        test,
    };
    Ok(folds.into_iter().map(fold).collect())
}

/// The places that are in no test set of `fold`.
#[must_use]
pub fn others(fold: &Fold, images: usize) -> Vec<usize> {
    let test: BTreeSet<usize> = fold.test.iter().copied().collect();
    (0..images).filter(|place| !test.contains(place)).collect()
}

/// What a network said of a fold's test set.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The fold.
    pub fold: Fold,
    /// For each image of it the calibrated logits of all heads; or why there are none.
    pub logits: Result<Vec<Vec<f64>>, String>,
}

/// How good the networks of all folds are on those that they never saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The labels of all heads.
    pub labels: Vec<String>,
    /// Each fold by itself.
    pub folds: Vec<FoldMeasures>,
    /// For each label the mean over the folds, and the standard deviation between them; none where fewer than two have a value.
    pub mean: Vec<Option<[f64; 2]>>,
    /// For each label the measure of all answers, each by the network that did not see the patient. Answers of one fold alone are compared
    /// with each other: those of several networks have no common scale.
    pub pooled: Vec<Option<Estimate>>,
}

/// One line of a summary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoldMeasures {
    /// Of the fold.
    pub name: String,
    /// Images of its test set.
    pub images: usize,
    /// For each label its measure with a patient-level interval; none where it has no value.
    pub measures: Vec<Option<Estimate>>,
    /// Why it has none at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Sums up the answers of all folds.
#[must_use]
pub fn summary(heads: &Heads, samples: &Samples, answered: &[Answered], bootstrap: Bootstrap) -> Summary {
    let folds: Vec<FoldMeasures> = answered
        .iter()
        .map(|answered| {
            let own = samples.select(&answered.fold.test);
            let (measures, problem) = match &answered.logits {
                Ok(logits) => (measure(heads, logits, &own, bootstrap).of_labels, None),
                Err(reason) => (vec![None; heads.labels().count()], Some(reason.clone())),
            };
            FoldMeasures {
                name: answered.fold.name.clone(),
                images: own.len(),
                measures,
                problem,
            }
        })
        .collect();
    let labels: Vec<String> = heads.labels().cloned().collect();
    let mean = (0..labels.len())
        .map(|label| {
            let values: Vec<f64> = folds
                .iter()
                .filter_map(|fold| Some(fold.measures[label]?.value))
                .collect();
            let count = values.len() as f64;
            let mean = values.iter().sum::<f64>() / count;
            let spread = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
            (values.len() > 1).then(|| [mean, spread.sqrt()])
        })
        .collect();
    let (mut places, mut logits, mut strata) = (Vec::new(), Vec::new(), Vec::new());
    for (number, Answered { fold, logits: own }) in answered.iter().enumerate() {
        if let Ok(own) = own {
            places.extend_from_slice(&fold.test);
            strata.resize(places.len(), number);
            logits.extend_from_slice(own);
        }
    }
    Summary {
        pooled: measure_within(heads, &logits, &samples.select(&places), &strata, bootstrap).of_labels,
        labels,
        folds,
        mean,
    }
}

impl Summary {
    /// Why folds have no figures, a line for each.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let of = |fold: &FoldMeasures| Some(format!("fold {}: {}\n", fold.name, fold.problem.as_ref()?));
        self.folds.iter().filter_map(of).collect()
    }

    /// As a table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let cell = |estimate: &Option<Estimate>| match estimate {
            Some(Estimate { value, lower, upper }) => format!("{value:.3} [{lower:.3}, {upper:.3}]"),
            None => "-".to_owned(),
        };
        let mut rows = vec![[vec!["fold".to_owned(), "images".to_owned()], self.labels.clone()].concat()];
        for fold in &self.folds {
            let mut row = vec![fold.name.clone(), fold.images.to_string()];
            row.extend(fold.measures.iter().map(cell));
            rows.push(row);
        }
        let answered = self.folds.iter().filter(|fold| fold.problem.is_none());
        let images: usize = answered.map(|fold| fold.images).sum();
        let mut row = vec!["mean, deviation".to_owned(), String::new()];
        row.extend(
            self.mean
                .iter()
                .map(|mean| mean.map_or("-".to_owned(), |[mean, spread]| format!("{mean:.3}, {spread:.3}"))),
        );
        rows.push(row);
        let mut row = vec!["within folds".to_owned(), images.to_string()];
        row.extend(self.pooled.iter().map(cell));
        rows.push(row);
        aligned(&rows) + &self.problems().concat()
    }
}

/// Columns of equal width, two spaces between them.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let lengths = rows
            .iter()
            .filter_map(|row| Some(row.get(column)?.chars().count()));
        lengths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Plane;

    /// 90 images of 30 patients at three sites, a third with the finding.
    fn samples() -> (Samples, Vec<String>) {
        let mut samples = Samples::default();
        let mut sites = Vec::new();
        for image in 0..90 {
            let patient = image % 30;
            let plane = Plane {
                rows: 1,
                columns: 1,
                values: vec![0],
            };
            samples.push(
                plane,
                vec![f32::from(u8::from(patient % 3 == 0))],
                format!("p{patient}"),
            );
            sites.push(format!("site {}", patient / 10));
        }
        (samples, sites)
    }

    #[test]
    fn every_image_is_tested_once_and_no_patient_is_on_both_sides() {
        let (samples, sites) = samples();
        for folds in [
            by_group(&samples, &samples.patients, 5, 1).unwrap(),
            by_site(&samples.patients, &sites).unwrap(),
        ] {
            let mut seen: Vec<usize> = folds.iter().flat_map(|fold| fold.test.clone()).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..90).collect::<Vec<_>>());
            for fold in &folds {
                let patients = |places: &[usize]| -> BTreeSet<String> {
                    places
                        .iter()
                        .map(|place| samples.patients[*place].clone())
                        .collect()
                };
                assert!(patients(&fold.test).is_disjoint(&patients(&others(fold, 90))));
            }
        }
        let folds = by_group(&samples, &samples.patients, 5, 1).unwrap();
        assert!(
            folds.iter().all(|fold| fold.test.len().abs_diff(18) <= 3),
            "alike in size"
        );
        let mut apart = sites.clone();
        apart[0] = "site 2".to_owned();
        assert!(
            by_site(&samples.patients, &apart)
                .unwrap_err()
                .contains("two sites")
        );
        assert!(
            by_site(&samples.patients, &vec!["one".to_owned(); 90])
                .unwrap_err()
                .contains("only one site")
        );
    }

    #[test]
    fn one_picture_of_two_patients_is_in_one_fold() {
        let (samples, sites) = samples();
        let mut groups = samples.patients.clone();
        for group in &mut groups {
            // every patient's images with those of the next
            let number: usize = group[1..].parse().unwrap();
            *group = format!("g{}", number / 2);
        }
        for fold in by_group(&samples, &groups, 5, 1).unwrap() {
            let of = |places: &[usize]| -> BTreeSet<String> {
                places.iter().map(|place| groups[*place].clone()).collect()
            };
            assert!(of(&fold.test).is_disjoint(&of(&others(&fold, 90))));
        }
        groups[0] = "g14".to_owned();
        assert!(by_site(&groups, &sites).unwrap_err().contains("two sites"));
    }

    #[test]
    fn the_summary_has_each_fold_their_mean_and_all_together() {
        let (samples, _) = samples();
        let folds = by_group(&samples, &samples.patients, 3, 1).unwrap();
        let heads = Heads::new(&[], &["finding".to_owned()]);
        let answer = |fold: &Fold, right: f64| Answered {
            fold: fold.clone(),
            logits: Ok(fold
                .test
                .iter()
                .map(|place| vec![right * f64::from(samples.labels[*place][0])])
                .collect()),
        };
        // two folds are always right, one always wrong
        let answered = [
            answer(&folds[0], 1.0),
            answer(&folds[1], 1.0),
            answer(&folds[2], -1.0),
        ];
        let summary = summary(&heads, &samples, &answered, Bootstrap::default());
        let values: Vec<f64> = summary
            .folds
            .iter()
            .map(|fold| fold.measures[0].unwrap().value)
            .collect();
        assert_eq!(values, [1.0, 1.0, 0.0]);
        let [mean, spread] = summary.mean[0].unwrap();
        assert!((mean - 2.0 / 3.0).abs() < 1e-12 && (spread - (1.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        // all pairs of the first two folds are in order, and none of the third
        let pairs = |fold: &Fold| {
            let with = fold
                .test
                .iter()
                .filter(|place| samples.labels[**place][0] > 0.5)
                .count();
            (with * (fold.test.len() - with)) as f64
        };
        let [first, second, third] = [0, 1, 2].map(|fold| pairs(&folds[fold]));
        let expected = (first + second) / (first + second + third);
        assert!((summary.pooled[0].unwrap().value - expected).abs() < 1e-12);
        let table = summary.table();
        assert!(
            table.contains("within folds") && table.contains("0.667, 0.577"),
            "{table}"
        );

        // a network whose answers are all larger than the others' is as good as before
        let mut louder = answered.to_vec();
        for row in louder[0].logits.as_mut().unwrap() {
            row[0] += 10.0;
        }
        let pooled = super::summary(&heads, &samples, &louder, Bootstrap::default()).pooled;
        assert_eq!(pooled, summary.pooled);

        // one without answers leaves the others their figures
        let [first, second, third] = answered;
        let lost = Answered {
            logits: Err("the loss is NaN".to_owned()),
            ..second
        };
        let summary = super::summary(&heads, &samples, &[first, lost, third], Bootstrap::default());
        let mean = summary.mean[0].unwrap();
        assert!((mean[0] - 0.5).abs() < 1e-12, "{mean:?}");
        assert_eq!(summary.folds[1].measures, [None]);
        assert!(
            summary.table().ends_with("\nfold 2: the loss is NaN\n"),
            "{}",
            summary.table()
        );
    }
}

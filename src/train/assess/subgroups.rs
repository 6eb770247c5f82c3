//! Whether a network is as good for some as for others: figures of the patients, places and devices that a table tells apart.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::evaluation::interval::{Bootstrap, Estimate, auroc_interval, share_interval};

/// Columns by whose values the images of a test set are told apart, in the order of the card; a table has some of them.
pub const COLUMNS: [&str; 7] = ["sex", "female", "age", "site", "scanner", "view", "polarity"];
/// The column of years, which are taken together.
const AGE: &str = "age";
/// The first year of each band of ages but the first.
const BANDS: [u16; 4] = [18, 40, 60, 80];
/// Groups of fewer images are taken together: figures of a few tell of these few.
const LEAST: usize = 10;
/// What they are called together.
const SMALL: &str = "smaller groups";

/// The figures of one group for one finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subgroup {
    /// The column that tells it apart.
    pub column: String,
    /// Its value there.
    pub group: String,
    /// Images for which the finding is known.
    pub images: usize,
    /// Patients of these.
    pub patients: usize,
    /// Images that have the finding.
    pub positive: usize,
    /// Area under the receiver operating characteristic; nothing where all or none have the finding.
    pub auroc: Option<Estimate>,
    /// Share of the diseased at or above the threshold; nothing where there are none.
    pub sensitivity: Option<Estimate>,
    /// Share of the healthy below it; nothing where there are none.
    pub specificity: Option<Estimate>,
}

/// What was said of images, and the truth.
pub(super) struct Answers<'a> {
    /// For each image the probability of the finding.
    pub(super) probabilities: &'a [f64],
    /// Whether it has it.
    pub(super) truth: &'a [bool],
    /// Whose it is.
    pub(super) patients: &'a [&'a String],
    /// From where on the finding counts as present.
    pub(super) threshold: f64,
}

/// The groups of `column`, which holds a `cell` for each image; none where it does not tell any apart. Images without a cell are in none.
pub(super) fn of_column(column: &str, cells: &[&str], answers: &Answers<'_>) -> Vec<Subgroup> {
    let mut members: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (image, cell) in cells.iter().enumerate() {
        if let Some(group) = group(column, cell) {
            members.entry(group).or_default().push(image);
        }
    }
    let (large, small): (Vec<_>, Vec<_>) = members.into_iter().partition(|(_, images)| images.len() >= LEAST);
    let small: Vec<usize> = small.into_iter().flat_map(|(_, images)| images).collect();
    let mut groups = large;
    if !small.is_empty() {
        groups.push((SMALL.to_owned(), small));
    }
    if groups.len() < 2 {
        return Vec::new();
    }
    let figures = groups
        .into_iter()
        .map(|(group, images)| answers.of(column, group, &images));
    figures.collect()
}

/// The group of a cell.
fn group(column: &str, cell: &str) -> Option<String> {
    if cell.is_empty() || column != AGE {
        return (!cell.is_empty()).then(|| cell.to_owned());
    }
    let age: f64 = cell.parse().ok().filter(|age: &f64| *age >= 0.0)?;
    let first = BANDS.iter().rev().find(|first| age >= f64::from(**first));
    let next = BANDS.iter().find(|next| age < f64::from(**next));
    Some(match (first, next) {
        (None, _) => format!("0 to {}", BANDS[0] - 1),
        (Some(first), Some(next)) => format!("{first} to {}", next - 1),
        (Some(first), None) => format!("{first} or more"),
    })
}

impl Answers<'_> {
    fn of(&self, column: &str, group: String, images: &[usize]) -> Subgroup {
        let bootstrap = Bootstrap::default();
        let patients: Vec<&String> = images.iter().map(|image| self.patients[*image]).collect();
        let truth: Vec<bool> = images.iter().map(|image| self.truth[*image]).collect();
        let said: Vec<f64> = images.iter().map(|image| self.probabilities[*image]).collect();
        let share = |class: bool| {
            let own: Vec<usize> = (0..images.len()).filter(|place| truth[*place] == class).collect();
            let right = own.iter().map(|place| (said[*place] >= self.threshold) == class);
            let right: Vec<bool> = right.collect();
            let patients: Vec<&String> = own.iter().map(|place| patients[*place]).collect();
            share_interval(&right, &patients, bootstrap).ok()
        };
        Subgroup {
            column: column.to_owned(),
            group,
            images: images.len(),
            patients: patients.iter().collect::<HashSet<_>>().len(),
            positive: truth.iter().filter(|present| **present).count(),
            auroc: auroc_interval(&said, &truth, &patients, bootstrap).ok(),
            sensitivity: share(true),
            specificity: share(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 60 images of 30 patients, of which every third has the finding, with what a network says of them.
    fn of(column: &str, cell: impl Fn(usize) -> &'static str) -> Vec<Subgroup> {
        let patients: Vec<String> = (0..60).map(|image| format!("p{}", image / 2)).collect();
        let truth: Vec<bool> = (0..60).map(|image| image % 3 == 0).collect();
        // right of the first half, and the other way round of the second
        let probabilities: Vec<f64> = (0..60)
            .map(|image| {
                if (image % 3 == 0) == (image < 30) {
                    0.9
                } else {
                    0.1
                }
            })
            .collect();
        let cells: Vec<&str> = (0..60).map(cell).collect();
        let answers = Answers {
            probabilities: &probabilities,
            truth: &truth,
            patients: &patients.iter().collect::<Vec<_>>(),
            threshold: 0.5,
        };
        of_column(column, &cells, &answers)
    }

    #[test]
    fn a_group_for_which_the_network_is_worse_is_seen() {
        let found = of("sex", |image| if image < 30 { "F" } else { "M" });
        let names: Vec<&str> = found.iter().map(|own| own.group.as_str()).collect();
        assert_eq!(names, ["F", "M"]);
        let figures =
            |own: &Subgroup| [own.auroc, own.sensitivity, own.specificity].map(|one| one.unwrap().value);
        assert_eq!(figures(&found[0]), [1.0, 1.0, 1.0]);
        assert_eq!(figures(&found[1]), [0.0, 0.0, 0.0]);
        assert_eq!(
            [found[0].images, found[0].patients, found[0].positive],
            [30, 15, 10]
        );
    }

    #[test]
    fn what_tells_nobody_apart_is_no_group() {
        assert!(of("site", |_| "S1").is_empty());
        assert!(of("site", |_| "").is_empty());
        // some do not say
        let found = of("site", |image| ["S1", "S2", ""][image % 3]);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0].auroc, None,
            "every third image has the finding, and S1 no other"
        );
        assert_eq!(found[0].specificity, None);
    }

    #[test]
    fn groups_of_a_few_images_are_taken_together() {
        let found = of("scanner", |image| match image {
            0..40 => "M1",
            40..49 => "M2",
            49..52 => "M3",
            _ => "M4",
        });
        let groups: Vec<(&str, usize)> = found.iter().map(|own| (own.group.as_str(), own.images)).collect();
        assert_eq!(groups, [("M1", 40), (SMALL, 20)]);
    }

    #[test]
    fn ages_are_in_bands() {
        let band = |cell: &str| group(AGE, cell);
        for (cell, expected) in [
            ("0", "0 to 17"),
            ("17.9", "0 to 17"),
            ("18", "18 to 39"),
            ("79", "60 to 79"),
            ("90", "80 or more"),
        ] {
            assert_eq!(band(cell).as_deref(), Some(expected), "{cell}");
        }
        assert_eq!(
            (band(""), band("old"), band("-1"), band("NaN")),
            (None, None, None, None)
        );
    }
}

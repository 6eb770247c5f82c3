//! What a guess from the header alone would reach: the area that the values of one column give by themselves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::evaluation::roc::auroc;

/// Columns that a guess could use, in the order of the card; a table, of an index or of phantoms, has some of them.
pub const COLUMNS: [&str; 4] = ["age", "female", "sex", "site"];
/// Columns whose values are names, also where they are written as numbers.
const NAMES: [&str; 2] = ["sex", "site"];
/// Names that fewer images have count as one: the share of a few images tells each of them.
const LEAST: usize = 10;

/// What one column would give.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FromHeader {
    /// Its name.
    pub column: String,
    /// Images for which it does not say anything, which are left out.
    pub unknown: usize,
    /// The area, in the better direction; of names, each by the share of images with the finding. Nothing where those images that are
    /// left are all with or all without the finding.
    pub area: Option<f64>,
}

/// Whether `column` says something of at least one image.
pub(super) fn says_something(cells: &[Vec<String>], column: usize) -> bool {
    cells.iter().any(|row| !row[column].is_empty())
}

/// The area of `column` by itself, which holds a cell for each image.
pub(super) fn of_column(column: &str, cells: &[&str], truth: &[bool]) -> FromHeader {
    let known = || cells.iter().zip(truth).filter(|(cell, _)| !cell.is_empty());
    let numbers: Option<Vec<f64>> = known()
        .map(|(cell, _)| cell.parse().ok().filter(|number: &f64| number.is_finite()))
        .collect();
    let truth: Vec<bool> = known().map(|(_, truth)| *truth).collect();
    let values = match numbers {
        Some(numbers) if !NAMES.contains(&column) => numbers,
        _ => {
            let names: Vec<&str> = known().map(|(cell, _)| *cell).collect();
            shares(&names, &truth)
        }
    };
    let area = auroc(&values, &truth).ok();
    FromHeader {
        column: column.to_owned(),
        unknown: cells.len() - truth.len(),
        area: area.map(|area| area.max(1.0 - area)),
    }
}

/// For each image the share of those with the finding among all that have its name.
fn shares(names: &[&str], truth: &[bool]) -> Vec<f64> {
    let mut images: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        *images.entry(name).or_default() += 1;
    }
    let kept = |name: &&str| (images[name] >= LEAST).then(|| (*name).to_owned());
    let mut counts: BTreeMap<Option<String>, (usize, usize)> = BTreeMap::new();
    for (name, truth) in names.iter().zip(truth) {
        let (with, all) = counts.entry(kept(name)).or_default();
        *with += usize::from(*truth);
        *all += 1;
    }
    let share = |name| {
        let (with, all) = counts[&kept(name)];
        with as f64 / all as f64
    };
    names.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(column: &str, cells: &[&str], truth: &[bool]) -> (Option<f64>, usize) {
        let found = of_column(column, cells, truth);
        (found.area, found.unknown)
    }

    #[test]
    fn numbers_rank_names_have_shares_and_what_is_unknown_is_left_out() {
        let truth = [true, true, false, false, true];
        assert_eq!(area("age", &["30", "40", "70", "80", ""], &truth), (Some(1.0), 1));
        assert_eq!(area("age", &["30", "30", "", "", "30"], &truth), (None, 2));
        assert_eq!(area("age", &["", "", "", "", ""], &truth), (None, 5));
        // 20 of site 1 with 15, 20 of site 2 with 5, 20 of site 3 with 15: no order of the numbers says so much
        let sites: Vec<&str> = (0..60).map(|image| ["1", "2", "3"][image / 20]).collect();
        let truth: Vec<bool> = (0..60)
            .map(|image| image % 20 < [15, 5, 15][image / 20])
            .collect();
        let (found, unknown) = area("site", &sites, &truth);
        // 30 * 15 of 35 * 25 pairs are in order, 30 * 10 + 5 * 15 are even
        assert!((found.unwrap() - (450.0 + 375.0 / 2.0) / 875.0).abs() < 1e-12);
        assert_eq!(unknown, 0);
    }

    #[test]
    fn names_of_a_few_images_tell_nothing() {
        let names: Vec<String> = (0..12).map(|image| format!("S{image}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let truth: Vec<bool> = (0..12).map(|image| image < 6).collect();
        assert_eq!(area("site", &names, &truth), (Some(0.5), 0));
    }
}

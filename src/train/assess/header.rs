//! What a guess from the header alone would reach: the area that the values of one column give by themselves.
//!
//! Names have no order of their own. Each tells by the share of images with the finding among those of other patients, and only images
//! whose shares are of the same patients are compared: shares of the images that they are judged by would find something in any column
//! with many names, and shares that leave out one patient alone would find the opposite where names are few.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::evaluation::interval::{Bootstrap, Estimate, auroc_interval, auroc_within_interval};
use crate::evaluation::parts::parts;

/// Columns that a guess could use, in the order of the card; a table, of an index or of phantoms, has some of them.
pub const COLUMNS: [&str; 4] = ["age", "female", "sex", "site"];
/// Columns whose values are names, also where they are written as numbers.
const NAMES: [&str; 2] = ["sex", "site"];
/// Names that fewer images have count as one: the share of a few images tells each of them.
const LEAST: usize = 10;
/// Parts of the patients, for each of which the shares of names are those of the others.
const FOLDS: usize = 5;

/// What one column would give.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FromHeader {
    /// Its name.
    pub column: String,
    /// Images for which it does not say anything, which are left out.
    pub unknown: usize,
    /// The area with a patient-level interval: of numbers in the better direction; of names, each by the share of images with the finding
    /// among other patients. Nothing where those images that are left are all with or all without the finding.
    pub area: Option<Estimate>,
}

/// Whether `column` says something of at least one image.
pub(super) fn says_something(cells: &[Vec<String>], column: usize) -> bool {
    cells.iter().any(|row| !row[column].is_empty())
}

/// The area of `column` by itself, which holds a cell for each image, as `truth` and `patients` do.
pub(super) fn of_column(column: &str, cells: &[&str], truth: &[bool], patients: &[&String]) -> FromHeader {
    let known: Vec<usize> = (0..cells.len()).filter(|case| !cells[*case].is_empty()).collect();
    let numbers: Option<Vec<f64>> = known
        .iter()
        .map(|case| {
            cells[*case]
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite())
        })
        .collect();
    let truth: Vec<bool> = known.iter().map(|case| truth[*case]).collect();
    let patients: Vec<&String> = known.iter().map(|case| patients[*case]).collect();
    let bootstrap = Bootstrap::default();
    let area = match numbers {
        Some(numbers) if !NAMES.contains(&column) => auroc_interval(&numbers, &truth, &patients, bootstrap)
            .ok()
            .map(better_direction),
        _ => {
            let names: Vec<&str> = known.iter().map(|case| cells[*case]).collect();
            let folds = parts(&patients, FOLDS);
            let shares = shares(&names, &truth, &folds);
            auroc_within_interval(&shares, &truth, &patients, &folds, bootstrap).ok()
        }
    };
    FromHeader {
        column: column.to_owned(),
        unknown: cells.len() - known.len(),
        area,
    }
}

fn better_direction(area: Estimate) -> Estimate {
    if area.value >= 0.5 {
        return area;
    }
    Estimate {
        value: 1.0 - area.value,
        lower: 1.0 - area.upper,
        upper: 1.0 - area.lower,
    }
}

/// For each image the share of those with the finding among those images of other folds that have its name, or among all of them where
/// none has it.
fn shares(names: &[&str], truth: &[bool], folds: &[usize]) -> Vec<f64> {
    let mut images: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        *images.entry(name).or_default() += 1;
    }
    let kept = |name: &str| (images[name] >= LEAST).then(|| name.to_owned());
    // of each fold and name, and of each fold: with the finding, and all
    let mut counts: BTreeMap<(usize, Option<String>), [usize; 2]> = BTreeMap::new();
    let mut of_folds = [[0; 2]; FOLDS];
    for ((name, truth), fold) in names.iter().zip(truth).zip(folds) {
        for [with, all] in [
            counts.entry((*fold, kept(name))).or_default(),
            &mut of_folds[*fold],
        ] {
            *with += usize::from(*truth);
            *all += 1;
        }
    }
    let share = |[with, all]: [usize; 2]| (all > 0).then(|| with as f64 / all as f64);
    let elsewhere = |fold: usize, count: &dyn Fn(usize) -> [usize; 2]| {
        (0..FOLDS)
            .filter(|other| *other != fold)
            .map(count)
            .fold([0; 2], |[a, b], [with, all]| [a + with, b + all])
    };
    names
        .iter()
        .zip(folds)
        .map(|(name, fold)| {
            let own = kept(name);
            let of_name = elsewhere(*fold, &|other| {
                counts.get(&(other, own.clone())).copied().unwrap_or_default()
            });
            share(of_name)
                .or_else(|| share(elsewhere(*fold, &|other| of_folds[other])))
                .unwrap_or_default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Each image of a patient of its own.
    fn area(column: &str, cells: &[&str], truth: &[bool]) -> (Option<f64>, usize) {
        let patients: Vec<String> = (0..cells.len()).map(|image| format!("{image:04}")).collect();
        let patients: Vec<&String> = patients.iter().collect();
        let found = of_column(column, cells, truth, &patients);
        if let Some(Estimate { value, lower, upper }) = found.area {
            assert!(lower <= value && value <= upper, "{:?}", found.area);
        }
        (found.area.map(|area| area.value), found.unknown)
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
        // of each of the five parts, which have 3 of 4, 1 of 4 and 3 of 4 with it: 18 of 7 * 5 pairs are in order, 15 are even
        assert!((found.unwrap() - (18.0 + 15.0 / 2.0) / 35.0).abs() < 1e-12);
        assert_eq!(unknown, 0);
    }

    /// 50 sites of 12 images each, and a finding that half of the images have, wherever they are from: by the shares of the images
    /// themselves the mean area of such draws is 0.66 (a simulation in Python; one draw has a standard deviation of 0.037).
    #[test]
    fn many_names_that_tell_nothing_are_found_to_tell_nothing() {
        let sites: Vec<String> = (0..600).map(|image| format!("S{}", image / 12)).collect();
        let sites: Vec<&str> = sites.iter().map(String::as_str).collect();
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut areas = Vec::new();
        for _ in 0..30 {
            let truth: Vec<bool> = (0..600).map(|_| random.random()).collect();
            areas.push(area("site", &sites, &truth).0.unwrap());
        }
        let mean = areas.iter().sum::<f64>() / 30.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }

    #[test]
    fn names_of_a_few_images_tell_nothing() {
        let names: Vec<String> = (0..12).map(|image| format!("S{image}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let truth: Vec<bool> = (0..12).map(|image| image < 6).collect();
        assert_eq!(area("site", &names, &truth), (Some(0.5), 0));
    }
}

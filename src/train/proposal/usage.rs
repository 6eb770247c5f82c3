//! Which images a table is of, as an intended use: modalities, body parts, views and ages that a network of it may score.

use std::collections::BTreeMap;
use std::path::Path;

use crate::finding::IntendedUse;
use crate::finding::codes::{of_body_part, of_view};
use crate::train::data::anatomy::{Names, PARTS, VIEWS};
use crate::train::data::augment::{Flip, PartFlips};
use crate::train::data::delimited::delimited;
use crate::train::unfilled::FILL_IN;

/// What fewer images than one in so many have is taken for a slip of the header, and no intended use.
const RARE: usize = 100;
/// The age that an index has for all above it, and the oldest that a patient may be.
const OLDEST: [u16; 2] = [90, 120];
/// Body parts of which left and right are not the same.
const SIDED: [&str; 4] = ["abdomen", "chest", "ribs", "whole-body"];
/// Pixels of a network's input: those of the small residual network, which are about as many as published networks have.
const PIXELS: f64 = 256.0 * 192.0;
/// By which rows and columns can be divided: networks halve them up to five times.
const MULTIPLE: f64 = 32.0;
/// The longest side of an input is at most so many times the shortest.
const LONGEST: f64 = 2.0;

/// What the images of a table are of.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    images: usize,
    modalities: BTreeMap<String, usize>,
    parts: BTreeMap<String, usize>,
    views: BTreeMap<String, usize>,
    ages: Option<[u16; 2]>,
    /// Rows by columns.
    aspects: Vec<f64>,
}

impl Usage {
    /// Takes note of an image; `cell` gives what a column of an index's table has of it, nothing where there is no such column.
    pub(super) fn note<'a>(&mut self, cell: impl Fn(&str) -> &'a str) {
        self.images += 1;
        for (counts, column) in [
            (&mut self.modalities, "modality"),
            (&mut self.parts, "body_part"),
            (&mut self.views, "view"),
        ] {
            let value = cell(column);
            if !value.is_empty() {
                *counts.entry(value.to_owned()).or_default() += 1;
            }
        }
        if let Ok(age) = cell("age").parse::<u16>() {
            let [youngest, oldest] = self.ages.unwrap_or([age; 2]);
            self.ages = Some([youngest.min(age), oldest.max(age)]);
        }
        if let (Ok(rows), Ok(columns)) = (cell("rows").parse::<f64>(), cell("columns").parse::<f64>())
            && rows > 0.0
            && columns > 0.0
        {
            self.aspects.push(rows / columns);
        }
    }

    /// Modalities, body parts and views, as the table has them, of enough images; and those of too few.
    #[must_use]
    pub fn names(&self) -> [(&'static str, Vec<&str>, Vec<&str>); 3] {
        [
            ("modality", &self.modalities),
            ("body part", &self.parts),
            ("view", &self.views),
        ]
        .map(|(what, counts)| {
            let those = |often: bool| {
                let own = counts
                    .iter()
                    .filter(|(_, count)| (**count * RARE >= self.images) == often);
                own.map(|(name, _)| name.as_str()).collect()
            };
            (what, those(true), those(false))
        })
    }

    /// Youngest and oldest, where ages are known.
    #[must_use]
    pub fn ages(&self) -> Option<[u16; 2]> {
        let [youngest, oldest] = self.ages?;
        Some([youngest, if oldest >= OLDEST[0] { OLDEST[1] } else { oldest }])
    }

    /// The intended use. Values are those that the headers behind the table `csv` have, as `mapping.csv` of an index says, and those of the
    /// standard that mean the same.
    pub(super) fn intended(&self, csv: &Path) -> IntendedUse {
        let [(_, modalities, _), (_, parts, _), (_, views, _)] = self.names();
        let of_parts = Values {
            kind: "body part",
            names: &PARTS,
            codes: of_body_part,
        };
        let of_views = Values {
            kind: "view",
            names: &VIEWS,
            codes: of_view,
        };
        IntendedUse {
            statement: format!(
                "{FILL_IN}: for which patients and images it is meant, and what it must not be used for"
            ),
            clinical: false,
            modalities: or_asked(
                modalities.into_iter().map(str::to_owned).collect(),
                "values of Modality",
            ),
            body_parts: or_asked(of_parts.of(&parts, csv), "values of Body Part Examined"),
            views: or_asked(of_views.of(&views, csv), "values of View Position"),
            age_years: self.ages().unwrap_or([0, OLDEST[1]]),
            laterality: Vec::new(),
            image_size: None,
        }
    }

    /// Which images may be mirrored: those of known body parts whose sides are alike.
    pub(super) fn flip(&self) -> Flip {
        let [_, (_, parts, _), _] = self.names();
        let known: usize = self.parts.values().sum();
        let sided = |part: &&str| SIDED.contains(part);
        if parts.is_empty() {
            return Flip::Every(false);
        }
        if known == self.images && !parts.iter().any(sided) {
            return Flip::Every(true);
        }
        Flip::ByPart(PartFlips {
            body_part: parts
                .iter()
                .map(|part| ((*part).to_owned(), !sided(part)))
                .collect(),
            other: false,
        })
    }

    /// Rows and columns of a network's input: as long and wide as half of the images are.
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        let mut aspects = self.aspects.clone();
        aspects.sort_by(f64::total_cmp);
        let aspect = aspects.get(aspects.len() / 2).copied().unwrap_or(1.0);
        let aspect = aspect.clamp(1.0 / LONGEST, LONGEST);
        let side = |length: f64| ((length / MULTIPLE).round() * MULTIPLE) as usize;
        [side((PIXELS * aspect).sqrt()), side((PIXELS / aspect).sqrt())]
    }
}

fn or_asked(values: Vec<String>, what: &str) -> Vec<String> {
    if values.is_empty() {
        vec![format!("{FILL_IN}: {what}")]
    } else {
        values
    }
}

/// What headers write for the names of one kind.
struct Values {
    kind: &'static str,
    names: &'static Names,
    codes: fn(&str) -> &'static [&'static str],
}

impl Values {
    fn of(&self, names: &[&str], csv: &Path) -> Vec<String> {
        let mut values: Vec<String> = self.written(names, csv);
        let mut add = |value: &str| {
            if !values.iter().any(|known| known == value) {
                values.push(value.to_owned());
            }
        };
        for name in names {
            let (terms, codes) = self.names.terms_and_codes(name);
            let standard: Vec<&&str> = terms
                .iter()
                .filter(|term| !(self.codes)(term).is_empty())
                .collect();
            // what the server knows codes of stands for itself; of the rest all that training knows
            if standard.is_empty() {
                terms.into_iter().chain(codes).for_each(&mut add);
                continue;
            }
            for term in &standard {
                add(term);
            }
            for code in standard.iter().flat_map(|term| (self.codes)(term)) {
                add(code);
            }
        }
        values
    }

    /// What at least some patients' headers write, by the mapping beside an index's table; nothing where there is none.
    fn written(&self, names: &[&str], csv: &Path) -> Vec<String> {
        let mapping = csv.with_file_name("mapping.csv");
        let reader = delimited(&mapping)
            .ok()
            .and_then(|builder| builder.from_path(&mapping).ok());
        let records = reader.into_iter().flat_map(csv::Reader::into_records).flatten();
        let own = records.filter_map(|record| {
            let cell = |place: usize| record.get(place).unwrap_or_default();
            let [what, place, said, name] = [0, 1, 2, 3].map(cell);
            let counts = what == self.kind && place != "description" && names.contains(&name);
            (counts && !said.is_empty()).then(|| said.to_owned())
        });
        own.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(images: &[(&str, usize)]) -> Usage {
        let mut usage = Usage::default();
        for (cells, count) in images {
            let cells: Vec<(&str, &str)> = cells
                .split(' ')
                .map(|cell| cell.split_once('=').unwrap())
                .collect();
            for _ in 0..*count {
                usage.note(|column| {
                    let own = cells.iter().find(|(name, _)| *name == column);
                    own.map_or("", |(_, value)| value)
                });
            }
        }
        usage
    }

    const SPINE: &str = "modality=DX body_part=lumbar-spine view=lateral age=62 rows=3000 columns=1500";
    const OLD: &str = "modality=CR body_part=lumbar-spine view=lateral age=90 rows=2400 columns=1800";

    #[test]
    fn the_intended_use_is_what_most_images_are() {
        let found = usage(&[
            (SPINE, 150),
            (OLD, 49),
            ("modality=DX body_part=hand view=PA age=30 rows=10 columns=10", 1),
        ]);
        let intended = found.intended(Path::new("nowhere/images.csv"));
        assert_eq!(intended.modalities, ["CR", "DX"]);
        assert_eq!(
            intended.body_parts,
            ["LSPINE", "LSSPINE", "122496007", "T-11503", "1217253001"]
        );
        assert_eq!(intended.views[..4], ["LAT", "LATERAL", "LL", "RL"]);
        assert!(
            intended.views.contains(&"399067008".to_owned()),
            "{:?}",
            intended.views
        );
        // the youngest is 30, and 90 stands for all above
        assert_eq!(intended.age_years, [30, 120]);
        assert!(intended.statement.starts_with(FILL_IN));
        let [_, (_, parts, rare), _] = found.names();
        assert_eq!((parts, rare), (vec!["lumbar-spine"], vec!["hand"]));
    }

    #[test]
    fn words_of_the_headers_count_where_an_index_tells_them() {
        let folder = tempfile::tempdir().unwrap();
        let mapping = "what,where,said,stands_for,images\nbody part,attribute,LENDE,lumbar-spine,5\nbody part,attribute,KNIE,knee,5\nbody part,description,lws,lumbar-spine,9\nbody part,code,,lumbar-spine,2\nview,attribute,LL,lateral,7\n";
        std::fs::write(folder.path().join("mapping.csv"), mapping).unwrap();
        let intended = usage(&[(SPINE, 3)]).intended(&folder.path().join("images.csv"));
        assert_eq!(intended.body_parts[..2], ["LENDE", "LSPINE"]);
        assert_eq!(intended.views[..2], ["LL", "LAT"]);
    }

    #[test]
    fn what_is_unknown_is_left_to_a_person() {
        let intended = usage(&[("age=", 4)]).intended(Path::new("labels.csv"));
        for values in [&intended.modalities, &intended.body_parts, &intended.views] {
            assert!(values.len() == 1 && values[0].starts_with(FILL_IN), "{values:?}");
        }
        assert_eq!(intended.age_years, [0, 120]);
    }

    #[test]
    fn sizes_have_the_aspect_of_the_images() {
        assert_eq!(usage(&[("rows=320 columns=240", 3)]).size(), [256, 192]);
        assert_eq!(usage(&[("rows=2000 columns=2000", 1)]).size(), [224, 224]);
        assert_eq!(usage(&[("rows=9000 columns=1000", 1)]).size(), [320, 160]);
        assert_eq!(Usage::default().size(), [224, 224]);
    }

    #[test]
    fn only_parts_whose_sides_are_alike_are_mirrored() {
        assert_eq!(usage(&[(SPINE, 2)]).flip(), Flip::Every(true));
        assert_eq!(usage(&[("age=5", 2)]).flip(), Flip::Every(false));
        let both = usage(&[(SPINE, 2), ("body_part=chest", 2)]).flip();
        assert_eq!(
            [Some("lumbar-spine"), Some("chest"), None].map(|part| both.allows(part)),
            [true, false, false]
        );
        // where some do not say what they show, those are not mirrored
        let some = usage(&[(SPINE, 2), ("age=5", 2)]).flip();
        assert!(some.allows(Some("lumbar-spine")) && !some.allows(None));
    }
}

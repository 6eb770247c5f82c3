//! RSNA Pediatric Bone Age Challenge 2017: left hands with the skeletal age in months; a picture is called after its case.
//!
//! Halabi et al. 2019, The RSNA Pediatric Bone Age Machine Learning Challenge, Radiology 290:498.

use std::path::Path;

use super::stem;
use crate::train::data::labels::table::Table;
use crate::train::data::labels::{Known, LabelError, Part, Stated, Statements, Unused};

/// The tables as they were given out, with their parts.
const TABLES: [(&str, Part); 6] = [
    ("boneage-training-dataset.csv", Part::Train),
    ("train.csv", Part::Train),
    ("boneage-validation-dataset.csv", Part::Validation),
    ("Validation Dataset.csv", Part::Validation),
    ("boneage-test-dataset.csv", Part::Test),
    ("Bone age ground truth.csv", Part::Test),
];
const CASE: [&str; 3] = ["id", "Image ID", "Case ID"];
const MONTHS: [&str; 4] = [
    "boneage",
    "Bone Age (months)",
    "Ground truth bone age (months)",
    "Ground truth",
];

/// The set: the tables that are there.
pub(super) struct BoneAge {
    tables: Vec<(Table, Part)>,
    columns: [String; 1],
}

impl BoneAge {
    pub(super) fn in_folder(folder: &Path) -> Result<Option<Self>, LabelError> {
        let mut tables = Vec::new();
        for (name, part) in TABLES {
            let file = folder.join(name);
            if !file.is_file() {
                continue;
            }
            let mut table = Table::open(&file)?;
            // other sets have a `train.csv`, too
            let Some(case) = table.column(&CASE) else { continue };
            if table.column(&["male", "Sex"]).is_none() {
                continue;
            }
            table.find_by(|line| Ok(Some(line.cell(Some(case)).to_owned())))?;
            tables.push((table, part));
        }
        let is_the_set = tables.iter().any(|(table, _)| table.column(&MONTHS).is_some());
        Ok(is_the_set.then(|| Self {
            tables,
            columns: ["bone_age_months".to_owned()],
        }))
    }
}

impl Statements for BoneAge {
    fn title(&self) -> String {
        "RSNA bone age".to_owned()
    }

    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn of(&mut self, image: &Known<'_>) -> Result<Option<Stated>, LabelError> {
        let Some(file) = image.file else { return Ok(None) };
        let case = stem(file);
        for (table, part) in &mut self.tables {
            let Some(line) = table.lines(&case, image.image)?.pop() else {
                continue;
            };
            let sex = match line.cell(table.column(&["male", "Sex"])).to_lowercase().as_str() {
                "true" | "1" | "m" => Some("M"),
                "false" | "0" | "f" => Some("F"),
                _ => None,
            };
            return Ok(Some(Stated {
                // each child has one radiograph in the set
                patient: Some(case),
                split: Some(*part),
                sex,
                body_part: Some("HAND".to_owned()),
                laterality: Some("L".to_owned()),
                labels: vec![line.cell(table.column(&MONTHS)).to_owned()],
                ..Stated::default()
            }));
        }
        Ok(None)
    }

    fn unused(&self) -> Unused {
        let all = self.tables.iter().map(|(table, _)| table.unused());
        all.reduce(|mut sum, next| {
            sum.count += next.count;
            sum
        })
        .unwrap_or_default()
    }
}

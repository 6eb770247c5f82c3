//! VinDr-SpineXR: spines as DICOM whose headers name nobody, with a line for each box in `annotations/train.csv` and `test.csv`.
//!
//! Nguyen et al. 2021, VinDr-SpineXR: A deep learning framework for spinal lesions detection and classification from radiographs,
//! MICCAI 2021, arXiv 2106.12930.

use std::path::Path;

use super::{column, present, stem};
use crate::train::data::labels::table::Table;
use crate::train::data::labels::{Known, LabelError, Part, Stated, Statements, Unused};

const LESIONS: [&str; 7] = [
    "Disc space narrowing",
    "Foraminal stenosis",
    "Osteophytes",
    "Spondylolysthesis",
    "Surgical implant",
    "Vertebral collapse",
    "Other lesions",
];

/// The set.
pub(super) struct VinDrSpine {
    tables: Vec<(Table, Part)>,
    columns: Vec<String>,
}

impl VinDrSpine {
    pub(super) fn in_folder(folder: &Path) -> Result<Option<Self>, LabelError> {
        let mut tables = Vec::new();
        for (name, part) in [("train.csv", Part::Train), ("test.csv", Part::Test)] {
            let file = folder.join("annotations").join(name);
            if !file.is_file() {
                continue;
            }
            let mut table = Table::open(&file)?;
            let (Some(image), Some(_)) = (table.column(&["image_id"]), table.column(&["lesion_type"])) else {
                continue;
            };
            table.find_by(|line| Ok(Some(line.cell(Some(image)).to_owned())))?;
            tables.push((table, part));
        }
        Ok((!tables.is_empty()).then(|| Self {
            tables,
            columns: LESIONS.iter().map(|lesion| column(lesion)).collect(),
        }))
    }
}

impl Statements for VinDrSpine {
    fn title(&self) -> String {
        "VinDr-SpineXR".to_owned()
    }

    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn of(&mut self, image: &Known<'_>) -> Result<Option<Stated>, LabelError> {
        let Some(file) = image.file else { return Ok(None) };
        let id = stem(file);
        for (table, part) in &mut self.tables {
            let lines = table.lines(&id, image.image)?;
            let Some(first) = lines.first() else { continue };
            let lesion = table.column(&["lesion_type"]);
            let found = |name: &&str| {
                lines
                    .iter()
                    .any(|line| line.cell(lesion).eq_ignore_ascii_case(name))
            };
            return Ok(Some(Stated {
                // there is no patient; a study is the most that is known to belong together
                patient: Some(first.cell(table.column(&["study_id"])).to_owned()).filter(|id| !id.is_empty()),
                split: Some(*part),
                body_part: Some("SPINE".to_owned()),
                labels: LESIONS.iter().map(|lesion| present(found(lesion))).collect(),
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

//! PadChest: chest radiographs with findings as a list in Python's writing, one table for all.
//!
//! Bustos et al. 2020, PadChest: A large chest x-ray image dataset with multi-label annotated reports, Medical Image Analysis 66,
//! arXiv 1901.07441.

use std::collections::BTreeSet;
use std::path::Path;

use super::{column, name, present};
use crate::train::data::labels::table::{Line, Table};
use crate::train::data::labels::{Known, LabelError, Stated, Statements, Unused, sex};

const TABLE: &str = "PADCHEST_chest_x_ray_images_labels_160K";

/// The set.
pub(super) struct PadChest {
    table: Table,
    labels: usize,
    columns: Vec<String>,
}

impl PadChest {
    pub(super) fn in_folder(folder: &Path) -> Result<Option<Self>, LabelError> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let is_table = |path: &Path| {
            let name = name(path);
            name.starts_with(TABLE) && name.to_lowercase().ends_with(".csv")
        };
        let Some(file) = entries.map(|entry| entry.path()).find(|path| is_table(path)) else {
            return Ok(None);
        };
        let mut table = Table::open(&file)?;
        let image = table.needed(&["ImageID"])?;
        let labels = table.needed(&["Labels"])?;
        let mut columns = BTreeSet::new();
        table.find_by(|line| {
            columns.extend(findings(line.cell(Some(labels))));
            Ok(Some(line.cell(Some(image)).to_owned()))
        })?;
        Ok(Some(Self {
            table,
            labels,
            columns: columns.into_iter().collect(),
        }))
    }

    fn stated(&self, line: &Line) -> Stated {
        let cell = |names: &[&str]| line.cell(self.table.column(names));
        let listed = line.cell(Some(self.labels));
        let found: Vec<String> = findings(listed).collect();
        let one = |column: &String| match listed {
            "" | "nan" => String::new(),
            _ => present(found.contains(column)),
        };
        let year = |text: &str| text.get(..4)?.parse::<u16>().ok();
        let born = year(cell(&["PatientBirth"]));
        Stated {
            patient: Some(cell(&["PatientID"]).to_owned()).filter(|id| !id.is_empty()),
            age: year(cell(&["StudyDate_DICOM"]))
                .zip(born)
                .and_then(|(now, born)| now.checked_sub(born))
                .filter(|age| *age <= 130),
            sex: sex(cell(&["PatientSex_DICOM"])),
            body_part: Some("CHEST".to_owned()),
            view: Some(cell(&["Projection"]).to_owned()).filter(|view| !view.is_empty()),
            labels: self.columns.iter().map(one).collect(),
            ..Stated::default()
        }
    }
}

/// The findings of `['pleural effusion', 'cardiomegaly']`, as columns.
fn findings(list: &str) -> impl Iterator<Item = String> {
    let inside = list.trim_start_matches('[').trim_end_matches(']');
    let names = inside.split(',').map(column);
    names.filter(|name| !name.is_empty() && name != "nan")
}

impl Statements for PadChest {
    fn title(&self) -> String {
        "PadChest".to_owned()
    }

    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn of(&mut self, image: &Known<'_>) -> Result<Option<Stated>, LabelError> {
        let Some(file) = image.file else { return Ok(None) };
        let line = self.table.lines(&name(file), image.image)?.pop();
        Ok(line.map(|line| self.stated(&line)))
    }

    fn unused(&self) -> Unused {
        self.table.unused()
    }
}

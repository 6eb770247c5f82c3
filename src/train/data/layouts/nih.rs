//! NIH ChestX-ray14: chest radiographs with 14 findings mined from reports: `Data_Entry_2017.csv`, and the official split in
//! `test_list.txt`. In its header, `OriginalImage[Width,Height]` and `OriginalImagePixelSpacing[x,y]` are two columns each.
//!
//! Wang et al. 2017, ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks, CVPR 2017, arXiv 1705.02315.

use std::collections::HashSet;
use std::path::Path;

use super::{column, name, present};
use crate::train::data::labels::table::{Line, Table};
use crate::train::data::labels::{Known, LabelError, Part, Stated, Statements, Unused, sex};

const TABLES: [&str; 2] = ["Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv"];
const FINDINGS: [&str; 14] = [
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
];

/// The set.
pub(super) struct ChestXray14 {
    table: Table,
    columns: Vec<String>,
    findings: usize,
    /// Names of the images of the official test set, if its list is there.
    test: Option<HashSet<String>>,
}

impl ChestXray14 {
    pub(super) fn in_folder(folder: &Path) -> Result<Option<Self>, LabelError> {
        let Some(file) = TABLES
            .iter()
            .map(|name| folder.join(name))
            .find(|file| file.is_file())
        else {
            return Ok(None);
        };
        let mut table = Table::open(&file)?;
        let image = table.needed(&["Image Index"])?;
        let findings = table.needed(&["Finding Labels"])?;
        table.find_by(|line| Ok(Some(line.cell(Some(image)).to_owned())))?;
        let test = std::fs::read_to_string(folder.join("test_list.txt")).ok();
        Ok(Some(Self {
            table,
            columns: FINDINGS.iter().map(|finding| column(finding)).collect(),
            findings,
            test: test.map(|list| list.lines().map(|line| line.trim().to_owned()).collect()),
        }))
    }

    fn stated(&self, line: &Line, image: &Known<'_>, name: &str) -> Stated {
        let cell = |names: &[&str]| line.cell(self.table.column(names));
        let found: Vec<&str> = line.cell(Some(self.findings)).split('|').collect();
        let part = |test: &HashSet<String>| {
            if test.contains(name) {
                Part::Test
            } else {
                Part::Train
            }
        };
        let number = |names: &[&str]| cell(names).parse::<f64>().ok();
        // the pictures are smaller than the originals that the table speaks of
        let scaled = |spacing: Option<f64>, original: Option<f64>, now: usize| {
            Some(spacing? * original? / now as f64).filter(|spacing| spacing.is_finite())
        };
        let across = scaled(
            number(&["OriginalImagePixelSpacing[x"]),
            number(&["OriginalImage[Width"]),
            image.size[1],
        );
        let down = scaled(number(&["y]"]), number(&["Height]"]), image.size[0]);
        Stated {
            patient: Some(cell(&["Patient ID"]).to_owned()).filter(|id| !id.is_empty()),
            split: self.test.as_ref().map(part),
            age: age(cell(&["Patient Age"])),
            sex: sex(cell(&["Patient Gender", "Patient Sex"])),
            body_part: Some("CHEST".to_owned()),
            view: Some(cell(&["View Position"]).to_owned()).filter(|view| !view.is_empty()),
            spacing: down.zip(across).map(|(down, across)| [down, across]),
            labels: FINDINGS
                .iter()
                .map(|finding| present(found.contains(finding)))
                .collect(),
            ..Stated::default()
        }
    }
}

/// `58`, or in the first version of the table `058Y`, `011M`, `006D`.
fn age(cell: &str) -> Option<u16> {
    let digits = cell.trim_end_matches(|character: char| character.is_alphabetic());
    let count: u16 = digits.parse().ok()?;
    let years = match &cell[digits.len()..] {
        "" | "Y" => count,
        "M" => count / 12,
        "D" => count / 365,
        _ => return None,
    };
    // a few of the table's ages are several hundred years
    (years <= 130).then_some(years)
}

impl Statements for ChestXray14 {
    fn title(&self) -> String {
        "NIH ChestX-ray14".to_owned()
    }

    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn of(&mut self, image: &Known<'_>) -> Result<Option<Stated>, LabelError> {
        let Some(file) = image.file else { return Ok(None) };
        let name = name(file);
        let line = self.table.lines(&name, image.image)?.pop();
        Ok(line.map(|line| self.stated(&line, image, &name)))
    }

    fn unused(&self) -> Unused {
        self.table.unused()
    }
}

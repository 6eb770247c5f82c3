//! Rows of a table of images: `images.csv` of an index, or a CSV of the user's with the columns `file` (relative to it) and
//! `patient`; beside them the columns of the labels ([`Column`]), empty for unknown. An image of which nobody says whose it is counts as
//! a patient of its own. An image without a part of a split that was given is in that of its group.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::facts::BurnedIn;
use crate::train::data::Column;
use crate::train::data::cache::{CacheError, Digest, digest as digest_of, hex, unhex};
use crate::train::data::delimited::delimited;
use crate::train::data::labels::Part;
use crate::train::data::split::with_their_groups;

/// One row of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledRow {
    /// Its line in the table, from 1.
    pub line: u64,
    /// The image's path; in an index, where it was when it was indexed.
    pub file: PathBuf,
    /// By which an index's cache has it.
    pub digest: Option<Digest>,
    /// A pseudonym; where nobody says whose it is, one for this file alone.
    pub patient: String,
    /// Whether nobody says whose it is.
    pub without_patient: bool,
    /// Images of one group belong on one side of a split; the patient, where nothing else is said.
    pub group: String,
    /// The part of a split that was given, for the image or for others of its group.
    pub split: Option<Part>,
    /// What the image shows, where the table has the column `body_part` and says so.
    pub body_part: Option<Arc<str>>,
    /// Whether there is text in the pixels, where the table has the column `burned_in` and says so.
    pub burned_in: Option<BurnedIn>,
    /// Those of the columns that were asked for, NaN where unknown.
    pub labels: Vec<f32>,
    /// Cells of further columns that were asked for, empty where the table has no such column.
    pub covariates: Vec<String>,
}

impl LabelledRow {
    /// Whether any of the labels that were asked for is known.
    #[must_use]
    pub fn is_labelled(&self) -> bool {
        self.labels.iter().any(|label| !label.is_nan())
    }
}

/// Why a labelled folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LabelledError {
    /// The CSV cannot be read.
    #[error("{file} cannot be read: {cause}")]
    Csv {
        /// Its path.
        file: PathBuf,
        /// What is wrong, with its place.
        cause: String,
    },
    /// A column is missing.
    #[error("{file} has no column {column}: it has {present}")]
    Column {
        /// The CSV.
        file: PathBuf,
        /// What was looked for.
        column: String,
        /// What there is.
        present: String,
    },
    /// A label is not a label.
    #[error("{file}, line {line}: {column} must be {allowed}")]
    Label {
        /// The CSV.
        file: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// The column.
        column: String,
        /// What it may hold.
        allowed: String,
    },
    /// A part of a split is not one.
    #[error("{file}, line {line}: split must be train, validation, test or empty")]
    Split {
        /// The CSV.
        file: PathBuf,
        /// Its line, from 1.
        line: u64,
    },
    /// No image has a label.
    #[error(
        "none of the {images} images of {file} has a label of the recipe: {columns} are empty in every line"
    )]
    Unlabelled {
        /// The CSV.
        file: PathBuf,
        /// How many there are.
        images: usize,
        /// Where a label was looked for.
        columns: String,
    },
    /// No image could be read.
    #[error("none of the {0} images could be read; the first: {1}")]
    Nothing(usize, String),
    /// The cache of an index.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Reads the rows of a CSV.
///
/// # Errors
/// [`LabelledError`], which names the file and the line.
pub fn rows(csv: &Path, labels: &[Column], covariates: &[&str]) -> Result<Vec<LabelledRow>, LabelledError> {
    let failed = |cause: &dyn std::fmt::Display| LabelledError::Csv {
        file: csv.to_owned(),
        cause: cause.to_string(),
    };
    let mut reader = delimited(csv)
        .map_err(|error| failed(&error))?
        .from_path(csv)
        .map_err(|error| failed(&error))?;
    let header = reader.headers().map_err(|error| failed(&error))?.clone();
    let column = |name: &str| {
        header
            .iter()
            .position(|present| present.trim() == name)
            .ok_or_else(|| LabelledError::Column {
                file: csv.to_owned(),
                column: name.to_owned(),
                present: header.iter().collect::<Vec<_>>().join(", "),
            })
    };
    let optional = |name: &str| header.iter().position(|present| present.trim() == name);
    let (digest, group, split) = (optional("digest"), optional("group"), optional("split"));
    let (body_part, burned_in) = (optional("body_part"), optional("burned_in"));
    // one copy of each word, not one for each image
    let mut parts: HashMap<String, Arc<str>> = HashMap::new();
    // the table of an index names images, and a file beside it says where they are
    let places = match optional("image").filter(|_| digest.is_some()) {
        Some(_) => Some(places(csv)?),
        None => None,
    };
    let file = match places {
        Some(_) => column("image")?,
        None => column("file")?,
    };
    let patient = column("patient")?;
    let label_columns = labels
        .iter()
        .map(|label| column(&label.name))
        .collect::<Result<Vec<_>, _>>()?;
    let covariate_columns: Vec<Option<usize>> = covariates.iter().map(|name| optional(name)).collect();
    let folder = csv.parent().unwrap_or(Path::new("."));

    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| failed(&error))?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |column: usize| record.get(column).unwrap_or_default().trim();
        let label = |(place, column): (&usize, &Column)| {
            column.read(cell(*place)).ok_or_else(|| LabelledError::Label {
                file: csv.to_owned(),
                line,
                column: column.name.clone(),
                allowed: column.allowed(),
            })
        };
        let split = match split.map(cell).unwrap_or_default() {
            "" => None,
            text => Some(Part::parse(text).ok_or_else(|| LabelledError::Split {
                file: csv.to_owned(),
                line,
            })?),
        };
        let (own_file, stated) = (cell(file), cell(patient));
        let patient = or(stated, || of_nobody(own_file));
        rows.push(LabelledRow {
            line,
            file: match &places {
                Some(places) => places.get(own_file).cloned().unwrap_or_default(),
                None => folder.join(own_file),
            },
            digest: digest.and_then(|column| unhex(cell(column))),
            group: or(group.map(cell).unwrap_or_default(), || patient.clone()),
            patient,
            without_patient: stated.is_empty(),
            split,
            body_part: match body_part.map(cell).unwrap_or_default() {
                "" => None,
                word => Some(
                    parts
                        .entry(word.to_owned())
                        .or_insert_with(|| word.into())
                        .clone(),
                ),
            },
            burned_in: BurnedIn::read(burned_in.map(cell).unwrap_or_default()),
            labels: label_columns
                .iter()
                .zip(labels)
                .map(label)
                .collect::<Result<Vec<_>, _>>()?
                .concat(),
            covariates: covariate_columns
                .iter()
                .map(|column| column.map(cell).unwrap_or_default().to_owned())
                .collect(),
        });
    }
    complete_split(&mut rows);
    Ok(rows)
}

/// An image without a part of the split is in that of its group.
fn complete_split(rows: &mut [LabelledRow]) {
    let given: Vec<Option<Part>> = rows.iter().map(|row| row.split).collect();
    let groups: Vec<&str> = rows.iter().map(|row| row.group.as_str()).collect();
    let parts = with_their_groups(&given, &groups);
    for (row, part) in rows.iter_mut().zip(parts) {
        row.split = part;
    }
}

fn or(cell: &str, other: impl FnOnce() -> String) -> String {
    if cell.is_empty() { other() } else { cell.to_owned() }
}

/// The patient of the images of a file of which nobody says whose they are. It does not show the file's name, which may be a person's.
fn of_nobody(file: &str) -> String {
    format!("unknown-{}", hex(&digest_of(file.as_bytes())[..8]))
}

/// The rows with a known label, of which alone something can be learned, and how many others there are.
///
/// # Errors
/// As [`rows`], and [`LabelledError::Unlabelled`].
pub fn labelled_rows(csv: &Path, labels: &[Column]) -> Result<(Vec<LabelledRow>, usize), LabelledError> {
    let mut rows = rows(csv, labels, &[])?;
    let images = rows.len();
    rows.retain(LabelledRow::is_labelled);
    if rows.is_empty() && images > 0 {
        let names: Vec<&str> = labels.iter().map(|column| column.name.as_str()).collect();
        return Err(LabelledError::Unlabelled {
            file: csv.to_owned(),
            images,
            columns: names.join(", "),
        });
    }
    let others = images - rows.len();
    Ok((rows, others))
}

/// Where the images of an index are, by their names.
fn places(csv: &Path) -> Result<HashMap<String, PathBuf>, LabelledError> {
    let file = csv.with_file_name("files.csv");
    let failed = |cause: &dyn std::fmt::Display| LabelledError::Csv {
        file: file.clone(),
        cause: cause.to_string(),
    };
    // whoever was given the table and the cache without it can train all the same
    if !file.is_file() {
        return Ok(HashMap::new());
    }
    let mut places = HashMap::new();
    let mut reader = csv::Reader::from_path(&file).map_err(|error| failed(&error))?;
    for record in reader.records() {
        let record = record.map_err(|error| failed(&error))?;
        if let (Some(image), Some(place)) = (record.get(0), record.get(1)) {
            places.insert(image.to_owned(), PathBuf::from(place));
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::data::columns::Kind;

    fn csv(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.csv");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn finding(name: &str) -> Column {
        Column {
            name: name.to_owned(),
            kind: Kind::Finding,
        }
    }

    #[test]
    fn an_empty_cell_is_unknown_and_anything_else_an_error_with_its_line() {
        let labels = [finding("fracture")];
        let (_folder, path) = csv("file,patient,fracture,age\na.dcm,P1,1,70\nb.dcm,P2,,x\n");
        let rows = rows(&path, &labels, &["age", "sex"]).unwrap();
        assert_eq!(rows[0].labels, [1.0]);
        assert!(rows[1].labels[0].is_nan());
        assert_eq!(rows[0].covariates, ["70", ""]);
        assert_eq!(rows[1].covariates, ["x", ""]);

        let (_folder, path) = csv("file,patient,fracture\na.dcm,P1,yes\n");
        let error = super::rows(&path, &labels, &[]).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("fracture"), "{error}");
        let error = super::rows(&path, &[finding("age")], &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("no column age"), "{error}");
    }

    #[test]
    fn images_without_any_label_of_the_recipe_are_left_out() {
        let both = [finding("fracture"), finding("implant")];
        let (_folder, path) = csv("file,patient,fracture,implant\na,P1,,1\nb,P2,,\nc,P3,0,\n");
        let (rows, others) = labelled_rows(&path, &both).unwrap();
        assert_eq!(
            (rows.iter().map(|row| row.line).collect::<Vec<_>>(), others),
            (vec![2, 4], 1)
        );
        let (_folder, path) = csv("file,patient,fracture,implant\na,P1,,\n");
        let error = labelled_rows(&path, &both).unwrap_err().to_string();
        assert!(
            error.contains("none of the 1 images") && error.contains("fracture, implant"),
            "{error}"
        );
    }

    #[test]
    fn semicolons_and_tabs_are_read_as_commas_are() {
        for delimiter in [";", "\t"] {
            let text = "file,patient,fracture\na.dcm,P1,1\n".replace(',', delimiter);
            let (_folder, path) = csv(&text);
            assert_eq!(rows(&path, &[finding("fracture")], &[]).unwrap()[0].labels, [1.0]);
        }
    }

    #[test]
    fn an_image_of_nobody_is_a_patient_of_its_own() {
        let (_folder, path) = csv("file,patient\na.dcm,\nb.dcm, \na.dcm,\nc.dcm,P1\n");
        let rows = rows(&path, &[], &[]).unwrap();
        assert_ne!(rows[0].patient, rows[1].patient);
        assert_eq!(rows[0].patient, rows[2].patient);
        assert!(
            rows.iter()
                .all(|row| row.group == row.patient && !row.patient.contains(".dcm"))
        );
        let without: Vec<bool> = rows.iter().map(|row| row.without_patient).collect();
        assert_eq!(without, [true, true, true, false]);
    }

    #[test]
    fn an_image_without_a_part_is_in_that_of_its_patient() {
        let (_folder, path) =
            csv("file,patient,split\na,P1,test\nb,P1,\nc,P2,\nd,P3,train\ne,P3,test\nf,P3,\n");
        let parts: Vec<Option<Part>> = rows(&path, &[], &[])
            .unwrap()
            .iter()
            .map(|row| row.split)
            .collect();
        let (train, test) = (Some(Part::Train), Some(Part::Test));
        assert_eq!(parts, [test, test, None, train, test, None]);
    }
}

//! A labelled folder: images, and a CSV that says whose they are and what is true of them.
//!
//! The CSV has the columns `file` (relative to it) and `patient`, and the columns of the labels
//! ([`Column`]), empty for unknown. Every image goes through the contract that serving will use; what cannot be read is reported with its
//! row, and the rest is kept.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::columns::Column;
use super::samples::Samples;
use crate::dicom::Instance;
use crate::image::Plane;
use crate::image::decode::decode_picture;
use crate::image::preprocess::Preprocessing;

/// One row of the CSV.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The image's path.
    pub file: PathBuf,
    /// A pseudonym.
    pub patient: String,
    /// Those of the columns that were asked for, NaN where unknown.
    pub labels: Vec<f32>,
    /// Numbers of further columns that were asked for, NaN where there is none.
    pub covariates: Vec<f64>,
}

/// A labelled folder in memory.
#[derive(Clone, Debug, Default)]
pub struct Labelled {
    /// Images with labels.
    pub samples: Samples,
    /// For each image its covariates.
    pub covariates: Vec<Vec<f64>>,
    /// For each image its path.
    pub files: Vec<PathBuf>,
    /// What could not be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// Why a labelled folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
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
    /// No image could be read.
    #[error("none of the {0} images could be read; the first: {1}")]
    Nothing(usize, String),
}

/// Reads the rows of a CSV.
///
/// # Errors
/// [`IndexError`], which names the file and the line.
pub fn rows(csv: &Path, labels: &[Column], covariates: &[&str]) -> Result<Vec<Row>, IndexError> {
    let failed = |cause: &dyn std::fmt::Display| IndexError::Csv {
        file: csv.to_owned(),
        cause: cause.to_string(),
    };
    let mut reader = csv::Reader::from_path(csv).map_err(|error| failed(&error))?;
    let header = reader.headers().map_err(|error| failed(&error))?.clone();
    let column = |name: &str| {
        header
            .iter()
            .position(|present| present == name)
            .ok_or_else(|| IndexError::Column {
                file: csv.to_owned(),
                column: name.to_owned(),
                present: header.iter().collect::<Vec<_>>().join(", "),
            })
    };
    let (file, patient) = (column("file")?, column("patient")?);
    let label_columns = labels
        .iter()
        .map(|label| column(&label.name))
        .collect::<Result<Vec<_>, _>>()?;
    let covariate_columns = covariates
        .iter()
        .map(|name| column(name))
        .collect::<Result<Vec<_>, _>>()?;
    let folder = csv.parent().unwrap_or(Path::new("."));

    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| failed(&error))?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |column: usize| record.get(column).unwrap_or_default().trim();
        let label = |(place, column): (&usize, &Column)| {
            column.read(cell(*place)).ok_or_else(|| IndexError::Label {
                file: csv.to_owned(),
                line,
                column: column.name.clone(),
                allowed: column.allowed(),
            })
        };
        rows.push(Row {
            file: folder.join(cell(file)),
            patient: cell(patient).to_owned(),
            labels: label_columns
                .iter()
                .zip(labels)
                .map(label)
                .collect::<Result<Vec<_>, _>>()?
                .concat(),
            covariates: covariate_columns
                .iter()
                .map(|column| cell(*column).parse().unwrap_or(f64::NAN))
                .collect(),
        });
    }
    Ok(rows)
}

/// Reads the images of `rows` on all cores; `step` is called once for each.
///
/// # Errors
/// [`IndexError::Nothing`] where no image could be read.
pub fn load(
    rows: Vec<Row>,
    contract: &Preprocessing,
    step: impl Fn() + Sync,
) -> Result<Labelled, IndexError> {
    let planes: Vec<Result<Plane, String>> = rows
        .par_iter()
        .map(|row| {
            let plane = plane(&row.file, contract);
            step();
            plane
        })
        .collect();
    let count = rows.len();
    let mut labelled = Labelled::default();
    for (row, plane) in rows.into_iter().zip(planes) {
        match plane {
            Ok(plane) => {
                labelled.samples.push(plane, row.labels, row.patient);
                labelled.covariates.push(row.covariates);
                labelled.files.push(row.file);
            }
            Err(cause) => labelled.unreadable.push((row.file, cause)),
        }
    }
    if labelled.samples.is_empty() {
        let first = labelled
            .unreadable
            .first()
            .map_or_else(|| "the CSV has no rows".to_owned(), |(_, cause)| cause.clone());
        return Err(IndexError::Nothing(count, first));
    }
    Ok(labelled)
}

/// One image through decoding and the first half of the contract.
///
/// # Errors
/// A sentence that says what is wrong with the file.
pub fn plane(file: &Path, contract: &Preprocessing) -> Result<Plane, String> {
    let bytes = std::fs::read(file).map_err(|error| format!("it cannot be read: {error}"))?;
    let image = if bytes.starts_with(b"\x89PNG") || bytes.starts_with(b"\xFF\xD8\xFF") {
        decode_picture(&bytes)
    } else {
        let instance = Instance::parse(bytes.into()).map_err(|error| error.to_string())?;
        contract.decode(&instance)
    };
    let image = image.map_err(|error| error.to_string())?;
    Ok(contract.plane(&image).map_err(|error| error.to_string())?.0)
}

#[cfg(test)]
mod tests {
    use super::super::columns::Kind;
    use super::*;

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
        let rows = rows(&path, &labels, &["age"]).unwrap();
        assert_eq!(rows[0].labels, [1.0]);
        assert!(rows[1].labels[0].is_nan() && rows[1].covariates[0].is_nan());
        assert_eq!(rows[0].covariates, [70.0]);

        let (_folder, path) = csv("file,patient,fracture\na.dcm,P1,yes\n");
        let error = super::rows(&path, &labels, &[]).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("fracture"), "{error}");
        let error = super::rows(&path, &[finding("age")], &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("no column age"), "{error}");
    }

    #[test]
    fn unreadable_images_are_named_and_the_rest_is_kept() {
        let (folder, path) = csv("file,patient,fracture\ngood.png,P1,1\nbad.dcm,P2,0\nmissing.dcm,P3,0\n");
        let ramp: Vec<u8> = (0..64 * 48).map(|index| (index % 253) as u8).collect();
        image::save_buffer(
            folder.path().join("good.png"),
            &ramp,
            48,
            64,
            image::ExtendedColorType::L8,
        )
        .unwrap();
        std::fs::write(folder.path().join("bad.dcm"), "no image").unwrap();
        let rows = rows(&path, &[finding("fracture")], &[]).unwrap();
        let loaded = load(rows, &Preprocessing::grey(32, 24), || {}).unwrap();
        assert_eq!(loaded.samples.len(), 1);
        assert_eq!(loaded.unreadable.len(), 2);
        assert!(loaded.unreadable[0].1.contains("DICM"));
    }
}

//! A table of images becomes samples: `images.csv` of an index, or a CSV of the user's with the columns `file` (relative to it) and
//! `patient`; beside them the columns of the labels ([`Column`]), empty for unknown. An image of which nobody says whose it is counts as
//! a patient of its own. An image without a part of a split that was given is in that of its group.
//!
//! Every image goes through the contract that serving will use. Those of an index come from its cache; what the cache has not got is
//! decoded once, on all cores, and put there. What cannot be read is reported with its row, and the rest is kept.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::reading::is_picture;
use super::source::file_of;
use super::{CACHE, IMAGES};
use crate::dicom::Instance;
use crate::image::Plane;
use crate::image::decode::decode_picture;
use crate::image::preprocess::Preprocessing;
use crate::train::data::Column;
use crate::train::data::cache::{
    CacheError, CacheWriter, Digest, PlaneCache, digest as digest_of, hex, unhex,
};
use crate::train::data::delimited::delimited;
use crate::train::data::labels::Part;
use crate::train::data::samples::{Image, Samples};
use crate::train::data::split::with_their_groups;

/// Images that are decoded before they are put into the cache together.
const TOGETHER: usize = 64;

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

/// A labelled folder in memory.
#[derive(Clone, Debug, Default)]
pub struct Labelled {
    /// Images with labels.
    pub samples: Samples,
    /// For each image its covariates.
    pub covariates: Vec<Vec<String>>,
    /// For each image the group that belongs on one side of a split.
    pub groups: Vec<String>,
    /// For each image the part of a split that was given.
    pub splits: Vec<Option<Part>>,
    /// For each image its line in the table, from 1.
    pub lines: Vec<u64>,
    /// What could not be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
}

impl Labelled {
    /// Those at `places`, in that order.
    #[must_use]
    pub fn select(&self, places: &[usize]) -> Self {
        fn of<T: Clone>(all: &[T], places: &[usize]) -> Vec<T> {
            places.iter().map(|place| all[*place].clone()).collect()
        }
        Self {
            samples: self.samples.select(places),
            covariates: of(&self.covariates, places),
            groups: of(&self.groups, places),
            splits: of(&self.splits, places),
            lines: of(&self.lines, places),
            unreadable: self.unreadable.clone(),
        }
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
    let body_part = optional("body_part");
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

/// Reads the images of `rows`, which stand in `csv`; `step` is called once for each. Images of an index stay in its cache.
///
/// # Errors
/// [`LabelledError::Nothing`] where no image could be read, [`LabelledError::Cache`].
pub fn load(
    csv: &Path,
    rows: Vec<LabelledRow>,
    contract: &Preprocessing,
    step: impl Fn() + Sync,
) -> Result<Labelled, LabelledError> {
    let count = rows.len();
    let labelled = read(csv, rows, contract, step)?;
    if labelled.samples.is_empty() {
        let first = labelled
            .unreadable
            .first()
            .map_or_else(|| "the CSV has no rows".to_owned(), |(_, cause)| cause.clone());
        return Err(LabelledError::Nothing(count, first));
    }
    Ok(labelled)
}

/// As [`load`], where it may be that none can be read.
pub(super) fn read(
    csv: &Path,
    rows: Vec<LabelledRow>,
    contract: &Preprocessing,
    step: impl Fn() + Sync,
) -> Result<Labelled, LabelledError> {
    let cached =
        csv.file_name().is_some_and(|name| name == IMAGES) && rows.iter().all(|row| row.digest.is_some());
    let images = if cached {
        from_cache(&csv.with_file_name(CACHE), &rows, contract, step)?
    } else {
        let read = |row: &LabelledRow| {
            let plane = plane(&row.file, contract);
            step();
            plane.map(Image::Held)
        };
        rows.par_iter().map(read).collect()
    };
    let mut labelled = Labelled::default();
    for (row, image) in rows.into_iter().zip(images) {
        match image {
            Ok(image) => {
                labelled
                    .samples
                    .push_of(row.body_part, image, row.labels, row.patient);
                labelled.covariates.push(row.covariates);
                labelled.groups.push(row.group);
                labelled.splits.push(row.split);
                labelled.lines.push(row.line);
            }
            Err(cause) => labelled.unreadable.push((row.file, cause)),
        }
    }
    Ok(labelled)
}

/// The images of an index, from its cache, which is filled first where it has not got all.
fn from_cache(
    folder: &Path,
    rows: &[LabelledRow],
    contract: &Preprocessing,
    step: impl Fn() + Sync,
) -> Result<Vec<Result<Image, String>>, LabelledError> {
    let known = PlaneCache::open(folder, contract)?;
    let digest = |row: &LabelledRow| row.digest.unwrap_or_default();
    let missing: Vec<&LabelledRow> = rows
        .iter()
        .filter(|row| {
            let record = known.as_ref().and_then(|cache| cache.record(&digest(row)));
            record.is_none()
        })
        .collect();
    let mut failed: HashMap<Digest, String> = HashMap::new();
    (missing.len()..rows.len()).for_each(|_| step());
    if !missing.is_empty() {
        let mut writer = CacheWriter::open(folder, contract)?;
        for rows in missing.chunks(TOGETHER) {
            let read: Vec<_> = rows
                .par_iter()
                .map(|row| {
                    let plane = plane(&row.file, contract);
                    step();
                    (digest(row), plane)
                })
                .collect();
            let (mut planes, mut causes) = (Vec::new(), Vec::new());
            for (digest, plane) in read {
                match plane {
                    Ok(plane) => planes.push((digest, plane)),
                    Err(cause) => causes.push((digest, cause)),
                }
            }
            writer.add(&planes)?;
            failed.extend(causes);
        }
    }
    let cache = PlaneCache::open(folder, contract)?.map(Arc::new);
    let image = |row: &LabelledRow| match cached(cache.as_ref(), &digest(row)) {
        Some(image) => Ok(image),
        None => Err(failed.get(&digest(row)).cloned().unwrap_or_default()),
    };
    Ok(rows.iter().map(image).collect())
}

fn cached(cache: Option<&Arc<PlaneCache>>, digest: &Digest) -> Option<Image> {
    let cache = cache?;
    Some(Image::Cached(cache.clone(), cache.record(digest)?))
}

/// One image through decoding and the first half of the contract.
///
/// # Errors
/// A sentence that says what is wrong with the file.
pub fn plane(file: &Path, contract: &Preprocessing) -> Result<Plane, String> {
    if file_of(&file.to_string_lossy()).is_none() || file.as_os_str().is_empty() {
        return Err(
            "it is in an archive, or files.csv is not beside the table: fill the cache by `osteon-train index --recipe` first"
                .to_owned(),
        );
    }
    let bytes = std::fs::read(file).map_err(|error| format!("it cannot be read: {error}"))?;
    let image = if is_picture(&bytes) {
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
        let loaded = load(&path, rows, &Preprocessing::grey(32, 24), || {}).unwrap();
        assert_eq!(loaded.samples.len(), 1);
        assert_eq!(loaded.unreadable.len(), 2);
        assert!(loaded.unreadable[0].1.contains("DICM"));
    }
}

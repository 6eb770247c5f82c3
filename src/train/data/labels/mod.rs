//! What is known of images besides themselves: a CSV of the user's, or what a public set says in its own way.
//!
//! Invariant: of a CSV only where each line begins is held; a line is read again when its image comes.

mod given;
mod joined;
pub mod table;

use std::path::{Path, PathBuf};

pub use given::Given;
pub use joined::Joined;
use serde::{Deserialize, Serialize};

/// An image by everything that a line may name it by. Identifiers are what the index calls them, under its key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// Its file; none for an archive's.
    pub file: Option<&'a Path>,
    /// The image.
    pub image: &'a str,
    /// Its study.
    pub study: Option<&'a str>,
    /// Its order.
    pub accession: Option<&'a str>,
    /// Its patient.
    pub patient: Option<&'a str>,
    /// Its rows and columns.
    pub size: [usize; 2],
}

/// Which part of a split an image is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// For the gradient.
    Train,
    /// For the choice of the epoch, temperature and thresholds.
    Validation,
    /// For the report only.
    Test,
}

impl Part {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// Reads a name, as people write it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.trim().to_lowercase().as_str() {
            "train" | "training" => Self::Train,
            "validation" | "valid" | "val" | "dev" => Self::Validation,
            "test" | "testing" => Self::Test,
            _ => return None,
        })
    }
}

/// What is said of one image; what is not said is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stated {
    /// The patient, as it is written there: not a pseudonym.
    pub patient: Option<String>,
    /// The part of a split.
    pub split: Option<Part>,
    /// Age in whole years.
    pub age: Option<u16>,
    /// M, F or O.
    pub sex: Option<&'static str>,
    /// The body part, as it is written there.
    pub body_part: Option<String>,
    /// The view, as it is written there.
    pub view: Option<String>,
    /// The side, as it is written there.
    pub laterality: Option<String>,
    /// The site, as it is written there.
    pub site: Option<String>,
    /// Millimetres from row to row and from column to column.
    pub spacing: Option<[f64; 2]>,
    /// One for each column of the source, empty where it is not known.
    pub labels: Vec<String>,
}

/// Lines that belong to no image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unused {
    /// How many.
    pub count: usize,
    /// The first of them, by their numbers from 1.
    pub lines: Vec<u64>,
}

/// A source of statements about images.
pub trait Statements {
    /// What it is, for people.
    fn title(&self) -> String;
    /// The names of its labels.
    fn columns(&self) -> &[String];
    /// What it says of an image.
    ///
    /// # Errors
    /// [`LabelError`], which names the file and the line.
    fn of(&mut self, image: &Known<'_>) -> Result<Option<Stated>, LabelError>;
    /// Its lines that no image was asked for.
    fn unused(&self) -> Unused;
}

/// Why statements cannot be used. No variant shows a value that could name a patient.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The CSV cannot be read.
    #[error("{file} cannot be read: {cause}")]
    Csv {
        /// Its path.
        file: PathBuf,
        /// What is wrong, with its place.
        cause: String,
    },
    /// No column says which image a line is about.
    #[error(
        "{file} has no column that says which image a line is about: name one file, sop_instance_uid, study_instance_uid, accession_number or patient_id; it has {present}"
    )]
    NoKey {
        /// Its path.
        file: PathBuf,
        /// Its columns.
        present: String,
    },
    /// A value that cannot be one of its column.
    #[error("{file}, line {line}: {column} must be {needed}")]
    Value {
        /// Its path.
        file: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The column.
        column: String,
        /// What would be right.
        needed: &'static str,
    },
    /// Two lines about one image.
    #[error("{file}, lines {first} and {second} are about the same {what}: leave one of them")]
    Twice {
        /// Its path.
        file: PathBuf,
        /// A line, from 1.
        first: u64,
        /// A later one.
        second: u64,
        /// What they name.
        what: &'static str,
    },
    /// One line about two files.
    #[error(
        "{file}, line {line}: more than one image is called so: write as much of its path as tells them apart"
    )]
    Ambiguous {
        /// Its path.
        file: PathBuf,
        /// The line, from 1.
        line: u64,
    },
    /// A label with the name of a column of the index.
    #[error("{file}: a label cannot be called {column}, as a column of the index is: rename it")]
    Reserved {
        /// Its path.
        file: PathBuf,
        /// The column.
        column: String,
    },
}

/// M, F or O, as people write it.
#[must_use]
pub fn sex(text: &str) -> Option<&'static str> {
    Some(match text.trim().to_lowercase().as_str() {
        "m" | "male" => "M",
        "f" | "w" | "female" => "F",
        "o" | "other" => "O",
        _ => return None,
    })
}

//! The table of a training's images: where it is, and that it is the same one.
//!
//! A run remembers its table's path and digest. The path is where it is looked for; whoever moved it says where it is now, and the digest
//! says whether that is so.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::train::data::cache::hex;

/// Where the images of a training are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The CSV with the labels.
    pub labels: PathBuf,
    /// Its SHA-256.
    pub labels_sha256: String,
    /// Share of the patients that is held out.
    pub validation: f64,
    /// Seed of the split, where it is not the recipe's: trainings of several seeds hold the same patients out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_seed: Option<u64>,
    /// Which fold of a cross-validation it is, if it is one: its patients are others than those of the table's own split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fold: Option<FoldOf>,
}

/// A fold of a cross-validation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoldOf {
    /// From 1.
    pub number: usize,
    /// How many there are.
    pub folds: usize,
    /// The column of which each leaves one value out; none where folds are of patients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It is not there, for example.
    #[error(
        "{file}, the table of the run's images, cannot be read: {cause}; if it was moved, say where it is now"
    )]
    Unreadable {
        /// Its path.
        file: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Somebody wrote into it.
    #[error(
        "{0} has changed since the training, so that it does not say any more which patients were held out: put the old file back, or say where it is"
    )]
    Changed(PathBuf),
    /// What is said to be the table is another one.
    #[error("{0} is not the table that the run was trained with: name that one, as it was then")]
    Another(PathBuf),
}

impl Source {
    /// The table at `labels`, with a share of its patients held out.
    ///
    /// # Errors
    /// [`TableError::Unreadable`].
    pub fn of(labels: &Path, validation: f64) -> Result<Self, TableError> {
        let labels = whole(labels)?;
        Ok(Self {
            labels_sha256: digest(&labels)?,
            labels,
            validation,
            split_seed: None,
            fold: None,
        })
    }

    /// The same table where it was, or where it was `moved` to.
    ///
    /// # Errors
    /// [`TableError`], which names the file.
    pub fn found(self, moved: Option<&Path>) -> Result<Self, TableError> {
        let labels = match moved {
            Some(place) => whole(place)?,
            None => self.labels,
        };
        if digest(&labels)? != self.labels_sha256 {
            return Err(match moved {
                Some(_) => TableError::Another(labels),
                None => TableError::Changed(labels),
            });
        }
        Ok(Self { labels, ..self })
    }
}

fn whole(file: &Path) -> Result<PathBuf, TableError> {
    std::path::absolute(file).map_err(|cause| TableError::Unreadable {
        file: file.to_owned(),
        cause,
    })
}

/// The SHA-256 of a table, a piece after the other: it may have hundreds of megabytes.
pub(super) fn digest(file: &Path) -> Result<String, TableError> {
    let failed = |cause| TableError::Unreadable {
        file: file.to_owned(),
        cause,
    };
    let mut sha256 = Sha256::new();
    let mut reader = BufReader::with_capacity(1 << 20, File::open(file).map_err(failed)?);
    loop {
        let piece = reader.fill_buf().map_err(failed)?;
        let count = piece.len();
        if count == 0 {
            return Ok(hex(&sha256.finalize()));
        }
        sha256.update(piece);
        reader.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_found_where_it_was_and_where_it_is_said_to_be_if_it_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old.csv"), folder.path().join("new.csv"));
        std::fs::write(&old, "file,patient\n").unwrap();
        let source = Source::of(&old, 0.2).unwrap();
        // sha256sum
        assert_eq!(
            source.labels_sha256,
            crate::model::package::sha256(b"file,patient\n")
        );
        assert_eq!(source.clone().found(None).unwrap(), source);
        std::fs::rename(&old, &new).unwrap();
        let said = |moved| source.clone().found(moved).unwrap_err().to_string();
        assert!(said(None).contains("if it was moved, say where it is now"));
        assert_eq!(source.clone().found(Some(&new)).unwrap().labels, new);
        std::fs::write(&new, "file,patient,more\n").unwrap();
        assert!(said(Some(&new)).contains("is not the table that the run was trained with"));
        std::fs::rename(&new, &old).unwrap();
        assert!(said(None).contains("has changed since the training"));
    }
}

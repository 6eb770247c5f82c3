//! The table of images, a line after the other, as often as it is needed.

use std::path::Path;

use csv::StringRecord;

use super::ProposalError;
use crate::train::assess::header;
use crate::train::data::delimited::delimited;
use crate::train::data::index::COLUMNS;

/// A table of images with its header.
pub(super) struct Table<'a> {
    pub(super) file: &'a Path,
    header: Vec<String>,
}

impl<'a> Table<'a> {
    pub(super) fn open(file: &'a Path) -> Result<Self, ProposalError> {
        let mut reader = reader(file)?;
        let header = reader.headers().map_err(|error| failed(file, &error))?;
        Ok(Self {
            file,
            header: header.iter().map(|name| name.trim().to_owned()).collect(),
        })
    }

    /// The cell of a column; nothing where there is no such column.
    pub(super) fn cell<'r>(&self, record: &'r StringRecord, column: &str) -> &'r str {
        let place = self.header.iter().position(|name| name == column);
        place
            .and_then(|place| record.get(place))
            .unwrap_or_default()
            .trim()
    }

    /// Visits every line.
    pub(super) fn each(&self, mut visit: impl FnMut(&StringRecord)) -> Result<(), ProposalError> {
        for record in reader(self.file)?.records() {
            visit(&record.map_err(|error| failed(self.file, &error))?);
        }
        Ok(())
    }

    /// Columns that may hold answers: those that no index makes and no header says.
    pub(super) fn candidates(&self) -> Vec<&String> {
        let is_own = |name: &&String| {
            let name = name.as_str();
            !name.is_empty() && name != "file" && !COLUMNS.contains(&name) && !header::COLUMNS.contains(&name)
        };
        self.header.iter().filter(is_own).collect()
    }
}

fn reader(file: &Path) -> Result<csv::Reader<std::fs::File>, ProposalError> {
    let builder = delimited(file).map_err(|error| failed(file, &error))?;
    builder.from_path(file).map_err(|error| failed(file, &error))
}

fn failed(file: &Path, cause: &dyn std::fmt::Display) -> ProposalError {
    ProposalError::Table {
        file: file.to_owned(),
        cause: cause.to_string(),
    }
}

//! Files that get their names when they are whole and on disk: half a table would pass for a whole one.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{IndexError, SECRET};

/// A file that is being written.
pub(super) struct Draft {
    path: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
}

impl Draft {
    /// A file of the index; of [`SECRET`], for nobody but its owner to read.
    pub(super) fn create(folder: &Path, name: &str) -> Result<Self, IndexError> {
        let path = folder.join(name);
        let temporary = folder.join(format!("{name}.part"));
        let mode = if SECRET.contains(&name) { 0o600 } else { 0o666 };
        let mut options = OpenOptions::new();
        let opened = options
            .create(true)
            .truncate(true)
            .write(true)
            .mode(mode)
            .open(&temporary);
        let file = opened.map_err(|error| IndexError::writing(&path, &error))?;
        Ok(Self {
            path,
            temporary,
            file: BufWriter::new(file),
        })
    }

    /// Writes it whole.
    pub(super) fn whole(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), IndexError> {
        let mut draft = Self::create(folder, name)?;
        let written = draft.file.write_all(bytes);
        written.map_err(|error| IndexError::writing(&draft.path, &error))?;
        draft.publish()
    }

    fn publish(self) -> Result<(), IndexError> {
        let Self {
            path,
            temporary,
            file,
        } = self;
        let written = file.into_inner().map_err(std::io::IntoInnerError::into_error);
        written
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(&temporary, &path))
            .map_err(|error| IndexError::writing(&path, &error))
    }
}

/// A CSV that is being written.
pub(super) struct Table {
    csv: csv::Writer<Draft>,
    path: PathBuf,
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Table {
    pub(super) fn create<'c>(
        folder: &Path,
        name: &str,
        header: impl IntoIterator<Item = &'c str>,
    ) -> Result<Self, IndexError> {
        let draft = Draft::create(folder, name)?;
        let path = draft.path.clone();
        let mut table = Self {
            csv: csv::Writer::from_writer(draft),
            path,
        };
        table.push(header)?;
        Ok(table)
    }

    pub(super) fn push<'c>(&mut self, cells: impl IntoIterator<Item = &'c str>) -> Result<(), IndexError> {
        let written = self.csv.write_record(cells);
        written.map_err(|error| IndexError::writing(&self.path, &error))
    }

    pub(super) fn finish(self) -> Result<(), IndexError> {
        let path = self.path;
        let draft = self.csv.into_inner().map_err(csv::IntoInnerError::into_error);
        draft
            .map_err(|error| IndexError::writing(&path, &error))?
            .publish()
    }
}

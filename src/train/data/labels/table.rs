//! A CSV that stays on disk: its lines are found by a key and read again when they are needed.

use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use csv::{ByteRecord, Position, Reader, StringRecord};

use super::{LabelError, Unused};
use crate::train::data::delimited::delimited;

/// How many unused lines are named.
const NAMED: usize = 10;

/// Where the line with a key begins.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u64,
    byte: u64,
    line: u64,
    /// A hash of the image that it was used for, 0 for none.
    used: u64,
}

/// A CSV with a header, and where its lines begin, by their keys. Delimited by commas, semicolons or tabs; text that is no UTF-8
/// is read as well as it can be.
pub struct Table {
    file: PathBuf,
    reader: Reader<File>,
    header: Vec<String>,
    /// Sorted by key.
    entries: Vec<Entry>,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its number, from 1.
    pub number: u64,
    cells: StringRecord,
}

impl Line {
    /// A cell without the spaces around it; empty where there is none.
    #[must_use]
    pub fn cell(&self, column: Option<usize>) -> &str {
        column
            .and_then(|column| self.cells.get(column))
            .unwrap_or_default()
            .trim()
    }
}

impl Table {
    /// Opens a CSV and reads its header.
    ///
    /// # Errors
    /// [`LabelError::Csv`].
    pub fn open(file: &Path) -> Result<Self, LabelError> {
        let failed = |cause: &dyn std::fmt::Display| LabelError::Csv {
            file: file.to_owned(),
            cause: cause.to_string(),
        };
        let mut reader = delimited(file)
            .map_err(|error| failed(&error))?
            .flexible(true)
            .from_path(file)
            .map_err(|error| failed(&error))?;
        let header = reader.byte_headers().map_err(|error| failed(&error))?.clone();
        let header = StringRecord::from_byte_record_lossy(header);
        Ok(Self {
            file: file.to_owned(),
            reader,
            header: header.iter().map(|name| name.trim().to_owned()).collect(),
            entries: Vec::new(),
        })
    }

    /// Its path.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The names of its columns.
    #[must_use]
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// The first column that has one of these names; case, spaces and what is no letter or digit do not count.
    #[must_use]
    pub fn column(&self, names: &[&str]) -> Option<usize> {
        let wanted: Vec<String> = names.iter().map(|name| plain(name)).collect();
        self.header.iter().position(|own| wanted.contains(&plain(own)))
    }

    /// The first column that has one of these names.
    ///
    /// # Errors
    /// [`LabelError::Csv`], which says what there is.
    pub fn needed(&self, names: &[&str]) -> Result<usize, LabelError> {
        self.column(names).ok_or_else(|| LabelError::Csv {
            file: self.file.clone(),
            cause: format!("it has no column {}: it has {}", names[0], self.header.join(", ")),
        })
    }

    /// Reads all lines once; `key` says by what a line is found, or that it is not.
    ///
    /// # Errors
    /// What `key` says, and [`LabelError::Csv`].
    pub fn find_by(
        &mut self,
        mut key: impl FnMut(&Line) -> Result<Option<String>, LabelError>,
    ) -> Result<(), LabelError> {
        let mut record = ByteRecord::new();
        while self.next(&mut record)? {
            let Some(position) = record.position().cloned() else {
                continue;
            };
            let line = Line {
                number: position.line(),
                cells: StringRecord::from_byte_record_lossy(std::mem::take(&mut record)),
            };
            if let Some(key) = key(&line)? {
                self.entries.push(Entry {
                    key: hashed(&key),
                    byte: position.byte(),
                    line: position.line(),
                    used: 0,
                });
            }
        }
        self.entries.sort_by_key(|entry| (entry.key, entry.line));
        Ok(())
    }

    /// Two lines with one key.
    #[must_use]
    pub fn twice(&self) -> Option<(u64, u64)> {
        let pairs = self.entries.windows(2);
        let same = pairs.filter(|pair| pair[0].key == pair[1].key);
        same.map(|pair| (pair[0].line, pair[1].line)).min()
    }

    /// The lines with a key, which are used for `image` from now on.
    ///
    /// # Errors
    /// [`LabelError::Csv`].
    pub fn lines(&mut self, key: &str, image: &str) -> Result<Vec<Line>, LabelError> {
        let key = hashed(key);
        let start = self.entries.partition_point(|entry| entry.key < key);
        let count = self.entries[start..]
            .iter()
            .take_while(|entry| entry.key == key)
            .count();
        let mut lines = Vec::with_capacity(count);
        for place in start..start + count {
            self.entries[place].used = hashed(image);
            let Entry { byte, line, .. } = self.entries[place];
            let mut position = Position::new();
            position.set_byte(byte).set_line(line);
            let sought = self.reader.seek(position);
            sought.map_err(|error| self.failed(&error))?;
            let mut record = ByteRecord::new();
            if self.next(&mut record)? {
                let cells = StringRecord::from_byte_record_lossy(record);
                lines.push(Line { number: line, cells });
            }
        }
        Ok(lines)
    }

    /// The line with a key, which must not have been used for another image.
    ///
    /// # Errors
    /// [`LabelError::Ambiguous`] and [`LabelError::Csv`].
    pub fn line_of_one(&mut self, key: &str, image: &str) -> Result<Option<Line>, LabelError> {
        let hash = hashed(key);
        let place = self.entries.partition_point(|entry| entry.key < hash);
        match self.entries.get(place) {
            Some(entry) if entry.key == hash && entry.used != 0 && entry.used != hashed(image) => {
                Err(LabelError::Ambiguous {
                    file: self.file.clone(),
                    line: entry.line,
                })
            }
            _ => Ok(self.lines(key, image)?.pop()),
        }
    }

    /// Lines that were used for no image.
    #[must_use]
    pub fn unused(&self) -> Unused {
        let mut lines: Vec<u64> = self
            .entries
            .iter()
            .filter(|entry| entry.used == 0)
            .map(|entry| entry.line)
            .collect();
        lines.sort_unstable();
        let count = lines.len();
        lines.truncate(NAMED);
        Unused { count, lines }
    }

    fn next(&mut self, record: &mut ByteRecord) -> Result<bool, LabelError> {
        let read = self.reader.read_byte_record(record);
        read.map_err(|error| self.failed(&error))
    }

    fn failed(&self, cause: &dyn std::fmt::Display) -> LabelError {
        LabelError::Csv {
            file: self.file.clone(),
            cause: cause.to_string(),
        }
    }
}

/// A path as keys have it: with `/`, and nothing before it that means here.
#[must_use]
pub fn path_key(cell: &str) -> String {
    let path = cell.replace('\\', "/");
    path.trim_start_matches("./").to_owned()
}

/// What a file may be called in a CSV: its path, and all that is left of it when folders are taken off its front, the longest first;
/// each also without its extension, last of all.
pub fn path_keys(file: &Path) -> impl Iterator<Item = String> {
    let whole = path_key(&file.to_string_lossy());
    let stem = path_key(&file.with_extension("").to_string_lossy());
    [whole, stem].into_iter().flat_map(|path| {
        let starts: Vec<usize> = std::iter::once(0)
            .chain(path.match_indices('/').map(|(at, _)| at + 1))
            .collect();
        starts.into_iter().map(move |start| path[start..].to_owned())
    })
}

fn plain(name: &str) -> String {
    let letters = name.chars().filter(|character| character.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

/// Never 0. The same in every run: the hasher has no seed.
fn hashed(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish().max(1)
}

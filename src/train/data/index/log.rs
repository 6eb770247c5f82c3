//! What was read, line by line: the memory of an index. A run that is killed goes on from here.
//!
//! `work.jsonl`: a line for each file, appended and on disk before the next files are begun; for a file that changed, its last line
//! counts. It has paths and what headers say in words, so nobody but its owner may read it. In memory is only where each line begins.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::reading::Outcome;
use super::{FORM, IndexError};
use crate::deidentify::Key;
use crate::train::data::cache::{Digest, unhex};

/// A line is longer than this only if it is none.
const MOST_LINE: usize = 1 << 20;

/// By what it is seen that a file is another than before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    /// Bytes.
    pub(super) size: u64,
    /// Nanoseconds since 1970 of its last change; 0 for what cannot change.
    pub(super) modified: u64,
}

/// One line: a file and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its path, or where it is in an archive.
    pub(super) place: String,
    /// Which version of it.
    pub(super) stamp: Stamp,
    /// SHA-256 of its bytes in hexadecimal.
    pub(super) digest: String,
    /// What became of it.
    pub(super) outcome: Outcome,
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    osteon_index: u32,
    /// A code under the key: another key would give one patient two pseudonyms.
    key: String,
}

/// What is held of a line.
#[derive(Clone, Copy, Debug)]
struct At {
    start: u64,
    length: u32,
    stamp: Stamp,
    done: Done,
}

/// What a line makes unnecessary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// The file is a row; its image may still have to be cached.
    Image(Digest),
    /// It is none, whatever is asked for.
    LeftOut,
    /// It is none unless its modality is asked for.
    OtherModality,
}

/// The log, open for this run alone.
#[derive(Debug)]
pub(super) struct WorkLog {
    path: PathBuf,
    file: File,
    end: u64,
    lines: HashMap<u64, At>,
}

impl WorkLog {
    /// Opens a log, made where there is none, and cuts off a line that was not written whole.
    ///
    /// # Errors
    /// [`IndexError`]: another run writes, another key made it, the system refuses.
    pub(super) fn open(path: &Path, key: &Key) -> Result<Self, IndexError> {
        let failed = |cause: &dyn std::fmt::Display| IndexError::Write {
            file: path.to_owned(),
            cause: cause.to_string(),
        };
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| failed(&error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(IndexError::Busy(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(&error)),
        }
        let mut log = Self {
            path: path.to_owned(),
            file,
            end: 0,
            lines: HashMap::new(),
        };
        log.load(key)?;
        Ok(log)
    }

    fn load(&mut self, key: &Key) -> Result<(), IndexError> {
        let code = key.code("index", "the key of an index");
        let file = self.file.try_clone().map_err(|error| self.failed(&error))?;
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader
                .by_ref()
                .take(MOST_LINE as u64)
                .read_until(b'\n', &mut line);
            let read = read.map_err(|error| self.failed(&error))?;
            if !line.ends_with(b"\n") {
                break;
            }
            if self.end == 0 {
                match serde_json::from_slice(&line) {
                    Ok(Head {
                        osteon_index: FORM,
                        key,
                    }) if key == code => {}
                    Ok(Head {
                        osteon_index: FORM, ..
                    }) => {
                        return Err(IndexError::OtherKey(self.path.clone()));
                    }
                    _ => return Err(IndexError::NoLog(self.path.clone())),
                }
            } else if let Ok(entry) = serde_json::from_slice(&line) {
                // a line that cannot be read is one that was not written: its file is read again
                self.note(&entry, read);
            }
            self.end += read as u64;
        }
        self.file.set_len(self.end).map_err(|error| self.failed(&error))?;
        if self.end == 0 {
            let head = Head {
                osteon_index: FORM,
                key: code,
            };
            let text = serde_json::to_string(&head).map_err(|error| self.failed(&error))? + "\n";
            self.append(text.as_bytes())?;
        }
        Ok(())
    }

    fn note(&mut self, entry: &Entry, length: usize) {
        let done = match &entry.outcome {
            Outcome::Image(_) => match unhex(&entry.digest) {
                Some(digest) => Done::Image(digest),
                None => return,
            },
            Outcome::LeftOut(_) => Done::LeftOut,
            Outcome::OtherModality(_) => Done::OtherModality,
        };
        self.lines.insert(
            hashed(&entry.place),
            At {
                start: self.end,
                length: length as u32,
                stamp: entry.stamp,
                done,
            },
        );
    }

    /// Adds lines, and returns when they are on disk.
    ///
    /// # Errors
    /// [`IndexError::Write`]: a full disk, for example; then none of them is in it.
    pub(super) fn add(&mut self, entries: &[Entry]) -> Result<(), IndexError> {
        let mut text = Vec::new();
        let mut lengths = Vec::with_capacity(entries.len());
        for entry in entries {
            let before = text.len();
            serde_json::to_writer(&mut text, entry).map_err(|error| self.failed(&error))?;
            text.push(b'\n');
            lengths.push(text.len() - before);
        }
        let start = self.end;
        self.append(&text)?;
        self.end = start;
        for (entry, length) in entries.iter().zip(lengths) {
            self.note(entry, length);
            self.end += length as u64;
        }
        Ok(())
    }

    fn append(&mut self, text: &[u8]) -> Result<(), IndexError> {
        let written = self.file.write_all(text).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // half a line would swallow the next one; if even that fails, the next run cuts it
            let _ = self.file.set_len(self.end);
            return Err(self.failed(&error));
        }
        self.end += text.len() as u64;
        Ok(())
    }

    /// What is known of this version of a file.
    pub(super) fn done(&self, place: &str, stamp: Stamp) -> Option<Done> {
        let at = self.lines.get(&hashed(place))?;
        (at.stamp == stamp).then_some(at.done)
    }

    /// The last line of a file.
    ///
    /// # Errors
    /// [`IndexError::Write`] where it cannot be read any more.
    pub(super) fn entry(&self, place: &str) -> Result<Option<Entry>, IndexError> {
        let Some(at) = self.lines.get(&hashed(place)) else {
            return Ok(None);
        };
        let mut line = vec![0; at.length as usize];
        let read = self.file.read_exact_at(&mut line, at.start);
        read.map_err(|error| self.failed(&error))?;
        let entry: Entry = serde_json::from_slice(&line).map_err(|error| self.failed(&error))?;
        Ok((entry.place == place).then_some(entry))
    }

    fn failed(&self, cause: &dyn std::fmt::Display) -> IndexError {
        IndexError::Write {
            file: self.path.clone(),
            cause: cause.to_string(),
        }
    }
}

/// The same in every run: the hasher has no seed.
fn hashed(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::reading::left_out;
    use super::*;
    use crate::train::data::cache::hex;

    fn entry(place: &str, size: u64) -> Entry {
        Entry {
            place: place.to_owned(),
            stamp: Stamp { size, modified: 1 },
            digest: hex(&[7; 32]),
            outcome: left_out("no-image", "it is none"),
        }
    }

    fn open(folder: &Path) -> Result<WorkLog, IndexError> {
        WorkLog::open(&folder.join("work.jsonl"), &Key::new([1; 32]))
    }

    #[test]
    fn the_last_line_of_a_file_counts_and_half_a_line_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = open(folder.path()).unwrap();
        log.add(&[entry("a", 1), entry("b", 2)]).unwrap();
        log.add(&[entry("a", 3)]).unwrap();
        assert!(matches!(open(folder.path()), Err(IndexError::Busy(_))));
        drop(log);
        let path = folder.path().join("work.jsonl");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(br#"{"place":"c","sta"#).unwrap();
        let mut log = open(folder.path()).unwrap();
        assert_eq!(log.done("a", entry("a", 3).stamp), Some(Done::LeftOut));
        assert_eq!(log.done("a", entry("a", 1).stamp), None, "it changed since");
        assert_eq!(log.entry("a").unwrap(), Some(entry("a", 3)));
        assert_eq!(log.entry("c").unwrap(), None);
        log.add(&[entry("c", 4)]).unwrap();
        assert_eq!(log.entry("c").unwrap(), Some(entry("c", 4)));
        drop(log);
        assert_eq!(
            open(folder.path()).unwrap().entry("c").unwrap(),
            Some(entry("c", 4))
        );
    }

    #[test]
    fn another_key_and_another_file_are_refused_and_nobody_else_may_read() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        drop(open(folder.path()).unwrap());
        let path = folder.path().join("work.jsonl");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let other = WorkLog::open(&path, &Key::new([2; 32]));
        assert!(matches!(other, Err(IndexError::OtherKey(_))));
        std::fs::write(&path, "file,patient\n").unwrap();
        assert!(matches!(open(folder.path()), Err(IndexError::NoLog(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "file,patient\n");
    }
}

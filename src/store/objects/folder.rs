//! Objects in a local folder: `ab/cdef….dcm`, and `incoming/` for what is being written.
//!
//! Invariants:
//! - when [`Folder::write`] or [`Folder::settle`] returns, bytes and name survive a power cut: file synchronised, renamed,
//!   folder synchronised; the sub-folders are there and synchronised since the folder was opened;
//! - a name appears with all of its bytes, never with a part of them;
//! - a folder that has vanished, such as a volume that is no longer mounted, is an error: it is not made anew under what is
//!   running, and none of its objects is called missing.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::super::Timestamp;
use super::sha::Sha;
use super::state::StoredObject;
use crate::pages::Pages;

#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: Arc<PathBuf>,
    /// Tells apart the files that this process is writing.
    writers: Arc<AtomicU64>,
}

impl Folder {
    /// Opens a folder, and makes what is missing of it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        make(&path)?;
        for name in subfolders().chain(["incoming".to_owned()]) {
            create(&path.join(name))?;
        }
        // also where nothing was made: whoever made it may not have come this far
        synchronise(&path)?;
        path.parent().map_or(Ok(()), synchronise)?;
        Ok(Self {
            path: Arc::new(path),
            writers: Arc::default(),
        })
    }

    /// The stored form of an object, where there is one.
    pub(super) fn read(&self, sha: &Sha) -> io::Result<Option<Bytes>> {
        self.found(sha, read(&self.path_of(sha)))
    }

    /// When an object was written, where there is one.
    pub(super) fn modified(&self, sha: &Sha) -> io::Result<Option<Timestamp>> {
        let metadata = fs::metadata(self.path_of(sha));
        self.found(
            sha,
            metadata.and_then(|metadata| metadata.modified()).map(timestamp),
        )
    }

    pub(super) fn write(&self, sha: &Sha, stored: &[u8]) -> io::Result<()> {
        let path = self.path_of(sha);
        let (temporary, file) = self.incoming()?;
        let written = fill(file, stored).and_then(|()| fs::rename(&temporary, &path));
        if let Err(error) = written {
            // best effort: what cannot be removed now is found as a leftover, and the write has failed either way
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        synchronise(self.subfolder(sha).as_path())
    }

    /// Makes durable what is there: another writer may have renamed it and not yet synchronised the folder, and what was
    /// copied into the folder by hand was never synchronised. `false` where it is not there any more.
    pub(super) fn settle(&self, sha: &Sha) -> io::Result<bool> {
        let Some(file) = self.found(sha, File::open(self.path_of(sha)))? else {
            return Ok(false);
        };
        file.sync_all()?;
        synchronise(self.subfolder(sha).as_path()).map(|()| true)
    }

    pub(super) fn remove(&self, sha: &Sha) -> io::Result<()> {
        match self.found(sha, fs::remove_file(self.path_of(sha)))? {
            Some(()) => synchronise(self.subfolder(sha).as_path()),
            None => Ok(()),
        }
    }

    /// The objects of one sub-folder, a two-hundred-and-fifty-sixth of all; other files there are passed over.
    pub(super) fn list(&self, subfolder: u8) -> io::Result<Vec<StoredObject>> {
        let name = format!("{subfolder:02x}");
        let mut objects = Vec::new();
        for entry in fs::read_dir(self.path.join(&name))? {
            let entry = entry?;
            let Some(sha) = entry.file_name().to_str().and_then(|file| Sha::at(&name, file)) else {
                continue;
            };
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            objects.push(StoredObject {
                sha,
                modified: timestamp(metadata.modified()?),
                bytes: metadata.len(),
            });
        }
        Ok(objects)
    }

    /// Removes what writers left half-written when they died, and tells how many files that were.
    pub(super) fn remove_leftovers(&self, older_than: Duration) -> io::Result<u64> {
        let mut removed = 0;
        for entry in fs::read_dir(self.path.join("incoming"))? {
            let entry = entry?;
            let age = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .map(|modified| SystemTime::now().duration_since(modified).unwrap_or_default());
            let removal = age.and_then(|age| {
                if age <= older_than {
                    return Ok(0);
                }
                fs::remove_file(entry.path()).map(|()| 1)
            });
            removed += match removal {
                // its writer, or another sweeper, was faster
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                removal => removal?,
            };
        }
        Ok(removed)
    }

    /// Whether a file can be written.
    pub(super) fn ping(&self) -> io::Result<()> {
        let (temporary, mut file) = self.incoming()?;
        let written = file.write_all(b"ping");
        fs::remove_file(&temporary)?;
        written
    }

    /// A new file that no other writer has, of this process or of another one.
    fn incoming(&self) -> io::Result<(PathBuf, File)> {
        loop {
            let number = self.writers.fetch_add(1, Ordering::Relaxed);
            let path = self
                .path
                .join("incoming")
                .join(format!("{}-{number}", std::process::id()));
            match File::create_new(&path) {
                // in containers, processes of the same number share a folder
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                file => return Ok((path, file?)),
            }
        }
    }

    /// `None` for an object that is not there, and an error where its sub-folder is not there either.
    fn found<T>(&self, sha: &Sha, result: io::Result<T>) -> io::Result<Option<T>> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.subfolder(sha).is_dir() => Ok(None),
            result => result.map(Some),
        }
    }

    fn subfolder(&self, sha: &Sha) -> PathBuf {
        self.path.join(sha.location().0)
    }

    fn path_of(&self, sha: &Sha) -> PathBuf {
        let (folder, file) = sha.location();
        self.path.join(folder).join(file)
    }
}

fn subfolders() -> impl Iterator<Item = String> {
    (0..=u8::MAX).map(|first| format!("{first:02x}"))
}

fn fill(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

/// A file, in memory that is given back whole.
fn read(path: &Path) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut pages = Pages::any(length);
    file.read_exact(pages.bytes())?;
    Ok(pages.freeze())
}

/// Makes a folder and those above it, and synchronises each into the one that holds it.
fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        make(parent)?;
        create(folder)?;
        synchronise(parent)?;
    }
    Ok(())
}

/// Makes a folder that only the server's own user can enter, if it is not there.
fn create(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(folder) {
        Err(_) if folder.is_dir() => Ok(()),
        made => made,
    }
}

fn synchronise(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

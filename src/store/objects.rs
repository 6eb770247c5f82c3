//! Pixel objects: files named by the SHA-256 of their content, `objects/ab/cdef….dcm`.
//!
//! Invariants: when [`Objects::put`] returns, bytes and name survive a power cut (file synchronised, renamed, folder
//! synchronised); a name never holds other bytes than its digest says, and [`Objects::get`] checks that it does not.

use std::fmt::{self, Write as _};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::StoreError;

/// The SHA-256 of an object, as 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sha(String);

impl Sha {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut text = String::with_capacity(64);
        for byte in Sha256::digest(bytes) {
            // writing to a string cannot fail
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// Reads what [`Sha::as_str`] wrote; `None` for anything but 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 64 && text.bytes().all(digit)).then(|| Self(text.to_owned()))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The folder of objects. Its 256 sub-folders are made and synchronised when it is opened, so that no object ever waits
/// for, or is lost with, a folder that another writer has just made.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    folder: Arc<PathBuf>,
    /// Tells apart the temporary files of writers at the same time.
    writers: Arc<AtomicU64>,
}

impl Objects {
    /// Opens, and makes where needed, `data/objects`.
    pub(super) async fn open(data: PathBuf) -> Result<Self, StoreError> {
        let folder = blocking(move || {
            let folder = data.join("objects");
            make(&folder.join("incoming"))?;
            for first in 0..=u8::MAX {
                make(&folder.join(format!("{first:02x}")))?;
            }
            synchronise(&folder)?;
            synchronise(&data)?;
            Ok(folder)
        })
        .await?;
        Ok(Self {
            folder: Arc::new(folder),
            writers: Arc::default(),
        })
    }

    pub(super) async fn put(&self, bytes: Bytes) -> Result<Sha, StoreError> {
        let objects = self.clone();
        Ok(blocking(move || objects.write(&bytes)).await?)
    }

    pub(super) async fn get(&self, sha: Sha) -> Result<Bytes, StoreError> {
        let path = self.path(&sha);
        let bytes = blocking(move || match fs::read(path) {
            Ok(bytes) if Sha::of(&bytes) == sha => Ok(Some(bytes)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await?;
        bytes.map(Bytes::from).ok_or(StoreError::Damaged)
    }

    fn path(&self, sha: &Sha) -> PathBuf {
        let (first, rest) = sha.0.split_at(2);
        self.folder.join(first).join(format!("{rest}.dcm"))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<Sha> {
        let sha = Sha::of(bytes);
        let path = self.path(&sha);
        // a damaged object is written again: sending the instance once more mends it
        let kept = fs::read(&path).is_ok_and(|kept| kept == bytes);
        if !kept {
            let number = self.writers.fetch_add(1, Ordering::Relaxed);
            let temporary = self
                .folder
                .join("incoming")
                .join(format!("{}-{number}", std::process::id()));
            let written = write_file(&temporary, bytes).and_then(|()| fs::rename(&temporary, &path));
            if let Err(error) = written {
                // best effort: what cannot be removed now is an orphan, and the write has failed either way
                let _ = fs::remove_file(&temporary);
                return Err(error);
            }
        }
        // also where the object was there: another writer may have renamed it and not yet synchronised the folder
        path.parent().map_or(Ok(()), synchronise)?;
        Ok(sha)
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a folder, and those above it, that only the server's own user can enter.
fn make(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn synchronise(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Runs file work off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

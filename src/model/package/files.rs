//! Reading files of a package: plain files of a bounded size, never what a link leads to.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::PackageError;

/// The bytes of a plain file of at most `limit` bytes.
pub(super) fn read(folder: &Path, name: &str, limit: u64) -> Result<Vec<u8>, PackageError> {
    let failed = |source| PackageError::File {
        file: name.to_owned(),
        verb: "read",
        source,
    };
    let path = folder.join(name);
    let kind = fs::symlink_metadata(&path).map_err(failed)?.file_type();
    if !kind.is_file() {
        let what = if kind.is_symlink() {
            "a link"
        } else {
            "no plain file"
        };
        return Err(PackageError::Contradiction(format!(
            "{name} is {what}: a package holds plain files only, so copy what it stands for"
        )));
    }
    let file = open(&path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let too_large = || {
        PackageError::Contradiction(format!(
            "{name} is larger than the {limit} bytes that such a file may have"
        ))
    };
    if metadata.len() > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(usize::try_from(metadata.len()).unwrap_or_default())
        .map_err(|_| failed(io::ErrorKind::OutOfMemory.into()))?;
    // a file that is still being written may grow
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(too_large());
    }
    Ok(bytes)
}

/// Opens a file but no link, and without waiting for what is none: it may have been exchanged since it was looked at.
fn open(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options.open(path)
}

/// What tells one folder from another in its place, where the system knows.
pub(super) fn identity(folder: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(folder).ok()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Some((metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        None
    }
}

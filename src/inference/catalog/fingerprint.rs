//! Whether a package on disk changed, told from its folder alone: nothing is opened, so that looking costs next to nothing.
//!
//! Polled and not notified: inotify sees neither network file systems nor what a link was pointed to anew.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use crate::model::{Package, PackageError};

/// Names, sizes, times and inodes of a package's files, as one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(pub(super) u64);

/// A package that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) model: String,
    /// The name of its folder, which should be its version.
    pub(super) version: String,
    pub(super) folder: PathBuf,
    pub(super) fingerprint: Fingerprint,
}

/// Every package under `models`.
///
/// # Errors
/// [`PackageError::File`] where the folder cannot be read.
pub(super) fn look(models: &Path) -> Result<Vec<Found>, PackageError> {
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name)
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let folders = Package::folders(models)?;
    Ok(folders
        .into_iter()
        .filter_map(|folder| {
            Some(Found {
                model: name(folder.parent()),
                version: name(Some(&folder)),
                // one that goes while it is looked at is gone
                fingerprint: fingerprint(&folder).ok()?,
                folder,
            })
        })
        .collect())
}

fn fingerprint(folder: &Path) -> io::Result<Fingerprint> {
    let mut files = fs::read_dir(folder)?
        .map(|entry| {
            let entry = entry?;
            // not what a link leads to: a package holds plain files only
            let metadata = entry.metadata()?;
            Ok((entry.file_name(), metadata))
        })
        .collect::<io::Result<Vec<_>>>()?;
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut hasher = DefaultHasher::new();
    for (name, metadata) in files {
        (name, metadata.len(), metadata.modified()?).hash(&mut hasher);
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            (
                metadata.dev(),
                metadata.ino(),
                metadata.ctime(),
                metadata.ctime_nsec(),
            )
                .hash(&mut hasher);
        }
    }
    Ok(Fingerprint(hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_a_package_is_seen_and_looking_is_none() {
        let models = tempfile::tempdir().unwrap();
        let folder = models.path().join("m/1");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("manifest.json"), "{}").unwrap();
        fs::write(folder.join("model.onnx"), "abc").unwrap();
        let seen = || look(models.path()).unwrap().remove(0).fingerprint;
        let first = seen();
        fs::read(folder.join("model.onnx")).unwrap();
        assert_eq!(seen(), first);

        // the same size and time: only the inode and its own time tell
        let modified = fs::metadata(folder.join("model.onnx"))
            .unwrap()
            .modified()
            .unwrap();
        fs::write(folder.join("model.onnx"), "xyz").unwrap();
        let file = fs::File::options()
            .write(true)
            .open(folder.join("model.onnx"))
            .unwrap();
        file.set_modified(modified).unwrap();
        let second = seen();
        assert_ne!(second, first);
        fs::write(folder.join("stranger"), "").unwrap();
        assert_ne!(seen(), second);
    }
}

//! Whether a package on disk changed, told from its folder alone: nothing is opened, so that looking costs next to nothing.
//!
//! Polled and not notified: inotify sees neither network file systems nor what a link was pointed to anew.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::state::Rejected;
use crate::model::package::{Survey, UNDESCRIBED, Unreadable};
use crate::model::{Package, Stage};

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

/// A folder that is no package to try: what is wrong with it is said, and holds up nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Aside {
    pub(super) model: String,
    /// The name of the version's folder, unless it is all of the model's.
    pub(super) version: Option<String>,
    pub(super) reason: String,
    /// Whether it cannot be looked into: then what is known of it holds. Otherwise it is a network without a manifest.
    pub(super) unreadable: bool,
}

impl Aside {
    /// `<name>` or `<name>/<version>` under the models folder.
    pub(super) fn place(&self) -> String {
        match &self.version {
            Some(version) => format!("{}/{version}", self.model),
            None => self.model.clone(),
        }
    }

    pub(super) fn rejected(&self, since: SystemTime) -> Rejected {
        Rejected {
            package: self.place(),
            stage: Some(Stage::Digest),
            reason: self.reason.clone(),
            since: Some(since),
        }
    }
}

/// What a look at the models folder saw.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) packages: Vec<Found>,
    pub(super) aside: Vec<Aside>,
}

/// Every package under `models`.
///
/// # Errors
/// What the system says where the folder cannot be read.
pub(super) fn look(models: &Path) -> io::Result<Look> {
    let Survey {
        packages,
        undescribed,
        mut unreadable,
    } = Package::survey(models).map_err(|unreadable| unreadable.source)?;
    let mut look = Look::default();
    for folder in packages {
        match fingerprint(&folder) {
            Ok(fingerprint) => look.packages.push(Found {
                model: name(folder.parent()),
                version: name(Some(&folder)),
                fingerprint,
                folder,
            }),
            // one that goes while it is looked at is gone
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => unreadable.push(Unreadable { folder, source }),
        }
    }
    for folder in undescribed {
        look.aside.push(Aside {
            model: name(folder.parent()),
            version: Some(name(Some(&folder))),
            reason: UNDESCRIBED.to_owned(),
            unreadable: false,
        });
    }
    for Unreadable { folder, source } in unreadable {
        let own = name(Some(&folder));
        let (model, version) = if folder.parent() == Some(models) {
            (own, None)
        } else {
            (name(folder.parent()), Some(own))
        };
        look.aside.push(Aside {
            model,
            version,
            reason: format!("it cannot be read: {source}; what was loaded from it serves on"),
            unreadable: true,
        });
    }
    Ok(look)
}

fn name(path: Option<&Path>) -> String {
    let name = path.and_then(Path::file_name);
    name.map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
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
        let seen = || look(models.path()).unwrap().packages.remove(0).fingerprint;
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

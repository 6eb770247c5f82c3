//! What lies in a models folder, told from its folders alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{MANIFEST, Package};

/// What lies in a models folder, in the order of the names; what begins with a dot is passed over.
#[derive(Debug, Default)]
pub struct Survey {
    /// The folders of versions with a manifest: `<name>/<version>/manifest.json`.
    pub packages: Vec<PathBuf>,
    /// The folders of versions with an ONNX file and without a manifest, as other servers have them: they are no packages.
    pub undescribed: Vec<PathBuf>,
    /// The folders of models and of versions that are there and cannot be looked into: what they hold is unknown, and not gone.
    pub unreadable: Vec<Unreadable>,
}

/// A folder that cannot be looked into.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read: {source}", folder.display())]
pub struct Unreadable {
    /// The folder.
    pub folder: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

impl Package {
    /// Looks through a models folder. What cannot be read in it is said of its place, and takes nothing else away.
    ///
    /// # Errors
    /// [`Unreadable`] where `models` itself cannot be looked into.
    pub fn survey(models: &Path) -> Result<Survey, Unreadable> {
        let mut survey = Survey::default();
        let names = survey.subfolders(models).map_err(|source| Unreadable {
            folder: models.to_owned(),
            source,
        })?;
        for model in names {
            match survey.subfolders(&model) {
                Ok(versions) => versions.into_iter().for_each(|version| survey.version(version)),
                Err(source) => survey.off(model, source),
            }
        }
        survey
            .unreadable
            .sort_by(|one, other| one.folder.cmp(&other.folder));
        Ok(survey)
    }
}

impl Survey {
    fn version(&mut self, folder: PathBuf) {
        match fs::metadata(folder.join(MANIFEST)) {
            Ok(_) => self.packages.push(folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if holds_network(&folder) {
                    self.undescribed.push(folder);
                }
            }
            Err(source) => self.off(folder, source),
        }
    }

    /// Only what the system says is not there is gone.
    fn off(&mut self, folder: PathBuf, source: io::Error) {
        if source.kind() != io::ErrorKind::NotFound {
            self.unreadable.push(Unreadable { folder, source });
        }
    }

    /// The folders in a folder, in the order of their names, but for hidden ones.
    fn subfolders(&mut self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            // every volume of its own has a `lost+found`, which nobody may read
            let hidden = path
                .file_name()
                .is_none_or(|name| name.to_string_lossy().starts_with('.') || name == "lost+found");
            if !hidden {
                entries.push(path);
            }
        }
        entries.sort();
        let mut folders = Vec::new();
        for path in entries {
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => folders.push(path),
                Ok(_) => {}
                Err(source) => self.off(path, source),
            }
        }
        Ok(folders)
    }
}

fn holds_network(folder: &Path) -> bool {
    let network = |entry: fs::DirEntry| entry.path().extension().is_some_and(|kind| kind == "onnx");
    fs::read_dir(folder).is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(network)))
}

//! Publication: a package appears whole or not at all, and survives a power cut once it is there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{MANIFEST, Package, PackageError, sha256};
use crate::model::manifest::ModelManifest;

/// A package that is written whole and not published: it lies in a hidden folder of the models folder, where nobody takes it for one,
/// and can be opened and proven there. It goes when it is dropped.
#[derive(Debug)]
pub struct Staged {
    models: PathBuf,
    hidden: PathBuf,
    name: String,
    version: u32,
    replace: bool,
}

impl Staged {
    /// Writes `files` and a manifest that vouches for them.
    ///
    /// # Errors
    /// [`PackageError`]; one of that name and version that is already published is refused unless `replace`.
    pub fn write(
        models: &Path,
        mut manifest: ModelManifest,
        files: &BTreeMap<String, Vec<u8>>,
        replace: bool,
    ) -> Result<Self, PackageError> {
        manifest.files = files
            .iter()
            .map(|(name, content)| (name.clone(), sha256(content)))
            .collect();
        // names become paths: nothing is written before they are known to be plain
        manifest.check().map_err(PackageError::Contradiction)?;
        let (name, version) = (&manifest.name, manifest.version);
        Self::check_free(models, name, version, replace)?;
        let staged = Self {
            models: models.to_owned(),
            // a name cannot begin with a dot, so what is staged is never taken for a model
            hidden: models.join(format!(".{name}-{version}.partial")),
            name: name.clone(),
            version,
            replace,
        };
        let _ = fs::remove_dir_all(&staged.hidden);
        let folder = staged.folder();
        written(name, fs::create_dir_all(&folder))?;
        for (name, content) in files {
            written(name, write_file(&folder.join(name), content))?;
        }
        let mut text = serde_json::to_vec_pretty(&manifest).map_err(|error| PackageError::Json {
            file: MANIFEST,
            cause: error.to_string(),
        })?;
        text.push(b'\n');
        written(MANIFEST, write_file(&folder.join(MANIFEST), &text))?;
        written(name, synchronise(&folder))?;
        Ok(staged)
    }

    /// Where it lies, to be opened.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.within(&self.hidden)
    }

    fn within(&self, folder: &Path) -> PathBuf {
        folder.join(&self.name).join(self.version.to_string())
    }

    /// Checks all of it where it lies, and puts it in its place: in one step where the file system can exchange folders (one that is
    /// replaced was seen to be old or new, never missing); otherwise what is replaced is moved away a moment before.
    ///
    /// # Errors
    /// [`PackageError`]; then what was published before is untouched.
    pub fn publish(self) -> Result<Package, PackageError> {
        Self::check_free(&self.models, &self.name, self.version, self.replace)?;
        let mut package = Package::open(&self.folder())?;
        let (folder, name) = (self.within(&self.models), &self.name);
        let parent = self.models.join(name);
        written(name, fs::create_dir_all(&parent))?;
        let placed = if folder.exists() {
            exchange(&self.folder(), &folder)
        } else {
            fs::rename(self.folder(), &folder)
        };
        written(name, placed)?;
        written(name, synchronise(&parent))?;
        written(name, synchronise(&self.models))?;
        package.folder = folder;
        Ok(package)
    }

    /// Whether a package may be published so: what is known before any work is done.
    ///
    /// # Errors
    /// [`PackageError::Contradiction`], where one is there that is not to be replaced.
    pub fn check_free(models: &Path, name: &str, version: u32, replace: bool) -> Result<(), PackageError> {
        if replace || !models.join(name).join(version.to_string()).exists() {
            return Ok(());
        }
        Err(PackageError::Contradiction(format!(
            "version {version} of {name} is already there: choose another version, or replace it with --replace"
        )))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // what was replaced lies there, too; a rest is hidden, and goes with the next publication
        let _ = fs::remove_dir_all(&self.hidden);
    }
}

impl Package {
    /// Writes `files` and a manifest that vouches for them to `models/<name>/<version>/`, whole or not at all.
    ///
    /// # Errors
    /// [`PackageError`]; a package of that name and version that is already there is not touched unless `replace`.
    pub fn publish(
        models: &Path,
        manifest: ModelManifest,
        files: &BTreeMap<String, Vec<u8>>,
        replace: bool,
    ) -> Result<Self, PackageError> {
        Staged::write(models, manifest, files, replace)?.publish()
    }
}

fn written(file: &str, result: io::Result<()>) -> Result<(), PackageError> {
    result.map_err(|source| PackageError::File {
        file: file.to_owned(),
        verb: "written",
        source,
    })
}

/// Puts `new` in the place of `old`, which lies at `new` afterwards.
fn exchange(new: &Path, old: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE).is_ok() {
            return Ok(());
        }
    }
    // network file systems cannot: a server looks twice before it believes that a package is gone
    let away = new.with_extension("replaced");
    let _ = fs::remove_dir_all(&away);
    fs::rename(old, &away)?;
    if let Err(error) = fs::rename(new, old) {
        fs::rename(&away, old)?;
        return Err(error);
    }
    fs::rename(&away, new)
}

fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Makes the names in a folder survive a power cut.
fn synchronise(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

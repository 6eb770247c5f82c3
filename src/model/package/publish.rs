//! Publication: a package appears whole or not at all, and survives a power cut once it is there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::{MANIFEST, Package, PackageError, sha256};
use crate::model::manifest::ModelManifest;

impl Package {
    /// Writes `files` and a manifest that vouches for them to `models/<name>/<version>/`, whole or not at all. One that is replaced
    /// is exchanged in one step where the file system can (it was seen to be old or new, never missing), and otherwise moved away
    /// a moment before.
    ///
    /// # Errors
    /// [`PackageError`]; a package of that name and version that is already there is not touched unless `replace`.
    pub fn publish(
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
        let parent = models.join(&manifest.name);
        let folder = parent.join(manifest.version.to_string());
        if folder.exists() && !replace {
            return Err(PackageError::Contradiction(format!(
                "version {} of {} is already there: choose another version, or replace it on purpose",
                manifest.version, manifest.name
            )));
        }
        let write = |file: &str, result: io::Result<()>| {
            result.map_err(|source| PackageError::File {
                file: file.to_owned(),
                verb: "written",
                source,
            })
        };
        // a version's name cannot begin with a dot, so a half-written package is never taken for one
        let staging = parent.join(format!(".{}.partial", manifest.version));
        let _ = fs::remove_dir_all(&staging);
        write(&manifest.name, fs::create_dir_all(&staging))?;
        for (name, content) in files {
            write(name, write_file(&staging.join(name), content))?;
        }
        let mut text = serde_json::to_vec_pretty(&manifest).map_err(|error| PackageError::Json {
            file: MANIFEST,
            cause: error.to_string(),
        })?;
        text.push(b'\n');
        write(MANIFEST, write_file(&staging.join(MANIFEST), &text))?;
        write(&manifest.name, synchronise(&staging))?;
        let placed = if folder.exists() {
            exchange(&staging, &folder)
        } else {
            fs::rename(&staging, &folder)
        };
        write(&manifest.name, placed)?;
        write(&manifest.name, synchronise(&parent))?;
        write(&manifest.name, synchronise(models))?;
        // what was replaced; a rest of it is hidden, and goes with the next publication
        let _ = fs::remove_dir_all(&staging);
        Self::open(&folder)
    }
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

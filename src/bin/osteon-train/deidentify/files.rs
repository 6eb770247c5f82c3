//! Files in and out: found in a fixed order, never overwritten, secret where they have to be.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// All files behind `paths`, each once, sorted.
pub(super) fn inputs(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        // the path is the user's own, and may still name a patient
        walk(path, &mut files).with_context(|| format!("path {} of --in cannot be read", index + 1))?;
    }
    files.sort();
    files.dedup();
    anyhow::ensure!(!files.is_empty(), "there is no file behind --in");
    Ok(files)
}

fn walk(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !std::fs::metadata(path)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        // a link to a folder could lead in a circle
        if entry.file_type()?.is_symlink() && entry.path().is_dir() {
            continue;
        }
        walk(&entry.path(), files)?;
    }
    Ok(())
}

/// Writes a file that is not there yet, whole or not at all.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    written(path, bytes, 0o666)
}

/// Writes a file that is not there yet, for nobody but its owner to read.
pub(super) fn write_secret(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    written(path, bytes, 0o600).with_context(|| {
        format!(
            "{} cannot be written: it must not be there yet, and its folder must",
            path.display()
        )
    })
}

/// Half a file would pass for a whole one in the next run: it gets its name when it is complete and on disk.
fn written(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    // what an interrupted run has left
    match std::fs::remove_file(&part) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // unlike a rename, this fails where there is one of that name
        std::fs::hard_link(&part, path)
    };
    let done = write();
    // if even this fails, the first error is the one to tell
    let _ = std::fs::remove_file(&part);
    done
}

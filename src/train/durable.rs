//! Files that are old or new, never half: written beside their place, synchronised, and renamed into it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Puts `content` at `path`. After an error, such as a full disk, what was there before is still there, and the room that was taken
/// is given back.
pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!(".{name}.partial"));
    let written = place(&partial, path, content);
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

fn place(partial: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(partial)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(partial, path)?;
    // the new name itself has to survive a power cut
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write(&path, b"old").unwrap();
        // a folder where the partial file would be makes the write fail
        fs::create_dir(folder.path().join(".file.partial")).unwrap();
        assert!(write(&path, b"new").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        fs::remove_dir(folder.path().join(".file.partial")).unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

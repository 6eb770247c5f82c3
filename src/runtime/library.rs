//! Finding the ONNX Runtime shared library.
//!
//! The order is fixed: the path that was asked for, `ORT_DYLIB_PATH`, beside the executable, the per-user cache that
//! `scripts/fetch-onnxruntime` fills, Python's site-packages. A path that was named is taken or refused, never
//! silently passed over for another.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that `scripts/fetch-onnxruntime` fetches and that this project is tested with.
pub const PINNED_VERSION: &str = "1.32.0";
/// The command that mends a missing library.
pub const MEND: &str =
    "run `scripts/fetch-onnxruntime`, or give its path with --onnxruntime or ORT_DYLIB_PATH";

#[cfg(target_os = "macos")]
const NAMES: [&str; 2] = ["libonnxruntime.dylib", "libonnxruntime."];
#[cfg(not(target_os = "macos"))]
const NAMES: [&str; 2] = ["libonnxruntime.so", "libonnxruntime.so."];

/// The library to load, and where it was found, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Path of the library.
    pub path: PathBuf,
    /// For example `the per-user cache`.
    pub place: &'static str,
}

/// Looks for the library; `asked` is the path given on the command line or in the configuration.
#[must_use]
pub fn locate(asked: Option<&Path>) -> Option<Located> {
    if let Some(path) = asked {
        return Some(Located {
            path: path.to_owned(),
            place: "the path that was asked for",
        });
    }
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        return Some(Located {
            path: path.into(),
            place: "ORT_DYLIB_PATH",
        });
    }
    let executable = std::env::current_exe().ok();
    let beside = executable.as_deref().and_then(Path::parent).and_then(in_folder);
    let found = |path, place| Some(Located { path, place });
    if let Some(path) = beside {
        return found(path, "the folder of the executable");
    }
    if let Some(path) = cache().and_then(|cache| in_folder(&cache)) {
        return found(path, "the per-user cache");
    }
    found(
        site_packages().as_deref().and_then(in_folder)?,
        "Python's site-packages",
    )
}

/// The folder of the per-user cache that holds the pinned version.
fn cache() -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let root = set("OSTEON_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("osteon")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/osteon")))?;
    Some(root.join(format!("onnxruntime-{PINNED_VERSION}")))
}

/// The library in a folder: the plain name, or the one with a version behind it.
fn in_folder(folder: &Path) -> Option<PathBuf> {
    let plain = folder.join(NAMES[0]);
    if plain.is_file() {
        return Some(plain);
    }
    let mut versioned: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(NAMES[1]))
        })
        .collect();
    versioned.sort();
    versioned.pop()
}

fn site_packages() -> Option<PathBuf> {
    const ASK: &str = "import importlib.util as u; s = u.find_spec('onnxruntime'); print(s.submodule_search_locations[0] if s else '')";
    let output = Command::new("python3").args(["-c", ASK]).output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    let folder = folder.trim();
    (!folder.is_empty()).then(|| Path::new(folder).join("capi"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_was_asked_for_is_never_passed_over() {
        let asked = Path::new("/nowhere/libonnxruntime.so");
        assert_eq!(locate(Some(asked)).unwrap().path, asked);
    }

    #[test]
    fn a_folder_may_hold_the_plain_or_the_versioned_name() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(in_folder(folder.path()), None);
        let versioned = folder.path().join(format!("{}1.32.0", NAMES[1]));
        std::fs::write(&versioned, "").unwrap();
        assert_eq!(in_folder(folder.path()), Some(versioned));
        let plain = folder.path().join(NAMES[0]);
        std::fs::write(&plain, "").unwrap();
        assert_eq!(in_folder(folder.path()), Some(plain));
    }
}

//! Finding the ONNX Runtime shared library.
//!
//! The order is fixed: the path that was asked for, `ORT_DYLIB_PATH`, beside the executable, the per-user cache that
//! `scripts/fetch-onnxruntime` fills, Python's site-packages. A path that was named is taken or refused, never
//! silently passed over for another.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Device;

/// What `scripts/fetch-onnxruntime` fetches and this project is tested with: package and version.
const PINNED: &str = "onnxruntime-1.32.0";
/// What `scripts/fetch-onnxruntime --cuda` fetches. The package for CUDA comes out later than the one for the CPU.
const PINNED_CUDA: &str = "onnxruntime-gpu-1.31.1";
/// The part of ONNX Runtime that computes on NVIDIA GPUs; it lies beside the library.
const CUDA_PROVIDER: &str = "libonnxruntime_providers_cuda.so";
/// CUDA's own runtime, which knows which GPUs there are.
pub(super) const CUDA_RUNTIME: &str = "libcudart.so.13";
/// The command that mends a missing library.
pub const MEND: &str =
    "run `scripts/fetch-onnxruntime`, or give its path with --onnxruntime or ORT_DYLIB_PATH";
/// The command that mends a library that cannot compute on a GPU.
pub const MEND_CUDA: &str = "run `scripts/fetch-onnxruntime --cuda`, or install the package onnxruntime-gpu with its extras cuda and cudnn";

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
pub fn locate(asked: Option<&Path>, device: Device) -> Option<Located> {
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
    if let Some(path) = cache(device).and_then(|cache| in_folder(&cache)) {
        return found(path, "the per-user cache");
    }
    found(
        site_packages().as_deref().and_then(in_folder)?,
        "Python's site-packages",
    )
}

/// The folder of the per-user cache that holds the pinned version.
fn cache(device: Device) -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let root = set("OSTEON_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("osteon")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/osteon")))?;
    Some(root.join(match device {
        Device::Cpu => PINNED,
        Device::Cuda(_) => PINNED_CUDA,
    }))
}

/// Where NVIDIA's libraries lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CudaFolders {
    /// CUDA's own; where there is none, the system's loader looks for them.
    pub cuda: Option<PathBuf>,
    /// cuDNN's.
    pub cudnn: Option<PathBuf>,
}

/// NVIDIA's libraries for an ONNX Runtime that can compute on GPUs: beside it, where `scripts/fetch-onnxruntime --cuda` puts
/// them, otherwise in Python's site-packages, otherwise where the system's loader finds them.
///
/// # Errors
/// The file that is missing beside the library.
pub fn cuda_folders(library: &Path) -> Result<CudaFolders, String> {
    // the name may be a link to another folder, and ONNX Runtime looks in that one
    let real = library.canonicalize().unwrap_or_else(|_| library.to_owned());
    let folder = real.parent().unwrap_or(Path::new("."));
    if !folder.join(CUDA_PROVIDER).is_file() {
        return Err(format!("{CUDA_PROVIDER} is missing beside it"));
    }
    let has = |folder: &Path, name: &str| folder.join(name).is_file().then(|| folder.to_owned());
    // <site-packages>/onnxruntime/capi/libonnxruntime.so and <site-packages>/nvidia/{cu13,cudnn}/lib
    let nvidia = folder.ancestors().nth(2).map(|packages| packages.join("nvidia"));
    let find = |place: &str, name: &str| {
        has(folder, name).or_else(|| has(&nvidia.as_ref()?.join(place).join("lib"), name))
    };
    Ok(CudaFolders {
        cuda: find("cu13", CUDA_RUNTIME),
        cudnn: find("cudnn", "libcudnn.so.9"),
    })
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
        assert_eq!(locate(Some(asked), Device::Cpu).unwrap().path, asked);
    }

    #[test]
    fn cuda_needs_its_provider_and_finds_nvidias_libraries() {
        let packages = tempfile::tempdir().unwrap();
        let packages = packages.path().canonicalize().unwrap();
        let file = |path: &str| {
            let path = packages.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            path
        };
        let library = file("onnxruntime/capi/libonnxruntime.so");
        assert!(cuda_folders(&library).unwrap_err().contains(CUDA_PROVIDER));
        file("onnxruntime/capi/libonnxruntime_providers_cuda.so");
        assert_eq!(cuda_folders(&library), Ok(CudaFolders::default()));
        file("nvidia/cu13/lib/libcudart.so.13");
        file("onnxruntime/capi/libcudnn.so.9");
        let found = cuda_folders(&library).unwrap();
        assert_eq!(found.cuda.unwrap(), packages.join("nvidia/cu13/lib"));
        assert_eq!(found.cudnn.unwrap(), packages.join("onnxruntime/capi"));
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

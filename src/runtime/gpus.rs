//! How many GPUs there are, in CUDA's own words: the numbers of `cuda:N` are its numbers, after `CUDA_VISIBLE_DEVICES`.

#![allow(
    unsafe_code,
    reason = "CUDA's runtime is a C library, opened when a GPU is asked for"
)]

use std::ffi::c_int;
use std::path::Path;

use libloading::Library;

/// Asks CUDA's runtime at `library`: a path, or a name that the system's loader finds.
///
/// # Errors
/// One sentence: the library that is missing, or what CUDA answered.
pub(super) fn count(library: &Path) -> Result<u16, String> {
    let name = library.display();
    // SAFETY: opening it runs what every program that computes on GPUs runs; the path is where ONNX Runtime takes it from, too
    let library = unsafe { Library::new(library) }.map_err(|error| reason(&error))?;
    let mut count: c_int = 0;
    let answer = {
        // SAFETY: cudaError_t cudaGetDeviceCount(int *) has had this form in every version of CUDA; the enumeration is an int
        let ask =
            unsafe { library.get::<unsafe extern "C" fn(*mut c_int) -> c_int>(b"cudaGetDeviceCount\0") }
                .map_err(|error| format!("{name} is no CUDA runtime: {}", reason(&error)))?;
        // SAFETY: the pointer is good for the call
        unsafe { ask(&raw mut count) }
    };
    // it is in use from now on, and CUDA does not bear to be unloaded
    std::mem::forget(library);
    match (answer, u16::try_from(count)) {
        (0, Ok(count @ 1..)) => Ok(count),
        // cudaErrorNoDevice
        (0 | 100, _) => Err(
            "CUDA sees no GPU: `nvidia-smi` must list one, and CUDA_VISIBLE_DEVICES must not hide it"
                .to_owned(),
        ),
        // cudaErrorInsufficientDriver
        (35, _) => Err(
            "the NVIDIA driver is missing or older than CUDA 13 needs: `nvidia-smi` says which it is"
                .to_owned(),
        ),
        (error, _) => Err(format!(
            "CUDA cannot count its GPUs (error {error}): `nvidia-smi` must list them"
        )),
    }
}

/// The system's own words, which libloading keeps as the source of its error.
fn reason(error: &libloading::Error) -> String {
    use std::error::Error;
    error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    fn built(folder: &Path, name: &str, source: &str) -> PathBuf {
        let (code, library) = (folder.join("code.c"), folder.join(name));
        std::fs::write(&code, source).unwrap();
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&library, &code])
            .status();
        assert!(built.unwrap().success());
        library
    }

    #[test]
    fn cuda_is_asked_and_what_it_answers_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let said = |name: &str, gpus: u16, error: u16| {
            let source = format!("int cudaGetDeviceCount(int *count) {{ *count = {gpus}; return {error}; }}");
            count(&built(folder.path(), name, &source))
        };
        assert_eq!(said("three.so", 3, 0), Ok(3));
        assert!(said("none.so", 0, 0).unwrap_err().contains("sees no GPU"));
        assert!(
            said("hidden.so", 0, 100)
                .unwrap_err()
                .contains("CUDA_VISIBLE_DEVICES")
        );
        assert!(said("old.so", 0, 35).unwrap_err().contains("driver"));
        assert!(said("odd.so", 2, 999).unwrap_err().contains("error 999"));

        let missing = count(&folder.path().join("libcudart.so.13")).unwrap_err();
        assert!(missing.contains("libcudart.so.13"), "{missing}");
        let other = count(&built(folder.path(), "other.so", "int nothing;")).unwrap_err();
        assert!(other.contains("is no CUDA runtime"), "{other}");
    }
}

//! What CUDA itself is asked and told: how many GPUs there are, and which one a thread means. The numbers of `cuda:N` are its numbers,
//! after `CUDA_VISIBLE_DEVICES`.

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
    // SAFETY: cudaError_t cudaGetDeviceCount(int *) has had this form in every version of CUDA; the enumeration is an int
    let ask =
        unsafe { function::<unsafe extern "C" fn(*mut c_int) -> c_int>(library, b"cudaGetDeviceCount\0") }?;
    let mut count: c_int = 0;
    // SAFETY: the pointer is good for the call
    let answer = unsafe { ask(&raw mut count) };
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

/// A GPU that a thread can mean. Every thread means the first one until it is told otherwise, and whoever copies on that takes memory
/// there.
pub(super) struct Gpu {
    pub(super) index: u16,
    mean: unsafe extern "C" fn(c_int) -> c_int,
}

impl Gpu {
    /// The GPU with this number, in the words of CUDA's runtime at `library`.
    ///
    /// # Errors
    /// One sentence that names the library.
    pub(super) fn new(library: &Path, index: u16) -> Result<Self, String> {
        // SAFETY: cudaError_t cudaSetDevice(int) has had this form in every version of CUDA
        let mean = unsafe { function(library, b"cudaSetDevice\0") }?;
        Ok(Self { index, mean })
    }

    /// Makes it the one that the calling thread means.
    ///
    /// # Errors
    /// What CUDA answered.
    pub(super) fn enter(&self) -> Result<(), String> {
        // SAFETY: it may be called at any time, from any thread, with any number
        match unsafe { (self.mean)(c_int::from(self.index)) } {
            0 => Ok(()),
            error => Err(format!("CUDA cannot use GPU {} (error {error})", self.index)),
        }
    }
}

/// A function of a library, which stays open from then on: CUDA does not bear to be unloaded.
///
/// # Safety
/// `F` must be the function's form.
unsafe fn function<F: Copy>(library: &Path, name: &[u8]) -> Result<F, String> {
    // SAFETY: opening it runs what every program that computes on GPUs runs; the path is where ONNX Runtime takes it from, too
    let opened = unsafe { Library::new(library) }.map_err(|error| reason(&error))?;
    // SAFETY: the caller knows its form
    let found = unsafe { opened.get::<F>(name) }.map(|found| *found);
    std::mem::forget(opened);
    found.map_err(|error| format!("{} is no CUDA runtime: {}", library.display(), reason(&error)))
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
        let source = "int cudaSetDevice(int index) { return index == 1 ? 0 : 101; }";
        let two = built(folder.path(), "two.so", source);
        assert_eq!(Gpu::new(&two, 1).unwrap().enter(), Ok(()));
        let gone = Gpu::new(&two, 4).unwrap().enter().unwrap_err();
        assert_eq!(gone, "CUDA cannot use GPU 4 (error 101)");
        assert!(Gpu::new(Path::new("nowhere.so"), 0).is_err());

        let other = count(&built(folder.path(), "other.so", "int nothing;")).unwrap_err();
        assert!(other.contains("is no CUDA runtime"), "{other}");
    }
}

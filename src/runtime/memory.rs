//! How freed memory goes back to the system. Only glibc has to be told; other allocators do so by themselves.
//!
//! Measured with a ResNet-18 of 45 MB: loading it leaves 184 MB, and 53 MB after [`trim`]; after sixteen radiographs of 10 MB at
//! the same time the server holds 274 MB, and 97 MB with [`return_large_blocks`]. A training wants the opposite: [`keep_large_blocks`].

#![allow(
    unsafe_code,
    reason = "mallopt and malloc_trim are C functions, and no crate wraps them"
)]

/// Blocks of this size and more are the system's pages, and are gone when they are freed: bodies, pixels, weights.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const PAGES_FROM: libc::c_int = 1 << 20;

/// What is free at the end of a thread's heap and stays: the tensors of a few images.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: libc::c_int = 4 << 20;

/// Lets every large block go back to the system as soon as it is freed, and keeps the smaller ones: the input of a network lies at the end of its
/// thread's heap, and would be pages that the system clears anew for every image. Called once, when ONNX Runtime is opened.
///
/// Left alone, glibc raises the size from which it does so up to 32 MiB, and keeps the pixels of every image that was
/// ever decoded at the same time as others.
pub(super) fn return_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt changes two numbers of the allocator, under its own lock
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, PAGES_FROM);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}

/// Keeps what was freed for whoever asks next, however large: the other way round. Called where a training begins, whose steps all need
/// the same blocks, of up to hundreds of megabytes: fresh pages for each of them take a twentieth of a step's processor time.
pub fn keep_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt changes two numbers of the allocator, under its own lock
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
    }
}

/// Gives back what is free already. Called after a model was let go, and once after all engines of one were loaded and proven: loading parses
/// it, folds and reorders its weights, and frees three times their size in small pieces. Whoever allocates meanwhile waits for it.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim may be called at any time and from any thread (malloc_trim(3): MT-Safe)
    unsafe {
        libc::malloc_trim(0);
    }
}

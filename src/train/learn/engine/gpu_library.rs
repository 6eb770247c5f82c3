//! Opening shared libraries that this program is not linked to.

#![allow(
    unsafe_code,
    reason = "a library's initialisers run when it is opened, whatever they are"
)]

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// Opens a library by its name, in the usual places and beside libtorch, for all code in this process, until it ends.
///
/// # Errors
/// What the system says, with the name of what is missing.
pub(super) fn open(name: &str) -> Result<(), String> {
    // SAFETY: only libtorch's own library and the driver's are opened, whose initialisers may run at any time: they enter
    // themselves into tables of libtorch under its locks. Nothing of theirs is called through this handle
    let opened = unsafe { Library::open(Some(name), RTLD_NOW | RTLD_GLOBAL) };
    // to close it would take away code that libtorch calls from now on
    std::mem::forget(opened.map_err(|error| reason(&error))?);
    Ok(())
}

/// The system's own words, which libloading keeps as the source of its error.
fn reason(error: &libloading::Error) -> String {
    use std::error::Error;
    error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

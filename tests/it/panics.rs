//! Panics in code that reads files: they are caught there, and look like a damaged file.

use std::cell::Cell;

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Counts the panics of this thread from here on, where they happen.
pub(crate) fn count() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map_or("", |place| place.file());
        if place.contains("src/image") || place.contains("src/dicom") {
            PANICS.set(PANICS.get() + 1);
        }
        before(panic);
    }));
}

/// How many there were.
pub(crate) fn seen() -> usize {
    PANICS.get()
}

//! Stopping a run from another thread.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use ort::session::RunOptions;

/// A way to stop one piece of work, before or while a network runs on it.
#[derive(Default)]
pub struct Stop {
    asked: AtomicBool,
    options: OnceLock<RunOptions>,
}

impl Stop {
    /// Stops the run that this was given to, as soon as ONNX Runtime has finished the operator it is in; a run that has not begun
    /// never will.
    pub fn stop(&self) {
        // in this order: a run looks whether it was asked to stop after it made its options
        self.asked.store(true, Ordering::SeqCst);
        if let Some(options) = self.options.get() {
            // it only sets a flag; where that fails, the run ends by itself and nobody reads its answer
            let _ = options.terminate();
        }
    }

    /// Whether it was asked to stop.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// What a run takes with it; `None` where it should not begin.
    pub(super) fn options(&self) -> ort::Result<Option<&RunOptions>> {
        if self.options.get().is_none() {
            // a second thread may have been faster: then its options hold
            let _ = self.options.set(RunOptions::new()?);
        }
        Ok(self.options.get().filter(|_| !self.asked()))
    }
}

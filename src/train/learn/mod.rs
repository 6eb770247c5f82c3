//! Learning: a graph interpreted by libtorch, a schedule, a written recipe, and the loop over epochs.
//!
//! [`engine`] is the only home of `tch`; everything beside it speaks graphs, weights and plain slices.

pub mod batches;
pub mod engine;
pub mod fit;
pub mod optimizer;
pub mod progress;
pub mod recipe;
pub mod schedule;
pub mod start;

pub use engine::{Engine, EngineError};
pub use fit::{FitError, FitOutcome, fit};
pub use progress::{EpochReport, Progress, Silent, TerminalProgress};
pub use recipe::{Recipe, RecipeError};
pub use start::{Initial, Origin, start};

//! Learning: a graph interpreted by libtorch, a schedule, a regime, a written recipe, and the loop over epochs.
//!
//! [`engine`] is the only home of `tch`; everything beside it speaks graphs, weights and plain slices.

pub mod batches;
pub mod checkpoint;
pub mod curves;
pub mod engine;
mod error;
pub mod fit;
pub mod heads;
pub mod log;
pub mod lr_find;
pub mod measure;
mod mixup;
pub mod objective;
pub mod precision;
pub mod progress;
pub mod recipe;
pub mod regime;
pub mod schedule;
pub mod start;
mod trainer;

pub use checkpoint::Checkpoints;
pub use engine::{Engine, EngineError};
pub use error::FitError;
pub use fit::{FitOutcome, Training, fit};
pub use heads::Heads;
pub use log::Log;
pub use precision::Precision;
pub use progress::{EpochReport, Progress, Silent, StepReport, TerminalProgress};
pub use recipe::{Recipe, RecipeError};
pub(in crate::train) use start::ORIGIN;
pub use start::{Ancestor, Initial, Origin, Start, start};

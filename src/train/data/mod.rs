//! Labelled images become batches: held, split by patient, augmented.

pub mod augment;
pub mod columns;
pub mod index;
pub mod samples;
pub mod split;

pub use augment::Augmentation;
pub use columns::Column;
pub use samples::{Samples, SamplesError};
pub use split::{Fractions, Split, SplitError};

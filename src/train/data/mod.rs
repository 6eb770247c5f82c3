//! Images and what is said of them become batches: indexed, cached, split by patient, augmented.

pub mod anatomy;
pub mod archive;
pub mod augment;
pub mod cache;
pub mod columns;
pub mod delimited;
pub mod index;
pub mod labels;
pub mod layouts;
pub mod samples;
pub mod split;

pub use augment::{Augmentation, Flip};
pub use columns::Column;
pub use samples::{Samples, SamplesError};
pub use split::{Fractions, LoneClass, Split, SplitError, lone_classes};

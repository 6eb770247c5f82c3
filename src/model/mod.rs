//! Model files: what a package holds, and the proof that it is what it says.

pub mod golden;
mod header;
pub mod import;
pub mod manifest;
pub mod onnx_format;
pub mod package;
mod policy;
pub mod recipes;
mod reduced_precision;
pub mod signature;
mod stage;

pub use golden::{GoldenCase, GoldenInput, Goldens};
pub use header::OPSETS;
pub use manifest::{Activation, DistributionEntry, Head, ModelManifest};
pub use package::{Package, PackageError};
pub use policy::Policy;
pub use recipes::{RECIPES, Recipe};
pub use reduced_precision::{NumberFormat, ReducedPrecision};
pub use signature::{Signed, TrustedKeys};
pub use stage::Stage;

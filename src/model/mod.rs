//! Model files: what a package holds, and the proof that it is what it says.

pub mod golden;
pub mod manifest;
pub mod onnx_format;
pub mod package;

pub use golden::{GoldenCase, GoldenInput, Goldens};
pub use manifest::{Activation, DistributionEntry, Head, ModelManifest};
pub use package::{Package, PackageError};

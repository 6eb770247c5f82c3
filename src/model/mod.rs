//! Model files: what a package holds, and the proof that it is what it says.

pub mod golden;
pub mod import;
pub mod manifest;
pub mod onnx_format;
pub mod package;
pub mod recipes;

pub use golden::{GoldenCase, GoldenInput, Goldens};
pub use manifest::{Activation, Head, ModelManifest};
pub use package::{Package, PackageError};
pub use recipes::{RECIPES, Recipe};

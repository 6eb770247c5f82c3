//! A trained network becomes a file that other programs run.
//!
//! Pure: graph, weights and texts in, bytes out. Equal input gives equal bytes.

mod calibrate;
pub mod ensemble;
pub mod fold;
pub mod heads;
pub mod onnx;

pub use calibrate::temperatures;
pub use fold::fold_batch_norms;
pub use onnx::{ExportError, export_onnx};
pub mod package;
pub mod validate;

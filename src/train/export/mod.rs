//! A trained network becomes a file that other programs run.
//!
//! Printing is pure: graph, weights and texts in, bytes out; equal input gives equal bytes. Around it are what a run has to say, and
//! the gates.

pub mod answering;
mod calibrate;
pub mod comparison;
pub mod description;
pub mod ensemble;
pub mod features;
pub mod fold;
pub mod goldens;
pub mod heads;
pub mod lineage;
pub mod onnx;
mod operating;
pub mod package;
mod polarity;
mod ranges;
pub mod reduced;
pub mod samples;
mod served;
mod together;
pub mod verify;

pub use answering::Answering;
pub use calibrate::Calibration;
pub use fold::fold_batch_norms;
pub use onnx::{ExportError, export_onnx};

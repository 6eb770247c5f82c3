//! Training: labelled radiographs in, a network's weights and an ONNX file out.
//!
//! A network is a value ([`network`]). [`learn`] interprets it with libtorch and is its only home; [`export`] prints
//! the same value as ONNX. [`data`] holds, splits and augments the samples. Serving never sees this module.

pub mod assess;
pub mod data;
mod durable;
pub mod export;
pub mod learn;
pub mod network;
pub mod plot;
pub mod proposal;
pub mod run;
pub mod unfilled;

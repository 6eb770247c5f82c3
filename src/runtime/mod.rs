//! Running networks: finding ONNX Runtime, loading a model, one image in and scores out.
//!
//! This is the only home of `ort`. ONNX Runtime is a shared library that is opened at run time; when it is missing or
//! wrong, the error says which command mends it, and nothing panics.

mod device;
mod gpus;
pub mod library;
mod memory;
mod onnx;
mod prediction;
pub mod proof;
pub mod record;

pub use device::{Device, Devices, names as device_names};
pub use memory::{keep_large_blocks, trim as return_freed_memory};
pub use onnx::{Engine, Network, Runtime, Staging, Stop, in_halves};
pub use prediction::{HeadOutput, Prediction};

use crate::fault::{Fault, FaultKind};

/// Why a network cannot run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// The shared library is nowhere.
    #[error("ONNX Runtime was not found: {}", library::MEND)]
    Missing,
    /// The shared library is there and cannot be used.
    #[error("ONNX Runtime at {path} cannot be used ({cause}): {}", library::MEND)]
    Unusable {
        /// Where it was found.
        path: String,
        /// What the loader said.
        cause: String,
    },
    /// The shared library cannot compute on a GPU.
    #[error("ONNX Runtime at {path} cannot use CUDA ({cause}): {}", library::MEND_CUDA)]
    Cuda {
        /// Where it was found.
        path: String,
        /// What is missing.
        cause: String,
    },
    /// There is no such GPU.
    #[error("{asked} cannot be used: {cause}")]
    Gpu {
        /// What was asked for.
        asked: Devices,
        /// Why not.
        cause: String,
    },
    /// The model needs more memory than there is for it.
    #[error("{}", no_memory(*.device, *.limit, .cause))]
    Memory {
        /// Where.
        device: Device,
        /// The most that a copy of a model may take, in MiB, where that is what was reached.
        limit: Option<u64>,
        /// What was asked for in vain.
        cause: String,
    },
    /// The model does not run on the device that was asked for.
    #[error("the model does not run on {device}: {cause}")]
    Device {
        /// Which was asked for.
        device: Device,
        /// What ONNX Runtime said.
        cause: String,
    },
    /// The model cannot be loaded.
    #[error("the model cannot be loaded: {0}")]
    Load(String),
    /// The model has not the tensors that its manifest names.
    #[error("the model has no {kind} named {name}: it has {present}")]
    Tensor {
        /// `input` or `output`.
        kind: &'static str,
        /// What the manifest says.
        name: String,
        /// What the model has.
        present: String,
    },
    /// Nobody waits for the answer any more.
    #[error("the run was stopped: nobody waits for its answer")]
    Stopped,
    /// The model failed on an input.
    #[error("the model failed: {0}")]
    Run(String),
}

impl RuntimeError {
    /// Whether the same may succeed the next time, without a change of the model or the settings.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Memory { limit: None, .. })
    }
}

fn no_memory(device: Device, limit: Option<u64>, cause: &str) -> String {
    match limit {
        None if device == Device::Cpu => format!(
            "there is no memory left for the model ({cause}): serve fewer models, or give the server more memory"
        ),
        Some(limit) => format!(
            "a copy of the model needs more than the {limit} MiB that --gpu-memory-mib gives it on {device} ({cause}): raise it, or leave it out"
        ),
        None => format!(
            "{device} has no memory left for the model ({cause}): serve fewer models or copies (--instances) on it, or end what else runs there"
        ),
    }
}

impl From<RuntimeError> for Fault {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::Stopped => Fault::new(FaultKind::Overloaded, "deadline", error.to_string()),
            RuntimeError::Run(_) => {
                // what the library says may name files of the server: it is for the log, not for the caller
                tracing::error!(%error, "inference.failed");
                Fault::new(
                    FaultKind::Internal,
                    "engine",
                    "the model failed on this image; the server's log has the cause",
                )
            }
            RuntimeError::Memory { .. } => {
                tracing::error!(%error, "inference.failed");
                Fault::new(
                    FaultKind::Unavailable,
                    "engine-memory",
                    "the device has no memory left to run the model; the server's log has the cause",
                )
            }
            other => Fault::new(FaultKind::Unavailable, "engine-unavailable", other.to_string()),
        }
    }
}

//! What is asked of a model: an image or a tensor, by whom, how urgently.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;

use super::ServedModel;
use crate::finding::Overrides;
use crate::image::Tensor;
use crate::runtime::{Device, Prediction};

/// The bytes of one image.
#[derive(Clone, Debug)]
pub enum ImageBytes {
    /// A DICOM file.
    Dicom(Bytes),
    /// A PNG or JPEG file: it has no header to check.
    Picture(Bytes),
}

impl ImageBytes {
    /// What the bytes are, by how they begin.
    #[must_use]
    pub fn recognised(bytes: Bytes) -> Self {
        if bytes.starts_with(b"\x89PNG\r\n\x1a\n") || bytes.starts_with(b"\xFF\xD8\xFF") {
            Self::Picture(bytes)
        } else {
            Self::Dicom(bytes)
        }
    }
}

/// How urgent a request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Somebody waits for it: it goes first.
    Stat,
    /// The usual. It ages: having waited for long, it takes turns with what is urgent.
    #[default]
    Routine,
}

/// Who asks, how urgently, and how long they wait.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// How urgent it is.
    pub priority: Priority,
    /// Whose request it is, for fairness between clients; requests of the server itself have an empty name.
    pub client: Arc<str>,
    /// How long the caller waits, where that is less than the server's own limit.
    pub deadline: Option<Duration>,
}

/// One image for a model.
#[derive(Clone)]
pub struct ScoreRequest {
    /// The model, found once: all that belongs to one request is answered by one package, whatever is published in the meantime.
    pub model: Arc<ServedModel>,
    /// The image.
    pub image: ImageBytes,
    /// The gates to set aside, for research; the answer then says so.
    pub overrides: Overrides,
    /// Who asks.
    pub call: Call,
}

/// One prepared tensor for a model: nothing is known of where it comes from, so no gate looks at it.
#[derive(Clone)]
pub struct TensorRequest {
    /// The model, found once: all that belongs to one request is answered by one package, whatever is published in the meantime.
    pub model: Arc<ServedModel>,
    /// `[channels, rows, columns]`, as the model's contract says.
    pub tensor: Tensor,
    /// Who asks.
    pub call: Call,
}

/// What a model said to a tensor.
pub struct Inferred {
    /// Who said it.
    pub model: Arc<ServedModel>,
    /// What.
    pub prediction: Prediction,
    /// Time in the line.
    pub waited: Duration,
    /// Time in the network.
    pub inferred: Duration,
    /// What ran it.
    pub device: Device,
}

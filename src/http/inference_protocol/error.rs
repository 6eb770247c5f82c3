//! Faults in the protocol's own form, `{"error": "..."}`, with the statuses that they have everywhere.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::fault::{Fault, FaultKind};
use crate::http::error::{status, with_status};

/// What a client of the protocol is told: the sentence, and behind it the code in brackets.
#[derive(Debug)]
pub(super) struct ProtocolError {
    kind: FaultKind,
    message: String,
}

/// A request that has to be changed.
pub(super) fn invalid(code: &'static str, message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Invalid, code, message)
}

impl ProtocolError {
    /// The fault of one image of several.
    pub(super) fn of_image(index: usize, images: usize, kind: FaultKind, reason: &str) -> Self {
        let message = if images == 1 {
            reason.to_owned()
        } else {
            format!("image {} of {images}: {reason}", index + 1)
        };
        Self { kind, message }
    }
}

impl From<Fault> for ProtocolError {
    fn from(fault: Fault) -> Self {
        Self {
            kind: fault.kind,
            message: fault.to_string(),
        }
    }
}

impl IntoResponse for ProtocolError {
    fn into_response(self) -> Response {
        with_status(status(self.kind), Json(json!({ "error": self.message })))
    }
}

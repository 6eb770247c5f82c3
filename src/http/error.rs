//! Faults as HTTP answers: the only place where a kind becomes a status.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::fault::{Fault, FaultKind};
use crate::finding::{InstanceResult, Outcome, Reason};

/// Seconds after which a caller should try again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

/// A fault on its way out.
#[derive(Debug)]
pub struct HttpError(pub Fault);

impl From<Fault> for HttpError {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let outcome = if self.0.is_callers() {
            Outcome::Refused
        } else {
            Outcome::Failed
        };
        let body = Json(json!({ "outcome": outcome, "reason": Reason::from(&self.0) }));
        with_status(status(self.0.kind), body)
    }
}

/// The status of a fault.
#[must_use]
pub fn status(kind: FaultKind) -> StatusCode {
    match kind {
        FaultKind::Invalid => StatusCode::BAD_REQUEST,
        FaultKind::NotFound => StatusCode::NOT_FOUND,
        FaultKind::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
        FaultKind::Gone => StatusCode::GONE,
        FaultKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        FaultKind::Unsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        FaultKind::Refused => StatusCode::UNPROCESSABLE_ENTITY,
        FaultKind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        FaultKind::Overloaded | FaultKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        FaultKind::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
        FaultKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The result of one image, under the status of the fault that kept it from being scored.
#[must_use]
pub fn result(result: InstanceResult, fault: Option<FaultKind>) -> Response {
    with_status(fault.map_or(StatusCode::OK, status), Json(result))
}

/// A body under a status, with what goes with it.
pub(super) fn with_status(status: StatusCode, body: impl IntoResponse) -> Response {
    let mut response = (status, body).into_response();
    if [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&status) {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    response
}

//! The Warning headers by which the standard says why something was not done.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::http::error::with_status;
use crate::workitem::{Changed, Refusal};

/// Adds `Warning: 299 <service>: text` (sections 11.4.3 to 11.8.3).
pub(super) fn warned(answer: &mut Response, service: &str, text: &str) {
    if let Ok(value) = HeaderValue::from_str(&format!("299 {service}: {text}")) {
        answer.headers_mut().append(header::WARNING, value);
    }
}

/// A refusal whose reason is in a Warning header, and in the body like every reason of this server.
pub(super) fn refused(status: StatusCode, service: &str, code: &str, text: &str) -> Response {
    let mut answer = with_reason(status, code, text);
    warned(&mut answer, service, text);
    answer
}

fn with_reason(status: StatusCode, code: &str, text: &str) -> Response {
    let reason = json!({ "outcome": "refused", "reason": { "code": code, "message": text } });
    with_status(status, Json(reason))
}

/// The answer where a workitem was changed, or was like that already.
pub(super) fn changed(changed: &Changed, status: StatusCode, service: &str) -> Response {
    let mut answer = status.into_response();
    if let Some(state) = changed.already {
        let text = format!("The UPS is already in the requested state of {}.", state.name());
        warned(&mut answer, service, &text);
    }
    answer
}

/// The answer where a workitem was not changed: the status and the words of tables 11.6.3-1 to 11.8.3-2.
pub(super) fn refusal(refusal: &Refusal, service: &str) -> Response {
    let (status, code, text) = match refusal {
        Refusal::TransactionMissing => (
            StatusCode::BAD_REQUEST,
            "transaction-missing",
            "The Transaction UID is missing.",
        ),
        Refusal::TransactionIncorrect => (
            StatusCode::BAD_REQUEST,
            "transaction-incorrect",
            "The Transaction UID is incorrect.",
        ),
        Refusal::Inconsistent => (
            StatusCode::CONFLICT,
            "state",
            "The submitted request is inconsistent with the state of the UPS Instance.",
        ),
        Refusal::Unready(what) => return refused(StatusCode::CONFLICT, service, "not-final", what),
        Refusal::AlreadyCompleted => (StatusCode::CONFLICT, "completed", "The UPS is already COMPLETED."),
        Refusal::OutOfReach => (
            StatusCode::CONFLICT,
            "out-of-reach",
            "The performer cannot be contacted.",
        ),
        Refusal::Invalid(fault) => return with_reason(StatusCode::BAD_REQUEST, fault.code, &fault.message),
    };
    refused(status, service, code, text)
}

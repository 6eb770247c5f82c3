//! How the service answers: data sets, and the Warning headers by which the standard says why something was not done.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use crate::dicom::media_type::MediaType;
use crate::fault::{Fault, FaultKind};
use crate::http::dicomweb::parts::{body, pieces};
use crate::http::error::with_status;
use crate::intake::Room;
use crate::workitem::{Attributes, Changed, Refusal};

pub(super) const DICOM_JSON: &str = "application/dicom+json";

/// Whether this header of a request, if it is there, names JSON.
///
/// # Errors
/// `media-type`.
pub(super) fn takes_json(headers: &HeaderMap, name: HeaderName) -> Result<(), Fault> {
    let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) else {
        return Ok(());
    };
    let fits = |media: &str| {
        MediaType::parse(media).is_some_and(|media| {
            // no type that a web page may send without asking
            let known = [DICOM_JSON, "application/json", "application/*", "*/*"];
            known.contains(&media.essence.as_str())
        })
    };
    if value.split(',').any(|media| fits(media.trim())) {
        return Ok(());
    }
    let message = "workitems are in application/dicom+json: XML is not taken, nor given";
    Err(Fault::new(FaultKind::Unsupported, "media-type", message))
}

/// The answer to a request that wants something else than JSON.
pub(super) fn not_acceptable(headers: &HeaderMap) -> Option<Response> {
    let fault = takes_json(headers, header::ACCEPT).err()?;
    Some(with_reason(
        StatusCode::NOT_ACCEPTABLE,
        fault.code,
        &fault.message,
    ))
}

/// Data sets, in a list that is written as fast as the caller reads, one by one; `room` is given back after the last.
pub(super) fn data_sets(
    status: StatusCode,
    data_sets: impl IntoIterator<Item = Attributes, IntoIter: Send + 'static>,
    room: Room,
) -> Response {
    let items = data_sets.into_iter().enumerate().map(move |(index, item)| {
        let _ = &room;
        let mut text = if index == 0 { vec![] } else { vec![b','] };
        serde_json::to_writer(&mut text, &item).map_err(|_| {
            let message = "a workitem could not be written as JSON";
            Fault::new(FaultKind::Internal, "json", message)
        })?;
        Ok(Bytes::from(text))
    });
    let list = pieces([Bytes::from_static(b"[")])
        .chain(stream::iter(items))
        .chain(pieces([Bytes::from_static(b"]")]));
    (status, [(header::CONTENT_TYPE, DICOM_JSON)], body(list)).into_response()
}

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

//! The answer to a STOW-RS request (PS3.18 section 10.5.3 and annex I.2): what was stored, what was not, and why.
//!
//! Invariant: whatever a part holds, it is a failed item with a reason, and the status is 200, 202 or 409; only where
//! nothing was stored and the server is to blame does the status say so, so that the sender tries again.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::accept::{Accept, takes};
use crate::dicom::json::Attributes;
use crate::dicom::{SeriesUid, StudyUid, xml};
use crate::fault::{Fault, FaultKind};
use crate::http::error::HttpError;
use crate::workflow::Submission;

/// Who an instance is, where it could be read.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    study: StudyUid,
    series: SeriesUid,
    class: String,
    instance: String,
    /// Its form is not what the standard asks for; it was stored all the same.
    irregular: bool,
}

impl From<&Submission> for Identity {
    fn from(submission: &Submission) -> Self {
        Self {
            study: submission.study().clone(),
            series: submission.series().clone(),
            class: submission.class().to_owned(),
            instance: submission.instance().to_string(),
            irregular: submission.is_irregular(),
        }
    }
}

/// What became of the parts so far.
#[derive(Debug, Default)]
pub(super) struct Answer {
    stored: Vec<Identity>,
    failed: Vec<(Option<Identity>, Fault)>,
}

impl Answer {
    /// Adds a stored instance.
    pub(super) fn stored(&mut self, identity: Identity) {
        self.stored.push(identity);
    }

    /// Adds a part that was not stored.
    pub(super) fn failed(&mut self, identity: Option<Identity>, fault: Fault) {
        self.failed.push((identity, fault));
    }

    /// How many parts there were.
    pub(super) fn len(&self) -> usize {
        self.stored.len() + self.failed.len()
    }

    /// The response; `base` is the URL of the DICOMweb service. What was stored is said in JSON where the caller takes neither form:
    /// a sender who gets no answer sends again.
    pub(super) fn respond(&self, base: &str, accept: &Accept) -> Response {
        let body = self.body(base);
        let is_xml = accept.choose("", |range| {
            let json = takes(range, JSON) || range.essence == "application/json";
            if json {
                Some(false)
            } else {
                takes(range, XML).then_some(true)
            }
        });
        let (kind, text) = if is_xml == Ok(true) {
            (XML, xml::document(&body))
        } else {
            (JSON, Value::Object(body).to_string())
        };
        let mut response = (self.status(), [(header::CONTENT_TYPE, kind)], text).into_response();
        if let Some(fault) = self.server_fault() {
            // the error's own status and Retry-After, with the body of this service
            let (parts, _) = HttpError(fault.clone()).into_response().into_parts();
            *response.status_mut() = parts.status;
            for (name, value) in &parts.headers {
                if name == header::RETRY_AFTER {
                    response.headers_mut().insert(name, value.clone());
                }
            }
        }
        response
    }

    fn status(&self) -> StatusCode {
        let regular = self.stored.iter().all(|identity| !identity.irregular);
        match (self.stored.is_empty(), self.failed.is_empty()) {
            (_, true) if regular => StatusCode::OK,
            (false, _) => StatusCode::ACCEPTED,
            (true, _) => StatusCode::CONFLICT,
        }
    }

    /// The fault to blame, where nothing was stored and every failure is the server's.
    fn server_fault(&self) -> Option<&Fault> {
        let all = self.stored.is_empty() && self.failed.iter().all(|(_, fault)| !fault.is_callers());
        self.failed.first().filter(|_| all).map(|(_, fault)| fault)
    }

    fn body(&self, base: &str) -> Attributes {
        let mut body = Map::new();
        if let Some(first) = self
            .stored
            .first()
            .filter(|first| self.stored.iter().all(|one| one.study == first.study))
        {
            body.insert(
                "00081190".to_owned(),
                element("UR", format!("{base}/studies/{}", first.study)),
            );
        }
        let failed: Vec<Value> = self
            .failed
            .iter()
            .map(|(identity, fault)| {
                let mut item = identity.as_ref().map(reference).unwrap_or_default();
                item.insert("00081197".to_owned(), element("US", failure_reason(fault)));
                Value::Object(item)
            })
            .collect();
        let stored: Vec<Value> = self
            .stored
            .iter()
            .map(|identity| {
                let mut item = reference(identity);
                let url = format!(
                    "{base}/studies/{}/series/{}/instances/{}",
                    identity.study, identity.series, identity.instance
                );
                if identity.irregular {
                    item.insert("00081196".to_owned(), element("US", IRREGULAR));
                }
                item.insert("00081190".to_owned(), element("UR", url));
                Value::Object(item)
            })
            .collect();
        for (tag, items) in [("00081198", failed), ("00081199", stored)] {
            if !items.is_empty() {
                body.insert(tag.to_owned(), json!({"vr": "SQ", "Value": items}));
            }
        }
        body
    }
}

const JSON: &str = "application/dicom+json";
const XML: &str = "application/dicom+xml";
/// Warning Reason (0008,1196): the data set is not what its class wants (PS3.18 table I.2-1).
const IRREGULAR: u16 = 0xB007;

fn element(vr: &str, value: impl Into<Value>) -> Value {
    json!({"vr": vr, "Value": [value.into()]})
}

fn reference(identity: &Identity) -> Map<String, Value> {
    let mut item = Map::new();
    if !identity.class.is_empty() {
        item.insert("00081150".to_owned(), element("UI", identity.class.as_str()));
    }
    item.insert("00081155".to_owned(), element("UI", identity.instance.as_str()));
    item
}

/// The code of the fault of a part that belongs to another study than the request names.
pub(super) const OTHER_STUDY: &str = "other-study";

/// Failure Reason (0008,1197), PS3.18 table I.2-2 and the annexes that it refers to.
fn failure_reason(fault: &Fault) -> u16 {
    match (fault.kind, fault.code) {
        (_, OTHER_STUDY) => 0xA900,
        (_, "transfer-syntax") => 0xC122,
        (FaultKind::Internal, _) => 0x0110,
        _ if fault.retry() || fault.kind == FaultKind::TooLarge => 0xA700,
        _ => 0xC000,
    }
}

//! What subscribers hear of a workitem: event reports (PS3.4 section CC.2.4) in DICOM JSON (PS3.18 section 8.10.5).

use serde_json::{Map, Value, json};

use super::attributes::element;
use super::{Attributes, Workitem, tag};
use crate::dicom::InstanceUid;

/// SOP Class UID of the event service, Unified Procedure Step - Event, as the standard's example has it.
const EVENT_CLASS: &str = "1.2.840.10008.5.1.4.34.6.4";
/// Command Field (0000,0100) of an N-EVENT-REPORT request (PS3.7 table E.1-1).
const N_EVENT_REPORT_RQ: u16 = 0x0100;
/// Message ID (0000,0110).
const MESSAGE_ID: &str = "00000110";

/// Something that happened to a workitem.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Event(Map<String, Value>);

impl Event {
    /// Its state, or whether its input is ready, has changed: type 1.
    #[must_use]
    pub fn state(workitem: &Workitem) -> Self {
        let mut event = Self::new(&workitem.uid, 1);
        event.take(&workitem.attributes, &[tag::STATE, tag::INPUT_READINESS]);
        if let Some(progress) = workitem.attributes.items(tag::PROGRESS_INFORMATION).next() {
            for tag in [tag::REASON_FOR_CANCELLATION, tag::DISCONTINUATION_REASON] {
                if let Some(reason) = progress.get(tag) {
                    event.0.insert(tag.to_owned(), reason.clone());
                }
            }
        }
        event
    }

    /// Somebody wishes that it be canceled: type 2.
    #[must_use]
    pub fn cancel_requested(uid: &InstanceUid, request: &Attributes) -> Self {
        let mut event = Self::new(uid, 2);
        event.take(
            request,
            &[
                tag::REQUESTING_AE,
                tag::REASON_FOR_CANCELLATION,
                tag::DISCONTINUATION_REASON,
                tag::CONTACT_URI,
                tag::CONTACT_NAME,
            ],
        );
        event
    }

    /// It makes progress: type 3.
    #[must_use]
    pub fn progress(uid: &InstanceUid, changes: &Attributes) -> Self {
        let mut event = Self::new(uid, 3);
        event.take(changes, &[tag::PROGRESS_INFORMATION]);
        event
    }

    /// It is for other stations or performers now: type 5.
    #[must_use]
    pub fn assigned(uid: &InstanceUid, changes: &Attributes) -> Self {
        let mut event = Self::new(uid, 5);
        event.take(changes, &[tag::SCHEDULED_STATION, tag::SCHEDULED_PERFORMERS]);
        event
    }

    fn new(uid: &InstanceUid, kind: u16) -> Self {
        let number = |number: u16| json!({ "vr": "US", "Value": [number] });
        let fields = [
            ("00000002", element("UI", EVENT_CLASS)),
            ("00000100", number(N_EVENT_REPORT_RQ)),
            // Command Data Set Type: there is one
            ("00000800", number(0)),
            ("00001000", element("UI", uid.as_str())),
            ("00001002", number(kind)),
        ];
        Self(
            fields
                .map(|(tag, value)| (tag.to_owned(), value))
                .into_iter()
                .collect(),
        )
    }

    fn take(&mut self, from: &Attributes, tags: &[&str]) {
        for tag in tags {
            if let Some(element) = from.element(tag) {
                self.0.insert((*tag).to_owned(), element.clone());
            }
        }
    }
}

/// An event on its way over a connection, whose messages are numbered from 1.
#[must_use]
pub fn with_message_id(mut event: Event, number: u16) -> Event {
    let id = json!({ "vr": "US", "Value": [number] });
    event.0.insert(MESSAGE_ID.to_owned(), id);
    event
}

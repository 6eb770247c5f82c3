//! How this server performs a workitem: it takes it, and in the end says what came of it.

use serde_json::{Value, json};

use super::attributes::{coded, element, sequence, text_of};
use super::report::Event;
use super::{Attributes, State, Workitem, tag};
use crate::finding::{Outcome, StudyResult};
use crate::report::{report_series_uid, report_uid};

/// Designator of the private scheme, as reports declare it.
const PRIVATE: &str = "99OSTEON";
/// SOP Class UID of a Comprehensive 3D SR.
const REPORT_CLASS: &str = "1.2.840.10008.5.1.4.1.1.88.34";
/// Most characters of Reason For Cancellation (VR LT).
const LONGEST_REASON: usize = 10_240;

/// What a workitem that this server performs ends with.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// The Study Instance UID.
    pub study: &'a str,
    /// The key of the study's result.
    pub key: &'a str,
    /// What the result says.
    pub result: &'a StudyResult,
    /// Whether the objects that are made of it are stored.
    pub is_kept: bool,
    /// Why they are not, as far as it is known.
    pub cause: Option<&'a str>,
}

impl Workitem {
    /// Takes it, with this Transaction UID.
    pub fn begin(&mut self, transaction: String, now: &str) -> Event {
        self.transaction = Some(transaction);
        self.performed_here = true;
        self.set_state(State::InProgress);
        let begun = json!({
            tag::PERFORMED_STATION: sequence(&[coded(PRIVATE, "osteon", "osteon")]),
            tag::PERFORMED_START: element("DT", now),
        });
        self.attributes.put_sequence(tag::PERFORMED_PROCEDURE, &[begun]);
        self.attributes.put(tag::MODIFIED_AT, "DT", now);
        self.progress("0", "the study is analysed");
        Event::state(self)
    }

    /// The study has its result, and nothing more is made of it. A scored one whose objects are kept completes the workitem, and its
    /// structured report is the output; for any other it is canceled with the reason.
    pub fn end(&mut self, ending: &Ending<'_>, now: &str) -> Event {
        let Ending {
            study, key, result, ..
        } = ending;
        match (result.outcome, ending.is_kept) {
            (Outcome::Scored, true) => return self.complete(study, key, now),
            (Outcome::Scored, false) => {
                let cause = ending.cause.unwrap_or("nothing was made of it");
                let message = format!("the study is scored, and its report could not be kept: {cause}");
                return self.cancel("report-failed", &message, now);
            }
            (Outcome::Refused | Outcome::Failed, _) => {}
        }
        let reason = result.reason.as_ref();
        let code = reason.map_or("not-scored", |reason| reason.code.as_str());
        let message = reason.map_or("the study was not scored", |reason| reason.message.as_str());
        self.cancel(code, message, now)
    }

    fn complete(&mut self, study: &str, key: &str, now: &str) -> Event {
        let reference = json!({
            tag::REFERENCED_CLASS: element("UI", REPORT_CLASS),
            tag::REFERENCED_INSTANCE: element("UI", &report_uid(key)),
        });
        let output = json!({
            tag::TYPE_OF_INSTANCES: element("CS", "DICOM"),
            tag::STUDY_UID: element("UI", study),
            tag::SERIES_UID: element("UI", &report_series_uid(key)),
            tag::REFERENCED_SOP_SEQUENCE: sequence(&[reference]),
        });
        self.performed(&[output], now);
        self.progress("100", "the study is scored");
        self.set_state(State::Completed);
        self.attributes.put(tag::MODIFIED_AT, "DT", now);
        Event::state(self)
    }

    /// It cannot be done, for this reason.
    pub fn cancel(&mut self, code: &str, message: &str, now: &str) -> Event {
        let mut why = Attributes::default();
        let message: String = message.chars().take(LONGEST_REASON).collect();
        why.put(tag::REASON_FOR_CANCELLATION, "LT", &message);
        let reason = coded(PRIVATE, code, &code.replace('-', " "));
        why.put_sequence(tag::DISCONTINUATION_REASON, &[reason]);
        self.performed(&[], now);
        self.note_cancellation(now, Some(&why));
        self.set_state(State::Canceled);
        self.attributes.put(tag::MODIFIED_AT, "DT", now);
        Event::state(self)
    }

    /// The Unified Procedure Step Performed Procedure Sequence (0074,1216).
    fn performed(&mut self, output: &[Value], now: &str) {
        let begun = self.attributes.items(tag::PERFORMED_PROCEDURE).next();
        let began = begun.and_then(|begun| text_of(begun, tag::PERFORMED_START));
        let began = began.unwrap_or(now).to_owned();
        let ordered = self.attributes.element(tag::SCHEDULED_WORKITEM_CODE).cloned();
        let work = ordered
            .filter(|codes| codes["Value"].as_array().is_some_and(|codes| !codes.is_empty()))
            .unwrap_or_else(|| sequence(&[coded(PRIVATE, "score", "Score a radiograph")]));
        let performed = json!({
            tag::PERFORMED_WORKITEM_CODE: work,
            tag::PERFORMED_STATION: sequence(&[coded(PRIVATE, "osteon", "osteon")]),
            tag::ACTUAL_PERFORMERS: sequence(&[]),
            tag::PERFORMED_START: element("DT", &began),
            tag::PERFORMED_END: element("DT", now),
            tag::PROCESSING_PARAMETERS: sequence(&[]),
            tag::OUTPUT_INFORMATION: sequence(output),
        });
        self.attributes
            .put_sequence(tag::PERFORMED_PROCEDURE, &[performed]);
    }

    fn progress(&mut self, percent: &str, words: &str) {
        let progress = json!({
            tag::PROGRESS: element("DS", percent),
            tag::PROGRESS_DESCRIPTION: element("ST", words),
        });
        self.attributes
            .put_sequence(tag::PROGRESS_INFORMATION, &[progress]);
    }

    /// The attributes as they are shown, with where its output can be had from under `base`, the URL of the DICOMweb service.
    #[must_use]
    pub fn shown(mut self, base: &str) -> Attributes {
        for performed in self.attributes.items_mut(tag::PERFORMED_PROCEDURE) {
            let outputs = performed
                .get_mut(tag::OUTPUT_INFORMATION)
                .and_then(|outputs| outputs.get_mut("Value"))
                .and_then(Value::as_array_mut);
            for output in outputs.into_iter().flatten() {
                let of = |tag: &str| output[tag]["Value"][0].as_str().unwrap_or_default().to_owned();
                let place = format!(
                    "{base}/studies/{}/series/{}",
                    of(tag::STUDY_UID),
                    of(tag::SERIES_UID)
                );
                // an update may have left there what is no item
                if let Some(output) = output.as_object_mut().filter(|_| self.performed_here) {
                    let place = json!({ tag::RETRIEVE_URL: element("UR", &place) });
                    output.insert(tag::WADO_RS_RETRIEVAL.to_owned(), sequence(&[place]));
                }
            }
        }
        self.attributes
    }
}

//! The attributes of a workitem in the DICOM JSON model (PS3.18 annex F), kept as they came.
//!
//! Invariants: every key is a tag of eight upper-case hexadecimal digits, every element has a value representation, nothing is nested deeper
//! than [`DEEPEST`], and nothing is a `BulkDataURI`: no address of a caller is kept where someone might open it as data.

use chrono::DateTime;
use serde_json::{Map, Value, json};

use super::invalid;
use crate::dicom::xml;
use crate::fault::Fault;

/// How deep sequences may be nested.
const DEEPEST: usize = 16;

/// The tags that are looked at here.
pub mod tag {
    #![allow(missing_docs, reason = "the names are the standard's")]
    pub const SOP_CLASS_UID: &str = "00080016";
    pub const SOP_INSTANCE_UID: &str = "00080018";
    pub const RETRIEVE_AE_TITLE: &str = "00080054";
    pub const CODE_VALUE: &str = "00080100";
    pub const CODING_SCHEME: &str = "00080102";
    pub const CODE_MEANING: &str = "00080104";
    pub const LONG_CODE_VALUE: &str = "00080119";
    pub const REFERENCED_CLASS: &str = "00081150";
    pub const REFERENCED_INSTANCE: &str = "00081155";
    pub const RETRIEVE_URL: &str = "00081190";
    pub const TRANSACTION_UID: &str = "00081195";
    pub const REFERENCED_SOP_SEQUENCE: &str = "00081199";
    pub const PATIENT_NAME: &str = "00100010";
    pub const PATIENT_ID: &str = "00100020";
    pub const PATIENT_BIRTH_DATE: &str = "00100030";
    pub const PATIENT_SEX: &str = "00100040";
    pub const STUDY_UID: &str = "0020000D";
    pub const SERIES_UID: &str = "0020000E";
    pub const SCHEDULED_START: &str = "00404005";
    pub const SCHEDULED_PERFORMERS: &str = "00404009";
    pub const MODIFIED_AT: &str = "00404010";
    pub const SCHEDULED_WORKITEM_CODE: &str = "00404018";
    pub const PERFORMED_WORKITEM_CODE: &str = "00404019";
    pub const INPUT_INFORMATION: &str = "00404021";
    pub const SCHEDULED_STATION: &str = "00404025";
    pub const PERFORMED_STATION: &str = "00404028";
    pub const OUTPUT_INFORMATION: &str = "00404033";
    pub const ACTUAL_PERFORMERS: &str = "00404035";
    pub const INPUT_READINESS: &str = "00404041";
    pub const PERFORMED_START: &str = "00404050";
    pub const PERFORMED_END: &str = "00404051";
    pub const CANCELLED_AT: &str = "00404052";
    pub const TYPE_OF_INSTANCES: &str = "0040E020";
    pub const DICOM_RETRIEVAL: &str = "0040E021";
    pub const WADO_RS_RETRIEVAL: &str = "0040E025";
    pub const STATE: &str = "00741000";
    pub const PROGRESS_INFORMATION: &str = "00741002";
    pub const PROGRESS: &str = "00741004";
    pub const PROGRESS_DESCRIPTION: &str = "00741006";
    pub const CONTACT_URI: &str = "0074100A";
    pub const CONTACT_NAME: &str = "0074100C";
    pub const DISCONTINUATION_REASON: &str = "0074100E";
    pub const PRIORITY: &str = "00741200";
    pub const LABEL: &str = "00741204";
    pub const PROCESSING_PARAMETERS: &str = "00741212";
    pub const PERFORMED_PROCEDURE: &str = "00741216";
    pub const REQUESTING_AE: &str = "00741236";
    pub const REASON_FOR_CANCELLATION: &str = "00741238";
}

/// A data set in DICOM JSON.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Attributes(Map<String, Value>);

impl Attributes {
    /// Reads the body of a request: one data set, or a list of one.
    ///
    /// # Errors
    /// `workitem`, with what is wrong and where the model stands; no value is quoted.
    pub fn read(body: &[u8]) -> Result<Self, Fault> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|_| invalid("the body must be one data set in DICOM JSON (PS3.18 annex F)"))?;
        let item = match value {
            Value::Array(mut list) if list.len() == 1 => list.remove(0),
            other => other,
        };
        data_set(item, 0).map(Self)
    }

    /// The same of a data set in the Native DICOM Model, as XML.
    ///
    /// # Errors
    /// As [`Attributes::read`].
    pub fn read_xml(body: &[u8]) -> Result<Self, Fault> {
        let attributes = xml::read(body).map_err(|error| {
            invalid(format!(
                "the body must be one data set in the Native DICOM Model: {error}"
            ))
        })?;
        data_set(Value::Object(attributes), 0).map(Self)
    }

    /// The first value of an element as text; `None` where there is none.
    #[must_use]
    pub fn text(&self, tag: &str) -> Option<&str> {
        text_of(&self.0, tag)
    }

    /// The value of an element that has exactly one, as text.
    #[must_use]
    pub fn only_text(&self, tag: &str) -> Option<&str> {
        let is_one = |element: &Value| {
            element["Value"]
                .as_array()
                .is_some_and(|values| values.len() == 1)
        };
        self.element(tag).filter(|element| is_one(element))?;
        self.text(tag)
    }

    /// Whether it goes before others: Scheduled Procedure Step Priority (0074,1200) is HIGH, or STAT as requests have it.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.text(tag::PRIORITY)
            .is_some_and(|priority| ["HIGH", "STAT"].contains(&priority))
    }

    /// The items of a sequence.
    pub fn items(&self, tag: &str) -> impl Iterator<Item = &Map<String, Value>> {
        items_of(&self.0, tag)
    }

    /// Whether there is such an element, with or without a value.
    #[must_use]
    pub fn has(&self, tag: &str) -> bool {
        self.0.contains_key(tag)
    }

    /// The element as it is.
    #[must_use]
    pub fn element(&self, tag: &str) -> Option<&Value> {
        self.0.get(tag)
    }

    /// Its tags.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Sets an element with one value.
    pub fn put(&mut self, tag: &str, vr: &str, value: &str) {
        self.0.insert(tag.to_owned(), element(vr, value));
    }

    /// Sets a sequence.
    pub fn put_sequence(&mut self, tag: &str, items: &[Value]) {
        self.0.insert(tag.to_owned(), sequence(items));
    }

    /// Takes an element away.
    pub fn remove(&mut self, tag: &str) {
        self.0.remove(tag);
    }

    /// Takes all elements of a group away.
    pub fn remove_group(&mut self, group: u16) {
        let prefix = format!("{group:04X}");
        self.0.retain(|tag, _| !tag.starts_with(&prefix));
    }

    /// Takes over every element of `changes`.
    pub fn merge(&mut self, changes: Self) {
        self.0.extend(changes.0);
    }

    /// The items of a sequence, to be changed.
    pub fn items_mut(&mut self, tag: &str) -> impl Iterator<Item = &mut Map<String, Value>> {
        let list = self.0.get_mut(tag).and_then(|element| element.get_mut("Value"));
        list.and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
    }
}

impl From<Attributes> for Map<String, Value> {
    fn from(attributes: Attributes) -> Self {
        attributes.0
    }
}

/// The first value of an element of a data set as text.
pub(super) fn text_of<'a>(data_set: &'a Map<String, Value>, tag: &str) -> Option<&'a str> {
    let text = data_set.get(tag)?.get("Value")?.get(0)?.as_str()?.trim();
    (!text.is_empty()).then_some(text)
}

/// The items of a sequence of a data set.
pub(super) fn items_of<'a>(
    data_set: &'a Map<String, Value>,
    tag: &str,
) -> impl Iterator<Item = &'a Map<String, Value>> {
    let list = data_set.get(tag).and_then(|element| element.get("Value"));
    list.and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
}

/// An element with one value; without one where the value is empty.
pub(super) fn element(vr: &str, value: &str) -> Value {
    if value.is_empty() {
        json!({ "vr": vr })
    } else {
        json!({ "vr": vr, "Value": [value] })
    }
}

/// A sequence.
pub(super) fn sequence(items: &[Value]) -> Value {
    json!({ "vr": "SQ", "Value": items })
}

/// An item of a code sequence (PS3.3 section 8.8).
pub(super) fn coded(scheme: &str, value: &str, meaning: &str) -> Value {
    let (tag, vr) = if value.chars().count() > 16 {
        (tag::LONG_CODE_VALUE, "UC")
    } else {
        (tag::CODE_VALUE, "SH")
    };
    let meaning: String = meaning.chars().take(64).collect();
    json!({
        tag: element(vr, value),
        tag::CODING_SCHEME: element("SH", scheme),
        tag::CODE_MEANING: element("LO", &meaning),
    })
}

/// A time as VR DT has it, in UTC; `millis` since 1970.
#[must_use]
pub fn date_time(millis: i64) -> String {
    let at = DateTime::from_timestamp_millis(millis).unwrap_or_default();
    at.format("%Y%m%d%H%M%S%.3f+0000").to_string()
}

fn data_set(value: Value, depth: usize) -> Result<Map<String, Value>, Fault> {
    if depth > DEEPEST {
        return Err(invalid(format!("sequences are nested deeper than {DEEPEST}")));
    }
    let Value::Object(elements) = value else {
        return Err(invalid(
            "a data set in DICOM JSON is an object of elements by their tags",
        ));
    };
    let mut checked = Map::new();
    for (key, element) in elements {
        if key.len() != 8 || !key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid(
                "the name of an element in DICOM JSON is its tag, such as 00741000",
            ));
        }
        checked.insert(key.to_ascii_uppercase(), checked_element(element, depth)?);
    }
    Ok(checked)
}

fn checked_element(element: Value, depth: usize) -> Result<Value, Fault> {
    let Value::Object(mut element) = element else {
        return Err(invalid(
            "an element in DICOM JSON is an object with \"vr\" and \"Value\"",
        ));
    };
    let vr = element.get("vr").and_then(Value::as_str).unwrap_or_default();
    if vr.len() != 2 || !vr.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(invalid(
            "every element in DICOM JSON has its value representation in \"vr\"",
        ));
    }
    let is_sequence = vr == "SQ";
    if element.contains_key("BulkDataURI") {
        return Err(invalid(
            "a workitem holds its values itself: no BulkDataURI is opened",
        ));
    }
    if let Some(value) = element.get_mut("Value") {
        let Value::Array(list) = value else {
            return Err(invalid("\"Value\" in DICOM JSON is a list"));
        };
        for value in list {
            if is_sequence {
                *value = Value::Object(data_set(value.take(), depth + 1)?);
            } else if value.is_array() || (value.is_object() && depth > DEEPEST) {
                return Err(invalid("a value in DICOM JSON is a text, a number or a name"));
            }
        }
    }
    Ok(Value::Object(element))
}

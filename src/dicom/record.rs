//! What is kept of an instance so that its study, its series and itself are found and described without its object, as the directory
//! records of a medium do it (PS3.3 annex F).
//!
//! Invariants: all of it is made from the header as DICOM JSON, so a record that is made again from a kept header is the same;
//! keys are in one form, in which they are compared as text; nothing here is larger than [`MOST_HEADER`] allows.

mod keys;
mod levels;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use serde_json::Value;

use super::Instance;
use super::json::{self, Attributes, first_number, first_text};
pub use keys::{date, folded_name, time};
pub use levels::Level;

/// The most bytes of a header as JSON that are kept; of a longer one, the attributes of study and series and what identifies the
/// instance. A radiograph's has some ten thousand.
pub const MOST_HEADER: usize = 64 << 10;
/// The most bytes of one attribute in the header of an instance whose header is too long.
const MOST_ATTRIBUTE: usize = 1024;

/// What is kept of an instance beside its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it says of its study.
    pub study: StudyRecord,
    /// What it says of its series.
    pub series: SeriesRecord,
    /// What it says of itself.
    pub instance: InstanceRecord,
}

/// The keys of a study, each empty where it has none, and all of its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StudyRecord {
    /// Patient ID (0010,0020).
    pub patient_id: String,
    /// The alphabetic group of Patient's Name (0010,0010), [`folded_name`].
    pub patient_name: String,
    /// Its other groups.
    pub patient_name_groups: String,
    /// Study Date (0008,0020), `YYYYMMDD`.
    pub date: String,
    /// Study Time (0008,0030), `HHMMSS.FFFFFF`.
    pub time: String,
    /// Accession Number (0008,0050).
    pub accession_number: String,
    /// The alphabetic group of Referring Physician's Name (0008,0090), [`folded_name`].
    pub referring_physician: String,
    /// Study ID (0020,0010).
    pub study_id: String,
    /// DICOM JSON of the attributes of patient and study.
    pub attributes: String,
}

/// The keys of a series, each empty where it has none, and all of its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesRecord {
    /// Modality (0008,0060).
    pub modality: String,
    /// Series Number (0020,0011).
    pub number: Option<i64>,
    /// Performed Procedure Step Start Date (0040,0244), `YYYYMMDD`.
    pub date: String,
    /// Performed Procedure Step Start Time (0040,0245), `HHMMSS.FFFFFF`.
    pub time: String,
    /// DICOM JSON of the attributes of the series.
    pub attributes: String,
}

/// The key of an instance and its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceRecord {
    /// Instance Number (0020,0013).
    pub number: Option<i64>,
    /// DICOM JSON of the header, with bulk data as [`json::BulkPath`].
    pub header: String,
    /// Whether the header is all of it; otherwise the object has the rest.
    pub whole: bool,
}

impl Record {
    /// The record of an instance.
    #[must_use]
    pub fn of(instance: &Instance) -> Self {
        let mut header = json::of_instance(instance);
        let mut text = to_text(&header);
        let whole = text.len() <= MOST_HEADER;
        if !whole {
            header.retain(|key, attribute| {
                levels::is_kept_always(key) && to_text(attribute).len() <= MOST_ATTRIBUTE
            });
            text = to_text(&header);
        }
        Self::from_attributes(&header, text, whole)
    }

    /// The record of an instance of which nothing is known but what identifies it: its object is gone, or cannot be read.
    #[must_use]
    pub fn of_identity(study: &str, series: &str, instance: &str, class: &str) -> Self {
        let identity = [
            (tags::SOP_CLASS_UID, class),
            (tags::SOP_INSTANCE_UID, instance),
            (tags::STUDY_INSTANCE_UID, study),
            (tags::SERIES_INSTANCE_UID, series),
        ];
        let header: Attributes = identity
            .into_iter()
            .filter(|(_, uid)| !uid.is_empty())
            .map(|(tag, uid)| (json::key(tag), serde_json::json!({ "vr": "UI", "Value": [uid] })))
            .collect();
        Self::from_attributes(&header, to_text(&header), false)
    }

    /// The record that belongs to a kept header; `None` where the text is not one.
    #[must_use]
    pub fn of_header(header: &str, whole: bool) -> Option<Self> {
        let attributes: Attributes = serde_json::from_str(header).ok()?;
        Some(Self::from_attributes(&attributes, header.to_owned(), whole))
    }

    fn from_attributes(header: &Attributes, text: String, whole: bool) -> Self {
        let key = |tag: Tag| first_text(header, tag).unwrap_or_default();
        let name = key(tags::PATIENT_NAME);
        let physician = key(tags::REFERRING_PHYSICIAN_NAME);
        let (alphabetic, groups) = name.split_once('=').unwrap_or((&name, ""));
        Self {
            study: StudyRecord {
                patient_id: key(tags::PATIENT_ID),
                patient_name: folded_name(alphabetic),
                patient_name_groups: folded_name(groups),
                date: date(&key(tags::STUDY_DATE)).unwrap_or_default(),
                time: time(&key(tags::STUDY_TIME)).map_or_else(String::new, |(from, _)| from),
                accession_number: key(tags::ACCESSION_NUMBER),
                referring_physician: folded_name(physician.split('=').next().unwrap_or_default()),
                study_id: key(tags::STUDY_ID),
                attributes: to_text(&Level::Study.part_of(header)),
            },
            series: SeriesRecord {
                modality: key(tags::MODALITY),
                number: first_number(header, tags::SERIES_NUMBER),
                date: date(&key(tags::PERFORMED_PROCEDURE_STEP_START_DATE)).unwrap_or_default(),
                time: time(&key(tags::PERFORMED_PROCEDURE_STEP_START_TIME))
                    .map_or_else(String::new, |(from, _)| from),
                attributes: to_text(&Level::Series.part_of(header)),
            },
            instance: InstanceRecord {
                number: first_number(header, tags::INSTANCE_NUMBER),
                header: text,
                whole,
            },
        }
    }
}

/// JSON of keys that are text is always written.
fn to_text(json: &(impl serde::Serialize + ?Sized)) -> String {
    serde_json::to_string(json).unwrap_or_else(|_| Value::Object(Attributes::new()).to_string())
}

#[cfg(test)]
mod tests;

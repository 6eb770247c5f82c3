//! A study's result as objects that an archive keeps and a viewer shows.
//!
//! [`structured_report`] makes a Comprehensive 3D SR of it (PS3.3 section A.35.13) under the template Measurement Report (PS3.16
//! TID 1500), [`secondary_capture`] a picture of where the evidence for a finding lies, [`fhir_bundle`] a Bundle of FHIR R4. A study that was refused or failed gets a report, too: what was not scored has to be seen where the images are. The same
//! arguments give the same bytes, UIDs among them, so that a retry makes the same object.

mod capture;
mod codes;
mod document;
mod element;
mod fhir;
mod groups;
mod item;
mod source;

use std::collections::BTreeSet;

use chrono::{DateTime, FixedOffset};
use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileDicomObject, FileMetaTableBuilder, InMemDicomObject};

use crate::dicom::{CodedValue, InvalidUid, StudyUid, text, uid};
use crate::finding::StudyResult;
pub use capture::{
    HeatmapPicture, WARNING, capture_series_uid, capture_uid, secondary_capture, shown_finding,
};
use element::{code_of, sequence};
pub use fhir::bundle as fhir_bundle;
use groups::Groups;
use item::{Item, Value};
pub use source::{Side, SourceInstance};

/// Why there is no report. No variant shows a value of the data set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// There is nothing that the report could rest on.
    #[error("a report needs at least one source image")]
    NoSource,
    /// The result names an image that is not among the sources.
    #[error("the result is about an image that is not among the sources of the report")]
    Unlisted,
    /// A number of the result is NaN or an infinity, which is no answer.
    #[error("a number of the result is not finite")]
    NotFinite,
    /// The header has no valid study.
    #[error(transparent)]
    Identity(#[from] InvalidUid),
    /// The file meta information cannot be built.
    #[error("the report cannot be written")]
    Writing,
}

/// The SOP Instance UID of the report of the result with this key.
#[must_use]
pub fn report_uid(key: &str) -> String {
    uid::derived(&["osteon", "structured report", key])
}

/// The Series Instance UID of the report of the result with this key: each report is a series of its own.
#[must_use]
pub fn report_series_uid(key: &str) -> String {
    uid::derived(&["osteon", "structured report series", key])
}

/// Which result an object is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// Its key.
    pub key: &'a str,
    /// The key of the result of the same study that it takes the place of.
    pub supersedes: Option<&'a str>,
    /// When it came to be. It is shown in the time zone of the header where that names one (Timezone Offset From UTC (0008,0201) holds
    /// for every time of a data set, PS3.3 section C.12.1.1.8).
    pub made_at: DateTime<FixedOffset>,
}

impl Identity<'_> {
    fn shown_at(&self, header: &InMemDicomObject) -> DateTime<FixedOffset> {
        text(header, tags::TIMEZONE_OFFSET_FROM_UTC)
            .and_then(|offset| offset.parse::<FixedOffset>().ok())
            .map_or(self.made_at, |offset| self.made_at.with_timezone(&offset))
    }
}

/// The report of `result` about the images `sources`, for the patient and study of `header`, which is that of one of them. It names
/// the report of the result that this one supersedes as its predecessor.
///
/// # Errors
/// [`ReportError`].
pub fn structured_report(
    result: &StudyResult,
    identity: &Identity<'_>,
    sources: &[SourceInstance],
    header: &InMemDicomObject,
) -> Result<FileDicomObject<InMemDicomObject>, ReportError> {
    if sources.is_empty() {
        return Err(ReportError::NoSource);
    }
    let key = identity.key;
    let study = StudyUid::parse(&text(header, tags::STUDY_INSTANCE_UID).unwrap_or_default())?;
    let groups = Groups { result, key, sources }.all()?;

    let mut object = root(result, header, groups).into_root();
    let template = InMemDicomObject::from_element_iter([
        element::text(tags::MAPPING_RESOURCE, VR::CS, "DCMR"),
        element::text(tags::TEMPLATE_IDENTIFIER, VR::CS, "1500"),
    ]);
    let instance = report_uid(key);
    let elements = document::patient_and_study(header)
        .into_iter()
        .chain(document::equipment_and_creation(&identity.shown_at(header)))
        .chain(document::series(&report_series_uid(key)))
        .chain(document::general(study.as_str(), sources, header))
        .chain(
            identity
                .supersedes
                .map(|former| document::predecessor(study.as_str(), former)),
        )
        .chain([
            element::text(tags::STUDY_INSTANCE_UID, VR::UI, study.as_str()),
            element::text(tags::SOP_INSTANCE_UID, VR::UI, instance.as_str()),
            sequence(tags::CONTENT_TEMPLATE_SEQUENCE, vec![template]),
        ]);
    for element in elements {
        object.put(element);
    }
    file(object, uids::COMPREHENSIVE3_DSR_STORAGE, &instance)
}

/// The data set as a file in Explicit VR Little Endian.
fn file(
    object: InMemDicomObject,
    class: &str,
    instance: &str,
) -> Result<FileDicomObject<InMemDicomObject>, ReportError> {
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .media_storage_sop_class_uid(class)
        .media_storage_sop_instance_uid(instance)
        .implementation_class_uid(uid::implementation_class())
        .implementation_version_name(concat!("OSTEON ", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|_| ReportError::Writing)?;
    Ok(object.with_exact_meta(meta))
}

/// The root of TID 1500: language, observer, procedure, then the groups, then what holds for the study.
fn root(result: &StudyResult, header: &InMemDicomObject, groups: Vec<Item>) -> Item {
    let procedure = header
        .get(tags::PROCEDURE_CODE_SEQUENCE)
        .and_then(|codes| codes.items()?.first())
        .and_then(code_of)
        .unwrap_or_else(|| codes::PLAIN_RADIOGRAPHY.into());
    let code = |code: codes::Code| Value::Code(CodedValue::from(code));
    let named = |concept| Item::context(concept, Value::Text(document::NAME.to_owned()));
    let mut children = vec![
        Item::modifier(codes::LANGUAGE, code(codes::ENGLISH)),
        Item::context(codes::OBSERVER_TYPE, code(codes::DEVICE)),
        Item::context(codes::DEVICE_UID, Value::Uid(document::device_uid())),
        named(codes::DEVICE_NAME),
        named(codes::DEVICE_MANUFACTURER),
        Item::context(
            codes::DEVICE_MODEL,
            Value::Text(format!("{} {}", document::NAME, document::VERSION)),
        ),
        Item::modifier(codes::PROCEDURE_REPORTED, Value::Code(procedure)),
    ];
    if !groups.is_empty() {
        children.push(Item::container(codes::IMAGING_MEASUREMENTS, groups));
    }
    let models = result
        .instances
        .iter()
        .filter_map(|instance| instance.model.as_ref());
    let notices: BTreeSet<&str> = models.map(|model| model.notice.as_str()).collect();
    let evaluations = std::iter::once(groups::outcome(result.outcome, result.reason.as_ref())).chain(
        notices
            .into_iter()
            .filter(|notice| !notice.is_empty())
            .map(|notice| Item::contains(codes::COMMENT, Value::Text(notice.to_owned()))),
    );
    children.push(Item::container(
        codes::QUALITATIVE_EVALUATIONS,
        evaluations.collect(),
    ));
    Item::contains(codes::IMAGING_MEASUREMENT_REPORT, Value::Container).with(children)
}

#[cfg(test)]
mod tests;

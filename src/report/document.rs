//! The modules around the content (PS3.3 section A.35.13): whose study it is, what made the report, and what it rests on.

use chrono::{DateTime, FixedOffset};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;

use super::codes::{PRIVATE, PROCESSING_EQUIPMENT, SCHEME_NAME, scheme_uid};
use super::element::{coded, empty, sequence, text};
use super::item::reference;
use super::source::SourceInstance;
use crate::dicom::uid;

/// Manufacturer and model name of what writes the reports.
pub(super) const NAME: &str = "osteon";
/// Its version.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Attributes of the Patient, Clinical Trial Subject, General Study and Patient Study modules (PS3.3 sections C.7.1.1, C.7.1.3,
/// C.7.2.1 and C.7.2.2) that are copied as they are, where the image has them.
const COPIED: [Tag; 31] = [
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID,
    tags::TYPE_OF_PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID_QUALIFIERS_SEQUENCE,
    tags::OTHER_PATIENT_I_DS_SEQUENCE,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::PATIENT_IDENTITY_REMOVED,
    tags::DEIDENTIFICATION_METHOD,
    tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE,
    tags::CLINICAL_TRIAL_SPONSOR_NAME,
    tags::CLINICAL_TRIAL_PROTOCOL_ID,
    tags::CLINICAL_TRIAL_PROTOCOL_NAME,
    tags::CLINICAL_TRIAL_SITE_ID,
    tags::CLINICAL_TRIAL_SITE_NAME,
    tags::CLINICAL_TRIAL_SUBJECT_ID,
    tags::CLINICAL_TRIAL_SUBJECT_READING_ID,
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::STUDY_ID,
    tags::ACCESSION_NUMBER,
    tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE,
    tags::STUDY_DESCRIPTION,
    tags::PROCEDURE_CODE_SEQUENCE,
    tags::PATIENT_AGE,
    tags::PATIENT_SIZE,
    tags::PATIENT_WEIGHT,
    tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED,
    tags::TIMEZONE_OFFSET_FROM_UTC,
];

/// What must be there, with a value or without (type 2).
const REQUIRED: [(Tag, VR); 9] = [
    (tags::PATIENT_NAME, VR::PN),
    (tags::PATIENT_ID, VR::LO),
    (tags::PATIENT_BIRTH_DATE, VR::DA),
    (tags::PATIENT_SEX, VR::CS),
    (tags::STUDY_DATE, VR::DA),
    (tags::STUDY_TIME, VR::TM),
    (tags::REFERRING_PHYSICIAN_NAME, VR::PN),
    (tags::STUDY_ID, VR::SH),
    (tags::ACCESSION_NUMBER, VR::SH),
];

/// UID of this program in this version, as a device that observes.
pub(super) fn device_uid() -> String {
    uid::derived(&["osteon", "device", VERSION])
}

/// Patient and study, copied from an image.
pub(super) fn patient_and_study(header: &InMemDicomObject) -> Vec<InMemElement> {
    let missing = REQUIRED
        .into_iter()
        .filter(|(tag, _)| header.get(*tag).is_none())
        .map(|(tag, vr)| empty(tag, vr));
    let copied = COPIED.into_iter().filter_map(|tag| header.get(tag).cloned());
    copied.chain(missing).collect()
}

/// SR Document Series (PS3.3 section C.17.1).
pub(super) fn series(series: &str) -> Vec<InMemElement> {
    vec![
        text(tags::MODALITY, VR::CS, "SR"),
        text(tags::SERIES_INSTANCE_UID, VR::UI, series),
        text(tags::SERIES_NUMBER, VR::IS, "1"),
        text(tags::SERIES_DESCRIPTION, VR::LO, "osteon result, unverified"),
        sequence(tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, Vec::new()),
    ]
}

/// The report of the result with the key `former`, whose place this one takes (PS3.3 section C.17.2.3).
pub(super) fn predecessor(study: &str, former: &str) -> InMemElement {
    let report = reference(uids::COMPREHENSIVE3_DSR_STORAGE, &super::report_uid(former));
    let series = InMemDicomObject::from_element_iter([
        text(
            tags::SERIES_INSTANCE_UID,
            VR::UI,
            super::report_series_uid(former),
        ),
        sequence(tags::REFERENCED_SOP_SEQUENCE, vec![report]),
    ]);
    let document = InMemDicomObject::from_element_iter([
        text(tags::STUDY_INSTANCE_UID, VR::UI, study),
        sequence(tags::REFERENCED_SERIES_SEQUENCE, vec![series]),
    ]);
    sequence(tags::PREDECESSOR_DOCUMENTS_SEQUENCE, vec![document])
}

/// General and Enhanced General Equipment, SOP Common, with what this program contributed, and when the content came to be.
pub(super) fn equipment_and_creation(made_at: &DateTime<FixedOffset>) -> Vec<InMemElement> {
    let [date, time] = date_and_time(made_at);
    let contribution = InMemDicomObject::from_element_iter(equipment().into_iter().chain([
        sequence(
            tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE,
            vec![coded(PROCESSING_EQUIPMENT)],
        ),
        text(tags::CONTRIBUTION_DATE_TIME, VR::DT, format!("{date}{time}")),
        text(
            tags::CONTRIBUTION_DESCRIPTION,
            VR::ST,
            "Scored images with a trained model",
        ),
    ]));
    let scheme = InMemDicomObject::from_element_iter([
        text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, PRIVATE),
        text(tags::CODING_SCHEME_UID, VR::UI, scheme_uid()),
        text(tags::CODING_SCHEME_NAME, VR::ST, SCHEME_NAME),
        text(
            tags::CODING_SCHEME_RESPONSIBLE_ORGANIZATION,
            VR::ST,
            "The osteon authors",
        ),
    ]);
    let mut elements = equipment();
    elements.extend([
        text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192"),
        text(tags::INSTANCE_CREATION_DATE, VR::DA, date.clone()),
        text(tags::INSTANCE_CREATION_TIME, VR::TM, time.clone()),
        sequence(tags::CONTRIBUTING_EQUIPMENT_SEQUENCE, vec![contribution]),
        sequence(tags::CODING_SCHEME_IDENTIFICATION_SEQUENCE, vec![scheme]),
        text(tags::CONTENT_DATE, VR::DA, date),
        text(tags::CONTENT_TIME, VR::TM, time),
    ]);
    elements
}

/// SR Document General (PS3.3 section C.17.2), without what the study already gives.
pub(super) fn general(
    study: &str,
    sources: &[SourceInstance],
    header: &InMemDicomObject,
) -> Vec<InMemElement> {
    let performed = header
        .get(tags::PROCEDURE_CODE_SEQUENCE)
        .and_then(|codes| codes.items())
        .map_or_else(Vec::new, <[_]>::to_vec);
    vec![
        text(tags::INSTANCE_NUMBER, VR::IS, "1"),
        text(tags::COMPLETION_FLAG, VR::CS, "COMPLETE"),
        text(tags::VERIFICATION_FLAG, VR::CS, "UNVERIFIED"),
        sequence(tags::PERFORMED_PROCEDURE_CODE_SEQUENCE, performed),
        sequence(
            tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE,
            vec![evidence(study, sources)],
        ),
        text(tags::SOP_CLASS_UID, VR::UI, uids::COMPREHENSIVE3_DSR_STORAGE),
    ]
}

/// All images of the study that the report rests on, series by series in the order in which they come (PS3.3 table C.17-3b).
fn evidence(study: &str, sources: &[SourceInstance]) -> InMemDicomObject {
    let mut series: Vec<(&str, Vec<&SourceInstance>)> = Vec::new();
    for source in sources {
        let uid = source.series.as_str();
        match series.iter_mut().find(|(known, _)| *known == uid) {
            Some((_, instances)) if instances.iter().any(|known| known.uid == source.uid) => {}
            Some((_, instances)) => instances.push(source),
            None => series.push((uid, vec![source])),
        }
    }
    let items = series.into_iter().map(|(uid, instances)| {
        let references = instances
            .into_iter()
            .map(|source| reference(&source.class, source.uid.as_str()))
            .collect();
        InMemDicomObject::from_element_iter([
            text(tags::SERIES_INSTANCE_UID, VR::UI, uid),
            sequence(tags::REFERENCED_SOP_SEQUENCE, references),
        ])
    });
    InMemDicomObject::from_element_iter([
        text(tags::STUDY_INSTANCE_UID, VR::UI, study),
        sequence(tags::REFERENCED_SERIES_SEQUENCE, items.collect()),
    ])
}

fn equipment() -> Vec<InMemElement> {
    let device = device_uid();
    vec![
        text(tags::MANUFACTURER, VR::LO, NAME),
        text(tags::MANUFACTURER_MODEL_NAME, VR::LO, NAME),
        text(tags::DEVICE_SERIAL_NUMBER, VR::LO, device.clone()),
        text(tags::SOFTWARE_VERSIONS, VR::LO, VERSION),
        text(tags::DEVICE_UID, VR::UI, device),
    ]
}

fn date_and_time(at: &DateTime<FixedOffset>) -> [String; 2] {
    [at.format("%Y%m%d").to_string(), at.format("%H%M%S").to_string()]
}

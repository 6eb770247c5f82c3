//! Which attributes belong to the patient and the study, which to the series: those of the modules of PS3.3 that radiographs have
//! (C.7.1.1, C.7.2.1, C.7.2.2 and C.7.3.1, C.7.5.1).

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use crate::dicom::json::{Attributes, key};

/// A level of the query model (PS3.4 section C.6.2.1, with the patient as a part of the study).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Patient and study.
    Study,
    /// Series.
    Series,
    /// Instance: whatever belongs to neither.
    Instance,
}

const STUDY: [Tag; 45] = [
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::ACCESSION_NUMBER,
    tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::REFERRING_PHYSICIAN_IDENTIFICATION_SEQUENCE,
    tags::CONSULTING_PHYSICIAN_NAME,
    tags::TIMEZONE_OFFSET_FROM_UTC,
    tags::STUDY_DESCRIPTION,
    tags::PROCEDURE_CODE_SEQUENCE,
    tags::PHYSICIANS_OF_RECORD,
    tags::NAME_OF_PHYSICIANS_READING_STUDY,
    tags::ADMITTING_DIAGNOSES_DESCRIPTION,
    tags::ADMITTING_DIAGNOSES_CODE_SEQUENCE,
    tags::REFERENCED_STUDY_SEQUENCE,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID,
    tags::TYPE_OF_PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID_QUALIFIERS_SEQUENCE,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_BIRTH_TIME,
    tags::PATIENT_SEX,
    // Other Patient IDs and Ethnic Group: retired, and still there in many files
    Tag(0x0010, 0x1000),
    Tag(0x0010, 0x2160),
    tags::OTHER_PATIENT_NAMES,
    tags::OTHER_PATIENT_I_DS_SEQUENCE,
    tags::PATIENT_AGE,
    tags::PATIENT_SIZE,
    tags::PATIENT_WEIGHT,
    tags::MEDICAL_ALERTS,
    tags::ALLERGIES,
    tags::OCCUPATION,
    tags::ADDITIONAL_PATIENT_HISTORY,
    tags::PREGNANCY_STATUS,
    tags::PATIENT_SPECIES_DESCRIPTION,
    tags::PATIENT_BREED_DESCRIPTION,
    tags::RESPONSIBLE_PERSON,
    tags::PATIENT_COMMENTS,
    tags::PATIENT_IDENTITY_REMOVED,
    tags::DEIDENTIFICATION_METHOD,
    tags::STUDY_INSTANCE_UID,
    tags::STUDY_ID,
    tags::ADMISSION_ID,
    tags::REASON_FOR_VISIT,
];

const SERIES: [Tag; 28] = [
    tags::SERIES_DATE,
    tags::SERIES_TIME,
    tags::MODALITY,
    tags::MANUFACTURER,
    tags::INSTITUTION_NAME,
    tags::INSTITUTION_ADDRESS,
    tags::STATION_NAME,
    tags::SERIES_DESCRIPTION,
    tags::SERIES_DESCRIPTION_CODE_SEQUENCE,
    tags::INSTITUTIONAL_DEPARTMENT_NAME,
    tags::PERFORMING_PHYSICIAN_NAME,
    tags::OPERATORS_NAME,
    tags::MANUFACTURER_MODEL_NAME,
    tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE,
    tags::BODY_PART_EXAMINED,
    tags::DEVICE_SERIAL_NUMBER,
    tags::SOFTWARE_VERSIONS,
    tags::PROTOCOL_NAME,
    tags::PATIENT_POSITION,
    tags::SERIES_INSTANCE_UID,
    tags::SERIES_NUMBER,
    tags::FRAME_OF_REFERENCE_UID,
    tags::LATERALITY,
    tags::PERFORMED_PROCEDURE_STEP_START_DATE,
    tags::PERFORMED_PROCEDURE_STEP_START_TIME,
    tags::PERFORMED_PROCEDURE_STEP_ID,
    tags::PERFORMED_PROCEDURE_STEP_DESCRIPTION,
    tags::REQUEST_ATTRIBUTES_SEQUENCE,
];

/// What every answer about an instance has, where the instance has it (PS3.18 table 10.6.3-5).
const INSTANCE: [Tag; 8] = [
    tags::SOP_CLASS_UID,
    tags::SOP_INSTANCE_UID,
    tags::INSTANCE_NUMBER,
    tags::NUMBER_OF_FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::BITS_ALLOCATED,
    tags::PIXEL_DATA,
];

impl Level {
    /// The level that an attribute belongs to.
    #[must_use]
    pub fn of(tag: Tag) -> Self {
        if STUDY.contains(&tag) {
            Self::Study
        } else if SERIES.contains(&tag) {
            Self::Series
        } else {
            Self::Instance
        }
    }

    /// The attributes of a header that belong to this level.
    pub(super) fn part_of(self, header: &Attributes) -> Attributes {
        let tags = match self {
            Self::Study => STUDY.as_slice(),
            Self::Series => SERIES.as_slice(),
            Self::Instance => INSTANCE.as_slice(),
        };
        let part = tags.iter().filter_map(|tag| header.get_key_value(&key(*tag)));
        part.map(|(key, attribute)| (key.clone(), attribute.clone()))
            .collect()
    }
}

/// Whether an attribute is kept of a header that is too long.
pub(super) fn is_kept_always(name: &str) -> bool {
    let mut tags = STUDY.iter().chain(&SERIES).chain(&INSTANCE);
    name == key(tags::SPECIFIC_CHARACTER_SET) || tags.any(|tag| key(*tag) == name)
}

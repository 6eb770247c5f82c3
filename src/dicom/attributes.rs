//! The attributes of an instance that decide whether a model may score it.
//!
//! None of them identifies a person: an age, not a birth date; a modality, not a name.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Instance, text};

/// A coded entry (PS3.3 section 8.8): value, scheme, meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CodedValue {
    /// Coding Scheme Designator (0008,0102), for example `SCT`.
    pub scheme: String,
    /// Code Value (0008,0100).
    pub value: String,
    /// Code Meaning (0008,0104).
    pub meaning: String,
}

/// What the header says of the examination and of the size of its image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Modality (0008,0060), upper case.
    pub modality: Option<String>,
    /// Body Part Examined (0018,0015), upper case.
    pub body_part: Option<String>,
    /// Code value of the first item of Anatomic Region Sequence (0008,2218).
    pub region_code: Option<String>,
    /// View Position (0018,5101), upper case.
    pub view_position: Option<String>,
    /// Code value of the first item of View Code Sequence (0054,0220).
    pub view_code: Option<String>,
    /// Patient's Age (0010,1010) in whole years, or the years between Patient's Birth Date and Study Date.
    pub age_years: Option<u16>,
    /// Image Laterality (0020,0062), upper case.
    pub image_laterality: Option<String>,
    /// Laterality (0020,0060), of the series, upper case.
    pub laterality: Option<String>,
    /// Rows (0028,0010).
    pub rows: Option<u32>,
    /// Columns (0028,0011).
    pub columns: Option<u32>,
    /// Institution Name (0008,0080): only ever looked up in the server's own table of sites, and never shown.
    pub institution: Option<String>,
}

impl Attributes {
    /// Reads them from an instance.
    #[must_use]
    pub fn of(instance: &Instance) -> Self {
        let object = &instance.header;
        let upper = |tag| text(object, tag).map(|value| value.to_uppercase());
        let count = |tag| object.get(tag)?.to_int::<u32>().ok();
        Self {
            modality: upper(tags::MODALITY),
            body_part: upper(tags::BODY_PART_EXAMINED),
            region_code: first_code(object, tags::ANATOMIC_REGION_SEQUENCE),
            view_position: upper(tags::VIEW_POSITION),
            view_code: first_code(object, tags::VIEW_CODE_SEQUENCE),
            age_years: age(object),
            image_laterality: upper(tags::IMAGE_LATERALITY),
            laterality: upper(tags::LATERALITY),
            rows: count(tags::ROWS),
            columns: count(tags::COLUMNS),
            institution: text(object, tags::INSTITUTION_NAME),
        }
    }
}

/// Whether whoever ordered the examination called it urgent: Requested Procedure Priority (0040,1003) is `STAT` or `HIGH`, or
/// Scheduled Procedure Step Priority (0074,1200) is `HIGH`.
#[must_use]
pub fn is_urgent(instance: &Instance) -> bool {
    let says = |tag| text(&instance.header, tag).map(|value| value.to_uppercase());
    [
        tags::REQUESTED_PROCEDURE_PRIORITY,
        tags::SCHEDULED_PROCEDURE_STEP_PRIORITY,
    ]
    .into_iter()
    .filter_map(says)
    .any(|value| value == "STAT" || value == "HIGH")
}

/// How many instances the study of this one has, where its sender says so: Number of Study Related Instances (0020,1208).
#[must_use]
pub fn study_instances(instance: &Instance) -> Option<i64> {
    let count = instance
        .header
        .get(tags::NUMBER_OF_STUDY_RELATED_INSTANCES)?
        .to_int::<i64>()
        .ok()?;
    (count > 0).then_some(count)
}

fn first_code(object: &InMemDicomObject, sequence: Tag) -> Option<String> {
    let items = object.get(sequence)?.items()?;
    text(items.first()?, tags::CODE_VALUE)
}

/// Patient's Age is four characters, `nnnD`, `nnnW`, `nnnM` or `nnnY` (PS3.5 section 6.2, VR AS).
fn age(object: &InMemDicomObject) -> Option<u16> {
    let stated = text(object, tags::PATIENT_AGE).and_then(|age| {
        let unit = age.chars().last()?;
        let count: u16 = age.get(..age.len() - unit.len_utf8())?.trim().parse().ok()?;
        match unit {
            'Y' | 'y' => Some(count),
            'M' | 'm' => Some(count / 12),
            'W' | 'w' => Some(count / 52),
            'D' | 'd' => Some(count / 365),
            _ => None,
        }
    });
    stated.or_else(|| {
        let birth = text(object, tags::PATIENT_BIRTH_DATE)?;
        let study = text(object, tags::STUDY_DATE)?;
        years_between(&birth, &study)
    })
}

/// Whole years between two DICOM dates `YYYYMMDD` (VR DA).
fn years_between(earlier: &str, later: &str) -> Option<u16> {
    let parse = |date: &str| -> Option<u32> {
        (date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit())).then(|| date.parse().ok())?
    };
    // as numbers, YYYYMMDD dates differ by 10000 a year, and the month and day decide whether it is complete
    let difference = parse(later)?.checked_sub(parse(earlier)?)?;
    u16::try_from(difference / 10_000).ok()
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, VR, dicom_value};

    use super::*;

    fn aged(elements: &[(Tag, VR, &str)]) -> Option<u16> {
        let mut object = InMemDicomObject::new_empty();
        for (tag, vr, value) in elements {
            object.put(DataElement::new(*tag, *vr, dicom_value!(Str, *value)));
        }
        age(&object)
    }

    #[test]
    fn reads_ages_in_every_unit() {
        for (age, years) in [("072Y", 72), ("030M", 2), ("400D", 1), ("104W", 2)] {
            assert_eq!(aged(&[(tags::PATIENT_AGE, VR::AS, age)]), Some(years), "{age}");
        }
        assert_eq!(aged(&[(tags::PATIENT_AGE, VR::AS, "Y")]), None);
        assert_eq!(aged(&[(tags::PATIENT_AGE, VR::AS, "0é")]), None);
    }

    #[test]
    fn falls_back_to_the_dates() {
        let dates = |birth, study| {
            aged(&[
                (tags::PATIENT_BIRTH_DATE, VR::DA, birth),
                (tags::STUDY_DATE, VR::DA, study),
            ])
        };
        assert_eq!(dates("19500615", "20200614"), Some(69));
        assert_eq!(dates("19500615", "20200615"), Some(70));
        assert_eq!(dates("20210101", "20200101"), None);
    }
}

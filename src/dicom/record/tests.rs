//! Records of real data sets, and the forms of their keys.

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, VR};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

use super::*;

fn instance(more: impl IntoIterator<Item = (Tag, VR, String)>) -> Instance {
    let mut object = InMemDicomObject::new_empty();
    let elements = [
        (tags::SOP_CLASS_UID, VR::UI, "1.2.840.10008.5.1.4.1.1.1.1"),
        (tags::SOP_INSTANCE_UID, VR::UI, "1.2.9"),
        (tags::STUDY_DATE, VR::DA, "2013.04.09"),
        (tags::STUDY_TIME, VR::TM, "1031"),
        (tags::MODALITY, VR::CS, "DX"),
        (tags::PATIENT_NAME, VR::PN, "Yamada^Tarou^^=山田^太郎"),
        (tags::PATIENT_ID, VR::LO, " p1 "),
        (tags::STUDY_INSTANCE_UID, VR::UI, "1.2"),
        (tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3"),
        (tags::SERIES_NUMBER, VR::IS, "2"),
        (tags::INSTANCE_NUMBER, VR::IS, "7"),
        (tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192"),
    ];
    let elements = elements.map(|(tag, vr, text)| (tag, vr, text.to_owned()));
    for (tag, vr, text) in elements.into_iter().chain(more) {
        object.put(DataElement::new(tag, vr, PrimitiveValue::from(text)));
    }
    let meta = FileMetaTableBuilder::new().transfer_syntax("1.2.840.10008.1.2.1");
    let mut bytes = Vec::new();
    object.with_meta(meta).unwrap().write_all(&mut bytes).unwrap();
    Instance::parse(bytes.into()).unwrap()
}

#[test]
fn a_record_has_the_keys_of_each_level() {
    let record = Record::of(&instance([]));
    let study = &record.study;
    assert_eq!(
        (study.date.as_str(), study.time.as_str()),
        ("20130409", "103100.000000")
    );
    assert_eq!(study.patient_id, "p1");
    assert_eq!(
        (study.patient_name.as_str(), study.patient_name_groups.as_str()),
        ("yamada^tarou", "山田^太郎")
    );
    assert_eq!(study.accession_number, "");
    assert_eq!(
        (record.series.modality.as_str(), record.series.number),
        ("DX", Some(2))
    );
    assert_eq!((record.instance.number, record.instance.whole), (Some(7), true));
    let attributes: Attributes = serde_json::from_str(&record.series.attributes).unwrap();
    let names: Vec<_> = attributes.keys().map(String::as_str).collect();
    assert_eq!(names, ["00080060", "0020000E", "00200011"]);
    assert!(!record.study.attributes.contains("00080060"));
    assert_eq!(
        Record::of_header(&record.instance.header, true),
        Some(record),
        "made again from its header, it is the same"
    );
}

#[test]
fn a_header_that_is_too_long_is_cut_down_to_what_is_searched_for() {
    let long = [
        (tags::IMAGE_COMMENTS, VR::LT, "c".repeat(9_000)),
        (tags::PATIENT_COMMENTS, VR::LT, "c".repeat(9_000)),
        (tags::TEXT_STRING, VR::UT, "t".repeat(MOST_HEADER)),
    ];
    let record = Record::of(&instance(long));
    assert!(!record.instance.whole);
    assert!(record.instance.header.len() < 2_000);
    assert_eq!(record.study.patient_id, "p1");
    assert_eq!(Record::of_header(&record.instance.header, false), Some(record));
}

#[test]
fn an_identity_alone_is_a_record() {
    let record = Record::of_identity("1.2", "1.2.3", "1.2.9", "");
    let header: Attributes = serde_json::from_str(&record.instance.header).unwrap();
    assert_eq!(
        first_text(&header, tags::SERIES_INSTANCE_UID).as_deref(),
        Some("1.2.3")
    );
    assert!(!record.instance.whole && record.study.attributes.contains("0020000D"));
}

#[test]
fn dates_times_and_names_have_one_form() {
    assert_eq!(date("20130409 ").as_deref(), Some("20130409"));
    assert_eq!(date("2013.04.09").as_deref(), Some("20130409"));
    for wrong in [
        "",
        "2013",
        "20131309",
        "20130432",
        "2013-04-09",
        "201304.09.",
        "２０",
    ] {
        assert_eq!(date(wrong), None, "{wrong}");
    }
    let range = |text| time(text).map(|(from, to)| format!("{from} {to}"));
    for (text, from_to) in [
        ("10", "100000.000000 105959.999999"),
        ("10:31", "103100.000000 103159.999999"),
        ("103159", "103159.000000 103159.999999"),
        ("103159.25", "103159.250000 103159.259999"),
        ("235960", "235960.000000 235960.999999"),
    ] {
        assert_eq!(range(text).as_deref(), Some(from_to), "{text}");
    }
    for wrong in ["", "1", "24", "1060", "10.5", "103159.", "103159.1234567", "10a"] {
        assert_eq!(range(wrong), None, "{wrong}");
    }
    assert_eq!(folded_name("Doe ^ John^^"), "doe^john");
    assert_eq!(folded_name("MÜLLER==Müller^"), "müller==müller");
}

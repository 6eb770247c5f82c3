//! Reports of results of every kind, as trees.

use chrono::{DateTime, FixedOffset};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileDicomObject, InMemDicomObject};

use super::element::code_of;
use super::*;
use crate::dicom::Instance;
use crate::fault::{Fault, FaultKind};
use crate::finding::{
    Finding, InstanceResult, IntendedUseCheck, ModelReference, Outcome, Reading, StudyRule, Violation,
};
use crate::image::phantom::{Recipe, to_dicom};

type Object = FileDicomObject<InMemDicomObject>;

const KEY: &str = "6f2a9a5f6b1ddc1a4f1bbb2b6bd0cf0f2a7f0f4d9d4a8f1c0e6b5a4938271605";

fn made_at() -> DateTime<FixedOffset> {
    "2026-11-25T23:30:05-01:00".parse().unwrap()
}

/// Headers of two images of one patient.
fn headers() -> [InMemDicomObject; 2] {
    [0, 1].map(|index| {
        let object = to_dicom(&Recipe::new(7, 64, 48).render(), 9, 7, index).unwrap();
        let mut file = Vec::new();
        object.write_all(&mut file).unwrap();
        Instance::parse(file.into()).unwrap().header
    })
}

fn sources(headers: &[InMemDicomObject]) -> Vec<SourceInstance> {
    headers
        .iter()
        .map(|header| SourceInstance::of(header).unwrap())
        .collect()
}

fn concept(scheme: &str, value: &str, meaning: &str) -> CodedValue {
    CodedValue {
        scheme: scheme.into(),
        value: value.into(),
        meaning: meaning.into(),
    }
}

fn osteoporosis(probability: f32) -> Finding {
    Finding {
        label: "osteoporosis".into(),
        code: concept("SCT", "64859006", "Osteoporosis"),
        reading: Reading::Probability {
            probability,
            threshold: Some(0.4),
            positive: probability >= 0.4,
        },
    }
}

fn scored(source: &SourceInstance, findings: Vec<Finding>) -> InstanceResult {
    InstanceResult {
        outcome: Outcome::Scored,
        reason: None,
        findings,
        model: Some(ModelReference {
            name: "spine".into(),
            version: 3,
            digest: "ab".repeat(32),
            provider: "CPU".into(),
            notice: "Research only".into(),
        }),
        ..refused(source)
    }
}

fn refused(source: &SourceInstance) -> InstanceResult {
    let fault = Fault::new(FaultKind::Refused, "not-a-probability", "a number that is none");
    InstanceResult::unscored(&fault, Some(source.uid.to_string()))
}

fn report(instances: Vec<InstanceResult>, headers: &[InMemDicomObject]) -> Result<Object, ReportError> {
    let result = StudyResult::of(instances, &StudyRule::default());
    structured_report(&result, KEY, &sources(headers), &headers[0], made_at())
}

fn items(object: &InMemDicomObject, tag: Tag) -> Vec<&InMemDicomObject> {
    let items = object.get(tag).and_then(|element| element.items());
    items.unwrap_or_default().iter().collect()
}

fn name(item: &InMemDicomObject) -> CodedValue {
    code_of(items(item, tags::CONCEPT_NAME_CODE_SEQUENCE)[0]).unwrap()
}

/// The children of `item` whose concept has this code value.
fn children<'a>(item: &'a InMemDicomObject, value: &str) -> Vec<&'a InMemDicomObject> {
    let mut children = items(item, tags::CONTENT_SEQUENCE);
    children.retain(|child| name(child).value == value);
    children
}

fn coded_value(item: &InMemDicomObject) -> CodedValue {
    code_of(items(item, tags::CONCEPT_CODE_SEQUENCE)[0]).unwrap()
}

fn groups(object: &Object) -> Vec<&InMemDicomObject> {
    children(object, "126010")
        .first()
        .map_or_else(Vec::new, |measurements| children(measurements, "125007"))
}

fn number(item: &InMemDicomObject) -> (String, String, CodedValue) {
    let measured = items(item, tags::MEASURED_VALUE_SEQUENCE)[0];
    let unit = code_of(items(measured, tags::MEASUREMENT_UNITS_CODE_SEQUENCE)[0]).unwrap();
    (
        text(measured, tags::NUMERIC_VALUE).unwrap(),
        unit.value,
        name(item),
    )
}

fn image(item: &InMemDicomObject) -> String {
    text(
        items(item, tags::REFERENCED_SOP_SEQUENCE)[0],
        tags::REFERENCED_SOP_INSTANCE_UID,
    )
    .unwrap()
}

#[test]
fn a_probability_is_a_group_with_its_threshold_and_its_image() {
    let headers = headers();
    let sources = sources(&headers);
    let object = report(vec![scored(&sources[0], vec![osteoporosis(0.75)])], &headers[..1]).unwrap();
    let groups = groups(&object);
    assert_eq!(groups.len(), 1);
    let group = groups[0];
    let (value, unit, named) = number(children(group, "P-SCT-64859006")[0]);
    assert_eq!((value.as_str(), unit.as_str()), ("0.75", "1"));
    assert_eq!(
        named,
        concept("99OSTEON", "P-SCT-64859006", "Probability of Osteoporosis")
    );
    assert_eq!(coded_value(children(group, "121071")[0]).value, "64859006");
    assert_eq!(coded_value(children(group, "121052")[0]).meaning, "Present");
    // of the phantom: Anatomic Region Sequence is the lumbar spine, unpaired
    assert_eq!(coded_value(children(group, "363698007")[0]).value, "122496007");
    assert_eq!(image(children(group, "121112")[0]), sources[0].uid.as_str());
    let parameters: Vec<_> = children(group, "111002")
        .into_iter()
        .map(|item| text(item, tags::TEXT_VALUE).unwrap())
        .collect();
    let digest = format!("model-digest={}", "ab".repeat(32));
    assert_eq!(parameters, ["threshold=0.4", digest.as_str(), "provider=CPU"]);
    assert_eq!(text(children(group, "111003")[0], tags::TEXT_VALUE).unwrap(), "3");
}

#[test]
fn below_the_threshold_a_finding_is_absent() {
    let headers = headers();
    let source = &sources(&headers)[0];
    let object = report(vec![scored(source, vec![osteoporosis(0.25)])], &headers).unwrap();
    assert_eq!(
        coded_value(children(groups(&object)[0], "121052")[0]).meaning,
        "Absent"
    );
}

#[test]
fn of_classes_each_has_its_group_and_one_is_present() {
    let headers = headers();
    let source = &sources(&headers)[0];
    let class = |value: &str, probability, positive| Finding {
        label: value.into(),
        code: concept("SCT", value, value),
        reading: Reading::Probability {
            probability,
            threshold: None,
            positive,
        },
    };
    let classes = vec![
        class("17621005", 0.125, false),
        class("312894000", 0.5, true),
        class("64859006", 0.375, false),
    ];
    let object = report(vec![scored(source, classes)], &headers).unwrap();
    let said: Vec<_> = groups(&object)
        .into_iter()
        .map(|group| {
            assert!(children(group, "111002").iter().all(|parameter| {
                !text(parameter, tags::TEXT_VALUE)
                    .unwrap()
                    .starts_with("threshold")
            }));
            (
                coded_value(children(group, "121071")[0]).value,
                coded_value(children(group, "121052")[0]).meaning,
            )
        })
        .collect();
    let expected = [
        ("17621005", "Absent"),
        ("312894000", "Present"),
        ("64859006", "Absent"),
    ];
    assert_eq!(said, expected.map(|(code, is)| (code.to_owned(), is.to_owned())));
}

#[test]
fn a_quantity_is_a_number_under_its_own_name_and_unit() {
    let headers = headers();
    let source = &sources(&headers)[0];
    let quantity = Finding {
        label: "bone-density".into(),
        code: concept("99X", "density", "Bone mineral density"),
        reading: Reading::Quantity {
            value: 0.875,
            unit: "g/cm2".into(),
        },
    };
    let object = report(vec![scored(source, vec![quantity])], &headers).unwrap();
    let group = groups(&object)[0];
    let (value, unit, _) = number(children(group, "density")[0]);
    assert_eq!((value.as_str(), unit.as_str()), ("0.875", "g/cm2"));
    assert!(children(group, "121071").is_empty() && children(group, "121052").is_empty());
}

#[test]
fn a_study_without_a_score_says_so_with_its_reason() {
    let headers = headers();
    let source = &sources(&headers)[0];
    let object = report(vec![refused(source)], &headers).unwrap();
    let group = groups(&object)[0];
    assert_eq!(image(children(group, "121112")[0]), source.uid.as_str());
    let of_study = children(children(&object, "C0034375")[0], "outcome")[0];
    for outcome in [children(group, "outcome")[0], of_study] {
        assert_eq!(coded_value(outcome).value, "refused");
        let reason = children(outcome, "reason")[0];
        // longer than 16 characters: a Long Code Value
        assert_eq!(
            coded_value(reason),
            concept("99OSTEON", "not-a-probability", "not a probability")
        );
        assert_eq!(
            text(children(reason, "121106")[0], tags::TEXT_VALUE).unwrap(),
            "a number that is none"
        );
    }
    // and a study of which nothing could be looked at
    let object = report(Vec::new(), &headers).unwrap();
    assert!(groups(&object).is_empty());
    let of_study = children(children(&object, "C0034375")[0], "outcome")[0];
    assert_eq!(coded_value(children(of_study, "reason")[0]).value, "empty-study");
}

#[test]
fn where_several_images_were_scored_the_study_has_groups_of_its_own() {
    let headers = headers();
    let sources = sources(&headers);
    let object = report(
        vec![
            scored(&sources[0], vec![osteoporosis(0.25)]),
            scored(&sources[1], vec![osteoporosis(0.75)]),
        ],
        &headers,
    )
    .unwrap();
    let groups = groups(&object);
    assert_eq!(groups.len(), 3);
    let study = groups[2];
    assert_eq!(
        text(children(study, "112039")[0], tags::TEXT_VALUE).unwrap(),
        "study: osteoporosis"
    );
    let images: Vec<_> = children(study, "121112").into_iter().map(image).collect();
    assert_eq!(images, [sources[0].uid.as_str(), sources[1].uid.as_str()]);
    assert_eq!(number(children(study, "P-SCT-64859006")[0]).0, "0.75");
    let mut tracked: Vec<_> = groups
        .iter()
        .map(|group| text(children(group, "112040")[0], tags::UID).unwrap())
        .collect();
    tracked.dedup();
    assert_eq!(tracked.len(), 3);
}

#[test]
fn a_score_for_research_is_marked() {
    let headers = headers();
    let source = &sources(&headers)[0];
    let mut instance = scored(source, vec![osteoporosis(0.75)]);
    instance.intended_use = Some(IntendedUseCheck::Overridden {
        violations: vec![Violation {
            code: "age".into(),
            message: "age 30, not 50 to 90".into(),
        }],
    });
    let object = report(vec![instance], &headers).unwrap();
    let marked = children(groups(&object)[0], "override")[0];
    assert_eq!(coded_value(marked).value, "intended-use");
    assert_eq!(
        text(children(marked, "121106")[0], tags::TEXT_VALUE).unwrap(),
        "age 30, not 50 to 90"
    );
}

#[test]
fn it_belongs_to_the_patient_and_study_and_rests_on_every_source() {
    let headers = headers();
    let sources = sources(&headers);
    let object = report(vec![scored(&sources[0], vec![osteoporosis(0.75)])], &headers).unwrap();
    for tag in [
        tags::PATIENT_ID,
        tags::PATIENT_NAME,
        tags::STUDY_INSTANCE_UID,
        tags::ACCESSION_NUMBER,
    ] {
        assert_eq!(text(&object, tag), text(&headers[0], tag), "{tag}");
        assert!(text(&object, tag).is_some(), "{tag}");
    }
    assert_ne!(
        text(&object, tags::SERIES_INSTANCE_UID).unwrap(),
        sources[0].series.as_str()
    );
    assert_eq!(text(&object, tags::SOP_INSTANCE_UID).unwrap(), report_uid(KEY));
    let evidence = items(&object, tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE);
    let series = items(evidence[0], tags::REFERENCED_SERIES_SEQUENCE);
    assert_eq!((evidence.len(), series.len()), (1, 1));
    let listed: Vec<_> = items(series[0], tags::REFERENCED_SOP_SEQUENCE)
        .into_iter()
        .map(|item| text(item, tags::REFERENCED_SOP_INSTANCE_UID).unwrap())
        .collect();
    assert_eq!(listed, [sources[0].uid.as_str(), sources[1].uid.as_str()]);
    let scheme = items(&object, tags::CODING_SCHEME_IDENTIFICATION_SEQUENCE)[0];
    assert_eq!(text(scheme, tags::CODING_SCHEME_DESIGNATOR).unwrap(), "99OSTEON");
    let contributed = items(&object, tags::CONTRIBUTING_EQUIPMENT_SEQUENCE)[0];
    let purpose = items(contributed, tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE)[0];
    assert_eq!(code_of(purpose).unwrap().value, "109102");
}

#[test]
fn the_same_result_is_the_same_file_and_another_key_another_object() {
    let headers = headers();
    let sources = sources(&headers);
    let bytes = |key: &str| {
        let result = StudyResult::of(
            vec![scored(&sources[0], vec![osteoporosis(0.75)])],
            &StudyRule::default(),
        );
        let object = structured_report(&result, key, &sources, &headers[0], made_at()).unwrap();
        let mut file = Vec::new();
        object.write_all(&mut file).unwrap();
        file
    };
    assert_eq!(bytes(KEY), bytes(KEY));
    let other = "0".repeat(64);
    assert_ne!(report_uid(KEY), report_uid(&other));
    // Python: int.from_bytes(hashlib.sha256(b''.join(len(p).to_bytes(8, 'little') + p for p in
    // [b'osteon', b'structured report', b'0' * 64])).digest()[:16], 'big')
    assert_eq!(report_uid(&other), "2.25.152346007606621803922936953396268141807");
    assert!(Instance::parse(bytes(KEY).into()).unwrap().class == uids::COMPREHENSIVE3_DSR_STORAGE);
}

#[test]
fn a_report_keeps_the_time_zone_of_its_study_and_names_of_every_script() {
    let mut headers = headers();
    let source = sources(&headers).remove(0);
    let text_of = |tag, object: &Object| text(object, tag).unwrap();
    let make = |headers: &[InMemDicomObject]| {
        report(vec![scored(&source, vec![osteoporosis(0.75)])], headers).unwrap()
    };
    let object = make(&headers);
    assert_eq!(text_of(tags::CONTENT_DATE, &object), "20261125");
    assert_eq!(text_of(tags::CONTENT_TIME, &object), "233005");
    assert!(object.get(tags::TIMEZONE_OFFSET_FROM_UTC).is_none());
    let set = |header: &mut InMemDicomObject, tag, vr, value: &str| {
        header.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
    };
    set(&mut headers[0], tags::TIMEZONE_OFFSET_FROM_UTC, VR::SH, "+0530");
    set(
        &mut headers[0],
        tags::PATIENT_NAME,
        VR::PN,
        "Müller^Jürgen=山田^太郎",
    );
    let object = make(&headers);
    assert_eq!(text_of(tags::CONTENT_DATE, &object), "20261126");
    assert_eq!(text_of(tags::CONTENT_TIME, &object), "060005");
    assert_eq!(text_of(tags::TIMEZONE_OFFSET_FROM_UTC, &object), "+0530");
    let mut file = Vec::new();
    object.write_all(&mut file).unwrap();
    let read = Instance::parse(file.into()).unwrap().header;
    assert_eq!(
        text(&read, tags::PATIENT_NAME).unwrap(),
        "Müller^Jürgen=山田^太郎"
    );
}

#[test]
fn what_is_no_result_gets_no_report() {
    let headers = headers();
    let sources = sources(&headers);
    let one = |findings| vec![scored(&sources[1], findings)];
    assert_eq!(
        report(one(vec![]), &headers[..1]).unwrap_err(),
        ReportError::Unlisted
    );
    let not_a_number = report(one(vec![osteoporosis(f32::NAN)]), &headers);
    assert_eq!(not_a_number.unwrap_err(), ReportError::NotFinite);
    let result = StudyResult::of(Vec::new(), &StudyRule::default());
    let none = structured_report(&result, KEY, &[], &headers[0], made_at());
    assert_eq!(none.unwrap_err(), ReportError::NoSource);
    let nameless = InMemDicomObject::new_empty();
    let none = structured_report(&result, KEY, &sources, &nameless, made_at());
    assert!(matches!(none.unwrap_err(), ReportError::Identity(_)));
}

#[test]
fn site_and_side_come_from_what_the_header_has() {
    let [mut header, _] = headers();
    assert_eq!(SourceInstance::of(&header).unwrap().side, None);
    header.remove_element(tags::ANATOMIC_REGION_SEQUENCE);
    for (part, code) in [
        ("hip", Some("24136001")),
        ("HAND", Some("85562004")),
        ("ELBOW", None),
    ] {
        header.put(DataElement::new(
            tags::BODY_PART_EXAMINED,
            VR::CS,
            PrimitiveValue::from(part),
        ));
        header.put(DataElement::new(
            tags::IMAGE_LATERALITY,
            VR::CS,
            PrimitiveValue::from("R"),
        ));
        let source = SourceInstance::of(&header).unwrap();
        assert_eq!(source.site.map(|site| site.value).as_deref(), code);
        assert_eq!(source.side, Some(Side::Right));
    }
    header.put(DataElement::new(
        tags::SOP_CLASS_UID,
        VR::UI,
        PrimitiveValue::from("x"),
    ));
    assert!(SourceInstance::of(&header).is_err());
}

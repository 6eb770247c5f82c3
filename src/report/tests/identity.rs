//! Whose a report is, when it was made, and what gets none.

use super::*;

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
            &[],
        );
        let object = structured_report(&result, &identity(key), &sources, &headers[0]).unwrap();
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
fn a_report_names_the_one_whose_place_it_takes() {
    let headers = headers();
    let sources = sources(&headers);
    let result = StudyResult::of(vec![refused(&sources[0])], &StudyRule::default(), &[]);
    let former = "0".repeat(64);
    let identity = Identity {
        supersedes: Some(&former),
        ..identity(KEY)
    };
    let object = structured_report(&result, &identity, &sources, &headers[0]).unwrap();
    let document = items(&object, tags::PREDECESSOR_DOCUMENTS_SEQUENCE)[0];
    assert_eq!(
        text(document, tags::STUDY_INSTANCE_UID),
        text(&object, tags::STUDY_INSTANCE_UID)
    );
    let series = items(document, tags::REFERENCED_SERIES_SEQUENCE)[0];
    assert_eq!(
        text(series, tags::SERIES_INSTANCE_UID).unwrap(),
        report_series_uid(&former)
    );
    assert_eq!(image(series), report_uid(&former));
    let first = report(vec![refused(&sources[0])], &headers).unwrap();
    assert!(first.get(tags::PREDECESSOR_DOCUMENTS_SEQUENCE).is_none());
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
    let result = StudyResult::of(Vec::new(), &StudyRule::default(), &[]);
    let none = structured_report(&result, &identity(KEY), &[], &headers[0]);
    assert_eq!(none.unwrap_err(), ReportError::NoSource);
    let nameless = InMemDicomObject::new_empty();
    let none = structured_report(&result, &identity(KEY), &sources, &nameless);
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

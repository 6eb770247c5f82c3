//! How workitems are read and found.

use serde_json::json;

use super::tests::{NOW, ordered, read, uid};
use super::*;

#[test]
fn what_is_no_data_set_in_dicom_json_is_refused_and_never_quoted() {
    let deep = |depth: usize| {
        (0..depth).fold(
            json!({}),
            |inner, _| json!({ "00404021": { "vr": "SQ", "Value": [inner] } }),
        )
    };
    assert!(Attributes::read(deep(10).to_string().as_bytes()).is_ok());
    for body in [
        String::new(),
        "<xml/>".to_owned(),
        "[]".to_owned(),
        "[{}, {}]".to_owned(),
        r#"{"PatientName": {"vr": "PN", "Value": ["Canary"]}}"#.to_owned(),
        r#"{"00100010": "Canary"}"#.to_owned(),
        r#"{"00100010": {"Value": ["Canary"]}}"#.to_owned(),
        r#"{"00100010": {"vr": "PN", "Value": "Canary"}}"#.to_owned(),
        r#"{"00100010": {"vr": "PN", "BulkDataURI": "http://127.0.0.1/Canary"}}"#.to_owned(),
        r#"{"00404021": {"vr": "SQ", "Value": ["Canary"]}}"#.to_owned(),
        deep(40).to_string(),
        "[".repeat(100_000),
    ] {
        let fault = Attributes::read(body.as_bytes()).unwrap_err();
        assert!(
            fault.code == "workitem" && !fault.message.contains("Canary"),
            "{fault}"
        );
    }
    assert_eq!(
        read(&json!([{ "0020000d": { "vr": "UI", "Value": ["1.2"] } }])).text(tag::STUDY_UID),
        Some("1.2")
    );
}

#[test]
fn a_workitem_is_read_as_xml_as_it_is_as_json() {
    let document = crate::dicom::xml::document(&read(&ordered()).into());
    let found = Attributes::read_xml(document.as_bytes()).unwrap();
    assert_eq!(found, read(&ordered()));
    let bulk = "<NativeDicomModel><DicomAttribute tag=\"00100010\" vr=\"PN\"><BulkData uri=\"http://a/\"/></DicomAttribute></NativeDicomModel>";
    for wrong in [bulk, "<a/>", "{}"] {
        assert_eq!(
            Attributes::read_xml(wrong.as_bytes()).unwrap_err().code,
            "workitem"
        );
    }
}

#[test]
fn what_an_index_knows_is_the_value_that_few_share() {
    let (study, patient) = ("00404021.0020000D", "PatientID");
    for (parameters, wanted) in [
        (
            vec![
                ("ProcedureStepState", "SCHEDULED"),
                (patient, "P1"),
                (study, "1.2"),
            ],
            Some(Lookup::Study("1.2")),
        ),
        (
            vec![("ProcedureStepState", "SCHEDULED"), (patient, " P1 ")],
            Some(Lookup::Patient("P1")),
        ),
        (
            vec![("ProcedureStepState", "SCHEDULED"), (patient, "P*")],
            Some(Lookup::State("SCHEDULED")),
        ),
        (vec![(study, "1.2,1.3"), (patient, "")], None),
        (vec![("ReferencedRequestSequence.PatientID", "P1")], None),
    ] {
        let parameters: Vec<_> = parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let (query, _) = Query::parse(&parameters).unwrap();
        assert_eq!(query.lookup(), wanted, "{parameters:?}");
    }
}

fn matches(parameters: &[(&str, &str)]) -> bool {
    let mut body = ordered();
    body["00100010"] = json!({ "vr": "PN", "Value": [{ "Alphabetic": "Doe^Jane" }] });
    body["00404005"] = json!({ "vr": "DT", "Value": ["20261129120000"] });
    let parameters: Vec<_> = parameters
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let (query, _) = Query::parse(&parameters).unwrap();
    query.matches(
        &Workitem::schedule(uid(), read(&body), NOW)
            .unwrap()
            .workitem
            .attributes,
    )
}

#[test]
fn workitems_match_by_value_wildcard_list_range_and_within_sequences() {
    for (name, value, wanted) in [
        ("ProcedureStepState", "SCHEDULED", true),
        ("00741000", "COMPLETED", false),
        ("ProcedureStepLabel", "Sc*", true),
        ("ProcedureStepLabel", "Sc?re", true),
        ("ProcedureStepLabel", "sc*", false),
        ("ProcedureStepLabel", "*x*", false),
        ("PatientName", "doe*", true),
        ("PatientID", "1", false),
        ("PatientID", "", true),
        ("SOPInstanceUID", "1.2.6,1.2.7", true),
        ("SOPInstanceUID", "1.2.6\\1.2.8", false),
        ("InputInformationSequence.StudyInstanceUID", "1.2", true),
        ("00404021.00081199.00081155", "1.2.2", true),
        ("00404021.00081199.00081155", "1.2.3", false),
        ("ScheduledProcedureStepStartDateTime", "20261129", true),
        ("ScheduledProcedureStepStartDateTime", "20261128-20261129", true),
        ("ScheduledProcedureStepStartDateTime", "20261130-", false),
        ("ScheduledProcedureStepStartDateTime", "20261129070000-0500", true),
        (
            "ScheduledProcedureStepStartDateTime",
            "20261129120000-0500-",
            false,
        ),
        ("ScheduledProcedureStepStartDateTime", "-20261128", false),
    ] {
        assert_eq!(matches(&[(name, value)]), wanted, "{name}={value}");
    }
    assert!(
        !matches(&[("ProcedureStepState", "SCHEDULED"), ("PatientID", "1")]),
        "all must match"
    );
    for (name, value) in [
        ("Nonsense", "1"),
        ("limit", "-1"),
        ("offset", "x"),
        ("fuzzymatching", "maybe"),
        ("", ""),
    ] {
        assert!(
            Query::parse(&[(name.to_owned(), value.to_owned())]).is_err(),
            "{name}"
        );
    }
    for filter in ["", "PatientID", "Nonsense=1"] {
        assert!(Query::parse_filter(filter).is_err(), "{filter}");
    }
}

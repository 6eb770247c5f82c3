//! Queries as clients write them.

use super::*;

fn read(level: Level, parameters: &[(&str, &str)]) -> Result<Query, QueryError> {
    Query::read(level, parameters.iter().copied())
}

/// What one parameter of a search for instances asks for.
fn any(name: &str, value: &str) -> Result<Vec<Matching>, QueryError> {
    let mut query = read(Level::Instance, &[(name, value)])?;
    Ok(query
        .conditions
        .pop()
        .map(|condition| condition.any)
        .unwrap_or_default())
}

fn range(from: &str, to: &str) -> Vec<Matching> {
    let (from, to) = (from.to_owned(), to.to_owned());
    vec![Matching::Range { from, to }]
}

#[test]
fn keys_are_known_by_keyword_and_by_tag() {
    let exact = |text: &str| Ok(vec![Matching::Exact(text.to_owned())]);
    assert_eq!(any("PatientID", "p1"), exact("p1"));
    assert_eq!(any("00100020", " p1 "), exact("p1"));
    let nested = read(Level::Series, &[("RequestAttributesSequence.00401001", "r1")]).unwrap();
    let path = [tags::REQUEST_ATTRIBUTES_SEQUENCE, tags::REQUESTED_PROCEDURE_ID];
    assert_eq!(nested.conditions[0].path, path);
    assert_eq!(nested.conditions[0].attribute(), None);
    for unknown in ["patient", "0010002", "0010002G", "", ".", "00100020.", "é"] {
        assert_eq!(any(unknown, "x"), Err(QueryError::Parameter), "{unknown}");
    }
}

#[test]
fn each_kind_of_value_has_its_matching() {
    assert_eq!(
        any("PatientID", "p*?"),
        Ok(vec![Matching::Wild("p*?".to_owned())])
    );
    assert_eq!(
        any("PatientName", "Doe^J*"),
        Ok(vec![Matching::WildName("doe^j*".to_owned())])
    );
    assert_eq!(
        any("PatientName", "DOE^John^^"),
        Ok(vec![Matching::Name("doe^john".to_owned())])
    );
    assert_eq!(any("InstanceNumber", "07"), Ok(vec![Matching::Number(7)]));
    let uids = vec![
        Matching::Exact("1.2".to_owned()),
        Matching::Exact("1.3".to_owned()),
    ];
    assert_eq!(any("StudyInstanceUID", "1.2,1.3"), Ok(uids.clone()));
    assert_eq!(any("StudyInstanceUID", "1.2\\1.3"), Ok(uids));
    assert_eq!(any("StudyDate", "20240101"), Ok(range("20240101", "20240101")));
    assert_eq!(
        any("StudyDate", "20240101-20241231"),
        Ok(range("20240101", "20241231"))
    );
    assert_eq!(any("StudyDate", "-20241231"), Ok(range("", "20241231")));
    assert_eq!(any("StudyDate", "20240101-"), Ok(range("20240101", "")));
    assert_eq!(
        any("StudyTime", "08-1159"),
        Ok(range("080000.000000", "115959.999999"))
    );
    for everything in ["", "*", " "] {
        assert_eq!(any("PatientName", everything), Ok(vec![]), "{everything}");
    }
}

#[test]
fn a_value_that_its_attribute_cannot_have_is_refused_without_being_quoted() {
    for (name, value) in [
        ("StudyDate", "Canary"),
        ("StudyDate", "20240101-Canary"),
        ("StudyDate", "-"),
        ("StudyTime", "99Canary"),
        ("InstanceNumber", "Canary"),
        ("StudyInstanceUID", "1.2.Canary"),
        ("StudyInstanceUID", "1.2*"),
        ("PixelData", "Canary"),
        ("PatientID", "Canary\0x"),
        ("PatientID", &"Canary".repeat(200)),
        ("ModalitiesInStudy", &"Canary".repeat(200)),
    ] {
        let said = any(name, value).unwrap_err();
        assert!(
            matches!(said, QueryError::Value { .. }),
            "{name} {value}: {said:?}"
        );
        assert!(
            said.to_string().contains(name) && !said.to_string().contains("Canary"),
            "{said}"
        );
    }
}

#[test]
fn a_key_of_a_lower_level_is_refused() {
    let level = |level, name| read(level, &[(name, "1")]).map(drop);
    assert_eq!(level(Level::Study, "ModalitiesInStudy"), Ok(()));
    assert_eq!(
        level(Level::Study, "Modality"),
        Err(QueryError::Level("Modality".to_owned()))
    );
    assert_eq!(level(Level::Series, "Modality"), Ok(()));
    assert_eq!(
        level(Level::Series, "SOPClassUID"),
        Err(QueryError::Level("SOPClassUID".to_owned()))
    );
    assert_eq!(level(Level::Instance, "SOPClassUID"), Ok(()));
    // counted, or a sequence without an attribute in it
    for name in ["NumberOfStudyRelatedInstances", "ProcedureCodeSequence"] {
        assert_eq!(level(Level::Study, name), Err(QueryError::Level(name.to_owned())));
    }
}

#[test]
fn fields_are_repeated_or_listed() {
    let fields = |parameters: &[(&str, &str)]| read(Level::Study, parameters).map(|query| query.include);
    let two = Include::Some(vec![tags::STUDY_DESCRIPTION, tags::PATIENT_AGE]);
    assert_eq!(
        fields(&[("includefield", "StudyDescription,00101010")]),
        Ok(two.clone())
    );
    assert_eq!(
        fields(&[("includefield", "00081030"), ("includefield", "PatientAge")]),
        Ok(two.clone())
    );
    assert!(two.has("00101010") && !two.has("00100020"));
    assert_eq!(
        fields(&[("includefield", "all"), ("includefield", "PatientAge")]),
        Ok(Include::All)
    );
    assert_eq!(fields(&[("includefield", "nothing")]), Err(QueryError::Include));
    // what is matched is shown, also where everything matches
    assert_eq!(
        fields(&[("PatientAge", "")]),
        Ok(Include::Some(vec![tags::PATIENT_AGE]))
    );
}

#[test]
fn what_steers_a_search_is_read_and_checked() {
    let query = read(
        Level::Study,
        &[
            ("limit", "5"),
            ("offset", "10"),
            ("fuzzymatching", "true"),
            ("accept", "x"),
        ],
    );
    let query = query.unwrap();
    assert_eq!((query.limit, query.offset, query.fuzzy), (Some(5), 10, true));
    for (name, value, wrong) in [
        ("limit", "-1", QueryError::Number("limit")),
        ("limit", "many", QueryError::Number("limit")),
        ("offset", "1.5", QueryError::Number("offset")),
        ("fuzzymatching", "yes", QueryError::Fuzzy),
    ] {
        assert_eq!(read(Level::Study, &[(name, value)]), Err(wrong));
    }
    let many = vec![("PatientID", "x"); MOST_CONDITIONS + 1];
    assert_eq!(read(Level::Study, &many), Err(QueryError::TooMany));
    assert_eq!(
        any("ModalitiesInStudy", &"D*,".repeat(17)),
        Err(QueryError::TooMany)
    );
    assert_eq!(
        any("StudyInstanceUID", &"1.2,".repeat(501)),
        Err(QueryError::TooMany)
    );
}

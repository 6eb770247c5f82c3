//! Results in FHIR R4: every finding and every outcome, by whom and of whom, and what is not said.

use serde_json::{Value, json};

use super::*;

fn bundle(instances: Vec<InstanceResult>, headers: &[InMemDicomObject]) -> Value {
    let result = StudyResult::of(instances, &StudyRule::default(), &[]);
    fhir_bundle(&result, &identity(KEY), &sources(headers), &headers[0]).unwrap()
}

/// The resources of this type.
fn all<'a>(bundle: &'a Value, kind: &str) -> Vec<&'a Value> {
    let entries = bundle["entry"].as_array().unwrap().iter();
    entries
        .map(|entry| &entry["resource"])
        .filter(|resource| resource["resourceType"] == kind)
        .collect()
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(value["reference"].as_str().map(str::to_owned));
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn a_finding_is_an_observation_with_its_probability() {
    let headers = headers();
    let source = sources(&headers).remove(0);
    let bundle = bundle(vec![scored(&source, vec![osteoporosis(0.123_456_79)])], &headers);
    assert_eq!(
        (&bundle["resourceType"], &bundle["type"]),
        (&json!("Bundle"), &json!("collection"))
    );
    let report = all(&bundle, "DiagnosticReport").remove(0);
    assert_eq!(report["status"], "preliminary");
    assert_eq!(
        report["code"]["coding"][0],
        json!({
            "system": "http://loinc.org", "code": "18748-4", "display": "Diagnostic imaging study",
        })
    );
    assert_eq!(
        report["subject"]["identifier"]["value"],
        text(&headers[0], tags::PATIENT_ID).unwrap()
    );
    assert_eq!(
        report["identifier"][0]["value"],
        format!("urn:oid:{}", report_uid(KEY))
    );
    assert!(report["conclusion"].as_str().unwrap().contains("Research only"));

    let observations = all(&bundle, "Observation");
    assert_eq!(observations.len(), 2, "the finding, and the outcome of the study");
    let finding = observations[0];
    assert_eq!(
        (&finding["status"], &finding["subject"]),
        (&json!("preliminary"), &report["subject"])
    );
    assert_eq!(finding["code"]["coding"][0]["code"], "64859006");
    assert_eq!(finding["code"]["coding"][0]["system"], "http://snomed.info/sct");
    assert_eq!(finding["valueCodeableConcept"]["coding"][0]["display"], "Absent");
    let probability = &finding["component"][0];
    assert_eq!(probability["code"]["coding"][0]["code"], "P-SCT-64859006");
    // the digits of the number itself
    assert!(
        probability["valueQuantity"].to_string().contains("0.12345679,"),
        "{probability}"
    );
    assert_eq!(finding["component"][1]["valueQuantity"]["value"], 0.4);
    assert_eq!(finding["bodySite"]["text"], "Lumbar spine");
    let image = &finding["derivedFrom"][1]["identifier"];
    assert_eq!(
        *image,
        json!({ "system": "urn:dicom:uid", "value": format!("urn:oid:{}", source.uid) })
    );
    let outcome = observations[1];
    assert_eq!(outcome["valueCodeableConcept"]["coding"][0]["code"], "scored");
    assert!(outcome.get("dataAbsentReason").is_none());
}

#[test]
fn whatever_is_referred_to_is_in_the_bundle_or_has_an_identifier() {
    let headers = headers();
    let sources = sources(&headers);
    let bundle = bundle(
        vec![
            scored(&sources[0], vec![osteoporosis(0.75)]),
            scored(&sources[1], vec![osteoporosis(0.5)]),
        ],
        &headers,
    );
    let places: Vec<_> = bundle["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["fullUrl"].clone())
        .collect();
    let mut referred = Vec::new();
    references(&bundle, &mut referred);
    assert!(referred.len() > 10);
    assert!(referred.iter().all(|place| places.contains(&json!(place))));
    let mut distinct = places.clone();
    distinct.sort_by_key(ToString::to_string);
    distinct.dedup();
    assert_eq!(distinct.len(), places.len());
    let study = &all(&bundle, "ImagingStudy")[0]["identifier"][0];
    let uid = text(&headers[0], tags::STUDY_INSTANCE_UID).unwrap();
    assert_eq!(
        *study,
        json!({ "system": "urn:dicom:uid", "value": format!("urn:oid:{uid}") })
    );
    // two images, the study, and its outcome
    assert_eq!(all(&bundle, "Observation").len(), 4);
    let report = all(&bundle, "DiagnosticReport").remove(0);
    assert_eq!(report["conclusionCode"][0]["coding"][0]["code"], "64859006");
    let models: Vec<_> = all(&bundle, "Device")
        .into_iter()
        .filter(|device| device.get("parent").is_some())
        .collect();
    assert_eq!(models.len(), 1);
    assert_eq!(
        (
            &models[0]["deviceName"][0]["name"],
            &models[0]["version"][0]["value"]
        ),
        (&json!("spine"), &json!("3"))
    );
}

#[test]
fn what_was_not_scored_has_no_value_and_says_why() {
    let headers = headers();
    let sources = sources(&headers);
    let failed = InstanceResult::unscored(
        &Fault::new(FaultKind::Internal, "engine", "it broke"),
        Some(sources[1].uid.to_string()),
    );
    for (instances, absent, outcome, code) in [
        (
            vec![refused(&sources[0])],
            "not-performed",
            "refused",
            "not-a-probability",
        ),
        (vec![failed], "error", "failed", "engine"),
        (vec![], "not-performed", "refused", "empty-study"),
    ] {
        let count = instances.len();
        let bundle = bundle(instances, &headers);
        let observations = all(&bundle, "Observation");
        assert_eq!(observations.len(), count + 1, "{code}");
        for observation in observations {
            let fields = observation.as_object().unwrap();
            assert!(
                fields.keys().all(|field| !field.starts_with("value")),
                "{observation}"
            );
            assert_eq!(observation["dataAbsentReason"]["coding"][0]["code"], absent);
            let said = |place: usize| {
                observation["component"][place]["valueCodeableConcept"]["coding"][0]["code"].clone()
            };
            assert_eq!((said(0), said(1)), (json!(outcome), json!(code)));
        }
        let report = all(&bundle, "DiagnosticReport").remove(0);
        assert!(report["conclusion"].as_str().unwrap().contains(code), "{report}");
    }
}

#[test]
fn private_codes_are_declared_and_no_t_score_is_there() {
    let headers = headers();
    let source = sources(&headers).remove(0);
    let mut research = scored(&source, vec![osteoporosis(0.75)]);
    research.intended_use = Some(IntendedUseCheck::Overridden {
        violations: vec![Violation {
            code: "age".into(),
            message: "age 30".into(),
        }],
    });
    let bundle = bundle(vec![research, refused(&source)], &headers);
    let table = all(&bundle, "CodeSystem").remove(0);
    let declared: Vec<_> = table["concept"]
        .as_array()
        .unwrap()
        .iter()
        .map(|concept| concept["code"].as_str().unwrap())
        .collect();
    assert_eq!(
        declared,
        [
            "P-SCT-64859006",
            "intended-use",
            "not-a-probability",
            "outcome",
            "override",
            "reason",
            "refused",
            "scored",
            "threshold",
        ]
    );
    let url = table["url"].as_str().unwrap();
    assert!(url.starts_with("urn:oid:2.25."));
    let said = bundle.to_string();
    assert!(said.matches(url).count() > declared.len());
    assert!(!said.contains("38267-1") && !said.contains("38263-0") && !said.contains("T-score"));
}

#[test]
fn who_is_not_stated_is_not_made_up_and_what_is_no_number_is_refused() {
    let mut headers = headers();
    let source = sources(&headers).remove(0);
    headers[0].remove_element(tags::PATIENT_ID);
    headers[0].remove_element(tags::STUDY_DATE);
    let bundle = bundle(vec![scored(&source, vec![osteoporosis(0.75)])], &headers);
    for kind in ["DiagnosticReport", "Observation"] {
        assert!(
            all(&bundle, kind)
                .iter()
                .all(|resource| resource.get("subject").is_none()),
            "{kind}"
        );
    }
    assert_eq!(
        all(&bundle, "ImagingStudy")[0]["subject"],
        json!({ "display": "not stated in the images" })
    );
    let result = StudyResult::of(
        vec![scored(&source, vec![osteoporosis(f32::NAN)])],
        &StudyRule::default(),
        &[],
    );
    let none = fhir_bundle(&result, &identity(KEY), &[source], &headers[0]);
    assert_eq!(none.unwrap_err(), ReportError::NotFinite);
}

#[test]
fn the_same_result_is_the_same_bundle() {
    let headers = headers();
    let source = sources(&headers).remove(0);
    let make = || bundle(vec![scored(&source, vec![osteoporosis(0.75)])], &headers).to_string();
    assert_eq!(make(), make());
}

//! Codes as FHIR writes them: systems are URIs, and the private scheme is declared in the Bundle that uses it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Entry;
use crate::dicom::CodedValue;
use crate::report::codes::{PRIVATE, SCHEME_NAME, scheme_uid};

/// The URI of a coding scheme, where it has one (FHIR R4, Using Codes; PS3.16 table 8-1).
fn system(scheme: &str) -> Option<String> {
    Some(match scheme {
        "SCT" => "http://snomed.info/sct".to_owned(),
        "LN" => "http://loinc.org".to_owned(),
        "DCM" => "http://dicom.nema.org/resources/ontology/DCM".to_owned(),
        "UCUM" => "http://unitsofmeasure.org".to_owned(),
        PRIVATE => format!("urn:oid:{}", scheme_uid()),
        _ => return None,
    })
}

/// A `CodeableConcept`. Where the scheme has no URI, its designator stands in the text.
pub(super) fn concept(code: &CodedValue) -> Value {
    let coding = match system(&code.scheme) {
        Some(system) => json!({ "system": system, "code": code.value, "display": code.meaning }),
        None => json!({ "code": code.value, "display": code.meaning }),
    };
    let text = if coding.get("system").is_some() {
        code.meaning.clone()
    } else {
        format!("{} ({} of {})", code.meaning, code.value, code.scheme)
    };
    json!({ "coding": [coding], "text": text })
}

/// A Quantity in a unit of UCUM.
pub(super) fn quantity(value: f64, unit: &str) -> Value {
    json!({ "value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit })
}

/// A code of HL7's own tables.
pub(super) fn hl7(table: &str, code: &str, display: &str) -> Value {
    let system = format!("http://terminology.hl7.org/CodeSystem/{table}");
    json!({ "system": system, "code": code, "display": display })
}

/// What kind of identifier it is (v2 table 0203).
pub(super) fn identifier_type(code: &str) -> Value {
    let display = match code {
        "MR" => "Medical record number",
        _ => "Accession ID",
    };
    json!({ "coding": [hl7("v2-0203", code, display)] })
}

/// The service that a report is of (v2 table 0074).
pub(super) fn radiology() -> Value {
    json!({ "coding": [hl7("v2-0074", "RAD", "Radiology")] })
}

/// An Identifier that is the UID of a DICOM object or of what was derived from one.
pub(super) fn by_uid(uid: &str) -> Value {
    json!({ "system": "urn:ietf:rfc:3986", "value": format!("urn:oid:{uid}") })
}

/// A `CodeSystem` with the private codes that the resources use.
pub(super) fn table(entries: &[Entry]) -> Value {
    let url = format!("urn:oid:{}", scheme_uid());
    let mut codes = BTreeMap::new();
    for (_, resource) in entries {
        collect(resource, &url, &mut codes);
    }
    let concepts = codes
        .into_iter()
        .map(|(code, display)| json!({ "code": code, "display": display }));
    json!({
        "resourceType": "CodeSystem",
        "url": url,
        "name": "OsteonResultCodes",
        "title": SCHEME_NAME,
        "status": "draft",
        "content": "fragment",
        "concept": concepts.collect::<Vec<_>>(),
    })
}

/// The codings of `url` in a resource and all that is below.
fn collect(value: &Value, url: &str, codes: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            if value["system"] == url
                && let (Some(code), Some(display)) = (value["code"].as_str(), value["display"].as_str())
            {
                codes.insert(code.to_owned(), display.to_owned());
            }
            fields.values().for_each(|field| collect(field, url, codes));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, url, codes)),
        _ => {}
    }
}

//! Results of every kind, and the ways through the trees that come of them.

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

mod capture;
mod content;
mod fhir;
mod identity;

type Object = FileDicomObject<InMemDicomObject>;

const KEY: &str = "6f2a9a5f6b1ddc1a4f1bbb2b6bd0cf0f2a7f0f4d9d4a8f1c0e6b5a4938271605";

fn identity(key: &str) -> Identity<'_> {
    Identity {
        key,
        supersedes: None,
        made_at: "2026-11-25T23:30:05-01:00".parse().unwrap(),
    }
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
    let result = StudyResult::of(instances, &StudyRule::default(), &[]);
    structured_report(&result, &identity(KEY), &sources(headers), &headers[0])
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

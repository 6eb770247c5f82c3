//! Labels and results for tests.

use super::{InstanceResult, Label, Outcome, Task, interpret};
use crate::dicom::CodedValue;

pub(super) fn label(name: &str, threshold: Option<f32>) -> Label {
    Label {
        name: name.to_owned(),
        code: CodedValue {
            scheme: "SCT".into(),
            value: "64859006".into(),
            meaning: "Osteoporosis".into(),
        },
        threshold,
        temperature: 1.0,
        operating_point: None,
        quantity: None,
    }
}

pub(super) fn scored(view: &str, probabilities: &[f32]) -> InstanceResult {
    let labels = [label("a", Some(0.5)), label("b", Some(0.2))];
    InstanceResult {
        outcome: Outcome::Scored,
        reason: None,
        sop_instance_uid: None,
        view: Some(view.to_owned()),
        findings: interpret(Task::Multilabel, &labels, probabilities).unwrap(),
        model: None,
        device: None,
        intended_use: None,
        quality: None,
        distribution: None,
        repairs: Vec::new(),
        timings_ms: None,
    }
}

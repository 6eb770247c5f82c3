//! From a network's numbers to findings with names, and from instances to a study: always an explicit outcome.
//!
//! There is no score without a finding it belongs to, and no study without an outcome: scored, refused with a coded
//! reason, or failed with the cause. These types are what REST answers and what the store keeps.

pub mod intended_use;
pub mod label;

use serde::{Deserialize, Serialize};

use crate::dicom::{CodedValue, Repair};
use crate::fault::Fault;
pub use intended_use::{IntendedUse, Violation};
pub use label::Label;

/// What became of an instance or a study.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// There are findings.
    Scored,
    /// It must not be scored; the reason says why.
    Refused,
    /// It should have been scored and could not be; the reason says why.
    Failed,
}

/// Why there is no score, or what had to be put right for one: a stable code and a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// For machines, for example `modality`.
    pub code: String,
    /// For people.
    pub message: String,
}

impl From<&Fault> for Reason {
    fn from(fault: &Fault) -> Self {
        Self {
            code: fault.code.to_owned(),
            message: fault.message.clone(),
        }
    }
}

impl From<Repair> for Reason {
    fn from(repair: Repair) -> Self {
        Self {
            code: repair.code().to_owned(),
            message: repair.message().to_owned(),
        }
    }
}

/// One answer of a model about one image or study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The label's name in the model, for example `osteoporosis`.
    pub label: String,
    /// The coded concept.
    pub code: CodedValue,
    /// Probability after the model's own calibration, 0 to 1.
    pub probability: f32,
    /// The probability from which the finding counts as present.
    pub threshold: f32,
    /// `probability >= threshold`.
    pub positive: bool,
}

/// A network's output that is not a number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model's output for {label} is not a probability between 0 and 1, so there is no score")]
pub struct NotAProbability {
    /// The label whose output it is.
    pub label: String,
}

/// Gives a network's probabilities their names.
///
/// # Errors
/// [`NotAProbability`] for NaN, infinities and values outside 0..=1: such a number is never a score.
pub fn interpret(labels: &[Label], probabilities: &[f32]) -> Result<Vec<Finding>, NotAProbability> {
    labels
        .iter()
        .enumerate()
        .map(|(index, label)| {
            let probability = probabilities.get(index).copied().unwrap_or(f32::NAN);
            if !(0.0..=1.0).contains(&probability) {
                return Err(NotAProbability {
                    label: label.name.clone(),
                });
            }
            Ok(Finding {
                label: label.name.clone(),
                code: label.code.clone(),
                probability,
                threshold: label.threshold,
                positive: probability >= label.threshold,
            })
        })
        .collect()
}

/// Which model answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelReference {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// SHA-256 of its manifest, which holds the SHA-256 of every other file of the package.
    pub digest: String,
    /// The execution provider that ran it, for example `CPU`.
    pub provider: String,
    /// What it may be used for, in the words of its manifest.
    pub notice: String,
}

/// Whether the image lies inside the model's intended use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum IntendedUseCheck {
    /// Every check passed.
    Met,
    /// Some did not, and the caller asked for a score all the same, for research.
    Overridden {
        /// What is outside.
        violations: Vec<Violation>,
    },
    /// The image came without a DICOM header, so nothing could be checked.
    NotChecked,
}

/// Milliseconds that each stage took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Bytes to data set.
    pub parse: f64,
    /// Data set to stored values.
    pub decode: f64,
    /// Stored values to tensor.
    pub preprocess: f64,
    /// Waiting for a model instance.
    pub queue: f64,
    /// The network.
    pub infer: f64,
    /// All of it.
    pub total: f64,
}

/// What became of one instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceResult {
    /// Scored, refused or failed.
    pub outcome: Outcome,
    /// Why, where it was not scored.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// SOP Instance UID, where the image has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sop_instance_uid: Option<String>,
    /// One for each label of the model; empty where it was not scored.
    pub findings: Vec<Finding>,
    /// The model that was asked, if there is one of that name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<ModelReference>,
    /// Whether the intended use was met.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub intended_use: Option<IntendedUseCheck>,
    /// What had to be put right in the file to read it; it is stored as it was sent.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub repairs: Vec<Reason>,
    /// Milliseconds for each stage.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timings_ms: Option<Timings>,
}

impl InstanceResult {
    /// The result for an input that a fault kept from being scored.
    #[must_use]
    pub fn unscored(fault: &Fault, sop_instance_uid: Option<String>) -> Self {
        Self {
            outcome: if fault.is_callers() {
                Outcome::Refused
            } else {
                Outcome::Failed
            },
            reason: Some(fault.into()),
            sop_instance_uid,
            findings: Vec::new(),
            model: None,
            intended_use: None,
            repairs: Vec::new(),
            timings_ms: None,
        }
    }
}

/// What became of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudyResult {
    /// Scored if any instance was; failed if none was and any failed; refused otherwise.
    pub outcome: Outcome,
    /// Why, where it was not scored.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// For each label the finding of the instance with the highest probability.
    pub findings: Vec<Finding>,
    /// Every instance, with its own outcome.
    pub instances: Vec<InstanceResult>,
}

impl StudyResult {
    /// Puts the instances of a study together.
    #[must_use]
    pub fn of(instances: Vec<InstanceResult>) -> Self {
        let first = |outcome| instances.iter().find(|instance| instance.outcome == outcome);
        let (outcome, reason) = if first(Outcome::Scored).is_some() {
            (Outcome::Scored, None)
        } else if let Some(failed) = first(Outcome::Failed) {
            (Outcome::Failed, failed.reason.clone())
        } else {
            let empty = Reason {
                code: "empty-study".to_owned(),
                message: "the study has no instance".to_owned(),
            };
            (
                Outcome::Refused,
                first(Outcome::Refused).map_or(Some(empty), |refused| refused.reason.clone()),
            )
        };
        let mut findings: Vec<Finding> = Vec::new();
        for finding in instances.iter().flat_map(|instance| &instance.findings) {
            match findings.iter_mut().find(|known| known.label == finding.label) {
                Some(known) if known.probability < finding.probability => *known = finding.clone(),
                Some(_) => {}
                None => findings.push(finding.clone()),
            }
        }
        Self {
            outcome,
            reason,
            findings,
            instances,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultKind;

    fn label(name: &str, threshold: f32) -> Label {
        let code = CodedValue {
            scheme: "SCT".into(),
            value: "64859006".into(),
            meaning: "Osteoporosis".into(),
        };
        Label {
            name: name.to_owned(),
            code,
            threshold,
            temperature: 1.0,
            operating_point: None,
        }
    }

    fn scored(probabilities: &[f32]) -> InstanceResult {
        let labels = [label("a", 0.5), label("b", 0.2)];
        let findings = interpret(&labels, probabilities).unwrap();
        InstanceResult {
            outcome: Outcome::Scored,
            reason: None,
            sop_instance_uid: None,
            findings,
            model: None,
            intended_use: None,
            repairs: Vec::new(),
            timings_ms: None,
        }
    }

    #[test]
    fn a_finding_is_positive_from_its_threshold_on() {
        let findings = scored(&[0.5, 0.19]).findings;
        assert!(findings[0].positive);
        assert!(!findings[1].positive);
    }

    #[test]
    fn what_is_not_a_probability_is_never_a_score() {
        for value in [f32::NAN, f32::INFINITY, -0.1, 1.1] {
            assert_eq!(interpret(&[label("a", 0.5)], &[value]).unwrap_err().label, "a");
        }
        assert!(
            interpret(&[label("a", 0.5)], &[]).is_err(),
            "an output that is too short"
        );
    }

    #[test]
    fn a_study_takes_the_highest_probability_of_each_label() {
        let study = StudyResult::of(vec![scored(&[0.1, 0.9]), scored(&[0.7, 0.3])]);
        assert_eq!(study.outcome, Outcome::Scored);
        assert_eq!(
            study
                .findings
                .iter()
                .map(|finding| finding.probability)
                .collect::<Vec<_>>(),
            [0.7, 0.9]
        );
    }

    #[test]
    fn every_study_has_an_outcome() {
        let refused = InstanceResult::unscored(&Fault::new(FaultKind::Refused, "modality", "a CT"), None);
        let failed = InstanceResult::unscored(&Fault::new(FaultKind::Internal, "engine", "broken"), None);
        assert_eq!(StudyResult::of(vec![]).outcome, Outcome::Refused);
        assert_eq!(
            StudyResult::of(vec![refused.clone()]).reason.unwrap().code,
            "modality"
        );
        assert_eq!(
            StudyResult::of(vec![refused.clone(), failed.clone()]).outcome,
            Outcome::Failed
        );
        assert_eq!(
            StudyResult::of(vec![refused, failed, scored(&[0.1, 0.1])]).outcome,
            Outcome::Scored
        );
    }
}

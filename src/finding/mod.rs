//! From a network's numbers to findings with names, and from instances to a study: always an explicit outcome.
//!
//! There is no score without a finding it belongs to, and no study without an outcome: scored, refused with a coded
//! reason, or failed with the cause. These types are what REST answers and what the store keeps.

pub mod codes;
mod distribution;
mod gate;
pub mod intended_use;
pub mod label;
mod quality;
mod study;
mod task;

use serde::{Deserialize, Serialize};

use crate::dicom::{CodedValue, Repair};
use crate::fault::Fault;
pub use distribution::{DistributionCheck, EmbeddingStatistics, NoDistance, Precision, finite};
pub use gate::{Gate, Overrides, Verdict};
pub use intended_use::{ImageSize, IntendedUse, Violation};
pub use label::Label;
pub use quality::{QualityCheck, QualityLimits};
pub use study::{Aggregation, Question, StudyResult, StudyRule};
pub use task::{NotAScore, Task, answered, interpret, passed};

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

impl Outcome {
    /// The name by which it is counted, stored and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scored => "scored",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
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
    /// What the model says about it.
    #[serde(flatten)]
    pub reading: Reading,
}

/// What a model says about one label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reading {
    /// Of a classification.
    Probability {
        /// After the model's own calibration, 0 to 1.
        probability: f32,
        /// The probability from which the finding counts as present, where the label has one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        threshold: Option<f32>,
        /// Whether it counts as present: it reached its threshold, or it is the class or grade that was chosen.
        positive: bool,
    },
    /// Of a regression.
    Quantity {
        /// In the unit.
        value: f32,
        /// UCUM code.
        unit: String,
    },
}

impl Finding {
    /// The probability, where it is one.
    #[must_use]
    pub fn probability(&self) -> Option<f32> {
        match self.reading {
            Reading::Probability { probability, .. } => Some(probability),
            Reading::Quantity { .. } => None,
        }
    }
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
    /// Its view: View Position, or the code where the header says it by code only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub view: Option<String>,
    /// One for each label of the model; empty where it was not scored.
    pub findings: Vec<Finding>,
    /// The model that was asked, if there is one of that name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<ModelReference>,
    /// What the network ran on, for example `cpu` or `cuda:1`, where it ran.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device: Option<String>,
    /// Whether the intended use was met.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub intended_use: Option<IntendedUseCheck>,
    /// Whether the image was good enough, where the model has limits for that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub quality: Option<QualityCheck>,
    /// How far the image is from what the model knows, where it carries that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub distribution: Option<DistributionCheck>,
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
            view: None,
            findings: Vec::new(),
            model: None,
            device: None,
            intended_use: None,
            quality: None,
            distribution: None,
            repairs: Vec::new(),
            timings_ms: None,
        }
    }
}

#[cfg(test)]
mod fixture;

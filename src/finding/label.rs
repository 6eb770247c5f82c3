//! What a model's outputs mean.

use serde::{Deserialize, Serialize};

use crate::dicom::CodedValue;

/// One output of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Lower case, words joined by `-`: unique within a model.
    pub name: String,
    /// The coded concept that the probability is about.
    pub code: CodedValue,
    /// The probability from which the finding counts as present, 0 to 1.
    pub threshold: f32,
    /// The temperature that the exported network divides this label's logit by (Guo 2017, arXiv 1706.04599).
    pub temperature: f32,
    /// What the threshold was chosen for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub operating_point: Option<OperatingPoint>,
}

/// Sensitivity and specificity at a threshold, on the data that it was chosen on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatingPoint {
    /// Share of the diseased that are called positive.
    pub sensitivity: f64,
    /// Share of the healthy that are called negative.
    pub specificity: f64,
}

//! What people have to say about a model; the rest is known from its training.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::dicom::CodedValue;
use crate::finding::{IntendedUse, QualityLimits};
use crate::train::unfilled;

/// What people have to say about a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Name of the package.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// One line.
    pub title: String,
    /// The sentence that goes with every answer.
    pub notice: String,
    /// SPDX expression.
    pub licence: String,
    /// Which images it may score.
    pub intended_use: IntendedUse,
    /// How good an image has to be.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub quality: Option<QualityLimits>,
    /// One for each label of the recipe, in its order.
    pub labels: Vec<LabelDescription>,
}

/// What people have to say about a label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelDescription {
    /// The recipe's name for it.
    pub name: String,
    /// The coded concept.
    pub code: CodedValue,
    /// For a finding, the sensitivity that the threshold is to reach on new patients like those held out; others have no threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitivity: Option<f64>,
}

/// Reads a description.
///
/// # Errors
/// One sentence with line and column, or with the fields that nobody has filled in yet.
pub fn read_description(path: &Path) -> Result<Description, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    unfilled::check(&text).map_err(|what| format!("{} is not finished: {what}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{} is not a description: {error}", path.display()))
}

//! The manifest of a model package: everything that has to be known to serve the model, in readable JSON.
//!
//! What training knew travels here and inside the ONNX file; a model from elsewhere is described by its manifest
//! alone. Unknown fields are errors, so that a misspelt threshold is not silently the default.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reduced_precision::ReducedPrecision;
use super::signature::SIGNATURE;
use crate::finding::{IntendedUse, Label, QualityLimits, Question, StudyRule, Task};
use crate::image::preprocess::{Layout, Preprocessing};

/// Name of its file in a package.
pub const MANIFEST: &str = "manifest.json";
/// The version of the manifest's own layout.
pub const MANIFEST_VERSION: u32 = 2;

/// `manifest.json` of `models/<name>/<version>/`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelManifest {
    /// Version of the manifest's own layout.
    #[schemars(extend("const" = MANIFEST_VERSION))]
    pub manifest_version: u32,
    /// Lower-case letters, digits and `-`; the name of the outer folder.
    pub name: String,
    /// 1 or more; the name of the inner folder.
    pub version: u32,
    /// One line for people.
    pub title: String,
    /// The sentence that goes with every answer.
    pub notice: String,
    /// SPDX expression.
    pub licence: String,
    /// Which images it may score.
    pub intended_use: IntendedUse,
    /// How good an image has to be. Absent: only a constant one is refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub quality: Option<QualityLimits>,
    /// Where the features of the images that the model knows lie. Absent: nothing is compared.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub distribution: Option<DistributionEntry>,
    /// How the images of a study make one result.
    #[serde(skip_serializing_if = "StudyRule::is_default", default)]
    pub study: StudyRule,
    /// How an image becomes the input.
    pub preprocessing: Preprocessing,
    /// What the network answers, at least one; most have one.
    pub heads: Vec<Head>,
    /// The tensor `[batch, features]` before the heads, if the model gives it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub embedding: Option<String>,
    /// Numbers in fewer bits than in training, with what that may cost. Absent: 32-bit floats, as trained.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reduced_precision: Option<ReducedPrecision>,
    /// Where the model comes from: recipe, data, program, each stage with its hashes.
    pub lineage: BTreeMap<String, String>,
    /// SHA-256 in lower-case hexadecimal of every other file of the package, by its name.
    pub files: BTreeMap<String, String>,
}

/// The statistics of the model's embedding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DistributionEntry {
    /// The file of the package that holds [`crate::finding::EmbeddingStatistics`], usually `embedding.json`.
    pub file: String,
}

/// One question that a network answers, with the tensors that hold its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Lower-case letters, digits, `-` and `_`; unique within the model.
    pub name: String,
    /// What kind of question.
    pub task: Task,
    /// The meaning of each number, in their order; of an ordinal head the grades, lowest first.
    pub labels: Vec<Label>,
    /// The tensor `[batch, width]` that becomes the answer: one number for each label, but for the thresholds between the grades of an ordinal head
    /// with a sigmoid, which are one fewer.
    pub scores: String,
    /// What turns `scores` into probabilities.
    pub activation: Activation,
    /// The tensor `[batch, width]` of logits before temperature, if the model has it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub logits: Option<String>,
    /// The tensor `[batch, labels, rows, columns]` of evidence, if the model has it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub activation_map: Option<String>,
}

impl Head {
    /// How many numbers the network gives for one image: one for each label, but for the thresholds between the grades of an
    /// ordinal head (P(grade > k), as CORAL and CORN train them, arXiv 1901.07884), which are one fewer.
    #[must_use]
    pub fn width(&self) -> usize {
        match (self.task, self.activation) {
            (Task::Ordinal, Activation::Sigmoid) => self.labels.len().saturating_sub(1),
            _ => self.labels.len(),
        }
    }

    /// The values that follow from one image's logits before temperature; `None` for grades whose probabilities the network makes in a
    /// way of its own.
    #[must_use]
    pub fn follows(&self, logits: &[f32]) -> Option<Vec<f32>> {
        let activation = match (self.task, self.activation) {
            (Task::Ordinal, Activation::None) => return None,
            (Task::Binary | Task::Multilabel, Activation::None) => Activation::Sigmoid,
            (Task::Multiclass, Activation::None) => Activation::Softmax,
            (_, own) => own,
        };
        let labels = self.labels.iter();
        let calibrated = logits
            .iter()
            .zip(labels)
            .map(|(logit, label)| logit / label.temperature);
        Some(activation.apply(&calibrated.collect::<Vec<_>>()))
    }

    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(
                "the name of a head must be 1 to 64 lower-case letters, digits, `-` and `_`".to_owned(),
            );
        }
        let (labels, task) = (self.labels.len(), self.task);
        match task {
            Task::Binary if labels != 1 => {
                return Err(format!(
                    "head {name} is binary: it must have one label, not {labels}"
                ));
            }
            Task::Multiclass | Task::Ordinal if labels < 2 => {
                return Err(format!("head {name} must have at least two labels"));
            }
            Task::Multilabel | Task::Regression if labels == 0 => {
                return Err(format!("head {name} must have at least one label"));
            }
            _ => {}
        }
        let fits = match task {
            Task::Binary | Task::Multilabel => self.activation != Activation::Softmax,
            Task::Multiclass => self.activation != Activation::Sigmoid,
            Task::Ordinal => true,
            Task::Regression => self.activation == Activation::None,
        };
        if !fits {
            return Err(format!(
                "head {name}: the activation does not fit the task: sigmoid or none for binary and multilabel, softmax or none for multiclass, none for regression"
            ));
        }
        for label in &self.labels {
            label.check(task).map_err(|what| format!("head {name}: {what}"))?;
        }
        Ok(())
    }
}

/// What turns a model's scores into probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// They are probabilities.
    None,
    /// One logistic function for each label: labels do not exclude each other.
    Sigmoid,
    /// Labels exclude each other.
    Softmax,
}

impl Activation {
    /// Probabilities of one image's scores.
    #[must_use]
    pub fn apply(self, scores: &[f32]) -> Vec<f32> {
        match self {
            Self::None => scores.to_vec(),
            Self::Sigmoid => scores.iter().map(|score| 1.0 / (1.0 + (-score).exp())).collect(),
            Self::Softmax => {
                let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let parts: Vec<f32> = scores.iter().map(|score| (score - highest).exp()).collect();
                let whole: f32 = parts.iter().sum();
                parts.iter().map(|part| part / whole).collect()
            }
        }
    }
}

impl ModelManifest {
    /// The JSON schema of `manifest.json`, made from the docs of these types: what an editor or another program checks a manifest
    /// with before osteon does.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        let mut schema = schemars::schema_for!(Self);
        schema.insert("title".into(), "osteon model manifest".into());
        let mut schema = serde_json::Value::from(schema);
        // the order of keys is another where a crate of the same build wants it kept
        schema.sort_all_objects();
        schema
    }

    /// The labels of every head, in their order.
    pub fn labels(&self) -> impl Iterator<Item = &Label> {
        self.heads.iter().flat_map(|head| &head.labels)
    }

    /// What the model is asked about an image.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        let of = |head: &Head| Question {
            task: head.task,
            labels: head.labels.clone(),
        };
        self.heads.iter().map(of).collect()
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn check(&self) -> Result<(), String> {
        if self.manifest_version != MANIFEST_VERSION {
            return Err(format!(
                "manifest_version is {}, this program reads version {MANIFEST_VERSION}",
                self.manifest_version
            ));
        }
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(plain) {
            return Err("name must be 1 to 64 lower-case letters, digits and `-`".to_owned());
        }
        if self.version == 0 {
            return Err("version must be 1 or more".to_owned());
        }
        if self.heads.is_empty() {
            return Err("heads must name at least one question that the model answers".to_owned());
        }
        let mut names = BTreeSet::new();
        for head in &self.heads {
            head.check()?;
            if !names.insert(&head.name) {
                return Err(format!("head {} stands twice", head.name));
            }
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = self.labels().find(|label| !names.insert(&label.name)) {
            return Err(format!("label {} stands twice", twice.name));
        }
        self.check_normal()?;
        self.intended_use.check()?;
        if let Some(quality) = self.quality {
            quality.check()?;
        }
        if self.distribution.is_some() && self.embedding.is_none() {
            return Err("distribution is about the embedding: embedding must name the tensor".to_owned());
        }
        if let Some(reduced) = self.reduced_precision {
            reduced.check()?;
        }
        for name in self.files.keys() {
            let strange = |letter: char| letter == '/' || letter == '\\' || letter.is_control();
            if name.is_empty() || name.len() > 255 || name.starts_with('.') || name.contains(strange) {
                return Err(format!(
                    "file name {name:?} must be a plain name inside the package"
                ));
            }
        }
        if self.files.contains_key(MANIFEST) || self.files.contains_key(SIGNATURE) {
            return Err(format!(
                "files must not list {MANIFEST} or {SIGNATURE}: the manifest vouches for the others, and the signature for it"
            ));
        }
        let maps = self.heads.iter().any(|head| head.activation_map.is_some());
        if maps && self.preprocessing.layout == Layout::Ncwh {
            return Err(
                "an image on its side (layout ncwh) can have no activation_map: it would lie across"
                    .to_owned(),
            );
        }
        self.preprocessing.check().map_err(|error| error.to_string())
    }

    fn check_normal(&self) -> Result<(), String> {
        let is_class = |head: &&Head| head.task == Task::Multiclass;
        let classes: Vec<&Head> = self.heads.iter().filter(is_class).collect();
        let normal = &self.study.normal;
        for name in normal {
            let has = |head: &&Head| head.labels.iter().any(|label| label.name == *name);
            if !classes.iter().any(has) {
                return Err(format!("study.normal: {name:?} is no label of a multiclass head"));
            }
        }
        let is_all = |head: &&&Head| head.labels.iter().all(|label| normal.contains(&label.name));
        match classes.iter().find(is_all) {
            Some(head) => Err(format!(
                "study.normal names every label of head {}: one at least must stand for something found",
                head.name
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.special.softmax([1, 2, 3])` = 0.09003057, 0.24472847, 0.66524096.
    #[test]
    fn softmax_and_sigmoid() {
        let softmax = Activation::Softmax.apply(&[1.0, 2.0, 3.0]);
        for (found, expected) in softmax.iter().zip([0.090_030_57, 0.244_728_47, 0.665_240_96]) {
            assert!((found - expected).abs() < 1e-6);
        }
        assert!(
            Activation::Softmax.apply(&[1000.0, 0.0])[0] > 0.999,
            "no overflow"
        );
        assert!((Activation::Sigmoid.apply(&[0.0])[0] - 0.5).abs() < 1e-7);
    }
}

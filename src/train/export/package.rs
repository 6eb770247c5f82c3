//! A finished training becomes a model package: calibrated, with thresholds, goldens and a card.
//!
//! Temperature and thresholds are chosen on the held-out patients of the training, never on the test set. Goldens are
//! computed by libtorch from the unexported graph, so that they prove the export and not themselves.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::onnx::export_onnx;
use crate::dicom::{CodedValue, Instance};
use crate::evaluation::calibration::fit_temperature;
use crate::evaluation::roc::operating_point;
use crate::finding::label::OperatingPoint;
use crate::finding::{IntendedUse, Label, QualityLimits, StudyRule, Task};
use crate::image::Tensor;
use crate::image::preprocess::{METADATA_KEY, Preprocessing};
use crate::model::manifest::MANIFEST_VERSION;
use crate::model::package::{GOLDENS, MODEL, sha256};
use crate::model::{Activation, GoldenCase, GoldenInput, Goldens, Head, ModelManifest};
use crate::train::learn::{Engine, Origin, Recipe};
use crate::train::network::{Layer, Weights};
use crate::train::run::{Record, RunFolder};

/// Keys of the ONNX file's `metadata_props` beside the contract.
pub const LABELS_KEY: &str = "osteon.labels";
/// The intended use, as JSON.
pub const INTENDED_USE_KEY: &str = "osteon.intended_use";
/// The lineage, as JSON.
pub const LINEAGE_KEY: &str = "osteon.lineage";
/// How far ONNX Runtime's logits may be from libtorch's.
const TOLERANCE: f32 = 1e-4;

/// What people have to say about a model; the rest is known from its training.
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
    /// The sensitivity that the threshold is to reach on the held-out patients.
    pub sensitivity: f64,
}

/// A package before it is published: the manifest, and every other file by its name.
pub struct Draft {
    /// Without digests.
    pub manifest: ModelManifest,
    /// `model.onnx`, `goldens.json` and the DICOM files of the goldens.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Makes the package of a run; `samples` are the DICOM files of golden cases, by name.
///
/// # Errors
/// One sentence that says what is missing or does not fit.
pub fn draft(
    run: &RunFolder,
    description: &Description,
    samples: &BTreeMap<String, Vec<u8>>,
) -> Result<Draft, String> {
    let (recipe, contract) = run.told().map_err(|error| error.to_string())?;
    let (record, mut weights) = run.outcome().map_err(|error| error.to_string())?;
    let named: Vec<&String> = description.labels.iter().map(|label| &label.name).collect();
    if named != recipe.labels.iter().collect::<Vec<_>>() {
        return Err(format!(
            "the description's labels must be those of the recipe, in its order: {}",
            recipe.labels.join(", ")
        ));
    }
    let graph = recipe.graph().map_err(|error| error.to_string())?;
    let labels = calibrated(&record, description)?;
    let scale = graph.nodes.iter().find(|node| node.layer == Layer::Scale);
    let scale = scale.ok_or("the network has no layer for its temperature")?;
    let temperatures: Vec<f64> = labels.iter().map(|label| f64::from(label.temperature)).collect();
    weights
        .set_temperature(&scale.name, &temperatures)
        .map_err(|error| error.to_string())?;

    let origin = run.origin(&recipe).map_err(|error| error.to_string())?;
    let lineage = lineage(&recipe, origin.as_ref(), &record, &weights)?;
    let metadata = [
        (METADATA_KEY, json(&contract)?),
        (LABELS_KEY, json(&labels)?),
        (INTENDED_USE_KEY, json(&description.intended_use)?),
        (LINEAGE_KEY, json(&lineage)?),
    ];
    let metadata = metadata
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    let model = export_onnx(&graph, &weights, &metadata).map_err(|error| error.to_string())?;
    let engine = Engine::new(&graph, &weights, recipe.threads).map_err(|error| error.to_string())?;
    let goldens = goldens(&engine, &contract, samples)?;

    let mut files = samples.clone();
    files.insert(MODEL.to_owned(), model);
    files.insert(GOLDENS.to_owned(), (json_pretty(&goldens)? + "\n").into_bytes());
    files.insert(
        "recipe.json".to_owned(),
        (json_pretty(&recipe)? + "\n").into_bytes(),
    );
    let manifest = ModelManifest {
        manifest_version: MANIFEST_VERSION,
        name: description.name.clone(),
        version: description.version,
        title: description.title.clone(),
        notice: description.notice.clone(),
        licence: description.licence.clone(),
        intended_use: description.intended_use.clone(),
        quality: description.quality,
        distribution: None,
        study: StudyRule::default(),
        preprocessing: contract,
        heads: vec![Head {
            name: "findings".to_owned(),
            task: Task::Multilabel,
            labels,
            scores: "probabilities".to_owned(),
            activation: Activation::None,
            logits: Some("logits".to_owned()),
            activation_map: Some("activation_map".to_owned()),
        }],
        embedding: Some("embedding".to_owned()),
        lineage,
        files: BTreeMap::new(),
    };
    manifest.check()?;
    Ok(Draft { manifest, files })
}

fn calibrated(record: &Record, description: &Description) -> Result<Vec<Label>, String> {
    description
        .labels
        .iter()
        .enumerate()
        .map(|(index, label)| {
            let failed = |error: &dyn std::fmt::Display| format!("label {}: {error}", label.name);
            let (logits, truth) = record.validation.of_label(index);
            let temperature = fit_temperature(&logits, &truth).map_err(|error| failed(&error))?;
            let probabilities: Vec<f64> = logits
                .iter()
                .map(|logit| 1.0 / (1.0 + (-logit / temperature).exp()))
                .collect();
            let point =
                operating_point(&probabilities, &truth, label.sensitivity).map_err(|error| failed(&error))?;
            Ok(Label {
                name: label.name.clone(),
                code: label.code.clone(),
                // four digits are more than the choice is worth, and round trip through any JSON
                threshold: Some(((point.threshold * 1e4).floor() / 1e4) as f32),
                temperature: temperature as f32,
                operating_point: Some(OperatingPoint {
                    sensitivity: point.sensitivity,
                    specificity: point.specificity,
                }),
                quantity: None,
            })
        })
        .collect()
}

fn goldens(
    engine: &Engine,
    contract: &Preprocessing,
    samples: &BTreeMap<String, Vec<u8>>,
) -> Result<Goldens, String> {
    let [low, high] = contract
        .range
        .map(|end| (end - contract.mean[0]) / contract.std[0]);
    let made = [
        ("black", GoldenInput::Constant { value: low }),
        ("saturated", GoldenInput::Constant { value: high }),
        ("noise 1", GoldenInput::Noise { seed: 1 }),
        ("noise 2", GoldenInput::Noise { seed: 2 }),
    ];
    let mut cases = Vec::new();
    for (name, input) in made {
        let tensor = input
            .tensor(contract.input_shape())
            .ok_or("a made input has a tensor")?;
        cases.push(GoldenCase {
            name: name.to_owned(),
            scores: logits(engine, &tensor)?,
            input,
        });
    }
    for (file, bytes) in samples {
        let failed = |error: &dyn std::fmt::Display| format!("{file}: {error}");
        let instance = Instance::parse(bytes.clone().into()).map_err(|error| failed(&error))?;
        let image = contract.decode(&instance).map_err(|error| failed(&error))?;
        let (tensor, _) = contract.apply(&image).map_err(|error| failed(&error))?;
        let input = GoldenInput::Dicom { file: file.clone() };
        cases.push(GoldenCase {
            name: file.clone(),
            scores: logits(engine, &tensor)?,
            input,
        });
    }
    Ok(Goldens {
        origin: "libtorch 2.11.0 on the CPU, before export".to_owned(),
        tolerance: TOLERANCE,
        cases,
    })
}

fn logits(engine: &Engine, tensor: &Tensor) -> Result<Vec<f32>, String> {
    let mut outputs = engine.run(&tensor.values, 1).map_err(|error| error.to_string())?;
    outputs
        .remove("logits")
        .map(|logits| logits.values)
        .ok_or_else(|| "the network has no output `logits`".to_owned())
}

fn lineage(
    recipe: &Recipe,
    origin: Option<&Origin>,
    record: &Record,
    weights: &Weights,
) -> Result<BTreeMap<String, String>, String> {
    let random = "random, from the recipe's seed";
    let initial = match origin {
        None => random.to_owned(),
        Some(origin) => format!(
            "{} parameters from {} (sha256 {}), the others {random}",
            origin.report.share(),
            origin.file,
            origin.sha256
        ),
    };
    let weights = weights.to_bytes().map_err(|error| error.to_string())?;
    let entries = [
        ("program", format!("osteon-train {}", env!("CARGO_PKG_VERSION"))),
        ("recipe sha256", sha256(json(recipe)?.as_bytes())),
        ("labels sha256", record.data.labels_sha256.clone()),
        ("weights sha256", sha256(&weights)),
        ("training images", record.data.training_images.to_string()),
        ("held-out images", record.data.validation_images.to_string()),
        (
            "epoch kept",
            format!("{} of {}", record.best_epoch + 1, record.history.len()),
        ),
        ("initial weights", initial),
    ];
    Ok(entries
        .into_iter()
        .map(|(what, value)| (what.to_owned(), value))
        .collect())
}

/// Reads a description.
///
/// # Errors
/// One sentence with line and column.
pub fn read_description(path: &Path) -> Result<Description, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{} is not a description: {error}", path.display()))
}

fn json(value: &impl Serialize) -> Result<String, String> {
    serde_json::to_string(value).map_err(|error| error.to_string())
}

fn json_pretty(value: &impl Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(value).map_err(|error| error.to_string())
}

//! A finished training becomes a model package: calibrated, with thresholds, goldens and a card.
//!
//! Temperatures, offsets and thresholds are chosen on the held-out patients of the training, never on the test set.

use std::collections::BTreeMap;

use serde::Serialize;

use super::answering::Answering;
use super::calibrate::{Calibration, Question};
use super::description::Description;
use super::goldens::goldens;
use super::heads::{EMBEDDING, HeadOutputs};
use super::lineage::lineage;
use super::onnx::export_onnx;
use super::operating::choose;
use super::together::CrossFitted;
use crate::finding::{Label, StudyRule, Task};
use crate::image::preprocess::METADATA_KEY;
use crate::model::manifest::MANIFEST_VERSION;
use crate::model::package::{GOLDENS, MODEL};
use crate::model::{Head, ModelManifest};
use crate::train::assess::held_out::{HeldOut, Recall};
use crate::train::learn::Heads;
use crate::train::learn::heads::Placed;

/// Keys of the ONNX file's `metadata_props` beside the contract.
pub const LABELS_KEY: &str = "osteon.labels";
/// The intended use, as JSON.
pub const INTENDED_USE_KEY: &str = "osteon.intended_use";
/// The lineage, as JSON.
pub const LINEAGE_KEY: &str = "osteon.lineage";

/// A package before it is published: the manifest, and every other file by its name.
pub struct Draft {
    /// Without digests.
    pub manifest: ModelManifest,
    /// `model.onnx`, `goldens.json`, the DICOM files of the goldens and the recipes.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What its held-out patients say of it, for the model card.
    pub held_out: HeldOut,
}

/// Makes the package of trained networks. `samples` are the DICOM files of golden cases, by name.
///
/// # Errors
/// One sentence that says what is missing or does not fit.
pub fn draft(
    answering: &Answering,
    description: &Description,
    samples: &BTreeMap<String, Vec<u8>>,
) -> Result<Draft, String> {
    let first = answering.first();
    let (recipe, contract, heads) = (&first.recipe, &first.contract, first.recipe.heads());
    let named: Vec<&String> = description.labels.iter().map(|label| &label.name).collect();
    if named != recipe.labels.iter().collect::<Vec<_>>() {
        return Err(format!(
            "the description's labels must be those of the recipe, in its order: {}",
            recipe.labels.join(", ")
        ));
    }
    let (labels, held_out) = labels(&heads, answering, description)?;
    let lineage = lineage(answering)?;
    let metadata = [
        (METADATA_KEY, json(contract)?),
        (LABELS_KEY, json(&labels)?),
        (INTENDED_USE_KEY, json(&description.intended_use)?),
        (LINEAGE_KEY, json(&lineage)?),
    ];
    let metadata = metadata
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    let network = &answering.network;
    let model =
        export_onnx(&network.graph, &network.weights, &metadata).map_err(|error| error.to_string())?;
    let goldens = goldens(&answering.engine()?, &answering.outputs, contract, samples)?;

    let mut files = samples.clone();
    files.insert(MODEL.to_owned(), model);
    files.insert(GOLDENS.to_owned(), lines(&goldens)?);
    for (place, one) in answering.trained.iter().enumerate() {
        let name = if place == 0 {
            "recipe.json".to_owned()
        } else {
            format!("recipe-{}.json", place + 1)
        };
        files.insert(name, lines(&one.recipe)?);
    }
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
        preprocessing: contract.clone(),
        heads: manifest_heads(&heads, &labels, &answering.outputs),
        embedding: network
            .graph
            .output(EMBEDDING)
            .is_ok()
            .then(|| EMBEDDING.to_owned()),
        reduced_precision: None,
        lineage,
        files: BTreeMap::new(),
    };
    manifest.check()?;
    Ok(Draft {
        manifest,
        files,
        held_out,
    })
}

fn labels(
    heads: &Heads,
    answering: &Answering,
    description: &Description,
) -> Result<(Vec<Label>, HeldOut), String> {
    let calibrations: Vec<Calibration> = answering
        .trained
        .iter()
        .map(|one| one.calibration.clone())
        .collect();
    let together = answering.together(heads)?;
    let questions = Question::all(heads);
    let mut said = HeldOut {
        warnings: calibrations.iter().flat_map(|own| own.warnings.clone()).collect(),
        ..HeldOut::default()
    };
    for question in &questions {
        let CrossFitted { calibration, recalls } = together.cross_fitted(question);
        said.calibration.extend(calibration);
        said.warnings.extend(recalls.iter().filter_map(Recall::warning));
        said.recalls.extend(recalls);
    }
    let mut labels = Vec::new();
    for Placed {
        head,
        labels: places,
        logits,
    } in heads.placed()
    {
        for (index, place) in places.enumerate() {
            let described = &description.labels[place];
            let logit = logits.start + index.min(logits.len().saturating_sub(1));
            let mut label = Label {
                name: described.name.clone(),
                code: described.code.clone(),
                threshold: None,
                // several networks have several
                temperature: match calibrations.as_slice() {
                    [one] => one.temperatures[logit] as f32,
                    _ => 1.0,
                },
                operating_point: None,
                quantity: head.quantities.get(index).cloned(),
            };
            if matches!(head.task, Task::Binary | Task::Multilabel) {
                let wanted = described.sensitivity.ok_or_else(|| {
                    format!(
                        "label {}: a finding needs the sensitivity that its threshold is to reach",
                        label.name
                    )
                })?;
                let question = questions.iter().find(|question| question.is_of(logit));
                let question = question.ok_or_else(|| format!("label {} has no logit", label.name))?;
                let chosen = choose(&label.name, wanted, &together.said(question, &calibrations))?;
                (label.threshold, label.operating_point) = (Some(chosen.threshold), chosen.point);
                said.findings.push(chosen.said);
                said.warnings.extend(chosen.warnings);
            }
            labels.push(label);
        }
    }
    Ok((labels, said))
}

fn manifest_heads(heads: &Heads, labels: &[Label], outputs: &[HeadOutputs]) -> Vec<Head> {
    heads
        .placed()
        .zip(outputs)
        .map(|(placed, outputs)| Head {
            name: placed.head.name.clone(),
            task: placed.head.task,
            labels: labels[placed.labels].to_vec(),
            scores: outputs.scores.clone(),
            activation: outputs.activation,
            logits: outputs.logits.clone(),
            activation_map: outputs.activation_map.clone(),
        })
        .collect()
}

fn json(value: &impl Serialize) -> Result<String, String> {
    serde_json::to_string(value).map_err(|error| error.to_string())
}

/// JSON for people, as a file.
pub(super) fn lines(value: &impl Serialize) -> Result<Vec<u8>, String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    Ok((text + "\n").into_bytes())
}

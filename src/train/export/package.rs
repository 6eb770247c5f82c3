//! A finished training becomes a model package: calibrated, with thresholds, goldens and a card.
//!
//! Temperature and thresholds are chosen on the held-out patients of the training, never on the test set. Goldens are
//! computed by libtorch from the unexported graph, so that they prove the export and not themselves.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::calibrate::{HeldOut, temperatures, together};
use super::ensemble::{Member, side_by_side};
use super::heads::{EMBEDDING, HeadOutputs, with_heads};
use super::onnx::export_onnx;
use crate::dicom::{CodedValue, Instance};
use crate::evaluation::roc::operating_point;
use crate::finding::label::OperatingPoint;
use crate::finding::{IntendedUse, Label, QualityLimits, StudyRule, Task};
use crate::image::Tensor;
use crate::image::preprocess::{METADATA_KEY, Preprocessing};
use crate::model::manifest::MANIFEST_VERSION;
use crate::model::package::{GOLDENS, MODEL, sha256};
use crate::model::{GoldenCase, GoldenInput, Goldens, Head, ModelManifest};
use crate::train::learn::heads::Placed;
use crate::train::learn::{Engine, Heads, Origin, Recipe};
use crate::train::network::Layer;
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
    /// For a finding, the sensitivity that the threshold is to reach on the held-out patients; others have no threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitivity: Option<f64>,
}

/// A package before it is published: the manifest, and every other file by its name.
pub struct Draft {
    /// Without digests.
    pub manifest: ModelManifest,
    /// `model.onnx`, `goldens.json` and the DICOM files of the goldens.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// One finished training, ready to answer.
struct Trained {
    recipe: Recipe,
    contract: Preprocessing,
    origin: Option<Origin>,
    record: Record,
    temperatures: Vec<f64>,
    member: Member,
}

/// Makes the package of a run, or of several that answer together with their mean; with `mirror`, each averages what it says of an
/// image and of its mirror image. `samples` are the DICOM files of golden cases, by name.
///
/// # Errors
/// One sentence that says what is missing or does not fit.
pub fn draft(
    runs: &[RunFolder],
    mirror: bool,
    description: &Description,
    samples: &BTreeMap<String, Vec<u8>>,
) -> Result<Draft, String> {
    let trained = runs.iter().map(Trained::read).collect::<Result<Vec<_>, _>>()?;
    let first = trained.first().ok_or("there is no run")?;
    for (place, other) in trained.iter().enumerate().skip(1) {
        first
            .goes_with(other)
            .map_err(|what| format!("run {} cannot answer together with the first: {what}", place + 1))?;
    }
    if mirror
        && trained
            .iter()
            .any(|one| !one.recipe.augmentation.horizontal_flip.allows_all())
    {
        return Err(
            "the recipe does not allow horizontal_flip for every image, so answers must not be averaged over mirror images"
                .to_owned(),
        );
    }
    let (recipe, contract, heads) = (&first.recipe, first.contract.clone(), first.recipe.heads());
    let named: Vec<&String> = description.labels.iter().map(|label| &label.name).collect();
    if named != recipe.labels.iter().collect::<Vec<_>>() {
        return Err(format!(
            "the description's labels must be those of the recipe, in its order: {}",
            recipe.labels.join(", ")
        ));
    }
    let held_out: Vec<HeldOut<'_>> = trained
        .iter()
        .map(|one| HeldOut {
            validation: &one.record.validation,
            temperatures: one.temperatures.clone(),
        })
        .collect();
    let labels = labels(&heads, &held_out, mirror, description)?;
    let lineage = lineage(&trained, mirror)?;
    let recipes: Vec<String> = trained
        .iter()
        .map(|one| json_pretty(&one.recipe))
        .collect::<Result<_, _>>()?;
    let (_, outputs) = with_heads(&recipe.graph().map_err(|error| error.to_string())?, &heads)
        .map_err(|error| error.to_string())?;
    let threads = recipe.threads;
    let members: Vec<Member> = trained.into_iter().map(|one| one.member).collect();
    let (whole, outputs) = side_by_side(&members, &outputs, mirror).map_err(|error| error.to_string())?;

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
    let model = export_onnx(&whole.graph, &whole.weights, &metadata).map_err(|error| error.to_string())?;
    let engine = Engine::new(&whole.graph, &whole.weights, threads).map_err(|error| error.to_string())?;
    let goldens = goldens(&engine, &outputs, &contract, samples)?;

    let mut files = samples.clone();
    files.insert(MODEL.to_owned(), model);
    files.insert(GOLDENS.to_owned(), (json_pretty(&goldens)? + "\n").into_bytes());
    for (place, recipe) in recipes.iter().enumerate() {
        let name = if place == 0 {
            "recipe.json".to_owned()
        } else {
            format!("recipe-{}.json", place + 1)
        };
        files.insert(name, format!("{recipe}\n").into_bytes());
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
        preprocessing: contract,
        heads: manifest_heads(&heads, &labels, outputs),
        embedding: whole
            .graph
            .output(EMBEDDING)
            .is_ok()
            .then(|| EMBEDDING.to_owned()),
        lineage,
        files: BTreeMap::new(),
    };
    manifest.check()?;
    Ok(Draft { manifest, files })
}

impl Trained {
    /// A run with its temperatures in its weights.
    fn read(run: &RunFolder) -> Result<Self, String> {
        let (recipe, contract) = run.told().map_err(|error| error.to_string())?;
        let origin = run.origin(&recipe).map_err(|error| error.to_string())?;
        let (record, mut weights) = run.outcome().map_err(|error| error.to_string())?;
        let graph = recipe.graph().map_err(|error| error.to_string())?;
        let scale = graph.nodes.iter().find(|node| node.layer == Layer::Scale);
        let scale = scale.ok_or("the network has no layer for its temperature")?;
        let heads = recipe.heads();
        let temperatures = temperatures(&heads, &record.validation)?;
        // as the manifest says them, in 32 bits
        let said: Vec<f64> = temperatures.iter().map(|one| f64::from(*one as f32)).collect();
        weights
            .set_temperature(&scale.name, &said)
            .map_err(|error| error.to_string())?;
        let (graph, _) = with_heads(&graph, &heads).map_err(|error| error.to_string())?;
        Ok(Self {
            recipe,
            contract,
            origin,
            record,
            temperatures,
            member: Member { graph, weights },
        })
    }

    /// Whether the two may answer together.
    fn goes_with(&self, other: &Self) -> Result<(), &'static str> {
        if self.recipe.heads() != other.recipe.heads() {
            return Err("its heads are others");
        }
        if self.contract != other.contract {
            return Err("its preprocessing is another");
        }
        let (one, another) = (&self.record.data, &other.record.data);
        if one.labels_sha256 != another.labels_sha256 || one.unreadable_images != another.unreadable_images {
            return Err("it saw another set of images, so nobody knows which of them neither trained on");
        }
        Ok(())
    }
}

fn labels(
    heads: &Heads,
    held_out: &[HeldOut<'_>],
    mirror: bool,
    description: &Description,
) -> Result<Vec<Label>, String> {
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
                temperature: match held_out {
                    [one] => one.temperatures[logit] as f32,
                    _ => 1.0,
                },
                operating_point: None,
                quantity: head.quantities.get(index).cloned(),
            };
            if matches!(head.task, Task::Binary | Task::Multilabel) {
                let failed = |error: &dyn std::fmt::Display| format!("label {}: {error}", label.name);
                let (probabilities, truth) = together(held_out, mirror, place, logit)?;
                let wanted = described.sensitivity.ok_or_else(|| {
                    failed(&"a finding needs the sensitivity that its threshold is to reach")
                })?;
                let point =
                    operating_point(&probabilities, &truth, wanted).map_err(|error| failed(&error))?;
                // four digits are more than the choice is worth, and round trip through any JSON
                label.threshold = Some(((point.threshold * 1e4).floor() / 1e4) as f32);
                label.operating_point = Some(OperatingPoint {
                    sensitivity: point.sensitivity,
                    specificity: point.specificity,
                });
            }
            labels.push(label);
        }
    }
    Ok(labels)
}

fn manifest_heads(heads: &Heads, labels: &[Label], outputs: Vec<HeadOutputs>) -> Vec<Head> {
    heads
        .placed()
        .zip(outputs)
        .map(|(placed, outputs)| Head {
            name: placed.head.name.clone(),
            task: placed.head.task,
            labels: labels[placed.labels].to_vec(),
            scores: outputs.scores,
            activation: outputs.activation,
            logits: outputs.logits,
            activation_map: outputs.activation_map,
        })
        .collect()
}

fn goldens(
    engine: &Engine,
    outputs: &[HeadOutputs],
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
            scores: proof(engine, outputs, &tensor)?,
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
            scores: proof(engine, outputs, &tensor)?,
            input,
        });
    }
    Ok(Goldens {
        origin: "libtorch 2.11.0 on the CPU, before export".to_owned(),
        tolerance: TOLERANCE,
        cases,
    })
}

/// What goldens are compared with: of each head the logits, or the scores where it has none.
fn proof(engine: &Engine, outputs: &[HeadOutputs], tensor: &Tensor) -> Result<Vec<f32>, String> {
    let answers = engine.run(&tensor.values, 1).map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    for output in outputs {
        let name = output.logits.as_ref().unwrap_or(&output.scores);
        let own = answers.get(name);
        all.extend(
            &own.ok_or_else(|| format!("the network has no output `{name}`"))?
                .values,
        );
    }
    Ok(all)
}

fn lineage(trained: &[Trained], mirror: bool) -> Result<BTreeMap<String, String>, String> {
    let mut lineage = BTreeMap::new();
    let mut say = |what: String, value: String| lineage.insert(what, value);
    say(
        "program".to_owned(),
        format!("osteon-train {}", env!("CARGO_PKG_VERSION")),
    );
    if mirror {
        say(
            "views".to_owned(),
            "the mean of image and mirror image".to_owned(),
        );
    }
    for (place, one) in trained.iter().enumerate() {
        let member = if trained.len() > 1 {
            format!("member {} ", place + 1)
        } else {
            String::new()
        };
        let (recipe, record) = (&one.recipe, &one.record);
        let weights = one.member.weights.to_bytes().map_err(|error| error.to_string())?;
        let entries = [
            ("recipe sha256", sha256(json(recipe)?.as_bytes())),
            ("labels sha256", record.data.labels_sha256.clone()),
            ("weights sha256", sha256(&weights)),
            ("training images", record.data.training_images.to_string()),
            ("held-out images", record.data.validation_images.to_string()),
            (
                "epoch kept",
                format!("{} of {}", record.best_epoch + 1, record.history.len()),
            ),
            ("initial weights", initial_weights(one.origin.as_ref())),
        ];
        for (what, value) in entries {
            say(format!("{member}{what}"), value);
        }
    }
    Ok(lineage)
}

fn initial_weights(origin: Option<&Origin>) -> String {
    let random = "random, from the recipe's seed";
    match origin {
        None => random.to_owned(),
        Some(origin) => format!(
            "{} parameters from {} (sha256 {}), the others {random}",
            origin.report.share(),
            origin.file,
            origin.sha256
        ),
    }
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

//! `osteon models import`: a network from elsewhere becomes a package that the server serves unchanged.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::ValueEnum;
use osteon::dicom::CodedValue;
use osteon::finding::{IntendedUse, Label, StudyRule, Task, codes};
use osteon::model::import::Network;
use osteon::model::manifest::MANIFEST_VERSION;
use osteon::model::package::{GOLDENS, MODEL, Staged, sha256};
use osteon::model::{Activation, Head, ModelManifest, Package, RECIPES, Recipe};
use osteon::runtime::{Device, Runtime, proof, record};

#[derive(clap::Args)]
#[command(after_long_help = recipes(), after_help = "`--help` lists the recipes, with examples.")]
pub(crate) struct Arguments {
    /// The network, with a dynamic batch and its weights inside
    #[arg(value_name = "FILE.onnx")]
    file: PathBuf,
    /// How the family of the network prepares an image
    #[arg(long, value_name = "NAME")]
    recipe: String,
    /// Name of the model: lower-case letters, digits and `-`
    #[arg(long)]
    name: String,
    /// Version of the model
    #[arg(long, default_value_t = 1, value_name = "N")]
    version: u32,
    /// Folder of models, NAME/VERSION/
    #[arg(long, env = "OSTEON_MODELS", value_name = "DIR", default_value = "models")]
    models: PathBuf,
    /// What the network's numbers mean, one for each, in their order
    #[arg(
        long = "label",
        value_name = "NAME",
        required_unless_present = "labels",
        conflicts_with = "labels"
    )]
    label: Vec<String>,
    /// The same as a JSON file, a list of labels as in a manifest: with codes and thresholds
    #[arg(long, value_name = "FILE.json")]
    labels: Option<PathBuf>,
    /// A label that stands for nothing found, where labels exclude each other: a study is then as bad as its worst image
    #[arg(long, value_name = "NAME")]
    normal: Option<String>,
    /// Values of Modality that the model is for
    #[arg(long, value_name = "VALUE", default_values = ["DX", "CR"])]
    modality: Vec<String>,
    /// Values of Body Part Examined, each with its usual codes, or codes of the region, that it is for
    #[arg(long, value_name = "VALUE", required = true)]
    body_part: Vec<String>,
    /// Values of View Position, each with its usual codes, or codes of the view, that it is for
    #[arg(long, value_name = "VALUE", required = true)]
    view: Vec<String>,
    /// Side of the input, where the network does not say [default: the recipe's]
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
    /// The part of the shorter side that the input shows, for torchvision and timm [default: the recipe's]
    #[arg(long, value_name = "PART")]
    crop_pct: Option<f64>,
    /// Name of the input tensor, for networks with several
    #[arg(long, value_name = "TENSOR")]
    input: Option<String>,
    /// Name of the output tensor with the scores, for networks with several
    #[arg(long, value_name = "TENSOR")]
    scores: Option<String>,
    /// What turns the scores into probabilities [default: what the network ends with and the recipe say]
    #[arg(long, value_enum)]
    activation: Option<Choice>,
    /// A DICOM file that becomes a golden case and part of the package; may be given several times
    #[arg(long, value_name = "FILE.dcm")]
    image: Vec<PathBuf>,
    /// One line for people [default: its name and recipe]
    #[arg(long)]
    title: Option<String>,
    /// SPDX expression
    #[arg(long, default_value = "LicenseRef-unknown")]
    licence: String,
    /// Put the package in the place of one of the same name and version
    #[arg(long)]
    replace: bool,
    /// The ONNX Runtime shared library [default: searched for]
    #[arg(long, env = "OSTEON_ONNXRUNTIME", value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// They are probabilities
    None,
    /// One logistic function for each label: labels do not exclude each other
    Sigmoid,
    /// Labels exclude each other
    Softmax,
}

#[expect(clippy::print_stdout, reason = "what was made is the command's answer")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let recipe = Recipe::named(&arguments.recipe).map_err(anyhow::Error::msg)?;
    let model = std::fs::read(&arguments.file)
        .with_context(|| format!("{} cannot be read", arguments.file.display()))?;
    let network = Network::read(&model, arguments.input.as_deref(), arguments.scores.as_deref())
        .map_err(anyhow::Error::msg)?;
    let manifest = manifest(arguments, recipe, &network, &model)?;
    manifest.check().map_err(anyhow::Error::msg)?;

    let runtime = Runtime::open(arguments.onnxruntime.as_deref(), Device::Cpu)?;
    let mut files = samples(&arguments.image)?;
    let goldens = record::record(&runtime, &model, &manifest, &files).map_err(anyhow::Error::msg)?;
    if manifest
        .heads
        .iter()
        .any(|head| head.activation == Activation::None)
        && goldens
            .cases
            .iter()
            .flat_map(|case| &case.scores)
            .any(|score| !(0.0..=1.0).contains(score))
    {
        bail!(
            "the scores are no probabilities (some lie outside 0 to 1): say what makes them so with --activation sigmoid or softmax"
        );
    }
    files.insert(MODEL.to_owned(), model);
    files.insert(GOLDENS.to_owned(), serde_json::to_vec_pretty(&goldens)?);
    let staged = Staged::write(&arguments.models, manifest, &files, arguments.replace)?;
    proof::prove(&Package::open(&staged.folder())?, &runtime, 1, 1).map_err(anyhow::Error::msg)?;
    let package = staged.publish()?;

    println!("{}", package.folder.display());
    let contract = &package.manifest.preprocessing;
    println!(
        "  {} x {} pixels, {} channels, {} labels, {} golden cases",
        contract.rows,
        contract.columns,
        contract.channels,
        package.manifest.labels().count(),
        package.goldens.cases.len()
    );
    for assumption in recipe.assumptions {
        println!("  assumed: {assumption}");
    }
    Ok(ExitCode::SUCCESS)
}

fn manifest(
    arguments: &Arguments,
    recipe: &Recipe,
    network: &Network,
    model: &[u8],
) -> anyhow::Result<ModelManifest> {
    let [channels, rows, columns] = network.image(recipe.layout);
    let side = |known: Option<usize>| -> anyhow::Result<usize> {
        match (known, arguments.size) {
            (Some(known), Some(asked)) if known != asked => {
                bail!("the network takes {known} pixels a side, not {asked}: leave --size out")
            }
            (known, asked) => Ok(known.or(asked).unwrap_or(recipe.size)),
        }
    };
    let sides = [side(rows)?, side(columns)?];
    let channels = channels.unwrap_or(recipe.channels[0]);
    let preprocessing = recipe
        .contract(sides, channels, arguments.crop_pct, &network.input.name)
        .map_err(anyhow::Error::msg)?;

    let labels = labels(arguments)?;
    if let Some(Some(width)) = network.scores.sizes.first()
        && *width != labels.len()
    {
        bail!(
            "the network gives {width} numbers for an image, and {} labels were named: name one for each, in their order",
            labels.len()
        );
    }
    let activation = activation(arguments.activation, recipe, network, labels.len())?;
    let exclusive = activation == Activation::Softmax || network.ends_with == Some(Activation::Softmax);
    let task = match labels.len() {
        _ if exclusive => Task::Multiclass,
        1 => Task::Binary,
        _ => Task::Multilabel,
    };
    let lineage = [
        (
            "program",
            format!("osteon {} models import", env!("CARGO_PKG_VERSION")),
        ),
        ("recipe", recipe.name.to_owned()),
        ("recipe source", recipe.source.to_owned()),
        ("network sha256", sha256(model)),
        ("network producer", network.producer.clone()),
    ];
    Ok(ModelManifest {
        manifest_version: MANIFEST_VERSION,
        name: arguments.name.clone(),
        version: arguments.version,
        title: arguments
            .title
            .clone()
            .unwrap_or_else(|| format!("{}, imported by the recipe {}", arguments.name, recipe.name)),
        notice: "Imported from elsewhere; nothing is known here of how well it works. Not for clinical use."
            .to_owned(),
        licence: arguments.licence.clone(),
        intended_use: IntendedUse {
            statement: "What its makers say; the values here were given when it was imported.".to_owned(),
            clinical: false,
            modalities: arguments.modality.clone(),
            body_parts: with_codes(&arguments.body_part, codes::of_body_part),
            views: with_codes(&arguments.view, codes::of_view),
            age_years: [0, 130],
            laterality: Vec::new(),
            image_size: None,
        },
        quality: None,
        distribution: None,
        study: StudyRule {
            normal: arguments.normal.iter().map(|label| name_of(label)).collect(),
            ..StudyRule::default()
        },
        preprocessing,
        heads: vec![Head {
            name: "findings".to_owned(),
            task,
            labels,
            scores: network.scores.name.clone(),
            activation,
            logits: None,
            activation_map: None,
        }],
        embedding: None,
        reduced_precision: None,
        lineage: lineage.map(|(key, value)| (key.to_owned(), value)).into(),
        files: BTreeMap::new(),
    })
}

/// Named labels count from 0.5 on, and have their names for codes.
fn labels(arguments: &Arguments) -> anyhow::Result<Vec<Label>> {
    if let Some(path) = &arguments.labels {
        let text = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        return serde_json::from_slice(&text)
            .with_context(|| format!("{} is no list of labels as in a manifest", path.display()));
    }
    Ok(arguments
        .label
        .iter()
        .map(|name| Label {
            name: name_of(name),
            code: CodedValue {
                scheme: "99IMPORTED".to_owned(),
                value: name.clone(),
                meaning: name.clone(),
            },
            threshold: Some(0.5),
            temperature: 1.0,
            operating_point: None,
            quantity: None,
        })
        .collect())
}

/// Values and then the codes that say the same: an image may bring both, and then both must be allowed.
fn with_codes(values: &[String], codes: fn(&str) -> &'static [&'static str]) -> Vec<String> {
    let mut all: Vec<String> = values.iter().map(|value| value.to_uppercase()).collect();
    let same = all
        .iter()
        .flat_map(|value| codes(value))
        .copied()
        .map(String::from);
    for code in same.collect::<Vec<_>>() {
        if !all.contains(&code) {
            all.push(code);
        }
    }
    all
}

/// A label's name as manifests write it.
fn name_of(label: &str) -> String {
    label.to_lowercase().replace([' ', '_'], "-")
}

fn activation(
    asked: Option<Choice>,
    recipe: &Recipe,
    network: &Network,
    labels: usize,
) -> anyhow::Result<Activation> {
    let asked = asked.map(|choice| match choice {
        Choice::None => Activation::None,
        Choice::Sigmoid => Activation::Sigmoid,
        Choice::Softmax => Activation::Softmax,
    });
    match (asked, network.ends_with) {
        (Some(Activation::Sigmoid | Activation::Softmax), Some(_)) => {
            bail!("the network ends with an activation of its own: leave --activation out")
        }
        (Some(asked), _) => Ok(asked),
        (None, Some(_)) => Ok(Activation::None),
        (None, None) => match recipe.activation {
            Some(activation) => Ok(activation),
            None if labels == 1 => Ok(Activation::Sigmoid),
            None => bail!(
                "the network gives plain numbers for {labels} labels: say with --activation softmax that labels exclude each other, or with --activation sigmoid that they do not"
            ),
        },
    }
}

/// The images by the names that they get in the package.
fn samples(paths: &[PathBuf]) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let read = |(index, path): (usize, &PathBuf)| -> anyhow::Result<_> {
        let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        // a file's own name may name a patient
        Ok((format!("sample-{}.dcm", index + 1), bytes))
    };
    paths.iter().enumerate().map(read).collect()
}

fn recipes() -> String {
    let mut text = "Recipes:\n".to_owned();
    for recipe in &RECIPES {
        let _ = writeln!(text, "  {:<16} {}", recipe.name, recipe.summary);
        for assumption in recipe.assumptions {
            let _ = writeln!(text, "  {:<16}   assumes: {assumption}", "");
        }
        let _ = writeln!(text, "  {:<16}   source: {}", "", recipe.source);
    }
    text + "\nExamples:\n  osteon models import chest.onnx --recipe torchvision --name chest --label pneumonia --body-part CHEST --view PA --view AP\n  osteon models import net.onnx --recipe timm --crop-pct 0.95 --name net --label normal --label fracture --normal normal --activation softmax --body-part HAND --view PA\n  osteon models import densenet.onnx --recipe torchxrayvision --name densenet --labels labels.json --body-part CHEST --view PA --image one.dcm"
}

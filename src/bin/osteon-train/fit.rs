//! `osteon-train fit`: a labelled folder and a recipe become a trained network.

use std::path::{Path, PathBuf};

use anyhow::Context;
use osteon::image::preprocess::Preprocessing;
use osteon::model::package::sha256;
use osteon::train::data::index::{Labelled, load, rows};
use osteon::train::data::{LoneClass, Split, lone_classes};
use osteon::train::learn::fit::{fit, predict};
use osteon::train::learn::{Engine, Recipe, TerminalProgress};
use osteon::train::run::{DataRecord, RunFolder, Validation};

use crate::progress::bar;

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  osteon-train fit --labels phantoms/labels.csv --recipe recipes/spine-osteoporosis-phantom/fit.json --out runs/first\n  osteon-train fit --labels index/images.csv --recipe fit.json --out runs/second\n\nThe CSV is images.csv of an index, whose images are decoded once and then come from its cache, or has the columns file and patient.\nBeside them it has one column for each label of the recipe with 0, 1 or nothing, and may have split with train, validation or test."
)]
pub(crate) struct Arguments {
    /// The CSV; image files are relative to it
    #[arg(long, value_name = "CSV")]
    labels: PathBuf,
    /// What to train and how; settings that it leaves out have their default
    #[arg(long, value_name = "JSON")]
    recipe: PathBuf,
    /// How images become the network's input [default: grey, with border crop and padding, at the recipe's size]
    #[arg(long, value_name = "JSON")]
    preprocessing: Option<PathBuf>,
    /// Folder for the run
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Share of the patients that is held out
    #[arg(long, default_value_t = 0.15, value_name = "SHARE")]
    validation: f64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let recipe = Recipe::from_json(&text(&arguments.recipe)?)
        .with_context(|| format!("{} is not usable", arguments.recipe.display()))?;
    let contract = contract(&recipe, arguments.preprocessing.as_deref())?;
    let run = RunFolder::begin(&arguments.out, &recipe, &contract)?;

    let labelled = read(&arguments.labels, &recipe.labels, &contract)?;
    let samples = &labelled.samples;
    for LoneClass { label, present } in lone_classes(&labelled.groups, &samples.labels) {
        let class = u8::from(present);
        eprintln!(
            "label {}: one patient alone has the value {class}, which cannot be in training and in validation",
            recipe.labels[label]
        );
    }
    let split = Split::given(
        &labelled.splits,
        &labelled.groups,
        &samples.labels,
        arguments.validation,
        recipe.seed,
    )?;
    let (train, validation) = (samples.select(&split.train), samples.select(&split.validation));
    eprintln!(
        "{} images for training, {} of other patients held out",
        train.len(),
        validation.len()
    );

    let normalise = |plane: &_| contract.tensor(plane);
    let mut progress = TerminalProgress::new(&recipe.labels, recipe.epochs);
    let outcome = fit(&recipe, &train, &validation, &normalise, &mut progress)?;
    let engine = Engine::new(&outcome.graph, &outcome.weights, recipe.threads)?;
    let answers = predict(&engine, &validation, &normalise, recipe.batch)?;
    let data = DataRecord {
        labels_sha256: sha256(&std::fs::read(&arguments.labels)?),
        training_images: train.len(),
        validation_images: validation.len(),
        unreadable_images: labelled.unreadable.len(),
    };
    run.finish(&outcome, data, Validation::of(&validation, answers))?;
    let best = &outcome.history[outcome.best_epoch];
    eprintln!("kept {}", best.line(&recipe.labels));
    eprintln!(
        "{} holds the run; next: osteon-train export",
        arguments.out.display()
    );
    Ok(())
}

/// How images become the input of a recipe's network.
pub(crate) fn contract(recipe: &Recipe, preprocessing: Option<&Path>) -> anyhow::Result<Preprocessing> {
    let contract: Preprocessing = if let Some(path) = preprocessing {
        serde_json::from_str(&text(path)?)
            .with_context(|| format!("{} is not a preprocessing contract", path.display()))?
    } else {
        let [_, rows, columns] = recipe.architecture.input();
        Preprocessing {
            tensor: recipe.input_name.clone(),
            ..Preprocessing::grey(rows, columns)
        }
    };
    contract.check()?;
    Ok(contract)
}

/// Reads a table of images with a bar, and says what could not be read.
pub(crate) fn read(csv: &Path, labels: &[String], contract: &Preprocessing) -> anyhow::Result<Labelled> {
    let rows = rows(csv, labels, &[])?;
    let progress = bar("reading", rows.len() as u64);
    let labelled = load(csv, rows, contract, || progress.inc(1))?;
    progress.finish_and_clear();
    for (file, cause) in &labelled.unreadable {
        eprintln!("left out: {}: {cause}", file.display());
    }
    Ok(labelled)
}

pub(crate) fn text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

//! `osteon-train fit`: a labelled folder and a recipe become a trained network.

use std::path::{Path, PathBuf};

use anyhow::Context;
use osteon::image::preprocess::Preprocessing;
use osteon::model::package::sha256;
use osteon::train::data::index::{Labelled, load, rows};
use osteon::train::data::{Fractions, Split};
use osteon::train::learn::fit::{fit_from, predict};
use osteon::train::learn::{Engine, Initial, Recipe, TerminalProgress, start};
use osteon::train::network::Matching;
use osteon::train::run::{DataRecord, RunFolder, Validation};

use crate::progress::bar;

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  osteon-train fit --labels phantoms/labels.csv --recipe recipes/spine-osteoporosis-phantom/fit.json --out runs/first\n\nThe CSV has the columns file and patient, and one for each label of the recipe with 0, 1 or nothing."
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
    /// Weights to start from: a .safetensors or .pth file, or the folder of an earlier run
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// How they find their places: `names`, or `order` for the first layers of another architecture
    #[arg(long, requires = "init", value_name = "HOW", value_parser = matching)]
    init_matching: Option<Matching>,
    /// The last stage to fill from them, 0 for the stem alone [default: all that fits]
    #[arg(long, requires = "init", value_name = "STAGE")]
    init_stages: Option<usize>,
    /// Folder for the run
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Share of the patients that is held out
    #[arg(long, default_value_t = 0.15, value_name = "SHARE")]
    validation: f64,
}

fn matching(text: &str) -> Result<Matching, String> {
    match text {
        "names" => Ok(Matching::Names),
        "order" => Ok(Matching::Order),
        _ => Err("it must be names or order".to_owned()),
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut recipe = Recipe::from_json(&text(&arguments.recipe)?)
        .with_context(|| format!("{} is not usable", arguments.recipe.display()))?;
    let contract = if let Some(path) = &arguments.preprocessing {
        serde_json::from_str(&text(path)?)
            .with_context(|| format!("{} is not a preprocessing contract", path.display()))?
    } else {
        let [channels, rows, columns] = recipe.architecture.input();
        let grey = Preprocessing::grey(rows, columns);
        Preprocessing {
            channels,
            mean: vec![grey.mean[0]; channels],
            std: vec![grey.std[0]; channels],
            tensor: recipe.input_name.clone(),
            ..grey
        }
    };
    contract.check()?;
    if let Some(file) = &arguments.init {
        let told = recipe.initial.take().unwrap_or_default();
        recipe.initial = Some(Initial {
            file: file.clone(),
            matching: arguments.init_matching.unwrap_or(told.matching),
            stages: arguments.init_stages.or(told.stages),
            ..told
        });
    }
    let start = start(&recipe)?;
    if let (Some(initial), Some(origin)) = (&mut recipe.initial, &start.origin) {
        // what is written down names no folder of this machine; the digest says which file it was
        initial.file = PathBuf::from(&origin.file);
        initial.sha256 = Some(origin.sha256.clone());
    }
    let run = RunFolder::begin(&arguments.out, &recipe, &contract)?;
    if let Some(origin) = &start.origin {
        run.started_from(origin)?;
        eprintln!("initial weights from {}: {}", origin.file, origin.report);
    }

    let labelled = read(&arguments.labels, &recipe.labels, &contract)?;
    let samples = &labelled.samples;
    let fractions = Fractions {
        train: 1.0 - arguments.validation,
        validation: arguments.validation,
        test: 0.0,
    };
    let split = Split::new(&samples.patients, &samples.labels, fractions, recipe.seed)?;
    split.check(&samples.patients)?;
    let (train, validation) = (samples.select(&split.train), samples.select(&split.validation));
    eprintln!(
        "{} images for training, {} of other patients held out",
        train.len(),
        validation.len()
    );

    let normalise = |plane: &_| contract.tensor(plane);
    let mut progress = TerminalProgress::new(&recipe.labels, recipe.epochs);
    let outcome = fit_from(
        &recipe,
        &start.weights,
        &train,
        &validation,
        &normalise,
        &mut progress,
    )?;
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

/// Reads a labelled folder with a bar, and says what could not be read.
pub(crate) fn read(csv: &Path, labels: &[String], contract: &Preprocessing) -> anyhow::Result<Labelled> {
    let rows = rows(csv, labels, &[])?;
    let progress = bar("reading", rows.len() as u64);
    let labelled = load(rows, contract, || progress.inc(1))?;
    progress.finish_and_clear();
    for (file, cause) in &labelled.unreadable {
        eprintln!("left out: {}: {cause}", file.display());
    }
    Ok(labelled)
}

pub(crate) fn text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

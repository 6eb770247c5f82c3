//! `osteon-train cross-validate`: a training for each fold of patients or for each site, and what they come to together.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use osteon::evaluation::interval::Bootstrap;
use osteon::image::preprocess::Preprocessing;
use osteon::runtime::Device;
use osteon::train::assess::folds::{Answered, Fold, by_group, by_site, others, summary};
use osteon::train::data::delimited::delimited;
use osteon::train::data::index::Labelled;
use osteon::train::data::{Fractions, Split};
use osteon::train::export::temperatures;
use osteon::train::learn::fit::predict;
use osteon::train::learn::{Engine, Recipe, Start};
use osteon::train::run::{RunFolder, Source};

use crate::device;
use crate::fit::{Parts, Table, Told, contract, read, read_recipe, started, train};

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  osteon-train cross-validate --labels images.csv --recipe fit.json --out runs/folds --folds 5\n  osteon-train cross-validate --labels images.csv --recipe fit.json --out runs/sites --by site\n\nEach fold is a run of its own in --out. Stopped, by whatever it was, the same command goes on. The runs can answer together: export --run runs/folds/1 --run runs/folds/2 ..."
)]
pub(crate) struct Arguments {
    /// The CSV; image files are relative to it
    #[arg(long, value_name = "CSV")]
    labels: PathBuf,
    /// What to train and how
    #[arg(long, value_name = "JSON")]
    recipe: PathBuf,
    /// How images become the network's input [default: as fit does it]
    #[arg(long, value_name = "JSON")]
    preprocessing: Option<PathBuf>,
    /// Folder for the runs and summary.json
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Folds of patients
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(2..), value_name = "COUNT", conflicts_with = "by")]
    folds: u8,
    /// Leave one value of this column out in each fold, such as one site
    #[arg(long, value_name = "COLUMN")]
    by: Option<String>,
    /// Share of the other patients by which the epoch is chosen
    #[arg(long, default_value_t = 0.15, value_name = "SHARE")]
    validation: f64,
    #[command(flatten)]
    device: device::On,
}

#[expect(clippy::print_stdout, reason = "the table is what the command is run for")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut recipe = read_recipe(&arguments.recipe)?;
    let devices = arguments.device.chosen(&recipe)?;
    let start = started(&mut recipe)?;
    let contract = contract(&recipe, arguments.preprocessing.as_deref())?;
    let Table { labelled, unlabelled } = read(&arguments.labels, &recipe, &contract)?;
    let samples = &labelled.samples;
    let folds = match &arguments.by {
        Some(column) => {
            let sites = values(&arguments.labels, column, &labelled)?;
            by_site(&labelled.groups, &sites).map_err(anyhow::Error::msg)?
        }
        None => by_group(
            samples,
            &labelled.groups,
            usize::from(arguments.folds),
            recipe.seed,
        )?,
    };
    let source = Source::of(&arguments.labels, arguments.validation)?;
    let mut answered = Vec::new();
    for (place, fold) in folds.iter().enumerate() {
        eprintln!(
            "fold {} of {}: {} images left out",
            place + 1,
            folds.len(),
            fold.test.len()
        );
        let told = told(
            &arguments.out.join((place + 1).to_string()),
            &recipe,
            &contract,
            &source,
            &start,
        )?;
        if !told.run.is_finished() {
            train(
                &told,
                parts(&labelled, unlabelled, fold, &told)?,
                &devices,
                Duration::from_mins(5),
            )?;
        }
        answered.push(answers(&told, &labelled, fold, devices.first)?);
    }
    let bootstrap = Bootstrap {
        seed: recipe.seed,
        ..Bootstrap::default()
    };
    let summary = summary(&recipe.heads(), samples, &answered, bootstrap);
    let path = arguments.out.join("summary.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&summary)?)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    print!("{}", summary.table());
    Ok(())
}

/// A new run, or the one that is there already and was told the same.
fn told(
    path: &Path,
    recipe: &Recipe,
    contract: &Preprocessing,
    source: &Source,
    start: &Start,
) -> anyhow::Result<Told> {
    let run = RunFolder {
        path: path.to_owned(),
    };
    let (run, lock) = if run.source().is_ok() {
        let known = Source {
            // the table may have been moved
            labels: source.labels.clone(),
            ..run.source()?
        };
        ensure!(
            run.told()? == (recipe.clone(), contract.clone()) && known == *source,
            "{} was told something else: choose another folder",
            path.display()
        );
        let lock = run.lock()?;
        (run, lock)
    } else {
        RunFolder::begin(path, recipe, contract, source, start)?
    };
    Ok(Told {
        run,
        _lock: lock,
        recipe: recipe.clone(),
        contract: contract.clone(),
        source: source.clone(),
    })
}

fn parts(labelled: &Labelled, unlabelled: usize, fold: &Fold, told: &Told) -> anyhow::Result<Parts> {
    let rest = others(fold, labelled.samples.len());
    let own = labelled.samples.select(&rest);
    let fractions = Fractions {
        train: 1.0 - told.source.validation,
        validation: told.source.validation,
        test: 0.0,
    };
    let groups: Vec<String> = rest.iter().map(|place| labelled.groups[*place].clone()).collect();
    let split = Split::new(&groups, &own.labels, fractions, told.recipe.seed)?;
    Ok(Parts {
        train: own.select(&split.train),
        validation: own.select(&split.validation),
        places: split.validation.iter().map(|place| rest[*place]).collect(),
        unreadable_images: labelled.unreadable.len(),
        unlabelled_images: unlabelled,
    })
}

/// What a fold's network says of the images that it never saw, on the scale of calibrated probabilities.
fn answers(told: &Told, labelled: &Labelled, fold: &Fold, device: Device) -> anyhow::Result<Answered> {
    let Told {
        run,
        recipe,
        contract,
        ..
    } = told;
    let (record, weights) = run.outcome()?;
    let heads = recipe.heads();
    let engine = Engine::on(device, &recipe.graph()?, &weights, recipe.threads)?;
    let normalise = |plane: &_| contract.tensor(plane);
    let test = labelled.samples.select(&fold.test);
    let answers = predict(&engine, &heads, &test, &normalise, recipe.batch)?;
    let temperatures = temperatures(&heads, &record.validation).map_err(anyhow::Error::msg)?;
    let scaled = |row: &Vec<f64>| {
        row.iter()
            .zip(&temperatures)
            .map(|(logit, own)| logit / own)
            .collect()
    };
    Ok(Answered {
        fold: fold.clone(),
        logits: answers.logits.iter().map(scaled).collect(),
    })
}

/// The cells of a column for the images that could be read.
fn values(csv: &Path, column: &str, labelled: &Labelled) -> anyhow::Result<Vec<String>> {
    let mut reader = delimited(csv)?.from_path(csv)?;
    let header = reader.headers()?.clone();
    let place = |name: &str| {
        let place = header.iter().position(|present| present.trim() == name);
        place.with_context(|| format!("{} has no column {name}", csv.display()))
    };
    let wanted = place(column)?;
    let mut cells = HashMap::new();
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        cells.insert(line, record.get(wanted).unwrap_or_default().trim().to_owned());
    }
    let of = |line: &u64| cells.get(line).cloned().filter(|cell| !cell.is_empty());
    let known: Option<Vec<String>> = labelled.lines.iter().map(of).collect();
    known.with_context(|| format!("{column} is empty for some images: each must have one"))
}

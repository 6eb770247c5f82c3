//! `osteon-train cross-validate`: a training for each fold of patients or for each site, and what they come to together.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use osteon::evaluation::interval::Bootstrap;
use osteon::image::preprocess::Preprocessing;
use osteon::runtime::Device;
use osteon::train::assess::folds::{Answered, Fold, by_group, by_site, others, summary};
use osteon::train::assess::presence::Presence;
use osteon::train::data::delimited::delimited;
use osteon::train::data::index::Labelled;
use osteon::train::data::labels::Part;
use osteon::train::data::{Fractions, Split, SplitError};
use osteon::train::export::Calibration;
use osteon::train::learn::fit::predict;
use osteon::train::learn::{Engine, Recipe};
use osteon::train::run::{FoldOf, Source};

use crate::device;
use crate::fit::{
    Parts, Table, Told, contract, diverged, read, read_recipe, said_parts, started, told, train,
};

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  osteon-train cross-validate --labels images.csv --recipe fit.json --out runs/folds --folds 5\n  osteon-train cross-validate --labels images.csv --recipe fit.json --out runs/sites --by site\n\nEach fold is a run of its own in --out; the test part of a column split takes part in none. Stopped, by whatever it was, the same command goes on. The runs can answer together: export --run runs/folds/1 --run runs/folds/2 ..."
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

/// The images that take part, and who is held out in which fold.
struct Plan {
    /// All but the table's test part.
    labelled: Labelled,
    /// For each of them its place among all that could be read.
    places: Vec<usize>,
    /// How many images have no label of the recipe.
    unlabelled: usize,
    folds: Vec<Fold>,
    /// For each of them how the images that are not in its test set are dealt out.
    splits: Vec<Split>,
}

#[expect(clippy::print_stdout, reason = "the table is what the command is run for")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut recipe = read_recipe(&arguments.recipe)?;
    let devices = arguments.device.chosen(&recipe)?;
    let start = started(&mut recipe)?;
    let contract = contract(&recipe, arguments.preprocessing.as_deref())?;
    let all = Plan::of(arguments, &recipe, &contract)?;
    let source = Source::of(&arguments.labels, arguments.validation)?;
    let mut answered = Vec::new();
    for (place, fold) in all.folds.iter().enumerate() {
        eprintln!(
            "fold {} of {}: {} images left out",
            place + 1,
            all.folds.len(),
            fold.test.len()
        );
        let own = Source {
            fold: Some(FoldOf {
                number: place + 1,
                folds: all.folds.len(),
                by: arguments.by.clone(),
            }),
            ..source.clone()
        };
        let folder = arguments.out.join((place + 1).to_string());
        let told = told(&folder, &recipe, &contract, &own, &start)?;
        let logits = if told.run.is_finished() {
            all.answers(&told, fold, devices.first)?
        } else {
            let parts = all.parts(place);
            said_parts(&recipe, &parts);
            match train(&told, &parts, &devices, Duration::from_mins(5)) {
                Ok(()) => all.answers(&told, fold, devices.first)?,
                Err(error) => Err(diverged(error)?),
            }
        };
        if let Err(reason) = &logits {
            eprintln!("fold {} has no figures: {reason}", place + 1);
        }
        answered.push(Answered {
            fold: fold.clone(),
            logits,
        });
    }
    let bootstrap = Bootstrap {
        seed: recipe.seed,
        ..Bootstrap::default()
    };
    let summary = summary(&recipe.heads(), &all.labelled.samples, &answered, bootstrap);
    let path = arguments.out.join("summary.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&summary)?)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    print!("{}", summary.table());
    let without = summary.problems().len();
    ensure!(
        without == 0,
        "{without} of {} folds have no figures",
        answered.len()
    );
    Ok(())
}

impl Plan {
    /// Reads the images, and looks whether each fold can have figures before the first of them trains.
    fn of(arguments: &Arguments, recipe: &Recipe, contract: &Preprocessing) -> anyhow::Result<Self> {
        let Table { labelled, unlabelled } = read(&arguments.labels, recipe, contract)?;
        let is_test = |place: &usize| labelled.splits[*place] == Some(Part::Test);
        let (test, places): (Vec<usize>, Vec<usize>) = (0..labelled.samples.len()).partition(is_test);
        let parts = Split {
            train: places.clone(),
            validation: Vec::new(),
            test,
        };
        parts.check(&labelled.groups)?;
        let labelled = match parts.test.len() {
            0 => labelled,
            test => {
                eprintln!("{test} images are the test part of the table's split: they take part in no fold");
                labelled.select(&places)
            }
        };
        let folds = match &arguments.by {
            Some(column) => {
                let sites = values(&arguments.labels, column, &labelled)?;
                by_site(&labelled.groups, &sites).map_err(anyhow::Error::msg)?
            }
            None => by_group(
                &labelled.samples,
                &labelled.groups,
                usize::from(arguments.folds),
                recipe.seed,
            )?,
        };
        let splits = folds
            .iter()
            .map(|fold| split(&labelled, fold, arguments.validation, recipe.seed))
            .collect::<Result<_, _>>()?;
        let all = Self {
            labelled,
            places,
            unlabelled,
            folds,
            splits,
        };
        let problems = all.problems(recipe);
        ensure!(
            problems.is_empty(),
            "not every fold can have figures: {}: choose fewer folds, hold more out in each (--validation), or find more such images",
            problems.join("; ")
        );
        Ok(all)
    }

    /// Why folds could have no figures, however their trainings end.
    fn problems(&self, recipe: &Recipe) -> Vec<String> {
        let samples = &self.labelled.samples;
        let mut problems = Vec::new();
        for (fold, split) in self.folds.iter().zip(&self.splits) {
            let mut said = |reason: &str| problems.push(format!("fold {}: {reason}", fold.name));
            if fold.test.is_empty() {
                said("no patient is left for its test set");
            }
            let cases = split.validation.iter();
            let cases = cases.map(|place| {
                (
                    samples.labels[*place].as_slice(),
                    samples.patients[*place].as_str(),
                )
            });
            for reason in Presence::of(&recipe.heads(), &cases).uncalibrated() {
                said(&reason);
            }
        }
        problems
    }

    /// The images of the training of the fold at `place`.
    fn parts(&self, place: usize) -> Parts {
        let (split, samples) = (&self.splits[place], &self.labelled.samples);
        Parts {
            train: samples.select(&split.train),
            lines: split
                .train
                .iter()
                .map(|image| self.labelled.lines[*image])
                .collect(),
            validation: samples.select(&split.validation),
            places: split.validation.iter().map(|place| self.places[*place]).collect(),
            unreadable_images: self.labelled.unreadable.len(),
            unlabelled_images: self.unlabelled,
        }
    }

    /// What a fold's network says of the images that it never saw, on the scale of calibrated probabilities; or why that scale is unknown.
    fn answers(
        &self,
        told: &Told,
        fold: &Fold,
        device: Device,
    ) -> anyhow::Result<Result<Vec<Vec<f64>>, String>> {
        let Told {
            run,
            recipe,
            contract,
            ..
        } = told;
        let (record, weights) = run.outcome()?;
        let heads = recipe.heads();
        let calibration = record
            .positive_weights(recipe)
            .and_then(|weights| Calibration::of(&heads, &record.validation, weights));
        let calibration = match calibration {
            Ok(calibration) => calibration,
            Err(reason) => return Ok(Err(reason)),
        };
        let engine = Engine::on(device, &recipe.graph()?, &weights, recipe.threads)?;
        let normalise = |plane: &_| contract.tensor(plane);
        let test = self.labelled.samples.select(&fold.test);
        let answers = predict(&engine, &heads, &test, &normalise, recipe.batch)?;
        let calibrated = |row: &Vec<f64>| calibration.apply(row);
        Ok(Ok(answers.logits.iter().map(calibrated).collect()))
    }
}

/// Deals out what is in no test set of `fold`: for the gradient, and for the choice of the epoch.
fn split(labelled: &Labelled, fold: &Fold, validation: f64, seed: u64) -> Result<Split, SplitError> {
    let rest = others(fold, labelled.samples.len());
    let fractions = Fractions {
        train: 1.0 - validation,
        validation,
        test: 0.0,
    };
    let own = |place: &usize| {
        (
            labelled.groups[*place].clone(),
            labelled.samples.labels[*place].clone(),
        )
    };
    let (groups, labels): (Vec<String>, Vec<Vec<f32>>) = rest.iter().map(own).unzip();
    let split = Split::new(&groups, &labels, fractions, seed)?;
    let among_all = |places: Vec<usize>| places.into_iter().map(|place| rest[place]).collect();
    Ok(Split {
        train: among_all(split.train),
        validation: among_all(split.validation),
        test: Vec::new(),
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

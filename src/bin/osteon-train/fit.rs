//! `osteon-train fit`: a labelled folder and a recipe become a trained network.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use osteon::finding::Task;
use osteon::image::Plane;
use osteon::image::preprocess::Preprocessing;
use osteon::train::assess::presence::Presence;
use osteon::train::data::augment::mirrored;
use osteon::train::data::index::{Labelled, labelled_rows, load};
use osteon::train::data::{LoneClass, Samples, Split, lone_classes};
use osteon::train::learn::engine::device::Devices;
use osteon::train::learn::fit::predict;
use osteon::train::learn::objective::Objective;
use osteon::train::learn::progress::names;
use osteon::train::learn::regime::Regime;
use osteon::train::learn::{Engine, FitError, Initial, Recipe, Start, TerminalProgress, Training, start};
use osteon::train::network::Matching;
use osteon::train::run::{DataRecord, RunFolder, RunLock, Source, Validation};

use crate::device;
use crate::progress::bar;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  osteon-train fit --labels phantoms/labels.csv --recipe recipes/spine-osteoporosis-phantom/fit.json --out runs/first\n  osteon-train fit --labels index/images.csv --recipe fit.json --out runs/second\n\nStopped, by whatever it was:\n  osteon-train fit --resume --out runs/first\n\nThe CSV is images.csv of an index, whose images are decoded once and then come from its cache, or has the columns file and patient.\nBeside them it has the columns of the recipe's labels, with 0, 1 or nothing, and may have split with train, validation or test.\ndocs/training.md has the rest."
)]
pub(crate) struct Arguments {
    /// The CSV; image files are relative to it. With --resume only where it was moved since
    #[arg(long, value_name = "CSV", required_unless_present = "resume")]
    labels: Option<PathBuf>,
    /// What to train and how; settings that it leaves out have their default
    #[arg(
        long,
        value_name = "JSON",
        required_unless_present = "resume",
        conflicts_with = "resume"
    )]
    recipe: Option<PathBuf>,
    /// How images become the network's input [default: grey, with border crop and padding, at the recipe's size]
    #[arg(long, value_name = "JSON", conflicts_with = "resume")]
    preprocessing: Option<PathBuf>,
    /// Which parameters move when, instead of what the recipe says: full, scratch, head, gradual or discriminative
    #[arg(long, conflicts_with = "resume")]
    regime: Option<Regime>,
    /// Weights to start from: a .safetensors or .pth file, or the folder of an earlier run
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
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
    #[arg(long, default_value_t = 0.15, value_name = "SHARE", conflicts_with = "resume")]
    validation: f64,
    /// Go on with the training in --out that was stopped, to the same weights that it would have had
    #[arg(long)]
    resume: bool,
    /// A checkpoint is made this often, and after every epoch
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    checkpoint_seconds: u64,
    #[command(flatten)]
    device: device::On,
}

/// What a training is told.
pub(crate) struct Told {
    pub(crate) run: RunFolder,
    /// Held until the training ends.
    pub(crate) _lock: RunLock,
    pub(crate) recipe: Recipe,
    pub(crate) contract: Preprocessing,
    pub(crate) source: Source,
}

fn matching(text: &str) -> Result<Matching, String> {
    match text {
        "names" => Ok(Matching::Names),
        "order" => Ok(Matching::Order),
        _ => Err("it must be names or order".to_owned()),
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (told, parts, devices) = if arguments.resume {
        resumed(arguments)?
    } else {
        begun(arguments)?
    };
    said_parts(&told.recipe, &parts);
    train(
        &told,
        &parts,
        &devices,
        Duration::from_secs(arguments.checkpoint_seconds),
    )?;
    eprintln!("next: osteon-train export");
    Ok(())
}

fn begun(arguments: &Arguments) -> anyhow::Result<(Told, Parts, Devices)> {
    let (Some(labels), Some(path)) = (&arguments.labels, &arguments.recipe) else {
        bail!("--labels and --recipe are needed");
    };
    let mut recipe = read_recipe(path)?;
    if let Some(regime) = arguments.regime {
        recipe.regime = regime;
    }
    if let Some(file) = &arguments.init {
        let told = recipe.initial.take().unwrap_or_default();
        recipe.initial = Some(Initial {
            file: file.clone(),
            matching: arguments.init_matching.unwrap_or(told.matching),
            stages: arguments.init_stages.or(told.stages),
            ..told
        });
    }
    recipe.check()?;
    RunFolder::vacant(&arguments.out)?;
    let devices = arguments.device.chosen(&recipe)?;
    let start = started(&mut recipe)?;
    let contract = contract(&recipe, arguments.preprocessing.as_deref())?;
    let source = Source::of(labels, arguments.validation)?;
    // a table that cannot be used leaves no folder behind
    let parts = held_out(&source, &recipe, &contract)?;
    let lacking = Presence::of_samples(&recipe.heads(), &parts.validation).uncalibrated();
    if !lacking.is_empty() {
        said_parts(&recipe, &parts);
        bail!(
            "no package could come of it, because {}: hold more patients out (--validation), find more such images, or leave the question out of the recipe",
            lacking.join("; ")
        );
    }
    let (run, lock) = RunFolder::begin(&arguments.out, &recipe, &contract, &source, &start)?;
    let told = Told {
        run,
        _lock: lock,
        recipe,
        contract,
        source,
    };
    Ok((told, parts, devices))
}

/// Where a training by `recipe` starts. The recipe keeps the file's name and digest only: what is written down names no folder of this
/// machine.
pub(crate) fn started(recipe: &mut Recipe) -> anyhow::Result<Start> {
    let start = start(recipe)?;
    if let (Some(initial), Some(origin)) = (&mut recipe.initial, &start.origin) {
        initial.file = PathBuf::from(&origin.file);
        initial.sha256 = Some(origin.sha256.clone());
        eprintln!("initial weights from {}: {}", origin.file, origin.report);
    }
    Ok(start)
}

fn resumed(arguments: &Arguments) -> anyhow::Result<(Told, Parts, Devices)> {
    let (out, moved) = (&arguments.out, arguments.labels.as_deref());
    let run = RunFolder { path: out.to_owned() };
    ensure!(
        !run.is_finished(),
        "{} is finished: there is nothing to go on with",
        out.display()
    );
    let (recipe, contract) = run.told().context("there is nothing to go on with")?;
    let source = run.source()?;
    if let Some(fold) = &source.fold {
        bail!(
            "{} is a fold of a cross-validation, and its patients are others than those that fit would hold out: go on by the command that began it, osteon-train cross-validate {} with its --labels, --recipe and --out",
            out.display(),
            match &fold.by {
                Some(column) => format!("--by {column}"),
                None => format!("--folds {}", fold.folds),
            }
        );
    }
    let devices = arguments.device.chosen(&recipe)?;
    let lock = run.lock()?;
    let source = source
        .found(moved)
        .context("the training cannot go on (--labels says where its table was moved to)")?;
    if moved.is_some() {
        run.set_source(&source)?;
    }
    match run.checkpoints(Duration::ZERO).standing()? {
        Some(standing) => eprintln!(
            "going on with epoch {}, step {}",
            standing.epoch + 1,
            standing.step + 1
        ),
        None => eprintln!("stopped before its first checkpoint: from the beginning"),
    }
    let parts = held_out(&source, &recipe, &contract)?;
    let told = Told {
        run,
        _lock: lock,
        recipe,
        contract,
        source,
    };
    Ok((told, parts, devices))
}

/// A new run, or the one that is there already and was told the same, finished or not: for commands of several runs.
pub(crate) fn told(
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

/// Trains, or goes on with what was trained before, and puts what came of it into the run.
pub(crate) fn train(told: &Told, parts: &Parts, devices: &Devices, every: Duration) -> anyhow::Result<()> {
    let Told {
        run,
        recipe,
        contract,
        source,
        ..
    } = told;
    let Parts {
        train, validation, ..
    } = parts;
    let normalise = |plane: &_| contract.tensor(plane);
    let mut log = run.log()?;
    let mut progress = (TerminalProgress::new(recipe), &mut log);
    let training = Training {
        recipe,
        train,
        validation,
        normalise: &normalise,
        devices,
    };
    let weights = run.initial_weights(recipe)?;
    let outcome = training.run(weights.as_ref(), Some(&run.checkpoints(every)), &mut progress)?;
    drop(weights);
    if let Some(failure) = log.failure() {
        eprintln!("the log is not complete: {failure}");
    }
    let engine = Engine::on(devices.first, &outcome.graph, &outcome.weights, recipe.threads)?;
    let answers = predict(&engine, &recipe.heads(), validation, &normalise, recipe.batch)?;
    let mirror = |plane: &Plane| contract.tensor(&mirrored(plane));
    let of_mirrored = if recipe.augmentation.horizontal_flip.allows_all() {
        Some(predict(
            &engine,
            &recipe.heads(),
            validation,
            &mirror,
            recipe.batch,
        )?)
    } else {
        None
    };
    let data = DataRecord {
        labels_sha256: source.labels_sha256.clone(),
        training_images: train.len(),
        validation_images: validation.len(),
        unreadable_images: parts.unreadable_images,
        unlabelled_images: Some(parts.unlabelled_images),
        positive_weights: Objective::new(&recipe.heads(), recipe.loss, &train.labels).positive_weights(),
    };
    run.finish(
        &outcome,
        data,
        Validation::of(validation, parts.places.clone(), answers, of_mirrored),
    )?;
    crate::plot::run(&run.path)?;
    let best = &outcome.history[outcome.best_epoch];
    eprintln!("kept {}", best.line(&names(recipe)));
    eprintln!("{} holds the run", run.path.display());
    Ok(())
}

/// What the numbers of one of several trainings came to, which says nothing of the others; all else stops them, too.
pub(crate) fn diverged(error: anyhow::Error) -> anyhow::Result<String> {
    match error.downcast_ref() {
        Some(FitError::Diverged { .. } | FitError::NothingToValidate) => Ok(error.to_string()),
        _ => Err(error),
    }
}

/// Says how many images and patients of each answer train and are held out.
pub(crate) fn said_parts(recipe: &Recipe, parts: &Parts) {
    let (train, held_out) = (&parts.train, &parts.validation);
    eprintln!(
        "{} images for training, {} of other patients held out",
        train.len(),
        held_out.len()
    );
    let [train, held_out] = [train, held_out].map(|part| Presence::of_samples(&recipe.heads(), part));
    eprint!(
        "{}",
        Presence::table(&[("training", &train), ("held out", &held_out)])
    );
}

/// The images of a training.
pub(crate) struct Parts {
    /// For the gradient.
    pub(crate) train: Samples,
    /// For each of them its line in the table.
    pub(crate) lines: Vec<u64>,
    /// Of the patients who are held out.
    pub(crate) validation: Samples,
    /// Places of those among all that could be read.
    pub(crate) places: Vec<usize>,
    /// How many could not be read.
    pub(crate) unreadable_images: usize,
    /// How many have no label of the recipe.
    pub(crate) unlabelled_images: usize,
}

/// Reads the images and holds patients out.
pub(crate) fn held_out(source: &Source, recipe: &Recipe, contract: &Preprocessing) -> anyhow::Result<Parts> {
    let Table { labelled, unlabelled } = read(&source.labels, recipe, contract)?;
    let samples = &labelled.samples;
    for LoneClass { label, present } in lone_classes(&labelled.groups, &samples.labels) {
        let heads = recipe.heads();
        let Some(placed) = heads.placed().find(|placed| placed.labels.contains(&label)) else {
            continue;
        };
        let (name, value) = match placed.head.task {
            Task::Binary | Task::Multilabel => (&recipe.labels[label], u8::from(present).to_string()),
            Task::Multiclass | Task::Ordinal if present => (&placed.head.name, recipe.labels[label].clone()),
            _ => continue,
        };
        eprintln!(
            "label {name}: one patient alone has the value {value}, which cannot be in training and in validation"
        );
    }
    let elsewhere = labelled.splits.iter().filter(|part| part.is_none()).count();
    if elsewhere > 0 && elsewhere < samples.len() {
        eprintln!(
            "{elsewhere} images are of patients of whom the column split says nothing: they are for training"
        );
    }
    let split = Split::given(
        &labelled.splits,
        &labelled.groups,
        &samples.labels,
        source.validation,
        source.split_seed.unwrap_or(recipe.seed),
    )?;
    Ok(Parts {
        train: samples.select(&split.train),
        lines: split.train.iter().map(|image| labelled.lines[*image]).collect(),
        validation: samples.select(&split.validation),
        places: split.validation,
        unreadable_images: labelled.unreadable.len(),
        unlabelled_images: unlabelled,
    })
}

/// Reads a recipe.
pub(crate) fn read_recipe(path: &Path) -> anyhow::Result<Recipe> {
    Recipe::from_json(&text(path)?).with_context(|| format!("{} is not usable", path.display()))
}

/// The contract in a file, or the usual one at the recipe's size.
pub(crate) fn contract(recipe: &Recipe, path: Option<&Path>) -> anyhow::Result<Preprocessing> {
    let contract = if let Some(path) = path {
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
    Ok(contract)
}

/// What a recipe's training has of a table.
pub(crate) struct Table {
    /// The images with a label of the recipe.
    pub(crate) labelled: Labelled,
    /// How many have none, and were not read.
    pub(crate) unlabelled: usize,
}

/// Reads those images of a table that have a label of the recipe, with a bar, and says what is left out.
pub(crate) fn read(csv: &Path, recipe: &Recipe, contract: &Preprocessing) -> anyhow::Result<Table> {
    let (rows, unlabelled) = labelled_rows(csv, &recipe.heads().columns())?;
    if unlabelled > 0 {
        eprintln!(
            "{} of {} images have a label of this recipe: the others are left out",
            rows.len(),
            rows.len() + unlabelled
        );
    }
    let alone = rows.iter().filter(|row| row.without_patient).count();
    if alone > 0 {
        eprintln!(
            "{alone} images have no patient: each counts as a patient of its own, and one patient's images may come to stand on both sides of the split; fill the column patient"
        );
    }
    let progress = bar("reading", rows.len() as u64);
    let labelled = load(csv, rows, contract, || progress.inc(1))?;
    progress.finish_and_clear();
    for (file, cause) in &labelled.unreadable {
        eprintln!("left out: {}: {cause}", file.display());
    }
    check_parts(csv, recipe, &labelled.samples)?;
    Ok(Table { labelled, unlabelled })
}

/// Where flips are by body part, the table has to say what images show.
fn check_parts(csv: &Path, recipe: &Recipe, samples: &Samples) -> anyhow::Result<()> {
    let Some(named) = recipe.augmentation.horizontal_flip.parts() else {
        return Ok(());
    };
    let present: BTreeSet<&str> = samples.body_parts.iter().flatten().map(AsRef::as_ref).collect();
    ensure!(
        !present.is_empty(),
        "the recipe's horizontal_flip is by body part, and {} has no column body_part with anything in it: add it, as an index has it, or write true or false",
        csv.display()
    );
    let unmet: Vec<&str> = named.filter(|part| !present.contains(part)).collect();
    if !unmet.is_empty() {
        let list = |parts: &mut dyn Iterator<Item = &str>| parts.collect::<Vec<_>>().join(", ");
        eprintln!(
            "horizontal_flip names {}, which no image shows: the column body_part has {}",
            list(&mut unmet.into_iter()),
            list(&mut present.into_iter())
        );
    }
    Ok(())
}

pub(crate) fn text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

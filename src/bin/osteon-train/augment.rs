//! `osteon-train augment`: what a recipe does to training images, and what it is worth.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use osteon::train::assess::ablate::{Arm, Watch, ablate, caution, table};
use osteon::train::data::augment::sheet::{Shown, sheet};
use osteon::train::data::index::{may_be_shown, rows};
use osteon::train::learn::{Progress, Recipe, TerminalProgress, Training};
use osteon::train::run::Source;

use crate::device;
use crate::fit::{Parts, contract, held_out, read_recipe, said_parts};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Draw a contact sheet: training images, and what the first epochs will see of them
    Preview {
        #[command(flatten)]
        told: Told,
        /// The sheet
        #[arg(long, value_name = "PNG")]
        out: PathBuf,
        /// Images
        #[arg(long, default_value_t = 4, value_name = "COUNT")]
        images: usize,
        /// Epochs
        #[arg(long, default_value_t = 5, value_name = "COUNT")]
        epochs: usize,
    },
    /// Say in words what each setting of a recipe does
    Explain {
        /// The recipe
        #[arg(long, value_name = "JSON")]
        recipe: PathBuf,
    },
    /// Train without each setting in turn, and say what it is worth on the held-out patients
    Ablate {
        #[command(flatten)]
        told: Told,
        /// The figures, written after each training
        #[arg(long, value_name = "JSON")]
        out: PathBuf,
        #[command(flatten)]
        device: device::On,
    },
}

#[derive(clap::Args)]
struct Told {
    /// The CSV; image files are relative to it
    #[arg(long, value_name = "CSV")]
    labels: PathBuf,
    /// What to train and how
    #[arg(long, value_name = "JSON")]
    recipe: PathBuf,
    /// How images become the network's input [default: as fit does it]
    #[arg(long, value_name = "JSON")]
    preprocessing: Option<PathBuf>,
    /// Share of the patients that is held out
    #[arg(long, default_value_t = 0.15, value_name = "SHARE")]
    validation: f64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.command {
        Command::Preview {
            told,
            out,
            images,
            epochs,
        } => preview(told, out, *images, *epochs),
        Command::Explain { recipe } => explain(recipe),
        Command::Ablate { told, out, device } => compare(told, out, device),
    }
}

fn source(told: &Told) -> anyhow::Result<Source> {
    Ok(Source::of(&told.labels, told.validation)?)
}

fn preview(told: &Told, out: &Path, images: usize, epochs: usize) -> anyhow::Result<()> {
    let recipe = read_recipe(&told.recipe)?;
    let contract = contract(&recipe, told.preprocessing.as_deref())?;
    let parts = held_out(&source(told)?, &recipe, &contract)?;
    let places = showable(&told.labels, &parts, images.max(1))?;
    let train = &parts.train;
    let planes = places.iter().map(|place| Ok(train.images[*place].plane()?));
    let planes = planes.collect::<anyhow::Result<Vec<_>>>()?;
    let shown: Vec<Shown<'_>> = planes
        .iter()
        .zip(places)
        .map(|(plane, place)| Shown {
            place,
            plane: plane.as_ref(),
            part: train.body_parts[place].as_deref(),
        })
        .collect();
    let picture = sheet(&recipe.augmentation, &shown, recipe.seed, epochs);
    let png = picture.png().map_err(anyhow::Error::msg)?;
    std::fs::write(out, png).with_context(|| format!("{} cannot be written", out.display()))?;
    eprintln!("{} shows it", out.display());
    Ok(())
}

/// The first training images that people may be shown, at most so many.
fn showable(csv: &Path, parts: &Parts, most: usize) -> anyhow::Result<Vec<usize>> {
    let rows = rows(csv, &[], &[])?;
    let (mut places, mut hidden) = (Vec::new(), 0);
    for (place, line) in parts.lines.iter().enumerate() {
        let row = rows.binary_search_by_key(line, |row| row.line);
        if row.is_ok_and(|row| may_be_shown(&rows[row])) {
            places.push(place);
        } else {
            hidden += 1;
        }
        if places.len() == most {
            break;
        }
    }
    if hidden > 0 {
        eprintln!("{hidden} images are passed over: something may be written in their pixels");
    }
    ensure!(
        !places.is_empty(),
        "none of the {} training images may be shown, because something may be written in their pixels, such as a patient's name",
        parts.train.len()
    );
    Ok(places)
}

#[expect(clippy::print_stdout, reason = "the words are what the command is run for")]
fn explain(recipe: &Path) -> anyhow::Result<()> {
    for (name, text) in read_recipe(recipe)?.augmentation.explain() {
        println!("{name:<16}  {text}");
    }
    Ok(())
}

/// Keeps the figures of each training as soon as there are any.
struct Kept<'a> {
    file: &'a Path,
    recipe: &'a Recipe,
}

impl Watch for Kept<'_> {
    fn begin(&mut self, without: Option<&str>, number: usize, all: usize) -> Box<dyn Progress> {
        match without {
            Some(name) => eprintln!("training {number} of {all}: without {name}"),
            None => eprintln!("training {number} of {all}: by the whole recipe"),
        }
        Box::new(TerminalProgress::new(self.recipe))
    }

    fn done(&mut self, arms: &[Arm]) -> std::io::Result<()> {
        std::fs::write(self.file, serde_json::to_vec_pretty(arms)?)
    }
}

/// That figures can be kept in `file` is known before the first of them.
fn check_writable(file: &Path) -> anyhow::Result<()> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let opened = std::fs::create_dir_all(folder).and_then(|()| {
        let mut options = std::fs::OpenOptions::new();
        options.create(true).append(true).open(file)
    });
    opened.with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the table is what the command is run for")]
fn compare(told: &Told, out: &Path, device: &device::On) -> anyhow::Result<()> {
    check_writable(out)?;
    let recipe = read_recipe(&told.recipe)?;
    let devices = device.chosen(&recipe)?;
    let contract = contract(&recipe, told.preprocessing.as_deref())?;
    let parts = held_out(&source(told)?, &recipe, &contract)?;
    let normalise = |plane: &_| contract.tensor(plane);
    let training = Training {
        recipe: &recipe,
        train: &parts.train,
        validation: &parts.validation,
        normalise: &normalise,
        devices: &devices,
    };
    said_parts(&recipe, &parts);
    let arms = ablate(
        &training,
        &mut Kept {
            file: out,
            recipe: &recipe,
        },
    )?;
    print!("{}", table(&arms, &recipe.labels));
    eprintln!("{}", caution(&arms));
    Ok(())
}

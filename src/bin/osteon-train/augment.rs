//! `osteon-train augment`: what a recipe does to training images, and what it is worth.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use osteon::train::data::augment::sheet::{Shown, sheet};
use osteon::train::data::index::{may_be_shown, rows};
use osteon::train::run::Source;

use crate::ablate;
use crate::fit::{Parts, contract, held_out, read_recipe};

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
    /// Train without each setting in turn, with several seeds, and say what it is worth on the held-out patients
    Ablate(ablate::Arguments),
}

#[derive(clap::Args)]
pub(crate) struct Told {
    /// The CSV; image files are relative to it
    #[arg(long, value_name = "CSV")]
    pub(crate) labels: PathBuf,
    /// What to train and how
    #[arg(long, value_name = "JSON")]
    pub(crate) recipe: PathBuf,
    /// How images become the network's input [default: as fit does it]
    #[arg(long, value_name = "JSON")]
    pub(crate) preprocessing: Option<PathBuf>,
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
        Command::Ablate(arguments) => ablate::run(arguments),
    }
}

impl Told {
    pub(crate) fn source(&self) -> anyhow::Result<Source> {
        Ok(Source::of(&self.labels, self.validation)?)
    }
}

fn preview(told: &Told, out: &Path, images: usize, epochs: usize) -> anyhow::Result<()> {
    let recipe = read_recipe(&told.recipe)?;
    let contract = contract(&recipe, told.preprocessing.as_deref())?;
    let parts = held_out(&told.source()?, &recipe, &contract)?;
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

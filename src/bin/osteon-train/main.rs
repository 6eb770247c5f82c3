//! `osteon-train`: trains, exports and proves radiograph classifiers, on images that name nobody. This file only dispatches.

mod ablate;
mod augment;
mod compare;
mod cross_validate;
mod deidentify;
mod device;
mod export;
mod fit;
mod gates;
mod index;
mod lr_find;
mod package;
mod phantom;
mod plot;
mod progress;
mod start;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use osteon::train::network::describe::{describe, families};

#[derive(Parser)]
#[command(
    name = "osteon-train",
    version,
    about = "Trains radiograph classifiers and proves each export before it may be served"
)]
#[command(
    after_help = "From a folder and a CSV to a served model:\n  osteon-train index    --in archive --labels labels.csv --key-file secret.key --new-key --out index\n  osteon-train start    --labels index/images.csv --out my-recipe\n  osteon-train fit      --labels index/images.csv --recipe my-recipe/fit.json --out runs/first\n  osteon-train export   --run runs/first --description my-recipe/package.json --models models --golden sample.dcm=archive/1.dcm\n  osteon-train package verify models/NAME/VERSION\n\nFrom nothing:\n  osteon-train phantom  --out phantoms --count 3000\n  osteon-train fit      --labels phantoms/labels.csv --recipe recipes/spine-osteoporosis-phantom/fit.json --out runs/first\n  osteon-train export   --run runs/first --description recipes/spine-osteoporosis-phantom/package.json --models models --golden sample.dcm=phantoms/000000.dcm"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write synthetic lateral-spine radiographs as DICOM, with labels
    Phantom(phantom::Arguments),
    /// Make a table of images that names nobody: with labels, body parts, copies and leaks found, and a cache for training
    Index(index::Arguments),
    /// Write a first recipe and a first description for a table of images
    Start(start::Arguments),
    /// Train a network on a table of labelled images
    Fit(fit::Arguments),
    /// Find the learning rate to train with
    LrFind(lr_find::Arguments),
    /// Train once for each fold of patients or for each site, and sum up
    CrossValidate(cross_validate::Arguments),
    /// Show, explain or ablate a recipe's augmentation
    Augment(augment::Arguments),
    /// Draw the log of a run, which may still be under way, as curves.svg in its folder
    Plot {
        /// Folder of the run
        run: PathBuf,
    },
    /// Compare two runs on the images that both held out
    Compare(compare::Arguments),
    /// Put a run into a model package (ONNX, goldens, card, manifest), and publish it if it passes its gates
    Export(export::Arguments),
    /// Prove a package, whoever made it
    #[command(subcommand)]
    Package(package::Command),
    /// Make copies of DICOM images that name nobody (PS3.15 Basic Profile)
    Deidentify(deidentify::Arguments),
    /// Show a recipe's network layer by layer: shapes, parameters, operations; or the networks that a recipe can name
    Describe {
        /// The recipe; without it the published networks are listed, beside which there is the small `residual`
        #[arg(long, value_name = "JSON")]
        recipe: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Phantom(arguments) => phantom::run(&arguments).map(done),
        Command::Index(arguments) => index::run(&arguments),
        Command::Start(arguments) => start::run(&arguments).map(done),
        Command::Fit(arguments) => fit::run(&arguments).map(done),
        Command::LrFind(arguments) => lr_find::run(&arguments).map(done),
        Command::CrossValidate(arguments) => cross_validate::run(&arguments).map(done),
        Command::Augment(arguments) => augment::run(&arguments).map(done),
        Command::Plot { run } => plot::run(&run).map(done),
        Command::Compare(arguments) => compare::run(&arguments).map(done),
        Command::Export(arguments) => export::run(&arguments),
        Command::Package(command) => package::run(&command),
        Command::Deidentify(arguments) => deidentify::run(&arguments),
        Command::Describe { recipe } => table(recipe.as_deref()).map(done),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("osteon-train: {error:#}");
        ExitCode::FAILURE
    })
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "the table is what the command is run for")]
fn table(recipe: Option<&std::path::Path>) -> anyhow::Result<()> {
    let Some(recipe) = recipe else {
        print!("{}", families()?);
        return Ok(());
    };
    println!("{}", describe(&fit::read_recipe(recipe)?.graph()?)?);
    Ok(())
}

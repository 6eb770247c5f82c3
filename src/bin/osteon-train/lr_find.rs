//! `osteon-train lr-find`: which learning rate to train with.

use std::path::PathBuf;

use anyhow::Context;
use osteon::train::learn::Training;
use osteon::train::learn::lr_find::RateRange;
use osteon::train::run::Source;

use crate::device;
use crate::fit::{contract, held_out, read_recipe};
use crate::plot::draw;

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  osteon-train lr-find --labels phantoms/labels.csv --recipe recipes/spine-osteoporosis-phantom/fit.json --out runs/rate\n\nWrites lr-find.svg and lr-find.json. The valley is a good schedule.peak."
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
    /// Folder for curve and numbers
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The first rate
    #[arg(long, default_value_t = 1e-7, value_name = "RATE")]
    lowest: f64,
    /// The last rate, unless the loss explodes before
    #[arg(long, default_value_t = 10.0, value_name = "RATE")]
    highest: f64,
    /// Steps between them
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(20..), value_name = "COUNT")]
    steps: u16,
    #[command(flatten)]
    device: device::On,
}

#[expect(clippy::print_stdout, reason = "the rates are what the command is run for")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(
        arguments.lowest > 0.0 && arguments.lowest < arguments.highest && arguments.highest.is_finite(),
        "--lowest and --highest must be above 0, the lower one first"
    );
    let folder = &arguments.out;
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let recipe = read_recipe(&arguments.recipe)?;
    let devices = arguments.device.chosen(&recipe)?;
    let contract = contract(&recipe, arguments.preprocessing.as_deref())?;
    let source = Source::of(&arguments.labels, 0.15)?;
    let parts = held_out(&source, &recipe, &contract)?;
    let normalise = |plane: &_| contract.tensor(plane);
    let training = Training {
        recipe: &recipe,
        train: &parts.train,
        validation: &parts.validation,
        normalise: &normalise,
        devices: &devices,
    };
    let range = RateRange {
        lowest: arguments.lowest,
        highest: arguments.highest,
        steps: usize::from(arguments.steps),
    };
    let curve = training.find_rate(None, range)?;
    std::fs::write(folder.join("lr-find.json"), serde_json::to_vec_pretty(&curve)?)?;
    draw(&[curve.chart()], &folder.join("lr-find.svg"))?;
    for (name, rate) in [("valley", curve.valley), ("steepest", curve.steepest)] {
        match rate {
            Some(rate) => println!("{name:<8}  {rate:.1e}"),
            None => println!("{name:<8}  none: the loss never fell"),
        }
    }
    Ok(())
}

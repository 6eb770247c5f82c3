//! `osteon-train package`: what can be done with a package, whoever made it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use osteon::model::Package;
use osteon::runtime::{Device, Runtime};
use osteon::train::data::index::visit;
use osteon::train::export::comparison::Comparison;
use osteon::train::export::verify::{Gate, made_of, test_set, verify};
use osteon::train::run::RunFolder;

use crate::gates::{on_held_out, print};
use crate::progress::bar;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run every gate, as a table; the exit status is 0 if none failed
    Verify(Verify),
}

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  osteon-train package verify models/spine-osteoporosis-phantom/1\n  osteon-train package verify models/mine/2 --images archive/*.dcm\n  osteon-train package verify models/mine/2 --run runs/first\n  osteon-train package verify models/mine/2 --run runs/first --labels test/labels.csv\n\nA gate that a package from elsewhere gives nothing to look at is skipped, and says what it would need. osteon models verify is\nthe server's own proof, on its device and with its signatures."
)]
pub(crate) struct Verify {
    /// Folder of the package, NAME/VERSION
    #[arg(value_name = "DIR")]
    package: PathBuf,
    /// Folder of the run that was exported, or of the runs in their order: its network and the package's are compared on the patients
    /// that it held out
    #[arg(long = "run", value_name = "DIR")]
    runs: Vec<PathBuf>,
    /// CSV of a test set to compare them on instead: of a table with a column split its part test. What the run saw is refused
    #[arg(long, value_name = "CSV", requires = "runs")]
    labels: Option<PathBuf>,
    /// Where the table of the run's images is now, if it was moved since the training; it has to be the same file
    #[arg(long, value_name = "CSV", requires = "runs")]
    run_labels: Option<PathBuf>,
    /// DICOM radiographs of the usual size: what a lower resolution of JPEG 2000 does to their scores is measured, if the model
    /// allows it
    #[arg(long, value_name = "FILE", num_args = 1..)]
    images: Vec<PathBuf>,
    /// The ONNX Runtime shared library [default: searched for]
    #[arg(long, env = "OSTEON_ONNXRUNTIME", value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
}

pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let Command::Verify(arguments) = command;
    let runtime = Runtime::open(arguments.onnxruntime.as_deref(), Device::Cpu)?;
    let mut gates = verify(&arguments.package, &arguments.images, &runtime);
    if !arguments.runs.is_empty()
        && let Ok(package) = Package::open(&arguments.package)
    {
        gates.extend(on_test_set(arguments, &package, &runtime)?);
    }
    print(&gates);
    Ok(if gates.iter().any(Gate::fails) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Both networks on the held-out patients of the run, or on a test set.
fn on_test_set(arguments: &Verify, package: &Package, runtime: &Runtime) -> anyhow::Result<Vec<Gate>> {
    let runs: Vec<RunFolder> = arguments
        .runs
        .iter()
        .map(|path| RunFolder { path: path.clone() })
        .collect();
    let answering = made_of(package, &runs).map_err(anyhow::Error::msg)?;
    let Some(csv) = &arguments.labels else {
        return on_held_out(
            &answering,
            package,
            arguments.run_labels.as_deref(),
            runtime,
            None,
        )
        .context("there are no held-out patients: name a test set by --labels");
    };
    let seen = answering
        .seen(arguments.run_labels.as_deref())
        .map_err(anyhow::Error::msg)?;
    let rows = seen.test_rows(csv, &[]).map_err(anyhow::Error::msg)?;
    let mut comparison = Comparison::new(&answering, runtime, &package.model, &package.manifest, rows.len())
        .map_err(anyhow::Error::msg)?;
    let progress = bar("comparing", rows.len() as u64);
    let mut unreadable = 0;
    visit(
        csv,
        rows,
        &package.manifest.preprocessing,
        || progress.inc(1),
        |labelled| {
            unreadable += labelled.unreadable.len();
            let added = comparison.add(&labelled.samples);
            added.map(|_| ()).map_err(anyhow::Error::msg)
        },
    )?;
    progress.finish_and_clear();
    if unreadable > 0 {
        eprintln!("{unreadable} images of the test set could not be read and were left out");
    }
    Ok(test_set(package, &comparison, runtime))
}

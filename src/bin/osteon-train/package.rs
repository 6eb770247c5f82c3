//! `osteon-train package`: what can be done with a package, whoever made it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use osteon::runtime::{Device, Runtime};
use osteon::train::export::verify::{Gate, Unmet, verify};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run every gate, as a table; the exit status is 0 if none failed
    Verify(Verify),
}

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  osteon-train package verify models/spine-osteoporosis-phantom/1\n  osteon-train package verify models/mine/2 --images archive/*.dcm\n\nA gate that a package from elsewhere gives nothing to look at is skipped, and says what it would need. osteon models verify is\nthe server's own proof, on its device and with its signatures."
)]
pub(crate) struct Verify {
    /// Folder of the package, NAME/VERSION
    #[arg(value_name = "DIR")]
    package: PathBuf,
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
    let gates = verify(&arguments.package, &arguments.images, &runtime);
    print(&gates);
    Ok(if gates.iter().any(Gate::fails) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

#[expect(clippy::print_stdout, reason = "the table is what the command is run for")]
fn print(gates: &[Gate]) {
    let width = gates.iter().map(|gate| gate.name.len()).max().unwrap_or(0);
    let (mut passed, mut failed) = (0, 0);
    for gate in gates {
        let mark = match &gate.result {
            Ok(_) => {
                passed += 1;
                "pass"
            }
            Err(Unmet::Fails(_)) => {
                failed += 1;
                "FAIL"
            }
            Err(Unmet::Lacks(_)) => "skip",
        };
        let said = match &gate.result {
            Ok(figure) => figure.clone(),
            Err(unmet) => unmet.to_string(),
        };
        println!("{mark}  {:<width$}  {said}", gate.name);
    }
    let skipped = gates.len() - passed - failed;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
}

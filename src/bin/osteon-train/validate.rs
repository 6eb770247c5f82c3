//! `osteon-train validate`: every gate on a package, as a table; anything but a pass ends with a failure.

use std::path::PathBuf;
use std::process::ExitCode;

use osteon::runtime::{Device, Runtime};
use osteon::train::export::validate::validate;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  osteon-train validate models/spine-osteoporosis-phantom/1\n  osteon-train validate models/mine/2 --images archive/*.dcm"
)]
pub(crate) struct Arguments {
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

#[expect(clippy::print_stdout, reason = "the table is what the command is run for")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let runtime = Runtime::open(arguments.onnxruntime.as_deref(), Device::Cpu)?;
    let gates = validate(&arguments.package, &arguments.images, &runtime);
    let width = gates.iter().map(|gate| gate.name.len()).max().unwrap_or(0);
    for gate in &gates {
        let (mark, text) = match &gate.result {
            Ok(figure) => ("pass", figure),
            Err(reason) => ("FAIL", reason),
        };
        println!("{mark}  {:<width$}  {text}", gate.name);
    }
    let failed = gates.iter().filter(|gate| gate.result.is_err()).count();
    println!("{} passed, {failed} failed", gates.len() - failed);
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

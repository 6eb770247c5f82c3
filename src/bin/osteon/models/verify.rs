//! `osteon models verify`: every stage of a package's proof, with what it found.

use std::path::PathBuf;
use std::process::ExitCode;

use osteon::model::onnx_format::ModelProto;
use osteon::model::{Package, Policy, Signed, Stage};
use osteon::runtime::proof::{prove, reproduce_in_pairs};
use osteon::runtime::{Device, Runtime};

use super::{Trust, folder, mebibytes};

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  osteon models verify spine-osteoporosis-phantom\n  osteon models verify hip/3 --device cuda --trusted-keys keys/ --require-signature\n\nThe exit status is 0 if every stage passed, 1 if one did not."
)]
pub(crate) struct Arguments {
    /// The model and, after a slash, its version [default: the newest]
    #[arg(value_name = "NAME[/VERSION]")]
    package: String,
    /// Folder of models
    #[arg(long, env = "OSTEON_MODELS", default_value = "models", value_name = "DIR")]
    models: PathBuf,
    /// What the model is to run on: cpu, cuda (the first GPU), cuda:1 and so on
    #[arg(long, env = "OSTEON_DEVICE", default_value_t, value_name = "DEVICE")]
    device: Device,
    /// The ONNX Runtime shared library [default: searched for]
    #[arg(long, env = "OSTEON_ONNXRUNTIME", value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
    /// Refuse a package that is not signed
    #[arg(long, env = "OSTEON_REQUIRE_SIGNATURE", requires = "trusted_keys")]
    require_signature: bool,
    /// Allow networks with loops and branches, which may run without end
    #[arg(long, env = "OSTEON_ALLOW_CONTROL_FLOW")]
    allow_control_flow: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let folder = folder(&arguments.models, &arguments.package)?;
    let policy = Policy {
        require_signature: arguments.require_signature,
        allow_control_flow: arguments.allow_control_flow,
        ..arguments.trust.policy()?
    };
    let package = match Package::open_under(&folder, &policy) {
        Ok(package) => package,
        Err(error) => return Ok(failed(error.stage(), &error.to_string())),
    };
    opened(&package);
    let runtime = Runtime::open(arguments.onnxruntime.as_deref(), arguments.device)?;
    let mut proven = match prove(&package, &runtime, 1, 1) {
        Ok(proven) => proven,
        Err(unproven) => return Ok(failed(unproven.stage, &unproven.reason)),
    };
    let goldens = &package.goldens;
    passed(
        Stage::Goldens,
        &format!(
            "{} cases on {}, at most {:.1e} off ({:.0e} is allowed)",
            goldens.cases.len(),
            runtime.device,
            proven.difference,
            goldens.tolerance
        ),
    );
    let beside = match reproduce_in_pairs(&package, &mut proven.engines) {
        Ok(difference) => difference,
        Err(unproven) => return Ok(failed(unproven.stage, &unproven.reason)),
    };
    let sizes: Vec<String> = runtime.device.buckets().iter().map(usize::to_string).collect();
    passed(
        Stage::WarmUp,
        &format!(
            "batches of {}; two at a time, at most {beside:.1e} off",
            sizes.join(", ")
        ),
    );
    Ok(ExitCode::SUCCESS)
}

/// The stages that opening has passed.
fn opened(package: &Package) {
    let manifest = &package.manifest;
    passed(
        Stage::Digest,
        &format!(
            "{} version {}, {} files, package {}",
            manifest.name,
            manifest.version,
            manifest.files.len(),
            package.digest
        ),
    );
    let signed = match &package.signed {
        Signed::No => "not signed",
        Signed::NotChecked => "signed, not checked: --trusted-keys names the public keys",
        Signed::By(key) => &format!("signed by {key}"),
    };
    passed(Stage::Signature, signed);
    if let Some(summary) = ModelProto::summary(&package.model) {
        let operators: usize = summary.operators.iter().map(|(_, count)| count).sum();
        passed(
            Stage::Header,
            &format!(
                "{}, {operators} operators, {} parameters",
                mebibytes(package.model.len() as u64),
                summary.parameters
            ),
        );
    }
}

#[expect(clippy::print_stdout, reason = "the stages are what the command is run for")]
fn passed(stage: Stage, what: &str) {
    println!("{:<10} passed  {what}", stage.name());
}

#[expect(clippy::print_stdout, reason = "the stages are what the command is run for")]
fn failed(stage: Stage, what: &str) -> ExitCode {
    // what came before has passed, or it would have been named
    for earlier in [Stage::Digest, Stage::Signature]
        .into_iter()
        .filter(|earlier| stage <= Stage::Header && *earlier < stage)
    {
        println!("{:<10} passed", earlier.name());
    }
    println!("{:<10} FAILED  {what}", stage.name());
    ExitCode::FAILURE
}

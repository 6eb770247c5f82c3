//! `osteon models inspect`: manifest and network of a package, for people.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use osteon::model::onnx_format::{ModelProto, Summary};
use osteon::model::{ModelManifest, Package, Policy};

use super::folder;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  osteon models inspect spine-osteoporosis-phantom\n  osteon models inspect hip/3 --models /models"
)]
pub(crate) struct Arguments {
    /// The model and, after a slash, its version [default: the newest]
    #[arg(value_name = "NAME[/VERSION]")]
    package: String,
    /// Folder of models
    #[arg(long, env = "OSTEON_MODELS", default_value = "models", value_name = "DIR")]
    models: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let folder = folder(&arguments.models, &arguments.package)?;
    let lenient = Policy {
        allow_control_flow: true,
        ..Policy::default()
    };
    let package = Package::open_under(&folder, &lenient)?;
    let summary = ModelProto::summary(&package.model).context("the network cannot be read")?;
    described(&package.manifest, &package.digest);
    network(&summary);
    Ok(ExitCode::SUCCESS)
}

#[expect(
    clippy::print_stdout,
    reason = "the description is what the command is run for"
)]
fn line(name: &str, what: impl std::fmt::Display) {
    println!("{name:<14} {what}");
}

fn described(manifest: &ModelManifest, digest: &str) {
    let intended = &manifest.intended_use;
    line(
        "model",
        format_args!("{} version {}", manifest.name, manifest.version),
    );
    line("title", &manifest.title);
    line("notice", &manifest.notice);
    line("licence", &manifest.licence);
    line("digest", digest);
    line("intended use", &intended.statement);
    line("clinical use", if intended.clinical { "yes" } else { "no" });
    line("modalities", intended.modalities.join(", "));
    line("body parts", intended.body_parts.join(", "));
    line("views", intended.views.join(", "));
    let [youngest, oldest] = intended.age_years;
    line("age", format_args!("{youngest} to {oldest} years"));
    for head in &manifest.heads {
        let task = format!("{:?}", head.task).to_lowercase();
        line("head", format_args!("{} ({task})", head.name));
        for label in &head.labels {
            let threshold = label
                .threshold
                .map_or_else(String::new, |threshold| format!(", threshold {threshold}"));
            let code = &label.code;
            line(
                "  label",
                format_args!(
                    "{} ({} {} {}{threshold})",
                    label.name, code.scheme, code.value, code.meaning
                ),
            );
        }
    }
    let contract = &manifest.preprocessing;
    line(
        "input",
        format_args!(
            "{} rows, {} columns, {} channels",
            contract.rows, contract.columns, contract.channels
        ),
    );
    if let Some(reduced) = manifest.reduced_precision {
        line(
            "precision",
            format_args!(
                "{}: AUROC within {}, calibration error within {}, {} of decisions changed on {} images",
                reduced.format.name(),
                reduced.area,
                reduced.calibration_error,
                reduced.decisions_changed,
                reduced.images
            ),
        );
    }
    for (name, value) in &manifest.lineage {
        line("lineage", format_args!("{name}: {value}"));
    }
}

fn network(summary: &Summary) {
    let sets: Vec<String> = summary
        .operator_sets
        .iter()
        .map(|(domain, version)| format!("{domain} {version}"))
        .collect();
    line(
        "ONNX",
        format_args!(
            "operator set {}, file format {}, by {}",
            sets.join(", "),
            summary.ir_version,
            summary.producer
        ),
    );
    for input in &summary.inputs {
        line("  takes", input);
    }
    for output in &summary.outputs {
        line("  gives", output);
    }
    line("  parameters", summary.parameters);
    let operators: Vec<String> = summary
        .operators
        .iter()
        .map(|(operator, count)| format!("{operator} {count}"))
        .collect();
    line("  operators", operators.join(", "));
    for (name, value) in &summary.metadata {
        let short: String = value.chars().take(80).collect();
        let rest = if short.len() < value.len() { " ..." } else { "" };
        line("  metadata", format_args!("{name}: {short}{rest}"));
    }
}

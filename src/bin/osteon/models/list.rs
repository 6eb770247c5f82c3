//! `osteon models list`: a table of every package.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use osteon::model::package::{UNDESCRIBED, Unreadable};
use osteon::model::{Package, PackageError, Policy, Signed};

use super::{Trust, mebibytes};

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  osteon models list\n  osteon models list --models /models --trusted-keys keys/"
)]
pub(crate) struct Arguments {
    /// Folder of models
    #[arg(long, env = "OSTEON_MODELS", default_value = "models", value_name = "DIR")]
    models: PathBuf,
    #[command(flatten)]
    trust: Trust,
}

const HEADINGS: [&str; 8] = [
    "NAME", "VERSION", "TASK", "LABELS", "SIZE", "DIGEST", "SIGNED", "LICENCE",
];

#[expect(clippy::print_stdout, reason = "the table is what the command is run for")]
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let policy = arguments.trust.policy()?;
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    let mut refused = Vec::new();
    let survey = Package::survey(&arguments.models)?;
    for folder in survey.packages {
        match row(&folder, &policy) {
            Ok(row) => rows.push(row),
            Err(error) => refused.push(format!("{}: {error}", folder.display())),
        }
    }
    for folder in survey.undescribed {
        refused.push(format!("{}: {UNDESCRIBED}", folder.display()));
    }
    for Unreadable { folder, source } in survey.unreadable {
        refused.push(format!("{}: it cannot be read: {source}", folder.display()));
    }
    let widths = [0, 1, 2, 3, 4, 5, 6, 7].map(|column: usize| {
        let lengths = rows
            .iter()
            .map(|row| row.get(column).map_or(0, |cell| cell.chars().count()));
        lengths.max().unwrap_or(0)
    });
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        println!("{}", cells.join("  ").trim_end());
    }
    for refused in &refused {
        println!("refused  {refused}");
    }
    Ok(ExitCode::SUCCESS)
}

fn row(folder: &Path, policy: &Policy) -> Result<[String; 8], PackageError> {
    let package = Package::open_under(folder, policy)?;
    let manifest = &package.manifest;
    let size: u64 = manifest
        .files
        .keys()
        .filter_map(|name| Some(folder.join(name).metadata().ok()?.len()))
        .sum();
    let mut tasks: Vec<String> = manifest
        .heads
        .iter()
        .map(|head| format!("{:?}", head.task).to_lowercase())
        .collect();
    tasks.dedup();
    let labels: Vec<&str> = manifest.labels().map(|label| label.name.as_str()).collect();
    Ok([
        manifest.name.clone(),
        manifest.version.to_string(),
        tasks.join(","),
        labels.join(","),
        mebibytes(size),
        package.digest.chars().take(12).collect(),
        match package.signed {
            Signed::No => "no".to_owned(),
            Signed::NotChecked => "not checked".to_owned(),
            Signed::By(key) => format!("by {key}"),
        },
        manifest.licence.clone(),
    ])
}

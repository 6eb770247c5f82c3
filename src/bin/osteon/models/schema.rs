//! `osteon models schema`: the JSON schema of `manifest.json`.

use std::process::ExitCode;

use osteon::model::ModelManifest;

#[expect(clippy::print_stdout, reason = "the schema is what the command is run for")]
pub(super) fn run() -> anyhow::Result<ExitCode> {
    println!("{}", serde_json::to_string_pretty(&ModelManifest::schema())?);
    Ok(ExitCode::SUCCESS)
}

//! `osteon models`: what lies in the models folder, without a server.

mod import;
mod inspect;
mod list;
mod schema;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use osteon::model::{Package, Policy, TrustedKeys};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the packages of a models folder
    List(list::Arguments),
    /// Check a package as the server would before serving it, and show each stage
    Verify(verify::Arguments),
    /// Show a package for people: manifest and network
    Inspect(inspect::Arguments),
    /// Make a package of a network from elsewhere
    Import(Box<import::Arguments>),
    /// Write the JSON schema of manifest.json
    Schema,
}

pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(arguments) => list::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Inspect(arguments) => inspect::run(arguments),
        Command::Import(arguments) => import::run(arguments),
        Command::Schema => schema::run(),
    }
}

/// Whose signatures count.
#[derive(clap::Args)]
struct Trust {
    /// Public keys, as `minisign -G` writes them
    #[arg(long, env = "OSTEON_TRUSTED_KEYS", value_name = "FILE_OR_DIR")]
    trusted_keys: Option<PathBuf>,
}

impl Trust {
    fn policy(&self) -> anyhow::Result<Policy> {
        let trusted = self
            .trusted_keys
            .as_deref()
            .map(|place| TrustedKeys::read(place).map_err(anyhow::Error::msg))
            .transpose()?
            .unwrap_or_default();
        Ok(Policy {
            trusted,
            ..Policy::default()
        })
    }
}

/// The folder of `NAME/VERSION`, or of the newest version of `NAME`.
fn folder(models: &Path, package: &str) -> anyhow::Result<PathBuf> {
    let version = |folder: &PathBuf| -> Option<u32> { folder.file_name()?.to_str()?.parse().ok() };
    let name = |folder: &Path| Some(folder.parent()?.file_name()?.to_string_lossy().into_owned());
    let (wanted, pinned) = match package.split_once('/') {
        Some((name, version)) => (name, Some(version)),
        None => (package, None),
    };
    let folders = Package::survey(models)?.packages;
    let of_model = folders
        .iter()
        .filter(|folder| name(folder).as_deref() == Some(wanted));
    let found = match pinned {
        Some(pinned) => of_model
            .clone()
            .find(|folder| folder.file_name().is_some_and(|name| name == pinned)),
        None => of_model.clone().max_by_key(|folder| version(folder)),
    };
    found.cloned().ok_or_else(|| {
        let shown = models.display();
        if of_model.count() > 0 {
            return anyhow::anyhow!(
                "{wanted} has no such version in {shown}: `osteon models list` shows them"
            );
        }
        let mut names: Vec<String> = folders.iter().filter_map(|folder| name(folder)).collect();
        names.dedup();
        anyhow::anyhow!(
            "there is no model {wanted} in {shown}: it has {}",
            names.join(", ")
        )
    })
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

//! `osteon store`: whether what is stored agrees with itself, and what nobody needs any more.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use osteon::config::Places;
use osteon::store::{Store, StoreReport};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Prove that rows and images agree; nothing is changed
    #[command(
        after_help = "Examples:\n  osteon store check\n  osteon store check --deep --database postgres://osteon@db/osteon --objects s3://osteon\n\nThe exit status is 0 if everything agrees, 2 if anything does not."
    )]
    Check(Check),
    /// Remove images that no row names, as the server does every hour
    Sweep(Sweep),
}

#[derive(clap::Args)]
pub(crate) struct Check {
    /// Also read every image and compare it with its digest
    #[arg(long)]
    deep: bool,
    #[command(flatten)]
    places: Places,
}

#[derive(clap::Args)]
pub(crate) struct Sweep {
    /// Only those that are older; senders need less than a minute from storing an image to naming it
    #[arg(long, default_value_t = 3600, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(60..))]
    older_than: u64,
    #[command(flatten)]
    places: Places,
}

/// Opens the store that a server with these settings has.
pub(crate) async fn open(places: Places) -> anyhow::Result<Store> {
    let settings = places.resolve()?;
    if let Some(file) = settings.database.file().filter(|file| !file.exists()) {
        // a misspelt folder would become a new, empty store
        anyhow::bail!(
            "there is no database {}: name the server's with --data or --database",
            file.display()
        );
    }
    Store::open(&settings).await.with_context(|| {
        format!(
            "the store cannot be opened (database {}, objects {})",
            settings.database, settings.objects
        )
    })
}

pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check(arguments) => check(arguments).await,
        Command::Sweep(arguments) => sweep(arguments).await,
    }
}

async fn check(arguments: Check) -> anyhow::Result<ExitCode> {
    let store = open(arguments.places).await?;
    let bar = ProgressBar::new(store.kept_instances().await?);
    let style = "{bar:40} {pos} of {len} images  {per_sec}  {eta} left";
    bar.set_style(ProgressStyle::with_template(style)?);
    let report = store.check(arguments.deep, || bar.inc(1)).await?;
    bar.finish_and_clear();
    say(&report, arguments.deep);
    Ok(if report.disagreements.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}

#[expect(clippy::print_stdout, reason = "the report is what the command is run for")]
fn say(report: &StoreReport, deep: bool) {
    let how = if deep {
        "read and compared with their digests"
    } else {
        "there"
    };
    println!("{} instances, whose images must be {how}", report.instances);
    println!(
        "{} objects, {:.1} MiB; {} of them no row names (a crash or the retention policy left them; the sweeper removes them)",
        report.objects,
        report.bytes as f64 / f64::from(1 << 20),
        report.orphans
    );
    for disagreement in &report.disagreements {
        println!("WRONG  {disagreement}");
    }
    match report.disagreements.len() {
        0 => println!("rows and images agree"),
        wrong => println!("{wrong} disagreements"),
    }
}

#[expect(clippy::print_stdout, reason = "it has to say what it did")]
async fn sweep(arguments: Sweep) -> anyhow::Result<ExitCode> {
    let store = open(arguments.places).await?;
    let swept = store.sweep(Duration::from_secs(arguments.older_than)).await?;
    println!("{} objects removed, {} bytes", swept.objects, swept.bytes);
    Ok(ExitCode::SUCCESS)
}

//! `osteon`: serves radiograph classifiers. This file only dispatches.

mod bench;
mod decode;
mod explain;
mod jobs;
mod models;
mod replay;
mod score;
mod serve;
mod store;

use std::num::NonZero;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

#[derive(Parser)]
#[command(
    name = "osteon",
    version,
    about = "Serves radiograph classifiers, from DICOM bytes to a proven score"
)]
#[command(
    after_help = "Examples:\n  osteon serve\n  osteon serve --listen 0.0.0.0:8080 --models /models --data /var/lib/osteon\n  osteon score image.dcm --heatmap heat.png"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the server
    Serve(Box<serve::Arguments>),
    /// Score files without a server
    Score(score::Arguments),
    /// Write what a stage of the way from file to network makes of an image
    Decode(decode::Arguments),
    /// List, check and describe model packages
    #[command(subcommand)]
    Models(models::Command),
    /// Measure how fast a server is, and find the settings that suit this machine
    Bench(bench::Arguments),
    /// Say what became of a study, and why
    Explain(explain::Arguments),
    /// List what waits and what was given up, and put it back
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// Make a stored result again, from the same bytes by the same model, and compare
    Replay(replay::Arguments),
    /// Check and tidy what is stored
    #[command(subcommand)]
    Store(store::Command),
    /// List the transfer syntaxes whose pixels can be decoded
    Formats,
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let ended = executor().map_err(Into::into).and_then(|runtime| {
        let ended = runtime.block_on(run(command));
        // what hangs in a proof or on a mount that is gone must not hold up the end of a server whose grace period is over
        runtime.shutdown_timeout(Duration::from_secs(1));
        ended
    });
    ended.unwrap_or_else(|error| {
        eprintln!("osteon: {error:#}");
        ExitCode::FAILURE
    })
}

/// What waits for the network, the disk and the database: a thread for every two cores. What computes has threads of its own, as many as
/// there are cores; with as many again here, both kinds were taken off their cores more often, for 3 % of a request's processor
/// time.
fn executor() -> std::io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.div_ceil(2))
        .enable_all()
        .build()
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(arguments) => serve::run(*arguments).await,
        Command::Score(arguments) => score::run(arguments).await,
        Command::Decode(arguments) => decode::run(&arguments),
        Command::Models(command) => models::run(&command),
        Command::Bench(arguments) => bench::run(arguments).await,
        Command::Explain(arguments) => explain::run(arguments).await,
        Command::Jobs(command) => jobs::run(command).await,
        Command::Replay(arguments) => replay::run(arguments).await,
        Command::Store(command) => store::run(command).await,
        Command::Formats => Ok(decode::formats()),
    }
}

//! `osteon`: serves radiograph classifiers. This file only dispatches.

mod decode;
mod models;
mod score;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    Serve(serve::Arguments),
    /// Score files without a server
    Score(score::Arguments),
    /// Write what a stage of the way from file to network makes of an image
    Decode(decode::Arguments),
    /// Make model packages
    Models(models::Arguments),
    /// List the transfer syntaxes whose pixels can be decoded
    Formats,
}

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(arguments).await,
        Command::Score(arguments) => score::run(arguments).await,
        Command::Decode(arguments) => decode::run(&arguments),
        Command::Models(arguments) => models::run(arguments),
        Command::Formats => Ok(decode::formats()),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("osteon: {error:#}");
        ExitCode::FAILURE
    })
}

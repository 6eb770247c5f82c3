//! `osteon serve`: the server, and one screen that says what to try.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use osteon::app::Server;
use osteon::config::{Config, Given};
use osteon::workflow::Role;
use tokio::signal::unix::{SignalKind, signal};

#[derive(clap::Args)]
#[command(
    after_help = "Every setting can also be given by its environment variable, or in the TOML file under the flag's name:\n\n  listen = \"127.0.0.1:8080\"\n  models = \"/models\"\n  data = \"/var/lib/osteon\"\n\nA flag wins over the environment, and that over the file."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    given: Given,
    /// A TOML file with the same settings
    #[arg(long, env = "OSTEON_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let config = Config::resolve(arguments.given, arguments.config.as_deref())?;
    osteon::telemetry::start_logging(config.log_format);
    let models = config.models.clone();
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be received")?;
    let role = config.role;
    let mut server = Server::start(config).await?;
    let stopping = server.stopping.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("server.stopping");
        stopping.cancel();
    });
    let stopping = server.stopping.clone();
    tokio::select! {
        loaded = server.loaded() => {
            loaded?;
            welcome(&server, &models, role, started);
        }
        () = stopping.cancelled() => {}
    }
    server.stopped().await?;
    Ok(ExitCode::SUCCESS)
}

/// What is served, what is not and why, and what to try next.
#[expect(
    clippy::print_stdout,
    reason = "this screen is what the command is started for"
)]
fn welcome(server: &Server, models: &std::path::Path, role: Role, started: Instant) {
    let url = format!("http://{}", server.address);
    println!(
        "\nosteon listens on {url} (ready after {} ms)\n",
        started.elapsed().as_millis()
    );
    if let Some(address) = server.dicom {
        println!("  DICOM    {address} takes C-ECHO and C-STORE");
    }
    if !role.works() {
        println!(
            "  It takes studies in, by POST {url}/dicom-web/studies; workers on the same database score them.\n"
        );
        return;
    }
    for model in server.inference.catalog().all() {
        println!(
            "  model    {} version {} on {}",
            model.manifest.name,
            model.manifest.version,
            model.device()
        );
        println!("           {}", model.manifest.notice);
    }
    for rejected in server.inference.catalog().rejected() {
        println!("  rejected {}: {}", rejected.package, rejected.reason);
    }
    let Some(model) = server.inference.catalog().all().into_iter().next() else {
        println!(
            "  There is no model to serve: put a package into {}/<name>/<version>/.",
            models.display()
        );
        return;
    };
    let name = &model.manifest.name;
    let sample = models
        .join(name)
        .join(model.manifest.version.to_string())
        .join("sample.dcm");
    if sample.is_file() {
        let sample = sample.display();
        println!("\nTry, in another terminal:\n");
        println!(
            "  curl -H 'Content-Type: application/dicom' --data-binary @{sample} \\\n       {url}/v1/models/{name}/score\n"
        );
        println!(
            "  curl -H 'Content-Type: application/dicom' --data-binary @{sample} \\\n       {url}/v1/models/{name}/heatmap -o heatmap.png\n"
        );
        println!(
            "  curl -H 'Content-Type: application/dicom' --data-binary @{sample} \\\n       {url}/dicom-web/studies && sleep 4 && curl {url}/v1/studies\n"
        );
    }
    println!("Open:  {url}/            score a file, see what arrived");
    println!("       {url}/v1/models   {url}/health/ready   {url}/metrics\n");
}

//! `osteon jobs`: what waits, what was given up, and how it is put back.

use std::process::ExitCode;

use clap::Subcommand;
use osteon::config::Places;
use osteon::dicom::StudyUid;
use osteon::store::JobRow;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the jobs that wait or run
    List(List),
    /// List the jobs that were given up, with the cause of each
    Dead(List),
    /// Put jobs that were given up back, with all their attempts before them
    #[command(
        after_help = "Examples:\n  osteon jobs retry 1.2.276.0.7230010.3.1.2.7\n  osteon jobs retry --all"
    )]
    Retry(Retry),
}

#[derive(clap::Args)]
pub(crate) struct List {
    /// How many at most
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u32,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    places: Places,
}

#[derive(clap::Args)]
pub(crate) struct Retry {
    /// The study whose analysis, deliveries or fetches were given up
    #[arg(value_name = "STUDY", required_unless_present = "all")]
    study: Option<String>,
    /// Those of every study
    #[arg(long, conflicts_with = "study")]
    all: bool,
    #[command(flatten)]
    places: Places,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(arguments) => list(arguments, false).await,
        Command::Dead(arguments) => list(arguments, true).await,
        Command::Retry(arguments) => retry(arguments).await,
    }
}

#[expect(clippy::print_stdout, reason = "the list is what the command is run for")]
async fn list(arguments: List, dead: bool) -> anyhow::Result<ExitCode> {
    let store = super::store::open(arguments.places).await?;
    let jobs = store.jobs(dead, arguments.limit).await?;
    if arguments.json {
        for job in &jobs {
            println!("{}", serde_json::to_string(job)?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if jobs.is_empty() {
        println!(
            "{}",
            if dead {
                "No job was given up."
            } else {
                "No job waits or runs."
            }
        );
    }
    for job in &jobs {
        println!("{}", line(job));
    }
    Ok(ExitCode::SUCCESS)
}

fn line(job: &JobRow) -> String {
    let with = match (&job.destination, &job.peer) {
        (Some(destination), _) => format!(" to {destination}"),
        (None, Some(peer)) => format!(" from {peer}"),
        (None, None) => String::new(),
    };
    let cause = job
        .cause
        .as_ref()
        .map(|cause| format!("\n    {cause}"))
        .unwrap_or_default();
    format!(
        "{}  {}{with}  {}, {} attempts, queued {}{cause}",
        job.study, job.kind, job.state, job.attempts, job.queued_at
    )
}

#[expect(clippy::print_stdout, reason = "it has to say what it did")]
async fn retry(arguments: Retry) -> anyhow::Result<ExitCode> {
    let study = arguments.study.as_deref().map(StudyUid::parse).transpose()?;
    let store = super::store::open(arguments.places).await?;
    let retried = match &study {
        Some(study) => store.retry_dead(study).await?,
        None => store.retry_all_dead().await?,
    };
    if let (0, Some(study)) = (retried, &study) {
        anyhow::bail!("no job of study {study} was given up: `osteon jobs dead` lists those that were");
    }
    println!("{retried} put back");
    Ok(ExitCode::SUCCESS)
}

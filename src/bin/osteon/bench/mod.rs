//! `osteon bench`: how fast a server is from DICOM bytes to scores, over its public HTTP, and which settings suit a machine.

mod child;
mod client;
mod load;
mod settings;
mod suggest;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use osteon::runtime::Devices;
use tokio::signal::unix::{SignalKind, signal};

use child::OwnServer;
use client::{Connection, Model, Target};
use load::Load;
use settings::Settings;
use suggest::Circumstances;
use table::Row;

/// So many files are sent once before anything is measured: a wrong one is found, and the server is warm.
const SENT_FIRST: usize = 32;

const EXAMPLES: &str = "Examples:
  osteon bench image.dcm                                   a server of its own on this machine
  osteon bench --url http://10.0.0.7:8080 *.dcm --json     a server that runs
  osteon bench image.dcm --concurrency 1,8 --seconds 20 --models /models --device cuda
  osteon bench *.dcm --suggest osteon.toml && osteon serve --config osteon.toml
  osteon bench *.dcm --suggest osteon.toml --concurrency 16,300     for up to 300 callers at once

Each caller sends its next image when it has the answer to its last, the files in turn. CPU and memory are those of \
the server's process, by its /metrics, whoever else may use it meanwhile: \"memory MB\" at a level's end, \"peak MB\" the \
most since the server started. \"refused\" are answers 429 and 503, \"errors\" all else that is no score; a second table \
lists both by status and code.

--suggest tries numbers of cores and, on a GPU, of instances. Where the settings that served best turned callers away, \
a longer line (queue) is tried with them, and written if more levels are served well with it.

The exit status is 0 if there was no error, 2 if there was any.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// DICOM, PNG or JPEG files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A server that runs [default: one of its own, started on a free port and ended after]
    #[arg(long, value_name = "URL")]
    url: Option<Target>,
    /// The model [default: the server's first]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// How many callers at once, one level after the other
    #[arg(long, value_delimiter = ',', default_value = "1,4,16,64", value_parser = clap::value_parser!(u16).range(1..), value_name = "N,...")]
    concurrency: Vec<u16>,
    /// How long each level lasts
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u64).range(1..=86_400), value_name = "SECONDS")]
    seconds: u64,
    /// For --suggest: the longest that 99 of 100 images may take
    #[arg(long, default_value = "2000", value_parser = clap::value_parser!(u32).range(1..), value_name = "MS")]
    p99_ms: u32,
    /// Try settings on servers of its own, and write those that served best as a configuration file
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    suggest: Option<PathBuf>,
    /// One JSON object a row
    #[arg(long)]
    json: bool,
    /// `intended-use`: score images outside the model's intended use, too
    #[arg(long = "override", value_parser = ["intended-use"], value_name = "CHECK")]
    overridden: Option<String>,
    /// For a server of its own: folder of models [default: models]
    #[arg(long, env = "OSTEON_MODELS", value_name = "DIR")]
    models: Option<PathBuf>,
    /// For a server of its own: what the models run on, as for `osteon serve` [default: cpu]
    #[arg(long, env = "OSTEON_DEVICE", value_name = "DEVICE")]
    device: Option<Devices>,
    /// For a server of its own: the ONNX Runtime shared library [default: searched for]
    #[arg(long, env = "OSTEON_ONNXRUNTIME", value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let files = arguments
        .files
        .iter()
        .map(|file| {
            Ok(std::fs::read(file)
                .with_context(|| format!("{} cannot be read", file.display()))?
                .into())
        })
        .collect::<anyhow::Result<Vec<Bytes>>>()?;
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be received")?;
    // whoever is interrupted drops its server, which ends it
    tokio::select! {
        ended = measure(arguments, files) => ended,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminate.recv() => bail!("interrupted"),
    }
}

async fn measure(arguments: Arguments, files: Vec<Bytes>) -> anyhow::Result<ExitCode> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let suggests = arguments.suggest.is_some();
    let tried: Vec<Option<Settings>> = if suggests {
        let candidates = suggest::candidates(cores, arguments.device.clone().unwrap_or_default().first());
        candidates.into_iter().map(Some).collect()
    } else {
        vec![None]
    };
    let p99_ms = f64::from(arguments.p99_ms);
    let of_server = arguments.seconds * 1000 * arguments.concurrency.len() as u64;
    let progress = progress(of_server * tried.len() as u64);
    let mut served = String::new();
    // of each server all of its levels
    let mut measured: Vec<Vec<Row>> = Vec::new();
    for settings in tried {
        let rows;
        (served, rows) = server(&arguments, &files, settings, &progress).await?;
        measured.push(rows);
    }
    if let Some(settings) = suggest::roomier(&measured, p99_ms) {
        progress.inc_length(of_server);
        let (_, rows) = server(&arguments, &files, Some(settings), &progress).await?;
        measured.push(rows);
    }
    progress.finish_and_clear();

    let failed = measured.iter().flatten().any(|row| row.errors > 0);
    let rows: Vec<Row> = if suggests {
        let typical = measured
            .iter()
            .filter_map(|levels| suggest::typical(levels, p99_ms));
        typical.cloned().collect()
    } else {
        measured.iter().flatten().cloned().collect()
    };
    print(&arguments, &served, &files, &rows, &measured)?;
    if let Some(path) = &arguments.suggest {
        let absolute = |path: &Option<PathBuf>| path.as_deref().map(std::path::absolute).transpose();
        let at = Circumstances {
            model: served,
            models: absolute(&arguments.models)?,
            onnxruntime: absolute(&arguments.onnxruntime)?,
            device: arguments.device.clone().unwrap_or_default(),
            cores,
            p99_ms,
            when: now(),
            rows: &rows,
        };
        write(path, suggest::chosen(&measured, p99_ms), &at)?;
    }
    Ok(if failed {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    })
}

/// What is served, and all levels: of the server that was named, or of one with these settings, started for them.
async fn server(
    arguments: &Arguments,
    files: &[Bytes],
    settings: Option<Settings>,
    progress: &ProgressBar,
) -> anyhow::Result<(String, Vec<Row>)> {
    let own = match &arguments.url {
        Some(_) => None,
        None => Some(OwnServer::start(arguments, settings).await?),
    };
    let target = own.as_ref().map(|own| &own.target).or(arguments.url.as_ref());
    let target = Arc::new(target.context("there is no server to measure")?.clone());
    let (model, rows) = levels(arguments, &target, files, settings, progress).await?;
    let served = format!("{} version {} on {}", model.name, model.version, model.device);
    Ok((served, rows))
}

/// All levels of one server, after each of the first files was answered once.
async fn levels(
    arguments: &Arguments,
    target: &Arc<Target>,
    files: &[Bytes],
    settings: Option<Settings>,
    progress: &ProgressBar,
) -> anyhow::Result<(Model, Vec<Row>)> {
    let mut connection = Connection::new(Arc::clone(target));
    let model = client::model(&mut connection, arguments.model.as_deref()).await?;
    let query = if arguments.overridden.is_some() {
        "?override=intended-use"
    } else {
        ""
    };
    let path = format!("/v1/models/{}/score{query}", model.name);
    for (file, name) in files.iter().zip(&arguments.files).take(SENT_FIRST) {
        let (status, body) = connection.post(&path, file.clone()).await?;
        if !status.is_success() {
            bail!(
                "{} was not scored: {}",
                name.display(),
                client::said(status, &body)
            );
        }
    }
    let load = Arc::new(Load::new(Arc::clone(target), path, files.to_vec()));
    let time = Duration::from_secs(arguments.seconds);
    let mut rows = Vec::new();
    for &callers in &arguments.concurrency {
        let before = client::usage(&mut connection).await;
        let said = settings.map_or_else(String::new, |settings| format!("{settings}, "));
        let level = format!("{said}concurrency {callers}");
        let tally = tokio::select! {
            tally = load.run(callers.into(), time) => tally,
            never = watch(progress, &load, &level, time) => match never {},
        };
        let after = client::usage(&mut connection).await;
        rows.push(Row::new(settings, callers.into(), tally, before, after));
    }
    Ok((model, rows))
}

/// A line on the standard error stream, where that is a terminal.
fn progress(milliseconds: u64) -> ProgressBar {
    let bar = ProgressBar::new(milliseconds);
    // the template is constant; were it wrong, the plain bar would do
    let style = ProgressStyle::with_template("{msg} {wide_bar} {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message("starting");
    bar
}

/// Moves the progress through one level, until it is dropped.
async fn watch(progress: &ProgressBar, load: &Load, level: &str, time: Duration) -> std::convert::Infallible {
    let (from, already) = (progress.position(), load.scored.load(Ordering::Relaxed));
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    loop {
        ticks.tick().await;
        let elapsed = started.elapsed();
        let scored = load.scored.load(Ordering::Relaxed) - already;
        let rate = scored as f64 / elapsed.as_secs_f64().max(0.001);
        progress.set_message(format!("{level}: {rate:.0} images/s"));
        progress.set_position(from + elapsed.min(time).as_millis() as u64);
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what the command is run for")]
fn print(
    arguments: &Arguments,
    served: &str,
    files: &[Bytes],
    rows: &[Row],
    measured: &[Vec<Row>],
) -> anyhow::Result<()> {
    if arguments.json {
        for row in rows {
            println!("{}", serde_json::to_string(row)?);
        }
        return Ok(());
    }
    let bytes: usize = files.iter().map(Bytes::len).sum();
    println!(
        "{served}; files: {}, {:.1} MB each on average; {} s a level\n",
        files.len(),
        bytes as f64 / 1e6 / files.len().max(1) as f64,
        arguments.seconds
    );
    print!("{}", table::text(rows));
    println!(
        "\nparse to infer: mean milliseconds by the server's own clock. CPU and memory: the server's process alone."
    );
    if arguments.url.is_none() {
        println!("The callers ran on the same machine and took their share of its cores.");
    }
    let unscored = table::unscored(&measured.concat());
    if !unscored.is_empty() {
        print!("\nNot scored:\n\n{unscored}");
    }
    Ok(())
}

/// Writes the suggestion, and says so where it disturbs no output.
fn write(path: &Path, chosen: Option<&Row>, at: &Circumstances) -> anyhow::Result<()> {
    let Some((best, settings)) = chosen.and_then(|row| Some((row, row.settings?))) else {
        bail!(
            "nothing is suggested: no setting served without refusals and errors with a p99 of at most {} ms",
            at.p99_ms
        );
    };
    let text = suggest::configuration(settings, at)?;
    std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    eprintln!(
        "{settings} served best, {:.1} images/s: start with `osteon serve --config {}`",
        best.images_per_second,
        path.display()
    );
    Ok(())
}

fn now() -> String {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    chrono::DateTime::from_timestamp(since.as_secs() as i64, 0)
        .map_or_else(String::new, |time| format!("{} UTC", time.naive_utc()))
}

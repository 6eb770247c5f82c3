//! `osteon replay`: a stored result is made again and compared.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use osteon::config::Places;
use osteon::dicom::StudyUid;
use osteon::inference::{Inference, RepositorySettings, Settings, Versions};
use osteon::runtime::{Device, Runtime};
use osteon::store::{ResultKey, ResultRow, Store};
use osteon::telemetry::metrics::Metrics;
use osteon::workflow::{Chosen, Replay, replay};

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  osteon replay 1.2.276.0.7230010.3.1.2.7\n  osteon replay 0d1f8c... --models /archive/models\n\nThe exit status is 0 if the score is the same, 2 if it is not, 1 if it cannot be made again."
)]
pub(crate) struct Arguments {
    /// The key of a result, or the Study Instance UID whose result it is
    #[arg(value_name = "RESULT")]
    result: String,
    /// Folder of models; the package that made the result must be in it, whichever version it is
    #[arg(long, env = "OSTEON_MODELS", default_value = "models", value_name = "DIR")]
    models: PathBuf,
    /// The ONNX Runtime shared library [default: searched for]
    #[arg(long, env = "OSTEON_ONNXRUNTIME", value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// What the model runs on: cpu, cuda (the first GPU), cuda:1 and so on
    #[arg(long, env = "OSTEON_DEVICE", default_value_t, value_name = "DEVICE")]
    device: Device,
    /// How far numbers may lie apart: devices and processors round differently
    #[arg(long, default_value_t = 1e-5, value_name = "DIFFERENCE")]
    tolerance: f32,
    #[command(flatten)]
    places: Places,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    osteon::telemetry::start_logging(osteon::telemetry::LogFormat::Text);
    let store = super::store::open(arguments.places).await?;
    let row = find(&store, &arguments.result).await?;
    let digest = row.model_digest.clone().with_context(|| {
        format!(
            "result {} was made by no model: the study could not be analysed",
            row.key
        )
    })?;
    let runtime = Runtime::open(arguments.onnxruntime.as_deref(), arguments.device)?;
    let settings = Settings {
        cores: 1,
        instances: 1,
        queue: 64,
        deadline: Duration::from_mins(5),
        decode_memory: usize::MAX,
    };
    let inference = Inference::new(settings, Metrics::new()?)?;
    let repository = RepositorySettings {
        versions: Versions::All,
        ..RepositorySettings::from(&arguments.models)
    };
    inference.load(repository, &runtime);
    let served = inference.catalog().all();
    let model = served
        .iter()
        .find(|model| model.digest == digest)
        .with_context(|| {
            format!(
                "{} has no package that proves itself here with the digest {digest}, which made this result",
                arguments.models.display()
            )
        })?;
    let chosen = Chosen {
        model: model.reference(),
        rule: model.manifest.study.clone(),
        questions: model.manifest.questions(),
    };
    let replay = replay(&store, &inference, &chosen, &row).await?;
    say(&row, &chosen, &replay, arguments.tolerance);
    Ok(if replay.is_same(arguments.tolerance) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}

/// By its key, or by the study whose result it is.
async fn find(store: &Store, result: &str) -> anyhow::Result<ResultRow> {
    let key = if let Some(key) = ResultKey::parse(result) {
        key
    } else {
        let study = StudyUid::parse(result).map_err(|_| {
            anyhow::anyhow!("{result} is neither a result_key (64 hexadecimal digits) nor a UID")
        })?;
        let row = store.study(&study).await?;
        let row = row.with_context(|| format!("no instance of study {study} has been received"))?;
        row.result_key
            .with_context(|| format!("study {study} has no result yet"))?
    };
    let row = store.result(&key).await?;
    row.with_context(|| format!("there is no result {key}"))
}

#[expect(
    clippy::print_stdout,
    reason = "the comparison is what the command is run for"
)]
fn say(row: &ResultRow, chosen: &Chosen, replay: &Replay, tolerance: f32) {
    println!("result   {}", row.key);
    println!("study    {}", row.study);
    println!(
        "made     {} by {} version {}",
        row.made_at, chosen.model.name, chosen.model.version
    );
    println!("digest   {}", chosen.model.digest);
    println!("images   {}", row.body.instances.len());
    for other in &replay.other {
        println!("differs  {other}");
    }
    let verdict = if replay.is_same(tolerance) {
        "the same"
    } else {
        "NOT the same"
    };
    println!(
        "{verdict}: numbers differ by at most {:e} (allowed: {tolerance:e})",
        replay.difference
    );
}

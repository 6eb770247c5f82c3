//! `osteon score`: the server's own path from bytes to outcome, without a server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use osteon::finding::{Gate, InstanceResult, IntendedUseCheck, Outcome, Reading, Verdict};
use osteon::image::heatmap::Explanation;
use osteon::inference::catalog::Basis;
use osteon::inference::{Call, ImageBytes, Inference, ScoreRequest, ServedModel, Settings};
use osteon::runtime::{Device, Runtime};
use osteon::telemetry::metrics::Metrics;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  osteon score image.dcm\n  osteon score --json *.dcm | jq .findings\n  osteon score --override intended-use --heatmap heat.png picture.png\n\nThe exit status is 0 if every file was scored, 2 if any was refused or failed."
)]
pub(crate) struct Arguments {
    /// DICOM, PNG or JPEG files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The model [default: the only one of the folder]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Folder of models
    #[arg(long, env = "OSTEON_MODELS", default_value = "models", value_name = "DIR")]
    models: PathBuf,
    /// The ONNX Runtime shared library [default: searched for]
    #[arg(long, env = "OSTEON_ONNXRUNTIME", value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// What the model runs on: cpu, cuda (the first GPU), cuda:1 and so on
    #[arg(long, env = "OSTEON_DEVICE", default_value_t, value_name = "DEVICE")]
    device: Device,
    /// One JSON object a line, as the server answers
    #[arg(long)]
    json: bool,
    /// Gates to set aside, for research: intended-use, quality, distribution
    #[arg(long = "override", value_delimiter = ',', value_name = "GATE")]
    overridden: Vec<Gate>,
    /// Write the radiograph with the evidence over it; with several files, each gets its name put in front
    #[arg(long, value_name = "PNG")]
    heatmap: Option<PathBuf>,
    /// The finding to draw [default: the first]
    #[arg(long, value_name = "LABEL", requires = "heatmap")]
    finding: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    osteon::telemetry::start_logging(osteon::telemetry::LogFormat::Text);
    let runtime = Runtime::open(arguments.onnxruntime.as_deref(), arguments.device)?;
    let settings = Settings {
        cores: 1,
        instances: 1,
        queue: 64,
        deadline: Duration::from_mins(2),
        decode_memory: usize::MAX,
    };
    let inference = Inference::new(settings, Metrics::new()?)?;
    inference.load(&arguments.models, &runtime);
    let model = match &arguments.model {
        Some(name) => inference
            .catalog()
            .find(name, None)
            .map_err(|fault| anyhow::anyhow!(fault.message))?,
        None => only_model(&inference)?,
    };

    let mut all_scored = true;
    for file in &arguments.files {
        let bytes = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let image = ImageBytes::recognised(bytes.into());
        let request = ScoreRequest {
            model: Arc::clone(&model),
            call: Call::default(),
            image,
            overrides: arguments.overridden.iter().copied().collect(),
        };
        let (result, _) = inference.score(request.clone()).await;
        all_scored &= result.outcome == Outcome::Scored;
        print(file, &result, arguments.json)?;
        if let (Some(path), Outcome::Scored) = (&arguments.heatmap, result.outcome) {
            let heatmap = inference.heatmap(request, arguments.finding.as_deref()).await?;
            let path = if arguments.files.len() == 1 {
                path.clone()
            } else {
                beside(file, path)
            };
            if !arguments.json {
                say_where(&path, heatmap.explanation);
            }
            std::fs::write(&path, heatmap.png)
                .with_context(|| format!("{} cannot be written", path.display()))?;
        }
    }
    Ok(if all_scored {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}

/// The model, where there is no choice to make.
fn only_model(inference: &Inference) -> anyhow::Result<Arc<ServedModel>> {
    if let Some(chosen) = inference.catalog().study_model()
        && chosen.basis == Basis::Unset
    {
        let mut names: Vec<String> = inference
            .catalog()
            .index()
            .into_iter()
            .map(|package| package.name)
            .collect();
        names.dedup();
        anyhow::bail!(
            "there are several models: name one with --model ({})",
            names.join(", ")
        );
    }
    inference
        .study_model()
        .map_err(|fault| anyhow::anyhow!(fault.message))
}

/// `heat.png` for `a/image.dcm` is `image-heat.png` in the heat map's folder.
fn beside(file: &Path, path: &Path) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{name}"))
}

fn said(reading: &Reading) -> String {
    match reading {
        Reading::Probability {
            probability,
            threshold,
            positive,
        } => {
            let percent = 100.0 * probability;
            match (threshold, positive) {
                (Some(threshold), true) => {
                    format!(
                        "{percent:5.1} %   above the threshold of {:.1} %",
                        100.0 * threshold
                    )
                }
                (Some(threshold), false) => {
                    format!(
                        "{percent:5.1} %   below the threshold of {:.1} %",
                        100.0 * threshold
                    )
                }
                (None, true) => format!("{percent:5.1} %   chosen"),
                (None, false) => format!("{percent:5.1} %"),
            }
        }
        Reading::Quantity { value, unit } => format!("{value:.2} {unit}"),
    }
}

#[expect(
    clippy::print_stdout,
    reason = "a picture has to say where its evidence comes from"
)]
fn say_where(path: &Path, explanation: Explanation) {
    println!("  {}: {}", path.display(), explanation.name());
}

#[expect(clippy::print_stdout, reason = "the scores are what the command is run for")]
fn print(file: &Path, result: &InstanceResult, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(result)?);
        return Ok(());
    }
    println!("{}", file.display());
    if let Some(reason) = &result.reason {
        let outcome = if result.outcome == Outcome::Refused {
            "refused"
        } else {
            "failed"
        };
        println!("  {outcome} ({}): {}", reason.code, reason.message);
    }
    for finding in &result.findings {
        println!("  {:<32} {}", finding.code.meaning, said(&finding.reading));
    }
    if let Some(IntendedUseCheck::Overridden { violations }) = &result.intended_use {
        for violation in violations {
            println!("  outside the intended use: {}", violation.message);
        }
    }
    if let Some(check) = &result.quality {
        for violation in &check.violations {
            println!("  not good enough: {}", violation.message);
        }
    }
    if let Some(check) = &result.distribution {
        let said = if check.status == Verdict::Met {
            "within"
        } else {
            "beyond"
        };
        println!(
            "  {:.2} from what the model knows, {said} the limit of {:.2}",
            check.distance, check.limit
        );
    }
    for repair in &result.repairs {
        println!("  repaired ({}): {}", repair.code, repair.message);
    }
    if let Some(timings) = &result.timings_ms {
        println!("  {:.1} ms", timings.total);
    }
    Ok(())
}

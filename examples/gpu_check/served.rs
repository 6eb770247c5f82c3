//! The model as the server runs it: many callers, one line, batches of what waits.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use osteon::image::Tensor;
use osteon::inference::{Call, Inference, RepositorySettings, Settings, TensorRequest};
use osteon::runtime::Runtime;
use osteon::telemetry::metrics::Metrics;
use serde_json::json;

use super::say;

/// Callers at the same time, each of whom asks again when it has its answer.
const CALLERS: [usize; 5] = [1, 8, 32, 64, 128];

/// Serves the package in `folder`, NAME/VERSION, on all of `runtimes`.
pub(super) fn check(
    folder: &Path,
    runtimes: &[Runtime],
    instances: usize,
    images: &[Tensor],
    seconds: f64,
) -> anyhow::Result<()> {
    let folder = folder.canonicalize()?;
    let parts = || {
        let version = folder.file_name()?.to_str()?.parse::<u32>().ok()?;
        let name = folder.parent()?.file_name()?.to_str()?.to_owned();
        Some((name, version, folder.parent()?.parent()?.to_owned()))
    };
    let (name, version, models) = parts().context("a package lies in NAME/VERSION")?;
    let settings = Settings {
        cores: 1,
        instances,
        queue: 1024,
        deadline: Duration::from_mins(1),
        decode_memory: 1 << 30,
    };
    let repository = RepositorySettings {
        models,
        pins: [(name.clone(), [version].into())].into(),
        ..RepositorySettings::default()
    };
    let tokio = tokio::runtime::Runtime::new()?;
    let _inside = tokio.enter();
    let inference = Inference::new(settings, Metrics::new()?)?;
    inference.load(repository, runtimes);
    let model = inference
        .catalog()
        .find(&name, Some(version))
        .map_err(anyhow::Error::msg)?;
    for callers in CALLERS {
        let before = model.statistics();
        let started = Instant::now();
        let until = started + Duration::from_secs_f64(seconds);
        let caller = |caller: usize| {
            let (inference, model) = (&inference, &model);
            async move {
                let (mut times, mut next) = (Vec::new(), caller);
                while Instant::now() < until {
                    let asked = Instant::now();
                    let request = TensorRequest {
                        model: Arc::clone(model),
                        tensor: images[next % images.len()].clone(),
                        call: Call {
                            client: format!("caller-{caller}").into(),
                            ..Call::default()
                        },
                    };
                    inference.infer(request).await.map_err(anyhow::Error::msg)?;
                    times.push(asked.elapsed().as_secs_f64() * 1e3);
                    next += 1;
                }
                anyhow::Ok(times)
            }
        };
        let answered = tokio.block_on(futures_util::future::try_join_all((0..callers).map(caller)))?;
        let elapsed = started.elapsed().as_secs_f64();
        let mut times = answered.concat();
        times.sort_by(f64::total_cmp);
        let after = model.statistics();
        let executions = (after.executions() - before.executions()).max(1);
        say(&json!({
            "check": "served", "device": model.device(), "bits": model.bits, "instances": instances, "callers": callers,
            "images_per_s": times.len() as f64 / elapsed,
            "p50_ms": times.get(times.len() / 2), "p99_ms": times.get(times.len() * 99 / 100),
            "images_in_a_batch": (after.inferences() - before.inferences()) as f64 / executions as f64,
        }));
    }
    Ok(())
}

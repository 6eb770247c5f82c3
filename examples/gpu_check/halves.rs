//! What 16-bit arithmetic brings and costs on this device: the server uses it for packages in fp16 whose goldens hold, and here it is
//! measured for every package.

use std::time::Instant;

use osteon::image::Tensor;
use osteon::model::Package;
use osteon::runtime::{Engine, Runtime, in_halves};
use serde_json::json;

use super::{changed_decisions, say};

/// Runs the network in 16 bits: speed, the largest difference of a value from the CPU's, and the decisions that change.
pub(super) fn check(
    package: &Package,
    gpu: &Runtime,
    images: &[Tensor],
    expected: &[Vec<f32>],
    batches: usize,
) -> anyhow::Result<()> {
    let loaded = in_halves(&package.model)
        .map_err(anyhow::Error::msg)
        .and_then(|model| Ok(Engine::load(gpu, &model, &package.manifest)?));
    let mut engine = match loaded {
        Ok(engine) => engine,
        Err(error) => {
            say(&json!({ "check": "halves", "said": error.to_string() }));
            return Ok(());
        }
    };
    let all: Vec<&Tensor> = images.iter().collect();
    let answers = engine.run(&all)?;
    let mut worst: f32 = 0.0;
    for (answer, expected) in answers.iter().zip(expected) {
        for (here, there) in answer.values().iter().zip(expected) {
            // what is no number is as far off as can be
            worst = worst.max(if here.is_finite() {
                (here - there).abs()
            } else {
                f32::INFINITY
            });
        }
    }
    let (changed, decisions) = changed_decisions(package, &answers, expected);
    let largest = engine.batch_sizes().last().copied().unwrap_or(1);
    let batch: Vec<&Tensor> = images.iter().cycle().take(largest).collect();
    let started = Instant::now();
    for _ in 0..batches.max(1) {
        engine.run(&batch)?;
    }
    let images = (largest * batches.max(1)) as f64;
    say(&json!({
        "check": "halves", "batch": largest, "images_per_s": images / started.elapsed().as_secs_f64(),
        "off_by": worst.is_finite().then_some(worst), "changed": changed, "decisions": decisions,
    }));
    Ok(())
}

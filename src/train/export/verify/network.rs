//! What the network itself has to hold, whatever it is shown.

use std::time::{Duration, Instant};

use prost::Message;

use super::{Unmet, distance, engine};
use crate::image::Tensor;
use crate::model::onnx_format::{DataType, ModelProto};
use crate::model::{GoldenInput, NumberFormat, Package};
use crate::runtime::Runtime;
use crate::runtime::proof::{golden_inputs, reproduce};

/// Batch sizes that must answer as one image alone does.
const BATCHES: [usize; 3] = [2, 7, 32];
/// Runs for the latency: as many as fit into the time, within these bounds.
const RUNS: std::ops::RangeInclusive<usize> = 20..=200;
/// The time.
const LATENCY_TIME: Duration = Duration::from_secs(2);

/// Opening the package has checked digests, opset, operators and external data.
pub(super) fn structure(package: &Package) -> Result<String, Unmet> {
    let model = ModelProto::decode(package.model.as_slice()).map_err(|error| error.to_string())?;
    let opset = model.opset().unwrap_or_default();
    let nodes = model.graph.as_ref().map_or(0, |graph| graph.node.len());
    let files = package.manifest.files.len();
    let kept = |kind: DataType| {
        let weights = model.graph.iter().flat_map(|graph| &graph.initializer);
        weights.filter(|tensor| tensor.data_type == kind as i32).count()
    };
    let weights = match package.manifest.reduced_precision.map(|reduced| reduced.format) {
        None => String::new(),
        Some(format) => {
            let matrices = match format {
                NumberFormat::Fp16 => kept(DataType::Float16),
                NumberFormat::Int8 => kept(DataType::Int8),
            };
            if matrices == 0 {
                return Err(Unmet::Fails(format!(
                    "the manifest says that the weights are {}, and none of the file's are",
                    format.name()
                )));
            }
            format!(", {matrices} matrices in {}", format.name())
        }
    };
    Ok(format!(
        "{files} files as digested, {} KiB, opset {opset}, {nodes} nodes{weights}",
        package.model.len() / 1024
    ))
}

/// The golden cases, which another engine than ONNX Runtime gave, if the trainer is ours.
pub(super) fn parity(package: &Package, runtime: &Runtime) -> Result<String, Unmet> {
    let inputs = golden_inputs(package, |image| image)?;
    let worst = reproduce(package, &inputs, &mut engine(package, runtime)?)?;
    Ok(format!(
        "{} cases by {}: at most {worst:.1e} off (allowed {:.0e})",
        inputs.len(),
        package.goldens.origin,
        package.goldens.tolerance
    ))
}

pub(super) fn dynamic_batch(package: &Package, runtime: &Runtime) -> Result<String, Unmet> {
    let mut engine = engine(package, runtime)?;
    let shape = package.manifest.preprocessing.input_shape();
    let tensors: Vec<Tensor> = (0..32)
        .filter_map(|seed| GoldenInput::Noise { seed: 100 + seed }.tensor(shape))
        .collect();
    let mut alone = Vec::new();
    for tensor in &tensors {
        alone.extend(engine.run(&[tensor]).map_err(|error| error.to_string())?);
    }
    let mut worst: f32 = 0.0;
    for size in BATCHES {
        let batch: Vec<&Tensor> = tensors.iter().take(size).collect();
        let together = engine
            .run(&batch)
            .map_err(|error| format!("a batch of {size}: {error}"))?;
        for (one, other) in alone.iter().zip(&together) {
            for (a, b) in one.proof().iter().zip(&other.proof()) {
                worst = worst.max(distance(*a, *b));
            }
        }
    }
    let figure = format!("batches of 1, 2, 7 and 32 differ by at most {worst:.1e}");
    if worst <= package.goldens.tolerance {
        Ok(figure)
    } else {
        Err(Unmet::Fails(figure))
    }
}

pub(super) fn latency(package: &Package, runtime: &Runtime) -> Result<String, Unmet> {
    let mut engine = engine(package, runtime)?;
    let shape = package.manifest.preprocessing.input_shape();
    let tensor = GoldenInput::Noise { seed: 1 }
        .tensor(shape)
        .ok_or_else(|| "noise has a tensor".to_owned())?;
    let mut times = Vec::with_capacity(*RUNS.end());
    let first = Instant::now();
    while times.len() < *RUNS.start() || (times.len() < *RUNS.end() && first.elapsed() < LATENCY_TIME) {
        let started = Instant::now();
        engine.run(&[&tensor]).map_err(|error| error.to_string())?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(format!(
        "p50 {:.1} ms, p99 {:.1} ms in {} runs",
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        times.len()
    ))
}

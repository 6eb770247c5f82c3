//! What can only be seen on a GPU: run by `scripts/gpu-check`, one JSON object a line on standard output.
//!
//! Parity of CUDA with the CPU for every batch size and place; that memory stays where warming up left it, over many runs and
//! many reloads, and below its limit; and how fast it is, alone and served. `--stand-in` has the CPU do what a GPU would, so that the check
//! itself can be tried.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use osteon::image::Tensor;
use osteon::model::{GoldenInput, Package};
use osteon::runtime::proof::{golden_inputs, prove, reproduce, reproduce_in_batches};
use osteon::runtime::{Device, Devices, Engine, Prediction, Runtime, RuntimeError};
use serde_json::{Value, json};

mod halves;
mod memory;
mod served;

use memory::{gpu_mebibytes, resident_mebibytes};

#[derive(Parser)]
struct Arguments {
    /// Folder of the package, NAME/VERSION
    package: PathBuf,
    /// The GPUs; all but serving is tried on the first
    #[arg(long, default_value = "cuda:all")]
    device: Devices,
    /// The CPU in the place of a GPU
    #[arg(long)]
    stand_in: bool,
    /// Batches in a row, of changing sizes
    #[arg(long, default_value_t = 10_000)]
    runs: usize,
    /// Batches of each size, for its time
    #[arg(long, default_value_t = 200)]
    batches: usize,
    /// Times that the model is loaded and proven anew
    #[arg(long, default_value_t = 100)]
    reloads: usize,
    /// Seconds for each number of callers
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

/// Different images whose answers on the CPU are known.
const IMAGES: u64 = 64;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let package = Package::open(&arguments.package)?;
    let runtimes = if arguments.stand_in {
        vec![Runtime::open(None, Device::Cpu)?.in_batches()]
    } else {
        Runtime::open_on(None, &arguments.device)?
    };
    let gpu = runtimes.first().context("there is no device")?;
    let cpu = Runtime::open(None, Device::Cpu)?;

    let inputs = golden_inputs(&package, |image| image).map_err(anyhow::Error::msg)?;
    let before = gpu_mebibytes(gpu.device)?;
    let mut engine = Engine::load(gpu, &package.model, &package.manifest)?;
    let started = Instant::now();
    let alone = reproduce(&package, &inputs, &mut engine).map_err(anyhow::Error::msg)?;
    let batched = reproduce_in_batches(&package, &inputs, &mut engine).map_err(anyhow::Error::msg)?;
    let reduced = package.manifest.reduced_precision;
    say(&json!({
        "check": "goldens", "model": package.manifest.name, "device": engine.device(), "cases": inputs.len(),
        "largest_difference_alone": alone, "largest_difference_in_batches": batched,
        "allowed": package.goldens.tolerance, "warm_ms": started.elapsed().as_millis() as u64,
        "format": reduced.map(|reduced| reduced.format.name()),
        "decisions_may_change": reduced.map(|reduced| reduced.decisions_changed),
    }));

    let images = images(&package);
    let mut reference = Engine::load(&cpu, &package.model, &package.manifest)?;
    let expected: Vec<Vec<f32>> = images
        .iter()
        .map(|image| Ok(reference.run(&[image])?.remove(0).values()))
        .collect::<anyhow::Result<_>>()?;
    let answers = engine.run(&images.iter().collect::<Vec<_>>())?;
    let (changed, decisions) = changed_decisions(&package, &answers, &expected);
    say(&json!({ "check": "decisions", "decisions": decisions, "changed": changed }));
    speed(&mut engine, &images, &expected, arguments.batches)?;
    runs(gpu, &mut engine, &images, &expected, arguments.runs)?;
    // what CUDA itself takes is there from the first session on, so this is an upper bound
    let taken = gpu_mebibytes(gpu.device)?.saturating_sub(before);
    overlapped(engine, &images, arguments.batches)?;
    halves::check(&package, gpu, &images, &expected, arguments.batches)?;
    limit(&package, gpu, taken)?;

    for devices in [&runtimes[..1], &runtimes[..]] {
        for instances in [1, 2] {
            served::check(&arguments.package, devices, instances, &images, arguments.seconds)?;
        }
        if runtimes.len() == 1 {
            break;
        }
    }

    let load = || prove(&package, gpu, 1, 1).map_err(anyhow::Error::from);
    drop(load()?);
    let (before, resident, started) = (gpu_mebibytes(gpu.device)?, resident_mebibytes()?, Instant::now());
    for _ in 0..arguments.reloads {
        drop(load()?);
    }
    say(&json!({
        "check": "reloads", "reloads": arguments.reloads,
        "gpu_mib_before": before, "gpu_mib_after": gpu_mebibytes(gpu.device)?,
        "resident_mib_before": resident, "resident_mib_after": resident_mebibytes()?,
        "ms_each": started.elapsed().as_millis() as f64 / arguments.reloads.max(1) as f64,
    }));
    Ok(())
}

/// How many decisions are other ones than on the CPU, and of how many: above a threshold there and below it here, or the other way
/// round.
fn changed_decisions(package: &Package, answers: &[Prediction], expected: &[Vec<f32>]) -> (usize, usize) {
    let thresholds: Vec<Option<f32>> = package.manifest.labels().map(|label| label.threshold).collect();
    let (mut changed, mut all) = (0, 0);
    for (here, there) in answers.iter().zip(expected) {
        for ((here, there), threshold) in here.values().iter().zip(there).zip(&thresholds) {
            if let Some(threshold) = threshold {
                all += 1;
                changed += usize::from((here >= threshold) != (there >= threshold));
            }
        }
    }
    (changed, all)
}

fn images(package: &Package) -> Vec<Tensor> {
    let shape = package.manifest.preprocessing.input_shape();
    (0..IMAGES)
        .filter_map(|seed| GoldenInput::Noise { seed: 1000 + seed }.tensor(shape))
        .collect()
}

/// Every bucket alone: time, rate, and how far each place is from the CPU.
fn speed(
    engine: &mut Engine,
    images: &[Tensor],
    expected: &[Vec<f32>],
    batches: usize,
) -> anyhow::Result<()> {
    for size in engine.batch_sizes() {
        let mut worst: f32 = 0.0;
        for start in 0..images.len() {
            worst = worst.max(check(engine, images, expected, start, size)?);
        }
        let batch: Vec<&Tensor> = images.iter().cycle().take(size).collect();
        let mut times: Vec<f64> = (0..batches.max(1))
            .map(|_| {
                let started = Instant::now();
                engine.run(&batch)?;
                Ok(started.elapsed().as_secs_f64() * 1e3)
            })
            .collect::<anyhow::Result<_>>()?;
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        say(&json!({
            "check": "bucket", "batch": size, "median_ms": median, "p99_ms": times[times.len() * 99 / 100],
            "images_per_s": size as f64 * 1e3 / median, "largest_difference_from_cpu": worst,
        }));
    }
    Ok(())
}

/// Every bucket while the next batch is gathered and sent, as the server does it.
fn overlapped(mut engine: Engine, images: &[Tensor], batches: usize) -> anyhow::Result<()> {
    let stagings = engine.lend_stagings();
    let (give_back, empty) = std::sync::mpsc::channel();
    for staging in stagings {
        give_back.send(staging).map_err(gone)?;
    }
    for size in engine.batch_sizes() {
        let batch: Vec<&Tensor> = images.iter().cycle().take(size).collect();
        let (hand_over, full) = std::sync::mpsc::channel();
        let (engine, empty, give_back) = (&mut engine, &empty, &give_back);
        let started = Instant::now();
        std::thread::scope(|scope| -> anyhow::Result<()> {
            let running = scope.spawn(move || {
                for mut staging in full {
                    engine.run_staged(&mut staging)?;
                    give_back.send(staging).map_err(gone)?;
                }
                anyhow::Ok(())
            });
            for _ in 0..batches {
                let mut staging = empty.recv()?;
                staging
                    .extend(batch.iter().copied())
                    .into_iter()
                    .collect::<Result<(), _>>()?;
                staging.send();
                hand_over.send(staging).map_err(gone)?;
            }
            drop(hand_over);
            running.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
        })?;
        let milliseconds = started.elapsed().as_secs_f64() * 1e3 / batches.max(1) as f64;
        say(&json!({
            "check": "overlapped", "batch": size, "mean_ms": milliseconds, "images_per_s": size as f64 * 1e3 / milliseconds,
        }));
    }
    Ok(())
}

fn gone<T>(_: T) -> anyhow::Error {
    anyhow::anyhow!("the other thread has ended")
}

/// A limit that is twice what a copy takes is kept, and one that its weights alone are above is an error that names it.
fn limit(package: &Package, gpu: &Runtime, taken: u64) -> anyhow::Result<()> {
    if gpu.device == Device::Cpu {
        return Ok(());
    }
    let enough = (2 * taken).max(256);
    let before = gpu_mebibytes(gpu.device)?;
    let proven = prove(package, &gpu.clone().with_gpu_memory(Some(enough)), 1, 1);
    let grown = gpu_mebibytes(gpu.device)?.saturating_sub(before);
    let kept = proven.as_ref().map(|_| ()).map_err(ToString::to_string);
    drop(proven);
    // the weights fit, what is computed with them does not
    let little = (6 * package.model.len() as u64).div_ceil(1 << 20) + 8;
    let scarce = gpu.clone().with_gpu_memory(Some(little));
    let refused = match Engine::load(&scarce, &package.model, &package.manifest) {
        Err(error @ RuntimeError::Memory { .. }) => error.to_string(),
        Err(other) => format!("not as lack of memory: {other}"),
        Ok(mut engine) => {
            let inputs = golden_inputs(package, |image| image).map_err(anyhow::Error::msg)?;
            reproduce_in_batches(package, &inputs, &mut engine)
                .err()
                .map_or_else(|| "it ran all the same".to_owned(), |off| off.reason)
        }
    };
    say(&json!({
        "check": "limit", "limit_mib": enough, "kept": kept.is_ok(), "said": kept.err(), "grown_mib": grown,
        "little_mib": little, "refused": refused,
    }));
    Ok(())
}

/// Many batches of every number of images: no answer goes to another image, and memory stays.
fn runs(
    gpu: &Runtime,
    engine: &mut Engine,
    images: &[Tensor],
    expected: &[Vec<f32>],
    runs: usize,
) -> anyhow::Result<()> {
    let largest = engine.batch_sizes().last().copied().unwrap_or(1);
    let (before, resident, started) = (gpu_mebibytes(gpu.device)?, resident_mebibytes()?, Instant::now());
    let (mut worst, mut total) = (0.0_f32, 0);
    for run in 0..runs {
        let size = 1 + (run * 7) % largest;
        worst = worst.max(check(engine, images, expected, run * 13, size)?);
        total += size;
    }
    say(&json!({
        "check": "runs", "runs": runs, "images": total, "largest_difference_from_cpu": worst,
        "gpu_mib_before": before, "gpu_mib_after": gpu_mebibytes(gpu.device)?,
        "resident_mib_before": resident, "resident_mib_after": resident_mebibytes()?,
        "images_per_s": total as f64 / started.elapsed().as_secs_f64(),
    }));
    Ok(())
}

/// Runs `size` images from `start` on; how far the answers are from the CPU's.
fn check(
    engine: &mut Engine,
    images: &[Tensor],
    expected: &[Vec<f32>],
    start: usize,
    size: usize,
) -> anyhow::Result<f32> {
    let chosen: Vec<usize> = (start..start + size).map(|index| index % images.len()).collect();
    let batch: Vec<&Tensor> = chosen.iter().map(|index| &images[*index]).collect();
    let answers = engine.run(&batch)?;
    anyhow::ensure!(
        answers.len() == size,
        "{} answers for {size} images",
        answers.len()
    );
    let mut worst: f32 = 0.0;
    for (index, answer) in chosen.iter().zip(&answers) {
        for (cpu, gpu) in expected[*index].iter().zip(answer.values()) {
            worst = worst.max((cpu - gpu).abs());
        }
    }
    Ok(worst)
}

#[expect(clippy::print_stdout, reason = "scripts/gpu-check reads these lines")]
fn say(line: &Value) {
    println!("{line}");
}

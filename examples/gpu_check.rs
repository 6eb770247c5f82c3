//! What can only be seen on a GPU: run by `scripts/gpu-check`, one JSON object a line on standard output.
//!
//! Parity of CUDA with the CPU for every batch size and place; that memory stays where warming up left it, over many runs and
//! many reloads; and how fast it is.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use osteon::image::Tensor;
use osteon::model::{GoldenInput, Package};
use osteon::runtime::proof::{golden_inputs, prove, reproduce, reproduce_in_batches};
use osteon::runtime::{Device, Engine, Runtime};
use serde_json::{Value, json};

#[derive(Parser)]
struct Arguments {
    /// Folder of the package, NAME/VERSION
    package: PathBuf,
    /// The GPU
    #[arg(long, default_value = "cuda:0")]
    device: Device,
    /// Batches in a row, of changing sizes
    #[arg(long, default_value_t = 10_000)]
    runs: usize,
    /// Times that the model is loaded and proven anew
    #[arg(long, default_value_t = 100)]
    reloads: usize,
}

/// Different images whose answers on the CPU are known.
const IMAGES: u64 = 64;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let package = Package::open(&arguments.package)?;
    let gpu = Runtime::open(None, arguments.device)?;
    let cpu = Runtime::open(None, Device::Cpu)?;

    let inputs = golden_inputs(&package, |image| image).map_err(anyhow::Error::msg)?;
    let mut engine = Engine::load(&gpu, &package.model, &package.manifest)?;
    let started = Instant::now();
    let alone = reproduce(&package, &inputs, &mut engine).map_err(anyhow::Error::msg)?;
    let batched = reproduce_in_batches(&package, &inputs, &mut engine).map_err(anyhow::Error::msg)?;
    say(&json!({
        "check": "goldens", "model": package.manifest.name, "device": engine.device(), "cases": inputs.len(),
        "largest_difference_alone": alone, "largest_difference_in_batches": batched,
        "allowed": package.goldens.tolerance, "warm_ms": started.elapsed().as_millis() as u64,
    }));

    let images = images(&package);
    let mut reference = Engine::load(&cpu, &package.model, &package.manifest)?;
    let expected: Vec<Vec<f32>> = images
        .iter()
        .map(|image| Ok(reference.run(&[image])?.remove(0).values()))
        .collect::<anyhow::Result<_>>()?;
    speed(&mut engine, &images, &expected)?;
    runs(&mut engine, &images, &expected, arguments.runs)?;
    let mut engines = vec![engine];
    for count in [1, 2, 3] {
        while engines.len() < count {
            let mut engine = Engine::load(&gpu, &package.model, &package.manifest)?;
            reproduce_in_batches(&package, &inputs, &mut engine).map_err(anyhow::Error::msg)?;
            engines.push(engine);
        }
        together(&mut engines, &images)?;
    }
    drop(engines);

    let load = || prove(&package, &gpu, 1).map_err(anyhow::Error::from);
    drop(load()?);
    let (before, resident, started) = (gpu_mebibytes()?, resident_mebibytes()?, Instant::now());
    for _ in 0..arguments.reloads {
        drop(load()?);
    }
    say(&json!({
        "check": "reloads", "reloads": arguments.reloads,
        "gpu_mib_before": before, "gpu_mib_after": gpu_mebibytes()?,
        "resident_mib_before": resident, "resident_mib_after": resident_mebibytes()?,
        "ms_each": started.elapsed().as_millis() as f64 / arguments.reloads.max(1) as f64,
    }));
    Ok(())
}

fn images(package: &Package) -> Vec<Tensor> {
    let shape = package.manifest.preprocessing.input_shape();
    (0..IMAGES)
        .filter_map(|seed| GoldenInput::Noise { seed: 1000 + seed }.tensor(shape))
        .collect()
}

/// Every bucket alone: time, rate, and how far each place is from the CPU.
fn speed(engine: &mut Engine, images: &[Tensor], expected: &[Vec<f32>]) -> anyhow::Result<()> {
    for &size in engine.device().buckets() {
        let mut worst: f32 = 0.0;
        for start in 0..images.len() {
            worst = worst.max(check(engine, images, expected, start, size)?);
        }
        let batch: Vec<&Tensor> = images.iter().cycle().take(size).collect();
        let mut times: Vec<f64> = (0..200)
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

/// Several copies at once: while one batch is on the GPU, the next is gathered and copied.
fn together(engines: &mut [Engine], images: &[Tensor]) -> anyhow::Result<()> {
    const BATCHES: usize = 300;
    let largest = engines[0].device().buckets().last().copied().unwrap_or(1);
    let batch: Vec<&Tensor> = images.iter().cycle().take(largest).collect();
    let (copies, started) = (engines.len(), Instant::now());
    std::thread::scope(|scope| {
        let threads: Vec<_> = engines
            .iter_mut()
            .map(|engine| scope.spawn(|| (0..BATCHES).try_for_each(|_| engine.run(&batch).map(drop))))
            .collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(ran) => ran.map_err(anyhow::Error::from),
            Err(_) => Err(anyhow::anyhow!("a thread panicked")),
        })
    })?;
    let images = copies * BATCHES * largest;
    say(&json!({
        "check": "copies", "copies": copies, "batch": largest, "gpu_mib": gpu_mebibytes()?,
        "images_per_s": images as f64 / started.elapsed().as_secs_f64(),
    }));
    Ok(())
}

/// Many batches of every number of images: no answer goes to another image, and memory stays.
fn runs(engine: &mut Engine, images: &[Tensor], expected: &[Vec<f32>], runs: usize) -> anyhow::Result<()> {
    let largest = engine.device().buckets().last().copied().unwrap_or(1);
    let (before, resident, started) = (gpu_mebibytes()?, resident_mebibytes()?, Instant::now());
    let (mut worst, mut total) = (0.0_f32, 0);
    for run in 0..runs {
        let size = 1 + (run * 7) % largest;
        worst = worst.max(check(engine, images, expected, run * 13, size)?);
        total += size;
    }
    say(&json!({
        "check": "runs", "runs": runs, "images": total, "largest_difference_from_cpu": worst,
        "gpu_mib_before": before, "gpu_mib_after": gpu_mebibytes()?,
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

/// Memory in use on the GPU, by whomever.
fn gpu_mebibytes() -> anyhow::Result<u64> {
    let output = Command::new("nvidia-smi")
        .args([
            "--query-gpu=memory.used",
            "--format=csv,noheader,nounits",
            "--id=0",
        ])
        .output()
        .context("nvidia-smi cannot be run")?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

fn resident_mebibytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: u64 = line.context("no VmRSS")?.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes / 1024)
}

#[expect(clippy::print_stdout, reason = "scripts/gpu-check reads these lines")]
fn say(line: &Value) {
    println!("{line}");
}

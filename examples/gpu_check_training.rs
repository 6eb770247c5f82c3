//! What only a GPU can show of training: run by `scripts/gpu-check-training`, which says what is allowed; one JSON object a line on
//! standard output.
//!
//! Answers, losses and gradients on the GPU beside those on the CPU; a step that multiplies in 16 bits; two replicas on one GPU beside one
//! device alone; and that memory stays where it was over many steps.

use anyhow::{Context, ensure};
use clap::Parser;
use osteon::runtime::Device;
use osteon::train::learn::engine::device::{Wanted, choose};
use osteon::train::learn::engine::{AdamW, AdamWSettings, Input, Replicas, RunningMean};
use osteon::train::learn::{Engine, Precision, Recipe};
use osteon::train::network::{Graph, Layer, initial_weights};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

#[path = "gpu_check/memory.rs"]
mod memory;

use memory::{gpu_mebibytes, resident_mebibytes};

#[derive(Parser)]
struct Arguments {
    /// The GPU; `cpu` tries this program itself
    #[arg(long, default_value = "cuda:0")]
    device: Wanted,
    /// Steps over which memory has to stay where it was
    #[arg(long, default_value_t = 2000)]
    steps: usize,
    /// Images of each of them
    #[arg(long, default_value_t = 64)]
    batch: usize,
}

/// The networks: published, and our own.
const NETWORKS: [&str; 2] = [
    r#"{"family": "resnet18", "channels": 1, "rows": 224, "columns": 224}"#,
    r#"{"family": "residual", "channels": 1, "rows": 256, "columns": 192, "stem": 16, "widths": [16, 40, 96],
        "blocks": [1, 2, 2], "pooling": "average", "dropout": 0.0}"#,
];
/// Images of a step whose numbers are compared.
const COMPARED: usize = 8;
/// Of libtorch: several replicas on a busy processor would wait for each other's.
const THREADS: usize = 1;
/// Steps before memory is looked at: libtorch has chosen its kernels and made its buffers by then.
const WARM: usize = 50;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let chosen = choose(&arguments.device)?;
    let device = chosen.devices.first;
    say(&json!({"check": "device", "device": device, "why": chosen.why}));
    for network in NETWORKS {
        let recipe = Recipe::from_json(&format!(
            r#"{{"labels": ["one", "other"], "architecture": {network}}}"#
        ))?;
        let graph = recipe.graph()?;
        let subject = Subject {
            graph: &graph,
            device,
            images: noise(COMPARED * graph.input.iter().product::<usize>()),
        };
        subject.parity()?;
        subject.sixteen_bits()?;
        subject.replicas()?;
    }
    memory(&arguments, device)
}

/// A network that is compared with itself.
struct Subject<'a> {
    graph: &'a Graph,
    device: Device,
    images: Vec<f32>,
}

/// What a step came to.
struct Outcome {
    loss: f64,
    gradient: Vec<f32>,
}

impl Subject<'_> {
    fn engine(&self, device: Device) -> anyhow::Result<Engine> {
        Ok(Engine::on(
            device,
            self.graph,
            &initial_weights(self.graph, 1)?,
            THREADS,
        )?)
    }

    /// One step by the replica or replicas that share the batch.
    fn step(&self, replicas: &mut Replicas) -> anyhow::Result<Outcome> {
        let placers = replicas.placers();
        let (share, width) = (COMPARED / placers.len(), self.images.len() / COMPARED);
        let pieces = self.images.chunks(share * width);
        let shares: Vec<Input> = placers
            .iter()
            .zip(pieces)
            .map(|(placer, images)| placer.place(images, share))
            .collect::<Result<_, _>>()?;
        let targets: Vec<f32> = (0..2 * COMPARED)
            .map(|place| [1.0, 0.0, f32::NAN, 0.0][place % 4])
            .collect();
        let step = replicas.step(&shares, &targets, &mut ChaCha8Rng::seed_from_u64(1))?;
        Ok(Outcome {
            loss: step.loss,
            gradient: replicas.first.gradient()?,
        })
    }

    /// The device beside the CPU, in 32 bits.
    fn parity(&self) -> anyhow::Result<()> {
        let (cpu, other) = (self.engine(Device::Cpu)?, self.engine(self.device)?);
        let (expected, found) = (
            cpu.run(&self.images, COMPARED)?,
            other.run(&self.images, COMPARED)?,
        );
        let mut answers = 0.0_f32;
        for (name, expected) in &expected {
            let found = &found.get(name).context("an output is missing")?.values;
            ensure!(found.len() == expected.values.len(), "{name} has another size");
            let apart = expected.values.iter().zip(found);
            answers = apart
                .map(|(left, right)| (left - right).abs())
                .fold(answers, f32::max);
        }
        let expected = self.step(&mut Replicas::new(cpu, &[])?)?;
        let found = self.step(&mut Replicas::new(other, &[])?)?;
        self.say("parity", &expected, &found, &json!({"answers": answers}));
        Ok(())
    }

    /// A step in 16 bits beside one in 32, both on the device.
    fn sixteen_bits(&self) -> anyhow::Result<()> {
        let mut short = self.engine(self.device)?;
        if let Err(why) = Precision::Bfloat16.check(self.device) {
            say(&json!({"check": "bfloat16", "network": self.graph.name, "skipped": why}));
            return Ok(());
        }
        short.set_precision(Precision::Bfloat16);
        let expected = self.step(&mut Replicas::new(self.engine(self.device)?, &[])?)?;
        let found = self.step(&mut Replicas::new(short, &[])?)?;
        self.say("bfloat16", &expected, &found, &json!({}));
        Ok(())
    }

    /// Two replicas on the device beside one, with batch norms that are frozen: each replica's statistics would be others.
    fn replicas(&self) -> anyhow::Result<()> {
        let norms = self.graph.nodes.iter();
        let norms = norms.filter(|node| matches!(node.layer, Layer::BatchNorm { .. }));
        let norms: std::collections::BTreeSet<String> = norms.map(|node| node.name.clone()).collect();
        let outcome = |others: &[Device]| -> anyhow::Result<Outcome> {
            let mut replicas = Replicas::new(self.engine(self.device)?, others)?;
            replicas.freeze(norms.clone())?;
            let mut optimizer = AdamW::new(AdamWSettings::default(), &replicas.first)?;
            let placed = self.step(&mut replicas)?;
            // the second step shows that all replicas have the new numbers
            let step = osteon::train::learn::engine::Step {
                loss: placed.loss,
                norm: norm(&placed.gradient),
            };
            optimizer.step(&mut replicas.first, &step, 1e-4)?;
            self.step(&mut replicas)
        };
        let (expected, found) = (outcome(&[])?, outcome(&[self.device])?);
        self.say("replicas", &expected, &found, &json!({"count": 2}));
        Ok(())
    }

    fn say(&self, check: &str, expected: &Outcome, found: &Outcome, more: &Value) {
        let each = expected.gradient.iter().zip(&found.gradient);
        let apart: Vec<f32> = each.clone().map(|(left, right)| left - right).collect();
        let product: f64 = each
            .map(|(left, right)| f64::from(*left) * f64::from(*right))
            .sum();
        let norms = [norm(&expected.gradient), norm(&found.gradient)];
        say(&json!({
            "check": check, "network": self.graph.name, "more": more, "loss": (expected.loss - found.loss).abs(),
            "gradient": norm(&apart) / norms[0], "cosine": product / (norms[0] * norms[1]),
        }));
    }
}

/// Many steps of a training with optimizer and running mean, in 16 bits where the device has them.
fn memory(arguments: &Arguments, device: Device) -> anyhow::Result<()> {
    let recipe = Recipe::from_json(&format!(
        r#"{{"labels": ["one", "other"], "architecture": {}}}"#,
        NETWORKS[0]
    ))?;
    let graph = recipe.graph()?;
    let mut engine = Engine::on(device, &graph, &initial_weights(&graph, 1)?, THREADS)?;
    if Precision::Bfloat16.check(device).is_ok() {
        engine.set_precision(Precision::Bfloat16);
    }
    let mut replicas = Replicas::new(engine, &[])?;
    let mut optimizer = AdamW::new(AdamWSettings::default(), &replicas.first)?;
    let mut mean = RunningMean::new(&replicas.first, 0.99)?;
    let images = noise(arguments.batch * graph.input.iter().product::<usize>());
    let targets: Vec<f32> = (0..2 * arguments.batch).map(|place| (place % 2) as f32).collect();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut before = [0; 2];
    for step in 0..WARM.min(arguments.steps) + arguments.steps {
        if step == WARM.min(arguments.steps) {
            before = [gpu_mebibytes(device)?, resident_mebibytes()?];
        }
        let placed = [replicas.first.placer().place(&images, arguments.batch)?];
        let came = replicas.step(&placed, &targets, &mut random)?;
        ensure!(came.loss.is_finite(), "the loss is {}", came.loss);
        optimizer.step(&mut replicas.first, &came, 1e-4)?;
        mean.update(&replicas.first)?;
    }
    say(&json!({
        "check": "memory", "steps": arguments.steps, "batch": arguments.batch,
        "gpu_mib_before": before[0], "gpu_mib_after": gpu_mebibytes(device)?,
        "resident_mib_before": before[1], "resident_mib_after": resident_mebibytes()?,
    }));
    Ok(())
}

fn noise(count: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(8);
    (0..count).map(|_| random.random::<f32>() - 0.5).collect()
}

fn norm(values: &[f32]) -> f64 {
    values
        .iter()
        .map(|value| f64::from(*value).powi(2))
        .sum::<f64>()
        .sqrt()
}

#[expect(clippy::print_stdout, reason = "scripts/gpu-check-training reads these lines")]
fn say(line: &Value) {
    println!("{line}");
}

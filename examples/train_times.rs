//! How fast `osteon-train` trains and reads images, for `scripts/bench-train`, which says what the figures mean.
//!
//!     train_times train    --network resnet18 --threads 2 --batch 16 --steps 2
//!     train_times pipeline --labels index/images.csv --side 224 --threads 2 --batch 16
//!
//! It says `ready`, and then measures one round for each line on standard input: `step`, or `first` and `later` for an epoch whose
//! images are decoded and for one whose images come from the cache, augmented. The answer is a JSON object with seconds, processor
//! seconds and images.

#![expect(clippy::print_stdout, reason = "the times are what it is run for")]

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use osteon::image::Plane;
use osteon::image::preprocess::Preprocessing;
use osteon::runtime::{Device, keep_large_blocks};
use osteon::train::data::cache::{CacheWriter, PlaneCache};
use osteon::train::data::index::{load, rows};
use osteon::train::data::samples::Image;
use osteon::train::data::{Augmentation, Samples};
use osteon::train::learn::batches::{Loader, Shuffle};
use osteon::train::learn::engine::Placer;
use osteon::train::learn::engine::device::{Devices, Wanted, choose};
use osteon::train::learn::{FitError, Precision, Progress, Recipe, StepReport, Training};
use rayon::{ThreadPool, ThreadPoolBuilder};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

#[derive(Parser)]
enum Arguments {
    /// Steps of a training on images that are in memory already
    Train {
        /// A family of networks, as recipes name it
        #[arg(long)]
        network: String,
        /// How steps multiply: float32 or bfloat16
        #[arg(long, value_parser = precision)]
        precision: Precision,
        /// Threads of libtorch
        #[arg(long)]
        threads: usize,
        /// Images of one step
        #[arg(long)]
        batch: usize,
        /// Steps of one round
        #[arg(long)]
        steps: usize,
        /// As for `osteon-train fit`
        #[arg(long, default_value = "cpu")]
        device: Wanted,
    },
    /// Epochs of images without a network
    Pipeline {
        /// images.csv of an index, whose cache is made anew for each `first`
        #[arg(long)]
        labels: PathBuf,
        /// Rows and columns of the network's input
        #[arg(long)]
        side: usize,
        /// Threads that decode and augment
        #[arg(long)]
        threads: usize,
        /// Images of one batch
        #[arg(long)]
        batch: usize,
    },
}

/// Steps before the first round: libtorch chooses its kernels in them.
const WARM: usize = 2;
/// Different images of a training; they are seen again and again.
const IMAGES: u32 = 64;
/// More steps than are ever asked for, and few enough that the list of their images takes no memory worth counting.
const STEPS: usize = 1_000;

fn main() -> anyhow::Result<()> {
    match Arguments::parse() {
        Arguments::Train {
            network,
            precision,
            threads,
            batch,
            steps,
            device,
        } => {
            let recipe = recipe(&json!({"family": network, "channels": 3, "rows": 224, "columns": 224}))?;
            train(
                &Recipe {
                    batch,
                    precision,
                    threads,
                    ..recipe
                },
                steps,
                &choose(&device)?.devices,
            )
        }
        Arguments::Pipeline {
            labels,
            side,
            threads,
            batch,
        } => {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build()?;
            let recipe =
                recipe(&json!({"family": "resnet18", "channels": 3, "rows": side, "columns": side}))?;
            let recipe = Recipe {
                batch,
                threads,
                ..recipe
            };
            pipeline(&recipe, &labels, &pool)
        }
    }
}

/// As recipes name it.
fn precision(text: &str) -> Result<Precision, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

fn recipe(architecture: &serde_json::Value) -> anyhow::Result<Recipe> {
    let text = json!({"labels": ["one", "other"], "architecture": architecture, "weight_average": null, "epochs": 1});
    Ok(Recipe::from_json(&text.to_string())?)
}

/// The usual contract of a recipe's network.
fn contract(recipe: &Recipe) -> Preprocessing {
    let [channels, rows, columns] = recipe.architecture.input();
    let grey = Preprocessing::grey(rows, columns);
    Preprocessing {
        channels,
        mean: vec![grey.mean[0]; channels],
        std: vec![grey.std[0]; channels],
        ..grey
    }
}

/// A training as `fit` does it, whose steps wait for lines on standard input; ends the process with the last line.
fn train(recipe: &Recipe, steps: usize, devices: &Devices) -> anyhow::Result<()> {
    let recipe = Recipe {
        augmentation: Augmentation::none(),
        ..recipe.clone()
    };
    let contract = contract(&recipe);
    let folder = tempfile::tempdir()?;
    let cache = std::sync::Arc::new(noise(folder.path(), &contract)?);
    let samples = |patients: &str, count: usize| {
        let mut samples = Samples::default();
        for place in 0..count {
            let image = Image::Cached(cache.clone(), place as u32 % IMAGES);
            let label = (place % 2) as f32;
            samples.push(image, vec![label, 1.0 - label], format!("{patients}{place}"));
        }
        samples
    };
    let mut rounds = Rounds {
        steps,
        taken: 0,
        since: Round::start(),
    };
    let normalise = |plane: &Plane| contract.tensor(plane);
    let training = Training {
        recipe: &recipe,
        train: &samples("T", STEPS * recipe.batch),
        validation: &samples("V", 4),
        normalise: &normalise,
        devices,
    };
    training.run(None, None, &mut rounds)?;
    anyhow::bail!("more rounds than there are steps")
}

fn noise(folder: &Path, contract: &Preprocessing) -> anyhow::Result<PlaneCache> {
    let (rows, columns) = (contract.rows, contract.columns);
    let plane = |seed: u32| Plane {
        rows,
        columns,
        values: (0..(rows * columns) as u32)
            .map(|pixel| ((pixel ^ seed).wrapping_mul(0x9E37_79B1) >> 16) as u16)
            .collect(),
    };
    let images: Vec<_> = (0..IMAGES).map(|seed| ([seed as u8; 32], plane(seed))).collect();
    CacheWriter::open(folder, contract)?.add(&images)?;
    PlaneCache::open(folder, contract)?.context("the cache that was made is gone")
}

/// Tells the time of every `steps` steps.
struct Rounds {
    steps: usize,
    taken: usize,
    since: Round,
}

impl Progress for Rounds {
    fn step(&mut self, report: &StepReport) {
        self.taken += 1;
        if self.taken == WARM {
            println!("ready");
        } else if self.taken > WARM && (self.taken - WARM).is_multiple_of(self.steps) {
            self.since.tell(self.steps * report.images);
        } else {
            return;
        }
        if asked().is_none() {
            std::process::exit(0);
        }
        self.since = Round::start();
    }
}

/// Whole epochs, without a network.
fn pipeline(recipe: &Recipe, csv: &Path, pool: &ThreadPool) -> anyhow::Result<()> {
    let contract = contract(recipe);
    let heads = recipe.heads();
    let normalise = |plane: &Plane| contract.tensor(plane);
    let cache = csv.with_file_name("cache");
    let mut samples = Samples::default();
    let mut epoch = 0;
    // as every training does
    keep_large_blocks();
    println!("ready");
    while let Some(kind) = asked() {
        if kind == "first" {
            if cache.exists() {
                std::fs::remove_dir_all(&cache).context("the cache cannot be removed")?;
            }
            let round = Round::start();
            let rows = rows(csv, &heads.columns(), &[])?;
            samples = pool.install(|| load(csv, rows, &contract, || {}))?.samples;
            round.tell(samples.len());
            continue;
        }
        let loader = Loader {
            samples: &samples,
            heads: &heads,
            normalise: &normalise,
            placers: vec![Placer {
                device: Device::Cpu,
                input: recipe.architecture.input(),
            }],
            batch: recipe.batch,
            pool: Some(pool),
        };
        epoch += 1;
        let wanted = Shuffle {
            recipe,
            epoch,
            from: 0,
        };
        let round = Round::start();
        let images: usize = std::thread::scope(|scope| {
            let batches = loader.shuffled(scope, wanted).into_iter();
            batches
                .map(|batch| Ok::<_, FitError>(batch?.size))
                .sum::<Result<_, _>>()
        })?;
        round.tell(images);
    }
    Ok(())
}

/// The next line of standard input.
fn asked() -> Option<String> {
    std::io::stdin().lock().lines().next()?.ok()
}

/// When a round began.
struct Round {
    wall: Instant,
    processor: Duration,
}

impl Round {
    fn start() -> Self {
        Self {
            wall: Instant::now(),
            processor: on_processor(),
        }
    }

    fn tell(&self, images: usize) {
        let processor = on_processor().saturating_sub(self.processor);
        println!(
            "{}",
            json!({"wall": self.wall.elapsed().as_secs_f64(), "processor": processor.as_secs_f64(), "images": images})
        );
    }
}

/// What all threads of this process have spent on processors.
fn on_processor() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

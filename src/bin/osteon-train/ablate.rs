//! `osteon-train augment ablate`: a training without each setting of the augmentation, with several seeds, and what each setting is worth.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use indicatif::HumanDuration;
use osteon::evaluation::interval::Bootstrap;
use osteon::image::preprocess::Preprocessing;
use osteon::train::assess::ablate::{Arm, Outcome, Trained, arms, caution, forests, table};
use osteon::train::data::augment::Augmentation;
use osteon::train::learn::engine::device::Devices;
use osteon::train::learn::{Recipe, Start};
use osteon::train::plot::forest;
use osteon::train::run::Source;

use crate::augment::Told;
use crate::device;
use crate::fit::{Parts, contract, diverged, held_out, read_recipe, said_parts, started, told, train};

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  osteon-train augment ablate --labels images.csv --recipe fit.json --out runs/ablation\n  osteon-train augment ablate --labels images.csv --recipe fit.json --out runs/ablation --seeds 5\n\nEach training is a run of its own in --out, and all hold the same patients out. First all recipes train with one seed, then with the next, and\nsummary.json has the figures after each. Stopped, by whatever it was, the same command goes on; with more --seeds it adds\nthose that are missing. An interval that holds 0 says that these images and seeds do not tell."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    told: Told,
    /// Folder for the runs, summary.json and summary.svg
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Trainings of each recipe, each with a seed of its own: 3 are the least that tell seeds from settings, 5 halve the intervals
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..), value_name = "COUNT")]
    seeds: u8,
    #[command(flatten)]
    device: device::On,
}

/// A training that is to be made, or was.
struct Planned<'a> {
    /// Its number, from 1.
    number: usize,
    without: Option<&'static str>,
    recipe: Recipe,
    start: &'a Start,
    path: PathBuf,
}

#[expect(clippy::print_stdout, reason = "the table is what the command is run for")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let out = &arguments.out;
    std::fs::create_dir_all(out).with_context(|| format!("{} cannot be written", out.display()))?;
    let recipe = read_recipe(&arguments.told.recipe)?;
    let devices = arguments.device.chosen(&recipe)?;
    let contract = contract(&recipe, arguments.told.preprocessing.as_deref())?;
    let source = Source {
        split_seed: Some(recipe.seed),
        ..arguments.told.source()?
    };
    let parts = held_out(&source, &recipe, &contract)?;
    said_parts(&recipe, &parts);
    let settings = recipe.augmentation.explain().into_iter();
    let without: Vec<_> = settings
        .filter_map(|(name, _)| Some((name, recipe.augmentation.without(name)?)))
        .collect();
    let ablation = Ablation {
        all: usize::from(arguments.seeds) * (1 + without.len()),
        recipe: &recipe,
        without,
        contract: &contract,
        source: &source,
        parts: &parts,
        devices: &devices,
        out,
    };
    let arms = ablation.run(arguments.seeds)?;
    let drawn = forest::svg(&forests(&arms, &recipe.labels));
    crate::plot::write(drawn, &out.join("summary.svg"))?;
    print!("{}", table(&arms, &recipe.labels));
    eprintln!("{}", caution(&arms));
    let without = arms.iter().flat_map(|arm| &arm.trainings);
    let without = without.filter(|own| own.problem.is_some()).count();
    ensure!(
        without == 0,
        "{without} of {} trainings have no figures",
        ablation.all
    );
    Ok(())
}

/// What all trainings share.
struct Ablation<'a> {
    recipe: &'a Recipe,
    /// The settings that are on, each with the augmentation without it.
    without: Vec<(&'static str, Augmentation)>,
    contract: &'a Preprocessing,
    source: &'a Source,
    parts: &'a Parts,
    devices: &'a Devices,
    out: &'a Path,
    /// How many trainings there are.
    all: usize,
}

impl Ablation<'_> {
    /// Makes what is missing, all recipes with one seed and then with the next, and gives the figures of all.
    fn run(&self, seeds: u8) -> anyhow::Result<Vec<Arm>> {
        let (mut trained, mut spent) = (Vec::new(), Vec::new());
        for seed in 0..seeds {
            let mut whole = Recipe {
                seed: self.recipe.seed.wrapping_add(u64::from(seed)),
                ..self.recipe.clone()
            };
            let start = started(&mut whole)?;
            for planned in self.planned(&whole, &start, trained.len()) {
                let began = Instant::now();
                let (outcome, here) = self.outcome(&planned, &self.heading(&planned, &spent))?;
                if let Err(reason) = &outcome {
                    eprintln!("{} has no figures: {reason}", planned.path.display());
                }
                trained.push(Trained {
                    without: planned.without.map(str::to_owned),
                    seed: planned.recipe.seed,
                    outcome,
                });
                if here {
                    spent.push(began.elapsed());
                    self.keep(&trained)?;
                }
            }
        }
        self.keep(&trained)
    }

    /// The trainings with the seed of `whole`, of which so many are `before`.
    fn planned<'s>(&self, whole: &Recipe, start: &'s Start, before: usize) -> Vec<Planned<'s>> {
        let planned = |place: usize, without: Option<&'static str>, recipe: Recipe| {
            let name = without.map_or("whole".to_owned(), |name| format!("without-{name}"));
            Planned {
                number: before + place + 1,
                path: self.out.join(name).join(format!("seed-{}", recipe.seed)),
                without,
                recipe,
                start,
            }
        };
        let mut all = vec![planned(0, None, whole.clone())];
        for (place, (name, augmentation)) in self.without.iter().enumerate() {
            let recipe = Recipe {
                augmentation: augmentation.clone(),
                ..whole.clone()
            };
            all.push(planned(place + 1, Some(*name), recipe));
        }
        all
    }

    /// Writes the figures of what was trained until now.
    fn keep(&self, trained: &[Trained]) -> anyhow::Result<Vec<Arm>> {
        let bootstrap = Bootstrap {
            seed: self.recipe.seed,
            ..Bootstrap::default()
        };
        let figures = arms(&self.recipe.heads(), &self.parts.validation, trained, bootstrap);
        let path = self.out.join("summary.json");
        std::fs::write(&path, serde_json::to_vec_pretty(&figures)?)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(figures)
    }

    /// What came of a training, and whether it was made now; `heading` is said where it is.
    fn outcome(
        &self,
        Planned {
            recipe, start, path, ..
        }: &Planned<'_>,
        heading: &str,
    ) -> anyhow::Result<(Result<Outcome, String>, bool)> {
        let told = told(path, recipe, self.contract, self.source, start)?;
        let here = !told.run.is_finished();
        if here {
            eprintln!("{heading}");
            if let Err(error) = train(&told, self.parts, self.devices, Duration::from_mins(5)) {
                return Ok((Err(diverged(error)?), true));
            }
        }
        let (record, _) = told.run.outcome()?;
        let validation = record.validation;
        let complete = validation.check(&recipe.heads());
        complete.map_err(|reason| anyhow::anyhow!("{}: {reason}", path.display()))?;
        ensure!(
            validation.places == self.parts.places,
            "{} held other images out, though the table is the same: images can be read now that could not, or the other way round",
            path.display()
        );
        let best = record.history.into_iter().nth(record.best_epoch);
        let best = best.with_context(|| format!("{} does not say how its best epoch was", path.display()))?;
        let outcome = Outcome {
            measures: best.measures,
            logits: validation.logits,
        };
        Ok((Ok(outcome), here))
    }

    /// Which training it is, and how long all that is left will take, as far as those that were made here tell.
    fn heading(&self, planned: &Planned<'_>, spent: &[Duration]) -> String {
        let what = match planned.without {
            Some(name) => format!("without {name}"),
            None => "by the whole recipe".to_owned(),
        };
        let left = (self.all + 1 - planned.number) as f64;
        let rest = if spent.is_empty() {
            String::new()
        } else {
            let each = spent.iter().sum::<Duration>().as_secs_f64() / spent.len() as f64;
            format!(
                ", about {} left",
                HumanDuration(Duration::from_secs_f64(each * left))
            )
        };
        format!(
            "training {} of {}: {what}, seed {}{rest}",
            planned.number, self.all, planned.recipe.seed
        )
    }
}

//! The loop over epochs: batches, steps, validation, and the choice of the best epoch.
//!
//! Invariants: training images never meet validation patients; the weights that are answered are those of the epoch
//! with the best mean measure on the validation images; a loss that is not a number stops the training with its place; a training
//! that goes on from a checkpoint ends with the same weights, bit for bit, as one that was never stopped.

use std::time::Instant;

use rayon::ThreadPool;
use serde::{Deserialize, Serialize};

use super::super::data::Samples;
use super::super::network::{Graph, Weights};
use super::batches::{Loader, Shuffle};
use super::checkpoint::{CheckpointError, Checkpoints};
use super::engine::device::Devices;
use super::engine::{Engine, Replicas};
use super::error::FitError;
use super::heads::Heads;
use super::measure::{Measured, measure};
use super::objective::Objective;
use super::progress::{EpochReport, Progress};
use super::recipe::Recipe;
use super::regime::Regime;
use super::start::start;
use super::trainer::{Keeper, Trainer};
use crate::evaluation::interval::Bootstrap;
use crate::image::{Plane, Tensor};
use crate::model::package::sha256;
use crate::runtime::{Device, keep_large_blocks};

/// A finished training.
#[derive(Clone, Debug)]
pub struct FitOutcome {
    /// The network.
    pub graph: Graph,
    /// Its weights after the best epoch.
    pub weights: Weights,
    /// Every epoch.
    pub history: Vec<EpochReport>,
    /// The place of the best epoch in the history.
    pub best_epoch: usize,
    /// Where it ran to its end.
    pub devices: Devices,
}

/// What a network answers on many images, image first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Predictions {
    /// For each image the logits of all heads, before temperature.
    pub logits: Vec<Vec<f64>>,
}

/// A training: what it is told, and the images that it sees.
pub struct Training<'a, N> {
    /// What it is told.
    pub recipe: &'a Recipe,
    /// Images for the gradient.
    pub train: &'a Samples,
    /// Images of other patients, by which the epoch is chosen.
    pub validation: &'a Samples,
    /// The preprocessing contract's last step, from display image to tensor.
    pub normalise: &'a N,
    /// Where it runs, as [`choose`](super::engine::device::choose) gave it. Several devices share each batch; validation is on the first.
    pub devices: &'a Devices,
}

/// Trains on the CPU from where the recipe starts, without checkpoints. `normalise` is the preprocessing contract's last step, from display
/// image to tensor.
pub fn fit<N: Fn(&Plane) -> Tensor + Sync>(
    recipe: &Recipe,
    train: &Samples,
    validation: &Samples,
    normalise: &N,
    progress: &mut dyn Progress,
) -> Result<FitOutcome, FitError> {
    let training = Training {
        recipe,
        train,
        validation,
        normalise,
        devices: &Device::Cpu.into(),
    };
    training.run(None, None, progress)
}

impl<N: Fn(&Plane) -> Tensor + Sync> Training<'_, N> {
    /// Trains from `weights`, which must fit the recipe's network, or from where the recipe starts; goes on where the newest of `checkpoints`
    /// was made, if there is one.
    pub fn run(
        &self,
        weights: Option<&Weights>,
        checkpoints: Option<&Checkpoints>,
        progress: &mut dyn Progress,
    ) -> Result<FitOutcome, FitError> {
        self.check()?;
        let recipe = self.recipe;
        let (graph, heads) = (recipe.graph()?, recipe.heads());
        self.check_measures(&heads)?;
        let replicas = self.replicas(weights, &heads)?;
        let pool = self.pool()?;
        let loader = self.loader(&heads, &replicas, &pool);
        let steps_of_epoch = loader.batches().max(1);
        let mut trainer = Trainer::new(recipe, replicas, steps_of_epoch)?;
        let mut keeper = checkpoints.map(|checkpoints| Keeper {
            checkpoints,
            training: self.identity(),
            last: Instant::now(),
        });
        if let Some(keeper) = &keeper
            && let Some(checkpoint) = keeper.checkpoints.load()?
        {
            if checkpoint.standing.training != keeper.training {
                return Err(CheckpointError::Other.into());
            }
            trainer.restore(checkpoint)?;
        }
        let seen = trainer.course.epoch * self.train.len() + trainer.course.images;
        progress.start(recipe.epochs * self.train.len(), seen);
        let is_patience_over = |trainer: &Trainer<'_>| {
            recipe
                .patience
                .is_some_and(|patience| trainer.in_vain() >= patience)
        };
        while trainer.course.epoch < recipe.epochs && !is_patience_over(&trainer) {
            trainer.begin_epoch()?;
            let (started, before) = (Instant::now(), trainer.course.images);
            let shuffle = Shuffle {
                recipe,
                epoch: trainer.course.epoch,
                from: trainer.course.step,
            };
            let train_loss = std::thread::scope(|scope| {
                trainer.epoch(loader.shuffled(scope, shuffle), keeper.as_mut(), progress)
            })?;
            let images = trainer.course.images - before;
            let seconds = started.elapsed().as_secs_f64().max(1e-9);
            let current = trainer.averaged()?;
            let measured = self.assess(&current, &heads)?;
            let report = EpochReport {
                epoch: trainer.course.epoch,
                learning_rate: trainer.learning_rate,
                train_loss,
                validation_loss: measured.loss,
                measures: measured.of_labels,
                mean_measure: measured.mean,
                images_per_second: images as f64 / seconds,
                waiting: trainer.waited.as_secs_f64() / seconds,
            };
            // a checkpoint could not hold it
            if !report.validation_loss.is_finite() {
                return Err(FitError::Diverged {
                    what: "the loss on the held-out images",
                    value: report.validation_loss,
                    epoch: report.epoch + 1,
                    step: trainer.course.step,
                    learning_rate: report.learning_rate,
                });
            }
            if !report.mean_measure.is_finite() {
                return Err(FitError::NothingToValidate);
            }
            progress.epoch(&report);
            trainer.end_epoch(report, &current)?;
            if let Some(keeper) = &mut keeper {
                keeper.save(&trainer)?;
            }
        }
        progress.finish();
        let (best_epoch, _, weights) = trainer.course.best.ok_or(FitError::NothingToValidate)?;
        Ok(FitOutcome {
            graph,
            weights,
            history: trainer.course.history,
            best_epoch,
            devices: self.devices.clone(),
        })
    }

    /// The network that steps move, with what they make small, on each device.
    pub(super) fn replicas(&self, weights: Option<&Weights>, heads: &Heads) -> Result<Replicas, FitError> {
        let recipe = self.recipe;
        if recipe.regime == (Regime::Scratch {}) && weights.is_some() {
            return Err(FitError::NotFromScratch);
        }
        keep_large_blocks();
        let graph = recipe.graph()?;
        let on = |weights: &Weights| Engine::on(self.devices.first, &graph, weights, recipe.threads);
        let mut engine = match weights {
            Some(weights) => on(weights)?,
            None => on(&start(recipe)?.weights)?,
        };
        engine.set_objective(Objective::new(heads, recipe.loss, &self.train.labels));
        engine.set_precision(recipe.precision);
        Ok(Replicas::new(engine, self.devices.others())?)
    }

    /// Threads that read and augment images.
    pub(super) fn pool(&self) -> Result<ThreadPool, FitError> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.recipe.threads);
        pool.build().map_err(|error| FitError::Threads(error.to_string()))
    }

    /// How the training images become batches.
    pub(super) fn loader<'b>(
        &'b self,
        heads: &'b Heads,
        replicas: &Replicas,
        pool: &'b ThreadPool,
    ) -> Loader<'b, N> {
        Loader {
            samples: self.train,
            heads,
            normalise: self.normalise,
            placers: replicas.placers(),
            batch: self.recipe.batch,
            pool: Some(pool),
        }
    }

    /// How good a network is on the held-out images.
    fn assess(&self, engine: &Engine, heads: &Heads) -> Result<Measured, FitError> {
        let predictions = predict(engine, heads, self.validation, self.normalise, self.recipe.batch)?;
        Ok(measure(
            heads,
            &predictions.logits,
            self.validation,
            self.bootstrap(),
        ))
    }

    fn bootstrap(&self) -> Bootstrap {
        Bootstrap {
            seed: self.recipe.seed,
            ..Bootstrap::default()
        }
    }

    /// Whether epochs can be told apart is known before the first of them: it does not depend on the answers.
    fn check_measures(&self, heads: &Heads) -> Result<(), FitError> {
        let answers = vec![vec![0.0; heads.width()]; self.validation.len()];
        let mean = measure(heads, &answers, self.validation, self.bootstrap()).mean;
        if mean.is_finite() {
            Ok(())
        } else {
            Err(FitError::NothingToValidate)
        }
    }

    /// SHA-256 of recipe, patients, body parts and labels. The images themselves are left out: to digest an archive takes as long as to read it.
    fn identity(&self) -> String {
        let mut told = serde_json::to_vec(self.recipe).unwrap_or_default();
        for samples in [self.train, self.validation] {
            told.extend(samples.len().to_le_bytes());
            let names = samples.patients.iter().zip(&samples.body_parts);
            for ((patient, part), labels) in names.zip(&samples.labels) {
                for name in [patient.as_str(), part.as_deref().unwrap_or_default()] {
                    told.extend(name.len().to_le_bytes());
                    told.extend(name.as_bytes());
                }
                told.extend(labels.iter().flat_map(|label| label.to_le_bytes()));
            }
        }
        sha256(&told)
    }

    pub(super) fn check(&self) -> Result<(), FitError> {
        let recipe = self.recipe;
        recipe.check()?;
        recipe.check_on(self.devices)?;
        let heads = recipe.heads();
        for (part, samples) in [("training", self.train), ("validation", self.validation)] {
            samples
                .check(recipe.labels.len())
                .map_err(|source| FitError::Samples { part, source })?;
            for (index, labels) in samples.labels.iter().enumerate() {
                heads
                    .check_labels(labels)
                    .map_err(|problem| FitError::Labels { part, index, problem })?;
            }
            let (found, needed) = (
                (self.normalise)(&*samples.images[0].plane()?).shape,
                recipe.architecture.input(),
            );
            if found != needed {
                return Err(FitError::Input { found, needed });
            }
        }
        let own: std::collections::BTreeSet<&String> = self.train.patients.iter().collect();
        match self
            .validation
            .patients
            .iter()
            .find(|patient| own.contains(patient))
        {
            Some(patient) => Err(FitError::Leak {
                patient: patient.clone(),
            }),
            None => Ok(()),
        }
    }
}

/// Runs all samples through `engine`, without augmentation, in their order.
pub fn predict<N: Fn(&Plane) -> Tensor + Sync>(
    engine: &Engine,
    heads: &Heads,
    samples: &Samples,
    normalise: &N,
    batch: usize,
) -> Result<Predictions, FitError> {
    let loader = Loader {
        samples,
        heads,
        normalise,
        placers: vec![engine.placer()],
        batch,
        pool: None,
    };
    let mut predictions = Predictions::default();
    std::thread::scope(|scope| {
        for batch in loader.in_order(scope) {
            let batch = batch?;
            for images in &batch.shares {
                let outputs = engine.answers(images)?;
                if let Some(logits) = outputs.get("logits") {
                    let rows = logits.values.chunks(heads.width().max(1));
                    let rows = rows.map(|row| row.iter().map(|logit| f64::from(*logit)).collect());
                    predictions.logits.extend(rows);
                }
            }
        }
        Ok(predictions)
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::network::{Architecture, Residual};
    use super::super::progress::StepReport;
    use super::*;
    use crate::image::preprocess::Preprocessing;

    /// Counts steps.
    #[derive(Default)]
    struct Steps(usize);

    impl Progress for Steps {
        fn step(&mut self, _: &StepReport) {
            self.0 += 1;
        }
    }

    #[test]
    fn what_cannot_be_measured_is_told_before_the_first_step() {
        let residual = Residual {
            rows: 20,
            columns: 14,
            stem: 4,
            widths: vec![5],
            blocks: vec![1],
            ..Residual::default()
        };
        let recipe = Recipe {
            architecture: Architecture::Residual(residual),
            epochs: 1,
            batch: 2,
            threads: 1,
            ..Recipe::default()
        };
        let contract = Preprocessing::grey(20, 14);
        let samples = |side: &str, label: &dyn Fn(u16) -> f32| {
            let mut samples = Samples::default();
            for place in 0..4_u16 {
                let plane = Plane {
                    rows: 20,
                    columns: 14,
                    values: (0..280).map(|pixel| pixel * 100 + place).collect(),
                };
                let labels = vec![label(place), f32::NAN];
                samples.push(plane, labels, format!("{side}{place}"));
            }
            samples
        };
        let both = |place: u16| f32::from(place % 2);
        let normalise = |plane: &Plane| contract.tensor(plane);
        let run = |validation: &Samples| {
            let mut steps = Steps::default();
            let outcome = fit(&recipe, &samples("t", &both), validation, &normalise, &mut steps);
            (outcome, steps.0)
        };
        let (outcome, steps) = run(&samples("v", &|_| 1.0));
        assert!(
            matches!(outcome, Err(FitError::NothingToValidate)) && steps == 0,
            "{steps}"
        );
        let (outcome, steps) = run(&samples("v", &both));
        assert!(outcome.is_ok() && steps == 2, "{steps}");
    }
}

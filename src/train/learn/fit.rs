//! The loop over epochs: batches, steps, validation, and the choice of the best epoch.
//!
//! Invariants: training images never meet validation patients; the weights that are answered are those of the epoch
//! with the best mean measure on the validation images; a loss that is not a number stops the training with its place; a training
//! that goes on from a checkpoint ends with the same weights, bit for bit, as one that was never stopped.

use std::sync::mpsc::sync_channel;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::super::data::cache::CacheError;
use super::super::data::{Samples, SamplesError};
use super::super::network::{Graph, GraphError, Weights, WeightsError};
use super::batches::{Loader, Shuffle};
use super::checkpoint::{CheckpointError, Checkpoints};
use super::engine::{Engine, EngineError};
use super::heads::Heads;
use super::measure::measure;
use super::objective::Objective;
use super::progress::{EpochReport, Progress};
use super::recipe::{Recipe, RecipeError};
use super::regime::Regime;
use super::start::{StartError, start};
use super::trainer::{Keeper, Trainer};
use crate::evaluation::interval::Bootstrap;
use crate::image::{Plane, Tensor};
use crate::model::package::sha256;
use crate::runtime::{Device, keep_large_blocks};

/// Why a training stopped without a result.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The recipe cannot be followed.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The images or labels cannot be used.
    #[error("{part} images: {source}")]
    Samples {
        /// Training or validation.
        part: &'static str,
        /// What is wrong.
        source: SamplesError,
    },
    /// Labels that contradict themselves.
    #[error("{part} image {index}: {problem}")]
    Labels {
        /// Training or validation.
        part: &'static str,
        /// Its place.
        index: usize,
        /// What is wrong.
        problem: String,
    },
    /// An image that cannot be read from the cache any more.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A patient on both sides.
    #[error("patient `{patient}` has images in training and in validation; split by patient")]
    Leak {
        /// The pseudonym.
        patient: String,
    },
    /// Preprocessing makes tensors of another size than the network takes.
    #[error("the preprocessing makes tensors of {found:?}; the network takes {needed:?}")]
    Input {
        /// What it makes.
        found: [usize; 3],
        /// What the network takes.
        needed: [usize; 3],
    },
    /// Nothing can be measured on the validation images, so no epoch is better than another.
    #[error("no label has both classes among the validation images; more are needed")]
    NothingToValidate,
    /// Weights were given to a training that must start without.
    #[error("the regime is scratch, which starts from random weights: leave the weights out, or choose full")]
    NotFromScratch,
    /// The loss is infinite or not a number.
    #[error(
        "the loss is {loss} in epoch {epoch}, step {step}, at a learning rate of {learning_rate:.2e}; lower the peak rate or look for values that are not numbers in the images. The checkpoint before it, if there was one, is whole"
    )]
    Diverged {
        /// The loss.
        loss: f64,
        /// From 1.
        epoch: usize,
        /// From 1, in the epoch.
        step: usize,
        /// At that step.
        learning_rate: f64,
    },
    /// The thread pool cannot be made.
    #[error("cannot start the augmentation threads: {0}")]
    Threads(String),
    /// The checkpoint cannot be written or used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The weights to start from cannot be had.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The device cannot do what the recipe says.
    #[error("recipe: precision: {0}")]
    Precision(String),
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The graph is no network.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Weights to start from that do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

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
    /// Where it runs, as [`choose`](super::engine::device::choose) gave it.
    pub device: Device,
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
        device: Device::Cpu,
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
        let engine = self.engine(weights, &heads)?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(recipe.threads)
            .build();
        let pool = pool.map_err(|error| FitError::Threads(error.to_string()))?;
        let loader = self.loader(&heads, &engine);
        let steps_of_epoch = loader.batches().max(1);
        let mut trainer = Trainer::new(recipe, engine, steps_of_epoch)?;
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
        while trainer.course.epoch < recipe.epochs && !self.is_patience_over(&trainer) {
            trainer.begin_epoch()?;
            let (started, before) = (Instant::now(), trainer.course.images);
            let shuffle = Shuffle {
                recipe,
                epoch: trainer.course.epoch,
                from: trainer.course.step,
            };
            let train_loss = std::thread::scope(|scope| {
                let (sender, receiver) = sync_channel(1);
                let (pool, loader) = (&pool, &loader);
                scope.spawn(move || pool.install(|| loader.shuffled(&shuffle, &sender)));
                trainer.epoch(receiver, keeper.as_mut(), progress)
            })?;
            let images = trainer.course.images - before;
            let current = trainer.averaged()?;
            let report = EpochReport {
                epoch: trainer.course.epoch,
                learning_rate: trainer.learning_rate,
                train_loss,
                images_per_second: images as f64 / started.elapsed().as_secs_f64().max(1e-9),
                ..self.assess(&current, &heads)?
            };
            if !report.mean_measure.is_finite() {
                return Err(FitError::NothingToValidate);
            }
            // a checkpoint could not hold it
            if !report.validation_loss.is_finite() {
                return Err(FitError::Diverged {
                    loss: report.validation_loss,
                    epoch: report.epoch + 1,
                    step: trainer.course.step,
                    learning_rate: report.learning_rate,
                });
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
        })
    }

    /// The network that steps move, with what they make small.
    pub(super) fn engine(&self, weights: Option<&Weights>, heads: &Heads) -> Result<Engine, FitError> {
        let recipe = self.recipe;
        if recipe.regime == (Regime::Scratch {}) && weights.is_some() {
            return Err(FitError::NotFromScratch);
        }
        recipe.precision.check(self.device).map_err(FitError::Precision)?;
        keep_large_blocks();
        let graph = recipe.graph()?;
        let on = |weights: &Weights| Engine::on(self.device, &graph, weights, recipe.threads);
        let mut engine = match weights {
            Some(weights) => on(weights)?,
            None => on(&start(recipe)?.weights)?,
        };
        engine.set_objective(Objective::new(heads, recipe.loss, &self.train.labels));
        engine.set_precision(recipe.precision);
        Ok(engine)
    }

    /// How the training images become batches.
    pub(super) fn loader<'b>(&'b self, heads: &'b Heads, engine: &Engine) -> Loader<'b, N> {
        Loader {
            samples: self.train,
            heads,
            normalise: self.normalise,
            placer: engine.placer(),
            batch: self.recipe.batch,
        }
    }

    fn is_patience_over(&self, trainer: &Trainer<'_>) -> bool {
        let best = trainer.course.best.as_ref().map(|(place, ..)| *place);
        let waited = best.map_or(0, |best| trainer.course.epoch - 1 - best);
        self.recipe
            .patience
            .is_some_and(|patience| best.is_some() && waited >= patience)
    }

    fn assess(&self, engine: &Engine, heads: &Heads) -> Result<EpochReport, FitError> {
        let predictions = predict(engine, heads, self.validation, self.normalise, self.recipe.batch)?;
        let bootstrap = Bootstrap {
            seed: self.recipe.seed,
            ..Bootstrap::default()
        };
        let measured = measure(heads, &predictions.logits, self.validation, bootstrap);
        Ok(EpochReport {
            epoch: 0,
            learning_rate: 0.0,
            train_loss: 0.0,
            validation_loss: measured.loss,
            measures: measured.of_labels,
            mean_measure: measured.mean,
            images_per_second: 0.0,
        })
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
        placer: engine.placer(),
        batch,
    };
    let mut predictions = Predictions::default();
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(1);
        scope.spawn(move || loader.in_order(&sender));
        for batch in receiver {
            let batch = batch?;
            let outputs = engine.answers(&batch.images)?;
            if let Some(logits) = outputs.get("logits") {
                let width = (logits.values.len() / batch.size).max(1);
                predictions.logits.extend(
                    logits
                        .values
                        .chunks(width)
                        .map(|row| row.iter().map(|v| f64::from(*v)).collect()),
                );
            }
        }
        Ok(predictions)
    })
}

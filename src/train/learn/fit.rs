//! The loop over epochs: batches, steps, validation, and the choice of the best epoch.
//!
//! Invariants: training images never meet validation patients; the weights that are answered are those of the epoch
//! with the best mean validation AUROC; a loss that is not a number stops the training with its place.

use std::sync::mpsc::sync_channel;
use std::time::Instant;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::super::data::{Samples, SamplesError};
use super::super::network::{Graph, GraphError, Weights, WeightsError};
use super::batches::{Batch, Loader};
use super::engine::{Engine, EngineError};
use super::optimizer::{AdamW, AdamWSettings, RunningMean};
use super::progress::{EpochReport, Progress};
use super::recipe::{Recipe, RecipeError};
use super::start::{StartError, start};
use crate::evaluation::calibration::negative_log_likelihood;
use crate::evaluation::interval::{Bootstrap, auroc_interval};
use crate::image::{Plane, Tensor};

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
    /// No label has both classes among the validation images, so no epoch is better than another.
    #[error("no label has both classes among the validation images; more are needed")]
    NothingToValidate,
    /// The loss is infinite or not a number.
    #[error(
        "the loss is {loss} in epoch {epoch}, step {step}, at a learning rate of {learning_rate:.2e}; lower the peak rate or look for values that are not numbers in the images"
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
    /// The weights to start from cannot be had.
    #[error(transparent)]
    Start(#[from] StartError),
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
    /// For each image one logit per label, before temperature.
    pub logits: Vec<Vec<f64>>,
    /// For each image one probability per label, after temperature.
    pub probabilities: Vec<Vec<f64>>,
}

/// Trains from where the recipe starts. `normalise` is the preprocessing contract's last step, from display image to tensor.
pub fn fit<N: Fn(&Plane) -> Tensor + Sync>(
    recipe: &Recipe,
    train: &Samples,
    validation: &Samples,
    normalise: &N,
    progress: &mut dyn Progress,
) -> Result<FitOutcome, FitError> {
    fit_from(
        recipe,
        &start(recipe)?.weights,
        train,
        validation,
        normalise,
        progress,
    )
}

/// Trains on from `weights`, which must fit the recipe's network.
pub fn fit_from<N: Fn(&Plane) -> Tensor + Sync>(
    recipe: &Recipe,
    weights: &Weights,
    train: &Samples,
    validation: &Samples,
    normalise: &N,
    progress: &mut dyn Progress,
) -> Result<FitOutcome, FitError> {
    check(recipe, train, validation, normalise)?;
    let graph = recipe.graph()?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(recipe.threads)
        .build();
    let pool = pool.map_err(|error| FitError::Threads(error.to_string()))?;
    let loader = Loader {
        samples: train,
        normalise,
        batch: recipe.batch,
    };
    let mut trainer = Trainer::new(
        recipe,
        Engine::new(&graph, weights, recipe.threads)?,
        loader.batches().max(1),
    )?;
    let mut history: Vec<EpochReport> = Vec::new();
    let mut best: Option<(usize, Weights)> = None;
    progress.start(recipe.epochs * train.len());
    for epoch in 0..recipe.epochs {
        let started = Instant::now();
        let train_loss = std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(1);
            let (pool, loader) = (&pool, &loader);
            scope.spawn(move || {
                pool.install(|| loader.shuffled(&recipe.augmentation, recipe.seed, epoch, &sender));
            });
            trainer.epoch(epoch, receiver, progress)
        })?;
        let seconds = started.elapsed().as_secs_f64().max(1e-9);
        let current = trainer.averaged()?;
        let predictions = predict(&current, validation, normalise, recipe.batch)?;
        let mut report = assess(recipe, &predictions, validation);
        report.epoch = epoch;
        report.learning_rate = trainer.learning_rate;
        report.train_loss = train_loss;
        report.images_per_second = train.len() as f64 / seconds;
        if !report.mean_auroc.is_finite() {
            return Err(FitError::NothingToValidate);
        }
        progress.epoch(&report);
        let better = best
            .as_ref()
            .is_none_or(|(place, _)| report.mean_auroc > history[*place].mean_auroc);
        history.push(report);
        if better {
            best = Some((epoch, current.weights()?));
        }
        let waited = epoch - best.as_ref().map_or(epoch, |(place, _)| *place);
        if recipe.patience.is_some_and(|patience| waited >= patience) {
            break;
        }
    }
    progress.finish();
    let (best_epoch, weights) = best.ok_or(FitError::NothingToValidate)?;
    Ok(FitOutcome {
        graph,
        weights,
        history,
        best_epoch,
    })
}

/// Runs all samples through `engine`, without augmentation, in their order.
pub fn predict<N: Fn(&Plane) -> Tensor + Sync>(
    engine: &Engine,
    samples: &Samples,
    normalise: &N,
    batch: usize,
) -> Result<Predictions, EngineError> {
    let loader = Loader {
        samples,
        normalise,
        batch,
    };
    let mut predictions = Predictions::default();
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel::<Batch>(1);
        scope.spawn(move || loader.in_order(&sender));
        for batch in receiver {
            let outputs = engine.run(&batch.images, batch.size)?;
            for (name, rows) in [
                ("logits", &mut predictions.logits),
                ("probabilities", &mut predictions.probabilities),
            ] {
                if let Some(output) = outputs.get(name) {
                    let width = (output.values.len() / batch.size).max(1);
                    rows.extend(
                        output
                            .values
                            .chunks(width)
                            .map(|row| row.iter().map(|v| f64::from(*v)).collect()),
                    );
                }
            }
        }
        Ok(predictions)
    })
}

/// The engine with everything that moves it.
struct Trainer<'a> {
    recipe: &'a Recipe,
    engine: Engine,
    optimizer: AdamW,
    parameters: Vec<f32>,
    mean_parameters: Option<RunningMean>,
    mean_statistics: Option<RunningMean>,
    random: ChaCha8Rng,
    steps_of_epoch: usize,
    learning_rate: f64,
}

impl<'a> Trainer<'a> {
    fn new(recipe: &'a Recipe, engine: Engine, steps_of_epoch: usize) -> Result<Self, EngineError> {
        let settings = AdamWSettings {
            weight_decay: recipe.weight_decay as f32,
            ..AdamWSettings::default()
        };
        let optimizer = AdamW::new(settings, engine.decays());
        let parameters = engine.trained()?;
        let statistics = engine.statistics()?;
        Ok(Self {
            recipe,
            optimizer,
            mean_parameters: recipe
                .weight_average
                .map(|decay| RunningMean::new(parameters.clone(), decay)),
            mean_statistics: recipe
                .weight_average
                .map(|decay| RunningMean::new(statistics, decay)),
            parameters,
            engine,
            random: ChaCha8Rng::seed_from_u64(recipe.seed),
            steps_of_epoch,
            learning_rate: 0.0,
        })
    }

    /// All steps of one epoch; answers the mean loss over its images.
    fn epoch(
        &mut self,
        epoch: usize,
        batches: impl IntoIterator<Item = Batch>,
        progress: &mut dyn Progress,
    ) -> Result<f64, FitError> {
        let (mut sum, mut images) = (0.0, 0);
        for (step, batch) in batches.into_iter().enumerate() {
            let steps = self.recipe.epochs * self.steps_of_epoch;
            self.learning_rate = self
                .recipe
                .schedule
                .rate(epoch * self.steps_of_epoch + step, steps);
            let result = self
                .engine
                .step(&batch.images, &batch.labels, batch.size, &mut self.random)?;
            if !result.loss.is_finite() || result.gradient.iter().any(|value| !value.is_finite()) {
                let (loss, learning_rate) = (result.loss, self.learning_rate);
                return Err(FitError::Diverged {
                    loss,
                    epoch: epoch + 1,
                    step: step + 1,
                    learning_rate,
                });
            }
            self.optimizer
                .step(&mut self.parameters, &result.gradient, self.learning_rate);
            self.engine.set_trained(&self.parameters)?;
            if let (Some(parameters), Some(statistics)) =
                (&mut self.mean_parameters, &mut self.mean_statistics)
            {
                parameters.update(&self.parameters);
                statistics.update(&self.engine.statistics()?);
            }
            sum += result.loss * batch.size as f64;
            images += batch.size;
            progress.step(epoch, batch.size, result.loss);
        }
        Ok(sum / images.max(1) as f64)
    }

    /// A second engine with the running means, or with the newest weights where there are none.
    fn averaged(&self) -> Result<Engine, EngineError> {
        let mut copy = Engine::new(self.engine.graph(), &self.engine.weights()?, self.recipe.threads)?;
        if let (Some(parameters), Some(statistics)) = (&self.mean_parameters, &self.mean_statistics) {
            copy.set_trained(&parameters.values)?;
            copy.set_statistics(&statistics.values)?;
        }
        Ok(copy)
    }
}

fn check<N: Fn(&Plane) -> Tensor + Sync>(
    recipe: &Recipe,
    train: &Samples,
    validation: &Samples,
    normalise: &N,
) -> Result<(), FitError> {
    recipe.check()?;
    for (part, samples) in [("training", train), ("validation", validation)] {
        samples
            .check(recipe.labels.len())
            .map_err(|source| FitError::Samples { part, source })?;
        let (found, needed) = (normalise(&samples.planes[0]).shape, recipe.architecture.input());
        if found != needed {
            return Err(FitError::Input { found, needed });
        }
    }
    let own: std::collections::BTreeSet<&String> = train.patients.iter().collect();
    match validation.patients.iter().find(|patient| own.contains(patient)) {
        Some(patient) => Err(FitError::Leak {
            patient: patient.clone(),
        }),
        None => Ok(()),
    }
}

fn assess(recipe: &Recipe, predictions: &Predictions, samples: &Samples) -> EpochReport {
    let mut auroc = Vec::new();
    let (mut loss, mut known) = (0.0, 0);
    for label in 0..recipe.labels.len() {
        let cases: Vec<usize> = (0..samples.len())
            .filter(|case| !samples.labels[*case][label].is_nan())
            .collect();
        let truth: Vec<bool> = cases
            .iter()
            .map(|case| samples.labels[*case][label] > 0.5)
            .collect();
        let logits: Vec<f64> = cases
            .iter()
            .map(|case| predictions.logits[*case][label])
            .collect();
        let patients: Vec<&String> = cases.iter().map(|case| &samples.patients[*case]).collect();
        let bootstrap = Bootstrap {
            seed: recipe.seed,
            ..Bootstrap::default()
        };
        auroc.push(auroc_interval(&logits, &truth, &patients, bootstrap).ok());
        loss += negative_log_likelihood(&logits, &truth, 1.0) * cases.len() as f64;
        known += cases.len();
    }
    let values: Vec<f64> = auroc.iter().flatten().map(|estimate| estimate.value).collect();
    EpochReport {
        epoch: 0,
        learning_rate: 0.0,
        train_loss: 0.0,
        validation_loss: loss / known.max(1) as f64,
        mean_auroc: values.iter().sum::<f64>() / values.len() as f64,
        auroc,
        images_per_second: 0.0,
    }
}

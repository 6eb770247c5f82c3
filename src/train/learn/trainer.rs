//! A network with everything that moves it, step by step.
//!
//! A trainer that is restored from a checkpoint takes the same steps as the one that made it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::super::network::Weights;
use super::batches::Ready;
use super::checkpoint::{Checkpoint, CheckpointError, Checkpoints, Standing};
use super::engine::{AdamW, AdamWSettings, Engine, EngineError, Replicas, RunningMean};
use super::error::FitError;
use super::progress::{EpochReport, Progress, StepReport};
use super::recipe::{Recipe, RecipeError};
use super::regime::{Depths, Phase};

/// How far a training is.
#[derive(Clone, Debug, Default)]
pub(super) struct Course {
    /// The epoch that goes on, from 0.
    pub(super) epoch: usize,
    /// Its steps so far.
    pub(super) step: usize,
    /// Sum of their losses, each times its images.
    pub(super) loss: f64,
    /// Their images.
    pub(super) images: usize,
    /// Every whole epoch.
    pub(super) history: Vec<EpochReport>,
    /// The best of them: its place, its mean measure, its weights.
    pub(super) best: Option<(usize, f64, Weights)>,
}

impl Course {
    /// Whether this epoch is better than those before. Few held-out images tell few values of a measure apart, so among equals the loss
    /// on them decides.
    fn is_best(&self, report: &EpochReport) -> bool {
        self.best.as_ref().is_none_or(|(place, best, _)| {
            let loss = self
                .history
                .get(*place)
                .map_or(f64::INFINITY, |best| best.validation_loss);
            report.mean_measure > *best
                || (report.mean_measure.to_bits() == best.to_bits() && report.validation_loss < loss)
        })
    }
}

/// Where checkpoints go, and for which training they are.
pub(super) struct Keeper<'a> {
    pub(super) checkpoints: &'a Checkpoints,
    pub(super) training: String,
    pub(super) last: Instant,
}

impl Keeper<'_> {
    pub(super) fn save(&mut self, trainer: &Trainer<'_>) -> Result<(), FitError> {
        self.checkpoints.save(&trainer.checkpoint(&self.training)?)?;
        self.last = Instant::now();
        Ok(())
    }
}

/// A network with everything that moves it.
pub(super) struct Trainer<'a> {
    recipe: &'a Recipe,
    replicas: Replicas,
    optimizer: AdamW,
    mean: Option<RunningMean>,
    random: ChaCha8Rng,
    steps_of_epoch: usize,
    depths: Depths,
    phases: Vec<Phase>,
    phase: usize,
    pub(super) course: Course,
    pub(super) learning_rate: f64,
    /// How long this epoch's steps waited for their images.
    pub(super) waited: Duration,
}

impl<'a> Trainer<'a> {
    pub(super) fn new(
        recipe: &'a Recipe,
        replicas: Replicas,
        steps_of_epoch: usize,
    ) -> Result<Self, FitError> {
        let engine = &replicas.first;
        let settings = AdamWSettings {
            weight_decay: recipe.weight_decay,
            ..AdamWSettings::default()
        };
        let mean = recipe.weight_average.map(|decay| RunningMean::new(engine, decay));
        let depths = Depths::of(engine.graph())?;
        let mut trainer = Self {
            optimizer: AdamW::new(settings, engine)?,
            mean: mean.transpose()?,
            phases: phases(recipe, &depths)?,
            phase: 0,
            depths,
            replicas,
            random: ChaCha8Rng::seed_from_u64(recipe.seed),
            steps_of_epoch,
            course: Course::default(),
            learning_rate: 0.0,
            waited: Duration::ZERO,
            recipe,
        };
        trainer.enter(0)?;
        Ok(trainer)
    }

    /// Moves those groups from now on that this phase moves.
    fn enter(&mut self, phase: usize) -> Result<(), FitError> {
        self.phase = phase;
        let factors = &self.phases[phase].factors;
        let factor = |node: &str| factors.get(self.depths.of_node(node)).copied().unwrap_or(1.0) as f32;
        let engine = &self.replicas.first;
        self.optimizer.set_factors(engine, factor)?;
        let frozen = engine.graph().nodes.iter().map(|node| node.name.clone());
        let frozen = frozen.filter(|node| factor(node) == 0.0).collect();
        Ok(self.replicas.freeze(frozen)?)
    }

    /// Before the steps of an epoch: a new phase begins with an empty memory, because its steps are of other parameters.
    pub(super) fn begin_epoch(&mut self) -> Result<(), FitError> {
        let epoch = self.course.epoch;
        let begins = self
            .phases
            .iter()
            .position(|phase| phase.first == epoch && epoch > 0);
        if let Some(phase) = begins.filter(|_| self.course.step == 0) {
            self.optimizer.forget()?;
            self.enter(phase)?;
        }
        Ok(())
    }

    /// The remaining steps of the epoch; answers its mean loss.
    pub(super) fn epoch(
        &mut self,
        batches: impl IntoIterator<Item = Result<Ready, FitError>>,
        mut keeper: Option<&mut Keeper<'_>>,
        progress: &mut dyn Progress,
    ) -> Result<f64, FitError> {
        let phase = self.phases[self.phase].clone();
        let mut batches = batches.into_iter();
        self.waited = Duration::ZERO;
        loop {
            let asked = Instant::now();
            let Some(batch) = batches.next() else { break };
            self.waited += asked.elapsed();
            let batch = batch?;
            let step = (self.course.epoch - phase.first) * self.steps_of_epoch + self.course.step;
            self.learning_rate = self
                .recipe
                .schedule
                .rate(step, phase.epochs * self.steps_of_epoch);
            let loss = self.step(&batch)?;
            self.course.loss += loss * batch.size as f64;
            self.course.images += batch.size;
            self.course.step += 1;
            progress.step(&StepReport {
                epoch: self.course.epoch,
                step: self.course.step - 1,
                images: batch.size,
                loss,
                learning_rate: self.learning_rate,
            });
            if let Some(keeper) = keeper.as_mut().filter(|keeper| is_due(keeper)) {
                keeper.save(self)?;
            }
        }
        Ok(self.course.loss / self.course.images.max(1) as f64)
    }

    /// One step at the current rate; answers its loss.
    pub(super) fn step(&mut self, batch: &Ready) -> Result<f64, FitError> {
        let step = self
            .replicas
            .step(&batch.shares, &batch.targets, &mut self.random)
            .map_err(|source| FitError::Stopped {
                source,
                epoch: self.course.epoch + 1,
                step: self.course.step + 1,
            })?;
        for (what, value) in [("the loss", step.loss), ("the gradient's length", step.norm)] {
            if !value.is_finite() {
                return Err(FitError::Diverged {
                    what,
                    value,
                    epoch: self.course.epoch + 1,
                    step: self.course.step + 1,
                    learning_rate: self.learning_rate,
                });
            }
        }
        let engine = &mut self.replicas.first;
        self.optimizer.step(engine, &step, self.learning_rate)?;
        if let Some(mean) = &mut self.mean {
            mean.update(engine)?;
        }
        Ok(step.loss)
    }

    /// How many epochs of the last phase have passed since the best one. Those before it do not count: what it sets free had not moved
    /// yet.
    pub(super) fn in_vain(&self) -> usize {
        let first = self.phases.last().map_or(0, |phase| phase.first);
        let best = self.course.best.as_ref();
        let from = best.map_or(usize::MAX, |(best, ..)| first.max(best + 1));
        self.course.epoch.saturating_sub(from)
    }

    /// Ends the epoch with its report; `weights` are the ones that it was measured with.
    pub(super) fn end_epoch(&mut self, report: EpochReport, weights: &Engine) -> Result<(), EngineError> {
        if self.course.is_best(&report) {
            self.course.best = Some((self.course.epoch, report.mean_measure, weights.weights()?));
        }
        self.course.history.push(report);
        self.course.epoch += 1;
        (self.course.step, self.course.images, self.course.loss) = (0, 0, 0.0);
        Ok(())
    }

    /// A second engine with the running means, or with the newest weights where there are none.
    pub(super) fn averaged(&self) -> Result<Engine, EngineError> {
        let mut copy = self.replicas.first.copied()?;
        if let Some(mean) = &self.mean {
            let [parameters, statistics] = mean.values()?;
            copy.set_trained(&parameters)?;
            copy.set_statistics(&statistics)?;
        }
        Ok(copy)
    }

    /// All that decides the steps to come.
    fn checkpoint(&self, training: &str) -> Result<Checkpoint, EngineError> {
        let (mean, square, optimizer_steps) = self.optimizer.memory()?;
        let engine = &self.replicas.first;
        let mut state = vec![
            ("parameters".to_owned(), engine.trained()?),
            ("statistics".to_owned(), engine.statistics()?),
            ("gradient_mean".to_owned(), mean),
            ("gradient_square".to_owned(), square),
        ];
        if let Some(mean) = &self.mean {
            let [parameters, statistics] = mean.values()?;
            state.push(("mean_parameters".to_owned(), parameters));
            state.push(("mean_statistics".to_owned(), statistics));
        }
        let course = &self.course;
        Ok(Checkpoint {
            standing: Standing {
                training: training.to_owned(),
                epoch: course.epoch,
                step: course.step,
                images: course.images,
                loss_bits: course.loss.to_bits(),
                optimizer_steps,
                mean_steps: self.mean.as_ref().map_or(0.0, |mean| mean.steps),
                drawn: self.random.get_word_pos().to_string(),
                history: course.history.clone(),
                best: course
                    .best
                    .as_ref()
                    .map(|(place, measure, _)| (*place, measure.to_bits())),
            },
            state,
            best: course.best.as_ref().map(|(_, _, weights)| weights.clone()),
        })
    }

    /// Goes on where `checkpoint` was made.
    pub(super) fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), FitError> {
        let unfit = |what: &str| CheckpointError::Read {
            file: "the checkpoint".to_owned(),
            cause: format!("its {what} do not fit the network"),
        };
        let Checkpoint {
            standing,
            state,
            best,
        } = checkpoint;
        let whole = standing.history.len();
        if whole != standing.epoch || standing.best.is_some_and(|(place, _)| place >= whole) {
            return Err(unfit("epochs").into());
        }
        let mut state: BTreeMap<String, Vec<f32>> = state.into_iter().collect();
        let mut take = |name: &'static str, length: usize| {
            let found = state.remove(name).filter(|values| values.len() == length);
            found.ok_or_else(|| unfit(name))
        };
        let engine = &mut self.replicas.first;
        let (trained, others) = (engine.trained()?.len(), engine.statistics()?.len());
        engine.set_trained(&take("parameters", trained)?)?;
        engine.set_statistics(&take("statistics", others)?)?;
        let (mean, square) = (take("gradient_mean", trained)?, take("gradient_square", trained)?);
        self.optimizer.restore(&mean, &square, standing.optimizer_steps)?;
        if let Some(mean) = &mut self.mean {
            let (parameters, statistics) = (
                take("mean_parameters", trained)?,
                take("mean_statistics", others)?,
            );
            mean.restore([&parameters, &statistics], standing.mean_steps)?;
        }
        self.random
            .set_word_pos(standing.drawn.parse().map_err(|_| unfit("draws"))?);
        self.course = Course {
            epoch: standing.epoch,
            step: standing.step,
            loss: f64::from_bits(standing.loss_bits),
            images: standing.images,
            history: standing.history,
            best: standing
                .best
                .zip(best)
                .map(|((place, measure), weights)| (place, f64::from_bits(measure), weights)),
        };
        // at the first step of a phase, `begin_epoch` is still to come
        let entered = self.course.epoch - usize::from(self.course.step == 0 && self.course.epoch > 0);
        let phase = self.phases.iter().rposition(|phase| phase.first <= entered);
        self.enter(phase.unwrap_or(0))
    }
}

/// The recipe's regime on a network of these depths.
pub(super) fn phases(recipe: &Recipe, depths: &Depths) -> Result<Vec<Phase>, RecipeError> {
    let phases = recipe.regime.phases(recipe.epochs, depths.groups);
    phases.map_err(|problem| RecipeError::Setting {
        setting: "regime",
        problem,
    })
}

fn is_due(keeper: &Keeper<'_>) -> bool {
    keeper.last.elapsed() >= keeper.checkpoints.every
}

#[cfg(test)]
mod tests;

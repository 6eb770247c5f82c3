//! `AdamW` (Loshchilov and Hutter 2019) and a running mean of the weights, on the engine's device.
//!
//! Weight decay applies to kernels. Gradients are first scaled down to a largest norm, so that one bad batch cannot undo an epoch.

use tch::{Device, Kind, TchError, Tensor};

use super::super::super::network::Role;
use super::parameters::overwrite;
use super::{Engine, EngineError, Step, values};

/// How far one step goes, apart from the learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWSettings {
    /// Memory of the gradient's mean.
    pub beta1: f64,
    /// Memory of the gradient's square.
    pub beta2: f64,
    /// Share of a kernel that one step of learning rate 1 takes away.
    pub weight_decay: f64,
    /// Largest Euclidean norm of a gradient.
    pub largest_norm: f64,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.99,
            weight_decay: 0.05,
            largest_norm: 5.0,
        }
    }
}

/// Keeps what is divided by above 0.
const EPSILON: f64 = 1e-8;
/// Parameters that are worked on together on a CPU: all that a step needs of them stays in its cache.
const TOGETHER: i64 = 1 << 17;

/// The optimizer's memory for one engine's parameters.
#[derive(Debug)]
pub struct AdamW {
    settings: AdamWSettings,
    /// Whether each parameter is of a kernel, which decays.
    kernels: Tensor,
    /// What a parameter's rate is times the learning rate; none where that is 1 for all.
    factors: Option<Tensor>,
    mean: Tensor,
    square: Tensor,
    steps: i32,
}

impl AdamW {
    /// For the parameters of `engine`.
    ///
    /// # Errors
    /// [`EngineError::Torch`] where the device has no room.
    pub fn new(settings: AdamWSettings, engine: &Engine) -> Result<Self, EngineError> {
        let trained = &engine.parameters.trained;
        let is_kernel = |_: &str, role| matches!(role, Role::Kernel { .. });
        let kernels = engine.parameters.each_trained(is_kernel);
        Ok(Self {
            settings,
            kernels: Tensor::f_from_slice(&kernels)?.f_to_device(trained.device())?,
            factors: None,
            mean: trained.f_zeros_like()?,
            square: trained.f_zeros_like()?,
            steps: 0,
        })
    }

    /// From now on a parameter's own rate is the learning rate times what `factor` gives for its node; 0 freezes it. Its gradient is 0
    /// then ([`Engine::freeze`]), so nothing is remembered of it.
    ///
    /// # Errors
    /// [`EngineError::Torch`] where the device has no room.
    pub fn set_factors(&mut self, engine: &Engine, factor: impl Fn(&str) -> f32) -> Result<(), EngineError> {
        let factors = engine.parameters.each_trained(|node, _| factor(node));
        self.factors = if factors.iter().all(|factor| (factor - 1.0).abs() < f32::EPSILON) {
            None
        } else {
            Some(Tensor::f_from_slice(&factors)?.f_to_device(self.mean.device())?)
        };
        Ok(())
    }

    /// Forgets all gradients so far, as before a phase in which other parameters move.
    ///
    /// # Errors
    /// [`EngineError::Torch`].
    pub fn forget(&mut self) -> Result<(), EngineError> {
        for memory in [&mut self.mean, &mut self.square] {
            let _ = memory.f_zero_()?;
        }
        self.steps = 0;
        Ok(())
    }

    /// What it remembers: the gradient's mean, its square, and the steps so far.
    ///
    /// # Errors
    /// [`EngineError::Torch`].
    pub fn memory(&self) -> Result<(Vec<f32>, Vec<f32>, i32), EngineError> {
        Ok((values(&self.mean)?, values(&self.square)?, self.steps))
    }

    /// Goes on from what [`AdamW::memory`] gave for as many parameters.
    ///
    /// # Errors
    /// [`EngineError::Length`] for another number of them.
    pub fn restore(&mut self, mean: &[f32], square: &[f32], steps: i32) -> Result<(), EngineError> {
        overwrite(&mut self.mean, mean, "the gradient's mean")?;
        overwrite(&mut self.square, square, "the gradient's square")?;
        self.steps = steps;
        Ok(())
    }

    /// Moves the parameters of `engine` against the gradient of its newest step, which is given up.
    ///
    /// # Errors
    /// [`EngineError::Torch`], also where there was no step since.
    pub fn step(
        &mut self,
        engine: &mut Engine,
        newest: &Step,
        learning_rate: f64,
    ) -> Result<(), EngineError> {
        self.steps += 1;
        let AdamWSettings {
            beta1,
            beta2,
            largest_norm,
            ..
        } = self.settings;
        // the memories are 0 at first, so that they begin too small
        let [mean, square] = [beta1, beta2].map(|beta| 1.0 / (1.0 - beta.powi(self.steps)));
        let step = ChunkStep {
            shrink: (newest.norm > largest_norm).then(|| largest_norm / newest.norm),
            keep: [1.0 - beta1, 1.0 - beta2],
            square: square / (mean * mean),
            epsilon: EPSILON / mean,
            decay: self.settings.weight_decay,
            rate: learning_rate,
        };
        let gradient = engine.parameters.take_gradient()?;
        let parameters = &engine.parameters;
        let count = parameters.trained.numel() as i64;
        let together = match parameters.trained.device() {
            Device::Cpu => TOGETHER,
            _ => count.max(1),
        };
        tch::no_grad(|| {
            for start in (0..count).step_by(together as usize) {
                let own = |flat: &Tensor| flat.f_narrow(0, start, together.min(count - start));
                step.apply(Chunk {
                    parameters: own(&parameters.trained)?,
                    gradient: own(&gradient)?,
                    mean: own(&self.mean)?,
                    square: own(&self.square)?,
                    kernels: own(&self.kernels)?,
                    factors: self.factors.as_ref().map(own).transpose()?,
                })?;
            }
            Ok(())
        })
    }
}

/// Pieces of all that a step needs, of the same parameters.
struct Chunk {
    parameters: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    kernels: Tensor,
    factors: Option<Tensor>,
}

/// One step's numbers, the same for all parameters.
struct ChunkStep {
    /// What the gradient is times before, if it is too long.
    shrink: Option<f64>,
    /// How far mean and square go to the newest.
    keep: [f64; 2],
    /// Corrections of both memories, as a factor of the square.
    square: f64,
    epsilon: f64,
    /// Share of a kernel that a rate of 1 takes away.
    decay: f64,
    rate: f64,
}

impl ChunkStep {
    fn apply(&self, mut own: Chunk) -> Result<(), TchError> {
        if let Some(shrink) = self.shrink {
            let _ = own.gradient.f_mul_scalar_(shrink)?;
        }
        let _ = own.mean.f_lerp_(&own.gradient, self.keep[0])?;
        let _ = own.square.f_lerp_(&own.gradient.f_square()?, self.keep[1])?;
        let scale = own
            .square
            .f_mul_scalar(self.square)?
            .f_sqrt_()?
            .f_add_scalar_(self.epsilon)?;
        let decays = own.kernels.f_to_kind(Kind::Float)?.f_mul_scalar_(self.decay)?;
        let mut change = own.mean.f_div(&scale)?.f_addcmul_(&decays, &own.parameters)?;
        if let Some(factors) = &own.factors {
            change = change.f_mul_(factors)?;
        }
        let _ = own.parameters.f_sub_(&change.f_mul_scalar_(self.rate)?)?;
        Ok(())
    }
}

/// A running mean of an engine's parameters and statistics.
#[derive(Debug)]
pub struct RunningMean {
    decay: f64,
    /// States taken in so far.
    pub steps: f32,
    parameters: Tensor,
    statistics: Tensor,
}

impl RunningMean {
    /// Starts at what `engine` has; `decay` near 1 remembers long.
    ///
    /// # Errors
    /// [`EngineError::Torch`] where the device has no room.
    pub fn new(engine: &Engine, decay: f64) -> Result<Self, EngineError> {
        Ok(Self {
            decay,
            steps: 0.0,
            parameters: copied(&engine.parameters.trained)?,
            statistics: copied(&engine.parameters.statistics)?,
        })
    }

    /// Takes one more state in; early on the memory is short, so that the start is soon forgotten.
    ///
    /// # Errors
    /// [`EngineError::Torch`].
    pub fn update(&mut self, engine: &Engine) -> Result<(), EngineError> {
        self.steps += 1.0;
        let short = f64::from((1.0 + self.steps) / (10.0 + self.steps));
        let keep = 1.0 - self.decay.min(short);
        tch::no_grad(|| {
            let _ = self.parameters.f_lerp_(&engine.parameters.trained, keep)?;
            let _ = self.statistics.f_lerp_(&engine.parameters.statistics, keep)?;
            Ok(())
        })
    }

    /// Parameters and statistics.
    ///
    /// # Errors
    /// [`EngineError::Torch`].
    pub fn values(&self) -> Result<[Vec<f32>; 2], EngineError> {
        Ok([values(&self.parameters)?, values(&self.statistics)?])
    }

    /// Goes on from what [`RunningMean::values`] gave after as many steps.
    ///
    /// # Errors
    /// [`EngineError::Length`] for another number of them.
    pub fn restore(&mut self, [parameters, statistics]: [&[f32]; 2], steps: f32) -> Result<(), EngineError> {
        overwrite(&mut self.parameters, parameters, "the mean of the parameters")?;
        overwrite(&mut self.statistics, statistics, "the mean of the statistics")?;
        self.steps = steps;
        Ok(())
    }
}

fn copied(tensor: &Tensor) -> Result<Tensor, TchError> {
    let mut copy = tensor.f_zeros_like()?;
    copy.f_copy_(tensor)?;
    Ok(copy)
}

#[cfg(test)]
mod tests;

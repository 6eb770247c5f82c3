//! `AdamW` (Loshchilov and Hutter 2019) with an optional running mean of the weights, on plain slices.
//!
//! Weight decay applies where the caller says so. Gradients are first scaled down to a largest norm, so that one bad
//! batch cannot undo an epoch.

/// How far one step goes, apart from the learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWSettings {
    /// Memory of the gradient's mean.
    pub beta1: f32,
    /// Memory of the gradient's square.
    pub beta2: f32,
    /// Share of a parameter that one step of learning rate 1 takes away.
    pub weight_decay: f32,
    /// Largest Euclidean norm of a gradient.
    pub largest_norm: f32,
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

/// The optimizer's memory for one list of parameters.
#[derive(Clone, Debug)]
pub struct AdamW {
    settings: AdamWSettings,
    decays: Vec<bool>,
    mean: Vec<f32>,
    square: Vec<f32>,
    steps: i32,
}

impl AdamW {
    /// For as many parameters as `decays` has entries; each says whether weight decay applies.
    #[must_use]
    pub fn new(settings: AdamWSettings, decays: Vec<bool>) -> Self {
        let zeros = vec![0.0; decays.len()];
        Self {
            settings,
            decays,
            mean: zeros.clone(),
            square: zeros,
            steps: 0,
        }
    }

    /// Forgets all gradients so far, as before a phase in which other parameters move.
    pub fn forget(&mut self) {
        self.mean.fill(0.0);
        self.square.fill(0.0);
        self.steps = 0;
    }

    /// What it remembers: the gradient's mean, its square, and the steps so far.
    #[must_use]
    pub fn memory(&self) -> (&[f32], &[f32], i32) {
        (&self.mean, &self.square, self.steps)
    }

    /// Goes on from what [`AdamW::memory`] gave for as many parameters.
    pub fn restore(&mut self, mean: Vec<f32>, square: Vec<f32>, steps: i32) {
        (self.mean, self.square, self.steps) = (mean, square, steps);
    }

    /// Moves `parameters` against `gradient`, each as long as the list that [`AdamW::new`] was given. A parameter's own rate is
    /// `learning_rate` times its entry in `factors`; one whose factor is 0 is frozen and keeps its memory.
    pub fn step(&mut self, parameters: &mut [f32], gradient: &[f32], learning_rate: f64, factors: &[f32]) {
        self.steps += 1;
        let AdamWSettings {
            beta1,
            beta2,
            weight_decay,
            largest_norm,
        } = self.settings;
        let norm = gradient
            .iter()
            .map(|value| f64::from(*value).powi(2))
            .sum::<f64>()
            .sqrt() as f32;
        let shrink = if norm > largest_norm {
            largest_norm / norm
        } else {
            1.0
        };
        let rate = learning_rate as f32;
        let mean_correction = 1.0 / (1.0 - beta1.powi(self.steps));
        let square_correction = 1.0 / (1.0 - beta2.powi(self.steps));
        let moments = self.mean.iter_mut().zip(&mut self.square);
        let own = self.decays.iter().zip(factors);
        for (((parameter, gradient), (mean, square)), (decays, factor)) in
            parameters.iter_mut().zip(gradient).zip(moments).zip(own)
        {
            if *factor == 0.0 {
                continue;
            }
            let rate = rate * factor;
            let gradient = gradient * shrink;
            *mean += (1.0 - beta1) * (gradient - *mean);
            *square += (1.0 - beta2) * (gradient * gradient - *square);
            if *decays {
                *parameter -= rate * weight_decay * *parameter;
            }
            *parameter -= rate * (*mean * mean_correction) / ((*square * square_correction).sqrt() + 1e-8);
        }
    }
}

/// A running mean of numbers that move, such as weights.
#[derive(Clone, Debug)]
pub struct RunningMean {
    decay: f32,
    /// States taken in so far.
    pub steps: f32,
    /// The mean so far.
    pub values: Vec<f32>,
}

impl RunningMean {
    /// Starts at `values`; `decay` near 1 remembers long.
    #[must_use]
    pub fn new(values: Vec<f32>, decay: f64) -> Self {
        Self {
            decay: decay as f32,
            steps: 0.0,
            values,
        }
    }

    /// Takes one more state in; early on the memory is short, so that the start is soon forgotten.
    pub fn update(&mut self, newest: &[f32]) {
        self.steps += 1.0;
        let decay = self.decay.min((1.0 + self.steps) / (10.0 + self.steps));
        for (mean, newest) in self.values.iter_mut().zip(newest) {
            *mean += (1.0 - decay) * (newest - *mean);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_is_the_learning_rate_against_the_sign() {
        let settings = AdamWSettings {
            weight_decay: 0.1,
            ..AdamWSettings::default()
        };
        let mut optimizer = AdamW::new(settings, vec![false, true]);
        let mut parameters = [1.0, 1.0];
        optimizer.step(&mut parameters, &[0.3, -0.002], 0.01, &[1.0; 2]);
        assert!((parameters[0] - 0.99).abs() < 1e-6, "{parameters:?}");
        // 1 - 0.01 * 0.1 and then the learning rate upwards
        assert!((parameters[1] - 1.009).abs() < 1e-6, "{parameters:?}");
    }

    #[test]
    fn a_factor_scales_the_step_and_0_freezes() {
        let mut optimizer = AdamW::new(AdamWSettings::default(), vec![true; 3]);
        let mut parameters = [0.0, 0.0, 1.0];
        optimizer.step(&mut parameters, &[1.0; 3], 0.01, &[1.0, 0.1, 0.0]);
        assert!((parameters[0] + 0.01).abs() < 1e-6 && (parameters[1] + 0.001).abs() < 1e-7);
        assert_eq!(parameters[2], 1.0, "neither step nor decay");
        assert_eq!(optimizer.memory().0[2], 0.0);
    }

    #[test]
    fn a_quadratic_is_minimised() {
        let mut optimizer = AdamW::new(
            AdamWSettings {
                weight_decay: 0.0,
                ..Default::default()
            },
            vec![true; 2],
        );
        let mut parameters = [3.0_f32, -2.0];
        for _ in 0..2000 {
            let gradient = [2.0 * (parameters[0] - 1.0), 20.0 * (parameters[1] - 0.5)];
            optimizer.step(&mut parameters, &gradient, 0.01, &[1.0; 2]);
        }
        assert!(
            (parameters[0] - 1.0).abs() < 1e-3 && (parameters[1] - 0.5).abs() < 1e-3,
            "{parameters:?}"
        );
    }

    #[test]
    fn the_running_mean_forgets_its_start() {
        let mut mean = RunningMean::new(vec![100.0], 0.9);
        (0..200).for_each(|_| mean.update(&[1.0]));
        assert!((mean.values[0] - 1.0).abs() < 1e-4);
    }
}

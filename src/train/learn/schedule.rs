//! The learning rate over a training: one cycle (Smith and Topin 2018).
//!
//! Up along half a cosine, then down along another; a pure function of the step.

use serde::{Deserialize, Serialize};

/// One rise and one fall.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OneCycle {
    /// The highest rate.
    pub peak: f64,
    /// Share of the steps that the rise takes, between 0 and 1.
    pub rise: f64,
    /// The first rate is the highest divided by this.
    pub start_divisor: f64,
    /// The last rate is the highest divided by this.
    pub end_divisor: f64,
}

impl Default for OneCycle {
    fn default() -> Self {
        Self {
            peak: 4e-3,
            rise: 0.25,
            start_divisor: 20.0,
            end_divisor: 1000.0,
        }
    }
}

impl OneCycle {
    /// The rate at `step` (from 0) of `steps`.
    #[must_use]
    pub fn rate(&self, step: usize, steps: usize) -> f64 {
        let place = step as f64 / steps.saturating_sub(1).max(1) as f64;
        let cosine = |from: f64, to: f64, share: f64| {
            to + (from - to) * f64::midpoint(1.0, (std::f64::consts::PI * share.clamp(0.0, 1.0)).cos())
        };
        if place < self.rise {
            cosine(self.peak / self.start_divisor, self.peak, place / self.rise)
        } else {
            cosine(
                self.peak,
                self.peak / self.end_divisor,
                (place - self.rise) / (1.0 - self.rise),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rise_and_one_fall_between_the_stated_rates() {
        let cycle = OneCycle {
            peak: 0.01,
            rise: 0.25,
            start_divisor: 20.0,
            end_divisor: 1000.0,
        };
        let rates: Vec<f64> = (0..101).map(|step| cycle.rate(step, 101)).collect();
        assert!(
            (rates[0] - 5e-4).abs() < 1e-12
                && (rates[25] - 0.01).abs() < 1e-12
                && (rates[100] - 1e-5).abs() < 1e-12
        );
        assert!(rates[..26].is_sorted() && rates[25..].iter().rev().is_sorted());
        assert!(cycle.rate(0, 1).is_finite());
    }
}

//! The learning rate range test (Smith 2017, arXiv 1506.01186): the rate rises step by step until the loss explodes.
//!
//! The loss is smoothed, and the suggestions are read off, as fastai 2.7 does.

use serde::{Deserialize, Serialize};

use super::super::network::Weights;
use super::super::plot::{Chart, Series};
use super::batches::Shuffle;
use super::error::FitError;
use super::fit::Training;
use super::recipe::Recipe;
use super::trainer::Trainer;
use crate::image::{Plane, Tensor};

/// Memory of the smoothed loss.
const SMOOTH: f64 = 0.98;
/// The test ends where the smoothed loss is above the least one times this.
const EXPLODED: f64 = 4.0;

/// From where to where the rate rises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateRange {
    /// The first rate, above 0.
    pub lowest: f64,
    /// The last.
    pub highest: f64,
    /// Steps between them, evenly on the logarithm; at least 20.
    pub steps: usize,
}

/// What the test found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateCurve {
    /// Rates and smoothed losses, in their order.
    pub points: Vec<(f64, f64)>,
    /// In the middle of the longest fall: a good peak for one cycle.
    pub valley: Option<f64>,
    /// Where the loss falls fastest.
    pub steepest: Option<f64>,
}

impl<N: Fn(&Plane) -> Tensor + Sync> Training<'_, N> {
    /// Runs the test from `weights`, or from where the recipe starts, with what the first phase of the regime moves. Nothing of it is kept.
    pub fn find_rate(&self, weights: Option<&Weights>, range: RateRange) -> Result<RateCurve, FitError> {
        self.check()?;
        let recipe = Recipe {
            weight_average: None,
            ..self.recipe.clone()
        };
        let heads = recipe.heads();
        let replicas = self.replicas(weights, &heads)?;
        let pool = self.pool()?;
        let loader = self.loader(&heads, &replicas, &pool);
        let mut trainer = Trainer::new(&recipe, replicas, loader.batches().max(1))?;
        let mut curve = Curve::default();
        for epoch in 0.. {
            let shuffle = Shuffle {
                recipe: &recipe,
                epoch,
                from: 0,
            };
            let ended = std::thread::scope(|scope| {
                for batch in loader.shuffled(scope, shuffle) {
                    trainer.learning_rate = range.rate(curve.points.len());
                    match trainer.step(&batch?) {
                        Ok(loss) => curve.push(trainer.learning_rate, loss),
                        // a rate at which nothing is finite is beyond the end
                        Err(FitError::Diverged { .. }) if !curve.points.is_empty() => return Ok(true),
                        Err(error) => return Err(error),
                    }
                    if curve.points.len() >= range.steps || curve.has_exploded() {
                        return Ok(true);
                    }
                }
                Ok(false)
            })?;
            if ended {
                break;
            }
        }
        Ok(suggested(curve.points))
    }
}

impl RateRange {
    fn rate(&self, step: usize) -> f64 {
        let place = step as f64 / (self.steps.saturating_sub(1)).max(1) as f64;
        self.lowest * (self.highest / self.lowest).powf(place)
    }
}

#[derive(Default)]
struct Curve {
    points: Vec<(f64, f64)>,
    mean: f64,
    least: f64,
}

impl Curve {
    fn push(&mut self, rate: f64, loss: f64) {
        self.mean = SMOOTH * self.mean + (1.0 - SMOOTH) * loss;
        // without this the first means would be near 0, where they begin
        let smooth = self.mean / (1.0 - SMOOTH.powi(self.points.len() as i32 + 1));
        self.least = if self.points.is_empty() {
            smooth
        } else {
            self.least.min(smooth)
        };
        self.points.push((rate, smooth));
    }

    fn has_exploded(&self) -> bool {
        self.points
            .last()
            .is_some_and(|(_, loss)| *loss > EXPLODED * self.least)
    }
}

/// The suggestions, without the noisy first tenth and the last five steps, as fastai leaves them out.
fn suggested(points: Vec<(f64, f64)>) -> RateCurve {
    let first = points.len() / 10;
    let last = points.len().saturating_sub(5).max(first);
    let shown = &points[first..last];
    RateCurve {
        valley: valley(shown),
        steepest: steepest(shown),
        points,
    }
}

fn steepest(points: &[(f64, f64)]) -> Option<f64> {
    let slopes = points
        .windows(3)
        .map(|window| (window[1].0, window[2].1 - window[0].1));
    slopes
        .min_by(|one, other| one.1.total_cmp(&other.1))
        .filter(|(_, slope)| *slope < 0.0)
        .map(|(rate, _)| rate)
}

/// The middle of the longest run of falling losses, others between them allowed.
fn valley(points: &[(f64, f64)]) -> Option<f64> {
    let mut lengths = vec![1_usize; points.len()];
    let mut end = 0;
    for place in 1..points.len() {
        for before in 0..place {
            if points[place].1 < points[before].1 {
                lengths[place] = lengths[place].max(lengths[before] + 1);
            }
        }
        if lengths[place] > lengths[end] {
            end = place;
        }
    }
    let length = *lengths.get(end)?;
    let start = end.saturating_sub(length);
    (length > 1).then(|| points[start + (end - start) / 2].0)
}

impl RateCurve {
    /// The curve with its suggestions.
    #[must_use]
    pub fn chart(&self) -> Chart {
        let marks = [("valley", self.valley), ("steepest", self.steepest)];
        Chart {
            title: "Learning rate range test".to_owned(),
            horizontal: "learning rate".to_owned(),
            vertical: "smoothed loss".to_owned(),
            logarithmic: true,
            ends: None,
            series: vec![Series {
                name: "loss".to_owned(),
                points: self.points.clone(),
                band: Vec::new(),
            }],
            marks: marks
                .into_iter()
                .filter_map(|(name, rate)| Some((rate?, format!("{name} {:.1e}", rate?))))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flat until 1e-4, falls until 1e-2, explodes.
    fn curve() -> Vec<(f64, f64)> {
        let range = RateRange {
            lowest: 1e-7,
            highest: 1.0,
            steps: 71,
        };
        let loss = |rate: f64| {
            let place = rate.log10();
            if place < -4.0 {
                0.7
            } else if place < -2.0 {
                0.7 - 0.2 * (place + 4.0)
            } else {
                0.3 + (place + 2.0).powi(2)
            }
        };
        (0..71)
            .map(|step| (range.rate(step), loss(range.rate(step))))
            .collect()
    }

    #[test]
    fn the_valley_is_in_the_middle_of_the_fall() {
        let found = suggested(curve());
        let valley = found.valley.unwrap().log10();
        assert!((-3.3..=-2.7).contains(&valley), "{valley}");
        assert!((-4.0..=-2.0).contains(&found.steepest.unwrap().log10()));
        let flat = suggested(vec![(1e-3, 0.5); 40]);
        assert!(flat.valley.is_none() && flat.steepest.is_none());
        assert!(suggested(Vec::new()).valley.is_none());
    }

    #[test]
    fn the_smoothed_loss_begins_at_the_loss_and_an_explosion_ends_the_test() {
        let mut curve = Curve::default();
        curve.push(1e-7, 0.7);
        assert!((curve.points[0].1 - 0.7).abs() < 1e-12 && !curve.has_exploded());
        (0..40).for_each(|_| curve.push(1.0, 50.0));
        assert!(curve.has_exploded());
    }
}

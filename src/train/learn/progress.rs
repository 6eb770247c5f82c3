//! What a training tells while it runs, and the terminal's view of it.
//!
//! Nothing here feeds back into the training, so the weights do not depend on who watches.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use super::recipe::Recipe;
use crate::evaluation::interval::Estimate;

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// From 0.
    pub epoch: usize,
    /// In the epoch, from 0.
    pub step: usize,
    /// How many it saw.
    pub images: usize,
    /// The objective on them.
    pub loss: f64,
    /// Before the factors of the regime.
    pub learning_rate: f64,
}

/// What one epoch came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// From 0.
    pub epoch: usize,
    /// The last learning rate.
    pub learning_rate: f64,
    /// Mean objective over the training images as they were augmented; nats for findings, classes and grades.
    pub train_loss: f64,
    /// Mean loss over the validation images, without weights.
    pub validation_loss: f64,
    /// For each label its validation measure (AUROC, or R squared of a number) with its patient-level 95% interval; none where
    /// it has no value.
    #[serde(alias = "auroc")]
    pub measures: Vec<Option<Estimate>>,
    /// The mean of the measures that exist, by which epochs are chosen.
    #[serde(alias = "mean_auroc")]
    pub mean_measure: f64,
    /// Training images in one second, validation left out.
    pub images_per_second: f64,
    /// Share of that time in which steps waited for their images: where it is not about 0, decoding or augmentation is too slow.
    #[serde(default)]
    pub waiting: f64,
}

/// Told what happens; every method may do nothing.
pub trait Progress {
    /// Before the first step: how many images the whole training will see, and how many of them it has seen before it was
    /// stopped.
    fn start(&mut self, _images: usize, _seen: usize) {}
    /// After each step.
    fn step(&mut self, _report: &StepReport) {}
    /// After each validation.
    fn epoch(&mut self, _report: &EpochReport) {}
    /// After the last.
    fn finish(&mut self) {}
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}

/// Tells both.
impl<A: Progress, B: Progress> Progress for (A, B) {
    fn start(&mut self, images: usize, seen: usize) {
        self.0.start(images, seen);
        self.1.start(images, seen);
    }

    fn step(&mut self, report: &StepReport) {
        self.0.step(report);
        self.1.step(report);
    }

    fn epoch(&mut self, report: &EpochReport) {
        self.0.epoch(report);
        self.1.epoch(report);
    }

    fn finish(&mut self) {
        self.0.finish();
        self.1.finish();
    }
}

/// Losses that the view shows as a line of blocks.
const SHOWN: usize = 24;
/// Memory of the loss that the view shows.
const SMOOTH: f64 = 0.95;

/// A bar with loss, learning rate, images per second and the remaining time, and a line for each epoch, on the standard error stream.
#[derive(Debug)]
pub struct TerminalProgress {
    bar: ProgressBar,
    names: Vec<(String, Option<&'static str>)>,
    epochs: usize,
    loss: Option<f64>,
    validation: Vec<f64>,
    best: Option<(usize, f64)>,
}

impl TerminalProgress {
    /// For a training by this recipe.
    #[must_use]
    pub fn new(recipe: &Recipe) -> Self {
        let bar = ProgressBar::new(0);
        let template = "{msg}\n{wide_bar} {pos}/{len} images, {per_sec}, {eta} left";
        // the template above is constant; were it wrong, the plain bar would do
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self {
            bar,
            names: names(recipe),
            epochs: recipe.epochs,
            loss: None,
            validation: Vec::new(),
            best: None,
        }
    }
}

impl Progress for TerminalProgress {
    fn start(&mut self, images: usize, seen: usize) {
        self.bar.set_length(images as u64);
        self.bar.set_position(seen as u64);
        self.bar.reset_eta();
    }

    fn step(&mut self, report: &StepReport) {
        let loss = self
            .loss
            .map_or(report.loss, |loss| SMOOTH * loss + (1.0 - SMOOTH) * report.loss);
        self.loss = Some(loss);
        let mut line = format!(
            "epoch {}/{}  loss {loss:.3}  rate {:.1e}",
            report.epoch + 1,
            self.epochs,
            report.learning_rate
        );
        if let Some((epoch, measure)) = self.best {
            // writing to a string cannot fail
            let _ = write!(
                line,
                "  validation {} best {measure:.3} in epoch {}",
                blocks(&self.validation),
                epoch + 1
            );
        }
        self.bar.set_message(line);
        self.bar.inc(report.images as u64);
    }

    fn epoch(&mut self, report: &EpochReport) {
        if self.best.is_none_or(|(_, best)| report.mean_measure > best) {
            self.best = Some((report.epoch, report.mean_measure));
        }
        self.validation.push(report.validation_loss);
        let line = report.line(&self.names);
        // a bar that is not on a terminal drops its lines
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The labels of a recipe, each with the name of its measure.
#[must_use]
pub fn names(recipe: &Recipe) -> Vec<(String, Option<&'static str>)> {
    recipe
        .labels
        .iter()
        .cloned()
        .zip(recipe.heads().measures())
        .collect()
}

/// The last numbers as blocks of eight heights.
fn blocks(numbers: &[f64]) -> String {
    let shown = &numbers[numbers.len().saturating_sub(SHOWN)..];
    let low = shown.iter().copied().fold(f64::INFINITY, f64::min);
    let high = shown.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let block = |number: &f64| {
        let share = (number - low) / (high - low).max(1e-12);
        char::from_u32('▁' as u32 + (share * 7.0) as u32).unwrap_or(' ')
    };
    shown.iter().map(block).collect()
}

impl EpochReport {
    /// The report in one line; `names` are those of [`names`].
    #[must_use]
    pub fn line(&self, names: &[(String, Option<&'static str>)]) -> String {
        let Self {
            epoch,
            train_loss,
            validation_loss,
            images_per_second,
            waiting,
            ..
        } = self;
        let mut line = format!(
            "epoch {:>3}  loss {train_loss:.4}  validation {validation_loss:.4}",
            epoch + 1
        );
        for ((label, name), measure) in names.iter().zip(&self.measures) {
            // writing to a string cannot fail
            let _ = match (name, measure) {
                (None, _) => Ok(()),
                (Some(name), Some(Estimate { value, lower, upper })) => {
                    write!(line, "  {label} {name} {value:.3} [{lower:.3}, {upper:.3}]")
                }
                (Some(name), None) => write!(line, "  {label} {name} unknown, only one class"),
            };
        }
        let _ = write!(
            line,
            "  {images_per_second:.0} images/s, {:.0} % waiting for them",
            100.0 * waiting
        );
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_show_the_newest_numbers() {
        assert_eq!(blocks(&[0.0, 1.0, 0.5]), "▁█▄");
        assert_eq!(blocks(&[3.0]), "▁");
        assert_eq!(blocks(&vec![1.0; 100]).chars().count(), SHOWN);
    }
}

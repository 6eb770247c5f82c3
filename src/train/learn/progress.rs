//! What a training tells while it runs, and the terminal's view of it.
//!
//! Nothing here feeds back into the training, so the weights do not depend on who watches.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::evaluation::interval::Estimate;

/// What one epoch came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// From 0.
    pub epoch: usize,
    /// The last learning rate.
    pub learning_rate: f64,
    /// Mean binary cross-entropy over the training images as they were augmented, in nats.
    pub train_loss: f64,
    /// Mean binary cross-entropy over the validation images, in nats.
    pub validation_loss: f64,
    /// For each label the validation AUROC with its patient-level 95% interval; none where only one class is known.
    pub auroc: Vec<Option<Estimate>>,
    /// The mean of the AUROCs that exist, by which epochs are chosen.
    pub mean_auroc: f64,
    /// Training images in one second, validation left out.
    pub images_per_second: f64,
}

/// Told what happens; every method may do nothing.
pub trait Progress {
    /// Before the first step: how many images the whole training will see.
    fn start(&mut self, _images: usize) {}
    /// After each step.
    fn step(&mut self, _epoch: usize, _images: usize, _loss: f64) {}
    /// After each validation.
    fn epoch(&mut self, _report: &EpochReport) {}
    /// After the last.
    fn finish(&mut self) {}
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}

/// A bar with images per second and the remaining time, and a line for each epoch, on the standard error stream.
#[derive(Debug)]
pub struct TerminalProgress {
    bar: ProgressBar,
    labels: Vec<String>,
    epochs: usize,
}

impl TerminalProgress {
    /// For these labels and this many epochs.
    #[must_use]
    pub fn new(labels: &[String], epochs: usize) -> Self {
        let bar = ProgressBar::new(0);
        let template = "{msg} {wide_bar} {pos}/{len} images, {per_sec}, {eta} left";
        // the template above is constant; were it wrong, the plain bar would do
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self {
            bar,
            labels: labels.to_vec(),
            epochs,
        }
    }
}

impl Progress for TerminalProgress {
    fn start(&mut self, images: usize) {
        self.bar.set_length(images as u64);
    }

    fn step(&mut self, epoch: usize, images: usize, loss: f64) {
        self.bar
            .set_message(format!("epoch {}/{} loss {loss:.3}", epoch + 1, self.epochs));
        self.bar.inc(images as u64);
    }

    fn epoch(&mut self, report: &EpochReport) {
        let line = report.line(&self.labels);
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

impl EpochReport {
    /// The report in one line.
    #[must_use]
    pub fn line(&self, labels: &[String]) -> String {
        let Self {
            epoch,
            train_loss,
            validation_loss,
            images_per_second,
            ..
        } = self;
        let mut line = format!(
            "epoch {:>3}  loss {train_loss:.4}  validation {validation_loss:.4}",
            epoch + 1
        );
        for (label, auroc) in labels.iter().zip(&self.auroc) {
            // writing to a string cannot fail
            let _ = match auroc {
                Some(Estimate { value, lower, upper }) => {
                    write!(line, "  {label} AUROC {value:.3} [{lower:.3}, {upper:.3}]")
                }
                None => write!(line, "  {label} AUROC unknown, only one class"),
            };
        }
        let _ = write!(line, "  {images_per_second:.0} images/s");
        line
    }
}

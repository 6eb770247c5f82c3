//! The log of a training, one JSON object on each line: every step, every epoch. What plots are drawn from.
//!
//! After a kill the lines behind the checkpoint are taken out, so that the log of a training that was stopped is that of one that
//! was not, but for its speed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::progress::{EpochReport, Progress, StepReport};

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// A step.
    Step(StepReport),
    /// An epoch, after its last step.
    Epoch(EpochReport),
}

impl Line {
    /// Whether it is of a moment before the step `step` of the epoch `epoch`.
    fn is_before(&self, epoch: usize, step: usize) -> bool {
        match self {
            Self::Step(report) => (report.epoch, report.step) < (epoch, step),
            Self::Epoch(report) => report.epoch < epoch,
        }
    }
}

/// A log that grows.
#[derive(Debug)]
pub struct Log {
    file: File,
    failure: Option<io::Error>,
}

impl Log {
    /// Opens the log at `path` for a training that goes on with the step `step` of the epoch `epoch`; 0 and 0 begin it.
    pub fn open(path: &Path, epoch: usize, step: usize) -> io::Result<Self> {
        let kept: Vec<String> = if path.exists() {
            let lines = read(path)?;
            lines
                .iter()
                .filter(|line| line.is_before(epoch, step))
                .map(text)
                .collect()
        } else {
            Vec::new()
        };
        super::super::durable::write(path, kept.concat().as_bytes())?;
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Self { file, failure: None })
    }

    /// Why lines are missing, if they are: a log that cannot be written is no reason to stop a training.
    #[must_use]
    pub fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }

    fn append(&mut self, line: &Line) {
        if self.failure.is_none() {
            self.failure = self.file.write_all(text(line).as_bytes()).err();
        }
    }
}

impl Progress for &mut Log {
    fn step(&mut self, report: &StepReport) {
        self.append(&Line::Step(*report));
    }

    fn epoch(&mut self, report: &EpochReport) {
        self.append(&Line::Epoch(report.clone()));
    }
}

/// The lines of a log; what a kill left half written is passed over.
pub fn read(path: &Path) -> io::Result<Vec<Line>> {
    let text = std::fs::read_to_string(path)?;
    Ok(text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

/// A line can always be written: it holds numbers only.
fn text(line: &Line) -> String {
    serde_json::to_string(line).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_goes_on_where_the_checkpoint_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let step = |epoch, step| StepReport {
            epoch,
            step,
            images: 8,
            loss: 0.5,
            learning_rate: 1e-3,
        };
        let epoch = EpochReport {
            epoch: 0,
            learning_rate: 1e-3,
            train_loss: 0.5,
            validation_loss: 0.6,
            measures: vec![None],
            mean_measure: 0.5,
            images_per_second: 1.0,
            waiting: 0.0,
        };
        let mut log = Log::open(&path, 0, 0).unwrap();
        let mut told = &mut log;
        told.step(&step(0, 0));
        told.epoch(&epoch);
        told.step(&step(1, 0));
        told.step(&step(1, 1));
        // killed in the middle of a line
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"epoch\": 1, \"st")
            .unwrap();
        let mut log = Log::open(&path, 1, 1).unwrap();
        (&mut log).step(&step(1, 1));
        assert!(log.failure().is_none());
        let expected = [
            Line::Step(step(0, 0)),
            Line::Epoch(epoch),
            Line::Step(step(1, 0)),
            Line::Step(step(1, 1)),
        ];
        assert_eq!(read(&path).unwrap(), expected);
    }
}

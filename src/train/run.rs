//! A training on disk: what it was told, before its first step, and what came of it.
//!
//! `recipe.json`, `preprocessing.json` and `source.json` are written before training starts, so that it can go on from its newest
//! checkpoint; `log.jsonl` grows with every step. Where the first weights came from a file, `initial-weights.json` says what was taken,
//! and until the training is finished `initial-weights.safetensors` keeps them. A folder with `weights.safetensors` is a finished
//! training, from which a package can be exported. One process at a time trains in a folder: it holds `lock`, which the system lets go when
//! it ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

mod images;
mod source;
mod unseen;

pub use images::{RunImages, Visited, Wanted};
pub use source::{FoldOf, Source, TableError};
pub use unseen::Seen;

use super::durable;
use super::learn::checkpoint::CheckpointError;
use super::learn::engine::device::Devices;
use super::learn::fit::Predictions;
use super::learn::{Checkpoints, EpochReport, FitOutcome, Heads, Log, ORIGIN, Origin, Recipe, Start};
use super::network::Weights;
use crate::image::preprocess::Preprocessing;

/// What came of a training, beside the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Every epoch.
    pub history: Vec<EpochReport>,
    /// The place of the epoch whose weights were kept.
    pub best_epoch: usize,
    /// Where it ran to its end, as `--device` names it; trainings before this was kept do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<Devices>,
    /// Where the images came from.
    pub data: DataRecord,
    /// The held-out patients: temperature and thresholds are chosen on them.
    pub validation: Validation,
}

/// Where the images came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataRecord {
    /// SHA-256 of the CSV with the labels.
    pub labels_sha256: String,
    /// Images for the gradient.
    pub training_images: usize,
    /// Images that were held out.
    pub validation_images: usize,
    /// Images that could not be read and were left out.
    pub unreadable_images: usize,
    /// Images without any label of the recipe, which were left out; trainings before this was kept took them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlabelled_images: Option<usize>,
    /// What a true one of each logit counted in the loss, from these images, where not all counted 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive_weights: Option<Vec<f32>>,
}

impl Record {
    /// What a true one of each logit counted in the loss of a training by `recipe`, where not all counted 1.
    ///
    /// # Errors
    /// A sentence: a training that does not say it, from before this was kept.
    pub fn positive_weights(&self, recipe: &Recipe) -> Result<Option<&[f32]>, String> {
        let weights = self.data.positive_weights.as_deref();
        if recipe.loss.balanced && weights.is_none() {
            return Err(
                "the run's loss was balanced, and it does not say what rare findings counted: train it again"
                    .to_owned(),
            );
        }
        Ok(weights)
    }
}

/// Answers on the held-out patients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// For each image one value for each label: 1, 0, a number, or nothing for unknown.
    pub labels: Vec<Vec<Option<f32>>>,
    /// For each image the logits of all heads.
    pub logits: Vec<Vec<f64>>,
    /// For each image its patient.
    pub patients: Vec<String>,
    /// For each image its place among all with a label that could be read.
    #[serde(default)]
    pub places: Vec<usize>,
    /// The logits of the mirror images, where the recipe allows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrored: Option<Vec<Vec<f64>>>,
}

impl Validation {
    /// The answers to `samples`, which stand at `places`, and to their mirror images.
    #[must_use]
    pub fn of(
        samples: &super::data::Samples,
        places: Vec<usize>,
        answers: Predictions,
        mirrored: Option<Predictions>,
    ) -> Self {
        let known = |value: &f32| (!value.is_nan()).then_some(*value);
        Self {
            labels: samples
                .labels
                .iter()
                .map(|labels| labels.iter().map(known).collect())
                .collect(),
            logits: answers.logits,
            patients: samples.patients.clone(),
            places,
            mirrored: mirrored.map(|mirrored| mirrored.logits),
        }
    }

    /// Whether each image has a label and a patient, and as many logits as `heads`.
    ///
    /// # Errors
    /// A sentence: a record that was changed, or is another network's.
    pub fn check(&self, heads: &Heads) -> Result<(), String> {
        let images = self.labels.len();
        let (width, labels) = (heads.width(), heads.labels().count());
        let whole = |rows: &Vec<Vec<f64>>| rows.len() == images && rows.iter().all(|row| row.len() == width);
        let fits = self.labels.iter().all(|row| row.len() == labels)
            && self.patients.len() == images
            && whole(&self.logits)
            && self.mirrored.as_ref().is_none_or(whole);
        if fits {
            return Ok(());
        }
        Err(format!(
            "what the run says of its held-out images is not {labels} labels, {width} logits and a patient for each: its record.json is another run's, or was changed"
        ))
    }
}

/// The folder of one training.
#[derive(Clone, Debug)]
pub struct RunFolder {
    /// Where it is.
    pub path: PathBuf,
}

/// As long as it lives, no other process trains in the folder.
#[derive(Debug)]
#[must_use]
pub struct RunLock {
    _file: File,
}

/// Why a run's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file of it cannot be read or written.
    #[error("{file} of the run cannot be {verb}: {cause}")]
    File {
        /// The file.
        file: &'static str,
        /// Read or written.
        verb: &'static str,
        /// What is wrong.
        cause: String,
    },
    /// A training that would be overwritten.
    #[error("{path} holds a {state} training: {remedy}, or choose another folder")]
    Taken {
        /// The folder.
        path: PathBuf,
        /// Finished, or one that was stopped.
        state: &'static str,
        /// What would be right.
        remedy: &'static str,
    },
    /// Another process trains in it.
    #[error("another osteon-train is training in {0}: wait until it has ended, or choose another folder")]
    Busy(PathBuf),
    /// A checkpoint that cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

const LOCK: &str = "lock";
const RECIPE: &str = "recipe.json";
const PREPROCESSING: &str = "preprocessing.json";
const SOURCE: &str = "source.json";
const LOG: &str = "log.jsonl";
const INITIAL: &str = "initial-weights.safetensors";
const RECORD: &str = "record.json";
const WEIGHTS: &str = "weights.safetensors";

impl RunFolder {
    /// Makes the folder and writes what the training was told, and where it starts unless that follows from the recipe. The lock belongs to
    /// the training, until its end.
    ///
    /// # Errors
    /// [`RunError`], which names the file, or says that there is a training already, which may be under way.
    pub fn begin(
        path: &Path,
        recipe: &Recipe,
        contract: &Preprocessing,
        source: &Source,
        start: &Start,
    ) -> Result<(Self, RunLock), RunError> {
        Self::vacant(path)?;
        let run = Self {
            path: path.to_owned(),
        };
        std::fs::create_dir_all(path).map_err(|error| written(LOCK, &error))?;
        let lock = run.lock()?;
        run.is_new()?;
        if let Some(origin) = &start.origin {
            run.write_json(ORIGIN, origin)?;
            run.write_weights(INITIAL, &start.weights)?;
        }
        run.write_json(RECIPE, recipe)?;
        run.write_json(PREPROCESSING, contract)?;
        run.write_json(SOURCE, source)?;
        Ok((run, lock))
    }

    /// Refuses a folder that holds a training: finished, stopped after its first step, or under way. What has not made a step is none.
    ///
    /// # Errors
    /// [`RunError::Taken`], [`RunError::Busy`].
    pub fn vacant(path: &Path) -> Result<(), RunError> {
        let run = Self {
            path: path.to_owned(),
        };
        if run.is_finished() {
            return Err(run.taken("finished", "remove it"));
        }
        if !path.is_dir() {
            return Ok(());
        }
        let _lock = run.lock()?;
        run.is_new()
    }

    fn is_new(&self) -> Result<(), RunError> {
        let steps = std::fs::metadata(self.log_path()).is_ok_and(|log| log.len() > 0);
        if steps || self.checkpoints(Duration::ZERO).standing()?.is_some() {
            return Err(self.taken("stopped", "go on with it by --resume"));
        }
        Ok(())
    }

    fn taken(&self, state: &'static str, remedy: &'static str) -> RunError {
        RunError::Taken {
            path: self.path.clone(),
            state,
            remedy,
        }
    }

    /// Keeps other processes from training in the folder.
    ///
    /// # Errors
    /// [`RunError::Busy`] where one does already; [`RunError::File`].
    pub fn lock(&self) -> Result<RunLock, RunError> {
        let mut options = OpenOptions::new();
        let opened = options.create(true).append(true).open(self.path.join(LOCK));
        let file = opened.map_err(|error| written(LOCK, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(RunLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(RunError::Busy(self.path.clone())),
            Err(TryLockError::Error(error)) => Err(written(LOCK, &error)),
        }
    }

    /// Whether it holds a finished training.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.path.join(WEIGHTS).exists()
    }

    /// Where its checkpoints are, made after every epoch and when `every` has passed.
    #[must_use]
    pub fn checkpoints(&self, every: Duration) -> Checkpoints {
        Checkpoints {
            folder: self.path.clone(),
            every,
        }
    }

    /// Its log, which goes on where the newest checkpoint was made.
    ///
    /// # Errors
    /// [`RunError`], which names the file.
    pub fn log(&self) -> Result<Log, RunError> {
        let standing = self.checkpoints(Duration::ZERO).standing()?;
        let (epoch, step) = standing.map_or((0, 0), |standing| (standing.epoch, standing.step));
        Log::open(&self.log_path(), epoch, step).map_err(|error| written(LOG, &error))
    }

    /// The file of its log.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Where its images are.
    ///
    /// # Errors
    /// [`RunError`], which names the file.
    pub fn source(&self) -> Result<Source, RunError> {
        self.read_json(SOURCE)
    }

    /// Remembers where its table is now.
    ///
    /// # Errors
    /// [`RunError`], which names the file.
    pub fn set_source(&self, source: &Source) -> Result<(), RunError> {
        self.write_json(SOURCE, source)
    }

    /// What a file had to do with the first weights of a training by `recipe`.
    ///
    /// # Errors
    /// [`RunError`], which names the file.
    pub fn origin(&self, recipe: &Recipe) -> Result<Option<Origin>, RunError> {
        recipe
            .initial
            .as_ref()
            .map(|_| self.read_json(ORIGIN))
            .transpose()
    }

    /// The weights that an unfinished training by `recipe` started from, where they came from a file.
    ///
    /// # Errors
    /// [`RunError`], which names the file.
    pub fn initial_weights(&self, recipe: &Recipe) -> Result<Option<Weights>, RunError> {
        recipe
            .initial
            .as_ref()
            .map(|_| self.read_weights(INITIAL))
            .transpose()
    }

    /// Writes what came of it; the weights last, since they mark a finished training.
    ///
    /// # Errors
    /// [`RunError`], which names the file.
    pub fn finish(
        &self,
        outcome: &FitOutcome,
        data: DataRecord,
        validation: Validation,
    ) -> Result<(), RunError> {
        let record = Record {
            history: outcome.history.clone(),
            best_epoch: outcome.best_epoch,
            devices: Some(outcome.devices.clone()),
            data,
            validation,
        };
        self.write_json(RECORD, &record)?;
        self.write_weights(WEIGHTS, &outcome.weights)?;
        self.checkpoints(Duration::ZERO).clear();
        // most trainings have no such weights, and what stays does no harm
        for file in [INITIAL, LOCK] {
            let _ = std::fs::remove_file(self.path.join(file));
        }
        Ok(())
    }

    /// What the training was told.
    ///
    /// # Errors
    /// [`RunError`], which names the file.
    pub fn told(&self) -> Result<(Recipe, Preprocessing), RunError> {
        Ok((self.read_json(RECIPE)?, self.read_json(PREPROCESSING)?))
    }

    /// What came of it.
    ///
    /// # Errors
    /// [`RunError`], which names the file; a training that is not finished has no weights.
    pub fn outcome(&self) -> Result<(Record, Weights), RunError> {
        let weights = self.read_weights(WEIGHTS)?;
        Ok((self.read_json(RECORD)?, weights))
    }

    fn write_weights(&self, file: &'static str, weights: &Weights) -> Result<(), RunError> {
        let failed = |cause: String| RunError::File {
            file,
            verb: "written",
            cause,
        };
        let bytes = weights.to_bytes().map_err(|error| failed(error.to_string()))?;
        durable::write(&self.path.join(file), &bytes).map_err(|error| failed(error.to_string()))
    }

    fn read_weights(&self, file: &'static str) -> Result<Weights, RunError> {
        let failed = |cause: String| RunError::File {
            file,
            verb: "read",
            cause,
        };
        let bytes = std::fs::read(self.path.join(file)).map_err(|error| failed(error.to_string()))?;
        Weights::from_bytes(&bytes).map_err(|error| failed(error.to_string()))
    }

    fn write_json(&self, file: &'static str, value: &impl Serialize) -> Result<(), RunError> {
        let failed = |cause: String| RunError::File {
            file,
            verb: "written",
            cause,
        };
        let text = serde_json::to_string_pretty(value).map_err(|error| failed(error.to_string()))?;
        durable::write(&self.path.join(file), (text + "\n").as_bytes())
            .map_err(|error| failed(error.to_string()))
    }

    fn read_json<T: DeserializeOwned>(&self, file: &'static str) -> Result<T, RunError> {
        let failed = |cause: String| RunError::File {
            file,
            verb: "read",
            cause,
        };
        let text =
            std::fs::read_to_string(self.path.join(file)).map_err(|error| failed(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| failed(error.to_string()))
    }
}

fn written(file: &'static str, error: &std::io::Error) -> RunError {
    RunError::File {
        file,
        verb: "written",
        cause: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_trains_in_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder {
            path: folder.path().to_owned(),
        };
        let lock = run.lock().unwrap();
        let refused = run.lock().unwrap_err().to_string();
        assert!(
            refused.starts_with("another osteon-train is training in "),
            "{refused}"
        );
        drop(lock);
        assert!(run.lock().is_ok());
    }
}

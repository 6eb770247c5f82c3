//! A training on disk: what it was told, before its first step, and what came of it.
//!
//! `recipe.json` and `preprocessing.json` are written before training starts; a folder with `weights.safetensors` is a
//! finished training, from which a package can be exported. `initial-weights.json` is there where the first weights came from a file.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::learn::fit::Predictions;
use super::learn::{EpochReport, FitOutcome, Origin, Recipe};
use super::network::Weights;
use crate::image::preprocess::Preprocessing;

/// What came of a training, beside the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Every epoch.
    pub history: Vec<EpochReport>,
    /// The place of the epoch whose weights were kept.
    pub best_epoch: usize,
    /// Where the images came from.
    pub data: DataRecord,
    /// The held-out patients: temperature and thresholds are chosen on them.
    pub validation: Validation,
}

/// Where the images came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    /// SHA-256 of the CSV with the labels.
    pub labels_sha256: String,
    /// Images for the gradient.
    pub training_images: usize,
    /// Images that were held out.
    pub validation_images: usize,
    /// Images that could not be read and were left out.
    pub unreadable_images: usize,
}

/// Answers on the held-out patients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// For each image one label value per label: 1, 0, or nothing for unknown.
    pub labels: Vec<Vec<Option<f32>>>,
    /// For each image one logit per label.
    pub logits: Vec<Vec<f64>>,
    /// For each image its patient.
    pub patients: Vec<String>,
}

impl Validation {
    /// The answers to `samples`' labels.
    #[must_use]
    pub fn of(samples: &super::data::Samples, predictions: Predictions) -> Self {
        let known = |value: &f32| (!value.is_nan()).then_some(*value);
        Self {
            labels: samples
                .labels
                .iter()
                .map(|labels| labels.iter().map(known).collect())
                .collect(),
            logits: predictions.logits,
            patients: samples.patients.clone(),
        }
    }

    /// Logits and truth of the images for which `label` is known.
    #[must_use]
    pub fn of_label(&self, label: usize) -> (Vec<f64>, Vec<bool>) {
        self.labels
            .iter()
            .zip(&self.logits)
            .filter_map(|(labels, logits)| Some((*logits.get(label)?, (*labels.get(label)?)? > 0.5)))
            .unzip()
    }
}

/// The folder of one training.
#[derive(Clone, Debug)]
pub struct RunFolder {
    /// Where it is.
    pub path: PathBuf,
}

/// Why a run's folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file} of the run cannot be {verb}: {cause}")]
pub struct RunError {
    file: &'static str,
    verb: &'static str,
    cause: String,
}

const RECIPE: &str = "recipe.json";
const PREPROCESSING: &str = "preprocessing.json";
const ORIGIN: &str = "initial-weights.json";
const RECORD: &str = "record.json";
const WEIGHTS: &str = "weights.safetensors";

impl RunFolder {
    /// Makes the folder and writes what the training was told.
    ///
    /// # Errors
    /// [`RunError`], which names the file.
    pub fn begin(path: &Path, recipe: &Recipe, contract: &Preprocessing) -> Result<Self, RunError> {
        let run = Self {
            path: path.to_owned(),
        };
        std::fs::create_dir_all(path).map_err(|error| RunError {
            file: RECIPE,
            verb: "written",
            cause: error.to_string(),
        })?;
        run.write_json(RECIPE, recipe)?;
        run.write_json(PREPROCESSING, contract)?;
        Ok(run)
    }

    /// Writes what a file had to do with the first weights.
    ///
    /// # Errors
    /// [`RunError`], which names the file.
    pub fn started_from(&self, origin: &Origin) -> Result<(), RunError> {
        self.write_json(ORIGIN, origin)
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
            data,
            validation,
        };
        self.write_json(RECORD, &record)?;
        let failed = |cause: String| RunError {
            file: WEIGHTS,
            verb: "written",
            cause,
        };
        let bytes = outcome
            .weights
            .to_bytes()
            .map_err(|error| failed(error.to_string()))?;
        std::fs::write(self.path.join(WEIGHTS), bytes).map_err(|error| failed(error.to_string()))
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
        let failed = |cause: String| RunError {
            file: WEIGHTS,
            verb: "read",
            cause,
        };
        let bytes = std::fs::read(self.path.join(WEIGHTS)).map_err(|error| failed(error.to_string()))?;
        let weights = Weights::from_bytes(&bytes).map_err(|error| failed(error.to_string()))?;
        Ok((self.read_json(RECORD)?, weights))
    }

    fn write_json(&self, file: &'static str, value: &impl Serialize) -> Result<(), RunError> {
        let failed = |cause: String| RunError {
            file,
            verb: "written",
            cause,
        };
        let text = serde_json::to_string_pretty(value).map_err(|error| failed(error.to_string()))?;
        std::fs::write(self.path.join(file), text + "\n").map_err(|error| failed(error.to_string()))
    }

    fn read_json<T: DeserializeOwned>(&self, file: &'static str) -> Result<T, RunError> {
        let failed = |cause: String| RunError {
            file,
            verb: "read",
            cause,
        };
        let text =
            std::fs::read_to_string(self.path.join(file)).map_err(|error| failed(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| failed(error.to_string()))
    }
}

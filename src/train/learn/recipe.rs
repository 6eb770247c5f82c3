//! Everything that decides a training's result, as one written value.
//!
//! The recipe is saved before the first step. Recipe, images and number of threads determine the weights bit for bit on
//! one kind of machine.

use serde::{Deserialize, Serialize};

use super::super::data::Augmentation;
use super::super::network::{Architecture, Graph, GraphError};
use super::super::unfilled;
use super::engine::device::Devices;
use super::heads::{Head, Heads};
use super::objective::Loss;
use super::precision::Precision;
use super::regime::{Depths, Regime};
use super::schedule::OneCycle;
use super::start::Initial;

/// A training, written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// The labels of all heads, in the order of the label lists; may be left out where there are heads.
    pub labels: Vec<String>,
    /// The questions; none stands for one multilabel head over all labels.
    pub heads: Vec<Head>,
    /// The input tensor's name in the network and in the exported file.
    pub input_name: String,
    /// Which network, and how large.
    pub architecture: Architecture,
    /// The weights to start from; none starts from random ones.
    pub initial: Option<Initial>,
    /// How the training images are changed.
    pub augmentation: Augmentation,
    /// Which parameters move when.
    pub regime: Regime,
    /// The learning rate over the steps of each phase of the regime.
    pub schedule: OneCycle,
    /// How rare and hard cases count.
    pub loss: Loss,
    /// How far images are blended, from 0 (not at all) to 1: the shares come from Beta(mixup, mixup).
    pub mixup: f64,
    /// In how many bits steps multiply.
    pub precision: Precision,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images of one step, about, on all devices together: an epoch is cut into equal batches.
    pub batch: usize,
    /// Weight decay of `AdamW`, on kernels only.
    pub weight_decay: f64,
    /// Memory of the running mean of weights that is validated and kept, such as 0.99; none keeps the last weights.
    pub weight_average: Option<f64>,
    /// Epochs without a better validation measure after which training stops; none runs them all.
    pub patience: Option<usize>,
    /// Makes the initial weights, the order, the augmentation and the dropout.
    pub seed: u64,
    /// Threads of libtorch and of augmentation; as many as there are cores where a recipe does not say. They decide the result with the
    /// rest, so a run keeps the number that it had.
    pub threads: usize,
}

/// More than any training takes: a slip of the pen is told before memory or threads are out.
const MOST_EPOCHS: usize = 1_000_000;
const MOST_IMAGES: usize = 1_000_000;
const MOST_THREADS: usize = 1_024;

impl Default for Recipe {
    fn default() -> Self {
        Self {
            labels: vec!["osteoporosis".to_owned(), "vertebral_fracture".to_owned()],
            heads: Vec::new(),
            input_name: "image".to_owned(),
            architecture: Architecture::default(),
            initial: None,
            augmentation: Augmentation::default(),
            regime: Regime::default(),
            schedule: OneCycle::default(),
            loss: Loss::default(),
            mixup: 0.0,
            precision: Precision::Float32,
            epochs: 20,
            batch: 32,
            weight_decay: 0.05,
            weight_average: Some(0.99),
            patience: None,
            seed: 1,
            threads: cores(),
        }
    }
}

/// How many threads run at once here.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_THREADS))
}

/// Why a recipe cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// A setting out of range.
    #[error("recipe: {setting}: {problem}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The network's sizes make no network.
    #[error("recipe: architecture: {0}")]
    Graph(#[from] GraphError),
    /// A recipe that nobody has finished.
    #[error("recipe: {0}")]
    Unfilled(String),
    /// A file that is no recipe.
    #[error("recipe: {0}")]
    Json(#[from] serde_json::Error),
}

impl Recipe {
    /// Reads a recipe; settings that are left out have their default.
    pub fn from_json(text: &str) -> Result<Self, RecipeError> {
        #[derive(Deserialize)]
        struct Named {
            labels: Option<Vec<String>>,
        }
        unfilled::check(text).map_err(RecipeError::Unfilled)?;
        let mut recipe: Self = serde_json::from_str(text)?;
        let named: Named = serde_json::from_str(text)?;
        if named.labels.is_none() && !recipe.heads.is_empty() {
            recipe.labels = recipe.heads().labels().cloned().collect();
        }
        recipe.check()?;
        Ok(recipe)
    }

    /// The recipe as a file, with every setting.
    pub fn to_json(&self) -> Result<String, RecipeError> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The network.
    pub fn graph(&self) -> Result<Graph, RecipeError> {
        Ok(self.architecture.graph(&self.input_name, self.heads().width())?)
    }

    /// The questions.
    #[must_use]
    pub fn heads(&self) -> Heads {
        Heads::new(&self.heads, &self.labels)
    }

    /// Checks what of it depends on where it runs.
    ///
    /// # Errors
    /// [`RecipeError::Setting`] says what is missing.
    pub fn check_on(&self, devices: &Devices) -> Result<(), RecipeError> {
        let refuse = |setting, problem: String| Err(RecipeError::Setting { setting, problem });
        if let Err(problem) = self.precision.check(devices.first) {
            return refuse("precision", problem);
        }
        if self.batch < devices.count() {
            return refuse(
                "batch",
                format!(
                    "{} images cannot be shared by {} devices: name fewer devices",
                    self.batch,
                    devices.count()
                ),
            );
        }
        Ok(())
    }

    /// Checks every setting, before anything expensive starts.
    pub fn check(&self) -> Result<(), RecipeError> {
        let refuse = |setting, problem: String| Err(RecipeError::Setting { setting, problem });
        if self.labels.is_empty() {
            return refuse("labels", "there are none; at least one is needed".to_owned());
        }
        if let Err(problem) = self.heads().check() {
            return refuse("heads", problem);
        }
        if !self.heads().labels().eq(&self.labels) {
            return refuse(
                "labels",
                "they must be those of the heads, in their order; leave them out".to_owned(),
            );
        }
        for (setting, value, most) in [
            ("epochs", self.epochs, MOST_EPOCHS),
            ("batch", self.batch, MOST_IMAGES),
            ("threads", self.threads, MOST_THREADS),
        ] {
            if !(1..=most).contains(&value) {
                return refuse(setting, format!("{value}; it must be from 1 to {most}"));
            }
        }
        if self.patience == Some(0) {
            return refuse(
                "patience",
                "0; so many epochs without a better one end the training, so it must be at least 1"
                    .to_owned(),
            );
        }
        let OneCycle {
            peak,
            rise,
            start_divisor,
            end_divisor,
        } = self.schedule;
        let positive = [peak, start_divisor, end_divisor]
            .iter()
            .all(|value| *value > 0.0 && value.is_finite());
        if !positive || !(0.0..1.0).contains(&rise) {
            return refuse(
                "schedule",
                format!(
                    "{:?}; positive rates and a rise below 1 are needed",
                    self.schedule
                ),
            );
        }
        if !(0.0..1.0).contains(&self.weight_decay) {
            return refuse(
                "weight_decay",
                format!("{}; it must be from 0 to below 1", self.weight_decay),
            );
        }
        if let Some(decay) = self.weight_average.filter(|decay| !(0.0..1.0).contains(decay)) {
            return refuse("weight_average", format!("{decay}; it must be from 0 to below 1"));
        }
        if !(0.0..=10.0).contains(&self.loss.focal) {
            return refuse(
                "loss.focal",
                format!("{}; it must be from 0 to 10", self.loss.focal),
            );
        }
        if !(0.0..=1.0).contains(&self.mixup) {
            return refuse("mixup", format!("{}; it must be from 0 to 1", self.mixup));
        }
        if let Err(problem) = self.augmentation.check() {
            return refuse("augmentation", problem);
        }
        if self.regime == (Regime::Scratch {}) && self.initial.is_some() {
            return refuse(
                "regime",
                "scratch starts from random weights; leave initial out, or choose another regime".to_owned(),
            );
        }
        let depths = Depths::of(&self.graph()?)?;
        match self.regime.phases(self.epochs, depths.groups) {
            Ok(_) => Ok(()),
            Err(problem) => refuse("regime", problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_survives_its_file_and_a_short_one_has_defaults() {
        let recipe = Recipe {
            epochs: 3,
            ..Recipe::default()
        };
        assert_eq!(Recipe::from_json(&recipe.to_json().unwrap()).unwrap(), recipe);
        assert_eq!(Recipe::from_json(r#"{"epochs": 3}"#).unwrap(), recipe);
        // what was used is written down: the next machine may have more cores
        assert!(
            recipe
                .to_json()
                .unwrap()
                .contains(&format!("\"threads\": {}", cores()))
        );
    }

    #[test]
    fn heads_bring_their_labels_and_a_regime_its_settings() {
        let text = r#"{"heads": [{"name": "part", "task": "multiclass", "labels": ["hip", "hand"]},
                                 {"name": "grade", "task": "ordinal", "labels": ["none", "mild", "severe"]}],
                       "regime": {"kind": "discriminative", "ratio": 10}}"#;
        let recipe = Recipe::from_json(text).unwrap();
        assert_eq!(recipe.labels, ["hip", "hand", "none", "mild", "severe"]);
        assert_eq!(recipe.heads().width(), 4);
        assert_eq!(
            recipe.regime,
            Regime::Discriminative {
                head_epochs: 1,
                ratio: 10.0
            }
        );
        assert_eq!(Recipe::from_json(&recipe.to_json().unwrap()).unwrap(), recipe);
        for (wrong, named) in [
            (
                r#"{"regime": {"kind": "gradual", "epochs_per_group": 7}}"#,
                "regime",
            ),
            (r#"{"regime": {"kind": "head", "ratio": 7}}"#, "ratio"),
            (r#"{"loss": {"focal": -1}}"#, "loss.focal"),
            (r#"{"mixup": 2}"#, "mixup"),
            (r#"{"epochs": 18446744073709551615}"#, "epochs"),
            (r#"{"patience": 0}"#, "patience: 0; so many epochs"),
            (r#"{"threads": 0}"#, "threads: 0; it must be from 1 to 1024"),
            (
                r#"{"regime": {"kind": "scratch"}, "initial": {"file": "a.pth"}}"#,
                "scratch starts from random weights",
            ),
            (
                r#"{"labels": ["a"], "heads": [{"name": "b", "task": "binary", "labels": ["b"]}]}"#,
                "labels",
            ),
        ] {
            let error = Recipe::from_json(wrong).unwrap_err().to_string();
            assert!(error.contains(named), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_mistyped_or_impossible_setting_is_named() {
        assert!(
            Recipe::from_json(r#"{"epoch": 3}"#)
                .unwrap_err()
                .to_string()
                .contains("epoch")
        );
        let error = Recipe::from_json(r#"{"weight_decay": 2.0}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "recipe: weight_decay: 2; it must be from 0 to below 1"
        );
    }
}

//! Everything that decides a training's result, as one written value.
//!
//! The recipe is saved before the first step. Recipe, images and number of threads determine the weights bit for bit on
//! one kind of machine.

use serde::{Deserialize, Serialize};

use super::super::data::Augmentation;
use super::super::network::{Architecture, Graph, GraphError};
use super::schedule::OneCycle;
use super::start::Initial;

/// A training, written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// The findings, in the order of the label lists.
    pub labels: Vec<String>,
    /// The input tensor's name in the network and in the exported file.
    pub input_name: String,
    /// Which network, and how large.
    pub architecture: Architecture,
    /// The weights to start from; none starts from random ones.
    pub initial: Option<Initial>,
    /// How the training images are changed.
    pub augmentation: Augmentation,
    /// The learning rate over the steps.
    pub schedule: OneCycle,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images of one step, about: an epoch is cut into equal batches.
    pub batch: usize,
    /// Weight decay of `AdamW`, on kernels only.
    pub weight_decay: f64,
    /// Memory of the running mean of weights that is validated and kept, such as 0.99; none keeps the last weights.
    pub weight_average: Option<f64>,
    /// Epochs without a better validation AUROC after which training stops; none runs them all.
    pub patience: Option<usize>,
    /// Makes the initial weights, the order, the augmentation and the dropout.
    pub seed: u64,
    /// Threads of libtorch and of augmentation.
    pub threads: usize,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            labels: vec!["osteoporosis".to_owned(), "vertebral_fracture".to_owned()],
            input_name: "image".to_owned(),
            architecture: Architecture::default(),
            initial: None,
            augmentation: Augmentation::default(),
            schedule: OneCycle::default(),
            epochs: 20,
            batch: 32,
            weight_decay: 0.05,
            weight_average: Some(0.99),
            patience: None,
            seed: 1,
            threads: 2,
        }
    }
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
    /// A file that is no recipe.
    #[error("recipe: {0}")]
    Json(#[from] serde_json::Error),
}

impl Recipe {
    /// Reads a recipe; settings that are left out have their default.
    pub fn from_json(text: &str) -> Result<Self, RecipeError> {
        let recipe: Self = serde_json::from_str(text)?;
        recipe.check()?;
        Ok(recipe)
    }

    /// The recipe as a file, with every setting.
    pub fn to_json(&self) -> Result<String, RecipeError> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The network.
    pub fn graph(&self) -> Result<Graph, RecipeError> {
        Ok(self.architecture.graph(&self.input_name, self.labels.len())?)
    }

    /// Checks every setting, before anything expensive starts.
    pub fn check(&self) -> Result<(), RecipeError> {
        let refuse = |setting, problem: String| Err(RecipeError::Setting { setting, problem });
        if self.labels.is_empty() {
            return refuse("labels", "there are none; at least one is needed".to_owned());
        }
        for (setting, value) in [
            ("epochs", self.epochs),
            ("batch", self.batch),
            ("threads", self.threads),
        ] {
            if value == 0 {
                return refuse(setting, "0; at least 1 is needed".to_owned());
            }
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
        if let Err(problem) = self.augmentation.check() {
            return refuse("augmentation", problem);
        }
        self.graph()?;
        Ok(())
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

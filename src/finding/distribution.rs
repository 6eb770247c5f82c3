//! Whether a network has seen anything like an image: the Mahalanobis distance of its features (Lee et al. 2018, arXiv 1807.03888).
//!
//! The features of held-out images are summed up as the mean of each class, one mean where the classes overlap, and one precision
//! for all. An image is as far away as the nearest mean. Beyond the limit a probability says nothing.

use serde::{Deserialize, Serialize};

use super::{Gate, Overrides, Verdict, Violation};
use crate::fault::Fault;

/// More features than this are a mistake: the factor of 4096 has eight million numbers.
const MOST_FEATURES: usize = 4096;

/// `embedding.json` of a package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingStatistics {
    /// What they were computed from, for people.
    pub origin: String,
    /// The mean features of each class, or of all images; at least one.
    pub means: Vec<Vec<f64>>,
    /// How the features spread around their means.
    pub precision: Precision,
    /// The farthest that counts as known: usually beyond it lies one in a hundred new images like those that the statistics were not
    /// computed from.
    pub limit: f64,
}

/// The inverse of the features' covariance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Features that do not depend on each other: the variance of each.
    Variances(Vec<f64>),
    /// The lower triangle `L` of the Cholesky factor, line after line, with `L Lᵀ` the precision: `L[0,0]`, `L[1,0]`, `L[1,1]`,
    /// `L[2,0]` and so on.
    Cholesky(Vec<f64>),
}

/// How far an image is from what the model knows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DistributionCheck {
    /// Whether that is near enough.
    pub status: Verdict,
    /// Mahalanobis distance to the nearest mean.
    pub distance: f64,
    /// The farthest that counts as known.
    pub limit: f64,
}

/// Why features have no distance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDistance {
    /// The network gives other features than the statistics are about.
    #[error("the embedding has {found} features, the statistics of the package are about {expected}")]
    Width {
        /// Features of the network.
        found: usize,
        /// Features of the statistics.
        expected: usize,
    },
    /// A feature, or what is computed from it, is no finite number.
    #[error("the model's embedding is not a row of finite numbers, so there is no score")]
    NotFinite,
}

impl NoDistance {
    /// A stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Width { .. } => "embedding-width",
            Self::NotFinite => "embedding-not-finite",
        }
    }
}

/// Features that are all finite, as every answer needs them.
///
/// # Errors
/// [`NoDistance::NotFinite`].
pub fn finite(features: &[f32]) -> Result<(), NoDistance> {
    if features.iter().all(|feature| feature.is_finite()) {
        Ok(())
    } else {
        Err(NoDistance::NotFinite)
    }
}

impl EmbeddingStatistics {
    /// Checks what the types cannot: sizes that agree, finite numbers, a limit above 0.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn check(&self) -> Result<(), String> {
        let features = self.features();
        if features == 0 || features > MOST_FEATURES {
            return Err(format!(
                "means must hold at least one row of 1 to {MOST_FEATURES} features"
            ));
        }
        if self.means.iter().any(|mean| mean.len() != features) {
            return Err("means must all have the same number of features".to_owned());
        }
        let finite = |numbers: &[f64]| numbers.iter().all(|number| number.is_finite());
        if !self.means.iter().all(|mean| finite(mean)) {
            return Err("means must be finite".to_owned());
        }
        let (name, numbers, expected, diagonal): (_, _, _, Vec<f64>) = match &self.precision {
            Precision::Variances(variances) => ("variances", variances, features, variances.clone()),
            Precision::Cholesky(factor) => {
                let diagonal = (0..features).filter_map(|row| factor.get(row * (row + 3) / 2));
                (
                    "cholesky",
                    factor,
                    features * (features + 1) / 2,
                    diagonal.copied().collect(),
                )
            }
        };
        if numbers.len() != expected {
            return Err(format!(
                "precision.{name} has {} numbers, {features} features need {expected}",
                numbers.len()
            ));
        }
        if !finite(numbers) || diagonal.iter().any(|number| *number <= 0.0) {
            return Err(format!(
                "precision.{name} must be finite, and above 0 on the diagonal"
            ));
        }
        if !self.limit.is_finite() || self.limit <= 0.0 {
            return Err("limit must be finite and above 0".to_owned());
        }
        Ok(())
    }

    /// The Mahalanobis distance of features to the nearest mean.
    ///
    /// # Errors
    /// [`NoDistance`] where they are too many, too few or not finite.
    pub fn distance(&self, features: &[f32]) -> Result<f64, NoDistance> {
        if features.len() != self.features() {
            return Err(NoDistance::Width {
                found: features.len(),
                expected: self.features(),
            });
        }
        let squared = self
            .means
            .iter()
            .map(|mean| {
                let apart: Vec<f64> = features
                    .iter()
                    .zip(mean)
                    .map(|(feature, mean)| f64::from(*feature) - mean)
                    .collect();
                self.precision.norm(&apart)
            })
            .fold(f64::INFINITY, |nearest, squared| {
                // written so that NaN stays NaN
                if squared >= nearest { nearest } else { squared }
            });
        let distance = squared.sqrt();
        distance
            .is_finite()
            .then_some(distance)
            .ok_or(NoDistance::NotFinite)
    }

    /// The check as an answer says it, and the refusal where the image may not go on.
    ///
    /// # Errors
    /// [`NoDistance`] where the features have none.
    pub fn judge(
        &self,
        features: &[f32],
        overrides: &Overrides,
    ) -> Result<(DistributionCheck, Option<Fault>), NoDistance> {
        let (distance, limit) = (self.distance(features)?, self.limit);
        let beyond = (distance > limit).then(|| Violation {
            code: "out-of-distribution".to_owned(),
            message: format!(
                "its features are {distance:.2} from the nearest that the model was made with, measured in their own spread; the farthest that counts as known is {limit:.2}"
            ),
        });
        let (status, refusal) = match overrides.judge(Gate::Distribution, beyond.as_slice()) {
            Ok(status) => (status, None),
            Err(fault) => (Verdict::Refused, Some(fault)),
        };
        let check = DistributionCheck {
            status,
            distance,
            limit,
        };
        Ok((check, refusal))
    }

    fn features(&self) -> usize {
        self.means.first().map_or(0, Vec::len)
    }
}

impl Precision {
    /// `aᵀ P a`: the squared length of `Lᵀ a`.
    fn norm(&self, apart: &[f64]) -> f64 {
        match self {
            Self::Variances(variances) => apart
                .iter()
                .zip(variances)
                .map(|(apart, variance)| apart * apart / variance)
                .sum(),
            Self::Cholesky(factor) => {
                let mut turned = vec![0.0; apart.len()];
                let mut rest = factor.as_slice();
                for (row, apart) in apart.iter().enumerate() {
                    let (line, below) = rest.split_at((row + 1).min(rest.len()));
                    rest = below;
                    for (turned, entry) in turned.iter_mut().zip(line) {
                        *turned += entry * apart;
                    }
                }
                turned.iter().map(|length| length * length).sum()
            }
        }
    }
}

#[cfg(test)]
mod tests;

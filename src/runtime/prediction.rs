//! What a network says about one image.

use crate::image::heatmap::ActivationMap;

/// What a network says about one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// One for each head of the manifest, in its order.
    pub heads: Vec<HeadOutput>,
    /// The features before the heads, where the manifest names them.
    pub embedding: Option<Vec<f32>>,
}

/// What a network says for one head.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadOutput {
    /// The tensor that the manifest calls `scores`.
    pub scores: Vec<f32>,
    /// Logits before temperature, where the manifest names them.
    pub logits: Option<Vec<f32>>,
    /// `scores` after the manifest's activation.
    pub values: Vec<f32>,
    /// One for each label, where the manifest names them; otherwise none.
    pub activation_maps: Vec<ActivationMap>,
}

impl Prediction {
    /// The values of every head, one after the other.
    #[must_use]
    pub fn values(&self) -> Vec<f32> {
        self.heads.iter().flat_map(|head| &head.values).copied().collect()
    }

    /// What goldens are compared with: of each head in turn the logits where the model gives them, otherwise its scores.
    #[must_use]
    pub fn proof(&self) -> Vec<f32> {
        self.heads
            .iter()
            .flat_map(|head| head.logits.as_ref().unwrap_or(&head.scores))
            .copied()
            .collect()
    }
}

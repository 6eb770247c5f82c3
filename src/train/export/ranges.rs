//! How large the values inside a network are on images of its training: what 8 bits have to hold.

use std::collections::BTreeSet;

use super::answering::Answering;
use super::onnx::{Ranges, observable};
use crate::image::preprocess::Preprocessing;
use crate::train::data::Samples;
use crate::train::learn::Engine;
use crate::train::network::{Layer, Part};

/// So many images are enough: ranges grow with the logarithm of their number.
pub(super) const IMAGES: usize = 256;

/// A network that shows every value.
pub(super) struct Observer {
    engine: Engine,
    contract: Preprocessing,
    ranges: Ranges,
}

impl Observer {
    /// # Errors
    /// What libtorch said.
    pub(super) fn new(answering: &Answering) -> Result<Self, String> {
        let network = &answering.network;
        let first = answering.first();
        let (graph, weights) =
            observable(&network.graph, &network.weights).map_err(|error| error.to_string())?;
        Ok(Self {
            engine: Engine::new(&graph, &weights, first.recipe.threads).map_err(|error| error.to_string())?,
            contract: first.contract.clone(),
            ranges: Ranges::new(),
        })
    }

    /// Widens the ranges by what `samples` need, one image after the other, as all values of one are in memory.
    ///
    /// # Errors
    /// What libtorch or the images' cache said, or a value that is no number.
    pub(super) fn add(&mut self, samples: &Samples) -> Result<(), String> {
        for image in &samples.images {
            let plane = image.plane().map_err(|error| error.to_string())?;
            let tensor = self.contract.tensor(&plane);
            let values = self
                .engine
                .run(&tensor.values, 1)
                .map_err(|error| error.to_string())?;
            let input = self.engine.graph().nodes[0].name.clone();
            for (name, values) in values
                .iter()
                .map(|(name, tensor)| (name, &tensor.values))
                .chain([(&input, &tensor.values)])
            {
                let range = self.ranges.entry(name.clone()).or_insert([0.0; 2]);
                for value in values {
                    *range = [range[0].min(*value), range[1].max(*value)];
                }
                if !values.iter().all(|value| value.is_finite()) {
                    return Err(format!("{name} is no number on an image of the training"));
                }
            }
        }
        Ok(())
    }

    /// What was seen.
    pub(super) fn ranges(self) -> Ranges {
        self.ranges
    }
}

/// The convolutions before the features, by the names of their nodes.
pub(super) fn convolutions(answering: &Answering) -> BTreeSet<String> {
    let nodes = &answering.network.graph.nodes;
    nodes
        .iter()
        .filter(|node| matches!(node.layer, Layer::Convolution(_)) && node.part != Part::Head)
        .map(|node| node.name.clone())
        .collect()
}

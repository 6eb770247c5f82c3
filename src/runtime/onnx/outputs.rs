//! What a session gives back, as predictions.

use ort::session::SessionOutputs;

use crate::image::heatmap::ActivationMap;
use crate::model::Head;
use crate::runtime::{HeadOutput, Prediction, RuntimeError};

/// The answers for the first `images` rows of the outputs; rows behind them only filled the batch up.
pub(super) fn predictions(
    found: &SessionOutputs<'_>,
    heads: &[Head],
    embedding: Option<&str>,
    images: usize,
) -> Result<Vec<Prediction>, RuntimeError> {
    let optional = |name: Option<&str>| name.map(|name| Output::of(found, name)).transpose();
    let features = optional(embedding)?;
    let heads: Vec<_> = heads
        .iter()
        .map(|head| {
            let scores = Output::of(found, &head.scores)?;
            scores.must_have(&head.scores, images, head.width())?;
            let logits = optional(head.logits.as_deref())?;
            if let (Some(logits), Some(name)) = (&logits, &head.logits) {
                logits.must_have(name, images, head.width())?;
            }
            let maps = optional(head.activation_map.as_deref())?;
            Ok((head, scores, logits, maps))
        })
        .collect::<Result<_, RuntimeError>>()?;
    Ok((0..images)
        .map(|image| Prediction {
            heads: heads
                .iter()
                .map(|(head, scores, logits, maps)| {
                    let scores = scores.row(image).to_vec();
                    HeadOutput {
                        values: head.activation.apply(&scores),
                        logits: logits.as_ref().map(|logits| logits.row(image).to_vec()),
                        activation_maps: maps
                            .as_ref()
                            .map_or_else(Vec::new, |maps| maps.maps_of(image, head.labels.len())),
                        scores,
                    }
                })
                .collect(),
            embedding: features.as_ref().map(|features| features.row(image).to_vec()),
        })
        .collect())
}

/// An output tensor, borrowed from ONNX Runtime.
struct Output<'a> {
    shape: Vec<usize>,
    values: &'a [f32],
}

impl<'a> Output<'a> {
    fn of(found: &'a SessionOutputs<'_>, name: &str) -> Result<Self, RuntimeError> {
        let value = found
            .get(name)
            .ok_or_else(|| RuntimeError::Run(format!("no output named {name}")))?;
        let (shape, values) = value
            .try_extract_tensor::<f32>()
            .map_err(|error| RuntimeError::Run(error.to_string()))?;
        Ok(Self {
            shape: shape
                .iter()
                .map(|side| usize::try_from(*side).unwrap_or(0))
                .collect(),
            values,
        })
    }

    fn must_have(&self, name: &str, images: usize, width: usize) -> Result<(), RuntimeError> {
        match self.shape[..] {
            [rows, columns] if rows >= images && columns == width => Ok(()),
            _ => Err(RuntimeError::Run(format!(
                "{name} has the shape {:?} for {images} images of {width} numbers",
                self.shape
            ))),
        }
    }

    /// The numbers of one image.
    fn row(&self, image: usize) -> &'a [f32] {
        let width: usize = self.shape.iter().skip(1).product();
        self.values
            .get(image * width..(image + 1) * width)
            .unwrap_or_default()
    }

    /// The maps of one image of a `[batch, labels, rows, columns]` output.
    fn maps_of(&self, image: usize, labels: usize) -> Vec<ActivationMap> {
        match self.shape[..] {
            [_, maps, rows, columns] if maps == labels && rows * columns > 0 => self
                .row(image)
                .chunks_exact(rows * columns)
                .map(|values| ActivationMap {
                    rows,
                    columns,
                    values: values.to_vec(),
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

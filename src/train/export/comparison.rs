//! The trained network on libtorch and its export on ONNX Runtime, asked about the same images.

use super::answering::Answering;
use super::heads::HeadOutputs;
use super::served::Served;
use crate::image::preprocess::Preprocessing;
use crate::model::{Head, ModelManifest};
use crate::runtime::{Prediction, Runtime};
use crate::train::assess::agreement::{Bounds, Pairs};
use crate::train::data::Samples;
use crate::train::data::samples::Image;
use crate::train::learn::Engine;

/// Images on which broken networks are tried, at most.
const KEPT: usize = 64;

/// Both networks, and what they said so far.
pub struct Comparison<'a> {
    trainer: Engine,
    served: Served,
    outputs: &'a [HeadOutputs],
    contract: Preprocessing,
    batch: usize,
    every: usize,
    /// The answers, with the truth.
    pub pairs: Pairs,
    /// Some of the images, evenly from all, with their places among the answers.
    pub(super) kept: Vec<(usize, Image)>,
}

impl<'a> Comparison<'a> {
    /// Loads both; about `images` images will be added. `model` and `manifest` are those of the export.
    ///
    /// # Errors
    /// What libtorch or ONNX Runtime said.
    pub fn new(
        answering: &'a Answering,
        runtime: &Runtime,
        model: &[u8],
        manifest: &ModelManifest,
        images: usize,
    ) -> Result<Self, String> {
        Ok(Self {
            trainer: answering.engine()?,
            served: Served::load(runtime, model, manifest)?,
            outputs: &answering.outputs,
            contract: manifest.preprocessing.clone(),
            batch: answering.first().recipe.batch.max(1),
            every: images.div_ceil(KEPT).max(1),
            pairs: Pairs::default(),
            kept: Vec::new(),
        })
    }

    /// Asks both about `samples`, and gives what the exported network says of each.
    ///
    /// # Errors
    /// What libtorch, ONNX Runtime or the images' cache said.
    pub fn add(&mut self, samples: &Samples) -> Result<Vec<Prediction>, String> {
        for batch in samples.images.chunks(self.batch) {
            self.pairs.trained.extend(self.trained(batch)?);
        }
        let answers = self.served.answer(&samples.images)?;
        let first = self.pairs.exported.len();
        self.pairs.exported.extend(answers.iter().map(Prediction::values));
        self.pairs.labels.extend(samples.labels.iter().cloned());
        self.pairs.patients.extend(samples.patients.iter().cloned());
        let kept = samples.images.iter().enumerate();
        let kept = kept.map(|(place, image)| (first + place, image.clone()));
        self.kept
            .extend(kept.filter(|(place, _)| place % self.every == 0));
        Ok(answers)
    }

    /// What libtorch says of a batch, as the manifest's heads would read it.
    fn trained(&self, images: &[Image]) -> Result<Vec<Vec<f32>>, String> {
        let mut values = Vec::new();
        for image in images {
            let plane = image.plane().map_err(|error| error.to_string())?;
            values.extend(self.contract.tensor(&plane).values);
        }
        let answers = self
            .trainer
            .run(&values, images.len())
            .map_err(|error| error.to_string())?;
        let mut rows = vec![Vec::new(); images.len()];
        for output in self.outputs {
            let scores = &output.scores;
            let scores = answers
                .get(scores)
                .ok_or_else(|| format!("the network has no output `{scores}`"))?;
            let width = (scores.values.len() / images.len()).max(1);
            for (row, own) in rows.iter_mut().zip(scores.values.chunks(width)) {
                row.extend(output.activation.apply(own));
            }
        }
        Ok(rows)
    }
}

/// Some of the answers of a comparison.
pub(super) fn some(pairs: &Pairs, places: &[usize]) -> Pairs {
    let rows = |rows: &[Vec<f32>]| places.iter().map(|place| rows[*place].clone()).collect();
    Pairs {
        trained: rows(&pairs.trained),
        exported: rows(&pairs.exported),
        labels: rows(&pairs.labels),
        patients: places
            .iter()
            .map(|place| pairs.patients[*place].clone())
            .collect(),
    }
}

/// Whether the answers of `pairs` are within the bounds, for each question.
pub(super) type Judged = Vec<(String, Result<String, String>)>;

/// Judges every question of `heads`.
///
/// # Errors
/// A sentence, where answers are missing.
pub(super) fn judge(pairs: &Pairs, heads: &[Head], bounds: &Bounds) -> Result<Judged, String> {
    Ok(pairs
        .agreements(heads)?
        .into_iter()
        .map(|agreement| (agreement.label.clone(), agreement.judge(bounds)))
        .collect())
}

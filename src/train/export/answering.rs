//! Finished trainings, ready to answer: calibrated, and several as one.

use std::path::Path;

use super::calibrate::Calibration;
use super::ensemble::{Member, side_by_side};
use super::heads::{HeadOutputs, with_heads};
use super::together::{HeldOut, Together};
use crate::image::preprocess::Preprocessing;
use crate::model::package::sha256;
use crate::train::learn::{Engine, Heads, Origin, Recipe};
use crate::train::network::{LABEL_MAP, Layer, Weights};
use crate::train::run::{Record, RunFolder, RunImages, Seen};

/// The networks of one run or of several, as one network that answers.
pub struct Answering {
    /// Each training, without its weights.
    pub trained: Vec<Trained>,
    /// Whether an image and its mirror image are averaged.
    pub mirror: bool,
    /// The network, with its calibration in its weights.
    pub network: Member,
    /// What its outputs are called, for each head.
    pub outputs: Vec<HeadOutputs>,
}

/// One finished training.
pub struct Trained {
    /// Where it is.
    pub run: RunFolder,
    /// What it was told.
    pub recipe: Recipe,
    /// How images become its input.
    pub contract: Preprocessing,
    /// Where its first weights came from, if from a file.
    pub origin: Option<Origin>,
    /// What came of it.
    pub record: Record,
    /// How its logits become probabilities.
    pub calibration: Calibration,
    /// SHA-256 of its weights with that in them, as a file.
    pub weights_sha256: String,
}

impl Answering {
    /// Reads a run, or several that answer together with their mean; with `mirror`, each averages what it says of an image and of its
    /// mirror image.
    ///
    /// # Errors
    /// One sentence that says what is missing or does not fit.
    pub fn read(runs: &[RunFolder], mirror: bool) -> Result<Self, String> {
        let (mut trained, mut untouched) = (Vec::new(), Vec::new());
        for run in runs {
            let (one, weights) = Trained::read(run)?;
            trained.push(one);
            untouched.push(weights);
        }
        let first = trained.first().ok_or("there is no run")?;
        for (place, other) in trained.iter().enumerate().skip(1) {
            first
                .goes_with(other)
                .map_err(|what| format!("run {} cannot answer together with the first: {what}", place + 1))?;
        }
        let allows_all = |one: &Trained| one.recipe.augmentation.horizontal_flip.allows_all();
        if mirror && !trained.iter().all(allows_all) {
            return Err(
                "the recipe does not allow horizontal_flip for every image, so answers must not be averaged over mirror images"
                    .to_owned(),
            );
        }
        let heads = first.recipe.heads();
        let calibrations = together(&trained, &heads, mirror)?.calibrations()?;
        let (mut members, mut outputs) = (Vec::new(), Vec::new());
        for ((one, weights), calibration) in trained.iter_mut().zip(untouched).zip(calibrations) {
            let member;
            (member, outputs) = one.calibrate(calibration, weights)?;
            members.push(member);
        }
        let (network, outputs) =
            side_by_side(&members, &outputs, mirror).map_err(|error| error.to_string())?;
        Ok(Self {
            trained,
            mirror,
            network,
            outputs,
        })
    }

    /// The first training, whose heads and contract are those of all.
    ///
    /// # Panics
    /// Never: [`Answering::read`] takes one or more.
    #[must_use]
    pub fn first(&self) -> &Trained {
        &self.trained[0]
    }

    /// The network on libtorch.
    ///
    /// # Errors
    /// What libtorch said.
    pub fn engine(&self) -> Result<Engine, String> {
        let Member { graph, weights } = &self.network;
        Engine::new(graph, weights, self.first().recipe.threads).map_err(|error| error.to_string())
    }

    /// The images of the first training, in its table where it was or where it was `moved` to, of which those are held out that every network held
    /// out.
    ///
    /// # Errors
    /// A sentence: what is gone, or that the networks held out nothing in common.
    pub fn images(&self, moved: Option<&Path>) -> Result<RunImages, String> {
        let first = self.first();
        let mut images = RunImages::find(&first.run, &first.recipe, &first.record, moved)?;
        for other in &self.trained[1..] {
            images.hold_out_with(&other.record);
        }
        if images.has_held_out() {
            Ok(images)
        } else {
            Err(format!(
                "none of the images was held out by all {} networks: each was trained on what another held out, as in a cross-validation; trained on a table with a column split, they hold out the same",
                self.trained.len()
            ))
        }
    }

    /// What the trainings saw, whose table is where it was or where it was `moved` to: all have the same.
    ///
    /// # Errors
    /// A sentence that says which file of the run is gone.
    pub fn seen(&self, moved: Option<&Path>) -> Result<Seen, String> {
        let first = self.first();
        Seen::of(&first.run, &first.recipe, &first.record, moved)
    }

    /// What the networks said of the patients that they held out; `heads` are theirs.
    pub(super) fn together<'a>(&'a self, heads: &'a Heads) -> Result<Together<'a>, String> {
        together(&self.trained, heads, self.mirror)
    }
}

fn together<'a>(trained: &'a [Trained], heads: &'a Heads, mirror: bool) -> Result<Together<'a>, String> {
    let members = trained.iter().map(|one| {
        Ok(HeldOut {
            validation: &one.record.validation,
            positive_weights: one.record.positive_weights(&one.recipe)?,
        })
    });
    Together::new(heads, members.collect::<Result<_, String>>()?, mirror)
}

impl Trained {
    /// A run that is not calibrated yet, and its weights.
    fn read(run: &RunFolder) -> Result<(Self, Weights), String> {
        let (recipe, contract) = run.told().map_err(|error| error.to_string())?;
        let origin = run.origin(&recipe).map_err(|error| error.to_string())?;
        let (record, weights) = run.outcome().map_err(|error| error.to_string())?;
        let trained = Self {
            run: run.clone(),
            recipe,
            contract,
            origin,
            record,
            calibration: Calibration::default(),
            weights_sha256: String::new(),
        };
        Ok((trained, weights))
    }

    /// Puts `calibration` into `weights`; answers the network, and what its outputs are called. The logits of that network are those of the
    /// training and the calibration's bias, so that whoever divides them by the temperature has what the network makes probabilities of.
    fn calibrate(
        &mut self,
        mut calibration: Calibration,
        mut weights: Weights,
    ) -> Result<(Member, Vec<HeadOutputs>), String> {
        calibration.round();
        let graph = self.recipe.graph().map_err(|error| error.to_string())?;
        let scale = graph.nodes.iter().find(|node| node.layer == Layer::Scale);
        let scale = scale.ok_or("the network has no layer for its temperature")?;
        weights
            .set_temperature(&scale.name, &calibration.temperatures)
            .and_then(|()| weights.add_to_bias(LABEL_MAP, &calibration.bias()))
            .map_err(|error| error.to_string())?;
        let (graph, outputs) = with_heads(&graph, &self.recipe.heads()).map_err(|error| error.to_string())?;
        let bytes = weights.to_bytes().map_err(|error| error.to_string())?;
        (self.calibration, self.weights_sha256) = (calibration, sha256(&bytes));
        Ok((Member { graph, weights }, outputs))
    }

    /// Whether the two may answer together.
    fn goes_with(&self, other: &Self) -> Result<(), &'static str> {
        if self.recipe.heads() != other.recipe.heads() {
            return Err("its heads are others");
        }
        if self.contract != other.contract {
            return Err("its preprocessing is another");
        }
        let (one, another) = (&self.record.data, &other.record.data);
        if one.labels_sha256 != another.labels_sha256
            || one.unreadable_images != another.unreadable_images
            // places of images are counted among those that were taken
            || one.unlabelled_images != another.unlabelled_images
        {
            return Err("it saw another set of images, so nobody knows which of them neither trained on");
        }
        Ok(())
    }
}

//! Images become batches one batch ahead of the step that takes them.
//!
//! What a batch holds depends on seed, epoch and place alone: not on threads, nor on who was faster.

use std::sync::mpsc::SyncSender;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::super::data::augment::random_for;
use super::super::data::samples::Samples;
use super::heads::Heads;
use super::mixup::mix;
use super::recipe::Recipe;
use crate::image::{Plane, Tensor};

/// One batch, ready for the engine.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[size, channels, rows, columns]`.
    pub images: Vec<f32>,
    /// `[size, logits]`, what the network is to answer; NaN for unknown.
    pub targets: Vec<f32>,
    /// How many images.
    pub size: usize,
}

/// How samples become batches.
#[derive(Clone, Copy)]
pub struct Loader<'a, N> {
    /// The images.
    pub samples: &'a Samples,
    /// How labels become targets.
    pub heads: &'a Heads,
    /// Display image to network input.
    pub normalise: &'a N,
    /// Images of one batch, about.
    pub batch: usize,
}

/// Which batches of a training are wanted.
#[derive(Clone, Copy)]
pub struct Shuffle<'a> {
    /// Seed, augmentation and mixup.
    pub recipe: &'a Recipe,
    /// The epoch, from 0.
    pub epoch: usize,
    /// The first batch, from 0: those before were seen already.
    pub from: usize,
}

impl<N: Fn(&Plane) -> Tensor + Sync> Loader<'_, N> {
    /// How many batches an epoch has: all about `batch` large, because a last small one would have noisy statistics.
    #[must_use]
    pub fn batches(&self) -> usize {
        (self.samples.len() + self.batch / 2) / self.batch.max(1)
    }

    /// Sends one epoch of shuffled, augmented batches; stops early when the receiver is gone.
    pub fn shuffled(&self, wanted: &Shuffle<'_>, batches: &SyncSender<Batch>) {
        let Shuffle { recipe, epoch, from } = *wanted;
        let (augmentation, seed) = (&recipe.augmentation, recipe.seed);
        let mut order: Vec<usize> = (0..self.samples.len()).collect();
        // its own stream beside those of the images
        let mut random = ChaCha8Rng::from_rng(&mut random_for(seed, epoch, usize::MAX));
        order.shuffle(&mut random);
        let count = self.batches().max(1);
        for place in from..count {
            let (start, end) = (place * order.len() / count, (place + 1) * order.len() / count);
            let one = |index: &usize| {
                let changed =
                    augmentation.apply(&self.samples.planes[*index], &mut random_for(seed, epoch, *index));
                (self.normalise)(&changed)
            };
            let mut batch = self.assemble(&order[start..end], one);
            if recipe.mixup > 0.0 {
                // places of images end long before
                mix(
                    &mut batch,
                    recipe.mixup,
                    &mut random_for(seed, epoch, usize::MAX - 1 - place),
                );
            }
            if batches.send(batch).is_err() {
                return;
            }
        }
    }

    /// All images in their own order and unchanged, cut into batches.
    pub fn in_order(&self, batches: &SyncSender<Batch>) {
        let order: Vec<usize> = (0..self.samples.len()).collect();
        for indices in order.chunks(self.batch.max(1)) {
            let one = |index: &usize| (self.normalise)(&self.samples.planes[*index]);
            if batches.send(self.assemble(indices, one)).is_err() {
                return;
            }
        }
    }

    fn assemble(&self, indices: &[usize], one: impl Fn(&usize) -> Tensor + Send + Sync) -> Batch {
        let tensors: Vec<Tensor> = indices.par_iter().map(one).collect();
        let targets = indices
            .iter()
            .flat_map(|index| self.heads.targets(&self.samples.labels[*index]))
            .collect();
        let images = tensors.into_iter().flat_map(|tensor| tensor.values).collect();
        Batch {
            images,
            targets,
            size: indices.len(),
        }
    }
}

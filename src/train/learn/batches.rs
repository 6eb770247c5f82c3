//! Images become batches, on the devices that they are for, one batch ahead of the step that takes them.
//!
//! What a batch holds depends on seed, epoch and place alone: not on threads, nor on who was faster.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::ThreadPool;
use rayon::prelude::*;

use super::super::data::augment::random_for;
use super::super::data::cache::CacheError;
use super::super::data::samples::Samples;
use super::engine::{Input, Placer, threads};
use super::error::FitError;
use super::heads::Heads;
use super::mixup::mix;
use super::recipe::Recipe;
use crate::image::{Plane, Tensor};

/// One batch as plain numbers.
#[derive(Clone, Debug)]
struct Batch {
    /// `[size, channels, rows, columns]`.
    images: Vec<f32>,
    /// `[size, logits]`, what the network is to answer; NaN for unknown.
    targets: Vec<f32>,
    /// How many images.
    size: usize,
}

/// One batch, ready for the engine.
pub struct Ready {
    /// The images: a share for each device, in their order.
    pub shares: Vec<Input>,
    /// `[size, logits]`, what the network is to answer; NaN for unknown.
    pub targets: Vec<f32>,
    /// How many images.
    pub size: usize,
}

/// How samples become batches.
pub struct Loader<'a, N> {
    /// The images.
    pub samples: &'a Samples,
    /// How labels become targets.
    pub heads: &'a Heads,
    /// Display image to network input.
    pub normalise: &'a N,
    /// Where batches are taken to: a share of each to each device.
    pub placers: Vec<Placer>,
    /// Images of one batch, about.
    pub batch: usize,
    /// Threads that read and augment; none where the process's own do.
    pub pool: Option<&'a ThreadPool>,
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

    /// Makes one epoch of shuffled, augmented batches on a thread of `scope`, one ahead; stops early when the receiver is gone.
    #[must_use]
    pub fn shuffled<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        wanted: Shuffle<'s>,
    ) -> Receiver<Result<Ready, FitError>> {
        self.ahead(scope, move |loader, batches| {
            loader.send_shuffled(wanted, batches);
        })
    }

    /// As [`Loader::shuffled`], but all images in their own order and unchanged.
    #[must_use]
    pub fn in_order<'s>(&'s self, scope: &'s Scope<'s, '_>) -> Receiver<Result<Ready, FitError>> {
        self.ahead(scope, Self::send_in_order)
    }

    fn ahead<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        send: impl FnOnce(&Self, &SyncSender<Result<Ready, FitError>>) + Send + 's,
    ) -> Receiver<Result<Ready, FitError>> {
        let (sender, receiver) = sync_channel(1);
        threads::spawn_alone(scope, move || send(self, &sender));
        receiver
    }

    fn send_shuffled(&self, wanted: Shuffle<'_>, batches: &SyncSender<Result<Ready, FitError>>) {
        let Shuffle { recipe, epoch, from } = wanted;
        let (augmentation, seed) = (&recipe.augmentation, recipe.seed);
        let mut order: Vec<usize> = (0..self.samples.len()).collect();
        // its own stream beside those of the images
        let mut random = ChaCha8Rng::from_rng(&mut random_for(seed, epoch, usize::MAX));
        order.shuffle(&mut random);
        let count = self.batches().max(1);
        for place in from..count {
            let (start, end) = (place * order.len() / count, (place + 1) * order.len() / count);
            let one = |index: &usize| {
                let plane = self.samples.images[*index].plane()?;
                let part = self.samples.body_parts[*index].as_deref();
                let changed = augmentation.apply(&plane, part, &mut random_for(seed, epoch, *index));
                Ok((self.normalise)(&changed))
            };
            let mut batch = self.assemble(&order[start..end], one);
            if let Ok(batch) = &mut batch
                && recipe.mixup > 0.0
            {
                // places of images end long before
                let mut random = random_for(seed, epoch, usize::MAX - 1 - place);
                let values: [&mut [f32]; 2] = [&mut batch.images, &mut batch.targets];
                mix(values, batch.size, recipe.mixup, &mut random);
            }
            if batches.send(self.ready(batch)).is_err() {
                return;
            }
        }
    }

    fn send_in_order(&self, batches: &SyncSender<Result<Ready, FitError>>) {
        let order: Vec<usize> = (0..self.samples.len()).collect();
        for indices in order.chunks(self.batch.max(1)) {
            let one = |index: &usize| Ok((self.normalise)(&*self.samples.images[*index].plane()?));
            if batches.send(self.ready(self.assemble(indices, one))).is_err() {
                return;
            }
        }
    }

    fn assemble(
        &self,
        indices: &[usize],
        one: impl Fn(&usize) -> Result<Tensor, CacheError> + Send + Sync,
    ) -> Result<Batch, CacheError> {
        let all = || indices.par_iter().map(one).collect();
        let tensors: Result<Vec<Tensor>, CacheError> = match self.pool {
            Some(pool) => pool.install(all),
            None => all(),
        };
        let tensors = tensors?;
        let targets = indices
            .iter()
            .flat_map(|index| self.heads.targets(&self.samples.labels[*index]))
            .collect();
        let tensors: Vec<&[f32]> = tensors.iter().map(|tensor| tensor.values.as_slice()).collect();
        Ok(Batch {
            images: tensors.concat(),
            targets,
            size: indices.len(),
        })
    }

    /// Puts each share on its device; the shares differ by one image at most, and none is empty.
    fn ready(&self, batch: Result<Batch, CacheError>) -> Result<Ready, FitError> {
        let Batch {
            images,
            targets,
            size,
        } = batch?;
        let (width, count) = (images.len() / size.max(1), self.placers.len().min(size));
        let bound = |place: usize| (place * size).div_ceil(count.max(1));
        let placers = self.placers.iter().take(count).enumerate();
        let shares = placers.map(|(place, placer)| {
            let (first, end) = (bound(place), bound(place + 1));
            placer.place(&images[first * width..end * width], end - first)
        });
        Ok(Ready {
            shares: shares.collect::<Result<_, _>>()?,
            targets,
            size,
        })
    }
}

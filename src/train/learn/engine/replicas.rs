//! One network on several devices: each has a replica and takes its share of every batch, on a thread of its own.
//!
//! The first replica's numbers are the ones that the optimizer moves and that are kept. The others copy them before each step, and
//! their losses and gradients are added to the first's, in order. A share's loss counts what is known of the whole batch, so a step is
//! that of one device on all of it, but for rounding; only batch norms take statistics of their own share, as those of PyTorch's DDP do, and the first's
//! running statistics are kept.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use super::parameters::Parameters;
use super::{Engine, EngineError, Input, Placer, Step, expect, values};
use crate::runtime::Device;

/// A network that learns on one device or on several together.
pub struct Replicas {
    /// On the first device: the one that an optimizer moves.
    pub first: Engine,
    others: Vec<Replica>,
}

impl Replicas {
    /// As many replicas of `first` as there are `others`, with its objective and precision.
    ///
    /// # Errors
    /// [`EngineError::Device`] where a device has no room.
    pub fn new(first: Engine, others: &[Device]) -> Result<Self, EngineError> {
        let replica = |device: &Device| Replica::start(*device, &first).map_err(|error| error.on(*device));
        let others = others.iter().map(replica).collect::<Result<_, _>>()?;
        Ok(Self { first, others })
    }

    /// As [`Engine::freeze`], on all devices.
    ///
    /// # Errors
    /// [`EngineError::Device`].
    pub fn freeze(&mut self, nodes: BTreeSet<String>) -> Result<(), EngineError> {
        for replica in &self.others {
            let nodes = nodes.clone();
            let frozen = replica.begin(move |engine| engine.freeze(nodes));
            replica.ended(&frozen)?;
        }
        self.first.freeze(nodes)
    }

    /// What takes shares to the devices, in their order.
    #[must_use]
    pub fn placers(&self) -> Vec<Placer> {
        let first = self.first.placer();
        let others = self.others.iter().map(|replica| Placer {
            device: replica.device,
            ..first
        });
        std::iter::once(first).chain(others).collect()
    }

    /// One step's loss, and its gradient for an optimizer of the first replica; running statistics move on.
    ///
    /// `shares` are the batch, each on the device at its place. `targets` holds for each image one value for each of the `logits`; NaN
    /// is unknown and counts nothing. `random` draws what dropout leaves out, of each share by itself.
    ///
    /// # Errors
    /// [`EngineError::Device`] names the device that failed.
    pub fn step(
        &mut self,
        shares: &[Input],
        targets: &[f32],
        random: &mut dyn Rng,
    ) -> Result<Step, EngineError> {
        let width = self.first.width();
        let batch: usize = shares.iter().map(|share| share.batch).sum();
        expect("targets", targets.len(), batch * width)?;
        let replicas = 1 + self.others.len();
        let Some((own, others)) = shares.split_first().filter(|_| shares.len() <= replicas) else {
            return Err(EngineError::Length {
                what: "the list of shares",
                found: shares.len(),
                needed: replicas,
            });
        };
        let known = self.first.objective.known(targets, width);
        let first = self.first.device;
        if self.others.is_empty() {
            let loss = self.first.learn(own, targets, &known, random);
            return self.first.told(&loss.map_err(|error| error.on(first))?);
        }
        let (own_targets, mut left) = targets.split_at(own.batch * width);
        let mut own_random = ChaCha8Rng::seed_from_u64(random.next_u64());
        let mut begun = Vec::with_capacity(others.len());
        for (replica, share) in self.others.iter_mut().zip(others) {
            replica
                .take(&self.first)
                .map_err(|error| error.on(replica.device))?;
            let (targets, rest) = left.split_at(share.batch * width);
            left = rest;
            let (share, targets, known) = (share.shared(), targets.to_vec(), known.clone());
            let mut random = ChaCha8Rng::seed_from_u64(random.next_u64());
            begun.push(replica.begin(move |engine| {
                let loss = engine.learn(&share, &targets, &known, &mut random)?;
                Ok((loss, engine.parameters.take_gradient()?))
            }));
        }
        let loss = self.first.learn(own, own_targets, &known, &mut own_random);
        let mut loss = loss.map_err(|error| error.on(first))?;
        for (replica, begun) in self.others.iter().zip(begun) {
            let (other, gradient) = replica.ended(&begun)?;
            loss = tch::no_grad(|| self.first.add(&loss, &other, &gradient))
                .map_err(|error| error.on(replica.device))?;
        }
        self.first.told(&loss)
    }
}

impl Engine {
    /// Adds another share's gradient to its own, and answers the sum of both losses.
    fn add(&mut self, loss: &Tensor, other: &Tensor, gradient: &Tensor) -> Result<Tensor, EngineError> {
        let own = &mut self.parameters.gradient;
        let _ = own.f_add_(&gradient.f_to_device(own.device())?)?;
        Ok(loss.f_add(&other.f_to_device(loss.device())?)?)
    }

    /// What a step came to: both numbers at once, as each copy from a GPU waits until it has done all that it was told.
    pub(super) fn told(&self, loss: &Tensor) -> Result<Step, EngineError> {
        tch::no_grad(|| {
            let norm = self.parameters.gradient.f_norm()?;
            let told = values(&Tensor::f_stack(&[loss.f_reshape([0_i64; 0])?, norm], 0)?)?;
            Ok(Step {
                loss: f64::from(told[0]),
                norm: f64::from(told[1]),
            })
        })
    }
}

/// What a replica's thread is given to do.
type Work = Box<dyn FnOnce(&mut Engine) + Send>;

/// A network on another device. Its thread lives as long: libtorch keeps the plans of its convolutions by thread.
struct Replica {
    device: Device,
    /// Views of its numbers: trained ones, and statistics.
    numbers: [Tensor; 2],
    work: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl Replica {
    fn start(device: Device, first: &Engine) -> Result<Self, EngineError> {
        let (graph, weights, threads) = (first.graph.clone(), first.weights()?, first.threads);
        let (objective, precision) = (first.objective.clone(), first.precision);
        let (work, orders) = channel::<Work>();
        let (tell, told) = channel();
        let thread = std::thread::Builder::new().name(format!("replica on {device}"));
        let thread = thread.spawn(move || {
            let mut engine = match Engine::on(device, &graph, &weights, threads) {
                Ok(engine) => engine,
                Err(error) => return drop(tell.send(Err(error))),
            };
            drop(weights);
            engine.objective = objective;
            engine.precision = precision;
            let Parameters {
                trained, statistics, ..
            } = &engine.parameters;
            drop(tell.send(Ok([trained, statistics].map(Tensor::shallow_clone))));
            for work in orders {
                work(&mut engine);
            }
        });
        let thread = thread.map_err(|error| EngineError::Thread(error.to_string()))?;
        let numbers = told.recv().map_err(|_| ended())??;
        Ok(Self {
            device,
            numbers,
            work: Some(work),
            thread: Some(thread),
        })
    }

    /// Takes the numbers of `first`, before its thread is given anything to do with them.
    fn take(&mut self, first: &Engine) -> Result<(), EngineError> {
        let sources = [&first.parameters.trained, &first.parameters.statistics];
        tch::no_grad(|| {
            for (own, source) in self.numbers.iter_mut().zip(sources) {
                own.f_copy_(source)?;
            }
            Ok(())
        })
    }

    /// Has its thread do `work`; [`Replica::ended`] waits for what comes of it.
    fn begin<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Engine) -> Result<T, EngineError> + Send + 'static,
    ) -> Receiver<Result<T, EngineError>> {
        let (tell, told) = channel();
        if let Some(orders) = &self.work {
            // where its thread has ended, so has what would tell
            drop(orders.send(Box::new(move |engine| drop(tell.send(work(engine))))));
        }
        told
    }

    fn ended<T>(&self, told: &Receiver<Result<T, EngineError>>) -> Result<T, EngineError> {
        let done = told.recv().map_err(|_| ended());
        done.flatten().map_err(|error| error.on(self.device))
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // without orders its thread ends
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ended() -> EngineError {
    EngineError::Thread("its own words are above".to_owned())
}

#[cfg(test)]
mod tests;

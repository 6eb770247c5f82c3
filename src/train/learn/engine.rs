//! A graph interpreted by libtorch: values, loss and gradients. The only home of `tch`.
//!
//! An [`Engine`]'s numbers, optimizer and images are on one [`Device`]; what is asked of it comes back as plain slices. [`Replicas`] of it
//! on several devices take a step together. Images and kernels lie channels-last, which is what libtorch's convolutions are fastest on.
//! On a CPU, with one seed and one number of threads, every result is the same bit for bit.

pub mod device;
mod gpu_library;
mod input;
mod layers;
mod loss;
mod optimizer;
mod parameters;
mod plan;
mod replicas;
pub(super) mod threads;

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use tch::{Kind, TchError, Tensor};

use self::parameters::{Parameters, overwrite};
use self::plan::Plan;
use super::super::network::{Graph, GraphError, Shapes, TensorF32, Weights, WeightsError};
use super::objective::Objective;
use super::precision::Precision;
use crate::runtime::Device;

pub use input::{Input, Placer};
pub use optimizer::{AdamW, AdamWSettings, RunningMean};
pub use replicas::Replicas;

/// Why the engine could not run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// libtorch refused an operation.
    #[error("node `{node}`: libtorch: {source}")]
    Node {
        /// The node.
        node: String,
        /// What libtorch said.
        source: TchError,
    },
    /// libtorch refused something beside the graph.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
    /// The graph is no network.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The weights do not fit the graph.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// One device could not do its part, whatever it was.
    #[error("{device}: {source}")]
    Device {
        /// Which.
        device: Device,
        /// Why not.
        source: Box<EngineError>,
    },
    /// The thread of a replica.
    #[error("the thread that runs it cannot be started or has ended: {0}")]
    Thread(String),
    /// A slice of the wrong length.
    #[error("{what} has {found} values; {needed} are needed")]
    Length {
        /// Which slice.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The right length.
        needed: usize,
    },
}

impl EngineError {
    fn on(self, device: Device) -> Self {
        Self::Device {
            device,
            source: Box::new(self),
        }
    }
}

/// What one batch came to; its gradient stays with the engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The [`Objective`], the mean over what is known.
    pub loss: f64,
    /// Euclidean norm of the gradient by all trained parameters: not finite where any part of it is not.
    pub norm: f64,
}

/// A network with its numbers, ready to run and to learn.
pub struct Engine {
    graph: Graph,
    shapes: Shapes,
    parameters: Parameters,
    objective: Objective,
    precision: Precision,
    device: Device,
    threads: usize,
}

/// How a pass treats batch norm and dropout.
enum Mode<'a> {
    Evaluate,
    Learn(&'a mut dyn Rng),
}

impl Engine {
    /// Loads `weights` into `graph`, on the CPU. `threads` is libtorch's number of threads, for the whole process.
    ///
    /// # Errors
    /// As [`Engine::on`].
    pub fn new(graph: &Graph, weights: &Weights, threads: usize) -> Result<Self, EngineError> {
        Self::on(Device::Cpu, graph, weights, threads)
    }

    /// Loads `weights` into `graph`, on a device that [`device::choose`] gave.
    ///
    /// # Errors
    /// [`EngineError`] where the graph is no network, the weights do not fit, or the device has no room.
    pub fn on(device: Device, graph: &Graph, weights: &Weights, threads: usize) -> Result<Self, EngineError> {
        tch::set_num_threads(i32::try_from(threads.max(1)).unwrap_or(1));
        weights.check(graph)?;
        let shapes = graph.shapes()?;
        let mut parameters = Parameters::new(graph, &shapes, on(device))?;
        parameters.load(weights)?;
        let mut engine = Self {
            objective: Objective::findings(0),
            precision: Precision::Float32,
            graph: graph.clone(),
            shapes,
            parameters,
            device,
            threads,
        };
        engine.objective = Objective::findings(engine.width());
        Ok(engine)
    }

    /// The same network on the same device, at single precision.
    ///
    /// # Errors
    /// [`EngineError::Torch`] where the device has no room.
    pub fn copied(&self) -> Result<Self, EngineError> {
        Self::on(self.device, &self.graph, &self.weights()?, self.threads)
    }

    /// What steps make small from now on; at first, that all logits are findings.
    pub fn set_objective(&mut self, objective: Objective) {
        self.objective = objective;
    }

    /// How steps multiply from now on; at first, at single precision. Answers always are.
    pub fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    /// Freezes these nodes from now on, and no others: their parameters have no gradient, and their batch norms use the running
    /// statistics and leave them alone.
    pub fn freeze(&mut self, nodes: BTreeSet<String>) -> Result<(), EngineError> {
        Ok(self.parameters.freeze(nodes)?)
    }

    /// The network that runs.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Takes batches to where this engine runs.
    #[must_use]
    pub fn placer(&self) -> Placer {
        Placer {
            device: self.device,
            input: self.graph.input,
        }
    }

    /// A copy of every parameter.
    pub fn weights(&self) -> Result<Weights, EngineError> {
        self.parameters.weights()
    }

    /// A copy of all trained parameters, one behind the other, in execution order.
    pub fn trained(&self) -> Result<Vec<f32>, EngineError> {
        values(&self.parameters.trained)
    }

    /// Replaces all trained parameters.
    pub fn set_trained(&mut self, numbers: &[f32]) -> Result<(), EngineError> {
        overwrite(&mut self.parameters.trained, numbers, "trained parameters")
    }

    /// A copy of the newest step's gradient, in the order of [`Engine::trained`]; 0 for what is frozen, empty before the first step and
    /// once an optimizer has taken it.
    pub fn gradient(&self) -> Result<Vec<f32>, EngineError> {
        values(&self.parameters.gradient)
    }

    /// A copy of all running statistics and constants, one behind the other.
    pub fn statistics(&self) -> Result<Vec<f32>, EngineError> {
        values(&self.parameters.statistics)
    }

    /// Replaces all running statistics and constants.
    pub fn set_statistics(&mut self, numbers: &[f32]) -> Result<(), EngineError> {
        overwrite(&mut self.parameters.statistics, numbers, "statistics")
    }

    /// Runs a batch of `[batch, channels, rows, columns]` and answers every output, batch first.
    pub fn run(&self, images: &[f32], batch: usize) -> Result<BTreeMap<String, TensorF32>, EngineError> {
        self.answers(&self.placer().place(images, batch)?)
    }

    /// Every output for a batch, batch first.
    pub fn answers(&self, input: &Input) -> Result<BTreeMap<String, TensorF32>, EngineError> {
        let wanted: Vec<usize> = self.graph.outputs.iter().map(|output| output.node.0).collect();
        tch::no_grad(|| {
            let results = self.forward(input, &wanted, &mut Mode::Evaluate)?;
            let mut outputs = BTreeMap::new();
            for (output, result) in self.graph.outputs.iter().zip(results) {
                let mut shape = self.shapes.of(output.node).dimensions();
                shape.insert(0, input.batch);
                let values = values(&result)?;
                outputs.insert(output.name.clone(), TensorF32 { shape, values });
            }
            Ok(outputs)
        })
    }

    /// How many logits it has.
    fn width(&self) -> usize {
        let logits = self.graph.output("logits");
        logits.map_or(0, |logits| self.shapes.of(logits).count())
    }

    /// The loss of a share of a batch, of which `known` targets are known as a whole; its gradient stays here, and running statistics
    /// move on. The shares' losses add up to the batch's, and so do their gradients.
    fn learn(
        &mut self,
        input: &Input,
        targets: &[f32],
        known: &[f64],
        random: &mut dyn Rng,
    ) -> Result<Tensor, EngineError> {
        let logits = self.graph.output("logits")?;
        let size = [input.batch, self.width()];
        expect("targets", targets.len(), size[0] * size[1])?;
        let results = self.forward(input, &[logits.0], &mut Mode::Learn(random))?;
        let answered = results[0].f_to_kind(Kind::Float)?;
        drop(results);
        let loss = loss::loss(&self.objective, &answered, targets, size, known)?;
        let gradients = Tensor::f_run_backward(&[&loss], &self.parameters.leaves(), false, false)?;
        tch::no_grad(|| self.parameters.keep_gradients(gradients))?;
        Ok(loss.f_detach()?)
    }

    /// The values of the `wanted` nodes, in their order.
    fn forward(
        &self,
        input: &Input,
        wanted: &[usize],
        mode: &mut Mode<'_>,
    ) -> Result<Vec<Tensor>, EngineError> {
        let plan = Plan::new(&self.graph, wanted);
        let mut results: Vec<Option<Tensor>> = self.graph.nodes.iter().map(|_| None).collect();
        results[0] = Some(input.images.shallow_clone());
        for (place, node) in self.graph.nodes.iter().enumerate().skip(1) {
            if !plan.is_needed(place) {
                continue;
            }
            let failed = |source| EngineError::Node {
                node: node.name.clone(),
                source,
            };
            let inputs: Vec<Tensor> = node
                .inputs
                .iter()
                .map(|input| {
                    let value = results[input.0].as_ref().map(Tensor::shallow_clone);
                    value.ok_or_else(|| TchError::Shape("an input is not there".to_owned()))
                })
                .collect::<Result<_, _>>()
                .map_err(failed)?;
            for input in plan.ended_by(place) {
                results[*input] = None;
            }
            let result = self.layer(node, inputs, plan.may_overwrite(place), mode);
            results[place] = Some(result.map_err(failed)?);
        }
        let value = |place: &usize| results[*place].as_ref().map(Tensor::shallow_clone);
        Ok(wanted.iter().filter_map(value).collect())
    }
}

/// The device as libtorch names it.
fn on(device: Device) -> tch::Device {
    match device {
        Device::Cpu => tch::Device::Cpu,
        Device::Cuda(index) => tch::Device::Cuda(usize::from(index)),
    }
}

fn values(tensor: &Tensor) -> Result<Vec<f32>, EngineError> {
    let flat = tensor.f_detach()?.f_contiguous()?.f_view([-1])?;
    Ok(Vec::<f32>::try_from(&flat)?)
}

fn expect(what: &'static str, found: usize, needed: usize) -> Result<(), EngineError> {
    if found == needed {
        Ok(())
    } else {
        Err(EngineError::Length { what, found, needed })
    }
}

#[cfg(test)]
mod tests;

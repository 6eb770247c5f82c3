//! A graph interpreted by libtorch: values, loss and gradients. The only home of `tch`.
//!
//! All trained parameters are views of one flat tensor, in execution order, and so are all running statistics: the
//! optimizer and checkpoints work on plain slices. Kernels lie channels-last, which is what libtorch's convolutions
//! are fastest on. With one seed and one number of threads every result is the same bit for bit.

mod layers;
mod loss;

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use tch::{Kind, TchError, Tensor};

use super::super::network::{Graph, GraphError, Role, Shapes, TensorF32, Weights, WeightsError};
use super::objective::Objective;

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

/// Loss and gradient of one batch.
#[derive(Clone, Debug)]
pub struct Step {
    /// The [`Objective`], the mean over what is known.
    pub loss: f64,
    /// Of every trained parameter, in the order of [`Engine::trained`]; 0 for frozen ones.
    pub gradient: Vec<f32>,
}

/// Where a parameter lives.
struct Slot {
    name: String,
    shape: Vec<usize>,
    role: Role,
    /// A view of the flat tensor of its role.
    view: Tensor,
}

/// A network with its numbers, ready to run and to learn.
pub struct Engine {
    graph: Graph,
    shapes: Shapes,
    slots: Vec<Slot>,
    places: BTreeMap<String, usize>,
    trained: Tensor,
    statistics: Tensor,
    objective: Objective,
    frozen: BTreeSet<String>,
}

/// How a pass treats batch norm and dropout.
enum Mode<'a> {
    Evaluate,
    Learn(&'a mut dyn Rng),
}

impl Engine {
    /// Loads `weights` into `graph`. `threads` is libtorch's number of threads, for the whole process.
    pub fn new(graph: &Graph, weights: &Weights, threads: usize) -> Result<Self, EngineError> {
        tch::set_num_threads(i32::try_from(threads.max(1)).unwrap_or(1));
        weights.check(graph)?;
        let shapes = graph.shapes()?;
        let parameters = shapes.parameters(graph);
        let flat = |wanted: fn(Role) -> bool| -> Result<Tensor, TchError> {
            let own = parameters.iter().filter(|(_, parameter)| wanted(parameter.role));
            let count: usize = own.map(|(_, parameter)| parameter.count()).sum();
            Tensor::f_zeros([count as i64], (Kind::Float, tch::Device::Cpu))
        };
        let (trained, statistics) = (flat(is_trained)?, flat(|role| !is_trained(role))?);
        let (mut trained_end, mut statistics_end) = (0, 0);
        let mut slots = Vec::with_capacity(parameters.len());
        for (name, parameter) in parameters {
            let count = parameter.count() as i64;
            let (home, end) = if is_trained(parameter.role) {
                (&trained, &mut trained_end)
            } else {
                (&statistics, &mut statistics_end)
            };
            let view = shaped(&home.f_narrow(0, *end, count)?, &parameter.shape)?.f_detach()?;
            let view = view.f_set_requires_grad(is_trained(parameter.role))?;
            *end += count;
            slots.push(Slot {
                name,
                shape: parameter.shape,
                role: parameter.role,
                view,
            });
        }
        let places = slots
            .iter()
            .enumerate()
            .map(|(place, slot)| (slot.name.clone(), place))
            .collect();
        let width = graph
            .output("logits")
            .map_or(0, |logits| shapes.of(logits).count());
        let mut engine = Self {
            objective: Objective::findings(width),
            frozen: BTreeSet::new(),
            graph: graph.clone(),
            shapes,
            slots,
            places,
            trained,
            statistics,
        };
        engine.load(weights)?;
        Ok(engine)
    }

    /// What steps make small from now on; at first, that all logits are findings.
    pub fn set_objective(&mut self, objective: Objective) {
        self.objective = objective;
    }

    /// Freezes these nodes from now on, and no others: their parameters have no gradient, and their batch norms use the running
    /// statistics and leave them alone.
    pub fn freeze(&mut self, nodes: BTreeSet<String>) -> Result<(), EngineError> {
        self.frozen = nodes;
        for slot in &self.slots {
            let learns = is_trained(slot.role) && !self.is_frozen(slot);
            let _ = slot.view.f_set_requires_grad(learns)?;
        }
        Ok(())
    }

    fn is_frozen(&self, slot: &Slot) -> bool {
        slot.name
            .rsplit_once('.')
            .is_some_and(|(node, _)| self.frozen.contains(node))
    }

    /// For each trained parameter the number that `of_node` gives for its node.
    #[must_use]
    pub fn by_node(&self, of_node: impl Fn(&str) -> f32) -> Vec<f32> {
        self.slots
            .iter()
            .filter(|slot| is_trained(slot.role))
            .flat_map(|slot| {
                let node = slot.name.rsplit_once('.').map_or("", |(node, _)| node);
                std::iter::repeat_n(of_node(node), slot.shape.iter().product())
            })
            .collect()
    }

    /// The network that runs.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Replaces every parameter.
    pub fn load(&mut self, weights: &Weights) -> Result<(), EngineError> {
        weights.check(&self.graph)?;
        tch::no_grad(|| {
            for slot in &self.slots {
                let tensor = weights.get(&slot.name)?;
                let shape: Vec<i64> = tensor.shape.iter().map(|size| *size as i64).collect();
                let source = Tensor::f_from_slice(&tensor.values)?.f_view(shape.as_slice())?;
                slot.view.shallow_clone().f_copy_(&source)?;
            }
            Ok(())
        })
    }

    /// A copy of every parameter.
    pub fn weights(&self) -> Result<Weights, EngineError> {
        let mut weights = Weights::default();
        for slot in &self.slots {
            let values = values(&slot.view)?;
            weights.tensors.insert(
                slot.name.clone(),
                TensorF32 {
                    shape: slot.shape.clone(),
                    values,
                },
            );
        }
        Ok(weights)
    }

    /// A copy of all trained parameters, one behind the other.
    pub fn trained(&self) -> Result<Vec<f32>, EngineError> {
        values(&self.trained)
    }

    /// Replaces all trained parameters.
    pub fn set_trained(&mut self, numbers: &[f32]) -> Result<(), EngineError> {
        overwrite(&mut self.trained, numbers, "trained parameters")
    }

    /// A copy of all running statistics and constants, one behind the other.
    pub fn statistics(&self) -> Result<Vec<f32>, EngineError> {
        values(&self.statistics)
    }

    /// Replaces all running statistics and constants.
    pub fn set_statistics(&mut self, numbers: &[f32]) -> Result<(), EngineError> {
        overwrite(&mut self.statistics, numbers, "statistics")
    }

    /// For each trained parameter whether weight decay applies: to kernels, not to offsets and scales.
    #[must_use]
    pub fn decays(&self) -> Vec<bool> {
        let own = |slot: &Slot| {
            let decays = matches!(slot.role, Role::Kernel { .. });
            std::iter::repeat_n(decays, slot.shape.iter().product())
        };
        self.slots
            .iter()
            .filter(|slot| is_trained(slot.role))
            .flat_map(own)
            .collect()
    }

    /// Runs a batch of `[batch, channels, rows, columns]` and answers every output, batch first.
    pub fn run(&self, images: &[f32], batch: usize) -> Result<BTreeMap<String, TensorF32>, EngineError> {
        tch::no_grad(|| {
            let results = self.forward(images, batch, &mut Mode::Evaluate)?;
            let mut outputs = BTreeMap::new();
            for output in &self.graph.outputs {
                let mut shape = self.shapes.of(output.node).dimensions();
                shape.insert(0, batch);
                let values = values(&results[output.node.0])?;
                outputs.insert(output.name.clone(), TensorF32 { shape, values });
            }
            Ok(outputs)
        })
    }

    /// One step's loss and gradient; running statistics move on.
    ///
    /// `targets` holds `batch` times one value for each of the `logits`; NaN is unknown and counts nothing.
    /// `random` draws what dropout leaves out.
    pub fn step(
        &mut self,
        images: &[f32],
        targets: &[f32],
        batch: usize,
        random: &mut dyn Rng,
    ) -> Result<Step, EngineError> {
        let logits = self.graph.output("logits")?;
        let width = self.shapes.of(logits).count();
        expect("targets", targets.len(), batch * width)?;
        let results = self.forward(images, batch, &mut Mode::Learn(random))?;
        let loss = loss::loss(&self.objective, &results[logits.0], targets, [batch, width])?;
        let own = || self.slots.iter().filter(|slot| is_trained(slot.role));
        let leaves: Vec<&Tensor> = own()
            .filter(|slot| !self.is_frozen(slot))
            .map(|slot| &slot.view)
            .collect();
        let mut gradients = Tensor::f_run_backward(&[&loss], &leaves, false, false)?.into_iter();
        let mut flat = Vec::new();
        for slot in own() {
            let gradient = if self.is_frozen(slot) {
                None
            } else {
                gradients.next()
            };
            flat.push(match gradient {
                Some(gradient) => flattened(&gradient)?,
                None => slot.view.f_detach()?.f_zeros_like()?.f_reshape([-1])?,
            });
        }
        Ok(Step {
            loss: loss.f_double_value(&[])?,
            gradient: values(&Tensor::f_cat(&flat, 0)?)?,
        })
    }

    fn forward(&self, images: &[f32], batch: usize, mode: &mut Mode<'_>) -> Result<Vec<Tensor>, EngineError> {
        let [channels, rows, columns] = self.graph.input;
        expect("the batch", images.len(), batch * channels * rows * columns)?;
        let size = [batch, channels, rows, columns].map(|size| size as i64);
        let image = Tensor::f_from_slice(images)?.f_view(size)?;
        let image = image
            .f_permute([0, 2, 3, 1])?
            .f_contiguous()?
            .f_permute([0, 3, 1, 2])?;
        let mut results: Vec<Tensor> = Vec::with_capacity(self.graph.nodes.len());
        results.push(image);
        for node in self.graph.nodes.iter().skip(1) {
            let inputs: Vec<&Tensor> = node.inputs.iter().map(|input| &results[input.0]).collect();
            let result = self.layer(node, &inputs, mode);
            results.push(result.map_err(|source| EngineError::Node {
                node: node.name.clone(),
                source,
            })?);
        }
        Ok(results)
    }
}

fn is_trained(role: Role) -> bool {
    matches!(role, Role::Kernel { .. } | Role::Vector)
}

/// A piece of a flat tensor in its parameter's shape; kernels of four dimensions lie channels-last.
fn shaped(flat: &Tensor, shape: &[usize]) -> Result<Tensor, TchError> {
    let sizes: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
    match sizes.as_slice() {
        [outputs, inputs, rows, columns] => flat
            .f_view([*outputs, *rows, *columns, *inputs])?
            .f_permute([0, 3, 1, 2]),
        sizes => flat.f_view(sizes),
    }
}

/// The inverse of [`shaped`], as a copy where it has to be.
fn flattened(tensor: &Tensor) -> Result<Tensor, TchError> {
    if tensor.dim() == 4 {
        tensor.f_permute([0, 2, 3, 1])?.f_reshape([-1])
    } else {
        tensor.f_reshape([-1])
    }
}

fn values(tensor: &Tensor) -> Result<Vec<f32>, EngineError> {
    let flat = tensor.f_detach()?.f_contiguous()?.f_view([-1])?;
    Ok(Vec::<f32>::try_from(&flat)?)
}

fn overwrite(tensor: &mut Tensor, numbers: &[f32], what: &'static str) -> Result<(), EngineError> {
    expect(what, numbers.len(), tensor.numel())?;
    tch::no_grad(|| tensor.f_copy_(&Tensor::f_from_slice(numbers)?))?;
    Ok(())
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

//! The numbers of a network on its device.
//!
//! All trained parameters are views of one flat tensor, in execution order; so are all running statistics. The gradient is one, too, and
//! is there between a step and the optimizer's only: the largest of what a step needs, its values between layers, never meet it. The
//! optimizer and checkpoints work on the whole of each. Kernels lie channels-last, as images do.

use std::collections::{BTreeMap, BTreeSet};

use tch::{Device, Kind, TchError, Tensor};

use super::super::super::network::{Graph, Parameter, Role, Shapes, TensorF32, Weights};
use super::{EngineError, expect, values};

/// Where a parameter lives.
struct Slot {
    name: String,
    shape: Vec<usize>,
    role: Role,
    /// A view of the flat tensor of its role.
    view: Tensor,
}

impl Slot {
    fn is_trained(&self) -> bool {
        is_trained(self.role)
    }

    fn count(&self) -> usize {
        self.shape.iter().product()
    }

    fn node(&self) -> &str {
        self.name.rsplit_once('.').map_or("", |(node, _)| node)
    }
}

/// All numbers of one network.
pub(super) struct Parameters {
    slots: Vec<Slot>,
    places: BTreeMap<String, usize>,
    frozen: BTreeSet<String>,
    /// All that training changes by gradient.
    pub(super) trained: Tensor,
    /// All others.
    pub(super) statistics: Tensor,
    /// Of the loss of the newest step, by all that is trained; 0 for what is frozen. Empty before it, and once it was taken.
    pub(super) gradient: Tensor,
}

impl Parameters {
    /// All zero.
    pub(super) fn new(graph: &Graph, shapes: &Shapes, device: Device) -> Result<Self, TchError> {
        let parameters = shapes.parameters(graph);
        let count = |wanted: bool| -> i64 {
            let own = parameters
                .iter()
                .filter(|(_, own)| is_trained(own.role) == wanted);
            own.map(|(_, own)| own.count() as i64).sum()
        };
        let flat = |count: i64| Tensor::f_zeros([count], (Kind::Float, device));
        let (trained, statistics) = (flat(count(true))?, flat(count(false))?);
        let (mut trained_end, mut statistics_end) = (0, 0);
        let mut slots = Vec::with_capacity(parameters.len());
        for (name, Parameter { shape, role, .. }) in parameters {
            let (home, end) = if is_trained(role) {
                (&trained, &mut trained_end)
            } else {
                (&statistics, &mut statistics_end)
            };
            let view = piece(home, end, &shape)?.f_set_requires_grad(is_trained(role))?;
            slots.push(Slot {
                name,
                shape,
                role,
                view,
            });
        }
        let places = slots
            .iter()
            .enumerate()
            .map(|(place, slot)| (slot.name.clone(), place))
            .collect();
        Ok(Self {
            slots,
            places,
            frozen: BTreeSet::new(),
            trained,
            statistics,
            gradient: flat(0)?,
        })
    }

    /// The parameter of a node with this suffix.
    pub(super) fn get(&self, node: &str, suffix: &str) -> Option<&Tensor> {
        let place = self.places.get(&format!("{node}.{suffix}"))?;
        Some(&self.slots[*place].view)
    }

    /// Freezes these nodes from now on, and no others.
    pub(super) fn freeze(&mut self, nodes: BTreeSet<String>) -> Result<(), TchError> {
        self.frozen = nodes;
        for slot in &self.slots {
            let learns = slot.is_trained() && !self.is_frozen(slot.node());
            let _ = slot.view.f_set_requires_grad(learns)?;
        }
        Ok(())
    }

    pub(super) fn is_frozen(&self, node: &str) -> bool {
        self.frozen.contains(node)
    }

    /// What the gradient is taken by, in execution order.
    pub(super) fn leaves(&self) -> Vec<&Tensor> {
        let learning = self
            .slots
            .iter()
            .filter(|slot| slot.is_trained() && !self.is_frozen(slot.node()));
        learning.map(|slot| &slot.view).collect()
    }

    /// Keeps the gradients of the [`Parameters::leaves`], in their order.
    pub(super) fn keep_gradients(&mut self, gradients: Vec<Tensor>) -> Result<(), TchError> {
        let mut gradients = gradients.into_iter();
        let trained = self.slots.iter().filter(|slot| slot.is_trained());
        let pieces = trained.map(|slot| {
            let own = if self.is_frozen(slot.node()) {
                None
            } else {
                gradients.next()
            };
            match own.filter(Tensor::defined) {
                Some(own) if own.dim() == 4 => own.f_permute([0, 2, 3, 1])?.f_reshape([-1]),
                Some(own) => own.f_reshape([-1]),
                // nothing that the loss is made of depends on it
                None => self
                    .trained
                    .f_new_zeros([slot.count() as i64], (Kind::Float, self.trained.device())),
            }
        });
        let pieces: Vec<Tensor> = pieces.collect::<Result<_, _>>()?;
        self.gradient = Tensor::f_cat(&pieces, 0)?;
        Ok(())
    }

    /// The newest gradient, which is given away.
    pub(super) fn take_gradient(&mut self) -> Result<Tensor, TchError> {
        let empty = self.trained.f_narrow(0, 0, 0)?;
        Ok(std::mem::replace(&mut self.gradient, empty))
    }

    /// For each trained parameter what `of` gives for its node and role.
    pub(super) fn each_trained<T: Clone>(&self, of: impl Fn(&str, Role) -> T) -> Vec<T> {
        let trained = self.slots.iter().filter(|slot| slot.is_trained());
        trained
            .flat_map(|slot| std::iter::repeat_n(of(slot.node(), slot.role), slot.count()))
            .collect()
    }

    /// Replaces every parameter; `weights` fit the network.
    pub(super) fn load(&mut self, weights: &Weights) -> Result<(), EngineError> {
        tch::no_grad(|| {
            for slot in &mut self.slots {
                let tensor = weights.get(&slot.name)?;
                let shape: Vec<i64> = tensor.shape.iter().map(|size| *size as i64).collect();
                let source = Tensor::f_from_slice(&tensor.values)?.f_view(shape.as_slice())?;
                slot.view.f_copy_(&source)?;
            }
            Ok(())
        })
    }

    /// A copy of every parameter.
    pub(super) fn weights(&self) -> Result<Weights, EngineError> {
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
}

/// Replaces the numbers of a flat tensor.
pub(super) fn overwrite(tensor: &mut Tensor, numbers: &[f32], what: &'static str) -> Result<(), EngineError> {
    expect(what, numbers.len(), tensor.numel())?;
    tch::no_grad(|| tensor.f_copy_(&Tensor::f_from_slice(numbers)?))?;
    Ok(())
}

fn is_trained(role: Role) -> bool {
    matches!(role, Role::Kernel { .. } | Role::Vector)
}

/// The piece of a flat tensor behind `end`, in its parameter's shape; kernels of four dimensions lie channels-last.
fn piece(flat: &Tensor, end: &mut i64, shape: &[usize]) -> Result<Tensor, TchError> {
    let sizes: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
    let count = sizes.iter().product();
    let own = flat.f_narrow(0, *end, count)?;
    *end += count;
    let shaped = match sizes.as_slice() {
        [outputs, inputs, rows, columns] => own
            .f_view([*outputs, *rows, *columns, *inputs])?
            .f_permute([0, 3, 1, 2])?,
        sizes => own.f_view(sizes)?,
    };
    shaped.f_detach()
}

//! The numbers of a network on its device.
//!
//! All trained parameters are views of one flat tensor, in execution order; so are all running statistics, and the gradient. The
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
    /// A view of the flat gradient, where it is trained.
    gradient: Option<Tensor>,
}

impl Slot {
    fn is_trained(&self) -> bool {
        is_trained(self.role)
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
    /// Of the loss of the newest step, by all that is trained; 0 for what is frozen. Empty before the first step.
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
                gradient: None,
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
        let _ = self.gradient.f_zero_()?;
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
        if self.gradient.numel() == 0 {
            self.gradient = self.trained.f_zeros_like()?;
            let mut end = 0;
            for slot in self.slots.iter_mut().filter(|slot| slot.is_trained()) {
                slot.gradient = Some(piece(&self.gradient, &mut end, &slot.shape)?);
            }
        }
        let Self { slots, frozen, .. } = self;
        let homes = slots
            .iter_mut()
            .filter(|slot| slot.is_trained() && !frozen.contains(slot.node()));
        for (home, gradient) in homes.zip(gradients) {
            let Some(home) = &mut home.gradient else { continue };
            if gradient.defined() {
                home.f_copy_(&gradient)?;
            } else {
                // nothing that the loss is made of depends on it
                let _ = home.f_zero_()?;
            }
        }
        Ok(())
    }

    /// For each trained parameter the number that `of` gives for its node and role.
    pub(super) fn each_trained(&self, of: impl Fn(&str, Role) -> f32) -> Vec<f32> {
        let trained = self.slots.iter().filter(|slot| slot.is_trained());
        trained
            .flat_map(|slot| std::iter::repeat_n(of(slot.node(), slot.role), slot.shape.iter().product()))
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

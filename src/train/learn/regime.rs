//! Which parameters move when, and how fast: the regimes of fine-tuning, by depth.
//!
//! A network falls into groups of depth: a new one begins wherever the resolution falls, and the last kernel before the logits is
//! the head, a group of its own. So it is for any architecture, whatever its nodes are called. A training is one phase or several; in
//! each, every group has a factor on the learning rate, and 0 freezes it with the running statistics of its batch norms.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::network::{Graph, GraphError, NodeId, Role, Shape};

/// How a training moves the parameters.
///
/// Those without settings have braces all the same, so that a setting of another regime is an error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Regime {
    /// All of them at one rate, from whatever weights it starts from.
    Full {},
    /// As `full`, and only from random weights: a guard for comparisons.
    Scratch {},
    /// Only the head.
    Head {},
    /// The head first, then one group more every few epochs, from the back (Howard and Ruder 2018, arXiv 1801.06146).
    Gradual {
        /// Epochs until the next group joins.
        #[serde(default = "one")]
        epochs_per_group: usize,
    },
    /// The head alone first; then all, at half the rate, the first group slower by `ratio` and those between evenly on the
    /// logarithm: `fine_tune` of fastai (Howard and Gugger 2020).
    Discriminative {
        /// Epochs of the head alone.
        #[serde(default = "one")]
        head_epochs: usize,
        /// The head's rate divided by the first group's.
        #[serde(default = "hundred")]
        ratio: f64,
    },
}

impl Default for Regime {
    fn default() -> Self {
        Self::Full {}
    }
}

fn one() -> usize {
    1
}

fn hundred() -> f64 {
    100.0
}

/// Epochs with one learning rate cycle and one set of moving groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// The first epoch.
    pub first: usize,
    /// How many.
    pub epochs: usize,
    /// For each group, from the image to the head, what its rate is multiplied by; 0 is frozen.
    pub factors: Vec<f64>,
}

impl std::str::FromStr for Regime {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        serde_json::from_value(serde_json::json!({ "kind": name }))
            .map_err(|_| "choose full, scratch, head, gradual or discriminative".to_owned())
    }
}

impl Regime {
    /// The phases of a training of `epochs` over a network of `groups` groups.
    ///
    /// # Errors
    /// A sentence that says what does not fit.
    pub fn phases(&self, epochs: usize, groups: usize) -> Result<Vec<Phase>, String> {
        let last = groups.saturating_sub(1);
        let from = |first: usize| {
            (0..groups)
                .map(|group| if group >= first { 1.0 } else { 0.0 })
                .collect()
        };
        let whole = |factors| {
            Ok(vec![Phase {
                first: 0,
                epochs,
                factors,
            }])
        };
        match *self {
            Self::Full {} | Self::Scratch {} => whole(from(0)),
            Self::Head {} => whole(from(last)),
            Self::Gradual { epochs_per_group } => {
                if epochs_per_group == 0 || epochs_per_group.saturating_mul(last) >= epochs {
                    return Err(format!(
                        "{epochs_per_group} epochs for each of {groups} groups do not fit into {epochs} epochs: at least 1 each, and 1 left for the last"
                    ));
                }
                Ok((0..groups)
                    .map(|step| Phase {
                        first: step * epochs_per_group,
                        epochs: if step == last {
                            epochs - last * epochs_per_group
                        } else {
                            epochs_per_group
                        },
                        factors: from(last - step),
                    })
                    .collect())
            }
            Self::Discriminative { head_epochs, ratio } => {
                if !(ratio >= 1.0 && ratio.is_finite()) {
                    return Err(format!("ratio is {ratio}; it must be 1 or more"));
                }
                if head_epochs >= epochs {
                    return Err(format!(
                        "{head_epochs} epochs of the head alone leave none of {epochs} for the rest"
                    ));
                }
                let share = |group: usize| (last - group) as f64 / last.max(1) as f64;
                let all = Phase {
                    first: head_epochs,
                    epochs: epochs - head_epochs,
                    factors: (0..groups).map(|group| 0.5 * ratio.powf(-share(group))).collect(),
                };
                let head = Phase {
                    first: 0,
                    epochs: head_epochs,
                    factors: from(last),
                };
                Ok([head, all].into_iter().filter(|phase| phase.epochs > 0).collect())
            }
        }
    }
}

/// The groups of depth of one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depths {
    /// How many there are; the head is the last.
    pub groups: usize,
    of_node: BTreeMap<String, usize>,
}

impl Depths {
    /// Finds the groups of `graph`, which has an output `logits`.
    pub fn of(graph: &Graph) -> Result<Self, GraphError> {
        let shapes = graph.shapes()?;
        let has_kernel = |id: NodeId| {
            let node = &graph.nodes[id.0];
            node.layer
                .parameters(&shapes.inputs(node))
                .iter()
                .any(|parameter| matches!(parameter.role, Role::Kernel { .. }))
        };
        // back from the logits; nodes stand in execution order, so the highest place is the last
        let mut reached = vec![false; graph.nodes.len()];
        reached[graph.output("logits")?.0] = true;
        for place in (0..graph.nodes.len()).rev().filter(|place| *place > 0) {
            if reached[place] {
                graph.nodes[place]
                    .inputs
                    .iter()
                    .for_each(|input| reached[input.0] = true);
            }
        }
        let head = (0..graph.nodes.len())
            .rev()
            .find(|place| reached[*place] && has_kernel(NodeId(*place)));
        // what comes after the head, such as its temperature, opens no group, nor does a norm alone
        let opens = |place: usize| head.is_none_or(|head| place < head) && has_kernel(NodeId(place));
        let pixels = |place: usize| match shapes.of(NodeId(place)) {
            Shape::Maps([_, rows, columns]) => rows * columns,
            Shape::Features(_) => 1,
        };
        // what only weighs larger maps that come later, as squeeze-and-excitation does, is as fine as they are
        let mut finest = vec![0; graph.nodes.len()];
        let mut later = 0;
        for place in (0..graph.nodes.len()).rev() {
            if opens(place) {
                later = later.max(pixels(place));
            }
            finest[place] = later;
        }
        let mut of_node = BTreeMap::new();
        let (mut group, mut of_group) = (0, None);
        for (place, node) in graph.nodes.iter().enumerate() {
            if node.layer.parameters(&shapes.inputs(node)).is_empty() || Some(place) == head {
                continue;
            }
            if opens(place) {
                // a border that is lost is no lower resolution
                if of_group.is_some_and(|pixels| finest[place] * 2 <= pixels) {
                    group += 1;
                    of_group = None;
                }
                of_group = of_group.or(Some(finest[place]));
            }
            of_node.insert(node.name.clone(), group);
        }
        if let Some(head) = head {
            if of_group.is_some() {
                group += 1;
            }
            of_node.insert(graph.nodes[head].name.clone(), group);
        }
        Ok(Self {
            groups: group + 1,
            of_node,
        })
    }

    /// The group of a node; what has no parameters belongs to the first.
    #[must_use]
    pub fn of_node(&self, name: &str) -> usize {
        self.of_node.get(name).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::network::{Architecture, Residual};
    use super::*;

    #[test]
    fn groups_follow_the_resolution_and_the_head_is_the_last() {
        let depths = Depths::of(&Residual::default().graph("image", 2).unwrap()).unwrap();
        // stem, three stages, head
        assert_eq!(depths.groups, 5);
        for (node, group) in [
            ("stem.norm", 0),
            ("stage1.block1.shortcut", 1),
            ("stage2.block2.convolution1", 2),
            ("stage3.block2.norm2", 3),
            ("label_map", 4),
        ] {
            assert_eq!(depths.of_node(node), group, "{node}");
        }
    }

    /// A group for each resolution that a published network has layers at, by the tables of their papers; then VGG16's and AlexNet's hidden
    /// layers, and the head.
    #[test]
    fn published_networks_have_a_group_for_each_resolution() {
        for (family, side, groups) in [
            ("resnet18", 224, 6),
            ("resnet50", 224, 6),
            ("densenet121", 224, 6),
            ("convnext_tiny", 224, 5),
            ("efficientnet_b0", 224, 6),
            ("vgg16", 224, 7),
            ("inception_v3", 299, 6),
            ("xception", 299, 6),
            ("alexnet", 224, 5),
        ] {
            let told = serde_json::json!({ "family": family, "channels": 1, "rows": side, "columns": side });
            let architecture: Architecture = serde_json::from_value(told).unwrap();
            let depths = Depths::of(&architecture.graph("image", 1).unwrap()).unwrap();
            assert_eq!(depths.groups, groups, "{family}");
        }
    }

    #[test]
    fn phases_cover_every_epoch_once() {
        for regime in ["full", "scratch", "head", "gradual", "discriminative"] {
            let regime: Regime = regime.parse().unwrap();
            let phases = regime.phases(12, 5).unwrap();
            let mut next = 0;
            for phase in &phases {
                assert_eq!(phase.first, next);
                assert!(phase.epochs > 0 && phase.factors.len() == 5 && phase.factors[4] > 0.0);
                next += phase.epochs;
            }
            assert_eq!(next, 12);
        }
        assert!("fine".parse::<Regime>().is_err());
    }

    #[test]
    fn discriminative_is_the_fine_tune_of_fastai() {
        let phases = "discriminative".parse::<Regime>().unwrap().phases(6, 3).unwrap();
        assert_eq!(phases[0].factors, [0.0, 0.0, 1.0]);
        // fastai 2.7 Learner.fine_tune: base_lr /= 2, then slice(base_lr / 100, base_lr), even on the logarithm over groups
        let expected = [0.005, 0.05, 0.5];
        assert!(
            phases[1]
                .factors
                .iter()
                .zip(expected)
                .all(|(found, expected)| (found - expected).abs() < 1e-12)
        );
    }

    #[test]
    fn gradual_opens_one_group_at_a_time() {
        let phases = Regime::Gradual { epochs_per_group: 2 }.phases(7, 3).unwrap();
        let factors: Vec<_> = phases.iter().map(|phase| phase.factors.as_slice()).collect();
        assert_eq!(
            factors,
            [&[0.0, 0.0, 1.0][..], &[0.0, 1.0, 1.0], &[1.0, 1.0, 1.0]]
        );
        assert_eq!(phases[2].epochs, 3);
        for too_many in [4, usize::MAX / 2 + 1] {
            let regime = Regime::Gradual {
                epochs_per_group: too_many,
            };
            assert!(regime.phases(7, 3).is_err());
        }
    }
}

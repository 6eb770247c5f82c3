//! Several networks, or two views of an image, as one network: members side by side, and the mean of their answers.
//!
//! The whole is a graph like any other, so it is exported, proven and served like any other, in one file. Probabilities and numbers
//! are averaged; of the thresholds between grades the log-odds are. There is no embedding: those of several networks have nothing in
//! common.

use super::super::network::{Graph, Layer, Node, NodeId, Output, Weights, WeightsError};
use super::heads::{HeadOutputs, pruned};

/// One network with the outputs of its heads.
pub struct Member {
    /// The network.
    pub graph: Graph,
    /// Its weights, with temperatures.
    pub weights: Weights,
}

/// One graph of all `members`, which have the same input and the same heads, called `outputs`; with `mirror`, each sees the image and
/// its mirror image. One member without mirroring stays as it is.
///
/// # Errors
/// [`WeightsError`] where the members are no networks.
pub fn side_by_side(
    members: &[Member],
    outputs: &[HeadOutputs],
    mirror: bool,
) -> Result<(Member, Vec<HeadOutputs>), WeightsError> {
    if let ([one], false) = (members, mirror) {
        let member = Member {
            graph: one.graph.clone(),
            weights: one.weights.clone(),
        };
        return Ok((member, outputs.to_vec()));
    }
    let Some(first) = members.first() else {
        return Err(WeightsError::Format("there is no network".to_owned()));
    };
    let mut whole = Whole {
        graph: Graph {
            name: format!("{}-{}", first.graph.name, members.len()),
            input: first.graph.input,
            nodes: vec![first.graph.nodes[0].clone()],
            outputs: Vec::new(),
        },
        template: first.graph.nodes[0].clone(),
    };
    let mut image = NodeId(0);
    if mirror {
        image = whole.node("mirror", Layer::Mirror, vec![image]);
    }
    let mut weights = Weights::default();
    let mut offsets = Vec::new();
    for (place, member) in members.iter().enumerate() {
        let prefix = format!("member{}", place + 1);
        offsets.push(whole.append(&prefix, &member.graph, image));
        for (name, tensor) in &member.weights.tensors {
            weights.tensors.insert(format!("{prefix}.{name}"), tensor.clone());
        }
    }
    let mut averaged = Vec::new();
    for head in outputs {
        let mut mean = |name: &String| -> Result<String, WeightsError> {
            let mut values = Vec::new();
            for (member, offset) in members.iter().zip(&offsets) {
                values.push(NodeId(member.graph.output(name)?.0 + offset));
            }
            whole.mean(name, values, mirror);
            Ok(name.clone())
        };
        averaged.push(HeadOutputs {
            scores: mean(&head.scores)?,
            activation: head.activation,
            logits: None,
            activation_map: head.activation_map.as_ref().map(&mut mean).transpose()?,
        });
    }
    let member = Member {
        graph: pruned(&whole.graph),
        weights,
    };
    member.weights.check(&member.graph)?;
    Ok((member, averaged))
}

struct Whole {
    graph: Graph,
    template: Node,
}

impl Whole {
    fn node(&mut self, name: &str, layer: Layer, inputs: Vec<NodeId>) -> NodeId {
        let mut node = self.template.clone();
        (node.name, node.layer, node.inputs) = (name.to_owned(), layer, inputs);
        self.graph.nodes.push(node);
        NodeId(self.graph.nodes.len() - 1)
    }

    /// Appends a member's nodes but its input; answers how much further on they stand.
    fn append(&mut self, prefix: &str, member: &Graph, image: NodeId) -> usize {
        let offset = self.graph.nodes.len() - 1;
        for node in member.nodes.iter().skip(1) {
            let input = |input: &NodeId| {
                if *input == NodeId(0) {
                    image
                } else {
                    NodeId(input.0 + offset)
                }
            };
            self.graph.nodes.push(Node {
                name: format!("{prefix}.{}", node.name),
                inputs: node.inputs.iter().map(input).collect(),
                ..node.clone()
            });
        }
        offset
    }

    fn mean(&mut self, name: &str, values: Vec<NodeId>, mirror: bool) {
        let mut value = values[0];
        if values.len() > 1 {
            value = self.node(&format!("mean.{name}"), Layer::Mean, values);
        }
        if mirror {
            value = self.node(&format!("unmirror.{name}"), Layer::Unmirror, vec![value]);
        }
        self.graph.outputs.push(Output {
            name: name.to_owned(),
            node: value,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::learn::{Engine, Heads};
    use super::super::super::network::{Residual, initial_weights};
    use super::super::heads::with_heads;
    use super::*;

    const PIXELS: usize = 16 * 12;

    fn members(count: u64) -> (Vec<Member>, Vec<HeadOutputs>) {
        let residual = Residual {
            rows: 16,
            columns: 12,
            stem: 3,
            widths: vec![4],
            blocks: vec![1],
            ..Residual::default()
        };
        let heads = Heads::new(&[], &["a", "b"].map(str::to_owned));
        let (graph, outputs) = with_heads(&residual.graph("image", 2).unwrap(), &heads).unwrap();
        let members = (1..=count)
            .map(|seed| Member {
                weights: initial_weights(&graph, seed).unwrap(),
                graph: graph.clone(),
            })
            .collect();
        (members, outputs)
    }

    fn image(batch: usize) -> Vec<f32> {
        (0..batch * PIXELS)
            .map(|pixel| (pixel * 37 % 101) as f32 / 101.0)
            .collect()
    }

    fn mirrored(image: &[f32]) -> Vec<f32> {
        image
            .chunks(12)
            .flat_map(|row| row.iter().rev().copied())
            .collect()
    }

    fn run(member: &Member, image: &[f32], output: &str) -> Vec<f32> {
        let engine = Engine::new(&member.graph, &member.weights, 1).unwrap();
        engine
            .run(image, image.len() / PIXELS)
            .unwrap()
            .remove(output)
            .unwrap()
            .values
    }

    fn near(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        let off = found
            .iter()
            .zip(expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(off < 1e-6, "{off}");
    }

    #[test]
    fn members_answer_with_their_mean() {
        let (members, outputs) = members(3);
        let (whole, averaged) = side_by_side(&members, &outputs, false).unwrap();
        assert_eq!(averaged[0].logits, None);
        for output in ["probabilities", "activation_map"] {
            let each: Vec<Vec<f32>> = members
                .iter()
                .map(|member| run(member, &image(2), output))
                .collect();
            let mean: Vec<f32> = (0..each[0].len())
                .map(|at| each.iter().map(|own| own[at]).sum::<f32>() / 3.0)
                .collect();
            near(&run(&whole, &image(2), output), &mean);
        }
    }

    #[test]
    fn an_image_and_its_mirror_image_have_one_answer() {
        let (members, outputs) = members(1);
        let (whole, _) = side_by_side(&members, &outputs, true).unwrap();
        let image = image(3);
        let (seen, other) = (
            run(&members[0], &image, "probabilities"),
            run(&members[0], &mirrored(&image), "probabilities"),
        );
        let mean: Vec<f32> = seen
            .iter()
            .zip(&other)
            .map(|(a, b)| f32::midpoint(*a, *b))
            .collect();
        near(&run(&whole, &image, "probabilities"), &mean);
        near(&run(&whole, &mirrored(&image), "probabilities"), &mean);
        // the map of the mirror image, mirrored back, is averaged with the map: 4 rows and 3 columns
        let (seen, other) = (
            run(&members[0], &image, "activation_map"),
            run(&members[0], &mirrored(&image), "activation_map"),
        );
        let other: Vec<f32> = other
            .chunks(3)
            .flat_map(|row| row.iter().rev().copied())
            .collect();
        let mean: Vec<f32> = seen
            .iter()
            .zip(&other)
            .map(|(a, b)| f32::midpoint(*a, *b))
            .collect();
        near(&run(&whole, &image, "activation_map"), &mean);
    }
}

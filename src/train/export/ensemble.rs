//! Several networks, or two views of an image, as one network: members side by side, and the mean of their answers.
//!
//! The whole is a graph like any other, so it is exported, proven and served like any other, in one file. Probabilities and numbers
//! are averaged; the probabilities of the thresholds between grades are, too, although networks and manifest have them as log-odds. The
//! embedding is the first network's, because features of several networks have nothing in common; of two views it is the mean.

use super::super::network::{Graph, Layer, Node, NodeId, Output, Weights, WeightsError};
use super::heads::{EMBEDDING, HeadOutputs, pruned};
use crate::model::Activation;

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
        let mut mean = |name: &String, of: Mean| -> Result<String, WeightsError> {
            let mut values = Vec::new();
            for (member, offset) in members.iter().zip(&offsets) {
                values.push(NodeId(member.graph.output(name)?.0 + offset));
            }
            whole.mean(name, values, mirror, of);
            Ok(name.clone())
        };
        let of_scores = match head.activation {
            Activation::Sigmoid => Mean::OfProbabilities,
            Activation::None | Activation::Softmax => Mean::OfValues,
        };
        let scores = mean(&head.scores, of_scores)?;
        let map = head.activation_map.as_ref();
        averaged.push(HeadOutputs {
            scores,
            activation: head.activation,
            logits: None,
            activation_map: map.map(|name| mean(name, Mean::OfValues)).transpose()?,
        });
    }
    if let (Ok(features), Some(offset)) = (first.graph.output(EMBEDDING), offsets.first()) {
        let features = NodeId(features.0 + offset);
        whole.mean(EMBEDDING, vec![features], mirror, Mean::OfValues);
    }
    let member = Member {
        graph: pruned(&whole.graph),
        weights,
    };
    member.weights.check(&member.graph)?;
    Ok((member, averaged))
}

/// What is averaged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mean {
    /// The values as they are.
    OfValues,
    /// The probabilities of values that are log-odds; the mean is log-odds again.
    OfProbabilities,
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

    /// Shows the mean of `values`, of which there is one for each member or one alone.
    fn mean(&mut self, name: &str, mut values: Vec<NodeId>, mirror: bool, of: Mean) {
        if of == Mean::OfProbabilities {
            for (place, value) in values.iter_mut().enumerate() {
                let node = format!("probabilities{}.{name}", place + 1);
                *value = self.node(&node, Layer::Probabilities, vec![*value]);
            }
        }
        let mut value = values[0];
        if values.len() > 1 {
            value = self.node(&format!("mean.{name}"), Layer::Mean, values);
        }
        if mirror {
            value = self.node(&format!("unmirror.{name}"), Layer::Unmirror, vec![value]);
        }
        if of == Mean::OfProbabilities {
            value = self.node(&format!("log_odds.{name}"), Layer::LogOdds, vec![value]);
        }
        self.graph.outputs.push(Output {
            name: name.to_owned(),
            node: value,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::learn::heads::Head;
    use super::super::super::learn::{Engine, Heads};
    use super::super::super::network::{Residual, initial_weights};
    use super::super::heads::with_heads;
    use super::*;
    use crate::finding::Task;

    const PIXELS: usize = 16 * 12;

    fn members(count: u64) -> (Vec<Member>, Vec<HeadOutputs>) {
        members_with(count, &Heads::new(&[], &["a", "b"].map(str::to_owned)))
    }

    fn members_with(count: u64, heads: &Heads) -> (Vec<Member>, Vec<HeadOutputs>) {
        let residual = Residual {
            rows: 16,
            columns: 12,
            stem: 3,
            widths: vec![4],
            blocks: vec![1],
            ..Residual::default()
        };
        let graph = residual.graph("image", heads.width()).unwrap();
        let (graph, outputs) = with_heads(&graph, heads).unwrap();
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
        assert_eq!(
            run(&whole, &image(2), EMBEDDING),
            run(&members[0], &image(2), EMBEDDING),
            "the first network's"
        );
    }

    #[test]
    fn grades_are_averaged_as_probabilities_like_everything_else() {
        let head = |name: &str, task| {
            let labels = ["none", "mild", "severe"].map(|label| format!("{name} {label}"));
            Head::new(name, task, &labels)
        };
        let heads = Heads::new(
            &[head("grade", Task::Ordinal), head("finding", Task::Multilabel)],
            &[],
        );
        let (members, outputs) = members_with(3, &heads);
        // one is sure, and in log-odds would speak for all three
        let mut members = members;
        let sure = &mut members[2].weights;
        for tensor in sure.tensors.values_mut().filter(|tensor| tensor.shape.len() == 4) {
            tensor.values.iter_mut().for_each(|value| *value *= 4.0);
        }
        let grades =
            |member: &Member, image: &[f32]| Activation::Sigmoid.apply(&run(member, image, "grade_scores"));
        let mean = |each: &[Vec<f32>]| -> Vec<f32> {
            (0..each[0].len())
                .map(|at| each.iter().map(|own| own[at]).sum::<f32>() / each.len() as f32)
                .collect()
        };
        let of_each: Vec<Vec<f32>> = members.iter().map(|member| grades(member, &image(2))).collect();
        let (whole, averaged) = side_by_side(&members, &outputs, false).unwrap();
        assert_eq!(
            averaged[0].activation,
            Activation::Sigmoid,
            "the manifest's form stays"
        );
        near(&grades(&whole, &image(2)), &mean(&of_each));
        let spread = |at: usize| of_each[2][at] - of_each[0][at];
        assert!((0..4).any(|at| spread(at).abs() > 0.2), "{of_each:?}");

        let (whole, _) = side_by_side(&members[2..], &outputs, true).unwrap();
        let views = [image(1), mirrored(&image(1))].map(|image| grades(&members[2], &image));
        near(&grades(&whole, &image(1)), &mean(&views));
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

//! A network's answers as a manifest names them: one set of outputs for each head.
//!
//! One head of findings keeps the outputs that every network has. Otherwise each head gets its own part of the logits, after
//! temperature through its activation, and of the label maps; the embedding stays for all. Thresholds between grades stay logits,
//! because the manifest turns them into grades.

use std::collections::BTreeMap;

use super::super::learn::heads::{Heads, Placed};
use super::super::network::{Graph, GraphError, Layer, Node, NodeId, Output};
use crate::finding::Task;
use crate::model::Activation;

/// The output that describes the image to every head at once; a network may have none.
pub const EMBEDDING: &str = "embedding";

/// The names of the outputs of one head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadOutputs {
    /// What becomes the answer.
    pub scores: String,
    /// What the manifest has to do with it.
    pub activation: Activation,
    /// Before temperature; a mean of several networks or views has none.
    pub logits: Option<String>,
    /// Evidence for each label; the thresholds between grades have none.
    pub activation_map: Option<String>,
}

/// Gives `graph` the outputs of `heads`, and says what they are called.
///
/// # Errors
/// [`GraphError`] for a graph without `probabilities` and `logits`.
pub fn with_heads(graph: &Graph, heads: &Heads) -> Result<(Graph, Vec<HeadOutputs>), GraphError> {
    let placed: Vec<Placed<'_>> = heads.placed().collect();
    let has_map = graph.output("activation_map").is_ok();
    if let [one] = placed.as_slice()
        && matches!(one.head.task, Task::Binary | Task::Multilabel)
    {
        let outputs = HeadOutputs {
            scores: "probabilities".to_owned(),
            activation: Activation::None,
            logits: Some("logits".to_owned()),
            activation_map: has_map.then(|| "activation_map".to_owned()),
        };
        return Ok((graph.clone(), vec![outputs]));
    }
    let logits = graph.output("logits")?;
    let probabilities = &graph.nodes[graph.output("probabilities")?.0];
    let calibrated = probabilities.inputs[0];
    let map = graph.output("activation_map").ok();
    let mut builder = Builder {
        graph: Graph {
            outputs: graph
                .outputs
                .iter()
                .filter(|output| output.name == EMBEDDING)
                .cloned()
                .collect(),
            ..graph.clone()
        },
        // any node behind the features will do: its name and operation are replaced
        template: probabilities.clone(),
    };
    let outputs = placed
        .iter()
        .map(|placed| builder.head(placed, logits, calibrated, map))
        .collect();
    let graph = pruned(&builder.graph);
    graph.shapes()?;
    Ok((graph, outputs))
}

struct Builder {
    graph: Graph,
    template: Node,
}

impl Builder {
    fn head(
        &mut self,
        placed: &Placed<'_>,
        logits: NodeId,
        calibrated: NodeId,
        map: Option<NodeId>,
    ) -> HeadOutputs {
        let (name, task) = (&placed.head.name, placed.head.task);
        let slice = Layer::Slice {
            first: placed.logits.start,
            count: placed.logits.len(),
        };
        let own = self.node(&format!("{name}.calibrated"), slice.clone(), calibrated);
        let (layer, activation) = match task {
            Task::Binary | Task::Multilabel => (Some(Layer::Sigmoid), Activation::None),
            Task::Multiclass => (Some(Layer::Softmax), Activation::None),
            Task::Ordinal => (None, Activation::Sigmoid),
            Task::Regression => (None, Activation::None),
        };
        let scores = match layer {
            Some(layer) => self.node(&format!("{name}.activation"), layer, own),
            None => own,
        };
        let raw = self.node(&format!("{name}.raw"), slice.clone(), logits);
        let mut shown = |suffix: &str, node: NodeId| {
            let name = format!("{name}_{suffix}");
            self.graph.outputs.push(Output {
                name: name.clone(),
                node,
            });
            name
        };
        let (scores, logits) = (shown("scores", scores), shown("logits", raw));
        let activation_map = map.filter(|_| task != Task::Ordinal).map(|map| {
            let own = self.node(&format!("{name}.map"), slice, map);
            let name = format!("{name}_activation_map");
            self.graph.outputs.push(Output {
                name: name.clone(),
                node: own,
            });
            name
        });
        HeadOutputs {
            scores,
            activation,
            logits: Some(logits),
            activation_map,
        }
    }

    fn node(&mut self, name: &str, layer: Layer, input: NodeId) -> NodeId {
        let mut node = self.template.clone();
        (node.name, node.layer, node.inputs) = (name.to_owned(), layer, vec![input]);
        self.graph.nodes.push(node);
        NodeId(self.graph.nodes.len() - 1)
    }
}

/// The graph without what no output needs.
pub(super) fn pruned(graph: &Graph) -> Graph {
    let mut needed = vec![false; graph.nodes.len()];
    needed[0] = true;
    for output in &graph.outputs {
        needed[output.node.0] = true;
    }
    for place in (0..graph.nodes.len()).rev() {
        if needed[place] {
            for input in &graph.nodes[place].inputs {
                needed[input.0] = true;
            }
        }
    }
    let kept: Vec<usize> = (0..graph.nodes.len()).filter(|place| needed[*place]).collect();
    let moved: BTreeMap<usize, usize> = kept.iter().enumerate().map(|(new, old)| (*old, new)).collect();
    let at = |id: &NodeId| NodeId(moved.get(&id.0).copied().unwrap_or(0));
    Graph {
        nodes: kept
            .iter()
            .map(|place| Node {
                inputs: graph.nodes[*place].inputs.iter().map(at).collect(),
                ..graph.nodes[*place].clone()
            })
            .collect(),
        outputs: graph
            .outputs
            .iter()
            .map(|output| Output {
                name: output.name.clone(),
                node: at(&output.node),
            })
            .collect(),
        ..graph.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::learn::Engine;
    use super::super::super::learn::heads::Head;
    use super::super::super::network::{Residual, initial_weights};
    use super::*;

    fn small() -> Residual {
        Residual {
            rows: 16,
            columns: 12,
            stem: 3,
            widths: vec![4],
            blocks: vec![1],
            ..Residual::default()
        }
    }

    #[test]
    fn each_head_answers_its_own_part() {
        let heads = Heads::new(
            &[
                Head::new("part", Task::Multiclass, &["hip", "hand", "chest"]),
                Head::new("grade", Task::Ordinal, &["none", "mild", "severe"]),
                Head::new("fracture", Task::Binary, &["fracture"]),
            ],
            &[],
        );
        let graph = small().graph("image", heads.width()).unwrap();
        let weights = initial_weights(&graph, 1).unwrap();
        let (answering, outputs) = with_heads(&graph, &heads).unwrap();
        weights.check(&answering).unwrap();
        let image: Vec<f32> = (0..2 * 192).map(|pixel| (pixel % 13) as f32 / 13.0).collect();
        let run = |graph: &Graph| Engine::new(graph, &weights, 1).unwrap().run(&image, 2).unwrap();
        let (whole, parts) = (run(&graph), run(&answering));
        let logits = |row: usize, at: std::ops::Range<usize>| {
            whole["logits"].values[row * 6 + at.start..row * 6 + at.end].to_vec()
        };
        for row in 0..2 {
            let classes = &parts[&outputs[0].scores].values[row * 3..row * 3 + 3];
            assert!((classes.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            assert_eq!(
                &parts[&outputs[1].scores].values[row * 2..row * 2 + 2],
                logits(row, 3..5)
            );
            let probability = 1.0 / (1.0 + (-logits(row, 5..6)[0]).exp());
            assert!((parts[&outputs[2].scores].values[row] - probability).abs() < 1e-6);
        }
        assert_eq!(outputs[1].activation, Activation::Sigmoid);
        assert_eq!(outputs[1].activation_map, None);
        assert_eq!(parts["part_activation_map"].shape[..2], [2, 3]);
        assert_eq!(parts[EMBEDDING], whole[EMBEDDING]);
    }

    #[test]
    fn findings_alone_change_nothing() {
        let graph = small().graph("image", 2).unwrap();
        let labels = ["a", "b"].map(str::to_owned);
        let (same, outputs) = with_heads(&graph, &Heads::new(&[], &labels)).unwrap();
        assert_eq!(same, graph);
        assert_eq!(outputs[0].scores, "probabilities");
    }
}

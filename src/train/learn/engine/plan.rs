//! When a pass through a graph is done with which value, and where one may be written over.
//!
//! What is dropped early is memory that the next layer gets warm from the cache instead of cold from the system.

use super::super::super::network::{Graph, Layer};

/// What a pass does with each value.
pub(super) struct Plan {
    needed: Vec<bool>,
    /// For each node the values that nobody needs after it.
    ended: Vec<Vec<usize>>,
    overwrites: Vec<bool>,
}

impl Plan {
    /// For a pass whose answer is the values of the `wanted` nodes.
    pub(super) fn new(graph: &Graph, wanted: &[usize]) -> Self {
        let count = graph.nodes.len();
        let (mut needed, mut uses) = (vec![false; count], vec![0; count]);
        let mut ended = vec![Vec::new(); count];
        for place in wanted {
            needed[*place] = true;
            uses[*place] += 1;
        }
        for place in (0..count).rev().filter(|place| *place > 0) {
            if !needed[place] {
                continue;
            }
            for input in graph.nodes[place].inputs.iter().map(|input| input.0) {
                // the first that is met on the way back is the last on the way forward
                if !needed[input] {
                    ended[place].push(input);
                }
                needed[input] = true;
                uses[input] += 1;
            }
        }
        let overwrites = graph.nodes.iter().map(|node| {
            let first = node.inputs.first().map(|input| input.0);
            matches!(node.layer, Layer::Relu | Layer::Add)
                && first.is_some_and(|first| uses[first] == 1 && gives_away(&graph.nodes[first].layer))
        });
        Self {
            overwrites: overwrites.collect(),
            needed,
            ended,
        }
    }

    /// Whether the answer depends on a node.
    pub(super) fn is_needed(&self, place: usize) -> bool {
        self.needed[place]
    }

    /// The values that nobody needs any more once this node has its inputs.
    pub(super) fn ended_by(&self, place: usize) -> &[usize] {
        &self.ended[place]
    }

    /// Whether a node may put its result into the place of its first input.
    pub(super) fn may_overwrite(&self, place: usize) -> bool {
        self.overwrites[place]
    }
}

/// Whether a layer's own gradient needs nothing of its result, which may be changed then.
fn gives_away(layer: &Layer) -> bool {
    matches!(
        layer,
        Layer::Convolution(_) | Layer::BatchNorm { .. } | Layer::Add
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::network::Residual;

    #[test]
    fn what_two_take_stays_until_the_second_has_it_and_is_not_overwritten() {
        let graph = Residual::default().graph("image", 2).unwrap();
        let place = |name: &str| graph.nodes.iter().position(|node| node.name == name).unwrap();
        let logits = graph.output("logits").unwrap().0;
        let plan = Plan::new(&graph, &[logits]);
        let (first, sum) = (place("stage1.block1.convolution1"), place("stage1.block1.add"));
        let shortcut = graph.nodes[first].inputs[0].0;
        assert!(!plan.ended_by(first).contains(&shortcut));
        let ended: Vec<usize> = (0..graph.nodes.len())
            .filter(|node| plan.ended_by(*node).contains(&shortcut))
            .collect();
        assert_eq!(ended.len(), 1);
        assert!(ended[0] > first && ended[0] <= sum);
        assert!(
            plan.may_overwrite(sum),
            "the second norm's result is the sum's alone"
        );
        assert!(plan.may_overwrite(place("stage1.block1.relu1")));
        assert!(!plan.may_overwrite(first));
        // an answer is never written over
        let norm = place("stage1.block1.norm1");
        assert!(!Plan::new(&graph, &[logits, norm]).may_overwrite(place("stage1.block1.relu1")));
    }

    #[test]
    fn what_the_answer_does_not_depend_on_is_left_out() {
        let graph = Residual::default().graph("image", 2).unwrap();
        let early = graph
            .nodes
            .iter()
            .position(|node| node.name == "stage1.block1.add")
            .unwrap();
        let plan = Plan::new(&graph, &[early]);
        assert!(plan.is_needed(early) && !plan.is_needed(early + 1));
    }
}

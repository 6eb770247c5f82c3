//! The table that shows a network: one line for each node, and the sums.
//!
//! The layout is for people; nothing reads it back.

use std::fmt::Write;

use super::families::{FAMILIES, Published};
use super::graph::{Graph, NodeId};
use super::shape::GraphError;

/// Node, operation, output shape, parameters and multiply-accumulate operations for one image, as text.
pub fn describe(graph: &Graph) -> Result<String, GraphError> {
    let shapes = graph.shapes()?;
    let header = [
        "node",
        "operation",
        "output",
        "parameters",
        "multiply-accumulates",
    ]
    .map(str::to_owned);
    let mut rows = vec![header];
    let (mut parameters, mut operations) = (0, 0);
    for (place, node) in graph.nodes.iter().enumerate() {
        let id = NodeId(place);
        let own: usize = node
            .layer
            .parameters(&shapes.inputs(node))
            .iter()
            .map(super::Parameter::count)
            .sum();
        let work = shapes.multiply_accumulates(graph, id);
        parameters += own;
        operations += work;
        let operation = node.layer.operation().to_owned();
        rows.push([
            node.name.clone(),
            operation,
            shapes.of(id).to_string(),
            grouped(own),
            grouped(work),
        ]);
    }
    rows.push([
        "total".to_owned(),
        String::new(),
        String::new(),
        grouped(parameters),
        grouped(operations),
    ]);
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut table = String::new();
    for row in &rows {
        let [name, operation, shape, own, work] = row;
        // writing to a string cannot fail
        let _ = writeln!(
            table,
            "{name:<0$}  {operation:<1$}  {shape:>2$}  {own:>3$}  {work:>4$}",
            widths[0], widths[1], widths[2], widths[3], widths[4]
        );
    }
    for output in &graph.outputs {
        let _ = writeln!(table, "output {}: {}", output.name, shapes.of(output.node));
    }
    Ok(table)
}

/// Name, stages, parameters and operations of every published network, for one label and one channel of 224x224 pixels.
pub fn families() -> Result<String, GraphError> {
    let mut table = format!(
        "{:<16}  {:<38}  stages  {:>11}  {:>20}\n",
        "family", "network", "parameters", "multiply-accumulates"
    );
    for family in FAMILIES {
        let graph = Published::default().graph(family, "image", 1)?;
        let shapes = graph.shapes()?;
        let work = (0..graph.nodes.len()).map(|place| shapes.multiply_accumulates(&graph, NodeId(place)));
        let (parameters, work) = (grouped(shapes.trained_count(&graph)), grouped(work.sum()));
        let (name, title, stages) = (family.name, family.title, family.stages);
        // writing to a string cannot fail
        let _ = writeln!(
            table,
            "{name:<16}  {title:<38}  {stages:>6}  {parameters:>11}  {work:>20}"
        );
    }
    Ok(table)
}

/// 1234567 as 1,234,567; nothing for 0, so that the layers that count stand out.
fn grouped(number: usize) -> String {
    if number == 0 {
        return String::new();
    }
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::network::Residual;

    #[test]
    fn the_table_has_every_node_and_the_sums() {
        let graph = Residual::default().graph("image", 2).unwrap();
        let table = describe(&graph).unwrap();
        assert!(graph.nodes.iter().all(|node| table.contains(&node.name)));
        assert!(table.contains("output probabilities: 2"), "{table}");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(0), "");
        let families = families().unwrap();
        assert_eq!(families.lines().count(), FAMILIES.len() + 1);
        assert!(families.contains("AlexNet (Krizhevsky 2014)"), "{families}");
    }
}

//! A graph and its weights printed as an ONNX file: opset 17, weights inside, any batch size.
//!
//! Batch norms are folded away and dropout is left out, as both do nothing of their own outside training. Node and
//! weight names stay those of the graph; inputs and outputs have the names that callers know. Equal input gives equal
//! bytes, so a digest names a model.

use std::collections::BTreeMap;

use prost::Message;

use super::super::network::weights::little_endian;
use super::super::network::{Graph, NodeId, Output, Shape, Weights, WeightsError};
use super::fold::fold_batch_norms;
use crate::model::onnx_format::{
    DataType, GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use operators::Printer;

mod attributes;
mod half;
mod int8;
mod operators;

pub use half::half_precision;
pub use int8::{Ranges, eight_bits};

/// The operator set that is written; every operator below exists in it.
pub const OPSET: i64 = 17;
/// The file format that belongs to opset 17 (ONNX 1.12).
pub const IR_VERSION: i64 = 8;
/// The name of the dimension that callers choose.
pub const BATCH_DIMENSION: &str = "batch";

/// Why a network cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Weights or graph do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Two values of one name.
    #[error("`{name}` is the name of two values in the file; outputs must not be called like other nodes")]
    Name {
        /// The name.
        name: String,
    },
}

/// The bytes of the file; `metadata` becomes its `metadata_props`.
pub fn export_onnx(
    graph: &Graph,
    weights: &Weights,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, ExportError> {
    let (graph, weights) = fold_batch_norms(graph, weights)?;
    let shapes = graph.shapes().map_err(WeightsError::from)?;
    let printed = Printer::print(&graph, &shapes, value_names(&graph)?);
    let mut initializer: Vec<TensorProto> = Vec::new();
    for (name, _) in shapes.parameters(&graph) {
        let tensor = weights.get(&name)?;
        initializer.push(TensorProto {
            dims: tensor.shape.iter().map(|size| *size as i64).collect(),
            data_type: DataType::Float as i32,
            raw_data: little_endian(&tensor.values),
            name,
            ..TensorProto::default()
        });
    }
    for (name, value) in printed.constants {
        let raw_data = little_endian(&[value]);
        let data_type = DataType::Float as i32;
        initializer.push(TensorProto {
            dims: Vec::new(),
            data_type,
            raw_data,
            name,
            ..TensorProto::default()
        });
    }
    let output = graph
        .outputs
        .iter()
        .map(|output| value_info(&output.name, shapes.of(output.node)))
        .collect();
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: env!("CARGO_PKG_NAME").to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: OPSET,
        }],
        metadata_props: metadata
            .iter()
            .map(|(key, value)| StringStringEntryProto {
                key: key.clone(),
                value: value.clone(),
            })
            .collect(),
        graph: Some(GraphProto {
            node: printed.nodes,
            name: graph.name.clone(),
            initializer,
            input: vec![value_info(&graph.nodes[0].name, Shape::Maps(graph.input))],
            output,
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    };
    Ok(model.encode_to_vec())
}

/// The network as it is printed, with every value an output under its name in the file.
pub(super) fn observable(graph: &Graph, weights: &Weights) -> Result<(Graph, Weights), ExportError> {
    let (mut graph, weights) = fold_batch_norms(graph, weights)?;
    let names = value_names(&graph)?.into_iter().enumerate().skip(1);
    graph.outputs = names
        .map(|(place, name)| Output {
            name,
            node: NodeId(place),
        })
        .collect();
    Ok((graph, weights))
}

/// The name of each node's value: that of the first output that shows it, or else the node's own.
fn value_names(graph: &Graph) -> Result<Vec<String>, ExportError> {
    let mut names: Vec<String> = graph.nodes.iter().map(|node| node.name.clone()).collect();
    for output in graph.outputs.iter().rev() {
        // the input's value cannot be renamed; it gets a node of its own
        if output.node != NodeId(0) {
            names[output.node.0].clone_from(&output.name);
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    let shown = graph
        .outputs
        .iter()
        .filter(|output| names[output.node.0] != output.name)
        .map(|output| &output.name);
    match names.iter().chain(shown).find(|name| !seen.insert(*name)) {
        Some(name) => Err(ExportError::Name { name: name.clone() }),
        None => Ok(names),
    }
}

fn value_info(name: &str, shape: Shape) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, Value};
    let batch = Dimension {
        value: Some(Value::DimParam(BATCH_DIMENSION.to_owned())),
    };
    let sizes = shape.dimensions().into_iter().map(|size| Dimension {
        value: Some(Value::DimValue(size as i64)),
    });
    let shape = TensorShapeProto {
        dim: std::iter::once(batch).chain(sizes).collect(),
    };
    let tensor = type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: Some(shape),
    };
    let value = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { value }),
    }
}

//! An ONNX file with its matrices in 16-bit floats: half as large, and the same operators.
//!
//! Matrices and kernels are rounded to the nearest; each passes through a `Cast` to 32 bits, which ONNX Runtime does once, when it
//! loads the file. What it computes is 32-bit floats, as before: on processors it has no 16-bit convolutions, and would put the same
//! casts into a network that asks for them. Vectors and scalars stay as they are.

use half::f16;
use prost::Message;

use crate::model::onnx_format::{
    AttributeProto, AttributeType, DataType, ModelProto, NodeProto, TensorProto,
};

/// The file with its matrices in 16 bits.
///
/// # Errors
/// A sentence that names a matrix with a number beyond 65504.
pub fn half_precision(model: &[u8]) -> Result<Vec<u8>, String> {
    let mut model = ModelProto::decode(model).map_err(|error| error.to_string())?;
    let graph = model.graph.as_mut().ok_or("the file has no graph")?;
    let mut casts = Vec::new();
    for tensor in &mut graph.initializer {
        let matrix = matches!(tensor.dims.len(), 2 | 4) && tensor.data_type == DataType::Float as i32;
        if matrix {
            casts.push(cast(tensor)?);
        }
    }
    graph.node.splice(..0, casts);
    Ok(model.encode_to_vec())
}

/// Rounds a matrix, which gets a name of its own; the node that gives it back under the old one.
fn cast(tensor: &mut TensorProto) -> Result<NodeProto, String> {
    let mut rounded = Vec::with_capacity(tensor.raw_data.len() / 2);
    for bytes in tensor.raw_data.as_chunks().0 {
        let value = f16::from_f32(f32::from_le_bytes(*bytes));
        if !value.is_finite() {
            return Err(format!(
                "{} has a number that 16 bits cannot hold: export it in 32",
                tensor.name
            ));
        }
        rounded.extend(value.to_le_bytes());
    }
    let name = tensor.name.clone();
    tensor.name = format!("{name}.fp16");
    tensor.data_type = DataType::Float16 as i32;
    tensor.raw_data = rounded;
    Ok(NodeProto {
        input: vec![tensor.name.clone()],
        output: vec![name.clone()],
        name: format!("{name}.cast"),
        op_type: "Cast".to_owned(),
        attribute: vec![AttributeProto {
            name: "to".to_owned(),
            i: i64::from(DataType::Float as i32),
            r#type: AttributeType::Int as i32,
            ..AttributeProto::default()
        }],
        domain: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::export_onnx;
    use super::*;
    use crate::train::network::{Residual, initial_weights};

    #[test]
    fn matrices_are_half_as_large_and_everything_else_stays() {
        let graph = Residual::default().graph("image", 2).unwrap();
        let mut weights = initial_weights(&graph, 1).unwrap();
        let whole = export_onnx(&graph, &weights, &BTreeMap::new()).unwrap();
        let small = half_precision(&whole).unwrap();
        assert!(
            small.len() * 100 < whole.len() * 52,
            "{} of {}",
            small.len(),
            whole.len()
        );
        let [before, after] =
            [&whole, &small].map(|bytes| ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap());
        let casts = after.node.len() - before.node.len();
        assert_eq!(after.node[casts..], before.node[..]);
        assert!(casts > 5 && after.node[..casts].iter().all(|node| node.op_type == "Cast"));
        assert_eq!(before.output, after.output);
        let matrices = |graph: &crate::model::onnx_format::GraphProto| {
            graph
                .initializer
                .iter()
                .filter(|tensor| tensor.data_type == DataType::Float16 as i32)
                .count()
        };
        assert_eq!((matrices(&before), matrices(&after)), (0, casts));

        weights.tensors.get_mut("label_map.weight").unwrap().values[0] = 70_000.0;
        let large = export_onnx(&graph, &weights, &BTreeMap::new()).unwrap();
        let refused = half_precision(&large).unwrap_err();
        assert!(
            refused.contains("label_map.weight has a number that 16 bits"),
            "{refused}"
        );
    }
}

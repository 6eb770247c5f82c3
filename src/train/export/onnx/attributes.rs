//! The small pieces that an operator is written with.

use super::super::super::network::Window;
use crate::model::onnx_format::{AttributeProto, AttributeType, NodeProto};

/// A node that makes one value.
pub(super) fn node_proto(
    name: &str,
    operator: &str,
    input: Vec<String>,
    output: String,
    attribute: Vec<AttributeProto>,
) -> NodeProto {
    let (name, op_type) = (name.to_owned(), operator.to_owned());
    NodeProto {
        input,
        output: vec![output],
        name,
        op_type,
        attribute,
        domain: String::new(),
    }
}

pub(super) fn window_attributes(window: Window) -> Vec<AttributeProto> {
    let [kernel, stride, [top, left]] =
        [window.kernel, window.stride, window.padding].map(|pair| pair.map(|size| size as i64));
    vec![
        integers("kernel_shape", &kernel),
        integers("strides", &stride),
        integers("pads", &[top, left, top, left]),
    ]
}

pub(super) fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        i: value,
        r#type: AttributeType::Int as i32,
        ..AttributeProto::default()
    }
}

pub(super) fn integers(name: &str, values: &[i64]) -> AttributeProto {
    let r#type = AttributeType::Ints as i32;
    AttributeProto {
        name: name.to_owned(),
        ints: values.to_vec(),
        r#type,
        ..AttributeProto::default()
    }
}

pub(super) fn real(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        f: value,
        r#type: AttributeType::Float as i32,
        ..AttributeProto::default()
    }
}

//! Networks that can be imported, and what is said of those that cannot.

use super::super::onnx_format::{
    DataLocation, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    tensor_shape_proto, type_proto,
};
use super::*;

/// A tensor of these sizes; 0 stands for one that is not said.
fn value(name: &str, sizes: &[i64]) -> ValueInfoProto {
    let dimension = |size: &i64| tensor_shape_proto::Dimension {
        value: (*size > 0).then_some(tensor_shape_proto::Value::DimValue(*size)),
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: DataType::Float as i32,
                shape: Some(TensorShapeProto {
                    dim: sizes.iter().map(dimension).collect(),
                }),
            })),
        }),
    }
}

fn node(operator: &str, input: &str, output: &str) -> NodeProto {
    NodeProto {
        op_type: operator.into(),
        input: vec![input.into()],
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

fn network(change: impl FnOnce(&mut ModelProto, &mut GraphProto)) -> Result<Network, String> {
    let mut graph = GraphProto {
        node: vec![
            node("Sigmoid", "sums", "flat"),
            node("Identity", "flat", "scores"),
        ],
        input: vec![value("image", &[0, 3, 64, 48])],
        output: vec![value("scores", &[0, 2])],
        ..GraphProto::default()
    };
    let mut model = ModelProto {
        producer_name: "test".into(),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: 17,
        }],
        ..ModelProto::default()
    };
    change(&mut model, &mut graph);
    model.graph = Some(graph);
    Network::read(&model.encode_to_vec(), None, None)
}

#[test]
fn a_network_is_read_as_its_layout_says() {
    let read = network(|_, _| {}).unwrap();
    assert_eq!(read.image(Layout::Nchw), [Some(3), Some(64), Some(48)]);
    assert_eq!(read.image(Layout::Ncwh), [Some(3), Some(48), Some(64)]);
    assert_eq!(read.image(Layout::Nhwc), [Some(48), Some(3), Some(64)]);
    assert_eq!(read.scores.sizes, [Some(2)]);
    assert_eq!(read.ends_with, Some(Activation::Sigmoid));
    assert_eq!(read.producer, "test");
}

#[test]
fn what_is_in_the_way_is_said_with_what_to_do() {
    let mut wrong = vec![
        (
            network(|_, graph| graph.input = vec![value("image", &[1, 3, 64, 64])]),
            "fixed batch of 1",
        ),
        (
            network(|_, graph| graph.output = vec![value("scores", &[4, 2])]),
            "dynamic_axes",
        ),
        (
            network(|_, graph| graph.output = vec![value("scores", &[0, 2, 7, 7])]),
            "4 dimensions",
        ),
        (
            network(|_, graph| graph.output.push(value("map", &[0, 2, 7, 7]))),
            "--scores",
        ),
        (
            network(|_, graph| graph.input.push(value("age", &[0, 1]))),
            "2 inputs",
        ),
        (network(|_, graph| graph.input[0].r#type = None), "dimensions"),
        (
            network(|model, _| model.opset_import[0].version = 99),
            "operator set 99",
        ),
        (Network::read(b"no network", None, None), "not an ONNX file"),
    ];
    let outside = |_: &mut ModelProto, graph: &mut GraphProto| {
        graph.initializer.push(TensorProto {
            name: "weights".into(),
            data_location: DataLocation::External as i32,
            ..TensorProto::default()
        });
    };
    wrong.push((network(outside), "in a file beside it"));
    for (read, named) in wrong {
        let error = read.unwrap_err();
        assert!(error.contains(named), "{error}");
    }
}

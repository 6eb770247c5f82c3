//! Networks of a few nodes, as ONNX Runtime writes them.

use super::super::WINOGRAD;
use super::super::extent::extents;
use super::*;
use crate::model::onnx_format::{
    FunctionProto, GraphProto, TensorShapeProto, TrainingInfoProto, TypeProto, ValueInfoProto,
    tensor_shape_proto, type_proto,
};

mod pre_activated;

fn whole_numbers(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        ints: ints.to_vec(),
        r#type: AttributeType::Ints as i32,
        ..AttributeProto::default()
    }
}

fn whole_number(name: &str, int: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        i: int,
        r#type: AttributeType::Int as i32,
        ..AttributeProto::default()
    }
}

fn text(name: &str, text: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        s: text.as_bytes().to_vec(),
        r#type: AttributeType::String as i32,
        ..AttributeProto::default()
    }
}

/// A convolution as ONNX Runtime writes it, of so many rows and columns, strides and zeros around.
fn convolution(input: &str, output: &str, [kernel, stride, pad]: [i64; 3]) -> NodeProto {
    NodeProto {
        op_type: "Conv".to_owned(),
        domain: BLOCKED.to_owned(),
        input: [input, "weights", "bias"].map(str::to_owned).to_vec(),
        output: vec![output.to_owned()],
        attribute: vec![
            text("auto_pad", "NOTSET"),
            whole_numbers("kernel_shape", &[kernel; 2]),
            whole_numbers("strides", &[stride; 2]),
            whole_numbers("dilations", &[1; 2]),
            whole_numbers("pads", &[pad; 4]),
        ],
        ..NodeProto::default()
    }
}

/// A network of these nodes, which takes images of `size` x `size`.
fn network(size: i64, channels: i64, kernel: i64, node: &[NodeProto]) -> ModelProto {
    let dimension = |size: i64| tensor_shape_proto::Dimension {
        value: (size > 0).then_some(tensor_shape_proto::Value::DimValue(size)),
    };
    let shape = TensorShapeProto {
        dim: [0, channels, size, size].map(dimension).to_vec(),
    };
    let tensor = type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: Some(shape),
    };
    let dims = vec![channels, channels, kernel, kernel];
    let numbers = dims.iter().product::<i64>();
    let weights = TensorProto {
        name: "weights".to_owned(),
        dims,
        data_type: DataType::Float as i32,
        raw_data: (0..numbers)
            .flat_map(|number| (number as f32).to_le_bytes())
            .collect(),
        ..TensorProto::default()
    };
    ModelProto {
        graph: Some(GraphProto {
            node: node.to_vec(),
            initializer: vec![weights],
            input: vec![ValueInfoProto {
                name: "image".to_owned(),
                r#type: Some(TypeProto {
                    value: Some(type_proto::Value::TensorType(tensor)),
                }),
            }],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

fn after(network: &ModelProto) -> Option<GraphProto> {
    let bytes = replaced(&network.encode_to_vec())?;
    ModelProto::decode(&bytes[..]).unwrap().graph
}

fn names(graph: &GraphProto) -> Vec<&str> {
    let names = graph.initializer.iter().map(|tensor| tensor.name.as_str());
    names.collect()
}

#[test]
fn a_convolution_is_replaced_with_its_filters_and_settings() {
    let Some(block) = osteon_convolution::block() else {
        return assert_eq!(
            after(&network(20, 16, 3, &[convolution("image", "out", [3, 1, 1])])),
            None
        );
    };
    let channels = 2 * block as i64;
    let mut node = convolution("image", "out", [3, 1, 1]);
    node.attribute.push(text("activation", "Relu"));
    node.input.push("sum".to_owned());
    let graph = after(&network(20, channels, 3, &[node])).unwrap();
    let node = &graph.node[0];
    assert_eq!((node.domain.as_str(), node.op_type.as_str()), (DOMAIN, WINOGRAD));
    assert_eq!((node.int(RELU), node.ints(PADS)), (Some(1), Some(&[1; 4][..])));
    assert_eq!(node.input, ["image", "weights.WinogradConv.0", "bias", "sum"]);
    assert_eq!(names(&graph), ["weights.WinogradConv.0"]);
    assert_eq!(graph.initializer[0].dims, [36, channels, channels]);
    assert_eq!(
        graph.initializer[0].raw_data.len(),
        36 * 4 * (channels * channels) as usize
    );
}

#[test]
fn weights_that_another_node_takes_stay() {
    let Some(block) = osteon_convolution::block() else {
        return;
    };
    let nodes = [
        convolution("image", "between", [3, 1, 1]),
        convolution("between", "out", [3, 2, 1]),
    ];
    let graph = after(&network(20, block as i64, 3, &nodes)).unwrap();
    assert_eq!(names(&graph), ["weights", "weights.WinogradConv.0"]);
    assert_eq!(graph.node[1], nodes[1]);
}

#[test]
fn what_is_not_worth_it_or_another_thing_stays() {
    let channels = osteon_convolution::block().unwrap_or(16) as i64;
    let with = |change: fn(&mut NodeProto)| {
        let mut node = convolution("image", "out", [3, 1, 1]);
        change(&mut node);
        network(20, channels, 3, &[node])
    };
    for (what, network) in [
        (
            "16 x 16 is sixteen tiles",
            network(16, channels, 3, &[convolution("image", "out", [3, 1, 1])]),
        ),
        (
            "sizes that are not said",
            network(0, channels, 3, &[convolution("image", "out", [3, 1, 1])]),
        ),
        (
            "a kernel of 1 x 1",
            network(20, channels, 1, &[convolution("image", "out", [1, 1, 0])]),
        ),
        (
            "a stride of 2",
            network(40, channels, 3, &[convolution("image", "out", [3, 2, 1])]),
        ),
        (
            "few channels",
            network(20, 3, 3, &[convolution("image", "out", [3, 1, 1])]),
        ),
        ("ONNX's own order", with(|node| node.domain.clear())),
        (
            "another activation",
            with(|node| node.attribute.push(text("activation", "Tanh"))),
        ),
        (
            "zeros that are not numbers",
            with(|node| node.attribute[0] = text("auto_pad", "SAME_UPPER")),
        ),
        (
            "dilations",
            with(|node| node.attribute[3] = whole_numbers("dilations", &[2; 2])),
        ),
        (
            "groups",
            with(|node| {
                node.attribute.push(whole_number("group", 2));
            }),
        ),
        (
            "weights of another node",
            with(|node| node.input[1] = "made".to_owned()),
        ),
    ] {
        assert_eq!(after(&network), None, "{what}");
    }
}

#[test]
fn a_file_of_which_something_would_be_lost_stays() {
    let channels = osteon_convolution::block().unwrap_or(16) as i64;
    let whole = network(20, channels, 3, &[convolution("image", "out", [3, 1, 1])]);
    assert_eq!(after(&whole).is_some(), osteon_convolution::block().is_some());
    let with = |change: fn(&mut ModelProto)| {
        let mut network = whole.clone();
        change(&mut network);
        network
    };
    for (what, network) in [
        (
            "functions",
            with(|network| network.functions.push(FunctionProto::default())),
        ),
        (
            "training",
            with(|network| network.training_info.push(TrainingInfoProto::default())),
        ),
        (
            "numbers of a kind that is not read",
            with(|network| {
                network.graph.as_mut().unwrap().initializer.push(TensorProto {
                    name: "texts".to_owned(),
                    dims: vec![2],
                    data_type: DataType::String as i32,
                    ..TensorProto::default()
                });
            }),
        ),
        (
            "a setting of a kind that is not read",
            with(|network| {
                network.graph.as_mut().unwrap().node[0]
                    .attribute
                    .push(AttributeProto {
                        name: "texts".to_owned(),
                        r#type: 8,
                        ..AttributeProto::default()
                    });
            }),
        ),
        (
            "an output that is no tensor",
            with(|network| {
                network.graph.as_mut().unwrap().output.push(ValueInfoProto {
                    name: "sequence".to_owned(),
                    r#type: Some(TypeProto { value: None }),
                });
            }),
        ),
    ] {
        assert_eq!(after(&network), None, "{what}");
    }
    assert_eq!(replaced(b"no network"), None);
}

#[test]
fn sizes_are_followed_through_strides_pooling_and_additions() {
    let mut pool = convolution("a", "b", [3, 2, 1]);
    pool.op_type = "MaxPool".to_owned();
    let mut sum = convolution("b", "c", [1, 1, 0]);
    sum.op_type = "Add".to_owned();
    let mut other = convolution("c", "d", [1, 1, 0]);
    other.op_type = "Reshape".to_owned();
    let network = network(
        224,
        16,
        3,
        &[
            convolution("image", "a", [7, 2, 3]),
            pool,
            sum,
            other,
            convolution("d", "e", [3, 1, 1]),
        ],
    );
    let graph = network.graph.unwrap();
    let extents = extents(&graph);
    let of = |name: &str| extents.get(name).copied();
    assert_eq!(
        [of("image"), of("a"), of("b"), of("c")],
        [Some([224; 2]), Some([112; 2]), Some([56; 2]), Some([56; 2])]
    );
    assert_eq!([of("d"), of("e")], [None; 2]);
}

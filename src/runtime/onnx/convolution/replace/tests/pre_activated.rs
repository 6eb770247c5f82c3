//! Layers of a DenseNet, as ONNX Runtime writes them.

use super::super::super::{PRE_ACTIVATED, size};
use super::*;

/// A layer that joins `pieces`, normalises and rectifies them, and takes them by `weights`.
fn layer(pieces: &[&str], channels: i64) -> Vec<NodeProto> {
    let mut join = NodeProto {
        op_type: "Concat".to_owned(),
        input: pieces.iter().map(|piece| (*piece).to_owned()).collect(),
        output: vec!["joined".to_owned()],
        ..NodeProto::default()
    };
    join.attribute.push(whole_number("axis", 1));
    let normalise = NodeProto {
        op_type: "Conv".to_owned(),
        domain: BLOCKED.to_owned(),
        input: ["joined", "factors", "summands"].map(str::to_owned).to_vec(),
        output: vec!["normalised".to_owned()],
        attribute: vec![text("activation", "Relu"), whole_number("group", channels)],
        ..NodeProto::default()
    };
    vec![join, normalise, convolution("normalised", "out", [1, 1, 0])]
}

/// A network of such nodes.
fn dense(channels: i64, nodes: &[NodeProto]) -> ModelProto {
    let mut network = network(12, channels, 1, nodes);
    let graph = network.graph.as_mut().unwrap();
    let ones = vec![1.0; size(channels)];
    graph
        .initializer
        .push(tensor("factors".to_owned(), vec![channels, 1, 1, 1], &ones));
    graph
        .initializer
        .push(tensor("summands".to_owned(), vec![channels], &ones));
    network
}

#[test]
fn a_layer_is_one_node_of_what_was_joined() {
    let Some(block) = osteon_convolution::block() else {
        return assert_eq!(after(&dense(16, &layer(&["image"], 16))), None);
    };
    let channels = 2 * block as i64;
    let graph = after(&dense(channels, &layer(&["image", "image"], channels))).unwrap();
    let [node] = &graph.node[..] else {
        panic!("{:?}", graph.node);
    };
    assert_eq!(
        (node.domain.as_str(), node.op_type.as_str()),
        (DOMAIN, PRE_ACTIVATED)
    );
    assert_eq!(node.int(RELU), Some(0));
    let packed = "weights.PreActivatedConv.2";
    assert_eq!(
        node.input,
        [packed, "bias", "factors", "summands", "image", "image"]
    );
    assert_eq!(node.output, ["out"]);
    assert_eq!(names(&graph), ["factors", "summands", packed]);
    assert_eq!(graph.initializer[2].dims, [channels, channels]);
}

#[test]
fn a_convolution_without_a_bias_gets_one_of_zeros() {
    let Some(block) = osteon_convolution::block() else {
        return;
    };
    let mut nodes = layer(&["image"], block as i64);
    nodes[2].input.pop();
    nodes[2].attribute.push(text("activation", "Relu"));
    let graph = after(&dense(block as i64, &nodes)).unwrap();
    assert_eq!(graph.node[0].input[1], "weights.PreActivatedConv.2.bias");
    assert_eq!(graph.node[0].int(RELU), Some(1));
    let bias = graph.initializer.last().unwrap();
    assert_eq!(
        (&bias.dims[..], numbers(bias)),
        (&[block as i64][..], vec![0.0; block])
    );
}

/// What others take as well is made for them.
#[test]
fn what_others_take_stays() {
    let Some(block) = osteon_convolution::block() else {
        return;
    };
    let pool = |input: &str| NodeProto {
        op_type: "GlobalAveragePool".to_owned(),
        domain: BLOCKED.to_owned(),
        input: vec![input.to_owned()],
        output: vec!["mean".to_owned()],
        ..NodeProto::default()
    };
    let mut nodes = layer(&["image"], block as i64);
    nodes.push(pool("joined"));
    let graph = after(&dense(block as i64, &nodes)).unwrap();
    let kinds: Vec<&str> = graph.node.iter().map(|node| node.op_type.as_str()).collect();
    assert_eq!(kinds, ["Concat", PRE_ACTIVATED, "GlobalAveragePool"]);
    assert_eq!(graph.node[1].input[4..], ["joined"]);

    let mut nodes = layer(&["image"], block as i64);
    nodes.push(pool("normalised"));
    assert_eq!(after(&dense(block as i64, &nodes)), None);

    let mut network = dense(block as i64, &layer(&["image"], block as i64));
    let graph = network.graph.as_mut().unwrap();
    let input = graph.input[0].clone();
    graph.output.push(ValueInfoProto {
        name: "normalised".to_owned(),
        ..input
    });
    assert_eq!(after(&network), None);
}

#[test]
fn what_is_another_thing_stays() {
    let channels = osteon_convolution::block().unwrap_or(16) as i64;
    let with = |change: fn(&mut [NodeProto])| {
        let mut nodes = layer(&["image"], channels);
        change(&mut nodes);
        dense(channels, &nodes)
    };
    assert_eq!(
        after(&with(|_| {})).is_some(),
        osteon_convolution::block().is_some()
    );
    for (what, network) in [
        (
            "no rectifier",
            with(|nodes| nodes[1].attribute[0] = whole_number("other", 1)),
        ),
        (
            "another activation",
            with(|nodes| nodes[1].attribute[0] = text("activation", "Sigmoid")),
        ),
        (
            "a normalisation without summands",
            with(|nodes| {
                nodes[1].input.pop();
            }),
        ),
        (
            "groups of several channels",
            with(|nodes| nodes[1].attribute[1] = whole_number("group", 2)),
        ),
        (
            "a stride of 2 in the convolution",
            with(|nodes| nodes[2] = convolution("normalised", "out", [1, 2, 0])),
        ),
        (
            "a stride of 2 in the normalisation",
            with(|nodes| nodes[1].attribute.push(whole_numbers("strides", &[2; 2]))),
        ),
        (
            "zeros around",
            with(|nodes| nodes[2] = convolution("normalised", "out", [1, 1, 1])),
        ),
        ("a sum", with(|nodes| nodes[2].input.push("image".to_owned()))),
        ("ONNX's own order", with(|nodes| nodes[2].domain.clear())),
    ] {
        assert_eq!(after(&network), None, "{what}");
    }
}

//! Of [`super`]: what only a file made on purpose has. What a whole package can be is in `tests/it/broken_models.rs`.

use super::*;
use crate::model::onnx_format::{GraphProto, OperatorSetIdProto};

fn node(operator: &str, domain: &str) -> NodeProto {
    NodeProto {
        op_type: operator.into(),
        domain: domain.into(),
        ..NodeProto::default()
    }
}

fn model(nodes: Vec<NodeProto>, functions: Vec<(&str, Vec<NodeProto>)>) -> ModelProto {
    ModelProto {
        ir_version: 8,
        graph: Some(GraphProto {
            node: nodes,
            ..GraphProto::default()
        }),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: 17,
        }],
        functions: functions
            .into_iter()
            .map(|(name, node)| FunctionProto {
                name: name.into(),
                domain: "own".into(),
                node,
                ..FunctionProto::default()
            })
            .collect(),
        ..ModelProto::default()
    }
}

#[test]
fn functions_that_use_themselves_or_unfold_without_measure_are_refused() {
    let itself = model(vec![node("f", "own")], vec![("f", vec![node("f", "own")])]);
    assert!(unfolded(&itself).unwrap_err().contains("no end"));

    // each doubles the one before: 2 to the power of 40 operators in a file of a few hundred bytes
    let names: Vec<String> = (0..40).map(|index| format!("f{index}")).collect();
    let mut functions = vec![("f", vec![node("Relu", "")])];
    for (index, name) in names.iter().enumerate() {
        let inner = if index == 0 { "f" } else { &names[index - 1] };
        functions.push((name, vec![node(inner, "own"), node(inner, "own")]));
    }
    let laughs = model(vec![node("f39", "own")], functions);
    assert!(unfolded(&laughs).unwrap_err().contains("more than 1000000"));

    let plain = model(vec![node("f", "own")], vec![("f", vec![node("Relu", "")])]);
    assert_eq!(unfolded(&plain), Ok(()));
}

#[test]
fn operators_come_from_known_places() {
    let policy = Policy::default();
    let of = |nodes, functions| operators(&model(nodes, functions), &policy);
    assert_eq!(
        of(vec![node("Relu", ""), node("Gelu", "com.microsoft")], vec![]),
        Ok(())
    );
    assert!(
        of(vec![node("Relu", "evil")], vec![])
            .unwrap_err()
            .contains("\"evil\"")
    );
    // the domain of a function is known only for what the file defines
    assert_eq!(of(vec![node("f", "own")], vec![("f", vec![])]), Ok(()));
    assert!(of(vec![node("g", "own")], vec![("f", vec![])]).is_err());
    assert!(
        of(vec![node("EPContext", "com.microsoft")], vec![])
            .unwrap_err()
            .contains("EPContext")
    );
    assert!(
        of(vec![node("f", "own")], vec![("f", vec![node("Loop", "")])])
            .unwrap_err()
            .contains("Loop")
    );
    let allowed = Policy {
        allow_control_flow: true,
        ..Policy::default()
    };
    assert_eq!(operators(&model(vec![node("If", "")], vec![]), &allowed), Ok(()));
}

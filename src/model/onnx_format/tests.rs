//! Of [`super`].

use super::*;

#[test]
fn bytes_follow_the_specification() {
    // ir_version is field 1, opset_import field 8 with its version in field 2, metadata_props field 14
    let model = ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: 17,
        }],
        metadata_props: vec![StringStringEntryProto {
            key: "k".to_owned(),
            value: "v".to_owned(),
        }],
        ..ModelProto::default()
    };
    let bytes = [0x08, 8, 0x42, 2, 0x10, 17, 0x72, 6, 0x0a, 1, b'k', 0x12, 1, b'v'];
    assert_eq!(model.encode_to_vec(), bytes);
    assert_eq!(ModelProto::decode(bytes.as_slice()).unwrap(), model);
    assert_eq!(model.opset(), Some(17));
}

#[test]
fn an_external_tensor_is_found_inside_of_a_branch() {
    let tensor = TensorProto {
        data_location: DataLocation::External as i32,
        ..TensorProto::default()
    };
    let branch = GraphProto {
        initializer: vec![tensor.clone()],
        ..GraphProto::default()
    };
    let attribute = AttributeProto {
        g: Some(branch),
        ..AttributeProto::default()
    };
    let node = NodeProto {
        attribute: vec![attribute],
        ..NodeProto::default()
    };
    let graph = GraphProto {
        node: vec![node],
        ..GraphProto::default()
    };
    let model = ModelProto {
        graph: Some(graph),
        ..ModelProto::default()
    };
    assert_eq!(model.external_tensor(), Some(&tensor));
    assert_eq!(ModelProto::default().external_tensor(), None);
}

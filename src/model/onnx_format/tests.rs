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
fn an_external_tensor_is_found_wherever_it_hides() {
    let outside = || TensorProto {
        name: "outside".into(),
        data_location: DataLocation::External as i32,
        ..TensorProto::default()
    };
    let sparse = || SparseTensorProto {
        indices: Some(outside()),
        ..SparseTensorProto::default()
    };
    let with_attribute = |attribute: AttributeProto| {
        vec![NodeProto {
            attribute: vec![attribute],
            ..NodeProto::default()
        }]
    };
    let graph = |node| GraphProto {
        node,
        ..GraphProto::default()
    };
    let model = |graph| ModelProto {
        graph: Some(graph),
        ..ModelProto::default()
    };
    let in_branch = || GraphProto {
        initializer: vec![outside()],
        ..GraphProto::default()
    };
    let attributes = [
        AttributeProto {
            t: Some(outside()),
            ..AttributeProto::default()
        },
        AttributeProto {
            tensors: vec![outside()],
            ..AttributeProto::default()
        },
        AttributeProto {
            sparse_tensor: Some(sparse()),
            ..AttributeProto::default()
        },
        AttributeProto {
            sparse_tensors: vec![sparse()],
            ..AttributeProto::default()
        },
        AttributeProto {
            g: Some(in_branch()),
            ..AttributeProto::default()
        },
        AttributeProto {
            graphs: vec![in_branch()],
            ..AttributeProto::default()
        },
    ];
    let mut models = vec![
        model(in_branch()),
        model(GraphProto {
            sparse_initializer: vec![sparse()],
            ..GraphProto::default()
        }),
        ModelProto {
            training_info: vec![TrainingInfoProto {
                algorithm: Some(in_branch()),
                ..TrainingInfoProto::default()
            }],
            ..ModelProto::default()
        },
    ];
    for attribute in attributes {
        models.push(model(graph(with_attribute(attribute.clone()))));
        models.push(ModelProto {
            functions: vec![FunctionProto {
                node: with_attribute(attribute.clone()),
                ..FunctionProto::default()
            }],
            ..ModelProto::default()
        });
        models.push(ModelProto {
            functions: vec![FunctionProto {
                attribute_proto: vec![attribute],
                ..FunctionProto::default()
            }],
            ..ModelProto::default()
        });
    }
    for model in models {
        let read = ModelProto::decode(model.encode_to_vec().as_slice()).unwrap();
        assert_eq!(read.external_tensor(), Some(&outside()), "{model:?}");
    }
    assert_eq!(ModelProto::default().external_tensor(), None);
}

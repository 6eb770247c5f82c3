//! Every way to break a model that is known is refused, at the stage and in the words that name it.
//!
//! The models are the tiny one of `tests/it/tiny.rs`, broken on purpose. What is said of a package is what `/v1/models` says.

use std::fs;
use std::path::Path;
use std::time::Duration;

use osteon::inference::{Inference, RepositorySettings, Settings};
use osteon::model::manifest::MANIFEST;
use osteon::model::onnx_format::{
    AttributeProto, AttributeType, DataLocation, FunctionProto, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, SparseTensorProto, StringStringEntryProto, TensorProto, tensor_shape_proto,
    type_proto,
};
use osteon::model::package::{GOLDENS, MODEL, sha256};
use osteon::model::{Goldens, Stage};
use osteon::runtime::{Device, Runtime};
use osteon::telemetry::metrics::Metrics;
use prost::Message;

use crate::tiny::Tiny;

/// Models that are loaded once, and whatever is looked at later.
pub(crate) fn loaded(settings: RepositorySettings) -> Inference {
    let run = Settings {
        cores: 1,
        instances: 1,
        queue: 8,
        deadline: Duration::from_secs(30),
        decode_memory: 1 << 30,
    };
    let inference = Inference::new(run, Metrics::new().unwrap()).unwrap();
    inference.load(settings, Runtime::open(None, Device::Cpu).unwrap());
    inference
}

pub(crate) fn under(models: &Path) -> RepositorySettings {
    models.into()
}

/// What is said of the only package in `models`.
#[track_caller]
pub(crate) fn refused(settings: RepositorySettings, stage: Stage, expected: &str) {
    let folder = settings.models.display().to_string();
    let inference = loaded(settings);
    assert!(inference.catalog().all().is_empty(), "it is served");
    let rejected = inference.catalog().rejected();
    let [rejected] = &rejected[..] else {
        panic!("{rejected:?}")
    };
    assert!(rejected.reason.contains(expected), "{rejected:?}");
    assert_eq!(rejected.stage, Some(stage), "{rejected:?}");
    let reason = inference.catalog().not_ready().unwrap();
    assert!(reason.contains(expected), "{reason}");
    // where it lies on this machine is for the log alone
    assert!(!reason.contains(&folder), "{reason}");
}

/// Publishes a network as it is, whatever it is: the digests agree.
pub(crate) fn put(models: &Path, version: u32, network: &[u8]) {
    put_files(models, version, |_, files| {
        files.insert(MODEL.into(), network.to_vec());
    });
}

/// Writes a package by hand, as somebody who means no good would: nothing is checked.
pub(crate) fn put_files(
    models: &Path,
    version: u32,
    change: impl FnOnce(&mut serde_json::Value, &mut std::collections::BTreeMap<String, Vec<u8>>),
) {
    let tiny = Tiny::new("m", version);
    let mut manifest = serde_json::to_value(tiny.manifest()).unwrap();
    let mut files = std::collections::BTreeMap::from([
        (MODEL.to_owned(), tiny.network().encode_to_vec()),
        (GOLDENS.to_owned(), serde_json::to_vec(&tiny.goldens()).unwrap()),
    ]);
    change(&mut manifest, &mut files);
    let folder = models.join("m").join(version.to_string());
    fs::create_dir_all(&folder).unwrap();
    for (name, content) in &files {
        manifest["files"][name] = sha256(content).into();
        fs::write(folder.join(name), content).unwrap();
    }
    fs::write(folder.join(MANIFEST), serde_json::to_vec(&manifest).unwrap()).unwrap();
}

/// Refused at the header, whatever is done to the network.
#[track_caller]
fn header(change: impl FnOnce(&mut ModelProto), expected: &str) {
    let models = tempfile::tempdir().unwrap();
    let mut network = Tiny::new("m", 1).network();
    change(&mut network);
    put(models.path(), 1, &network.encode_to_vec());
    refused(under(models.path()), Stage::Header, expected);
}

fn graph(network: &mut ModelProto) -> &mut GraphProto {
    network.graph.as_mut().unwrap()
}

#[test]
fn what_is_not_broken_is_served() {
    let models = tempfile::tempdir().unwrap();
    put_files(models.path(), 1, |_, _| {});
    // a stranger is never opened
    fs::write(models.path().join("m/1/stranger.onnx"), "x").unwrap();
    let inference = loaded(under(models.path()));
    assert_eq!(
        inference.catalog().all().len(),
        1,
        "{:?}",
        inference.catalog().rejected()
    );
    assert_eq!(inference.catalog().not_ready(), None);
}

#[test]
fn files_that_are_not_what_the_manifest_vouches_for() {
    let broken = |change: &dyn Fn(&Path), expected: &str| {
        let models = tempfile::tempdir().unwrap();
        Tiny::new("m", 1).publish(models.path());
        change(&models.path().join("m/1"));
        refused(under(models.path()), Stage::Digest, expected);
    };
    broken(
        &|package| {
            let mut bytes = fs::read(package.join(MODEL)).unwrap();
            bytes[40] ^= 1;
            fs::write(package.join(MODEL), bytes).unwrap();
        },
        "model.onnx was changed: its SHA-256 is",
    );
    broken(
        &|package| fs::remove_file(package.join(GOLDENS)).unwrap(),
        "goldens.json cannot be read",
    );
    // a copy under way: the manifest is there, the network half
    broken(
        &|package| {
            let bytes = fs::read(package.join(MODEL)).unwrap();
            fs::write(package.join(MODEL), &bytes[..bytes.len() / 2]).unwrap();
        },
        "model.onnx was changed",
    );
    broken(
        &|package| {
            fs::rename(package.join(MODEL), package.join("../../elsewhere")).unwrap();
            std::os::unix::fs::symlink("../../elsewhere", package.join(MODEL)).unwrap();
        },
        "model.onnx is a link: a package holds plain files only",
    );
    broken(
        &|package| {
            fs::remove_file(package.join(GOLDENS)).unwrap();
            fs::create_dir(package.join(GOLDENS)).unwrap();
        },
        "goldens.json is no plain file",
    );
    broken(
        &|package| {
            let mut manifest: serde_json::Value =
                serde_json::from_slice(&fs::read(package.join(MANIFEST)).unwrap()).unwrap();
            manifest["treshold"] = 0.5.into();
            fs::write(package.join(MANIFEST), serde_json::to_vec(&manifest).unwrap()).unwrap();
        },
        "unknown field `treshold`",
    );
    broken(
        &|package| fs::write(package.join(MANIFEST), "{").unwrap(),
        "manifest.json is not valid",
    );
}

#[test]
fn manifests_that_lead_out_of_the_package() {
    for (name, expected) in [
        ("../elsewhere", "must be a plain name inside the package"),
        ("/etc/hostname", "must be a plain name inside the package"),
        ("..", "must be a plain name inside the package"),
        ("manifest.json", "files must not list manifest.json"),
    ] {
        let models = tempfile::tempdir().unwrap();
        put_files(models.path(), 1, |manifest, _| {
            manifest["files"][name] = sha256(b"").into();
        });
        refused(under(models.path()), Stage::Digest, expected);
    }
    let models = tempfile::tempdir().unwrap();
    put_files(models.path(), 1, |_, files| {
        files.remove(MODEL);
    });
    refused(under(models.path()), Stage::Digest, "do not list model.onnx");
}

#[test]
fn packages_in_another_place_than_their_own() {
    let moved = |from: &str, to: &str, expected: &str| {
        let models = tempfile::tempdir().unwrap();
        Tiny::new("m", 1).publish(models.path());
        let to = models.path().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::rename(models.path().join(from), to).unwrap();
        refused(under(models.path()), Stage::Digest, expected);
    };
    moved("m", "other", "it must lie in m/1/");
    // a step back that looks like one forward
    moved(
        "m/1",
        "m/2",
        "the manifest is of m version 1: it must lie in m/1/",
    );
    moved("m/1", "m/latest", "named by a whole number of 1 or more");
}

#[test]
fn weights_in_other_files() {
    let outside = |location: &str| TensorProto {
        name: "features".into(),
        external_data: vec![StringStringEntryProto {
            key: "location".into(),
            value: location.into(),
        }],
        data_location: DataLocation::External as i32,
        dims: vec![1, 3],
        data_type: 1,
        ..TensorProto::default()
    };
    // up, absolute, through a link, through another name of the file: where it leads is not even looked at
    for location in ["../weights", "/etc/hostname", "link", "weights"] {
        header(
            |network| graph(network).initializer[0] = outside(location),
            "keeps the values of tensor \"features\" in another file",
        );
    }
    let constant = |attribute: AttributeProto| NodeProto {
        op_type: "Constant".into(),
        output: vec!["constant".into()],
        attribute: vec![attribute],
        ..NodeProto::default()
    };
    let value = AttributeProto {
        name: "value".into(),
        r#type: AttributeType::Tensor as i32,
        t: Some(outside("../weights")),
        ..AttributeProto::default()
    };
    let sparse = SparseTensorProto {
        values: Some(outside("../weights")),
        ..SparseTensorProto::default()
    };
    let sparse_value = AttributeProto {
        name: "sparse_value".into(),
        sparse_tensor: Some(sparse.clone()),
        ..AttributeProto::default()
    };
    for attribute in [value.clone(), sparse_value] {
        header(
            |network| graph(network).node.push(constant(attribute)),
            "in another file",
        );
    }
    header(
        |network| graph(network).sparse_initializer.push(sparse),
        "in another file",
    );
    header(
        |network| {
            network.functions.push(FunctionProto {
                name: "f".into(),
                domain: "own".into(),
                node: vec![constant(value)],
                ..FunctionProto::default()
            });
        },
        "in another file",
    );
    // ONNX Runtime knows marks of its own for what lies in memory
    header(
        |network| graph(network).initializer[0].data_location = 7,
        "in another file",
    );
}

#[test]
fn loops_and_branches_however_they_hide() {
    let branch = |operator: &str| NodeProto {
        op_type: operator.into(),
        output: vec!["branched".into()],
        attribute: vec![AttributeProto {
            name: "then_branch".into(),
            g: Some(GraphProto::default()),
            ..AttributeProto::default()
        }],
        ..NodeProto::default()
    };
    for operator in ["If", "Loop", "Scan"] {
        header(
            |network| graph(network).node.push(branch(operator)),
            "networks with control flow are not served",
        );
        header(
            |network| {
                let node = vec![branch(operator)];
                network.functions.push(FunctionProto {
                    name: "Harmless".into(),
                    domain: "own".into(),
                    node,
                    ..FunctionProto::default()
                });
            },
            &format!("uses the operator {operator}"),
        );
    }
    // whatever its name, what holds a graph is control flow
    header(
        |network| {
            let mut node = branch("SequenceMap");
            node.domain = "com.microsoft".into();
            graph(network).node.push(node);
        },
        "control flow",
    );
}

#[test]
fn operators_and_formats_that_are_not_known() {
    header(
        |network| network.opset_import[0].version = 99,
        "needs operator set 99, this program serves 7 to 21",
    );
    header(
        |network| network.opset_import[0].version = 1,
        "needs operator set 1",
    );
    // the second mention counts, too
    header(
        |network| {
            network.opset_import.push(OperatorSetIdProto {
                domain: "ai.onnx".into(),
                version: 99,
            });
        },
        "needs operator set 99",
    );
    header(
        |network| network.opset_import.clear(),
        "does not say which ONNX operator set",
    );
    header(|network| network.ir_version = 99, "version 99 of the file format");
    header(
        |network| graph(network).node[0].domain = "com.evil".into(),
        "uses the operator GlobalAveragePool of \"com.evil\", which is not known here",
    );
    header(
        |network| {
            network
                .training_info
                .push(osteon::model::onnx_format::TrainingInfoProto::default())
        },
        "train it further",
    );
    header(|network| network.graph = None, "has no graph");
}

#[test]
fn files_that_are_cut_off() {
    let models = tempfile::tempdir().unwrap();
    let network = Tiny::new("m", 1).network().encode_to_vec();
    // the digest is of the cut file: whoever exported it ran out of space
    put(models.path(), 1, &network[..network.len() - 9]);
    refused(
        under(models.path()),
        Stage::Header,
        "is not an ONNX file, or was cut off",
    );
}

#[test]
fn tensors_that_are_not_the_manifests() {
    header(
        |network| graph(network).input[0].name = "picture".into(),
        "must have one input, image as the manifest says: it has picture",
    );
    header(
        |network| {
            let another = graph(network).input[0].clone();
            graph(network).input.push(another);
        },
        "it has image, image",
    );
    header(
        |network| graph(network).output[0].name = "scores".into(),
        "has no output probabilities, as the manifest says: it has scores, logits, embedding",
    );
    fn tensor(value: &mut osteon::model::onnx_format::ValueInfoProto) -> &mut type_proto::Tensor {
        let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_mut().unwrap().value.as_mut()
        else {
            panic!("a tensor")
        };
        tensor
    }
    let size = |place: usize, size: i64| {
        move |value: &mut osteon::model::onnx_format::ValueInfoProto| {
            tensor(value).shape.as_mut().unwrap().dim[place].value =
                Some(tensor_shape_proto::Value::DimValue(size));
        }
    };
    header(
        |network| size(2, 17)(&mut graph(network).input[0]),
        "has the input image of the shape [?, 1, 17, 16], the manifest says [batch, 1, 16, 16]",
    );
    header(
        |network| size(1, 2)(&mut graph(network).output[0]),
        "has the output probabilities of the shape [?, 2], the manifest says [batch, 1]",
    );
    header(
        |network| size(0, 1)(&mut graph(network).input[0]),
        "takes 1 images at a time and no other number",
    );
    header(
        |network| tensor(&mut graph(network).input[0]).elem_type = 10,
        "has the input image of another kind than 32-bit floats",
    );
}

#[test]
fn networks_that_compute_something_else() {
    let goldens = |change: &dyn Fn(&mut Goldens), expected: &str| {
        let models = tempfile::tempdir().unwrap();
        let mut goldens = Tiny::new("m", 1).goldens();
        change(&mut goldens);
        put_files(models.path(), 1, |_, files| {
            files.insert(GOLDENS.into(), serde_json::to_vec(&goldens).unwrap());
        });
        let stage = if goldens.cases.is_empty() || goldens.tolerance > 0.05 {
            Stage::Digest
        } else {
            Stage::Goldens
        };
        refused(under(models.path()), stage, expected);
    };
    goldens(
        &|goldens| goldens.cases[1].scores[0] += 0.01,
        "golden case constant 0.25 is off by",
    );
    goldens(
        &|goldens| goldens.cases.clear(),
        "a model without proof is not served",
    );
    for tolerance in [0.2, 50.0] {
        let expected = format!("allows a difference of {tolerance}");
        goldens(&|goldens| goldens.tolerance = tolerance, &expected);
    }
    // NaN: the square root of a mean below zero
    let models = tempfile::tempdir().unwrap();
    let mut network = Tiny::new("m", 1).network();
    graph(&mut network).node[4].op_type = "Sqrt".into();
    graph(&mut network).node[3].output[0] = "before".into();
    graph(&mut network).node.insert(
        4,
        NodeProto {
            op_type: "Sqrt".into(),
            input: vec!["before".into()],
            output: vec!["logits".into()],
            ..NodeProto::default()
        },
    );
    put(models.path(), 1, &network.encode_to_vec());
    refused(under(models.path()), Stage::Goldens, "gives what is no number");
}

#[test]
fn outputs_that_no_golden_holds() {
    type Change = fn(&mut serde_json::Value, &mut ModelProto);
    let breaks: [(Change, &str); 4] = [
        (
            |_, network| graph(network).node[4].op_type = "Tanh".into(),
            "the scores of head findings (probabilities) are off by",
        ),
        (
            |manifest, _| manifest["heads"][0]["activation"] = "sigmoid".into(),
            "from what follows from its logits, temperature and activation",
        ),
        (
            |manifest, _| manifest["heads"][0]["labels"][0]["temperature"] = 2.0.into(),
            "from what follows from its logits",
        ),
        (
            |_, network| {
                let root = NodeProto {
                    op_type: "Sqrt".into(),
                    input: vec!["features-before".into()],
                    output: vec!["embedding".into()],
                    ..NodeProto::default()
                };
                let graph = graph(network);
                graph.node[2].output[0] = "features-before".into();
                graph.node[3].input[0] = "features-before".into();
                graph.node.push(root);
            },
            "the embedding is no row of finite numbers",
        ),
    ];
    for (change, expected) in breaks {
        let models = tempfile::tempdir().unwrap();
        let mut network = Tiny::new("m", 1).network();
        put_files(models.path(), 1, |manifest, files| {
            change(manifest, &mut network);
            files.insert(MODEL.into(), network.encode_to_vec());
        });
        refused(under(models.path()), Stage::Goldens, expected);
    }
}

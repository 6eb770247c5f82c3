//! Networks from elsewhere: real exports of five families, imported by their recipes, answer as in their own packages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use osteon::config::Given;
use osteon::dicom::{Attributes, Instance};
use osteon::image::decode::decode;
use osteon::image::phantom::{Recipe, to_dicom};
use osteon::model::Package;
use osteon::model::onnx_format::{
    AttributeProto, AttributeType, GraphProto, ModelProto, NodeProto, TensorProto, type_proto,
};
use osteon::model::package::{MODEL, Staged};
use prost::Message;
use reqwest::StatusCode;
use serde_json::Value;

use crate::server::{TestServer, bytes};
use crate::tiny::Tiny;

/// Of the network that tells how bright an image is: what its scores are, and its label.
const BRIGHT: [&str; 6] = [
    "--recipe",
    "monai",
    "--scores",
    "probabilities",
    "--label",
    "bright",
];

/// Most by which a probability may differ from what PyTorch gives after the family's own transforms.
const PROBABILITY: f64 = 1e-4;
/// Most by which a value of the input may differ, as a part of the range that the input spans.
const INPUT: f32 = 1e-3;

/// `osteon models import FILE --name NAME` with more options.
fn import(file: &Path, models: &Path, name: &str, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_osteon"))
        .args(["models", "import"])
        .arg(file)
        .args([
            "--name",
            name,
            "--body-part",
            "LSPINE",
            "--body-part",
            "122496007",
            "--view",
            "LL",
            "--view",
            "RL",
            "--view",
            "399067008",
        ])
        .arg("--models")
        .arg(models)
        .args(options)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A phantom that is larger than every input, with sides that divide nothing.
fn phantom() -> Vec<u8> {
    bytes(&to_dicom(&Recipe::new(11, 701, 523).render(), 9, 11, 0).unwrap())
}

/// The values of a `.npy` file of 32-bit floats.
fn npy(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let text = String::from_utf8_lossy(&bytes[10..10 + header]).into_owned();
    assert!(
        text.contains("'<f4'") && text.contains("'fortran_order': False"),
        "{text}"
    );
    let values = bytes[10 + header..].as_chunks::<4>().0;
    values.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

/// What the families' own packages make of a file, in `folder`; `None` where Python or its packages are missing.
fn families(file: &Path, folder: &Path) -> Option<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/peers/import_families.py");
    let ran = Command::new("python3")
        .arg(script)
        .arg(file)
        .arg(folder)
        .output()
        .ok()?;
    assert!(ran.status.success(), "{}", said(&ran));
    let text = std::fs::read(folder.join("families.json")).unwrap();
    Some(serde_json::from_slice(&text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn real_exports_of_each_family_answer_as_in_their_own_packages() {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("models");
    let file = folder.path().join("phantom.dcm");
    std::fs::write(&file, phantom()).unwrap();
    let Some(families) = families(&file, folder.path()) else {
        crate::left_out::python("there is no python3, so no family's export was imported");
        return;
    };
    let mut imported = Vec::new();
    for (family, made) in families.as_object().unwrap() {
        if let Some(missing) = made.get("missing") {
            crate::left_out::python(&format!("{family} was not imported: {missing}"));
            continue;
        }
        let labels: Vec<String> = (0..made["labels"].as_u64().unwrap())
            .map(|label| format!("finding-{label}"))
            .collect();
        let mut options = vec!["--recipe", family, "--image", file.to_str().unwrap()];
        options.extend(
            made["options"]
                .as_array()
                .unwrap()
                .iter()
                .map(|option| option.as_str().unwrap()),
        );
        options.extend(labels.iter().flat_map(|label| ["--label", label.as_str()]));
        let onnx = folder.path().join(format!("{family}.onnx"));
        let done = import(&onnx, &models, family, &options);
        assert!(done.status.success(), "{family}: {}", said(&done));

        let package = Package::open(&models.join(family).join("1")).unwrap();
        assert!(package.goldens.origin.starts_with("ONNX Runtime"));
        assert_eq!(package.goldens.cases.len(), 5);
        let contract = &package.manifest.preprocessing;
        let image = decode(&Instance::parse(phantom().into()).unwrap()).unwrap();
        let found = contract.apply(&image).unwrap().0.values;
        let expected = npy(&folder.path().join(format!("{family}.npy")));
        assert_eq!(found.len(), expected.len(), "{family}");
        let span = (contract.range[1] - contract.range[0]) / contract.std[0];
        let off = found
            .iter()
            .zip(&expected)
            .map(|(found, expected)| (found - expected).abs() / span)
            .fold(0.0, f32::max);
        imported.push((family.clone(), made["probabilities"].clone(), off));
    }
    if imported.is_empty() {
        return;
    }

    let server = TestServer::with(models, Given::default()).await;
    let mut wrong = Vec::new();
    for (family, expected, input) in imported {
        let path = format!("/v1/models/{family}/score");
        let (status, answer) = server.post(&path, "application/dicom", phantom()).await;
        assert_eq!(status, StatusCode::OK, "{family}: {answer}");
        let findings = answer["findings"].as_array().unwrap();
        let off = expected
            .as_array()
            .unwrap()
            .iter()
            .zip(findings)
            .map(|(expected, found)| {
                (expected.as_f64().unwrap() - found["probability"].as_f64().unwrap()).abs()
            })
            .fold(0.0, f64::max);
        eprintln!(
            "  {family:<16} input off by {input:.1e} of its range, probabilities by {off:.1e}: {expected}"
        );
        if off > PROBABILITY || input > INPUT {
            wrong.push(family);
        }
    }
    server.stop().await;
    assert!(wrong.is_empty(), "{wrong:?} differ from their own packages");
}

/// A file with the tiny network, changed.
fn network(folder: &Path, change: impl FnOnce(&mut ModelProto)) -> PathBuf {
    let mut network = Tiny::new("tiny", 1).network();
    change(&mut network);
    let path = folder.join("tiny.onnx");
    std::fs::write(&path, network.encode_to_vec()).unwrap();
    path
}

#[test]
fn what_cannot_be_imported_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let plain = network(folder.path(), |_| {});
    let one = ["--scores", "probabilities", "--label", "bright"];
    for (options, named) in [
        (
            &["--recipe", "pytorch"][..],
            "torchvision, timm, torchxrayvision, monai, keras",
        ),
        (&["--recipe", "timm"], "this network takes 1"),
        (
            &["--recipe", "monai", "--label", "dark"],
            "gives 1 numbers for an image, and 2 labels",
        ),
        (&["--recipe", "monai", "--size", "224"], "takes 16 pixels a side"),
        (
            &["--recipe", "monai", "--activation", "sigmoid"],
            "leave --activation out",
        ),
        (
            &["--recipe", "monai", "--crop-pct", "0.9"],
            "leave --crop-pct out",
        ),
    ] {
        let refused = import(&plain, folder.path(), "tiny", &[&one[..], options].concat());
        assert!(!refused.status.success(), "{options:?}");
        assert!(said(&refused).contains(named), "{options:?}: {}", said(&refused));
    }
    let several = import(
        &plain,
        folder.path(),
        "tiny",
        &["--recipe", "monai", "--label", "bright"],
    );
    assert!(
        said(&several).contains("probabilities, logits, embedding"),
        "{}",
        said(&several)
    );
    let too_new = network(folder.path(), |network| network.opset_import[0].version = 99);
    let refused = import(
        &too_new,
        folder.path(),
        "tiny",
        &[&one[..], &["--recipe", "monai"]].concat(),
    );
    assert!(said(&refused).contains("opset_version"), "{}", said(&refused));
    assert!(!folder.path().join("tiny").exists(), "nothing was published");
}

/// Adds a branch whose value nobody reads.
fn branch(network: &mut ModelProto) {
    let graph = network.graph.as_mut().unwrap();
    graph.initializer.push(TensorProto {
        name: "condition".into(),
        data_type: 9,
        raw_data: vec![1],
        ..TensorProto::default()
    });
    let one = TensorProto {
        name: "one".into(),
        data_type: 1,
        raw_data: 1.0_f32.to_le_bytes().to_vec(),
        ..TensorProto::default()
    };
    let mut output = graph.output[0].clone();
    output.name = "one".into();
    if let Some(type_proto::Value::TensorType(tensor)) = &mut output.r#type.as_mut().unwrap().value {
        tensor.shape.as_mut().unwrap().dim.clear();
    }
    let way = |name: &str| AttributeProto {
        name: name.into(),
        r#type: AttributeType::Graph as i32,
        g: Some(GraphProto {
            name: name.into(),
            initializer: vec![one.clone()],
            output: vec![output.clone()],
            ..GraphProto::default()
        }),
        ..AttributeProto::default()
    };
    graph.node.push(NodeProto {
        op_type: "If".into(),
        input: vec!["condition".into()],
        output: vec!["branched".into()],
        attribute: vec![way("then_branch"), way("else_branch")],
        ..NodeProto::default()
    });
}

#[test]
fn images_that_name_part_and_view_by_code_too_are_admitted() {
    let folder = tempfile::tempdir().unwrap();
    let plain = network(folder.path(), |_| {});
    let done = Command::new(env!("CARGO_BIN_EXE_osteon"))
        .args(["models", "import"])
        .arg(plain)
        .args(BRIGHT)
        .args(["--name", "tiny", "--body-part", "lspine", "--view", "LL"])
        .arg("--models")
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", said(&done));
    let package = Package::open(&folder.path().join("tiny/1")).unwrap();
    let attributes = |view: &str, code: &str| Attributes {
        modality: Some("DX".into()),
        body_part: Some("LSPINE".into()),
        region_code: Some("122496007".into()),
        view_position: Some(view.into()),
        view_code: Some(code.into()),
        age_years: Some(60),
        ..Attributes::default()
    };
    let codes = |attributes: Attributes| -> Vec<String> {
        let violations = package.manifest.intended_use.violations(&attributes);
        violations.into_iter().map(|violation| violation.code).collect()
    };
    assert!(codes(attributes("LL", "399173006")).is_empty());
    // the other side, and a header that contradicts itself
    assert_eq!(codes(attributes("RL", "399198007")), ["view"]);
    assert_eq!(codes(attributes("LL", "399198007")), ["view"]);
}

#[test]
fn a_replacement_that_cannot_be_served_leaves_the_package_that_can() {
    let folder = tempfile::tempdir().unwrap();
    let options = [&BRIGHT[..], &["--replace"]].concat();
    let good = network(folder.path(), |_| {});
    let done = import(&good, folder.path(), "tiny", &options);
    assert!(done.status.success(), "{}", said(&done));
    let before = Package::open(&folder.path().join("tiny/1")).unwrap();

    // ONNX Runtime runs it; the server does not serve what holds a graph
    let branching = network(folder.path(), branch);
    let refused = import(&branching, folder.path(), "tiny", &options);
    assert!(!refused.status.success());
    assert!(said(&refused).contains("If"), "{}", said(&refused));
    let after = Package::open(&folder.path().join("tiny/1")).unwrap();
    assert_eq!(after.digest, before.digest);

    // nor what is written and then not published, or no package
    let files = before.manifest.files.keys();
    let mut files: BTreeMap<_, _> = files
        .map(|name| (name.clone(), before.file(name).unwrap()))
        .collect();
    let stage = |files: &BTreeMap<String, Vec<u8>>| {
        Staged::write(folder.path(), before.manifest.clone(), files, true).unwrap()
    };
    assert!(Package::open(&stage(&files).folder()).is_ok());
    files.insert(MODEL.to_owned(), b"half".to_vec());
    assert!(stage(&files).publish().is_err());
    let after = Package::open(&folder.path().join("tiny/1")).unwrap();
    assert_eq!(after.digest, before.digest);
    let hidden = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().to_string_lossy().starts_with('.')
    };
    let mut left = std::fs::read_dir(folder.path()).unwrap();
    assert!(!left.any(hidden), "nothing half-made is left");
}

#[test]
fn scores_that_are_no_probabilities_ask_for_an_activation() {
    let folder = tempfile::tempdir().unwrap();
    let plain = network(folder.path(), |_| {});
    let options = [
        "--recipe",
        "torchxrayvision",
        "--scores",
        "logits",
        "--label",
        "Lung Opacity",
    ];
    let refused = import(&plain, folder.path(), "tiny", &options);
    assert!(
        said(&refused).contains("--activation sigmoid"),
        "{}",
        said(&refused)
    );
    let with = [&options[..], &["--activation", "sigmoid"]].concat();
    let done = import(&plain, folder.path(), "tiny", &with);
    assert!(done.status.success(), "{}", said(&done));
    let package = Package::open(&folder.path().join("tiny/1")).unwrap();
    assert_eq!(package.manifest.heads[0].labels[0].name, "lung-opacity");
    let again = import(&plain, folder.path(), "tiny", &with);
    assert!(said(&again).contains("already there"), "{}", said(&again));
}

#[test]
fn the_help_lists_the_recipes() {
    let help = Command::new(env!("CARGO_BIN_EXE_osteon"))
        .args(["models", "import", "--help"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&help.stdout);
    for word in [
        "torchvision",
        "timm",
        "torchxrayvision",
        "monai",
        "keras",
        "assumes:",
        "source:",
        "Examples:",
    ] {
        assert!(text.contains(word), "{word}");
    }
}

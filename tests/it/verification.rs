//! `osteon-train package verify`: the gates of a package, whoever made it, and that each can fail.

use osteon::model::onnx_format::ModelProto;
use osteon::runtime::Runtime;
use osteon::train::export::verify::{Unmet, verify};
use prost::Message;
use serde_json::Value;

use crate::server::bundled_models;
use crate::tiny::Tiny;
use crate::trainer::trainer;

#[test]
fn the_bundled_model_passes_every_gate() {
    let runtime = Runtime::open(None, osteon::runtime::Device::Cpu).unwrap();
    let gates = verify(
        &bundled_models().join(crate::server::MODEL).join("1"),
        &[],
        &runtime,
    );
    assert_eq!(gates.len(), 11);
    for gate in gates {
        // it was made before networks gave their embedding
        let lacks = matches!(&gate.result, Err(Unmet::Lacks(what)) if what.contains("no embedding"));
        assert!(gate.result.is_ok() || lacks, "{}: {:?}", gate.name, gate.result);
    }
}

/// A network from elsewhere holds no contract and brings no radiograph: what it has is proven, and what it lacks is said.
#[test]
fn a_package_from_elsewhere_is_verified_as_far_as_it_goes() {
    let models = tempfile::tempdir().unwrap();
    let mut tiny = Tiny::new("tiny", 1);
    tiny.labels.push(("dark", -1.0, 0.5));
    let package = tiny.publish(models.path());
    let runtime = Runtime::open(None, osteon::runtime::Device::Cpu).unwrap();
    let lacking: Vec<(String, String)> = verify(&package.folder, &[], &runtime)
        .into_iter()
        .filter_map(|gate| match gate.result {
            Ok(_) => None,
            Err(Unmet::Lacks(what)) => Some((gate.name, what)),
            Err(Unmet::Fails(reason)) => panic!("{}: {reason}", gate.name),
        })
        .collect();
    let named = |name: &str| lacking.iter().find(|(gate, _)| gate == name).unwrap().1.as_str();
    assert_eq!(lacking.len(), 5, "{lacking:?}");
    assert!(named("statistics of the embedding").contains("no distribution"));
    assert!(named("contract inside the file").contains("osteon.preprocessing"));
    assert!(named("swapped labels are caught").contains("osteon.labels"));
    assert!(named("DICOM to score, both polarities").contains("--image"));
    assert!(named("a left-out inversion is caught").contains("MONOCHROME1"));
    let folder = package.folder.to_string_lossy().into_owned();
    let output = trainer(&["package", "verify", &folder]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("0 failed, 5 skipped"),
        "{said}"
    );

    // the same, said to be our own: then nothing may be missing
    tiny.publish_with(models.path(), |manifest, _| {
        manifest
            .lineage
            .insert("program".into(), "osteon-train 0.1.0".into());
    });
    let output = trainer(&["package", "verify", &folder]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        !output.status.success() && said.contains("4 failed, 1 skipped"),
        "{said}"
    );
}

/// A copy of the bundled package that may be changed, in a folder of its own.
fn copy_of_the_bundled_model() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let from = bundled_models().join(crate::server::MODEL).join("1");
    let to = folder.path().join(crate::server::MODEL).join("1");
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    (folder, to)
}

#[test]
fn what_a_lower_resolution_does_to_the_scores_is_bounded() {
    let runtime = Runtime::open(None, osteon::runtime::Device::Cpu).unwrap();
    let (_folder, package) = copy_of_the_bundled_model();
    let file = package.join("manifest.json");
    let mut manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    // the contract that is inside the model as well would contradict the changed one: it goes by another name
    let mut model = std::fs::read(package.join("model.onnx")).unwrap();
    let key = osteon::image::preprocess::METADATA_KEY.as_bytes();
    let at = model.windows(key.len()).position(|window| window == key).unwrap();
    model[at..at + key.len()].reverse();
    std::fs::write(package.join("model.onnx"), &model).unwrap();
    manifest["files"]["model.onnx"] = osteon::model::package::sha256(&model).into();
    let mut measured = |bound: f64| {
        manifest["preprocessing"]["reduced_resolution"] = serde_json::json!({ "bound": bound });
        std::fs::write(&file, serde_json::to_vec(&manifest).unwrap()).unwrap();
        let gates = verify(&package, &[], &runtime);
        let gate = gates.into_iter().find(|gate| gate.name.starts_with("lower"));
        gate.unwrap().result
    };
    let figure = measured(0.5).unwrap();
    assert!(figure.starts_with("2 radiographs, halved up to "), "{figure}");
    let reason = measured(1e-9).unwrap_err().to_string();
    assert!(reason.starts_with("2 radiographs, halved up to "), "{reason}");
}

/// What is said alike inside the file and beside it may be wrong all the same.
#[test]
fn a_contract_that_agrees_with_itself_has_to_be_the_networks() {
    let runtime = Runtime::open(None, osteon::runtime::Device::Cpu).unwrap();
    let failed = |change: &dyn Fn(&mut Value)| -> Vec<String> {
        let (_folder, package) = copy_of_the_bundled_model();
        let file = package.join("manifest.json");
        let mut manifest: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        change(&mut manifest);
        let mut model =
            ModelProto::decode(std::fs::read(package.join("model.onnx")).unwrap().as_slice()).unwrap();
        let labels = &manifest["heads"][0]["labels"];
        for (key, value) in [
            ("osteon.labels", labels),
            ("osteon.lineage", &manifest["lineage"]),
        ] {
            let entry = model.metadata_props.iter_mut().find(|entry| entry.key == key);
            entry.unwrap().value = value.to_string();
        }
        let model = model.encode_to_vec();
        manifest["files"]["model.onnx"] = osteon::model::package::sha256(&model).into();
        std::fs::write(package.join("model.onnx"), model).unwrap();
        std::fs::write(&file, manifest.to_string()).unwrap();
        verify(&package, &[], &runtime)
            .into_iter()
            .filter(osteon::train::export::verify::Gate::fails)
            .map(|gate| gate.name)
            .collect()
    };
    assert_eq!(failed(&|_| {}), Vec::<String>::new());
    let hot = failed(&|manifest| manifest["heads"][0]["labels"][1]["temperature"] = 1.6.into());
    assert_eq!(hot[0], "golden cases reproduced");
    for digest in ["labels sha256", "recipe sha256", "weights sha256"] {
        let without = |manifest: &mut Value| {
            manifest["lineage"].as_object_mut().unwrap().remove(digest);
        };
        // labels can be swapped no more where the contract is off already
        assert_eq!(failed(&without)[0], "contract inside the file", "{digest}");
    }
}

#[test]
fn a_mutated_export_is_refused() {
    let (_folder, to) = copy_of_the_bundled_model();
    let mut model = std::fs::read(to.join("model.onnx")).unwrap();
    let middle = model.len() / 2;
    model[middle..middle + 64].fill(0);
    std::fs::write(to.join("model.onnx"), model).unwrap();
    let output = trainer(&["package", "verify", &to.to_string_lossy()]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("FAIL"));
}

//! `osteon models`: what its users see, and how it ends.

use std::fs;
use std::path::Path;
use std::process::Command;

use osteon::model::ModelManifest;
use osteon::model::onnx_format::{ModelProto, NodeProto, TensorProto};
use osteon::model::package::MODEL as NETWORK;
use prost::Message;
use serde_json::Value;

use crate::server::{MODEL, bundled_models};
use crate::tiny::Tiny;

/// Runs `osteon models`, and gives whether it ended well, and what it said.
fn models(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_osteon"))
        .arg("models")
        .args(arguments)
        .env("OSTEON_MODELS", folder)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn the_bundled_package_is_listed_described_and_verified() {
    let (well, table) = models(&bundled_models(), &["list"]);
    assert!(well && table.starts_with("NAME"), "{table}");
    let row = table.lines().nth(1).unwrap();
    for cell in [
        MODEL,
        "multilabel",
        "osteoporosis,fracture",
        "MiB",
        "no",
        "Apache-2.0",
    ] {
        assert!(row.contains(cell), "{cell} is not in {row}");
    }
    let (well, text) = models(&bundled_models(), &["inspect", MODEL]);
    assert!(well, "{text}");
    for part in [
        "operator set ai.onnx 17",
        "image float [batch, 1, 256, 192]",
        "Conv ",
        "parameters",
        "SCT 64859006",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let (well, stages) = models(&bundled_models(), &["verify", &format!("{MODEL}/1")]);
    assert!(well, "{stages}");
    let names: Vec<&str> = stages
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(names, ["digest", "signature", "header", "goldens", "warm-up"]);
    assert!(!stages.contains("FAILED"), "{stages}");
}

#[test]
fn what_is_off_is_said_at_its_stage_and_the_status_is_not_zero() {
    let folder = tempfile::tempdir().unwrap();
    Tiny::new("m", 1).publish(folder.path());
    let network = folder.path().join("m/1").join(NETWORK);
    let bytes = fs::read(&network).unwrap();
    fs::write(&network, &bytes[1..]).unwrap();
    let (well, said) = models(folder.path(), &["verify", "m"]);
    assert!(!well);
    assert!(
        said.contains("digest     FAILED  model.onnx was changed"),
        "{said}"
    );
    let (well, said) = models(folder.path(), &["list"]);
    assert!(
        well && said.contains("refused") && said.contains("model.onnx was changed"),
        "{said}"
    );
    for (package, expected) in [("other", "it has m"), ("m/7", "m has no such version")] {
        let (well, said) = models(folder.path(), &["verify", package]);
        assert!(!well && said.contains(expected), "{said}");
    }
}

/// The mean over the whole batch instead of each image: alone, every golden case is right.
#[test]
fn images_that_change_each_other_are_found_by_verify() {
    let folder = tempfile::tempdir().unwrap();
    Tiny::new("m", 1).publish_with(folder.path(), |_, files| {
        let mut network = ModelProto::decode(files[NETWORK].as_slice()).unwrap();
        let graph = network.graph.as_mut().unwrap();
        // what is subtracted and added again is the difference from the others' mean
        let spread = NodeProto {
            op_type: "ReduceMean".into(),
            input: vec!["mean".into()],
            output: vec!["others".into()],
            attribute: vec![osteon::model::onnx_format::AttributeProto {
                name: "axes".into(),
                ints: vec![0],
                r#type: osteon::model::onnx_format::AttributeType::Ints as i32,
                ..Default::default()
            }],
            ..NodeProto::default()
        };
        let halves = TensorProto {
            name: "zero".into(),
            dims: vec![1, 1],
            data_type: 1,
            raw_data: 0.0_f32.to_le_bytes().to_vec(),
            ..TensorProto::default()
        };
        let whole = NodeProto {
            op_type: "Mul".into(),
            input: vec!["mean".into(), "zero".into()],
            output: vec!["none".into()],
            ..NodeProto::default()
        };
        let joined = NodeProto {
            op_type: "Add".into(),
            input: vec!["none".into(), "others".into()],
            output: vec!["joined".into()],
            ..NodeProto::default()
        };
        graph.initializer.push(halves);
        graph.node[2].input[0] = "joined".into();
        graph.node.splice(2..2, [spread, whole, joined]);
        files.insert(NETWORK.into(), network.encode_to_vec());
    });
    let (well, said) = models(folder.path(), &["verify", "m"]);
    assert!(!well);
    assert!(said.contains("goldens    passed"), "{said}");
    assert!(
        said.contains("warm-up    FAILED") && said.contains("of a batch of 2"),
        "{said}"
    );
}

#[test]
fn the_schema_is_current_and_the_bundled_manifest_fits_it() {
    let (well, schema) = models(&bundled_models(), &["schema"]);
    assert!(well);
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/manifest.schema.json");
    assert!(
        fs::read_to_string(committed).unwrap() == schema,
        "run `osteon models schema > docs/manifest.schema.json`"
    );
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let manifest = bundled_models().join(MODEL).join("1/manifest.json");
    let manifest: Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    assert_eq!(
        violations(&schema, &schema, &manifest, "manifest"),
        Vec::<String>::new()
    );
    // the check can fail
    let mut misspelt = manifest.clone();
    misspelt["treshold"] = 1.into();
    misspelt["version"] = "1".into();
    misspelt["heads"][0]["task"] = "guess".into();
    misspelt.as_object_mut().unwrap().remove("name");
    assert_eq!(violations(&schema, &schema, &misspelt, "manifest").len(), 4);
    assert!(serde_json::from_value::<ModelManifest>(misspelt).is_err());
}

/// What of JSON Schema the generated one uses; a keyword that is not known here fails the test.
fn violations(root: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (keyword, rule) in schema.as_object().into_iter().flatten() {
        let list = rule.as_array().into_iter().flatten();
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "format" | "default" => {}
            "$ref" => {
                let target = root
                    .pointer(rule.as_str().unwrap().trim_start_matches('#'))
                    .unwrap();
                found.extend(violations(root, target, value, place));
            }
            "anyOf" | "oneOf" => {
                if !list
                    .clone()
                    .any(|choice| violations(root, choice, value, place).is_empty())
                {
                    found.push(format!("{place} is none of the choices"));
                }
            }
            "enum" if !list.clone().any(|choice| choice == value) => {
                found.push(format!("{place} is not one of {rule}"));
            }
            "const" if rule != value => found.push(format!("{place} is not {rule}")),
            "enum" | "const" => {}
            "type" => {
                let is = |kind: &str| match kind {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "number" => value.is_number(),
                    other => panic!("the type {other} is not known here"),
                };
                let kinds: Vec<&str> = match rule {
                    Value::String(kind) => vec![kind],
                    _ => list.filter_map(Value::as_str).collect(),
                };
                if !kinds.iter().any(|kind| is(kind)) {
                    found.push(format!("{place} is no {rule}"));
                }
            }
            "minimum" if value.is_number() && value.as_f64() < rule.as_f64() => {
                found.push(format!("{place} is below {rule}"))
            }
            "maximum" if value.is_number() && value.as_f64() > rule.as_f64() => {
                found.push(format!("{place} is above {rule}"))
            }
            "minItems" | "maxItems" => {
                let (length, bound) = (
                    value.as_array().map_or(0, Vec::len) as u64,
                    rule.as_u64().unwrap(),
                );
                if (keyword == "minItems" && length < bound) || (keyword == "maxItems" && length > bound) {
                    found.push(format!("{place} has {length} entries"));
                }
            }
            "minimum" | "maximum" => {}
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(violations(root, rule, item, &format!("{place}[{index}]")));
                }
            }
            "required" => {
                for name in list
                    .filter_map(Value::as_str)
                    .filter(|name| value.get(name).is_none())
                {
                    found.push(format!("{place} has no {name}"));
                }
            }
            "properties" => {
                for (name, rule) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        found.extend(violations(root, rule, value, &format!("{place}.{name}")));
                    }
                }
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (name, value) in value.as_object().into_iter().flatten() {
                    if known.is_some_and(|known| known.contains_key(name)) {
                        continue;
                    }
                    match rule {
                        Value::Bool(false) => found.push(format!("{place} must not have {name}")),
                        rule => found.extend(violations(root, rule, value, &format!("{place}.{name}"))),
                    }
                }
            }
            other => panic!("the keyword {other} is not known here"),
        }
    }
    found
}

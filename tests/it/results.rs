//! What comes of a study is found with its images: a report and heat maps as instances of it, and the result in FHIR, read by those
//! who did not write them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use osteon::config::Given;
use osteon::dicom::{CodedValue, Instance, StudyUid};
use osteon::finding::{Finding, ModelReference, Reading};
use osteon::image::heatmap::{Explanation, Picture};
use osteon::report::{HeatmapPicture, Identity, capture_uid, report_uid, secondary_capture};
use osteon::store::{ResultKey, Store, StoreSettings};
use serde_json::{Value, json};

use crate::server::{TestServer, bytes, phantom, sample, with};
use crate::studies::outcome;

/// Sends an image, and waits until there are objects of its result; gives its study as REST shows it then.
async fn made(server: &TestServer, file: Vec<u8>) -> Value {
    let study = Instance::parse(file.clone().into()).unwrap().study.to_string();
    server.post("/dicom-web/studies", "application/dicom", file).await;
    outcome(server, &study).await;
    for _ in 0..300 {
        let (_, body) = server.get(&format!("/v1/studies/{study}")).await;
        if !body["objects"].as_array().unwrap().is_empty() {
            return body;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nothing is made of the result");
}

/// The classes and UIDs of the objects of a study.
fn objects(study: &Value) -> Vec<(String, String)> {
    let text = |object: &Value, field: &str| object[field].as_str().unwrap().to_owned();
    let objects = study["objects"].as_array().unwrap().iter();
    let mut objects: Vec<_> = objects
        .map(|object| (text(object, "sop_class_uid"), text(object, "sop_instance_uid")))
        .collect();
    objects.sort();
    objects
}

/// The files that a server keeps of a result, each under its UID.
async fn kept(server: &TestServer, study: &Value, folder: &Path) -> Vec<std::path::PathBuf> {
    let store = Store::open(&StoreSettings::in_folder(server.data()))
        .await
        .unwrap();
    let uid = StudyUid::parse(study["study_instance_uid"].as_str().unwrap()).unwrap();
    let key = ResultKey::parse(study["result_key"].as_str().unwrap()).unwrap();
    let mut files = Vec::new();
    for row in store.made_for(&uid, &key).await.unwrap() {
        let file = folder.join(format!("{}.dcm", row.instance.uid));
        std::fs::write(&file, store.object(&row.instance.object).await.unwrap()).unwrap();
        files.push(file);
    }
    store.close().await;
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_and_a_heat_map_are_instances_of_the_study_and_without_error() {
    let server = TestServer::start().await;
    let study = made(&server, sample()).await;
    let (key, image) = (
        study["result_key"].as_str().unwrap(),
        Instance::parse(sample().into()).unwrap(),
    );
    assert_eq!(
        objects(&study),
        [
            (
                uids::SECONDARY_CAPTURE_IMAGE_STORAGE.to_owned(),
                capture_uid(key, image.uid.as_str())
            ),
            (uids::COMPREHENSIVE3_DSR_STORAGE.to_owned(), report_uid(key)),
        ]
    );
    assert_eq!(study["instances"], 1, "what is made is no arrival");
    let (_, timeline) = server.get(&format!("/v1/studies/{}/timeline", image.study)).await;
    let events = timeline["events"].as_array().unwrap();
    let made = events
        .iter()
        .find(|event| event["kind"] == "objects-made")
        .unwrap();
    assert_eq!(
        (&made["objects"], &made["without_heatmap"]),
        (&json!(2), &json!([]))
    );

    let folder = tempfile::tempdir().unwrap();
    for file in kept(&server, &study, folder.path()).await {
        let object = Instance::parse(std::fs::read(&file).unwrap().into()).unwrap();
        assert_eq!(object.study, image.study);
        assert_ne!(object.series, image.series);
        let Ok(output) = Command::new("dciodvfy").arg(&file).output() else {
            crate::left_out::program("dciodvfy is not installed, so it read no object");
            continue;
        };
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("Comprehensive3DSR") || said.contains("SCImage"),
            "{said}"
        );
        assert!(!said.contains("Error"), "{said}");
    }
    // the same image once more, and an order: nothing is made twice
    server
        .post("/dicom-web/studies", "application/dicom", sample())
        .await;
    server
        .post(
            &format!("/v1/studies/{}/score", image.study),
            "application/json",
            Vec::new(),
        )
        .await;
    outcome(&server, image.study.as_str()).await;
    let (_, again) = server.get(&format!("/v1/studies/{}", image.study)).await;
    assert_eq!(objects(&again), objects(&study));
    server.stop().await;
}

#[test]
fn a_validator_finds_no_error_in_a_heat_map_of_any_part_and_side() {
    let folder = tempfile::tempdir().unwrap();
    let finding = Finding {
        label: "osteoporosis".into(),
        code: CodedValue {
            scheme: "SCT".into(),
            value: "64859006".into(),
            meaning: "Osteoporosis".into(),
        },
        reading: Reading::Probability {
            probability: 0.75,
            threshold: None,
            positive: true,
        },
    };
    let model = ModelReference {
        name: "spine".into(),
        version: 3,
        digest: "ab".repeat(32),
        provider: "CPU".into(),
        notice: String::new(),
    };
    let picture = Picture {
        rows: 33,
        columns: 31,
        values: vec![100; 33 * 31 * 3],
    };
    for part in ["LSPINE", "CHEST", "HIP", "HAND", "ELBOW", ""] {
        for side in ["L", "R", "B", "U", ""] {
            let mut header = Instance::parse(bytes(&phantom(47)).into()).unwrap().header;
            header.remove_element(tags::ANATOMIC_REGION_SEQUENCE);
            for (tag, value) in [(tags::BODY_PART_EXAMINED, part), (tags::IMAGE_LATERALITY, side)] {
                header.remove_element(tag);
                if !value.is_empty() {
                    header.put(DataElement::new(tag, VR::CS, PrimitiveValue::from(value)));
                }
            }
            let map = HeatmapPicture {
                picture: &picture,
                explanation: Explanation::ActivationMap,
                finding: &finding,
                model: &model,
                number: 1,
            };
            let identity = Identity {
                key: &"0".repeat(64),
                supersedes: None,
                made_at: "2026-11-25T08:30:05Z".parse().unwrap(),
            };
            let file = folder.path().join("map.dcm");
            let object = secondary_capture(&map, &identity, &header).unwrap();
            object.write_to_file(&file).unwrap();
            let Ok(output) = Command::new("dciodvfy").arg(&file).output() else {
                crate::left_out::program("dciodvfy is not installed, so it read no heat map");
                return;
            };
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("SCImage"), "{said}");
            assert!(!said.contains("Error"), "{part} {side}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_has_its_report_and_both_outcomes_are_valid_fhir() {
    let server = TestServer::start().await;
    let ct = with(&phantom(43), tags::MODALITY, VR::CS, "CT");
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for (name, file) in [("refused", ct), ("scored", sample())] {
        let study = made(&server, file).await;
        assert_eq!(study["state"], name);
        if name == "refused" {
            let classes: Vec<_> = objects(&study).into_iter().map(|(class, _)| class).collect();
            assert_eq!(classes, [uids::COMPREHENSIVE3_DSR_STORAGE]);
        }
        let url = format!(
            "{}/v1/studies/{}/fhir",
            server.url,
            study["study_instance_uid"].as_str().unwrap()
        );
        let response = server.client.get(url).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/fhir+json");
        let bundle: Value = response.json().await.unwrap();
        assert_eq!(bundle["entry"][0]["resource"]["status"], "preliminary");
        let path = folder.path().join(format!("{name}.json"));
        std::fs::write(&path, bundle.to_string()).unwrap();
        files.push(path);
    }
    let (status, answer) = server.get("/v1/studies/1.2.3/fhir").await;
    assert_eq!(
        (status.as_u16(), &answer["reason"]["code"]),
        (404, &json!("unknown-study"))
    );
    server.stop().await;

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/peers/read_fhir.py");
    let Ok(output) = Command::new("python3").arg(script).args(&files).output() else {
        crate::left_out::python("python3 is not installed, so it read no Bundle");
        return;
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    if let Some(missing) = read.get("missing") {
        crate::left_out::python(&format!("no Bundle was read: {missing}"));
        return;
    }
    assert_eq!(
        read["refused"],
        json!({ "DiagnosticReport": 1, "ImagingStudy": 1, "Device": 2, "Observation": 2, "CodeSystem": 1 })
    );
    assert_eq!(read["scored"]["DiagnosticReport"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_without_a_result_says_so_in_fhir() {
    let patient = Given {
        quiet_seconds: Some(600.0),
        ..Given::default()
    };
    let server = TestServer::with(crate::server::bundled_models(), patient).await;
    let study = Instance::parse(sample().into()).unwrap().study;
    server
        .post("/dicom-web/studies", "application/dicom", sample())
        .await;
    let (status, answer) = server.get(&format!("/v1/studies/{study}/fhir")).await;
    assert_eq!(
        (status.as_u16(), &answer["reason"]["code"]),
        (404, &json!("no-result"))
    );
    server.stop().await;
}

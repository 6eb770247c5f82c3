//! A model serves only what it has proven, and readiness waits for the proof.

use std::fs;
use std::path::Path;

use osteon::config::Given;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::server::{MODEL, TestServer, bundled_models, bytes, phantom, sample};
use crate::tiny::Tiny;

/// A copy of the bundled package in a folder of its own.
fn copy() -> (tempfile::TempDir, std::path::PathBuf) {
    let models = tempfile::tempdir().unwrap();
    let from = bundled_models().join(MODEL).join("1");
    let to = models.path().join(MODEL).join("1");
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    (models, to)
}

async fn rejected(models: &Path, expected: &str) {
    let server = TestServer::with(models.to_owned(), Given::default()).await;
    let (status, ready) = server.get("/health/ready").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{ready}");
    let (_, list) = server.get("/v1/models").await;
    assert!(list["models"].as_array().unwrap().is_empty());
    let reason = list["rejected"][0]["reason"].as_str().unwrap();
    assert!(reason.contains(expected), "{reason}");
    assert_eq!(
        server.get("/health/live").await.0,
        StatusCode::OK,
        "alive, but not ready"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bundled_model_proves_itself() {
    let server = TestServer::start().await;
    assert_eq!(server.get("/health/ready").await.0, StatusCode::OK);
    let (_, list) = server.get("/v1/models").await;
    assert_eq!(list["models"][0]["name"], MODEL);
    assert!(
        list["models"][0]["notice"]
            .as_str()
            .unwrap()
            .contains("Not for clinical use")
    );
    let (_, model) = server.get(&format!("/v1/models/{MODEL}")).await;
    assert_eq!(model["manifest"]["preprocessing"]["crop_border"], true);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_noticed() {
    let (models, package) = copy();
    let model = package.join("model.onnx");
    let mut bytes = fs::read(&model).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&model, bytes).unwrap();
    rejected(models.path(), "model.onnx was changed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_computes_something_else_is_noticed() {
    let (models, package) = copy();
    // a manifest that vouches for other goldens: the digests agree, the numbers do not
    let goldens = package.join("goldens.json");
    let mut content: serde_json::Value = serde_json::from_slice(&fs::read(&goldens).unwrap()).unwrap();
    let score = content["cases"][0]["scores"][0].as_f64().unwrap();
    content["cases"][0]["scores"][0] = (score + 0.01).into();
    let bytes = serde_json::to_vec(&content).unwrap();
    fs::write(&goldens, &bytes).unwrap();
    let manifest = package.join("manifest.json");
    let mut content: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    content["files"]["goldens.json"] = osteon::model::package::sha256(&bytes).into();
    fs::write(&manifest, serde_json::to_vec(&content).unwrap()).unwrap();
    rejected(models.path(), "golden case").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_preprocessing_than_the_exported_one_is_noticed() {
    let (models, package) = copy();
    let manifest = package.join("manifest.json");
    let mut content: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    content["preprocessing"]["crop_border"] = false.into();
    fs::write(&manifest, serde_json::to_vec(&content).unwrap()).unwrap();
    rejected(models.path(), "another preprocessing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_folder_is_not_ready() {
    let models = tempfile::tempdir().unwrap();
    let server = TestServer::with(models.path().to_owned(), Given::default()).await;
    let (status, ready) = server.get("/health/ready").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready["reason"].as_str().unwrap().contains("there is no model"));
    let (status, answer) = server.score(vec![1]).await;
    assert_eq!(
        (status, &answer["reason"]["code"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"not-ready".into())
    );
    server.stop().await;
}

/// Nothing falls back to the CPU in silence: what was asked for runs, or the answer names what is missing.
#[test]
fn a_gpu_that_cannot_be_used_is_an_error_that_names_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libonnxruntime.so");
    // a copy, because a link would be followed to what lies beside the real one
    let real = osteon::runtime::library::locate(None, osteon::runtime::Device::Cpu).unwrap();
    std::fs::copy(real.path, &library).unwrap();
    let said = |device: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_osteon"))
            .args(["score", "--device", device, "image.dcm"])
            .env("ORT_DYLIB_PATH", &library)
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let missing = said("cuda");
    assert!(
        missing.contains("libonnxruntime_providers_cuda.so is missing"),
        "{missing}"
    );
    assert!(missing.contains("scripts/fetch-onnxruntime --cuda"), "{missing}");

    for name in ["libonnxruntime_providers_cuda.so", "libcudart.so.13"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let spoilt = said("cuda:1");
    assert!(spoilt.contains("libcudart.so.13"), "{spoilt}");

    let unknown = said("gpu");
    assert!(unknown.contains("cpu, cuda (the first GPU)"), "{unknown}");
}

/// With several GPUs, those that are named are there, or the server does not start and says which ones are.
#[test]
fn a_gpu_that_is_not_there_is_an_error_that_names_those_that_are() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libonnxruntime.so");
    let real = osteon::runtime::library::locate(None, osteon::runtime::Device::Cpu).unwrap();
    std::fs::copy(real.path, &library).unwrap();
    std::fs::write(folder.path().join("libonnxruntime_providers_cuda.so"), "").unwrap();
    // what CUDA's runtime says of two GPUs, under the names of all that ONNX Runtime needs
    let source = folder.path().join("cuda.c");
    std::fs::write(
        &source,
        "int cudaGetDeviceCount(int *count) { *count = 2; return 0; }",
    )
    .unwrap();
    for name in [
        "libcudart.so.13",
        "libcublasLt.so.13",
        "libcublas.so.13",
        "libnvrtc.so.13",
        "libcurand.so.10",
        "libcufft.so.12",
    ] {
        let built = std::process::Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&folder.path().join(name), &source])
            .status();
        assert!(built.unwrap().success());
    }
    let said = |device: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_osteon"))
            // an address of nobody: it ends in any case
            .args(["serve", "--device", device, "--listen", "192.0.2.1:1", "--data"])
            .arg(folder.path().join("data"))
            .env("ORT_DYLIB_PATH", &library)
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let missing = said("cuda:1,cuda:2");
    assert!(
        missing.contains("there is no cuda:2: the GPUs here are cuda:0 to cuda:1"),
        "{missing}"
    );
    let mixed = said("cpu,cuda:0");
    assert!(mixed.contains("not on both"), "{mixed}");

    std::fs::write(folder.path().join("libcudart.so.13"), "").unwrap();
    let spoilt = said("cuda:all");
    assert!(spoilt.contains("libcudart.so.13"), "{spoilt}");
}

/// As Triton has it: what would have to be changed first is an error of the request, and not one to try again.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_fails_is_answered_with_the_reason() {
    let models = tempfile::tempdir().unwrap();
    Tiny::new("tiny", 1).publish(models.path());
    let server = TestServer::with(models.path().to_owned(), Given::default()).await;
    let post = |path: &'static str| server.post(path, "application/json", Vec::new());
    let (status, _) = post("/v2/repository/models/tiny/unload").await;
    assert_eq!(status, StatusCode::OK);
    fs::write(models.path().join("tiny/1/model.onnx"), "half").unwrap();
    let (status, answer) = post("/v2/repository/models/tiny/load").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    let said = answer["error"].as_str().unwrap();
    assert!(
        said.contains("tiny/1 did not prove itself") && said.contains("(model-failed)"),
        "{said}"
    );
    let (status, answer) = post("/v2/repository/models/nobody/load").await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");
    server.stop().await;
}

/// Of two versions that are served, the newest answers, or the one that the path names.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_chooses_among_the_versions_that_are_served() {
    let models = tempfile::tempdir().unwrap();
    for (version, slope) in [(1, 1.0), (2, -1.0), (4, 2.0)] {
        Tiny {
            labels: vec![("bright", slope, 0.0)],
            ..Tiny::new("tiny", version)
        }
        .publish(models.path());
    }
    let given = Given {
        pin: vec!["tiny=1,4".parse().unwrap()],
        ..Given::default()
    };
    let server = TestServer::with(models.path().to_owned(), given).await;
    let score = |path: &'static str| server.post(path, "application/dicom", bytes(&phantom(1)));
    let logit = |answer: &Value| {
        let probability = answer["findings"][0]["probability"].as_f64().unwrap();
        (probability / (1.0 - probability)).ln()
    };
    let (_, first) = score("/v1/models/tiny/versions/1/score").await;
    let (_, fourth) = score("/v1/models/tiny/versions/4/score").await;
    let (_, newest) = score("/v1/models/tiny/score").await;
    let versions = [&first, &fourth, &newest].map(|answer| answer["model"]["version"].as_u64());
    assert_eq!(versions, [Some(1), Some(4), Some(4)]);
    assert!(
        (logit(&fourth) - 2.0 * logit(&first)).abs() < 1e-3,
        "{first} {fourth}"
    );
    assert_eq!(newest["findings"], fourth["findings"]);

    for (version, says) in [
        ("2", "there is no such version: this server has 1, 4"),
        ("x", "a version is a whole number"),
    ] {
        for path in [
            format!("/v1/models/tiny/versions/{version}/score"),
            format!("/v1/models/tiny/versions/{version}/heatmap"),
        ] {
            let (status, answer) = server.post(&path, "application/dicom", sample()).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {answer}");
            assert_eq!(answer["reason"]["code"], "unknown-version", "{path}");
            let message = answer["reason"]["message"].as_str().unwrap();
            assert!(message.starts_with(says), "{path}: {message}");
        }
    }
    let picture = server
        .client
        .post(format!("{}/v1/models/tiny/versions/1/heatmap", server.url))
        .body(bytes(&phantom(1)));
    assert_eq!(picture.send().await.unwrap().status(), StatusCode::OK);

    let (_, described) = server.get("/v1/models/tiny/versions/1").await;
    assert_eq!(described["manifest"]["version"], 1);
    assert_eq!(described["versions"], json!([1, 4]));
    let (_, described) = server.get("/v1/models/tiny").await;
    assert_eq!(described["version"], 4);
    assert_eq!(
        server.get("/v1/models/tiny/versions/2").await.0,
        StatusCode::NOT_FOUND
    );
    server.stop().await;
}

/// The network of `tests/it/tiny.rs` reproduces goldens that come from its formula, and answers with the embedding's heads.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_served_beside_another() {
    let models = tempfile::tempdir().unwrap();
    Tiny::new("bright", 1).publish(models.path());
    Tiny {
        labels: vec![("bright", 1.0, 0.0), ("dark", -1.0, 0.0)],
        ..Tiny::new("both", 3)
    }
    .publish(models.path());
    let server = TestServer::with(models.path().to_owned(), Given::default()).await;
    assert_eq!(server.get("/health/ready").await.0, StatusCode::OK);
    let (status, answer) = server
        .post("/v1/models/both/score", "application/dicom", bytes(&phantom(1)))
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let of = |index: usize| answer["findings"][index]["probability"].as_f64().unwrap();
    // the logits are each other's opposite
    assert!((of(0) + of(1) - 1.0).abs() < 1e-6 && of(0) > 0.5, "{answer}");
    server.stop().await;
}

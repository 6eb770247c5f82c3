//! Open Inference Protocol v2: prepared tensors and whole files, in JSON and in binary, one by one and in batches; by hand and by
//! NVIDIA's client.

use osteon::config::Given;
use osteon::model::package::{GOLDENS, MODEL as MODEL_FILE};
use prost::Message;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::server::{MODEL, TestServer, bytes, phantom, with};
use crate::tiny::{SIDE, Tiny, constant};

const JSON_LENGTH: &str = "inference-header-content-length";

/// The model `both`, version 3: its logits are the mean of the input, and minus the mean.
async fn start() -> (TestServer, tempfile::TempDir) {
    let models = tempfile::tempdir().unwrap();
    Tiny {
        labels: vec![("bright", 1.0, 0.0), ("dark", -1.0, 0.0)],
        ..Tiny::new("both", 3)
    }
    .publish(models.path());
    let server = TestServer::with(models.path().to_owned(), Given::default()).await;
    (server, models)
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn sigmoid(value: f32) -> f32 {
    1.0 / (1.0 + (-value).exp())
}

fn same(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
    }
}

fn numbers(data: &Value) -> Vec<f32> {
    serde_json::from_value(data.clone()).unwrap()
}

impl TestServer {
    /// JSON with `behind` after it.
    async fn infer(&self, request: &Value, behind: &[u8]) -> Response {
        let mut body = request.to_string().into_bytes();
        let length = body.len();
        body.extend_from_slice(behind);
        self.client
            .post(format!("{}/v2/models/both/infer", self.url))
            .header(JSON_LENGTH, length)
            .body(body)
            .send()
            .await
            .unwrap()
    }

    async fn infer_json(&self, request: &Value) -> (StatusCode, Value) {
        self.post(
            "/v2/models/both/infer",
            "application/json",
            request.to_string().into(),
        )
        .await
    }

    /// Files in the binary form.
    async fn infer_files(&self, files: &[&[u8]], parameters: Value) -> (StatusCode, Value) {
        let behind: Vec<u8> = files
            .iter()
            .flat_map(|file| [&(file.len() as u32).to_le_bytes(), *file].concat())
            .collect();
        let request = json!({ "parameters": parameters, "inputs": [{
            "name": "dicom", "datatype": "BYTES", "shape": [files.len(), 1],
            "parameters": { "binary_data_size": behind.len() },
        }] });
        let response = self.infer(&request, &behind).await;
        (response.status(), response.json().await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tensor_in_json_gives_the_heads_and_what_is_asked_for() {
    let (server, _models) = start().await;
    let mut request = json!({ "id": "a", "inputs": [{
        "name": "image", "datatype": "FP32", "shape": [1, 1, SIDE, SIDE], "data": constant(&[0.75]),
    }] });
    let (status, answer) = server.infer_json(&request).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(
        (&answer["id"], &answer["model_version"]),
        (&"a".into(), &"3".into())
    );
    assert_eq!(answer["parameters"]["provider"], "CPU");
    assert_eq!(answer["parameters"]["device"], "cpu");
    assert_eq!(answer["outputs"].as_array().unwrap().len(), 1);
    let heads = &answer["outputs"][0];
    assert_eq!(
        (&heads["name"], &heads["shape"]),
        (&"findings".into(), &json!([1, 2]))
    );
    same(&numbers(&heads["data"]), &[sigmoid(0.75), sigmoid(-0.75)]);

    request["outputs"] = json!([{ "name": "logits" }, { "name": "embedding" }]);
    let (_, answer) = server.infer_json(&request).await;
    same(&numbers(&answer["outputs"][0]["data"]), &[0.75, -0.75]);
    same(&numbers(&answer["outputs"][1]["data"]), &[0.375, 0.1875, 0.1875]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_in_binary_comes_back_in_its_order() {
    let (server, _models) = start().await;
    let means: Vec<f32> = (0..64_u8).map(|index| f32::from(index) / 16.0 - 2.0).collect();
    let behind = little_endian(&constant(&means));
    let request = json!({
        "inputs": [{
            "name": "image", "datatype": "FP32", "shape": [means.len(), 1, SIDE, SIDE],
            "parameters": { "binary_data_size": behind.len() },
        }],
        "outputs": [
            { "name": "findings", "parameters": { "binary_data": true } },
            { "name": "logits" },
        ],
    });
    let response = server.infer(&request, &behind).await;
    assert_eq!(response.status(), StatusCode::OK);
    let length: usize = response.headers()[JSON_LENGTH].to_str().unwrap().parse().unwrap();
    let body = response.bytes().await.unwrap();
    let answer: Value = serde_json::from_slice(&body[..length]).unwrap();
    let [findings, logits] = [0, 1].map(|index| &answer["outputs"][index]);
    assert_eq!(findings["parameters"]["binary_data_size"], body.len() - length);
    assert!(findings.get("data").is_none() && logits.get("parameters").is_none());
    let found: Vec<f32> = body[length..]
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    let expected: Vec<f32> = means
        .iter()
        .flat_map(|mean| [sigmoid(*mean), sigmoid(-mean)])
        .collect();
    same(&found, &expected);
    same(
        &numbers(&logits["data"]),
        &means.iter().flat_map(|mean| [*mean, -mean]).collect::<Vec<_>>(),
    );
    server.stop().await;
}

/// A client may have six images of a queue of eight waiting: more can never be answered.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_batch_is_one_that_the_queue_takes() {
    let models = tempfile::tempdir().unwrap();
    Tiny::new("tiny", 1).publish(models.path());
    let given = Given {
        queue: Some(8),
        ..Given::default()
    };
    let server = TestServer::with(models.path().to_owned(), given).await;
    let (_, config) = server.get("/v2/models/tiny/config").await;
    assert_eq!(config["max_batch_size"], 6, "{config}");
    let batch = |images: usize| {
        let shape = json!([images, 1, SIDE, SIDE]);
        let data = constant(&vec![0.5; images]);
        json!({ "inputs": [{ "name": "image", "datatype": "FP32", "shape": shape, "data": data }] })
            .to_string()
    };
    let infer = |images| server.post("/v2/models/tiny/infer", "application/json", batch(images).into());
    assert_eq!(infer(6).await.0, StatusCode::OK);
    server.stop().await;
}

/// Logits that are the square root of the mean: what is no number goes out under no name, in no form.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_number_is_an_error_that_names_the_output() {
    let models = tempfile::tempdir().unwrap();
    let tiny = Tiny::new("root", 1);
    let mut network = tiny.network();
    let graph = network.graph.as_mut().unwrap();
    graph.node[3].output[0] = "before".into();
    let mut root = graph.node[4].clone();
    (root.op_type, root.name) = ("Sqrt".into(), "root".into());
    (root.input[0], root.output[0]) = ("before".into(), "logits".into());
    graph.node.insert(4, root);
    let mut goldens = tiny.goldens();
    goldens.cases.remove(0);
    goldens.cases[0].scores = vec![0.5];
    tiny.publish_with(models.path(), |_, files| {
        files.insert(MODEL_FILE.into(), network.encode_to_vec());
        files.insert(GOLDENS.into(), serde_json::to_vec(&goldens).unwrap());
    });
    let server = TestServer::with(models.path().to_owned(), Given::default()).await;
    let asked = |mean: f32, output: &str, binary: bool| {
        json!({
            "inputs": [{ "name": "image", "datatype": "FP32", "shape": [1, 1, SIDE, SIDE], "data": constant(&[mean]) }],
            "outputs": [{ "name": output, "parameters": { "binary_data": binary } }],
        })
        .to_string()
    };
    let infer = |body: String| server.post("/v2/models/root/infer", "application/json", body.into());
    let (status, answer) = infer(asked(0.25, "logits", false)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    for output in ["logits", "probabilities"] {
        for binary in [false, true] {
            let (status, answer) = infer(asked(-1.0, output, binary)).await;
            assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{answer}");
            let said = answer["error"].as_str().unwrap();
            assert!(
                said.contains(output) && said.contains("no finite number"),
                "{said}"
            );
        }
    }
    server.stop().await;
}

/// A second head whose scores are the first one's logits: its answers are the same, under other names.
#[tokio::test(flavor = "multi_thread")]
async fn each_head_answers_under_its_name() {
    let models = tempfile::tempdir().unwrap();
    let tiny = Tiny {
        labels: vec![("bright", 1.0, 0.0), ("dark", -1.0, 0.0)],
        ..Tiny::new("both", 3)
    };
    let mut goldens = tiny.goldens();
    for case in &mut goldens.cases {
        case.scores.extend_from_within(..);
    }
    tiny.publish_with(models.path(), |manifest, files| {
        let mut second = manifest.heads[0].clone();
        second.name = "second".into();
        second.scores = second.logits.take().unwrap();
        second.activation = osteon::model::Activation::Sigmoid;
        for (label, name) in second.labels.iter_mut().zip(["light", "dim"]) {
            label.name = name.into();
        }
        manifest.heads.push(second);
        files.insert(
            osteon::model::package::GOLDENS.to_owned(),
            serde_json::to_vec(&goldens).unwrap(),
        );
    });
    let server = TestServer::with(models.path().to_owned(), Given::default()).await;
    let (_, metadata) = server.get("/v2/models/both").await;
    let second = &metadata["outputs"][1];
    assert_eq!(second["name"], "second", "{metadata}");
    assert_eq!(second["parameters"]["labels"], json!(["light", "dim"]));
    let (status, answer) = server.infer_files(&[&bytes(&phantom(1))], json!({})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let [first, second] = [0, 1].map(|index| numbers(&answer["outputs"][index]["data"]));
    same(&first, &second);
    assert!(first[0] > 0.5 && first[1] < 0.5, "{first:?}");
    let (status, answer) = server
        .infer_json(&json!({
            "inputs": [{
                "name": "image", "datatype": "FP32", "shape": [1, 1, SIDE, SIDE], "data": constant(&[0.75]),
            }],
            "outputs": [{ "name": "second" }],
        }))
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    same(
        &numbers(&answer["outputs"][0]["data"]),
        &[sigmoid(0.75), sigmoid(-0.75)],
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn activation_maps_come_for_each_image_and_label() {
    let server = TestServer::start().await;
    let (_, model) = server.get(&format!("/v1/models/{MODEL}")).await;
    let manifest = &model["manifest"];
    let name = &manifest["heads"][0]["activation_map"];
    let [rows, columns] =
        ["rows", "columns"].map(|side| manifest["preprocessing"][side].as_u64().unwrap() as usize);
    let pixels: Vec<f32> = (0..2 * rows * columns)
        .map(|index| (index % 97) as f32 / 97.0)
        .collect();
    let request = json!({
        "inputs": [{ "name": "image", "datatype": "FP32", "shape": [2, 1, rows, columns], "data": pixels }],
        "outputs": [{ "name": name }],
    });
    let (status, answer) = server
        .post(
            &format!("/v2/models/{MODEL}/versions/1/infer"),
            "application/json",
            request.to_string().into(),
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let output = &answer["outputs"][0];
    let shape: Vec<usize> = serde_json::from_value(output["shape"].clone()).unwrap();
    assert_eq!((shape[0], shape[1], shape.len()), (2, 2, 4), "{shape:?}");
    assert_eq!(numbers(&output["data"]).len(), shape.iter().product::<usize>());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_takes_the_way_of_any_other() {
    let (server, _models) = start().await;
    let files: Vec<Vec<u8>> = (1..4).map(|seed| bytes(&phantom(seed))).collect();
    let given: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let (status, answer) = server.infer_files(&given, json!({})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["outputs"][0]["shape"], json!([3, 2]));
    assert_eq!(answer["parameters"]["intended_use"], "met");
    assert_eq!(answer["parameters"]["device"], "cpu");
    let found = numbers(&answer["outputs"][0]["data"]);
    for (index, file) in files.into_iter().enumerate() {
        let (_, scored) = server
            .post("/v1/models/both/score", "application/dicom", file)
            .await;
        let expected = [0, 1].map(|label| scored["findings"][label]["probability"].as_f64().unwrap() as f32);
        same(&found[2 * index..][..2], &expected);
    }
    assert!(found[0] != found[2], "each its own: {found:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_refused_is_named_with_its_code() {
    let (server, _models) = start().await;
    let (good, hand) = (
        bytes(&phantom(1)),
        with(
            &phantom(2),
            dicom_dictionary_std::tags::BODY_PART_EXAMINED,
            dicom_core::VR::CS,
            "HAND",
        ),
    );
    let (status, answer) = server.infer_files(&[&good, &hand], json!({})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    let error = answer["error"].as_str().unwrap();
    assert!(
        error.starts_with("image 2 of 2: ") && error.ends_with("(body-part)"),
        "{error}"
    );
    let (status, answer) = server
        .infer_files(&[&good, &hand], json!({ "override": "intended-use" }))
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["parameters"]["intended_use"], "overridden");
    let (status, answer) = server.infer_files(&[&good], json!({ "override": "all" })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_the_protocols_form() {
    let (server, _models) = start().await;
    let tensor =
        json!({ "name": "image", "datatype": "FP32", "shape": [1, 1, SIDE, SIDE], "data": constant(&[0.0]) });
    let file = json!({ "name": "dicom", "datatype": "BYTES", "shape": [1], "data": [""] });
    for (request, expected) in [
        (
            json!({ "inputs": [tensor], "outputs": [{ "name": "x" }] }),
            "there are findings, probabilities, logits, embedding (output)",
        ),
        (
            json!({ "inputs": [file], "outputs": [{ "name": "logits" }] }),
            "no such output for the input dicom: there are findings (output)",
        ),
        (json!({ "inputs": [tensor, file] }), "(input)"),
        (json!({ "inputs": [file] }), "(empty)"),
        (json!([]), "(request)"),
    ] {
        let (status, answer) = server.infer_json(&request).await;
        let error = answer["error"].as_str().unwrap_or_default();
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        assert!(error.contains(expected), "{error}");
    }
    for path in [
        "/v2/models/none",
        "/v2/models/both/versions/4",
        "/v2/models/both/versions/x",
        "/v2/else",
        "/v2/models/none/ready",
    ] {
        let (status, answer) = server.get(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {answer}");
        assert!(answer["error"].is_string(), "{path}: {answer}");
    }
    let (status, answer) = server.get("/v2/models/both/infer").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{answer}");
    assert!(answer["error"].is_string(), "{answer}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_models_is_not_ready_and_says_when_to_come_back() {
    let models = tempfile::tempdir().unwrap();
    let server = TestServer::with(models.path().to_owned(), Given::default()).await;
    for path in ["/v2/health/ready", "/v2/models/both/ready"] {
        let response = server
            .client
            .get(format!("{}{path}", server.url))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key("retry-after"));
        let answer: Value = response.json().await.unwrap();
        assert!(
            answer["error"].as_str().unwrap().contains("there is no model"),
            "{answer}"
        );
    }
    assert_eq!(server.get("/v2/health/live").await.0, StatusCode::OK);
    server.stop().await;
}

/// `tritonclient`, as it is; `make test` installs it.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_client_understands_every_word() {
    let python = |arguments: Vec<String>| {
        tokio::task::spawn_blocking(move || std::process::Command::new("python3").args(arguments).output())
    };
    let there = python(vec!["-c".into(), "import tritonclient.http".into()])
        .await
        .unwrap();
    if !there.is_ok_and(|output| output.status.success()) {
        crate::left_out::python("tritonclient[http] is not installed, so it sent nothing");
        return;
    }
    let (server, _models) = start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("phantom.dcm");
    std::fs::write(&file, bytes(&phantom(1))).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/inference_protocol.py");
    let address = server.url.trim_start_matches("http://").to_owned();
    let output = python(vec![script.into(), address, file.display().to_string()])
        .await
        .unwrap()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    server.stop().await;
}

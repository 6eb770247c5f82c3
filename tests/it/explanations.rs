//! Where a model looks: its own map, or what hiding parts of the image shows; of an image that is sent, and of one that is stored.

use osteon::config::Given;
use osteon::finding::Task;
use osteon::finding::label::Quantity;
use osteon::model::onnx_format::{NodeProto, ValueInfoProto};
use prost::Message;
use reqwest::StatusCode;
use serde_json::Value;

use crate::gates::{picture, serve};
use crate::server::{TestServer, bytes, sample};
use crate::tiny::Tiny;

/// Black but for a bright square at rows 100 to 130 and columns 20 to 50 of 160 by 120.
fn bright_square() -> Vec<u8> {
    bytes(&picture(|row, column| {
        let inside = (100..130).contains(&row) && (20..50).contains(&column);
        if inside {
            3500
        } else {
            500 + (row * 3 + column * 5) as u16 % 90
        }
    }))
}

/// A model without a map, whose answer is how bright the image is.
fn tiny() -> Tiny {
    Tiny {
        labels: vec![("bright", 60.0, -9.0)],
        ..Tiny::new("tiny", 1)
    }
}

struct Answer {
    status: StatusCode,
    explanation: String,
    body: Vec<u8>,
}

impl Answer {
    fn code(&self) -> String {
        let answer: Value = serde_json::from_slice(&self.body).unwrap();
        answer["reason"]["code"].as_str().unwrap().to_owned()
    }

    /// The middle of the colour, and how many pixels have one: each as a part of the picture.
    fn colour(&self) -> (f64, f64, f64) {
        let picture = image::load_from_memory(&self.body).unwrap().into_rgb8();
        let (mut down, mut across, mut weight, mut count) = (0.0, 0.0, 0.0, 0.0);
        for (x, y, pixel) in picture.enumerate_pixels() {
            let [red, green, blue] = pixel.0.map(f64::from);
            let colour = (red - green).abs().max((green - blue).abs());
            down += colour * f64::from(y);
            across += colour * f64::from(x);
            weight += colour;
            count += f64::from(u8::from(colour > 8.0));
        }
        let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
        (
            down / weight / height,
            across / weight / width,
            count / width / height,
        )
    }
}

async fn ask(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let header = response.headers().get("osteon-explanation");
    Answer {
        status: response.status(),
        explanation: header.map_or("", |value| value.to_str().unwrap()).to_owned(),
        body: response.bytes().await.unwrap().to_vec(),
    }
}

async fn sent(server: &TestServer, model: &str, body: Vec<u8>) -> Answer {
    let url = format!("{}/v1/models/{model}/heatmap", server.url);
    ask(server
        .client
        .post(url)
        .header("content-type", "application/dicom")
        .body(body))
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_map_hiding_parts_of_the_image_shows_where_the_evidence_is() {
    let models = tempfile::tempdir().unwrap();
    tiny().publish(models.path());
    let server = serve(models.path()).await;
    let answer = sent(&server, "tiny", bright_square()).await;
    assert_eq!(
        answer.status,
        StatusCode::OK,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    assert_eq!(answer.explanation, "occlusion");
    let (down, across, count) = answer.colour();
    // the square's middle is at 115 of 160 and 35 of 120
    assert!(
        (down - 0.72).abs() < 0.08 && (across - 0.29).abs() < 0.08,
        "{down} {across}"
    );
    assert!((0.01..0.4).contains(&count), "{count}");
    server.stop().await;
}

/// The cells are shared out between cores, and the picture is the same, bit for bit.
#[tokio::test(flavor = "multi_thread")]
async fn one_core_and_several_make_the_same_picture() {
    let models = tempfile::tempdir().unwrap();
    tiny().publish(models.path());
    let mut pictures = Vec::new();
    for cores in [1, 4] {
        let given = Given {
            cores: Some(cores),
            ..Given::default()
        };
        let server = TestServer::with(models.path().to_owned(), given).await;
        let answer = sent(&server, "tiny", bright_square()).await;
        assert_eq!(
            (answer.status, answer.explanation.as_str()),
            (StatusCode::OK, "occlusion")
        );
        pictures.push(answer.body);
        server.stop().await;
    }
    assert!(pictures[0] == pictures[1]);
}

/// A value that is no answer by itself, because it is out of its range, still says how much was hidden.
#[tokio::test(flavor = "multi_thread")]
async fn a_measured_value_is_explained_as_well() {
    let models = tempfile::tempdir().unwrap();
    tiny().publish_with(models.path(), |manifest, _| {
        let head = &mut manifest.heads[0];
        head.task = Task::Regression;
        head.scores = "logits".into();
        head.labels[0].threshold = None;
        head.labels[0].quantity = Some(Quantity {
            unit: "1".into(),
            scale: 1.0,
            offset: 0.0,
            range: [0.0, 5.0],
        });
    });
    let server = serve(models.path()).await;
    let (_, score) = server
        .post("/v1/models/tiny/score", "application/dicom", bright_square())
        .await;
    let value = score["findings"][0]["value"].as_f64().unwrap();
    assert!(
        (0.0..1.5).contains(&value),
        "hiding the square leads below the range: {score}"
    );
    let metrics = server.client.get(format!("{}/metrics", server.url)).send();
    let metrics = metrics.await.unwrap().text().await.unwrap();
    let of_buckets = r#"osteon_quantity_bucket{finding="bright",model="tiny",site="other",le="#;
    assert_eq!(
        metrics.matches(of_buckets).count(),
        21,
        "twentieths, and all of it"
    );
    for (bucket, count) in [("0.25", u8::from(value <= 0.25)), ("1.5", 1), ("5", 1)] {
        let line = format!("{of_buckets}\"{bucket}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    let answer = sent(&server, "tiny", bright_square()).await;
    assert_eq!(
        (answer.status, answer.explanation.as_str()),
        (StatusCode::OK, "occlusion")
    );
    let (down, across, _) = answer.colour();
    assert!(
        (down - 0.72).abs() < 0.08 && (across - 0.29).abs() < 0.08,
        "{down} {across}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_image_has_its_picture_too() {
    let models = tempfile::tempdir().unwrap();
    tiny().publish(models.path());
    let server = serve(models.path()).await;
    let (status, answer) = server
        .post("/dicom-web/studies", "application/dicom", bright_square())
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let stored = osteon::dicom::Instance::parse(bright_square().into()).unwrap();
    let path = format!("{}/v1/studies/{}/instances", server.url, stored.study.as_str());
    let get = |rest: String| ask(server.client.get(format!("{path}/{rest}")));
    let uid = stored.uid.as_str();
    let picture = get(format!("{uid}/heatmap?finding=bright")).await;
    assert_eq!(
        (picture.status, picture.explanation.as_str()),
        (StatusCode::OK, "occlusion")
    );
    assert_eq!(picture.body, sent(&server, "tiny", bright_square()).await.body);
    let by_version = get(format!("{uid}/heatmap?finding=bright&version=1")).await;
    assert_eq!(by_version.body, picture.body);
    let cases = [
        (
            format!("{uid}/heatmap?version=7"),
            StatusCode::NOT_FOUND,
            "unknown-version",
        ),
        (
            format!("{uid}/heatmap?finding=mood"),
            StatusCode::NOT_FOUND,
            "unknown-finding",
        ),
        (
            format!("{uid}/heatmap?model=other"),
            StatusCode::NOT_FOUND,
            "unknown-model",
        ),
        (
            format!("{uid}/heatmap?override=all"),
            StatusCode::BAD_REQUEST,
            "query",
        ),
        (
            format!("{uid}/heatmap?colour=red"),
            StatusCode::BAD_REQUEST,
            "query",
        ),
        ("1.2.3/heatmap".into(), StatusCode::NOT_FOUND, "unknown-instance"),
        // what the model is asked for is looked at before any image
        (
            "1.2.3/heatmap?finding=mood".into(),
            StatusCode::NOT_FOUND,
            "unknown-finding",
        ),
        ("1..3/heatmap".into(), StatusCode::BAD_REQUEST, "instance-uid"),
    ];
    for (rest, status, code) in cases {
        let answer = get(rest).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
    }
    let url = format!("{}/v1/studies/1.2.3/instances/{uid}/heatmap", server.url);
    let answer = ask(server.client.get(url)).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::NOT_FOUND, "unknown-study")
    );
    server.stop().await;
}

/// The tiny network with its input, `times` over, as its activation map.
fn mapped(times: f32) -> (tempfile::TempDir, Tiny) {
    let models = tempfile::tempdir().unwrap();
    tiny().publish_with(models.path(), |manifest, files| {
        let mut network = tiny().network();
        let graph = network.graph.as_mut().unwrap();
        graph.node.push(NodeProto {
            op_type: "Mul".into(),
            name: "map".into(),
            input: vec!["image".into(), "times".into()],
            output: vec!["map".into()],
            ..NodeProto::default()
        });
        let mut scalar = graph.initializer[0].clone();
        scalar.name = "times".into();
        scalar.dims = vec![1];
        scalar.raw_data = times.to_le_bytes().to_vec();
        graph.initializer.push(scalar);
        graph.output.push(ValueInfoProto {
            name: "map".into(),
            ..graph.input[0].clone()
        });
        files.insert("model.onnx".into(), network.encode_to_vec());
        manifest.heads[0].activation_map = Some("map".into());
        manifest.preprocessing.range = [0.0, 4.0];
    });
    (models, tiny())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_with_a_map_shows_its_own() {
    let (models, _) = mapped(2.0);
    let server = serve(models.path()).await;
    let answer = sent(&server, "tiny", bright_square()).await;
    assert_eq!(
        (answer.status, answer.explanation.as_str()),
        (StatusCode::OK, "activation-map")
    );
    server.stop().await;
    let server = TestServer::start().await;
    let answer = sent(&server, crate::server::MODEL, sample()).await;
    assert_eq!(
        (answer.status, answer.explanation.as_str()),
        (StatusCode::OK, "activation-map")
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_with_a_number_that_is_none_is_not_shown() {
    let (models, _) = mapped(3e38);
    let server = serve(models.path()).await;
    let (status, score) = server
        .post("/v1/models/tiny/score", "application/dicom", bright_square())
        .await;
    assert_eq!(status, StatusCode::OK, "the score is a number: {score}");
    let answer = sent(&server, "tiny", bright_square()).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        (answer.code().as_str(), answer.explanation.as_str()),
        ("activation-map", "")
    );
    server.stop().await;
}

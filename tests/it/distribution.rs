//! An image whose features are unlike those that the model knows has no score; its distance is said and counted by site.

use std::path::Path;

use dicom_core::VR;
use dicom_dictionary_std::tags;
use osteon::config::Given;
use osteon::dicom::Instance;
use osteon::finding::{EmbeddingStatistics, Precision};
use osteon::model::{DistributionEntry, ModelManifest, Package};
use prost::Message;
use reqwest::StatusCode;

use crate::gates::{picture, refused, score, serve};
use crate::server::{TestServer, bytes, phantom, with};
use crate::tiny::Tiny;

/// The features of an image: its mean, as a half and two quarters.
fn features(body: &[u8]) -> [f64; 3] {
    let contract = Tiny::new("tiny", 1).manifest().preprocessing;
    let instance = Instance::parse(body.to_vec().into()).unwrap();
    let (tensor, _) = contract.apply(&contract.decode(&instance).unwrap()).unwrap();
    let mean = tensor.values.iter().map(|value| f64::from(*value)).sum::<f64>() / tensor.values.len() as f64;
    [mean / 2.0, mean / 4.0, mean / 4.0]
}

/// Around one image, as wide as 0.1 in each feature.
fn statistics(around: [f64; 3], limit: f64) -> EmbeddingStatistics {
    EmbeddingStatistics {
        origin: "tests/it/distribution.rs".into(),
        means: vec![around.to_vec()],
        // the factor of a precision of 100 on the diagonal
        precision: Precision::Cholesky(vec![10.0, 0.0, 10.0, 0.0, 0.0, 10.0]),
        limit,
    }
}

fn publish(models: &Path, statistics: &EmbeddingStatistics) {
    Tiny::new("tiny", 1).publish_with(models, |manifest, files| {
        manifest.distribution = Some(DistributionEntry {
            file: "embedding.json".into(),
        });
        files.insert("embedding.json".into(), serde_json::to_vec(statistics).unwrap());
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_unlike_those_that_the_model_knows_is_refused_and_counted_by_site() {
    let models = tempfile::tempdir().unwrap();
    let known = bytes(&phantom(1));
    let bright = with(
        &picture(|row, column| 3500 + (row + column) as u16),
        tags::INSTITUTION_NAME,
        VR::LO,
        "Canary General",
    );
    let (near, far) = (features(&known), features(&bright));
    let expected: f64 = near
        .iter()
        .zip(far)
        .map(|(near, far)| (10.0 * (near - far)).powi(2))
        .sum::<f64>()
        .sqrt();
    publish(models.path(), &statistics(near, expected / 2.0));
    let given = Given {
        sites: Some(toml::from_str("\"canary general\" = \"north\"").unwrap()),
        ..Given::default()
    };
    let server = TestServer::with(models.path().to_owned(), given).await;

    let (status, answer) = score(&server, "", known).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["distribution"]["status"], "met");
    assert!(
        answer["distribution"]["distance"].as_f64().unwrap() < 1e-3,
        "{answer}"
    );
    let (_, answer) = score(&server, "", bright.clone()).await;
    let distance = answer["distribution"]["distance"].as_f64().unwrap();
    assert!(
        (distance - expected).abs() < 1e-3 * expected,
        "{distance} for {expected}"
    );
    let limit = answer["distribution"]["limit"].as_f64().unwrap();
    assert!((limit - expected / 2.0).abs() < 1e-9 * expected, "{limit}");
    assert_eq!(answer["distribution"]["status"], "refused");
    // what has no score has no picture that explains it
    let (status, picture) = server
        .post("/v1/models/tiny/heatmap", "application/dicom", bright.clone())
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(picture["reason"]["code"], "out-of-distribution");
    let said = format!("{expected:.2}");
    let answer = refused(&server, bright, "out-of-distribution", &[&said], "distribution").await;
    assert_eq!(answer["distribution"]["status"], "overridden");

    let metrics = server.client.get(format!("{}/metrics", server.url)).send();
    let metrics = metrics.await.unwrap().text().await.unwrap();
    for line in [
        r#"osteon_images_total{model="tiny",outcome="scored",reason="",site="other"} 1"#,
        r#"osteon_images_total{model="tiny",outcome="refused",reason="out-of-distribution",site="north"} 3"#,
        r#"osteon_probability_count{finding="bright",model="tiny",site="north"} 1"#,
        r#"osteon_distance_ratio_count{model="tiny",site="north"} 4"#,
        r#"osteon_distance_ratio_bucket{model="tiny",site="north",le="1.9"} 0"#,
        r#"osteon_input_grey_bucket{model="tiny",site="north",le="0.8"} 0"#,
        r#"osteon_input_field_count{model="tiny",site="other"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(
        !metrics.to_lowercase().contains("canary"),
        "a header's value is no label"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_that_cannot_be_used_are_noticed_before_the_model_serves() {
    let good = || statistics([0.0; 3], 1.0);
    let other_features = EmbeddingStatistics {
        means: vec![vec![0.0; 2]],
        precision: Precision::Variances(vec![1.0; 2]),
        ..good()
    };
    let models = tempfile::tempdir().unwrap();
    publish(models.path(), &other_features);
    let server = TestServer::with(models.path().to_owned(), Given::default()).await;
    let (_, list) = server.get("/v1/models").await;
    let reason = list["rejected"][0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("3 features") && reason.contains("about 2"),
        "{reason}"
    );
    server.stop().await;

    let opened = |change: &dyn Fn(&mut ModelManifest), statistics: EmbeddingStatistics| {
        let models = tempfile::tempdir().unwrap();
        let tiny = Tiny::new("tiny", 1);
        let mut manifest = tiny.manifest();
        manifest.distribution = Some(DistributionEntry {
            file: "embedding.json".into(),
        });
        change(&mut manifest);
        let files = [
            ("model.onnx", tiny.network().encode_to_vec()),
            ("goldens.json", serde_json::to_vec(&tiny.goldens()).unwrap()),
            ("embedding.json", serde_json::to_vec(&statistics).unwrap()),
        ];
        let files = files.map(|(name, bytes)| (name.to_owned(), bytes)).into();
        Package::publish(models.path(), manifest, &files, true).map_err(|error| error.to_string())
    };
    assert!(opened(&|_| {}, good()).unwrap().distribution.is_some());
    let flat = statistics([0.0; 3], 0.0);
    assert!(
        opened(&|_| {}, flat)
            .unwrap_err()
            .contains("embedding.json: limit")
    );
    let unnamed = opened(&|manifest| manifest.embedding = None, good());
    assert!(unnamed.unwrap_err().contains("embedding must name"));
    let elsewhere = |manifest: &mut ModelManifest| {
        manifest.distribution = Some(DistributionEntry {
            file: "../embedding.json".into(),
        });
    };
    assert!(opened(&elsewhere, good()).unwrap_err().contains("do not list"));
}

/// Scores that are numbers do not make an embedding that is none a known image.
#[tokio::test(flavor = "multi_thread")]
async fn an_embedding_that_is_no_number_is_a_failure() {
    let models = tempfile::tempdir().unwrap();
    Tiny::new("tiny", 1).publish_with(models.path(), |manifest, files| {
        let mut network = Tiny::new("tiny", 1).network();
        let graph = network.graph.as_mut().unwrap();
        // the scores come from the mean; the features overflow from a mean of 1.14 on
        graph.node[3].input[0] = "mean".into();
        graph.initializer[0].raw_data = [3e38_f32; 3].iter().flat_map(|v| v.to_le_bytes()).collect();
        graph.initializer[1].dims = vec![1, 1];
        graph.initializer[1].raw_data.truncate(4);
        files.insert("model.onnx".into(), network.encode_to_vec());
        manifest.preprocessing.range = [0.0, 4.0];
    });
    let server = serve(models.path()).await;
    let (status, answer) = score(
        &server,
        "",
        bytes(&picture(|row, column| 100 + (row + column) as u16)),
    )
    .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let bright = bytes(&picture(|row, column| 3500 + (row + column) as u16));
    for query in ["", "?override=distribution"] {
        let (status, answer) = score(&server, query, bright.clone()).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{answer}");
        assert_eq!(answer["outcome"], "failed");
        assert_eq!(answer["reason"]["code"], "embedding-not-finite");
        assert!(answer["findings"].as_array().unwrap().is_empty());
    }
    server.stop().await;
}

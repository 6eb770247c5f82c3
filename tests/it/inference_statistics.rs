//! What `/v2` counts of each version, whichever door its images came by.

use osteon::config::Given;
use osteon::inference::Versions;
use reqwest::StatusCode;
use serde_json::json;

use crate::server::{TestServer, bytes, phantom, with};
use crate::tiny::{SIDE, Tiny, constant};

/// As Triton counts them; refused ones apart.
#[tokio::test(flavor = "multi_thread")]
async fn statistics_count_every_image_and_every_run() {
    let models = tempfile::tempdir().unwrap();
    for tiny in [Tiny::new("tiny", 1), Tiny::new("tiny", 2), Tiny::new("stats", 1)] {
        tiny.publish(models.path());
    }
    let given = Given {
        versions: Some(Versions::All),
        ..Given::default()
    };
    let server = TestServer::with(models.path().to_owned(), given).await;
    let (good, hand) = (
        bytes(&phantom(1)),
        with(
            &phantom(2),
            dicom_dictionary_std::tags::BODY_PART_EXAMINED,
            dicom_core::VR::CS,
            "HAND",
        ),
    );
    for file in [&good, &good, &hand] {
        let score = "/v1/models/tiny/versions/1/score";
        server.post(score, "application/dicom", file.clone()).await;
    }
    let batch = json!({ "inputs": [{
        "name": "image", "datatype": "FP32", "shape": [3, 1, SIDE, SIDE], "data": constant(&[0.0, 1.0, 2.0]),
    }] });
    for infer in ["/v2/models/tiny/infer", "/v2/models/stats/infer"] {
        let (status, answer) = server
            .post(infer, "application/json", batch.to_string().into())
            .await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    let (status, all) = server.get("/v2/models/stats").await;
    assert_eq!(status, StatusCode::OK, "{all}");
    let all = all["model_stats"].as_array().unwrap().clone();
    let places = all
        .iter()
        .map(|one| (one["name"].as_str(), one["version"].as_str()));
    let expected = [("stats", "1"), ("tiny", "1"), ("tiny", "2")];
    assert!(
        places.eq(expected.map(|(name, version)| (Some(name), Some(version)))),
        "{all:?}"
    );
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    for (one, (inferences, failed)) in all.iter().zip([(3, 0), (2, 1), (3, 0)]) {
        assert_eq!(one["inference_count"], inferences, "{one}");
        // without a GPU, each image is run alone
        assert_eq!(one["execution_count"], inferences, "{one}");
        let stages = &one["inference_stats"];
        let [count, ns] = ["count", "ns"].map(|key| move |stage: &str| stages[stage][key].as_u64().unwrap());
        let parts = ["queue", "compute_input", "compute_infer", "compute_output"];
        for stage in ["success"].iter().chain(&parts) {
            assert_eq!(count(stage), inferences, "{stage} in {one}");
        }
        assert!(ns("compute_infer") > 0 && ns("queue") > 0, "{one}");
        // a prepared tensor costs nothing to prepare
        assert_eq!(ns("compute_input") > 0, inferences == 2, "{one}");
        let sum: u64 = parts.iter().map(|stage| ns(stage)).sum();
        assert!(sum <= ns("success"), "{one}");
        assert_eq!((count("fail"), ns("fail") > 0), (failed, failed > 0), "{one}");
        let batches = one["batch_stats"].as_array().unwrap();
        assert_eq!(
            (batches.len(), &batches[0]["batch_size"]),
            (1, &json!(1)),
            "{one}"
        );
        assert_eq!(batches[0]["compute_infer"]["count"], inferences, "{one}");
        assert!(now - one["last_inference"].as_u64().unwrap() < 60_000, "{one}");
    }

    for (path, expected) in [
        ("/v2/models/tiny/stats", &all[1..]),
        ("/v2/models/tiny/versions/2/stats", &all[2..]),
        // this model's own address is taken
        ("/v2/models/stats/stats", &all[..1]),
    ] {
        let (status, answer) = server.get(path).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(answer["model_stats"], json!(expected), "{path}");
    }
    assert_eq!(server.get("/v2/models/stats/versions/1").await.1["name"], "stats");
    for path in ["/v2/models/none/stats", "/v2/models/tiny/versions/3/stats"] {
        assert_eq!(server.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    server.stop().await;
}

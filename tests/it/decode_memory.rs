//! What images become when they are decoded has bounds: one that needs more is refused with both numbers, several wait for each other, and
//! what is small goes on.

use std::path::Path;

use osteon::config::Given;
use osteon::dicom::Instance;
use reqwest::StatusCode;
use serde_json::Value;

use crate::server::{MODEL, TestServer, bundled_models, sample};

/// A server whose images have so many MiB to be decoded in.
async fn server(decode_memory_mib: usize) -> TestServer {
    let given = Given {
        decode_memory_mib: Some(decode_memory_mib),
        cores: Some(2),
        ..Given::default()
    };
    TestServer::with(bundled_models(), given).await
}

/// One of the files of `tests/data/decode`, 53 columns and 37 rows.
fn compressed(file: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decode");
    std::fs::read(folder.join(file)).unwrap()
}

async fn score(server: &TestServer, file: Vec<u8>) -> (StatusCode, Value) {
    let all = "override=intended-use,quality,distribution";
    let path = format!("/v1/models/{MODEL}/score?{all}");
    server.post(&path, "application/dicom", file).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_more_than_there_is_is_refused_with_both_numbers_and_the_rest_is_scored() {
    let server = server(32).await;
    let of_jpeg_xl = compressed("jpeg-xl-12u.dcm");
    for (file, needs) in [
        (of_jpeg_xl.clone(), "may take 33 MiB"),
        (compressed("deflated-8u.dcm"), "may take 512 MiB"),
    ] {
        let (status, answer) = score(&server, file).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
        assert_eq!(answer["reason"]["code"], "decode-memory", "{answer}");
        let message = answer["reason"]["message"].as_str().unwrap();
        for said in [needs, "has 32 MiB", "--decode-memory-mib", "JPEG Lossless"] {
            assert!(message.contains(said), "{message}");
        }
    }
    for file in [
        "jpeg-lossless-12u.dcm",
        "jpeg2000-12u.dcm",
        "jpeg-ls-12u.dcm",
        "rle-12u.dcm",
        "jpeg-12u-quality90.dcm",
    ] {
        let (status, answer) = score(&server, compressed(file)).await;
        assert_eq!(status, StatusCode::OK, "{file}: {answer}");
    }
    assert_eq!(score(&server, sample()).await.0, StatusCode::OK);

    // nor is there a picture of it for people
    let instance = Instance::parse(of_jpeg_xl.clone().into()).unwrap();
    let (status, answer) = server.post("/v1/studies", "application/dicom", of_jpeg_xl).await;
    assert!(status.is_success(), "{answer}");
    let path = format!(
        "/dicom-web/studies/{}/series/{}/instances/{}/rendered",
        instance.study, instance.series, instance.uid
    );
    let (status, answer) = server.get(&path).await;
    assert_eq!(status, StatusCode::NOT_ACCEPTABLE, "{answer}");
    assert_eq!(answer["reason"]["code"], "decode-memory", "{answer}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_images_wait_for_each_other_and_give_back_what_they_had() {
    // as much as one file that is deflated may need
    let server = server(512).await;
    let file = compressed("deflated-8u.dcm");
    for _ in 0..2 {
        let asked = (0..6).map(|_| score(&server, file.clone()));
        for (status, answer) in futures_util::future::join_all(asked).await {
            assert_eq!(status, StatusCode::OK, "{answer}");
        }
    }
    server.stop().await;
}

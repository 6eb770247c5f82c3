//! A study that is sent by STOW-RS is kept, scored in the background and found again, also after a restart.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

use crate::server::{TestServer, bytes, phantom, sample};

fn related(parts: &[Vec<u8>]) -> (&'static str, Vec<u8>) {
    let mut body = Vec::new();
    for part in parts {
        body.extend_from_slice(b"--limit\r\nContent-Type: application/dicom\r\n\r\n");
        body.extend_from_slice(part);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--limit--\r\n");
    (
        "multipart/related; type=\"application/dicom\"; boundary=limit",
        body,
    )
}

pub(crate) async fn outcome(server: &TestServer, study: &str) -> Value {
    for _ in 0..150 {
        let (status, answer) = server.get(&format!("/v1/studies/{study}")).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        if !["received", "analysing"].contains(&answer["state"].as_str().unwrap()) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("the study has no outcome after 30 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_is_stored_scored_and_found() {
    let server = TestServer::start().await;
    let (media_type, body) = related(&[sample(), b"no image".to_vec()]);
    let (status, answer) = server.post("/dicom-web/studies", media_type, body).await;
    assert_eq!(status, StatusCode::ACCEPTED, "one of two is stored: {answer}");
    assert_eq!(answer["00081199"]["Value"].as_array().unwrap().len(), 1);
    assert_eq!(answer["00081198"]["Value"].as_array().unwrap().len(), 1);

    let object = osteon::dicom::Instance::parse(sample().into()).unwrap();
    let study = outcome(&server, object.study.as_str()).await;
    assert_eq!(study["state"], "scored", "{study}");
    assert_eq!(study["instances"], 1);
    assert_eq!(study["result"]["outcome"], "scored");
    let (_, direct) = server.score(sample()).await;
    assert_eq!(
        study["result"]["findings"], direct["findings"],
        "REST and STOW give the same score"
    );
    let (_, list) = server.get("/v1/studies").await;
    assert_eq!(list.as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_that_must_not_be_scored_has_its_outcome_too() {
    use dicom_core::VR;
    use dicom_dictionary_std::tags;
    let server = TestServer::start().await;
    let body = crate::server::with(&phantom(21), tags::MODALITY, VR::CS, "CT");
    let uid = osteon::dicom::Instance::parse(bytes(&phantom(21)).into())
        .unwrap()
        .study;
    let (status, answer) = server.post("/dicom-web/studies", "application/dicom", body).await;
    assert_eq!(status, StatusCode::OK, "what can be stored is stored: {answer}");
    let study = outcome(&server, uid.as_str()).await;
    assert_eq!(study["state"], "refused", "{study}");
    assert_eq!(study["result"]["reason"]["code"], "modality");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_to_be_not_there() {
    let server = TestServer::start().await;
    assert_eq!(server.get("/v1/studies/1.2.3").await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        server.get("/v1/studies/..%2F..%2Fetc").await.0,
        StatusCode::BAD_REQUEST
    );
    server.stop().await;
}

//! A result is sent to every destination: a structured report to an archive, JSON to a webhook; what cannot be sent waits, is given
//! up visibly, and is sent when someone puts it back.

use std::time::Duration;

use dicom_dictionary_std::tags;
use osteon::config::Given;
use reqwest::StatusCode;
use serde_json::Value;

use crate::archive::{Archive, Mode};
use crate::server::{TestServer, sample};
use crate::studies::outcome;

async fn send(server: &TestServer) -> String {
    let study = osteon::dicom::Instance::parse(sample().into())
        .unwrap()
        .study
        .to_string();
    let (status, answer) = server
        .post("/dicom-web/studies", "application/dicom", sample())
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    study
}

/// Waits until the delivery stands at `state`.
async fn delivery(server: &TestServer, study: &str, state: &str) -> Value {
    let mut seen = Value::Null;
    for _ in 0..300 {
        let (_, body) = server.get(&format!("/v1/studies/{study}")).await;
        seen = body["deliveries"][0].clone();
        if seen["state"] == state {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the delivery is not {state}: {seen}");
}

fn archive_at(url: &str) -> String {
    format!("[[destinations]]\nname = \"pacs\"\nkind = \"stow\"\nurl = \"{url}\"\ntimeout-seconds = 5\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_gets_report_and_heat_map_once_and_shows_that_it_has_them() {
    let archive = Archive::start(Mode::Accepting).await;
    let server = TestServer::with_file(&archive_at(&archive.url()), Given::default()).await;
    let study = send(&server).await;
    let delivered = delivery(&server, &study, "delivered").await;
    assert_eq!(delivered["destination"], "pacs");
    let copies = archive.copies();
    let key = outcome(&server, &study).await["result_key"]
        .as_str()
        .unwrap()
        .to_owned();
    let image = osteon::dicom::Instance::parse(sample().into()).unwrap().uid;
    let report = osteon::report::report_uid(&key);
    let map = osteon::report::capture_uid(&key, image.as_str());
    assert_eq!(copies, [(report.clone(), 1), (map, 1)].into());
    let report = osteon::dicom::Instance::parse(archive.file(&report).unwrap()).unwrap();
    assert_eq!(
        (report.study.as_str(), report.class.as_str()),
        (study.as_str(), "1.2.840.10008.5.1.4.1.1.88.34")
    );
    assert!(report.header.get(tags::PIXEL_DATA).is_none());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_says_yes_and_stores_nothing_is_found_out_given_up_and_tried_again_by_hand() {
    let archive = Archive::start(Mode::Lying).await;
    let twice = Given {
        delivery_attempts: Some(2),
        ..Given::default()
    };
    let server = TestServer::with_file(&archive_at(&archive.url()), twice).await;
    let study = send(&server).await;
    let dead = delivery(&server, &study, "dead").await;
    assert_eq!(dead["attempts"], 2);
    assert!(dead["cause"].as_str().unwrap().contains("not-verified"), "{dead}");
    assert_eq!(
        outcome(&server, &study).await["state"],
        "scored",
        "the result is none the worse for it"
    );
    let (status, printed) = server.osteon(&["jobs", "dead"]).await;
    assert!(
        status == 0 && printed.contains(&format!("{study}  deliver to pacs  dead")),
        "{printed}"
    );
    let (_, timeline) = server.get(&format!("/v1/studies/{study}/timeline")).await;
    assert!(timeline.to_string().contains("delivery-dead"), "{timeline}");

    archive.set(Mode::Accepting);
    let (status, printed) = server.osteon(&["jobs", "retry", &study]).await;
    assert_eq!((status, printed.as_str()), (0, "1 put back\n"));
    delivery(&server, &study, "delivered").await;
    assert_eq!(archive.copies().values().copied().collect::<Vec<_>>(), [1, 1]);
    let (status, printed) = server.osteon(&["jobs", "retry", &study]).await;
    assert_eq!((status, printed.contains("was given up")), (1, true), "{printed}");
    server.stop().await;
}

/// A webhook on a free port; it keeps what it is sent, with the key of each.
async fn webhook() -> (String, tokio::sync::mpsc::UnboundedReceiver<(String, Value)>) {
    use axum::http::HeaderMap;
    let (sender, received) = tokio::sync::mpsc::unbounded_channel();
    let take = move |headers: HeaderMap, axum::Json(body): axum::Json<Value>| async move {
        let key = headers["idempotency-key"].to_str().unwrap().to_owned();
        sender.send((key, body)).unwrap();
    };
    let router = axum::Router::new().route("/hook", axum::routing::post(take));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, received)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_the_result_of_a_study_that_must_not_be_scored_too() {
    use dicom_core::VR;
    let (url, mut received) = webhook().await;
    let file = format!("[[destinations]]\nname = \"ris\"\nkind = \"webhook\"\nurl = \"{url}\"\n");
    let server = TestServer::with_file(&file, Given::default()).await;
    let phantom = crate::server::phantom(41);
    let ct = crate::server::with(&phantom, tags::MODALITY, VR::CS, "CT");
    let study = osteon::dicom::Instance::parse(ct.clone().into())
        .unwrap()
        .study
        .to_string();
    server.post("/dicom-web/studies", "application/dicom", ct).await;
    let (key, body) = tokio::time::timeout(Duration::from_secs(30), received.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(body["study_instance_uid"], study.as_str());
    assert_eq!(
        (&body["result"]["outcome"], &body["result"]["reason"]["code"]),
        (&"refused".into(), &"modality".into())
    );
    assert_eq!(body["result_key"], key.as_str());
    delivery(&server, &study, "delivered").await;
    server.stop().await;
}

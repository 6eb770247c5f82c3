//! A study is ordered from an archive, fetched and scored; an order that cannot be carried out ends visibly, and is put back by hand.

use osteon::config::Given;
use reqwest::{StatusCode, header};
use serde_json::{Value, json};

use crate::archive::{Archive, Mode};
use crate::server::{TestServer, sample};
use crate::studies::outcome;

fn archive_at(url: &str) -> String {
    format!("[[destinations]]\nname = \"pacs\"\nkind = \"stow\"\nuse = [\"studies\"]\nurl = \"{url}\"\n")
}

fn study() -> String {
    let instance = osteon::dicom::Instance::parse(sample().into()).unwrap();
    instance.study.to_string()
}

/// Orders a study from `peer`; gives the status and, where it was accepted, where its result will be.
async fn order(server: &TestServer, study: &str, peer: &str) -> (StatusCode, Option<String>) {
    let request = server
        .client
        .post(format!("{}/v1/studies/{study}/score", server.url))
        .body(json!({ "peer": peer }).to_string());
    let answer = request.send().await.unwrap();
    let place = answer.headers().get(header::LOCATION);
    let place = place.map(|place| place.to_str().unwrap().to_owned());
    (answer.status(), place)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_is_ordered_from_an_archive_fetched_and_scored() {
    let archive = Archive::start(Mode::Accepting).await;
    archive.hold(sample().into());
    let server = TestServer::with_file(&archive_at(&archive.url()), Given::default()).await;
    let study = study();
    assert_eq!(
        order(&server, &study, "elsewhere").await,
        (StatusCode::BAD_REQUEST, None)
    );
    let (status, place) = order(&server, &study, "pacs").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(place.unwrap(), format!("/v1/studies/{study}"));
    let scored = outcome(&server, &study).await;
    assert_eq!(
        (&scored["state"], &scored["instances"]),
        (&"scored".into(), &1.into())
    );
    assert_eq!(scored["completeness"]["basis"], "expected");
    let (_, direct) = server.score(sample()).await;
    assert_eq!(scored["result"]["findings"], direct["findings"]);
    assert_eq!(
        scored["deliveries"],
        Value::Array(vec![]),
        "it only gives studies"
    );
    assert_eq!(archive.requests().retrievals, 1);
    let (status, printed) = server.osteon(&["explain", &study]).await;
    assert!(
        status == 0 && printed.contains("fetch-queued") && printed.contains("peer: pacs"),
        "{printed}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_down_ends_the_order_with_the_cause_until_it_is_put_back() {
    let archive = Archive::start(Mode::Unavailable).await;
    archive.hold(sample().into());
    let once = Given {
        fetch_attempts: Some(1),
        ..Given::default()
    };
    let server = TestServer::with_file(&archive_at(&archive.url()), once).await;
    let study = study();
    assert_eq!(order(&server, &study, "pacs").await.0, StatusCode::ACCEPTED);
    let failed = outcome(&server, &study).await;
    assert_eq!(failed["state"], "failed");
    assert_eq!(failed["result"]["reason"]["code"], "fetch-failed");
    let (_, printed) = server.osteon(&["jobs", "dead"]).await;
    assert!(
        printed.contains(&format!("{study}  fetch from pacs  dead")),
        "{printed}"
    );
    let (_, printed) = server.osteon(&["explain", &study]).await;
    assert!(printed.contains("could not be fetched from pacs"), "{printed}");

    archive.set(Mode::Accepting);
    let (status, printed) = server.osteon(&["jobs", "retry", &study]).await;
    assert_eq!((status, printed.as_str()), (0, "1 put back\n"));
    assert_eq!(outcome(&server, &study).await["state"], "scored");
    let (status, printed) = server.osteon(&["store", "check"]).await;
    assert_eq!(status, 0, "{printed}");
    server.stop().await;
}

//! A study is ordered from an archive, over REST or by a workitem, fetched and scored; an order that cannot be carried out ends visibly,
//! and is put back by hand.

use std::time::Duration;

use futures_util::StreamExt;
use osteon::config::Given;
use osteon::workflow::Role;
use reqwest::{StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

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

/// An archive that orders a score, and follows it.
struct Orderer<'a> {
    server: &'a TestServer,
    /// Where it listens; it need not be the server that it orders from.
    ears: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl<'a> Orderer<'a> {
    async fn listening_at(ears: &TestServer, server: &'a TestServer) -> Self {
        let url = format!("{}/ws/subscribers/ARCHIVE", ears.url.replace("http", "ws"));
        let (ears, _) = connect_async(url).await.unwrap();
        let every = "/dicom-web/workitems/1.2.840.10008.5.1.4.34.5/subscribers/ARCHIVE";
        let answer = server
            .client
            .post(format!("{}{every}", server.url))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        Self { server, ears }
    }

    /// Orders a score of the sample, whose images are at `place`, an AE title.
    async fn order(&self, workitem: &str, place: &str) -> reqwest::Response {
        let sample = osteon::dicom::Instance::parse(sample().into()).unwrap();
        let text = |vr: &str, value: &str| json!({ "vr": vr, "Value": [value] });
        let sequence = |item: Value| json!({ "vr": "SQ", "Value": [item] });
        let body = json!([{
            "00741000": text("CS", "SCHEDULED"),
            "00741200": text("CS", "HIGH"),
            "00741204": text("LO", "Score of the spine"),
            "00404018": sequence(json!({
                "00080100": text("SH", "score"), "00080102": text("SH", "99OSTEON"), "00080104": text("LO", "Score a radiograph"),
            })),
            "00404021": sequence(json!({
                "0040E020": text("CS", "DICOM"),
                "0020000D": text("UI", sample.study.as_str()),
                "0020000E": text("UI", sample.series.as_str()),
                "00081199": sequence(json!({
                    "00081150": text("UI", &sample.class), "00081155": text("UI", sample.uid.as_str()),
                })),
                "0040E021": sequence(json!({ "00080054": text("AE", place) })),
            })),
        }]);
        let request = self
            .server
            .client
            .post(format!("{}/dicom-web/workitems?{workitem}", self.server.url))
            .header(header::CONTENT_TYPE, "application/dicom+json")
            .body(body.to_string());
        request.send().await.unwrap()
    }

    /// What it hears of a workitem until that ends.
    async fn states(&mut self, workitem: &str) -> Vec<String> {
        let mut states: Vec<String> = Vec::new();
        while !states
            .last()
            .is_some_and(|last| ["COMPLETED", "CANCELED"].contains(&last.as_str()))
        {
            let heard = tokio::time::timeout(Duration::from_secs(30), self.ears.next()).await;
            let message = heard
                .unwrap_or_else(|_| panic!("nothing more after {states:?}"))
                .unwrap()
                .unwrap();
            let Ok(text) = message.to_text() else { continue };
            let Ok(event) = serde_json::from_str::<Value>(text) else {
                continue;
            };
            assert_eq!(
                (&event["00001000"]["Value"][0], &event["00001002"]["Value"][0]),
                (&json!(workitem), &json!(1))
            );
            states.push(event["00741000"]["Value"][0].as_str().unwrap().to_owned());
        }
        states
    }

    async fn workitem(&self, workitem: &str) -> Value {
        let (status, body) = self.server.get(&format!("/dicom-web/workitems/{workitem}")).await;
        assert_eq!(status, StatusCode::OK);
        body[0].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_orders_a_score_by_a_workitem_follows_it_and_gets_the_report() {
    let archive = Archive::start(Mode::Accepting).await;
    archive.hold(sample().into());
    let peer = archive_at(&archive.url()).replace("[\"studies\"]", "[\"results\", \"studies\"]");
    let server = TestServer::with_file(&format!("{peer}ae-title = \"PACS\"\n"), Given::default()).await;
    let door = Given {
        role: Some(Role::Door),
        ..Given::default()
    };
    let door = server.and(door).await;
    let mut orderer = Orderer::listening_at(&door, &server).await;
    let answer = orderer.order("1.2.3.7", "PACS").await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert!(
        answer.headers()[header::LOCATION]
            .to_str()
            .unwrap()
            .ends_with("/dicom-web/workitems/1.2.3.7")
    );
    assert_eq!(
        orderer.order("1.2.3.7", "PACS").await.status(),
        StatusCode::CONFLICT
    );
    assert_eq!(
        orderer.states("1.2.3.7").await,
        ["SCHEDULED", "IN PROGRESS", "COMPLETED"]
    );

    let workitem = orderer.workitem("1.2.3.7").await;
    let output = &workitem["00741216"]["Value"][0]["00404033"]["Value"][0];
    assert_eq!(output["0020000D"]["Value"][0], study().as_str());
    let report = output["00081199"]["Value"][0]["00081155"]["Value"][0]
        .as_str()
        .unwrap();
    for _ in 0..300 {
        if archive.copies().contains_key(report) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        archive.copies().get(report),
        Some(&1),
        "the report that the workitem names is the one that was sent"
    );
    assert_eq!(archive.requests().retrievals, 1);
    let scored = outcome(&server, &study()).await;
    assert_eq!(scored["completeness"]["instances"], 1);

    // what is here already is not fetched again
    assert_eq!(
        orderer.order("1.2.3.8", "PACS").await.status(),
        StatusCode::CREATED
    );
    assert_eq!(
        orderer.states("1.2.3.8").await,
        ["SCHEDULED", "IN PROGRESS", "COMPLETED"]
    );
    assert_eq!(archive.requests().retrievals, 1);
    // nor is the report that the archive has by now a part of the study
    assert_eq!(order(&server, &study(), "pacs").await.0, StatusCode::ACCEPTED);
    for _ in 0..300 {
        let (_, timeline) = server.get(&format!("/v1/studies/{}/timeline", study())).await;
        if timeline.to_string().matches(r#""kind":"fetched""#).count() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let again = outcome(&server, &study()).await;
    assert_eq!(
        (&again["instances"], &again["completeness"]["expected"]),
        (&1.into(), &1.into())
    );
    let (status, printed) = server.osteon(&["store", "check"]).await;
    assert_eq!(status, 0, "{printed}");
    door.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workitem_whose_images_cannot_be_had_is_canceled_with_the_cause() {
    let archive = Archive::start(Mode::Accepting).await;
    let server = TestServer::with_file(
        &format!("{}ae-title = \"PACS\"\n", archive_at(&archive.url())),
        Given::default(),
    )
    .await;
    let mut orderer = Orderer::listening_at(&server, &server).await;
    let answer = orderer.order("1.2.3.7", "PACS").await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(
        orderer.states("1.2.3.7").await,
        ["SCHEDULED", "IN PROGRESS", "CANCELED"]
    );
    let workitem = orderer.workitem("1.2.3.7").await;
    let why = workitem["00741002"]["Value"][0]["00741238"]["Value"][0]
        .as_str()
        .unwrap();
    assert!(why.contains("no instance of this study"), "{why}");
    assert_eq!(outcome(&server, &study()).await["state"], "failed");

    // an order that names a place that nobody configured waits for the images, and says so
    let answer = orderer.order("1.2.3.8", "ELSEWHERE").await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let mut warnings = answer.headers().get_all(header::WARNING).iter();
    assert!(warnings.any(|warning| warning.to_str().unwrap().contains("not opened")));
    server
        .post("/dicom-web/studies", "application/dicom", sample())
        .await;
    assert_eq!(
        orderer.states("1.2.3.8").await,
        ["SCHEDULED", "IN PROGRESS", "COMPLETED"]
    );
    server.stop().await;
}

//! The service as its clients see it: statuses, headers and bodies; and this server as the performer.

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::http::dicomweb::fixture::{TestServer, code};
use crate::workflow::fixture::dicom;

const JSON: &str = "application/dicom+json";
const WORKITEM: &str = "/dicom-web/workitems/1.2.7";

async fn exchange(
    server: &TestServer,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> (StatusCode, HeaderMap, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "osteon.example")
        .header(header::CONTENT_TYPE, JSON);
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let answer = server.answer(request.body(body).unwrap()).await;
    let body = serde_json::from_slice(&answer.body).unwrap_or_default();
    (answer.status, answer.headers, body)
}

async fn post(server: &TestServer, path: &str, body: Value) -> (StatusCode, HeaderMap, Value) {
    exchange(server, Method::POST, path, Some(body)).await
}

fn warning(headers: &HeaderMap) -> &str {
    headers
        .get(header::WARNING)
        .map_or("", |value| value.to_str().unwrap())
}

/// An order for these instances of the study 1.2.
fn order(instances: &[&str]) -> Value {
    let references: Vec<_> = instances
        .iter()
        .map(|uid| json!({ "00081155": { "vr": "UI", "Value": [uid] } }))
        .collect();
    json!([{
        "00741000": { "vr": "CS", "Value": ["SCHEDULED"] },
        "00741200": { "vr": "CS", "Value": ["MEDIUM"] },
        "00741204": { "vr": "LO", "Value": ["Score"] },
        "00404041": { "vr": "CS", "Value": ["READY"] },
        "00404005": { "vr": "DT", "Value": ["20261129120000"] },
        "00100010": { "vr": "PN", "Value": [{ "Alphabetic": "Doe^Jane" }] },
        "00404021": { "vr": "SQ", "Value": [{
            "0020000D": { "vr": "UI", "Value": ["1.2"] },
            "00081199": { "vr": "SQ", "Value": references },
        }]},
    }])
}

/// A workitem that is somebody else's to perform.
fn foreign() -> Value {
    json!({
        "00741204": { "vr": "LO", "Value": ["Reconstruct"] },
        "00404025": { "vr": "SQ", "Value": [{ "00080100": { "vr": "SH", "Value": ["CT-1"] } }] },
    })
}

fn state(state: &str, transaction: Option<&str>) -> Value {
    let mut request = json!({ "00741000": { "vr": "CS", "Value": [state] } });
    if let Some(transaction) = transaction {
        request["00081195"] = json!({ "vr": "UI", "Value": [transaction] });
    }
    request
}

async fn change(server: &TestServer, to: &str, transaction: Option<&str>) -> (StatusCode, String) {
    let path = format!("{WORKITEM}/state");
    let (status, headers, _) = exchange(server, Method::PUT, &path, Some(state(to, transaction))).await;
    (status, warning(&headers).to_owned())
}

async fn state_of(server: &TestServer, path: &str) -> Value {
    let (status, headers, body) = exchange(server, Method::GET, path, None).await;
    assert_eq!(
        (status, &headers[header::CONTENT_TYPE]),
        (StatusCode::OK, &JSON.parse().unwrap())
    );
    assert!(
        body[0].get("00081195").is_none(),
        "the Transaction UID is for the performer alone"
    );
    body[0]["00741000"]["Value"][0].clone()
}

/// Runs a worker until the workitem is in a final state.
async fn performed(server: &TestServer) -> Value {
    let stop = CancellationToken::new();
    let worker = tokio::spawn(server.doors.workflow.clone().run(stop.clone()));
    for _ in 0..500 {
        let (_, _, body) = exchange(server, Method::GET, WORKITEM, None).await;
        if ["COMPLETED", "CANCELED"].contains(&body[0]["00741000"]["Value"][0].as_str().unwrap()) {
            stop.cancel();
            worker.await.unwrap();
            return body[0].clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the workitem does not end");
}

async fn send(server: &TestServer, sop: &str) {
    let sent = server
        .post("/dicom-web/studies", "application/dicom", dicom("1.2", sop, "a"))
        .await;
    assert_eq!(sent.0, StatusCode::OK);
}

#[tokio::test]
async fn a_workitem_is_created_once_under_the_uid_of_the_query_the_body_or_a_new_one() {
    let server = TestServer::new().await;
    let (status, headers, body) = post(&server, "/dicom-web/workitems?1.2.7", order(&["1.2.1"])).await;
    assert_eq!(
        (status, body, warning(&headers)),
        (StatusCode::CREATED, Value::Null, "")
    );
    assert_eq!(
        headers[header::LOCATION],
        "http://osteon.example/dicom-web/workitems/1.2.7"
    );
    assert_eq!(state_of(&server, WORKITEM).await, "SCHEDULED");
    let (status, headers, body) =
        post(&server, "/dicom-web/workitems?workitem=1.2.7", order(&["1.2.1"])).await;
    assert_eq!((status, code(&body)), (StatusCode::CONFLICT, "exists"));
    assert!(warning(&headers).starts_with("299 http://osteon.example/dicom-web: "));
    let (status, headers, _) = post(
        &server,
        "/dicom-web/workitems?AffectedSOPInstanceUID=1.2.8",
        foreign(),
    )
    .await;
    assert_eq!(status, StatusCode::CREATED);
    assert!(warning(&headers).ends_with("created with modifications."));
    let mut named = foreign();
    named["00080018"] = json!({ "vr": "UI", "Value": ["1.2.9"] });
    let (_, headers, _) = post(&server, "/dicom-web/workitems", named).await;
    assert_eq!(
        headers[header::LOCATION],
        "http://osteon.example/dicom-web/workitems/1.2.9"
    );
    let mut made = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let (_, headers, _) = post(&server, "/dicom-web/workitems", foreign()).await;
        made.insert(headers[header::LOCATION].to_str().unwrap().to_owned());
    }
    assert!(made.len() == 3 && made.iter().all(|place| place.contains("/workitems/2.25.")));
}

#[tokio::test]
async fn a_workitem_is_sent_and_shown_as_xml() {
    let server = TestServer::new().await;
    let document = "<NativeDicomModel><DicomAttribute tag=\"00741204\" vr=\"LO\"><Value number=\"1\">Réconstruct</Value></DicomAttribute>\
                    <DicomAttribute tag=\"00404025\" vr=\"SQ\"><Item number=\"1\"><DicomAttribute tag=\"00080100\" vr=\"SH\">\
                    <Value number=\"1\">CT-1</Value></DicomAttribute></Item></DicomAttribute></NativeDicomModel>";
    let several = "multipart/related; type=\"application/dicom+xml\"; boundary=x";
    let part = |text: &str| format!("--x\r\nContent-Type: application/dicom+xml\r\n\r\n{text}\r\n");
    for (uid, content_type, body) in [
        ("1.2.7", "application/dicom+xml", document.to_owned()),
        ("1.2.8", several, part(document) + "--x--"),
    ] {
        let path = format!("/dicom-web/workitems?{uid}");
        assert_eq!(
            server.post(&path, content_type, body).await.0,
            StatusCode::CREATED
        );
        let (_, _, shown) =
            exchange(&server, Method::GET, &format!("/dicom-web/workitems/{uid}"), None).await;
        assert_eq!(shown[0]["00741204"]["Value"][0], "Réconstruct");
    }
    let two = part(document) + &part(document) + "--x--";
    let (status, body) = server.post("/dicom-web/workitems?1.2.9", several, two).await;
    assert_eq!((status, code(&body)), (StatusCode::BAD_REQUEST, "multipart"));

    let wanted = "multipart/related; type=\"application/dicom+xml\"";
    for (path, count) in [
        (WORKITEM, 1),
        ("/dicom-web/workitems?ProcedureStepState=SCHEDULED", 2),
    ] {
        let answer = server.fetch(path, wanted).await;
        let parts = answer.parts();
        assert_eq!((answer.status, parts.len()), (StatusCode::OK, count), "{path}");
        for (content_type, content) in parts {
            let shown = crate::dicom::xml::read(&content).unwrap();
            assert_eq!(
                (content_type.as_str(), &shown["00741000"]["Value"][0]),
                ("application/dicom+xml", &"SCHEDULED".into())
            );
        }
    }
    let page = server.fetch("/dicom-web/workitems?limit=1", wanted).await;
    assert_eq!(
        (page.status, page.parts().len()),
        (StatusCode::PARTIAL_CONTENT, 1)
    );
}

#[tokio::test]
async fn what_cannot_be_a_workitem_is_refused_with_the_reason() {
    let server = TestServer::new().await;
    for body in [
        state("COMPLETED", None),
        state("SCHEDULED", Some("1.9")),
        json!([]),
        json!("x"),
    ] {
        let (status, _, answer) = post(&server, "/dicom-web/workitems?1.2.7", body).await;
        assert_eq!((status, code(&answer)), (StatusCode::BAD_REQUEST, "workitem"));
    }
    let (status, _, answer) = post(&server, "/dicom-web/workitems?workitem=1..2", foreign()).await;
    assert_eq!((status, code(&answer)), (StatusCode::BAD_REQUEST, "workitem-uid"));
    for (content_type, body, status, reason) in [
        ("text/csv", "a", 415, "media-type"),
        // what a web page may send without asking
        ("application/x-www-form-urlencoded", "{}", 415, "media-type"),
        (
            "multipart/related; type=\"application/dicom\"; boundary=x",
            "a",
            415,
            "media-type",
        ),
        ("application/dicom+xml", "<a/>", 400, "workitem"),
        (
            "multipart/related; type=\"application/dicom+xml\"; boundary=x",
            "--x",
            400,
            "multipart",
        ),
    ] {
        let answer = server
            .post("/dicom-web/workitems?1.2.7", content_type, body)
            .await;
        assert_eq!(
            (answer.0.as_u16(), code(&answer.1)),
            (status, reason),
            "{content_type}"
        );
    }
    let answer = server.fetch("/dicom-web/workitems", "text/html").await;
    assert_eq!(answer.refusal(), (406, "not-acceptable".to_owned()));
    for path in [WORKITEM, "/dicom-web/workitems/x"] {
        let (status, _, _) = exchange(&server, Method::GET, path, None).await;
        assert!([StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST].contains(&status));
    }
    assert_eq!(
        change(&server, "IN PROGRESS", Some("1.9")).await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn another_performer_takes_a_workitem_updates_it_and_completes_it() {
    let server = TestServer::new().await;
    post(&server, "/dicom-web/workitems?1.2.7", foreign()).await;
    let (status, said) = change(&server, "IN PROGRESS", None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(said.ends_with("The Transaction UID is missing."), "{said}");
    assert_eq!(
        change(&server, "IN PROGRESS", Some("1.9")).await,
        (StatusCode::OK, String::new())
    );
    let (status, said) = change(&server, "IN PROGRESS", Some("1.8")).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(
        said.ends_with("inconsistent with the state of the UPS Instance."),
        "{said}"
    );
    let performed = json!({ "00741216": { "vr": "SQ", "Value": [{}] } });
    for (query, status) in [
        ("", 400),
        ("?1.8", 400),
        ("?transaction-uid=1.9", 200),
        ("?1.9", 200),
    ] {
        let (answer, _, _) = post(&server, &format!("{WORKITEM}{query}"), performed.clone()).await;
        assert_eq!(answer.as_u16(), status, "{query}");
    }
    let (status, said) = change(&server, "COMPLETED", Some("1.8")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(said.ends_with("The Transaction UID is incorrect."), "{said}");
    assert_eq!(change(&server, "COMPLETED", Some("1.9")).await.0, StatusCode::OK);
    let (status, said) = change(&server, "COMPLETED", Some("1.9")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        said.ends_with("already in the requested state of COMPLETED."),
        "{said}"
    );
    let (status, headers, _) =
        exchange(&server, Method::POST, &format!("{WORKITEM}/cancelrequest"), None).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(warning(&headers).ends_with("The UPS is already COMPLETED."));
}

#[tokio::test]
async fn a_search_finds_what_matches_page_by_page() {
    let server = TestServer::new().await;
    let (status, _, _) = exchange(&server, Method::GET, "/dicom-web/workitems", None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    for uid in ["1.2.7", "1.2.8", "1.2.9"] {
        post(&server, &format!("/dicom-web/workitems?{uid}"), order(&["1.2.1"])).await;
    }
    let found = async |query: &str| {
        let path = format!("/dicom-web/workitems?{query}");
        let (status, headers, body) = exchange(&server, Method::GET, &path, None).await;
        (
            status.as_u16(),
            body.as_array().map_or(0, Vec::len),
            warning(&headers).to_owned(),
        )
    };
    for (query, status, count) in [
        ("", 200, 3),
        ("ProcedureStepState=SCHEDULED", 200, 3),
        ("ProcedureStepState=COMPLETED", 204, 0),
        ("00080018=1.2.7,1.2.9", 200, 2),
        ("PatientName=doe*&includefield=all", 200, 3),
        ("InputInformationSequence.StudyInstanceUID=1.2&limit=2", 206, 2),
        ("limit=2&offset=2", 200, 1),
        ("limit=9&offset=3", 204, 0),
        ("Nonsense=1", 400, 0),
        ("limit=many", 400, 0),
    ] {
        let answer = found(query).await;
        assert_eq!(answer.0, status, "{query}");
        assert!(count == answer.1 || status == 400, "{query}");
    }
    assert!(
        found("fuzzymatching=true&PatientName=Doe*")
            .await
            .2
            .contains("Only literal matching")
    );
}

#[tokio::test]
async fn a_workitem_before_its_images_is_performed_when_the_last_of_them_has_come() {
    let server = TestServer::new().await;
    post(&server, "/dicom-web/workitems?1.2.7", order(&["1.2.1", "1.2.2"])).await;
    let (_, study) = server.get("/v1/studies/1.2").await;
    assert_eq!(
        (&study["state"], &study["instances"]),
        (&"received".into(), &0.into())
    );
    send(&server, "1.2.1").await;
    send(&server, "1.2.2").await;
    let workitem = performed(&server).await;
    assert_eq!(workitem["00741000"]["Value"][0], "COMPLETED");
    let output = &workitem["00741216"]["Value"][0]["00404033"]["Value"][0];
    let (_, study) = server.get("/v1/studies/1.2").await;
    assert_eq!(study["completeness"]["basis"], "workitem");
    // as `report::report_uid` makes it
    let key = study["result_key"].as_str().unwrap();
    let report = crate::dicom::uid::derived(&["osteon", "structured report", key]);
    assert_eq!(
        output["00081199"]["Value"][0]["00081155"]["Value"][0],
        report.as_str()
    );
    let (_, timeline) = server.get("/v1/studies/1.2/timeline").await;
    let kinds: Vec<_> = timeline["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["kind"])
        .collect();
    for kind in ["workitem-scheduled", "workitem-ended"] {
        assert!(kinds.contains(&&kind.into()), "{timeline}");
    }
}

#[tokio::test]
async fn a_workitem_for_what_is_here_is_performed_at_once() {
    let server = TestServer::new().await;
    send(&server, "1.2.1").await;
    post(&server, "/dicom-web/workitems?1.2.7", order(&[])).await;
    assert_eq!(performed(&server).await["00741000"]["Value"][0], "COMPLETED");
    // and again, of a study that is settled
    post(&server, "/dicom-web/workitems?1.2.8", order(&["1.2.1"])).await;
    let stop = CancellationToken::new();
    let worker = tokio::spawn(server.doors.workflow.clone().run(stop.clone()));
    while state_of(&server, "/dicom-web/workitems/1.2.8").await != "COMPLETED" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    stop.cancel();
    worker.await.unwrap();
}

#[tokio::test]
async fn a_canceled_workitem_is_not_performed_and_its_study_is_scored_all_the_same() {
    let server = TestServer::new().await;
    post(&server, "/dicom-web/workitems?1.2.7", order(&["1.2.1"])).await;
    let path = format!("{WORKITEM}/cancelrequest");
    let reason = json!({ "00741238": { "vr": "LT", "Value": ["not needed"] } });
    assert_eq!(post(&server, &path, reason).await.0, StatusCode::ACCEPTED);
    assert_eq!(state_of(&server, WORKITEM).await, "CANCELED");
    let (status, headers, _) = exchange(&server, Method::POST, &path, None).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert!(warning(&headers).ends_with("already in the requested state of CANCELED."));
    send(&server, "1.2.1").await;
    let stop = CancellationToken::new();
    let worker = tokio::spawn(server.doors.workflow.clone().run(stop.clone()));
    while server.get("/v1/studies/1.2").await.1["state"] != "scored" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    stop.cancel();
    worker.await.unwrap();
    assert_eq!(state_of(&server, WORKITEM).await, "CANCELED");
}

#[tokio::test]
async fn a_place_that_is_no_peer_is_said_to_be_ignored() {
    let server = TestServer::new().await;
    let mut body = order(&["1.2.1"]);
    let place = json!({ "00081190": { "vr": "UR", "Value": ["http://127.0.0.1:1/dicom-web/studies/1.2"] } });
    body[0]["00404021"]["Value"][0]["0040E025"] = json!({ "vr": "SQ", "Value": [place] });
    let (status, headers, _) = post(&server, "/dicom-web/workitems?1.2.7", body).await;
    assert_eq!(status, StatusCode::CREATED);
    assert!(
        warning(&headers).contains("is not opened: send the input"),
        "{}",
        warning(&headers)
    );
}

#[tokio::test]
async fn subscriptions_are_made_suspended_and_ended() {
    let server = TestServer::new().await;
    post(&server, "/dicom-web/workitems?1.2.7", order(&["1.2.1"])).await;
    let path = |target: &str, rest: &str| format!("/dicom-web/workitems/{target}/subscribers/WATCHER{rest}");
    let (every, matching) = (
        crate::workitem::EVERY_WORKITEM,
        crate::workitem::MATCHING_WORKITEMS,
    );
    for (method, path, status) in [
        (Method::POST, path("1.2.7", "?deletionlock=true"), 201),
        (Method::POST, path("1.2.7", "?deletionlock=maybe"), 400),
        (Method::POST, path("1.2.6", ""), 404),
        (Method::POST, path(every, ""), 201),
        (Method::POST, path(matching, ""), 400),
        (
            Method::POST,
            path(matching, "?filter=PatientID%3D1,ProcedureStepState%3DSCHEDULED"),
            201,
        ),
        (Method::POST, path(every, "/suspend"), 200),
        (Method::POST, path("1.2.7", "/suspend"), 400),
        (Method::DELETE, path("1.2.7", ""), 200),
        (Method::DELETE, path("1.2.6", ""), 404),
        (Method::DELETE, path(every, ""), 200),
        (
            Method::POST,
            "/dicom-web/workitems/1.2.7/subscribers/A%20TITLE".to_owned(),
            400,
        ),
    ] {
        let (answer, headers, _) = exchange(&server, method.clone(), &path, None).await;
        assert_eq!(answer.as_u16(), status, "{method} {path}");
        if status == 201 {
            assert_eq!(
                headers[header::CONTENT_LOCATION],
                "ws://osteon.example/ws/subscribers/WATCHER"
            );
            let refused = warning(&headers).ends_with("Deletion Lock not granted.");
            assert_eq!(refused, path.contains("deletionlock"), "{path}");
        }
    }
}

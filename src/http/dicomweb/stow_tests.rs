//! STOW-RS as clients meet it, through the router, with a real store.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode, header};
use bytes::Bytes;
use futures_util::stream;
use serde_json::Value;
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt;

use super::fixture::{TestServer, code};
use crate::dicom::StudyUid;
use crate::store::{Store, StoreSettings};
use crate::workflow::fixture::{dicom, video};

const TYPE: &str = "multipart/related; type=\"application/dicom\"; boundary=b";

/// A multipart body with these parts.
fn parts(parts: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in parts {
        body.extend_from_slice(b"--b\r\nContent-Type: application/dicom\r\n\r\n");
        body.extend_from_slice(part);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--b--\r\n");
    body
}

fn values<'a>(body: &'a Value, sequence: &str, tag: &str) -> Vec<&'a Value> {
    let items = body[sequence]["Value"].as_array().map_or(&[][..], Vec::as_slice);
    items.iter().map(|item| &item[tag]["Value"][0]).collect()
}

fn failures(body: &Value) -> Vec<u64> {
    values(body, "00081198", "00081197")
        .into_iter()
        .map(|reason| reason.as_u64().unwrap())
        .collect()
}

/// Its parts never come: such a request holds its room, or waits for it.
#[tokio::test]
async fn a_client_that_keeps_its_room_leaves_some_for_others() {
    let server = TestServer::new().await;
    let from = |client: [u8; 4], body: Body| {
        Request::post("/dicom-web/studies")
            .header(header::CONTENT_TYPE, TYPE)
            .extension(ConnectInfo(SocketAddr::from((client, 104))))
            .body(body)
            .unwrap()
    };
    let slow = || Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let one = server.router.clone().oneshot(from([192, 0, 2, 1], slow()));
            AbortOnDropHandle::new(tokio::spawn(one))
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let file = parts(&[&dicom("1.2", "1.2.1", "a")]);
    let (status, body) = server.send(from([192, 0, 2, 2], file.into())).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    drop(asking);
}

#[tokio::test]
async fn stored_instances_are_durable_and_come_back_byte_for_byte() {
    let server = TestServer::new().await;
    let (one, two) = (dicom("1.2", "1.2.1", "a"), dicom("1.2", "1.2.2", "b"));
    let (status, body) = server
        .post("/dicom-web/studies", TYPE, parts(&[&one, &two]))
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        body["00081190"]["Value"][0],
        "http://pacs.example:8080/dicom-web/studies/1.2"
    );
    assert_eq!(values(&body, "00081199", "00081155"), ["1.2.1", "1.2.2"]);
    assert_eq!(
        values(&body, "00081199", "00081150"),
        ["1.2.840.10008.5.1.4.1.1.1.1"; 2]
    );
    let url = "http://pacs.example:8080/dicom-web/studies/1.2/series/1.2.3/instances/1.2.1";
    assert_eq!(values(&body, "00081199", "00081190")[0], url);
    assert!(body.get("00081198").is_none());
    let reopened = Store::open(&StoreSettings::in_folder(server.folder.path()))
        .await
        .unwrap();
    let rows = reopened
        .instances(&StudyUid::parse("1.2").unwrap())
        .await
        .unwrap();
    assert_eq!(reopened.object(&rows[1].instance.object).await.unwrap(), two);
}

#[tokio::test]
async fn mixed_parts_are_202_with_a_reason_for_each_failure() {
    let server = TestServer::new().await;
    let good = dicom("1.2", "1.2.1", "a");
    let cut = good.slice(..good.len() - 9);
    let too_long = vec![0; 20_001];
    let (status, body) = server
        .post(
            "/dicom-web/studies",
            TYPE,
            parts(&[b"", b"junk", &cut, &too_long, &good]),
        )
        .await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(failures(&body), [0xC000, 0xC000, 0xC000, 0xA700]);
    assert_eq!(values(&body, "00081199", "00081155"), ["1.2.1"]);
}

#[tokio::test]
async fn a_file_that_was_repaired_to_be_read_is_stored_with_a_warning() {
    let server = TestServer::new().await;
    let good = dicom("1.2", "1.2.1", "a");
    // without its preamble
    let irregular = dicom("1.2", "1.2.2", "a").slice(128..);
    let (status, body) = server
        .post("/dicom-web/studies", TYPE, parts(&[&good, &irregular]))
        .await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let warned = values(&body, "00081199", "00081196");
    assert_eq!(warned, [&Value::Null, &Value::from(0xB007)]);
    assert!(body.get("00081198").is_none(), "nothing failed");
}

#[tokio::test]
async fn the_answer_is_xml_for_those_who_take_it() {
    let server = TestServer::new().await;
    let body = parts(&[&dicom("1.2", "1.2.1", "a"), b"junk"]);
    let request = Request::post("/dicom-web/studies").header(header::CONTENT_TYPE, TYPE);
    let request = request.header(header::ACCEPT, "application/dicom+xml");
    let answer = server.answer(request.body(Body::from(body)).unwrap()).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (StatusCode::ACCEPTED, "application/dicom+xml")
    );
    let text = String::from_utf8_lossy(&answer.body);
    for part in [
        "keyword=\"FailureReason\"><Value number=\"1\">49152</Value>",
        "keyword=\"ReferencedSOPSequence\"><Item number=\"1\">",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn nothing_stored_is_409_and_never_500() {
    let server = TestServer::new().await;
    let (status, body) = server.post("/dicom-web/studies", TYPE, parts(&[b"junk"])).await;
    assert_eq!((status, failures(&body)), (StatusCode::CONFLICT, vec![0xC000]));
    let (status, body) = server
        .post("/dicom-web/studies", "application/dicom", "junk")
        .await;
    assert_eq!((status, failures(&body)), (StatusCode::CONFLICT, vec![0xC000]));
}

#[tokio::test]
async fn an_unknown_transfer_syntax_has_its_own_reason() {
    let server = TestServer::new().await;
    let good = dicom("1.2", "1.2.1", "a").to_vec();
    let at = good
        .windows(19)
        .position(|text| text == b"1.2.840.10008.1.2.1")
        .unwrap();
    let unknown = [&good[..at], b"1.2.840.99999.1.2.9", &good[at + 19..]].concat();
    // one that is known, and whose pixels nothing here can decode
    let video = video("1.2", "1.2.2");
    for file in [&unknown[..], &video] {
        let (status, body) = server.post("/dicom-web/studies", TYPE, parts(&[file])).await;
        assert_eq!((status, failures(&body)), (StatusCode::CONFLICT, vec![0xC122]));
    }
}

#[tokio::test]
async fn the_study_of_the_path_must_match() {
    let server = TestServer::new().await;
    let (good, other) = (dicom("1.2", "1.2.1", "a"), dicom("1.3", "1.3.1", "a"));
    let (status, body) = server
        .post("/dicom-web/studies/1.2", TYPE, parts(&[&other, &good]))
        .await;
    assert_eq!((status, failures(&body)), (StatusCode::ACCEPTED, vec![0xA900]));
    assert_eq!(values(&body, "00081198", "00081155"), ["1.3.1"]);
    assert_eq!(
        server.get("/v1/studies/1.3").await.0,
        StatusCode::NOT_FOUND,
        "it was not stored"
    );
    let (status, body) = server
        .post("/dicom-web/studies/1..2", TYPE, parts(&[&good]))
        .await;
    assert_eq!((status, code(&body)), (StatusCode::BAD_REQUEST, "study-uid"));
}

#[tokio::test]
async fn the_type_may_be_unquoted_or_absent_and_the_body_one_instance() {
    let server = TestServer::new().await;
    let good = dicom("1.2", "1.2.1", "a");
    for content_type in [
        "multipart/related; type=application/dicom; boundary=b",
        "Multipart/Related;boundary=\"b\";type=\"application/dicom\"",
        "multipart/related; boundary=b",
    ] {
        let (status, _) = server
            .post("/dicom-web/studies", content_type, parts(&[&good]))
            .await;
        assert_eq!(status, StatusCode::OK, "{content_type}");
    }
    assert_eq!(
        server
            .post("/dicom-web/studies", "application/dicom", good)
            .await
            .0,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_body_may_come_in_pieces_of_any_size() {
    let server = TestServer::new().await;
    let body = parts(&[&dicom("1.2", "1.2.1", "a"), &dicom("1.2", "1.2.2", "b")]);
    for size in [1, 7, 1024] {
        let pieces: Vec<_> = body
            .chunks(size)
            .map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)))
            .collect();
        let (status, body) = server
            .post(
                "/dicom-web/studies",
                TYPE,
                Body::from_stream(stream::iter(pieces)),
            )
            .await;
        assert_eq!(
            (status, values(&body, "00081199", "00081155").len()),
            (StatusCode::OK, 2)
        );
    }
}

#[tokio::test]
async fn wrong_syntax_is_400_with_its_reason() {
    let server = TestServer::new().await;
    let good = dicom("1.2", "1.2.1", "a");
    let whole = parts(&[&good]);
    let no_boundary = "multipart/related; type=\"application/dicom\"";
    for (content_type, body, wanted) in [
        (no_boundary, whole.clone(), "no-boundary"),
        ("multipart/related; boundary=\"\"", whole.clone(), "multipart"),
        ("multipart/related; boundary=c", whole.clone(), "multipart"),
        (TYPE, whole[..whole.len() - 9].to_vec(), "multipart"),
        (TYPE, vec![], "multipart"),
        (TYPE, b"--b--".to_vec(), "no-parts"),
        ("application/dicom", vec![], "empty"),
    ] {
        let (status, body) = server.post("/dicom-web/studies", content_type, body).await;
        assert_eq!(
            (status, code(&body)),
            (StatusCode::BAD_REQUEST, wanted),
            "{content_type}"
        );
    }
}

#[tokio::test]
async fn other_media_types_are_415() {
    let server = TestServer::new().await;
    for content_type in [
        "",
        "text/plain",
        "multipart/form-data; boundary=b",
        "multipart/related; type=\"application/dicom+json\"; boundary=b",
    ] {
        let (status, body) = server
            .post("/dicom-web/studies", content_type, parts(&[b"x"]))
            .await;
        assert_eq!(
            (status, code(&body)),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type"),
            "{content_type}"
        );
    }
}

#[tokio::test]
async fn a_request_over_the_limit_is_413_whether_or_not_it_says_its_length() {
    let server = TestServer::new().await;
    let piece = || Ok::<_, Infallible>(Bytes::from_static(&[b'-'; 1000]));
    for content_type in [TYPE, "application/dicom"] {
        let endless = Body::from_stream(stream::iter(std::iter::repeat_with(piece)));
        let (status, body) = server.post("/dicom-web/studies", content_type, endless).await;
        assert_eq!(
            (status, code(&body)),
            (StatusCode::PAYLOAD_TOO_LARGE, "too-large")
        );
        let request = Request::post("/dicom-web/studies").header(header::CONTENT_TYPE, content_type);
        let request = request
            .header(header::CONTENT_LENGTH, "4294967296")
            .body(Body::empty())
            .unwrap();
        assert_eq!(server.send(request).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    }
}

#[tokio::test]
async fn parts_are_counted_however_small_they_are() {
    let server = TestServer::new().await;
    let empty = b"--b\r\n\r\n\r\n";
    let (status, body) = server
        .post("/dicom-web/studies", TYPE, empty.repeat(20_002))
        .await;
    assert_eq!(
        (status, code(&body)),
        (StatusCode::PAYLOAD_TOO_LARGE, "too-many-parts")
    );
}

#[tokio::test]
async fn a_store_that_cannot_write_is_the_servers_fault_and_not_the_instances() {
    let server = TestServer::new().await;
    let objects = server.folder.path().join("objects");
    std::fs::rename(&objects, objects.with_extension("away")).unwrap();
    let (status, body) = server
        .post("/dicom-web/studies", TYPE, parts(&[&dicom("1.2", "1.2.1", "a")]))
        .await;
    assert_eq!(
        (status, failures(&body)),
        (StatusCode::SERVICE_UNAVAILABLE, vec![0xA700])
    );
}

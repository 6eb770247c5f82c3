//! WADO-RS as clients meet it, through the router, with a real store.

mod bounds;
mod forms;

use std::path::Path;

use axum::http::StatusCode;
use bytes::Bytes;
use dicom_core::value::PixelFragmentSequence;
use dicom_core::{PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use serde_json::Value;

use crate::dicom::{Instance, PixelData};
use crate::http::dicomweb::fixture::TestServer;
use crate::workflow::fixture::{DicomValue, dicom, image};

const STOW: &str = "application/dicom";
const STORED: &str = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";
const INSTANCE: &str = "/dicom-web/studies/1.2/series/1.2.3/instances";

fn native(bytes: &[u8]) -> DicomValue {
    DicomValue::Primitive(PrimitiveValue::from(bytes.to_vec()))
}

fn fragments(frames: &[&[u8]]) -> DicomValue {
    let frames = frames.iter().map(|frame| frame.to_vec()).collect::<Vec<_>>();
    DicomValue::PixelSequence(PixelFragmentSequence::new_fragments(frames))
}

fn frames(count: &str) -> [(Tag, VR, PrimitiveValue); 1] {
    [(tags::NUMBER_OF_FRAMES, VR::IS, PrimitiveValue::from(count))]
}

/// Four pixels of eight bits as a frame of RLE Lossless (PS3.5 annex G): one segment, one literal run.
fn rle(pixels: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0; 64];
    frame[0] = 1;
    frame[4] = 64;
    frame.push(3);
    frame.extend(pixels);
    frame.push(0x80);
    frame
}

struct Files {
    server: TestServer,
    /// Implicit VR, two frames.
    implicit: Bytes,
    /// RLE, two frames.
    rle: Bytes,
}

/// A study of a report, two images of two frames each, and one of another series.
async fn files() -> Files {
    let server = TestServer::new().await;
    let pixels = [0, 85, 170, 255, 255, 170, 85, 0];
    let implicit = image(
        "1.2",
        "1.2.1",
        &frames("2"),
        native(&pixels),
        uids::IMPLICIT_VR_LITTLE_ENDIAN,
    );
    let (one, two) = (rle([0, 85, 170, 255]), rle([255, 170, 85, 0]));
    let rle = image(
        "1.2",
        "1.2.2",
        &frames("2"),
        fragments(&[&one, &two]),
        uids::RLE_LOSSLESS,
    );
    let report = dicom("1.2", "1.2.9", "report");
    for file in [&implicit, &rle, &report] {
        let (status, _) = server.post("/dicom-web/studies", STOW, file.clone()).await;
        assert_eq!(status, StatusCode::OK);
    }
    Files {
        server,
        implicit,
        rle,
    }
}

fn pixels_of(file: &Bytes) -> (String, Bytes) {
    let instance = Instance::parse(file.clone()).unwrap();
    let Some(PixelData::Native(pixels)) = instance.pixels else {
        panic!("the pixels are compressed")
    };
    assert!(instance.repairs.is_empty(), "the file is whole");
    (instance.transfer_syntax, pixels)
}

#[tokio::test]
async fn what_is_stored_comes_back_byte_for_byte() {
    let Files {
        server,
        implicit,
        rle,
    } = files().await;
    for path in ["/dicom-web/studies/1.2", "/dicom-web/studies/1.2/series/1.2.3"] {
        for accept in [
            STORED,
            "multipart/related; type=application/dicom; transfer-syntax=*",
        ] {
            let parts = server.fetch(path, accept).await.parts();
            assert_eq!(parts.len(), 3);
            let kind = |syntax| format!("application/dicom; transfer-syntax={syntax}");
            assert_eq!(
                parts[0],
                (kind(uids::IMPLICIT_VR_LITTLE_ENDIAN), implicit.clone())
            );
            assert_eq!(parts[1], (kind(uids::RLE_LOSSLESS), rle.clone()));
        }
    }
    let one = format!("{INSTANCE}/1.2.2");
    for accept in [
        "application/dicom; transfer-syntax=*",
        "application/dicom;transfer-syntax=\"1.2.840.10008.1.2.5\"",
    ] {
        let answer = server.fetch(&one, accept).await;
        assert_eq!(answer.body, rle, "{accept}");
        assert_eq!(
            answer.header("content-type"),
            "application/dicom; transfer-syntax=1.2.840.10008.1.2.5"
        );
    }
    let parts = server.fetch(&one, STORED).await.parts();
    assert_eq!(parts[0].1, rle);
}

#[tokio::test]
async fn the_default_is_explicit_vr_little_endian() {
    let Files { server, .. } = files().await;
    let wanted = [0, 85, 170, 255, 255, 170, 85, 0];
    for accept in [
        "",
        "*/*",
        "multipart/related; type=\"application/dicom\"",
        "text/html, multipart/related;q=0.1",
    ] {
        let parts = server.fetch("/dicom-web/studies/1.2", accept).await.parts();
        for (kind, file) in &parts[..2] {
            assert_eq!(
                kind, "application/dicom; transfer-syntax=1.2.840.10008.1.2.1",
                "{accept}"
            );
            let (syntax, pixels) = pixels_of(file);
            assert_eq!(
                (syntax.as_str(), &pixels[..]),
                (uids::EXPLICIT_VR_LITTLE_ENDIAN, &wanted[..])
            );
            let header = Instance::parse(file.clone()).unwrap().header;
            assert_eq!(
                header.element(tags::PATIENT_NAME).unwrap().to_str().unwrap(),
                "Canary^Patient"
            );
        }
    }
    let alone = server
        .fetch(&format!("{INSTANCE}/1.2.1"), "application/dicom")
        .await;
    assert_eq!(&pixels_of(&alone.body).1[..], wanted);
}

/// What was sent without its preamble is stored so, and is a whole file for those who did not ask for what is stored.
#[tokio::test]
async fn a_file_that_was_repaired_is_written_anew() {
    let server = TestServer::new().await;
    let bare = dicom("1.2", "1.2.1", "bare").slice(132..);
    server.store(bare.clone()).await;
    let stored = server
        .fetch(
            &format!("{INSTANCE}/1.2.1"),
            "application/dicom; transfer-syntax=*",
        )
        .await;
    assert_eq!(stored.body, bare);
    let explicit = server
        .fetch(&format!("{INSTANCE}/1.2.1"), "application/dicom")
        .await;
    let instance = Instance::parse(explicit.body).unwrap();
    assert!(instance.repairs.is_empty(), "{:?}", instance.repairs);
}

/// A JPEG 2000 file of `OpenJPEG` with signed values, through the whole way.
#[tokio::test]
async fn compressed_images_are_decoded_on_the_way() {
    let server = TestServer::new().await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decode/jpeg2000-12s.dcm");
    let file = Bytes::from(std::fs::read(path).unwrap());
    let instance = Instance::parse(file.clone()).unwrap();
    assert_eq!(
        server.post("/dicom-web/studies", STOW, file).await.0,
        StatusCode::OK
    );
    let answer = server
        .fetch(&format!("/dicom-web/studies/{}", instance.study), "")
        .await;
    let (_, decoded) = answer.parts().remove(0);
    let (one, other) = (
        crate::image::decode::decode(&instance).unwrap(),
        crate::image::decode::decode(&Instance::parse(decoded).unwrap()).unwrap(),
    );
    let count = one.rows * one.columns;
    assert!(one.codes.words(count) == other.codes.words(count));
}

#[tokio::test]
async fn what_cannot_be_decoded_is_406_alone_and_comes_as_stored_among_others() {
    let Files { server, .. } = files().await;
    let broken = image("1.2", "1.2.3.4", &[], fragments(&[b"none"]), uids::RLE_LOSSLESS);
    server.post("/dicom-web/studies", STOW, broken.clone()).await;
    let alone = server
        .fetch(&format!("{INSTANCE}/1.2.3.4"), "application/dicom")
        .await;
    assert_eq!(alone.refusal(), (406, "frame-header".to_owned()));
    let parts = server.fetch("/dicom-web/studies/1.2", "").await.parts();
    assert!(parts.contains(&(
        "application/dicom; transfer-syntax=1.2.840.10008.1.2.5".to_owned(),
        broken
    )));
    assert_eq!(parts.len(), 4);
}

#[tokio::test]
async fn other_forms_are_406_and_what_is_not_there_404() {
    let Files { server, .. } = files().await;
    let one = format!("{INSTANCE}/1.2.1");
    for (path, accept, wanted) in [
        (
            "/dicom-web/studies/1.2",
            "application/dicom",
            (406, "not-acceptable"),
        ),
        (
            "/dicom-web/studies/1.2",
            "multipart/related; type=image/png",
            (406, "not-acceptable"),
        ),
        (
            "/dicom-web/studies/1.2",
            "multipart/related; type=application/dicom; transfer-syntax=1.2.840.10008.1.2.4.50",
            (406, "not-acceptable"),
        ),
        ("/dicom-web/studies/1.3", "", (404, "not-found")),
        ("/dicom-web/studies/1.2/series/1.9", "", (404, "not-found")),
        ("/dicom-web/studies/1.3/metadata", "", (404, "not-found")),
        (
            "/dicom-web/studies/1.2/series/1.2.3/instances/1.9",
            "",
            (404, "not-found"),
        ),
        ("/dicom-web/studies/1..2", "", (400, "uid")),
        (&one, "image/png", (406, "not-acceptable")),
        (&one, "nonsense", (400, "accept")),
        (&format!("{one}/frames/3"), "", (404, "frame-number")),
        (&format!("{one}/frames/1,3"), "", (404, "frame-number")),
        (&format!("{one}/frames/1,3/rendered"), "", (404, "frame-number")),
        (&format!("{one}/frames/0"), "", (400, "frames")),
        (&format!("{one}/frames/1"), "image/png", (406, "not-acceptable")),
        (&format!("{INSTANCE}/1.2.9/frames/1"), "", (406, "no-pixel-data")),
        (&format!("{one}/bulkdata/PixelData"), "", (400, "bulk-data")),
        (&format!("{one}/bulkdata/00281201"), "", (404, "not-found")),
        (&format!("{INSTANCE}/1.2.9/rendered"), "", (406, "no-pixel-data")),
        (&format!("{INSTANCE}/1.2.9/thumbnail"), "", (406, "no-pixel-data")),
        (&format!("{one}/rendered?window=1"), "", (400, "rendering")),
        (
            &format!("{one}/frames/1/rendered?viewport=1,1,9,9"),
            "",
            (400, "viewport"),
        ),
        (&format!("{one}/rendered"), "image/png", (406, "not-acceptable")),
    ] {
        let answer = server.fetch(path, accept).await;
        assert_eq!(
            answer.refusal(),
            (wanted.0, wanted.1.to_owned()),
            "{path} {accept}"
        );
    }
}

#[tokio::test]
async fn removed_images_are_gone_and_their_metadata_is_not() {
    let Files { server, .. } = files().await;
    server.forget_images().await;
    let one = format!("{INSTANCE}/1.2.1");
    for path in [
        "/dicom-web/studies/1.2",
        &one,
        &format!("{one}/frames/1"),
        &format!("{one}/rendered"),
        &format!("{one}/thumbnail"),
    ] {
        let answer = server.fetch(path, "").await;
        assert_eq!(answer.refusal(), (410, "image-removed".to_owned()), "{path}");
    }
    let metadata: Value = server.fetch("/dicom-web/studies/1.2/metadata", "").await.json();
    assert_eq!(metadata.as_array().unwrap().len(), 3);
    let found = server.fetch("/dicom-web/studies", "").await.json();
    assert_eq!(found[0]["00080056"]["Value"][0], "UNAVAILABLE");
}

#[tokio::test]
async fn the_service_says_what_it_has() {
    let Files { server, .. } = files().await;
    for method in ["GET", "OPTIONS"] {
        let request = axum::http::Request::builder()
            .method(method)
            .uri("/dicom-web")
            .header("host", "pacs.example");
        let answer = server
            .answer(request.body(axum::body::Body::empty()).unwrap())
            .await;
        assert_eq!(answer.header("content-type"), "application/vnd.sun.wadl+xml");
        assert!(
            String::from_utf8_lossy(&answer.body)
                .contains("<resources base=\"http://pacs.example/dicom-web\">")
        );
    }
}

//! WADO-RS as clients meet it, through the router, with a real store.

use std::path::Path;

use axum::http::StatusCode;
use bytes::Bytes;
use dicom_core::value::PixelFragmentSequence;
use dicom_core::{PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use serde_json::{Value, json};

use crate::dicom::{Instance, PixelData};
use crate::http::dicomweb::fixture::TestServer;
use crate::inference::Priority;
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
async fn metadata_is_one_array_with_the_places_of_bulk_data() {
    let server = TestServer::new().await;
    let table = (
        tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        VR::OW,
        PrimitiveValue::from(vec![7_u8; 2048]),
    );
    // a header that is too long to be kept
    let long = (
        tags::IMAGE_COMMENTS,
        VR::UT,
        PrimitiveValue::from("c".repeat(10_000)),
    );
    let longs: Vec<_> = (0..8_u16)
        .map(|at| (Tag(0x0009, 0x1000 + at), VR::UT, long.2.clone()))
        .collect();
    let small = image(
        "1.2",
        "1.2.1",
        &[table],
        native(&[1, 2, 3, 4]),
        uids::EXPLICIT_VR_LITTLE_ENDIAN,
    );
    let large = image("1.2", "1.2.2", &longs, None, uids::EXPLICIT_VR_LITTLE_ENDIAN);
    for file in [small, large] {
        server.store(file).await;
    }
    for path in [
        "/dicom-web/studies/1.2/metadata",
        "/dicom-web/studies/1.2/series/1.2.3/metadata",
    ] {
        let answer = server.fetch(path, "application/dicom+json").await;
        assert_eq!(answer.header("content-type"), "application/dicom+json");
        let body = answer.json();
        assert_eq!(body.as_array().unwrap().len(), 2, "{path}");
        let place = "http://pacs.example:8080/dicom-web/studies/1.2/series/1.2.3/instances/1.2.1/bulkdata";
        assert_eq!(
            body[0]["7FE00010"],
            json!({ "vr": "OW", "BulkDataURI": format!("{place}/7FE00010") })
        );
        assert_eq!(body[0]["00281201"]["BulkDataURI"], format!("{place}/00281201"));
        assert_eq!(body[0]["00100010"]["Value"][0]["Alphabetic"], "Canary^Patient");
        assert_eq!(
            body[1]["00091007"]["Value"][0].as_str().map(str::len),
            Some(10_000),
            "read from the object"
        );
    }
    let one = server
        .fetch(&format!("{INSTANCE}/1.2.1/metadata"), "application/json")
        .await
        .json();
    assert_eq!(one.as_array().map(Vec::len), Some(1));
    let xml = server
        .fetch(
            &format!("{INSTANCE}/1.2.1/metadata"),
            "multipart/related; type=\"application/dicom+xml\"",
        )
        .await;
    let text = String::from_utf8(xml.parts().remove(0).1.to_vec()).unwrap();
    assert!(
        text.contains("<BulkData uri=\"http://pacs.example:8080/dicom-web/studies/1.2/"),
        "{text}"
    );

    let path = format!("{INSTANCE}/1.2.1/bulkdata/00281201");
    let alone = server.fetch(&path, "application/octet-stream").await;
    assert_eq!(
        (alone.header("content-type"), &alone.body[..]),
        ("application/octet-stream", &[7; 2048][..])
    );
    let parts = server.fetch(&path, "").await.parts();
    assert_eq!(parts, [("application/octet-stream".to_owned(), alone.body)]);
    let pixels = server
        .fetch(
            &format!("{INSTANCE}/1.2.1/bulkdata/7FE00010"),
            "application/octet-stream",
        )
        .await;
    assert_eq!(&pixels.body[..], [1, 2, 3, 4]);
}

#[tokio::test]
async fn frames_are_decoded_or_as_stored() {
    let Files { server, .. } = files().await;
    let native = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1";
    let (one, two) = (
        Bytes::from_static(&[0, 85, 170, 255]),
        Bytes::from_static(&[255, 170, 85, 0]),
    );
    for instance in ["1.2.1", "1.2.2"] {
        for accept in ["", "multipart/related; type=\"application/octet-stream\""] {
            let answer = server
                .fetch(&format!("{INSTANCE}/{instance}/frames/2,1"), accept)
                .await;
            let wanted = [(native.to_owned(), two.clone()), (native.to_owned(), one.clone())];
            assert_eq!(answer.parts(), wanted, "{instance} {accept}");
        }
        let pixels = server
            .fetch(
                &format!("{INSTANCE}/{instance}/bulkdata/7FE00010"),
                "application/octet-stream",
            )
            .await;
        assert_eq!(&pixels.body[..], [0, 85, 170, 255, 255, 170, 85, 0]);
    }
    let unquoted = "multipart/related; type=application/octet-stream; transfer-syntax=*";
    let stored = server
        .fetch(&format!("{INSTANCE}/1.2.2/frames/1"), unquoted)
        .await
        .parts();
    let kind = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.5".to_owned();
    assert_eq!(stored, [(kind, Bytes::from(padded(rle([0, 85, 170, 255]))))]);
    let rle_type = "multipart/related; type=\"image/dicom-rle\"";
    let stored = server
        .fetch(&format!("{INSTANCE}/1.2.2/frames/1"), rle_type)
        .await
        .parts();
    assert_eq!(
        stored[0].0,
        "image/dicom-rle; transfer-syntax=1.2.840.10008.1.2.5"
    );
    let stored = server
        .fetch(&format!("{INSTANCE}/1.2.1/frames/1"), unquoted)
        .await
        .parts();
    assert_eq!(
        stored,
        [(native.to_owned(), one.clone())],
        "native frames have one form"
    );
    let alone = server
        .fetch(&format!("{INSTANCE}/1.2.1/frames/1"), "application/octet-stream")
        .await;
    assert_eq!(alone.body, one);
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes
}

fn size_of(picture: &[u8]) -> (u32, u32) {
    let picture = image::load_from_memory(picture).unwrap();
    (picture.width(), picture.height())
}

#[tokio::test]
async fn pictures_are_rendered_at_every_level() {
    let Files { server, .. } = files().await;
    let frame = format!("{INSTANCE}/1.2.2/frames/2/rendered");
    let png = server
        .fetch(&format!("{frame}?window=127.5,255,linear-exact"), "image/png")
        .await;
    assert_eq!(png.header("content-type"), "image/png");
    assert_eq!(
        image::load_from_memory(&png.body).unwrap().into_bytes(),
        [255, 170, 85, 0]
    );
    for (path, accept, kind) in [
        (format!("{frame}?viewport=8,8"), "", "image/jpeg"),
        (
            format!("{frame}?viewport=8,8&accept=image/png"),
            "image/jpeg",
            "image/png",
        ),
        (format!("{frame}?viewport=8,8"), "image/*", "image/jpeg"),
    ] {
        let answer = server.fetch(&path, accept).await;
        assert_eq!(
            (answer.header("content-type"), size_of(&answer.body)),
            (kind, (8, 8)),
            "{path}"
        );
    }
    for (path, count) in [
        (format!("{INSTANCE}/1.2.1/rendered"), 2),
        ("/dicom-web/studies/1.2/series/1.2.3/rendered".to_owned(), 4),
        ("/dicom-web/studies/1.2/rendered".to_owned(), 4),
    ] {
        let parts = server
            .fetch(&path, "multipart/related; type=image/png")
            .await
            .parts();
        assert_eq!(parts.len(), count, "{path}");
        assert!(
            parts
                .iter()
                .all(|(kind, picture)| kind == "image/png" && size_of(picture) == (2, 2))
        );
    }
    for place in [
        "",
        "/series/1.2.3",
        "/series/1.2.3/instances/1.2.2",
        "/series/1.2.3/instances/1.2.2/frames/2",
    ] {
        let answer = server
            .fetch(&format!("/dicom-web/studies/1.2{place}/thumbnail"), "")
            .await;
        assert_eq!(
            (answer.header("content-type"), size_of(&answer.body)),
            ("image/jpeg", (128, 128)),
            "{place}"
        );
    }
    let annotated = server.fetch(&format!("{frame}?annotation=patient"), "").await;
    assert!(annotated.header("warning").contains("annotation"));
}

/// Number of Frames is believed as far as the pixels reach: what is said to have thousands of millions costs no memory and no time.
#[tokio::test]
async fn frames_that_the_pixels_cannot_hold_are_refused() {
    let server = TestServer::new().await;
    let many = &frames("4294967295");
    let frame = rle([0, 85, 170, 255]);
    for (study, uid, pixels, syntax) in [
        (
            "1.2",
            "1.2.1",
            native(&[0, 1, 2, 3]),
            uids::EXPLICIT_VR_LITTLE_ENDIAN,
        ),
        ("1.4", "1.4.1", fragments(&[&frame]), uids::RLE_LOSSLESS),
    ] {
        server.store(image(study, uid, many, pixels, syntax)).await;
        let (study, instance) = (
            format!("/dicom-web/studies/{study}"),
            format!("/dicom-web/studies/{study}/series/1.2.3/instances/{uid}"),
        );
        for path in [
            format!("{instance}/rendered"),
            format!("{instance}/frames/2"),
            format!("{instance}/frames/4294967295/rendered"),
        ] {
            let answer = server.fetch(&path, "").await;
            assert_eq!(answer.refusal(), (406, "truncated".to_owned()), "{path}");
        }
        let whole = server.fetch(&format!("{study}/rendered"), "").await;
        assert_eq!(whole.refusal(), (406, "no-pixel-data".to_owned()));
    }
    let pixels = server
        .fetch(
            "/dicom-web/studies/1.4/series/1.2.3/instances/1.4.1/bulkdata/7FE00010",
            "",
        )
        .await;
    assert_eq!(pixels.refusal(), (406, "truncated".to_owned()));
}

/// What is made of a file takes room of its own, and what is in the file does not.
#[tokio::test]
async fn what_is_decoded_waits_for_room() {
    let Files { server, .. } = files().await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decode/deflated-8u.dcm");
    let deflated = Bytes::from(std::fs::read(path).unwrap());
    let Instance {
        study, series, uid, ..
    } = Instance::parse(deflated.clone()).unwrap();
    server.store(deflated).await;
    let mut rooms = Vec::new();
    while let Ok(room) = server.decoded.room(Some(1), Priority::Routine).await {
        rooms.push(room);
    }
    let waiting = [
        format!("{INSTANCE}/1.2.2/frames/1"),
        format!("{INSTANCE}/1.2.2/bulkdata/7FE00010"),
        format!("{INSTANCE}/1.2.2"),
        format!("/dicom-web/studies/{study}/series/{series}/instances/{uid}/frames/1"),
    ];
    for path in &waiting {
        let answer = server.fetch(path, "").await;
        assert_eq!(answer.refusal(), (503, "overloaded".to_owned()), "{path}");
    }
    for path in [format!("{INSTANCE}/1.2.1/frames/1"), format!("{INSTANCE}/1.2.1")] {
        let answer = server.fetch(&path, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
    drop(rooms);
    for path in &waiting {
        let answer = server.fetch(path, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
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

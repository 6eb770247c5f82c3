//! Metadata, frames and pictures of what is stored.

use serde_json::json;

use super::*;

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

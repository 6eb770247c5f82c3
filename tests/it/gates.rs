//! What must not be scored is refused with a code and the numbers, can be scored for research, and the answer says so.

use std::path::Path;

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileDicomObject, InMemDicomObject};
use osteon::config::Given;
use osteon::finding::{ImageSize, QualityLimits};
use osteon::image::phantom::{Recipe, to_dicom};
use osteon::model::ModelManifest;
use reqwest::StatusCode;
use serde_json::Value;

use crate::server::{TestServer, bytes, phantom, sample, with, without};
use crate::tiny::Tiny;

const PATH: &str = "/v1/models/tiny/score";

/// A server with models that prove themselves.
pub(crate) async fn serve(models: &Path) -> TestServer {
    let server = TestServer::with(models.to_owned(), Given::default()).await;
    let (status, ready) = server.get("/health/ready").await;
    assert_eq!(status, StatusCode::OK, "{ready}");
    server
}

/// A server with the tiny model after `change`.
async fn tiny(change: impl FnOnce(&mut ModelManifest)) -> (tempfile::TempDir, TestServer) {
    let models = tempfile::tempdir().unwrap();
    Tiny::new("tiny", 1).publish_with(models.path(), |manifest, _| change(manifest));
    let server = serve(models.path()).await;
    (models, server)
}

pub(crate) async fn score(server: &TestServer, query: &str, body: Vec<u8>) -> (StatusCode, Value) {
    server
        .post(&format!("{PATH}{query}"), "application/dicom", body)
        .await
}

/// Refused under `code`, with every `said` in its sentence; scored where `gate` is set aside, and only that.
pub(crate) async fn refused(
    server: &TestServer,
    body: Vec<u8>,
    code: &str,
    said: &[&str],
    gate: &str,
) -> Value {
    let (status, answer) = score(server, "", body.clone()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{code}: {answer}");
    assert_eq!(
        (&answer["outcome"], &answer["reason"]["code"]),
        (&"refused".into(), &code.into()),
        "{answer}"
    );
    assert!(answer["findings"].as_array().unwrap().is_empty());
    let message = answer["reason"]["message"].as_str().unwrap();
    assert!(said.iter().all(|said| message.contains(said)), "{message}");
    let others: Vec<&str> = ["intended-use", "quality", "distribution"]
        .into_iter()
        .filter(|other| *other != gate)
        .collect();
    let (status, _) = score(server, &format!("?override={}", others.join(",")), body.clone()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "another gate is no key");
    let (status, answer) = score(server, &format!("?override={gate}"), body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["findings"].as_array().unwrap().len(), 1);
    answer
}

/// 160 by 120 pixels of 12 bits, shown as they are.
pub(crate) fn picture(value: impl Fn(usize, usize) -> u16) -> FileDicomObject<InMemDicomObject> {
    let mut object = phantom(1);
    let pixels = (0..160 * 120)
        .map(|place| value(place / 120, place % 120))
        .collect();
    let mut put = |tag, vr, value: PrimitiveValue| object.put(DataElement::new(tag, vr, value));
    put(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels));
    put(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2".into());
    put(tags::PRESENTATION_LUT_SHAPE, VR::CS, "IDENTITY".into());
    put(tags::WINDOW_CENTER, VR::DS, "2048".into());
    put(tags::WINDOW_WIDTH, VR::DS, "4096".into());
    object
}

/// Grey values that differ everywhere, from 1000 to 3000.
fn texture(row: usize, column: usize) -> u16 {
    1000 + ((row * 12 + column * 9 + row * column % 7) % 2000) as u16
}

#[tokio::test(flavor = "multi_thread")]
async fn laterality_and_image_size_are_part_of_the_intended_use() {
    let (_models, server) = tiny(|manifest| {
        manifest.intended_use.laterality = vec!["L".into()];
        manifest.intended_use.image_size = Some(ImageSize {
            rows: [160, 160],
            columns: [120, 200],
        });
    })
    .await;
    let left = |seed| {
        let mut object = phantom(seed);
        object.put(DataElement::new(
            tags::IMAGE_LATERALITY,
            VR::CS,
            PrimitiveValue::from("L"),
        ));
        object
    };
    let (status, answer) = score(&server, "", bytes(&left(1))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["intended_use"]["status"], "met");
    let gate = "intended-use";
    refused(
        &server,
        without(&phantom(1), tags::IMAGE_LATERALITY),
        "laterality-unknown",
        &["for L"],
        gate,
    )
    .await;
    let right = with(&left(1), tags::IMAGE_LATERALITY, VR::CS, "R");
    let answer = refused(&server, right, "laterality", &["Laterality is R", "for L"], gate).await;
    assert_eq!(answer["intended_use"]["violations"][0]["code"], "laterality");
    let mut small = to_dicom(&Recipe::new(3, 158, 120).render(), 9, 3, 0).unwrap();
    small.put(DataElement::new(
        tags::IMAGE_LATERALITY,
        VR::CS,
        PrimitiveValue::from("L"),
    ));
    refused(
        &server,
        bytes(&small),
        "image-size",
        &["158 rows", "160 to 160"],
        gate,
    )
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_good_enough_is_refused_with_the_numbers() {
    let (_models, server) = tiny(|manifest| manifest.quality = Some(QualityLimits::default())).await;
    let (status, answer) = score(&server, "", bytes(&phantom(1))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["quality"]["status"], "met");
    for share in ["saturated", "contrast", "field"] {
        assert!(
            (0.0..=1.0).contains(&answer["quality"][share].as_f64().unwrap()),
            "{answer}"
        );
    }

    let saturated = picture(|row, column| if row < 112 { 4095 } else { texture(row, column) });
    let cropped = picture(|row, column| {
        let inside = (70..90).contains(&row) && (50..70).contains(&column);
        if inside {
            texture(row * 20, column * 20)
        } else {
            40 + (column % 2) as u16
        }
    });
    // black but for a twentieth of it: what is there is not enough to be a picture
    let empty = picture(|row, column| {
        if row % 20 == 0 {
            texture(row, column)
        } else {
            1000 + (column % 3) as u16
        }
    });
    let cases = [
        (
            saturated,
            "image-saturated",
            ["% of the pixels", "at most 50.0 %"],
        ),
        (cropped, "image-cropped", ["%", "at least 10.0 %"]),
        (empty, "image-empty", ["%", "at least 10.0 %"]),
    ];
    for (object, code, said) in cases {
        // a picture may be wrong in more than one way; the first is its code
        let (_, answer) = score(&server, "", bytes(&object)).await;
        let all = answer["quality"]["violations"].as_array().unwrap();
        assert!(
            all.iter().any(|violation| violation["code"] == code),
            "{code}: {answer}"
        );
        assert_eq!(answer["quality"]["status"], "refused");
        let first = all[0]["code"].as_str().unwrap();
        let said = if first == code { &said[..] } else { &[] };
        let answer = refused(&server, bytes(&object), first, said, "quality").await;
        assert_eq!(answer["quality"]["status"], "overridden");
        assert_eq!(&answer["quality"]["violations"], &Value::from(all.clone()));
    }
    server.stop().await;
}

/// A picture has no header, so its intended use is not checked; its pixels are.
#[tokio::test(flavor = "multi_thread")]
async fn a_picture_without_a_header_has_to_be_good_enough_too() {
    let (_models, server) = tiny(|manifest| manifest.quality = Some(QualityLimits::default())).await;
    let png = |values: Vec<u8>| {
        let mut png = std::io::Cursor::new(Vec::new());
        let (grey, format) = (image::ExtendedColorType::L8, image::ImageFormat::Png);
        image::write_buffer_with_format(&mut png, &values, 120, 160, grey, format).unwrap();
        png.into_inner()
    };
    let good: Vec<u8> = (0..160 * 120)
        .map(|place| (texture(place / 120, place % 120) >> 4) as u8)
        .collect();
    let saturated = good
        .iter()
        .enumerate()
        .map(|(place, value)| if place % 3 == 0 { *value } else { 255 });
    let (status, answer) = server.post(PATH, "image/png", png(good.clone())).await;
    assert_eq!(
        (status, &answer["quality"]["status"]),
        (StatusCode::OK, &"met".into()),
        "{answer}"
    );
    let (status, answer) = server.post(PATH, "image/png", png(saturated.collect())).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    assert_eq!(answer["reason"]["code"], "image-saturated");
    assert_eq!(answer["intended_use"]["status"], "not-checked");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constant_image_is_refused_whatever_the_manifest_and_the_caller_say() {
    for quality in [None, Some(QualityLimits::default())] {
        let (_models, server) = tiny(|manifest| manifest.quality = quality).await;
        for query in ["", "?override=intended-use,quality,distribution"] {
            let (status, answer) = score(&server, query, bytes(&picture(|_, _| 700))).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
            assert_eq!(answer["reason"]["code"], "image-constant");
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_blocks_nothing_changes() {
    let (_models, server) = tiny(|_| {}).await;
    let saturated = picture(|row, column| if row < 150 { 4095 } else { texture(row, column) });
    for body in [bytes(&phantom(1)), bytes(&saturated)] {
        let (status, answer) = score(&server, "", body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert!(answer.get("quality").is_none() && answer.get("distribution").is_none());
    }
    let (status, answer) = score(&server, "?override=everything", bytes(&phantom(1))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        answer["reason"]["message"]
            .as_str()
            .unwrap()
            .contains("intended-use, quality, distribution")
    );
    server.stop().await;
    let server = TestServer::start().await;
    let (status, answer) = server.score(sample()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    server.stop().await;
}

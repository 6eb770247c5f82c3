//! Whatever is sent, the answer is a 4xx with a reason, and the server goes on.

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use osteon::config::Given;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reqwest::StatusCode;

use crate::server::{MODEL, TestServer, bundled_models, bytes, phantom, sample, with, without};

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_has_its_reason() {
    let server = TestServer::start().await;
    let object = phantom(11);
    let good = bytes(&object);
    let constant = with(
        &object,
        tags::PIXEL_DATA,
        VR::OW,
        PrimitiveValue::U16(vec![700_u16; 160 * 120].into()),
    );
    let colour = {
        let mut changed = object.clone();
        changed.put(DataElement::new(
            tags::SAMPLES_PER_PIXEL,
            VR::US,
            PrimitiveValue::from(3_u16),
        ));
        changed.put(DataElement::new(
            tags::PHOTOMETRIC_INTERPRETATION,
            VR::CS,
            PrimitiveValue::from("RGB"),
        ));
        bytes(&changed)
    };
    let unknown_syntax = {
        let mut bytes = good.clone();
        let at = bytes
            .windows(19)
            .position(|window| window == b"1.2.840.10008.1.2.1")
            .unwrap();
        bytes[at..at + 19].copy_from_slice(b"1.2.840.99999.9.9.9");
        bytes
    };
    let cases: [(&str, Vec<u8>, StatusCode, &str); 11] = [
        ("empty body", vec![], StatusCode::BAD_REQUEST, "empty"),
        (
            "not DICOM",
            b"hello, this is a letter".to_vec(),
            StatusCode::BAD_REQUEST,
            "not-dicom",
        ),
        (
            "truncated",
            good[..good.len() / 2].to_vec(),
            StatusCode::BAD_REQUEST,
            "damaged",
        ),
        (
            "no pixel data",
            without(&object, tags::PIXEL_DATA),
            StatusCode::UNPROCESSABLE_ENTITY,
            "no-pixel-data",
        ),
        (
            "zero rows",
            with(&object, tags::ROWS, VR::US, 0_u16),
            StatusCode::UNPROCESSABLE_ENTITY,
            "image-size",
        ),
        (
            "unknown transfer syntax",
            unknown_syntax,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "transfer-syntax",
        ),
        (
            "a CT",
            with(&object, tags::MODALITY, VR::CS, "CT"),
            StatusCode::UNPROCESSABLE_ENTITY,
            "modality",
        ),
        (
            "a colour image",
            colour,
            StatusCode::UNPROCESSABLE_ENTITY,
            "colour-image",
        ),
        (
            "not a number",
            with(&object, tags::RESCALE_SLOPE, VR::DS, "NaN"),
            StatusCode::UNPROCESSABLE_ENTITY,
            "grey-scale",
        ),
        (
            "a constant image",
            constant,
            StatusCode::UNPROCESSABLE_ENTITY,
            "image-constant",
        ),
        (
            "no study UID",
            without(&object, tags::STUDY_INSTANCE_UID),
            StatusCode::BAD_REQUEST,
            "identity",
        ),
    ];
    for (what, body, status, code) in cases {
        let (found, answer) = server.score(body).await;
        assert_eq!(found, status, "{what}: {answer}");
        assert_eq!(answer["outcome"], "refused", "{what}");
        assert_eq!(answer["reason"]["code"], code, "{what}: {answer}");
        assert!(
            !answer["reason"]["message"].as_str().unwrap().contains("PHANTOM"),
            "{what} quotes the header"
        );
    }
    let (status, answer) = server
        .post("/v1/models/other/score", "application/dicom", good.clone())
        .await;
    assert_eq!(
        (status, &answer["reason"]["code"]),
        (StatusCode::NOT_FOUND, &"unknown-model".into())
    );
    let (status, answer) = server
        .post(&format!("/v1/models/{MODEL}/score"), "text/csv", good.clone())
        .await;
    assert_eq!(
        (status, &answer["reason"]["code"]),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, &"media-type".into())
    );
    let (status, answer) = server
        .post(
            &format!("/v1/models/{MODEL}/score?override=all"),
            "application/dicom",
            good,
        )
        .await;
    assert_eq!(
        (status, &answer["reason"]["code"]),
        (StatusCode::BAD_REQUEST, &"query".into())
    );
    let (status, answer) = server.get("/nowhere").await;
    assert_eq!(
        (status, &answer["reason"]["code"]),
        (StatusCode::NOT_FOUND, &"unknown-route".into())
    );
    // nothing was lost: the server still scores
    assert_eq!(server.score(sample()).await.0, StatusCode::OK);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused() {
    let server = TestServer::with(
        bundled_models(),
        Given {
            body_limit_mib: Some(1),
            ..Given::default()
        },
    )
    .await;
    let (status, answer) = server.score(vec![0; 2 << 20]).await;
    assert_eq!(
        (status, &answer["reason"]["code"]),
        (StatusCode::PAYLOAD_TOO_LARGE, &"too-large".into())
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_mutants_end_in_a_score_or_a_reason() {
    let server = TestServer::start().await;
    let good = bytes(&phantom(13));
    // the header is where a change hurts most
    let header = good.len() - 160 * 120 * 2;
    let mut random = ChaCha8Rng::seed_from_u64(2);
    for round in 0..200 {
        let mut mutant = good.clone();
        for _ in 0..1 + random.next_u32() % 4 {
            let reach = if random.next_u32() % 4 == 0 {
                mutant.len()
            } else {
                header
            };
            let at = random.next_u64() as usize % reach;
            match random.next_u32() % 4 {
                0 => mutant[at] = random.next_u32() as u8,
                1 => mutant[at] ^= 1 << (random.next_u32() % 8),
                2 => {
                    mutant.remove(at);
                }
                _ => mutant.insert(at, random.next_u32() as u8),
            }
        }
        let (status, answer) = server.score(mutant).await;
        assert!(
            status.is_success() || status.is_client_error(),
            "mutant {round}: {status} {answer}"
        );
        assert!(
            ["scored", "refused"].contains(&answer["outcome"].as_str().unwrap()),
            "mutant {round}: {answer}"
        );
    }
    assert_eq!(server.score(sample()).await.0, StatusCode::OK);
    server.stop().await;
}

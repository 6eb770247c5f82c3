//! A radiograph in, a score out: by DICOM body, by form and as a picture; and the heat map.

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use reqwest::StatusCode;
use reqwest::multipart::{Form, Part};
use serde_json::Value;

use crate::server::{MODEL, TestServer, bytes, phantom, sample, with};

fn probabilities(answer: &Value) -> Vec<f64> {
    answer["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["probability"].as_f64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_is_scored_with_everything_that_was_promised() {
    let server = TestServer::start().await;
    let (status, answer) = server.score(sample()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["outcome"], "scored");
    assert!(answer.get("reason").is_none());
    assert!(answer["sop_instance_uid"].as_str().unwrap().starts_with("2.25."));
    assert_eq!(answer["model"]["name"], MODEL);
    assert_eq!(answer["model"]["version"], 1);
    assert_eq!(answer["model"]["digest"].as_str().unwrap().len(), 64);
    assert_eq!(answer["model"]["provider"], "CPU");
    assert_eq!(answer["device"], "cpu");
    assert_eq!(answer["intended_use"]["status"], "met");
    let labels: Vec<&str> = answer["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["label"].as_str().unwrap())
        .collect();
    assert_eq!(labels, ["osteoporosis", "fracture"]);
    for finding in answer["findings"].as_array().unwrap() {
        assert_eq!(finding["code"]["scheme"], "SCT");
        let (probability, threshold) = (
            finding["probability"].as_f64().unwrap(),
            finding["threshold"].as_f64().unwrap(),
        );
        assert!((0.0..=1.0).contains(&probability));
        assert_eq!(finding["positive"].as_bool().unwrap(), probability >= threshold);
    }
    let timings = &answer["timings_ms"];
    for stage in ["parse", "decode", "preprocess", "queue", "infer", "total"] {
        assert!(timings[stage].as_f64().unwrap() >= 0.0, "{stage}");
    }
    assert!(timings["infer"].as_f64().unwrap() > 0.0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_and_a_bare_body_score_alike() {
    let server = TestServer::start().await;
    let (_, bare) = server.score(sample()).await;
    let form = Form::new()
        .text("comment", "first")
        .part("file", Part::bytes(sample()).file_name("image.dcm"));
    let url = format!("{}/v1/models/{MODEL}/score", server.url);
    let answer: Value = server
        .client
        .post(url)
        .multipart(form)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(probabilities(&answer), probabilities(&bare));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_scored_and_says_that_nothing_was_checked() {
    let server = TestServer::start().await;
    let phantom = osteon::image::phantom::phantom(5, 160, 120);
    let mut png = std::io::Cursor::new(Vec::new());
    let grey: Vec<u8> = phantom.pixels.iter().map(|value| (value >> 4) as u8).collect();
    image::write_buffer_with_format(
        &mut png,
        &grey,
        120,
        160,
        image::ExtendedColorType::L8,
        image::ImageFormat::Png,
    )
    .unwrap();
    let (status, answer) = server
        .post(
            &format!("/v1/models/{MODEL}/score"),
            "image/png",
            png.into_inner(),
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["intended_use"]["status"], "not-checked");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_the_intended_use_is_refused_unless_overridden() {
    let server = TestServer::start().await;
    let mut object = phantom(7);
    // the view is also coded; without its code the text alone decides
    object.remove_element(tags::VIEW_CODE_SEQUENCE);
    let cases = [
        (with(&object, tags::MODALITY, VR::CS, "CT"), "modality"),
        (with(&object, tags::VIEW_POSITION, VR::CS, "AP"), "view"),
        (with(&object, tags::PATIENT_AGE, VR::AS, "012Y"), "age"),
    ];
    for (body, code) in cases {
        let (status, answer) = server.score(body.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{code}: {answer}");
        assert_eq!(answer["outcome"], "refused");
        assert_eq!(answer["reason"]["code"], code);
        assert!(answer["findings"].as_array().unwrap().is_empty());
        let path = format!("/v1/models/{MODEL}/score?override=intended-use");
        let (status, answer) = server.post(&path, "application/dicom", body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(answer["intended_use"]["status"], "overridden");
        assert_eq!(answer["intended_use"]["violations"][0]["code"], code);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_heat_map_is_a_picture_and_the_metrics_count() {
    let server = TestServer::start().await;
    let url = format!("{}/v1/models/{MODEL}/heatmap?finding=fracture", server.url);
    let response = server
        .client
        .post(url)
        .header("content-type", "application/dicom")
        .body(sample())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "image/png");
    let picture = image::load_from_memory(&response.bytes().await.unwrap())
        .unwrap()
        .into_rgb8();
    let coloured = picture
        .pixels()
        .filter(|pixel| pixel.0[0] != pixel.0[1] || pixel.0[1] != pixel.0[2])
        .count();
    assert!(coloured > 100, "{coloured} pixels have a colour");

    let (status, answer) = server
        .post(
            &format!("/v1/models/{MODEL}/heatmap?finding=mood"),
            "application/dicom",
            sample(),
        )
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(
        answer["reason"]["message"]
            .as_str()
            .unwrap()
            .contains("osteoporosis, fracture")
    );

    server.score(sample()).await;
    // neither is an image of a model: the first is for nobody, the other has no image in it
    for (model, media_type) in [("nobody", "application/dicom"), (MODEL, "text/plain")] {
        let path = format!("/v1/models/{model}/score");
        assert!(server.post(&path, media_type, sample()).await.0.is_client_error());
    }
    let metrics = server
        .client
        .get(format!("{}/metrics", server.url))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains(&format!(
            r#"osteon_images_total{{model="{MODEL}",outcome="scored",reason="",site="other"}} 1"#
        )),
        "{metrics}"
    );
    let mut images = metrics
        .lines()
        .filter(|line| line.starts_with("osteon_images_total{"));
    assert!(
        images.all(|line| line.contains(&format!(r#"model="{MODEL}""#))),
        "{metrics}"
    );
    for status in [404, 415] {
        let requests = format!(
            r#"osteon_http_requests_total{{method="POST",route="/v1/models/{{model}}/score",status="{status}"}} 1"#
        );
        assert!(metrics.contains(&requests), "{metrics}");
    }
    assert!(metrics.contains("osteon_stage_seconds_bucket"));
    let page = server.client.get(&server.url).send().await.unwrap();
    assert!(
        page.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .contains("default-src 'none'")
    );
    assert!(page.text().await.unwrap().contains("Score a radiograph"));
    server.stop().await;
}

/// The same picture as MONOCHROME1 and as MONOCHROME2: stored values, window and polarity all turned round.
#[tokio::test(flavor = "multi_thread")]
async fn a_polarity_pair_scores_equal() {
    let server = TestServer::start().await;
    for seed in [21, 22, 23] {
        let one = phantom(seed);
        let text = |tag| one.element(tag).unwrap().to_str().unwrap().trim().to_owned();
        let pixels = one
            .element(tags::PIXEL_DATA)
            .unwrap()
            .to_multi_int::<u16>()
            .unwrap();
        let center: f64 = text(tags::WINDOW_CENTER).parse().unwrap();
        let other = if text(tags::PHOTOMETRIC_INTERPRETATION) == "MONOCHROME1" {
            ("MONOCHROME2", "IDENTITY")
        } else {
            ("MONOCHROME1", "INVERSE")
        };
        let mut turned = one.clone();
        let mut put = |tag, vr, value: PrimitiveValue| turned.put(DataElement::new(tag, vr, value));
        put(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, other.0.into());
        put(tags::PRESENTATION_LUT_SHAPE, VR::CS, other.1.into());
        // LINEAR is centred on the center less one half
        put(tags::WINDOW_CENTER, VR::DS, (4096.0 - center).to_string().into());
        put(
            tags::PIXEL_DATA,
            VR::OW,
            PrimitiveValue::U16(pixels.iter().map(|pixel| 4095 - pixel).collect()),
        );
        let (_, a) = server.score(bytes(&one)).await;
        let (_, b) = server.score(bytes(&turned)).await;
        assert_eq!(a["outcome"], "scored", "{a}");
        for (a, b) in probabilities(&a).iter().zip(probabilities(&b)) {
            assert!((a - b).abs() < 1e-6, "seed {seed}: {a} and {b}");
        }
    }
    server.stop().await;
}

//! A caller who is answered at the deadline leaves nothing behind that goes on: the core is there for the next one.

use std::time::{Duration, Instant};

use dicom_core::value::PixelFragmentSequence;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use osteon::config::Given;
use reqwest::StatusCode;

use crate::server::{TestServer, bytes, phantom};
use crate::tiny::Tiny;

/// An image as large as one may be, whose file is small and whose pixels take long: RLE, all in runs.
fn endless() -> Vec<u8> {
    const SIDE: u16 = 9999;
    let plane = [0x81, 7].repeat((usize::from(SIDE) * usize::from(SIDE)).div_ceil(128));
    let mut frame = Vec::new();
    for word in [2, 64, 64 + plane.len() as u32].into_iter().chain([0; 13]) {
        frame.extend(word.to_le_bytes());
    }
    frame.extend(&plane);
    frame.extend(&plane);
    let mut object = phantom(1);
    for tag in [tags::ROWS, tags::COLUMNS] {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(SIDE)));
    }
    let fragments = PixelFragmentSequence::new_fragments(vec![frame]);
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, fragments));
    object.meta_mut().transfer_syntax = uids::RLE_LOSSLESS.to_owned();
    bytes(&object)
}

#[tokio::test(flavor = "multi_thread")]
async fn decoding_ends_with_the_deadline_and_its_core_serves_the_next() {
    let models = tempfile::tempdir().unwrap();
    Tiny::new("m", 1).publish(models.path());
    let given = Given {
        cores: Some(1),
        ..Given::default()
    };
    let server = TestServer::with(models.path().to_owned(), given).await;
    let score = async |milliseconds: u32, body: Vec<u8>| {
        let path = format!("/v1/models/m/score?deadline_ms={milliseconds}");
        server.post(&path, "application/dicom", body).await
    };
    let asked = Instant::now();
    let (status, answer) = score(300, endless()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
    assert_eq!(answer["reason"]["code"], "deadline", "{answer}");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    // far less than the decoding of the first would have taken
    let (status, answer) = score(5000, bytes(&phantom(2))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    server.stop().await;
}

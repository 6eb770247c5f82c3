//! What an answer may take, in memory and in time, whatever a file says of itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::*;
use crate::http::dicomweb::Service;
use crate::inference::{DecodeMemory, Priority};
use crate::intake::Intake;

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

/// Whoever waits for room for what was inflated keeps none of it: it is inflated again when there is room.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_inflated_is_not_kept_while_it_waits_for_room() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decode/deflated-8u.dcm");
    let deflated = Bytes::from(std::fs::read(path).unwrap());
    let memory = DecodeMemory::new(1 << 30, 2).for_others();
    let decoded = Intake::new(1 << 20, Duration::from_mins(1));
    let service = Service {
        public_url: None,
        outgoing: decoded.clone(),
        decoded: decoded.clone(),
        decoders: Arc::new(Semaphore::new(1)),
        memory: memory.clone(),
    };
    let (at_once, mut rooms) = (decoded.within(Some(Duration::ZERO)), Vec::new());
    while let Ok(room) = at_once.room(Some(1), Priority::Routine).await {
        rooms.push(room);
    }
    let reading = tokio::spawn(async move { service.parse(deflated).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let soon = Instant::now() + Duration::from_secs(10);
    let all = tokio::task::spawn_blocking(move || memory.take(1 << 30, soon, || false));
    let all = all.await.unwrap().unwrap();
    drop(rooms);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!reading.is_finished());
    drop(all);
    let instance = reading.await.unwrap().unwrap();
    assert!(matches!(instance.pixels, Some(PixelData::Native(_))));
}

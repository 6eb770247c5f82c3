//! Delivery to peers that behave and to peers that do not: real servers on the loopback interface.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::fixture::archive::{Archive, Mode, Requests};
use super::fixture::{self, webhook::Webhook};
use super::{Delivered, Destination, Format, Kind, Listed, Parcel, ParcelObject, PeerError, Source, deliver};
use crate::dicom::{InstanceUid, SeriesUid, StudyUid};

fn destination(kind: Kind, url: String) -> Destination {
    fixture::destination("peer", kind, url)
}

fn archive_at(archive: &Archive) -> Destination {
    destination(Kind::Stow, archive.url())
}

/// A small object whose text looks like the end of a part.
fn object(uid: &str) -> ParcelObject {
    let class = uids::COMPREHENSIVE3_DSR_STORAGE;
    let element = |tag, value: &str| DataElement::new(tag, VR::UI, PrimitiveValue::from(value));
    let data_set = InMemDicomObject::from_element_iter([
        element(tags::SOP_CLASS_UID, class),
        element(tags::SOP_INSTANCE_UID, uid),
        element(tags::STUDY_INSTANCE_UID, "1.2"),
        element(tags::SERIES_INSTANCE_UID, "1.2.3"),
        DataElement::new(
            tags::TEXT_VALUE,
            VR::UT,
            PrimitiveValue::from("\r\n--2.25.\r\n\r\n--"),
        ),
    ]);
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(class)
        .media_storage_sop_instance_uid(uid)
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    let mut file = Vec::new();
    data_set.with_meta(meta).unwrap().write_all(&mut file).unwrap();
    ParcelObject {
        class: class.into(),
        series: SeriesUid::parse("1.2.3").unwrap(),
        uid: InstanceUid::parse(uid).unwrap(),
        file: file.into(),
    }
}

pub(super) fn parcel(uids: &[&str]) -> Parcel {
    Parcel {
        key: "0f".repeat(32),
        study: StudyUid::parse("1.2").unwrap(),
        body: Bytes::from_static(br#"{"outcome":"scored"}"#),
        objects: uids.iter().map(|uid| object(uid)).collect(),
    }
}

pub(super) fn delivered(sent: usize, already_there: usize) -> Delivered {
    Delivered { sent, already_there }
}

/// The error of an attempt that must fail, which shows nothing of the peer.
pub(super) async fn refused(destination: &Destination, parcel: &Parcel) -> PeerError {
    let error = deliver(destination, parcel).await.unwrap_err();
    for secret in ["127.0.0.1", "http", "1.2.3", "welcome", "elsewhere"] {
        assert!(!error.to_string().contains(secret), "{error}");
    }
    error
}

#[tokio::test]
async fn an_archive_gets_every_object_once_and_unchanged() {
    let archive = Archive::start(Mode::Accepting).await;
    let peer = archive_at(&archive);
    let parcel = parcel(&["1.2.3.1", "1.2.3.2"]);
    assert_eq!(deliver(&peer, &parcel).await.unwrap(), delivered(2, 0));
    assert_eq!(archive.file("1.2.3.1").unwrap(), parcel.objects[0].file);
    assert_eq!(archive.file("1.2.3.2").unwrap(), parcel.objects[1].file);
    // again, as after an answer that was lost
    assert_eq!(deliver(&peer, &parcel).await.unwrap(), delivered(0, 2));
    assert!(archive.copies().values().all(|copies| *copies == 1));
    let requests = Requests {
        searches: 6,
        metadata: 0,
        stores: 1,
        ..Requests::default()
    };
    assert_eq!(archive.requests(), requests);
}

#[tokio::test]
async fn what_is_there_in_part_is_completed() {
    let archive = Archive::start(Mode::Accepting).await;
    let peer = archive_at(&archive);
    deliver(&peer, &parcel(&["1.2.3.1"])).await.unwrap();
    let both = parcel(&["1.2.3.1", "1.2.3.2"]);
    assert_eq!(deliver(&peer, &both).await.unwrap(), delivered(1, 1));
    assert!(archive.copies().values().all(|copies| *copies == 1));
}

#[tokio::test]
async fn archives_search_in_their_own_ways() {
    for mode in [Mode::WithoutSearch, Mode::SilentSearch, Mode::FilterlessSearch] {
        let archive = Archive::start(Mode::Accepting).await;
        let peer = archive_at(&archive);
        // something else that is listed first
        deliver(&peer, &parcel(&["1.2.3.0"])).await.unwrap();
        archive.set(mode.clone());
        let parcel = parcel(&["1.2.3.1"]);
        assert_eq!(
            deliver(&peer, &parcel).await.unwrap(),
            delivered(1, 0),
            "{mode:?}"
        );
        assert_eq!(
            deliver(&peer, &parcel).await.unwrap(),
            delivered(0, 1),
            "{mode:?}"
        );
    }
}

#[tokio::test]
async fn an_archive_that_is_down_or_slow_gets_another_attempt() {
    let archive = Archive::start(Mode::Slow(Duration::from_secs(30))).await;
    let mut peer = archive_at(&archive);
    peer.timeout_seconds = 1;
    let parcel = parcel(&["1.2.3.1"]);
    let start = Instant::now();
    let error = refused(&peer, &parcel).await;
    assert_eq!((error.code, error.retry), ("timeout", true));
    assert!(start.elapsed() < Duration::from_secs(5));
    let address = archive.address;
    drop(archive);
    let error = loop {
        // the port closes a moment later
        let error = refused(&peer, &parcel).await;
        if error.code != "timeout" {
            break error;
        }
    };
    assert_eq!((error.code, error.retry), ("unreachable", true));
    let archive = Archive::start_at(address, Mode::Accepting).await;
    assert_eq!(deliver(&peer, &parcel).await.unwrap(), delivered(1, 0));
    assert_eq!(archive.copies()["1.2.3.1"], 1);
}

#[tokio::test]
async fn an_archive_that_is_busy_says_when_to_come_back() {
    let archive = Archive::start(Mode::Unavailable).await;
    let peer = archive_at(&archive);
    let parcel = parcel(&["1.2.3.1"]);
    for mode in [Mode::Unavailable, Mode::StoresNothingNow] {
        archive.set(mode);
        let error = refused(&peer, &parcel).await;
        assert_eq!((error.code, error.retry), ("unavailable", true));
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
    }
    archive.set(Mode::Accepting);
    assert_eq!(deliver(&peer, &parcel).await.unwrap(), delivered(1, 0));
}

#[tokio::test]
async fn a_rejection_lasts_where_the_object_is_the_reason() {
    let archive = Archive::start(Mode::Accepting).await;
    let peer = archive_at(&archive);
    let parcel = parcel(&["1.2.3.1"]);
    for (mode, retry) in [
        (Mode::Rejecting(0xC000), false),
        (Mode::Rejecting(0x0122), false),
        (Mode::Rejecting(0xA700), true),
        (Mode::RejectingSilently, true),
    ] {
        archive.set(mode.clone());
        let error = refused(&peer, &parcel).await;
        assert_eq!((error.code, error.retry), ("rejected", retry), "{mode:?}");
    }
    archive.set(Mode::Unauthorised);
    let error = refused(&peer, &parcel).await;
    assert_eq!((error.code, error.retry), ("unauthorised", false));
    assert!(archive.copies().is_empty());
}

#[tokio::test]
async fn an_archive_that_says_stored_and_stores_nothing_is_found_out() {
    let archive = Archive::start(Mode::Lying).await;
    let peer = archive_at(&archive);
    let parcel = parcel(&["1.2.3.1"]);
    let error = refused(&peer, &parcel).await;
    assert_eq!((error.code, error.retry), ("not-verified", true));
    assert!(archive.copies().is_empty());
    // and one that says of an object that it has it already, and has it not
    archive.set(Mode::Rejecting(0x0111));
    assert_eq!(refused(&peer, &parcel).await.code, "not-verified");
    archive.set(Mode::Accepting);
    assert_eq!(deliver(&peer, &parcel).await.unwrap(), delivered(1, 0));
}

#[tokio::test]
async fn after_a_cut_connection_the_retry_finds_what_was_stored() {
    let archive = Archive::start(Mode::CutAfterStoring).await;
    let peer = archive_at(&archive);
    let parcel = parcel(&["1.2.3.1"]);
    let error = refused(&peer, &parcel).await;
    assert_eq!((error.code, error.retry), ("unreachable", true));
    assert_eq!(archive.copies()["1.2.3.1"], 1);
    archive.set(Mode::Accepting);
    assert_eq!(deliver(&peer, &parcel).await.unwrap(), delivered(0, 1));
    assert_eq!((archive.copies()["1.2.3.1"], archive.requests().stores), (1, 1));

    let archive = Archive::start(Mode::CutBeforeStoring).await;
    let peer = archive_at(&archive);
    assert!(refused(&peer, &parcel).await.retry);
    archive.set(Mode::Accepting);
    assert_eq!(deliver(&peer, &parcel).await.unwrap(), delivered(1, 0));
}

#[tokio::test]
async fn nonsense_is_no_delivery() {
    let archive = Archive::start(Mode::Babbling).await;
    let error = refused(&archive_at(&archive), &parcel(&["1.2.3.1"])).await;
    assert_eq!((error.code, error.retry), ("bad-answer", true));
}

#[tokio::test]
async fn requests_are_signed() {
    let archive = Archive::start(Mode::Accepting).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "open\n").unwrap();
    let mut peer = archive_at(&archive);
    peer.bearer_token_file = Some(file.clone());
    deliver(&peer, &parcel(&["1.2.3.1"])).await.unwrap();
    assert_eq!(archive.authorization().unwrap(), "Bearer open");
    let mut peer = archive_at(&archive);
    (peer.user, peer.password_file) = (Some("Aladdin".into()), Some(file.clone()));
    // RFC 7617 section 2
    std::fs::write(&file, "open sesame").unwrap();
    deliver(&peer, &parcel(&["1.2.3.2"])).await.unwrap();
    assert_eq!(
        archive.authorization().unwrap(),
        "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    );
}

/// A server that answers every request with 200, and how many connections it was sent.
async fn counting() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let (mut request, mut piece) = (Vec::new(), [0; 4096]);
                while let Ok(length @ 1..) = stream.read(&mut piece).await {
                    request.extend_from_slice(&piece[..length]);
                    if request.ends_with(&parcel(&[]).body) {
                        request.clear();
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                        stream.write_all(answer).await.unwrap();
                    }
                }
            });
        }
    });
    (url, connections)
}

#[tokio::test]
async fn connections_are_used_again() {
    let (url, connections) = counting().await;
    for _ in 0..5 {
        let peer = destination(Kind::Webhook, url.clone());
        deliver(&peer, &parcel(&[])).await.unwrap();
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

fn at(webhook: &Webhook) -> Destination {
    destination(Kind::Webhook, webhook.url())
}

#[tokio::test]
async fn a_webhook_is_told_that_it_gets_fhir() {
    let hook = Webhook::start(200, &[]).await;
    let peer = Destination {
        format: Some(Format::Fhir),
        ..at(&hook)
    };
    deliver(&peer, &parcel(&[])).await.unwrap();
    assert_eq!(hook.came()[0].0["content-type"], "application/fhir+json");
}

#[tokio::test]
async fn a_webhook_gets_the_result_with_its_key() {
    for status in [200, 201, 202, 204] {
        let hook = Webhook::start(status, &[]).await;
        let parcel = parcel(&[]);
        assert_eq!(deliver(&at(&hook), &parcel).await.unwrap(), delivered(1, 0));
        let came = hook.came();
        let (headers, body) = &came[0];
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["idempotency-key"], parcel.key.as_str());
        assert_eq!((came.len(), body), (1, &parcel.body));
    }
}

#[tokio::test]
async fn a_webhook_that_refuses_says_whether_for_good() {
    for (status, code, retry) in [
        (400, "rejected", false),
        (401, "unauthorised", false),
        (404, "rejected", false),
        (408, "unavailable", true),
        (409, "rejected", false),
        (425, "unavailable", true),
        (429, "unavailable", true),
        (500, "unavailable", true),
        (503, "unavailable", true),
    ] {
        let hook = Webhook::start(status, &[("retry-after", "100")]).await;
        let error = refused(&at(&hook), &parcel(&[])).await;
        assert_eq!((error.code, error.retry), (code, retry), "{status}");
        let wait = retry.then_some(Duration::from_secs(100));
        assert_eq!(error.retry_after, wait, "{status}");
        hook.set(204);
        let again = deliver(&at(&hook), &parcel(&[])).await;
        assert_eq!((again.unwrap(), hook.came().len()), (delivered(1, 0), 2));
    }
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let hook = Webhook::start(307, &[("location", "/elsewhere")]).await;
    let error = refused(&at(&hook), &parcel(&[])).await;
    assert_eq!((error.code, error.retry), ("bad-answer", true));
    assert_eq!(hook.came().len(), 1);
    // nor from an archive
    let elsewhere = Archive::start(Mode::Accepting).await;
    let url = format!("{}/instances", elsewhere.url());
    let archive = Archive::start(Mode::Redirecting(url)).await;
    let error = refused(&archive_at(&archive), &parcel(&["1.2.3.1"])).await;
    assert_eq!((error.code, error.retry), ("bad-answer", true));
    assert_eq!(elsewhere.requests(), Requests::default());
}

#[tokio::test]
async fn a_webhook_that_is_silent_or_gone_gets_another_attempt() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let mut peer = destination(Kind::Webhook, url);
    peer.timeout_seconds = 1;
    // connected, and never answered
    let error = refused(&peer, &parcel(&[])).await;
    assert_eq!((error.code, error.retry), ("timeout", true));
    drop(listener);
    let error = refused(&peer, &parcel(&[])).await;
    assert_eq!((error.code, error.retry), ("unreachable", true));
}

const LIMIT: usize = 10_000;

/// Lists and fetches the study 1.2 of the archive.
async fn fetched(peer: &Destination) -> Result<Vec<Bytes>, PeerError> {
    let source = Source::open(peer, LIMIT).await?;
    let study = StudyUid::parse("1.2").unwrap();
    let mut files = Vec::new();
    for one in source.list(&study).await? {
        files.push(source.fetch(&study, &one).await?);
    }
    Ok(files)
}

/// The error of a fetch that must fail, which shows nothing of the peer.
async fn not_fetched(peer: &Destination) -> PeerError {
    let error = fetched(peer).await.unwrap_err();
    for secret in ["127.0.0.1", "http", "1.2.3", "welcome", "elsewhere"] {
        assert!(!error.to_string().contains(secret), "{error}");
    }
    error
}

#[tokio::test]
async fn a_study_is_fetched_byte_for_byte_however_the_archive_lists_and_wraps_it() {
    let files: Vec<Bytes> = (1..=7)
        .map(|number| object(&format!("1.2.3.{number}")).file)
        .collect();
    for mode in [
        Mode::Accepting,
        Mode::ShortPages(3),
        Mode::OnePage(usize::MAX),
        Mode::SilentSearch,
        Mode::SinglePart,
    ] {
        let archive = Archive::start(mode.clone()).await;
        for file in &files {
            archive.hold(file.clone());
        }
        assert_eq!(fetched(&archive_at(&archive)).await.unwrap(), files, "{mode:?}");
        assert_eq!(archive.requests().retrievals, 7);
    }
}

#[tokio::test]
async fn a_study_that_is_not_there_stays_away() {
    for mode in [Mode::Accepting, Mode::SilentSearch] {
        let archive = Archive::start(mode).await;
        let error = not_fetched(&archive_at(&archive)).await;
        assert_eq!((error.code, error.retry), ("not-found", false));
    }
}

#[tokio::test]
async fn an_archive_that_misbehaves_gives_nothing_that_counts() {
    for (mode, code, retry) in [
        (Mode::Unavailable, "unavailable", true),
        (Mode::Unauthorised, "unauthorised", false),
        (Mode::Babbling, "bad-answer", true),
        (Mode::Forgetful, "not-found", false),
        (Mode::CutWhileSending, "unreachable", true),
    ] {
        let archive = Archive::start(mode.clone()).await;
        archive.hold(object("1.2.3.1").file);
        let error = not_fetched(&archive_at(&archive)).await;
        assert_eq!((error.code, error.retry), (code, retry), "{mode:?}");
    }
}

#[tokio::test]
async fn no_redirect_is_followed_while_fetching_and_time_is_bounded() {
    let elsewhere = Archive::start(Mode::Accepting).await;
    elsewhere.hold(object("1.2.3.1").file);
    let url = format!("{}/studies/1.2/instances", elsewhere.url());
    let archive = Archive::start(Mode::Redirecting(url)).await;
    let mut peer = archive_at(&archive);
    assert_eq!(not_fetched(&peer).await.code, "bad-answer");
    assert_eq!(elsewhere.requests(), Requests::default());
    archive.set(Mode::Slow(Duration::from_secs(30)));
    peer.timeout_seconds = 1;
    assert_eq!(not_fetched(&peer).await.code, "timeout");
}

#[tokio::test]
async fn an_instance_over_the_limit_is_not_taken_in_either_form() {
    for mode in [Mode::Accepting, Mode::SinglePart] {
        let archive = Archive::start(mode).await;
        archive.hold(object("1.2.3.1").file);
        let peer = archive_at(&archive);
        let study = StudyUid::parse("1.2").unwrap();
        let source = Source::open(&peer, 100).await.unwrap();
        let Listed { series, uid } = source.list(&study).await.unwrap().remove(0);
        assert_eq!((series.as_str(), uid.as_str()), ("1.2.3", "1.2.3.1"));
        let error = source.fetch(&study, &Listed { series, uid }).await.unwrap_err();
        assert_eq!((error.code, error.retry), ("too-large", false));
    }
}

//! The store's promises about what arrives: durable order, de-duplication, and a full disk.

use tempfile::TempDir;

use super::*;
use crate::dicom::{InstanceUid, SeriesUid, StudyUid};
use crate::fault::{Fault, FaultKind};

pub(super) async fn open() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    (folder, store)
}

pub(super) fn instance(study: &str, sop: &str, object: Sha) -> NewInstance {
    NewInstance {
        uid: InstanceUid::parse(sop).unwrap(),
        study: StudyUid::parse(study).unwrap(),
        series: SeriesUid::parse("1.2.3").unwrap(),
        class: "1.2.840.10008.5.1.4.1.1.1.1".to_owned(),
        transfer_syntax: "1.2.840.10008.1.2.1".to_owned(),
        object,
        bytes: 4,
        urgent: false,
    }
}

pub(super) fn uid() -> StudyUid {
    StudyUid::parse("1.2").unwrap()
}

pub(super) async fn send(store: &Store, sop: &str, content: &'static [u8]) -> Accepted {
    let object = store.put_object(Bytes::from_static(content)).await.unwrap();
    store.accept(&instance("1.2", sop, object)).await.unwrap()
}

fn objects_on_disk(folder: &Path) -> usize {
    let folders = std::fs::read_dir(folder.join("objects")).unwrap();
    folders
        .map(|entry| std::fs::read_dir(entry.unwrap().path()).unwrap().count())
        .sum()
}

#[test]
fn timestamps_are_rfc_3339() {
    // date -u -d @951827696 +%FT%TZ
    assert_eq!(Timestamp(951_827_696_007).to_string(), "2000-02-29T12:34:56.007Z");
    assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
    assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59.999Z");
    assert_eq!(
        Timestamp(4_107_542_400_000).to_string(),
        "2100-03-01T00:00:00.000Z"
    );
}

#[tokio::test]
async fn a_crash_between_object_and_row_leaves_an_orphan_and_no_study() {
    let (folder, store) = open().await;
    store.put_object(Bytes::from_static(b"DICM")).await.unwrap();
    drop(store);
    let store = Store::open(folder.path()).await.unwrap();
    assert!(store.studies(10).await.unwrap().is_empty());
    assert_eq!(
        send(&store, "1.2.9", b"DICM").await,
        Accepted::New,
        "sending it again finds the object there"
    );
    assert_eq!(objects_on_disk(folder.path()), 1);
}

#[tokio::test]
async fn what_was_accepted_is_there_after_reopening() {
    let (folder, store) = open().await;
    assert_eq!(send(&store, "1.2.9", b"DICM").await, Accepted::New);
    drop(store);
    let store = Store::open(folder.path()).await.unwrap();
    let study = store.study(&uid()).await.unwrap().unwrap();
    assert_eq!(
        (study.state, study.generation, study.instances),
        (StudyState::Received, 1, 1)
    );
    let rows = store.instances(&uid()).await.unwrap();
    assert_eq!(store.object(&rows[0].instance.object).await.unwrap(), "DICM");
}

#[tokio::test]
async fn the_same_bytes_change_nothing_and_other_bytes_replace() {
    let (_folder, store) = open().await;
    send(&store, "1.2.9", b"DICM").await;
    let before = store.study(&uid()).await.unwrap();
    assert_eq!(send(&store, "1.2.9", b"DICM").await, Accepted::Identical);
    assert_eq!(store.study(&uid()).await.unwrap(), before);
    assert_eq!(send(&store, "1.2.9", b"DICN").await, Accepted::Replaced);
    let after = store.study(&uid()).await.unwrap().unwrap();
    assert_eq!((after.generation, after.instances), (2, 1));
    assert_eq!(
        store.instances(&uid()).await.unwrap()[0].instance.object,
        Sha::of(b"DICN")
    );
}

#[tokio::test]
async fn fifty_equal_sends_at_once_are_one_change() {
    let (_folder, store) = open().await;
    let sends = (0..50).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { send(&store, "1.2.9", b"DICM").await })
    });
    let mut new = 0;
    for send in sends.collect::<Vec<_>>() {
        new += usize::from(send.await.unwrap() == Accepted::New);
    }
    assert_eq!(new, 1);
    assert_eq!(store.study(&uid()).await.unwrap().unwrap().generation, 1);
}

#[tokio::test]
async fn an_instance_that_moves_changes_both_studies() {
    let (_folder, store) = open().await;
    send(&store, "1.2.9", b"DICM").await;
    let object = store.put_object(Bytes::from_static(b"DICN")).await.unwrap();
    assert_eq!(
        store.accept(&instance("1.3", "1.2.9", object)).await.unwrap(),
        Accepted::Replaced
    );
    let left = store.study(&uid()).await.unwrap().unwrap();
    assert_eq!((left.generation, left.instances), (2, 0));
    let studies = store.studies(10).await.unwrap();
    assert_eq!(studies[0].study.as_str(), "1.3", "newest first");
}

/// SQLite's own way to a full disk. The limit is a connection's, so it is set on each of the pool.
async fn limit_pages(store: &Store, pragma: &'static str) {
    let mut connections = vec![];
    for _ in 0..database::CONNECTIONS {
        connections.push(store.database.read().acquire().await.unwrap());
    }
    for connection in &mut connections {
        sqlx::query(pragma).execute(&mut **connection).await.unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_is_said_so_loses_nothing_and_is_recovered_from() {
    let (_folder, store) = open().await;
    send(&store, "1.2.9", b"DICM").await;
    let mut full = None;
    limit_pages(&store, "PRAGMA max_page_count = 1").await;
    for number in 0..2_000 {
        let object = Sha::of(b"DICM");
        if let Err(error) = store
            .accept(&instance("1.2", &format!("1.2.9.{number}"), object))
            .await
        {
            full = Some((number, Fault::from(error)));
            break;
        }
    }
    let (stored, fault) = full.expect("the limit is reached");
    assert_eq!((fault.kind, fault.code), (FaultKind::NoSpace, "no-space"));
    assert!(store.study(&uid()).await.is_ok(), "reading goes on");
    limit_pages(&store, "PRAGMA max_page_count = 1000000").await;
    assert_eq!(send(&store, "1.2.10", b"DICM").await, Accepted::New);
    assert_eq!(store.study(&uid()).await.unwrap().unwrap().instances, stored + 2);
}

#[tokio::test]
async fn messages_hold_no_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = Store::open(&file.join("data")).await.unwrap_err();
    assert!(
        !error.to_string().contains(folder.path().to_str().unwrap()),
        "{error}"
    );
}

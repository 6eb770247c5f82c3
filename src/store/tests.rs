//! The store's promises: durable order, de-duplication, fencing, dead letters, and a full disk.

use std::time::Duration;

use sqlx::Row;
use tempfile::TempDir;

use super::*;
use crate::dicom::{InstanceUid, SeriesUid, StudyUid};
use crate::fault::{Fault, FaultKind};
use crate::finding::{InstanceResult, Outcome, Reason, StudyResult};

const LEASE: Duration = Duration::from_secs(60);
const EXPIRED: Duration = Duration::ZERO;

async fn open() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    (folder, store)
}

fn instance(study: &str, sop: &str, object: Sha) -> NewInstance {
    NewInstance {
        uid: InstanceUid::parse(sop).unwrap(),
        study: StudyUid::parse(study).unwrap(),
        series: SeriesUid::parse("1.2.3").unwrap(),
        class: "1.2.840.10008.5.1.4.1.1.1.1".to_owned(),
        transfer_syntax: "1.2.840.10008.1.2.1".to_owned(),
        object,
        bytes: 4,
    }
}

fn uid() -> StudyUid {
    StudyUid::parse("1.2").unwrap()
}

async fn send(store: &Store, sop: &str, content: &'static [u8]) -> Accepted {
    let object = store.put_object(Bytes::from_static(content)).await.unwrap();
    store.accept(&instance("1.2", sop, object)).await.unwrap()
}

/// A study of one instance whose job is queued.
async fn queued(store: &Store) -> i64 {
    send(store, "1.2.9", b"DICM").await;
    let waiting = store.waiting(10).await.unwrap();
    let generation = waiting.studies[0].generation;
    assert!(store.enqueue(&uid(), generation).await.unwrap());
    generation
}

fn result(outcome: Outcome, code: &str) -> StudyResult {
    let reason = Reason {
        code: code.to_owned(),
        message: "as the test says".to_owned(),
    };
    StudyResult {
        outcome,
        reason: Some(reason),
        findings: vec![],
        instances: Vec::<InstanceResult>::new(),
    }
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
    assert_eq!(Timestamp(4_107_542_400_000).to_string(), "2100-03-01T00:00:00.000Z");
}

#[tokio::test]
async fn objects_come_back_byte_for_byte_and_once() {
    let (folder, store) = open().await;
    let bytes = Bytes::from((0..=255_u8).cycle().take(100_000).collect::<Vec<_>>());
    let puts = (0..8).map(|_| {
        tokio::spawn({
            let (store, bytes) = (store.clone(), bytes.clone());
            async move { store.put_object(bytes).await }
        })
    });
    for put in puts.collect::<Vec<_>>() {
        assert_eq!(put.await.unwrap().unwrap(), Sha::of(&bytes));
    }
    assert_eq!(store.object(&Sha::of(&bytes)).await.unwrap(), bytes);
    assert_eq!(
        objects_on_disk(folder.path()),
        1,
        "one object, and no temporary file is left"
    );
}

#[tokio::test]
async fn a_damaged_or_lost_object_is_said_to_be_and_sending_it_again_mends_it() {
    let (folder, store) = open().await;
    let sha = store.put_object(Bytes::from_static(b"DICM")).await.unwrap();
    let (first, rest) = sha.as_str().split_at(2);
    let path = folder.path().join("objects").join(first).join(format!("{rest}.dcm"));
    std::fs::write(&path, b"DICN").unwrap();
    assert!(matches!(store.object(&sha).await, Err(StoreError::Damaged)));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(store.object(&sha).await, Err(StoreError::Damaged)));
    store.put_object(Bytes::from_static(b"DICM")).await.unwrap();
    assert_eq!(store.object(&sha).await.unwrap(), "DICM");
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

#[tokio::test]
async fn a_job_is_queued_once_claimed_once_and_settled_once() {
    let (_folder, store) = open().await;
    let generation = queued(&store).await;
    assert!(
        !store.enqueue(&uid(), generation).await.unwrap(),
        "one job for a study and generation"
    );
    assert!(store.waiting(10).await.unwrap().studies.is_empty());
    let job = store.claim_job(LEASE, 3).await.unwrap().unwrap();
    assert_eq!(job.attempt, 1);
    assert!(store.claim_job(LEASE, 3).await.unwrap().is_none());
    assert_eq!(store.study(&uid()).await.unwrap().unwrap().state, StudyState::Analysing);
    assert_eq!(
        store.complete(&job, &result(Outcome::Refused, "a")).await.unwrap(),
        Settled::Stored
    );
    assert_eq!(
        store.complete(&job, &result(Outcome::Failed, "b")).await.unwrap(),
        Settled::Stale
    );
    let study = store.study(&uid()).await.unwrap().unwrap();
    assert_eq!(
        (study.state, study.result.unwrap().reason.unwrap().code.as_str()),
        (StudyState::Refused, "a")
    );
    assert!(study.analysed_at >= Some(study.received_at));
}

#[tokio::test]
async fn a_late_write_is_fenced() {
    let (_folder, store) = open().await;
    queued(&store).await;
    let stalled = store.claim_job(EXPIRED, 3).await.unwrap().unwrap();
    let current = store.claim_job(LEASE, 3).await.unwrap().unwrap();
    assert_eq!((stalled.attempt, current.attempt), (1, 2));
    assert_eq!(
        store
            .complete(&stalled, &result(Outcome::Failed, "late"))
            .await
            .unwrap(),
        Settled::Stale
    );
    assert_eq!(store.renew(&stalled, LEASE).await.unwrap(), Settled::Stale);
    assert_eq!(store.release(&stalled, EXPIRED).await.unwrap(), Settled::Stale);
    assert_eq!(
        store.fail_attempt(&stalled, "late", LEASE).await.unwrap(),
        Settled::Stale
    );
    assert_eq!(
        store
            .complete(&current, &result(Outcome::Scored, "current"))
            .await
            .unwrap(),
        Settled::Stored
    );
    assert_eq!(
        store
            .study(&uid())
            .await
            .unwrap()
            .unwrap()
            .result
            .unwrap()
            .reason
            .unwrap()
            .code,
        "current"
    );
}

/// The negative control of [`a_late_write_is_fenced`]: without the token, both claims settle the job.
#[tokio::test]
async fn without_the_token_a_late_write_would_double() {
    let (_folder, store) = open().await;
    queued(&store).await;
    let mut completions = 0;
    for _claim in [
        store.claim_job(EXPIRED, 3).await.unwrap(),
        store.claim_job(EXPIRED, 3).await.unwrap(),
    ] {
        let unfenced = sqlx::query("UPDATE jobs SET settled_at = 1 WHERE study_uid = '1.2' AND generation = 1");
        completions += unfenced.execute(store.database.read()).await.unwrap().rows_affected();
    }
    assert_eq!(completions, 2);
}

#[tokio::test]
async fn a_late_image_supersedes_the_running_job_and_its_result() {
    let (_folder, store) = open().await;
    queued(&store).await;
    let job = store.claim_job(LEASE, 3).await.unwrap().unwrap();
    assert_eq!(send(&store, "1.2.10", b"LATE").await, Accepted::New);
    assert_eq!(
        store.complete(&job, &result(Outcome::Scored, "early")).await.unwrap(),
        Settled::Stale
    );
    let study = store.study(&uid()).await.unwrap().unwrap();
    assert_eq!(
        (study.state, study.generation, study.result),
        (StudyState::Received, 2, None)
    );
    assert!(store.enqueue(&uid(), 2).await.unwrap());
    assert!(!store.enqueue(&uid(), 1).await.unwrap());
    assert_eq!(store.claim_job(LEASE, 3).await.unwrap().unwrap().generation, 2);
}

#[tokio::test]
async fn spent_attempts_are_a_dead_job_and_a_failed_study() {
    let (_folder, store) = open().await;
    queued(&store).await;
    for attempt in 1..=3 {
        assert_eq!(store.claim_job(EXPIRED, 3).await.unwrap().unwrap().attempt, attempt);
    }
    assert!(store.claim_job(EXPIRED, 3).await.unwrap().is_none());
    let study = store.study(&uid()).await.unwrap().unwrap();
    let reason = study.result.unwrap().reason.unwrap();
    assert_eq!(
        (study.state, reason.code.as_str()),
        (StudyState::Failed, "analysis-failed")
    );
    assert!(reason.message.contains("3 attempts"), "{}", reason.message);
    let job = sqlx::query("SELECT state, attempts FROM jobs")
        .fetch_one(store.database.read())
        .await
        .unwrap();
    assert_eq!((job.get::<&str, _>(0), job.get::<i64, _>(1)), ("dead", 3));
}

#[tokio::test]
async fn a_failed_attempt_counts_and_a_released_one_does_not() {
    let (_folder, store) = open().await;
    queued(&store).await;
    let job = store.claim_job(LEASE, 3).await.unwrap().unwrap();
    assert_eq!(store.release(&job, EXPIRED).await.unwrap(), Settled::Stored);
    let job = store.claim_job(LEASE, 3).await.unwrap().unwrap();
    assert_eq!(job.attempt, 1);
    assert_eq!(
        store
            .fail_attempt(&job, "the engine stopped", Duration::ZERO)
            .await
            .unwrap(),
        Settled::Stored
    );
    let job = store.claim_job(LEASE, 3).await.unwrap().unwrap();
    assert_eq!(job.attempt, 2);
    assert_eq!(store.fail_attempt(&job, "again", LEASE).await.unwrap(), Settled::Stored);
    assert!(
        store.claim_job(LEASE, 3).await.unwrap().is_none(),
        "not before its delay is over"
    );
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
        if let Err(error) = store.accept(&instance("1.2", &format!("1.2.9.{number}"), object)).await {
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
    assert!(!error.to_string().contains(folder.path().to_str().unwrap()), "{error}");
}

impl Store {
    /// How many attempts the job of a study's generation has had.
    pub(crate) async fn attempts(&self, study: &StudyUid, generation: i64) -> i64 {
        let attempts = sqlx::query("SELECT attempts FROM jobs WHERE study_uid = ?1 AND generation = ?2")
            .bind(study.as_str())
            .bind(generation);
        attempts.fetch_one(self.database.read()).await.unwrap().get(0)
    }
}

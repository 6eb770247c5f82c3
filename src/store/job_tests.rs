//! The store's promises about jobs: queued once, settled once, fenced, and dead with a visible outcome.

use std::time::Duration;

use sqlx::Row;

use super::tests::{instance, open, send, uid};
use super::*;
use crate::dicom::StudyUid;
use crate::finding::{Outcome, Reason, StudyResult};

const LEASE: Duration = Duration::from_mins(1);
const EXPIRED: Duration = Duration::ZERO;

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
        instances: vec![],
    }
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
    assert_eq!(
        store.study(&uid()).await.unwrap().unwrap().state,
        StudyState::Analysing
    );
    assert_eq!(
        store
            .complete(&job, &result(Outcome::Refused, "a"))
            .await
            .unwrap(),
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
        let unfenced =
            sqlx::query("UPDATE jobs SET settled_at = 1 WHERE study_uid = '1.2' AND generation = 1");
        completions += unfenced
            .execute(store.database.read())
            .await
            .unwrap()
            .rows_affected();
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
        store
            .complete(&job, &result(Outcome::Scored, "early"))
            .await
            .unwrap(),
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
        assert_eq!(
            store.claim_job(EXPIRED, 3).await.unwrap().unwrap().attempt,
            attempt
        );
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
    assert_eq!(
        store.fail_attempt(&job, "again", LEASE).await.unwrap(),
        Settled::Stored
    );
    assert!(
        store.claim_job(LEASE, 3).await.unwrap().is_none(),
        "not before its delay is over"
    );
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

#[tokio::test]
async fn an_urgent_study_is_analysed_before_one_that_came_earlier() {
    let (_folder, store) = open().await;
    for (study, urgent) in [("1.2.3", false), ("1.2.4", true)] {
        let object = store.put_object(study.into()).await.unwrap();
        let instance = NewInstance {
            urgent,
            ..instance(study, &format!("{study}.1"), object)
        };
        store.accept(&instance).await.unwrap();
        let study = StudyUid::parse(study).unwrap();
        assert!(store.enqueue(&study, 1).await.unwrap());
        // they must not come in the same millisecond
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut order = Vec::new();
    while let Some(job) = store.claim_job(LEASE, 3).await.unwrap() {
        order.push(job.study.to_string());
    }
    assert_eq!(order, ["1.2.4", "1.2.3"]);
}

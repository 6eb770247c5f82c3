//! Orders of studies from a peer, on both engines: each ends with an outcome, whatever becomes of the fetch.

use std::time::Duration;

use super::fixture::{Fixture, at_once, both, record, send, uid};
use super::*;
use crate::finding::{Outcome, StudyResult};

const LEASE: Duration = Duration::from_mins(1);

async fn claim(store: &Store, kind: Kind<'_>) -> Option<Job> {
    store.claim(kind, 1, LEASE, 3).await.unwrap().pop()
}

fn describe(snapshot: &Snapshot) -> Completeness {
    Completeness {
        basis: Basis::Expected,
        instances: snapshot.instances,
        expected: snapshot.expected,
    }
}

fn found(listed: i64) -> Fetched {
    Fetched {
        listed,
        fetched: listed,
        already_here: 0,
        refused: None,
    }
}

async fn kinds(store: &Store) -> Vec<String> {
    let events = store.events(&uid()).await.unwrap();
    events.into_iter().map(|event| event.kind).collect()
}

/// Rows agree with each other.
async fn sound(fixture: &Fixture) {
    let report = fixture.store.check(false, || ()).await.unwrap();
    assert_eq!(report.disagreements, []);
}

async fn analysed(store: &Store) {
    assert_eq!(store.enqueue_due(10, describe).await.unwrap(), 1);
    let job = claim(store, Kind::Analyse).await.unwrap();
    let body = StudyResult {
        outcome: Outcome::Scored,
        reason: None,
        findings: vec![],
        instances: vec![],
    };
    let result = NewResult {
        key: ResultKey::of(&uid(), "m", &job.generation.to_string()),
        body,
        ..NewResult::failed(&job, "none", String::new())
    };
    assert_eq!(store.complete(&job, &result).await.unwrap(), Settled::Stored);
}

#[tokio::test]
async fn a_study_is_not_complete_until_its_fetch_has_ended() {
    for fixture in both().await {
        let store = &fixture.store;
        store.order_fetch(&uid(), "pacs").await.unwrap();
        store.order_fetch(&uid(), "pacs").await.unwrap();
        let row = store.study(&uid()).await.unwrap().unwrap();
        assert_eq!((row.state, row.instances), (StudyState::Received, 0));
        let job = claim(store, Kind::Fetch("pacs")).await.unwrap();
        assert_eq!(job.work, Work::Fetch { peer: "pacs".into() });
        assert!(
            claim(store, Kind::Fetch("pacs")).await.is_none(),
            "two orders are one"
        );
        assert!(claim(store, Kind::Deliver("pacs")).await.is_none());
        send(store, "1.2.9.1", b"one").await;
        assert_eq!(store.enqueue_due(10, describe).await.unwrap(), 0);
        assert_eq!(store.next_due_in().await.unwrap(), None, "nobody need look again");
        sound(&fixture).await;
        assert_eq!(store.fetched(&job, &found(1)).await.unwrap(), Settled::Stored);
        assert_eq!(store.fetched(&job, &found(1)).await.unwrap(), Settled::Stale);
        analysed(store).await;
        let row = store.study(&uid()).await.unwrap().unwrap();
        assert_eq!(row.state, StudyState::Scored);
        assert_eq!(row.completeness.unwrap().expected, Some(1));
        assert_eq!(kinds(store).await[..3], ["fetch-queued", "received", "fetched"]);
        sound(&fixture).await;
    }
}

#[tokio::test]
async fn a_fetch_that_is_given_up_is_the_outcome_of_a_study_of_which_nothing_is_here() {
    for fixture in both().await {
        let store = &fixture.store;
        store.order_fetch(&uid(), "pacs").await.unwrap();
        for round in 1..=2 {
            let job = claim(store, Kind::Fetch("pacs")).await.unwrap();
            assert_eq!(
                store.bury_fetch(&job, "no connection").await.unwrap(),
                Settled::Stored
            );
            let row = store.study(&uid()).await.unwrap().unwrap();
            let reason = row.result.unwrap().reason.unwrap();
            assert_eq!(
                (row.state, reason.code.as_str()),
                (StudyState::Failed, "fetch-failed")
            );
            assert!(
                reason.message.contains("from pacs: no connection"),
                "{}",
                reason.message
            );
            assert!(claim(store, Kind::Deliver("pacs")).await.is_none());
            assert_eq!(
                store.jobs(true, 9).await.unwrap()[0].peer.as_deref(),
                Some("pacs")
            );
            sound(&fixture).await;
            // by hand the first time, by another order the second
            if round == 1 {
                assert_eq!(store.retry_dead(&uid()).await.unwrap(), 1);
            } else {
                store.order_fetch(&uid(), "pacs").await.unwrap();
            }
            let row = store.study(&uid()).await.unwrap().unwrap();
            assert_eq!((row.state, row.result), (StudyState::Received, None));
            sound(&fixture).await;
        }
    }
}

#[tokio::test]
async fn a_worker_that_dies_spends_attempts_and_the_order_still_ends() {
    for fixture in both().await {
        let store = &fixture.store;
        store.order_fetch(&uid(), "pacs").await.unwrap();
        for _ in 0..3 {
            let gone = store
                .claim(Kind::Fetch("pacs"), 1, Duration::ZERO, 3)
                .await
                .unwrap();
            assert_eq!(gone.len(), 1);
        }
        assert!(claim(store, Kind::Fetch("pacs")).await.is_none());
        let row = store.study(&uid()).await.unwrap().unwrap();
        assert_eq!(row.state, StudyState::Failed);
        assert!(kinds(store).await.contains(&"fetch-dead".to_owned()));
        sound(&fixture).await;
    }
}

#[tokio::test]
async fn what_came_before_a_fetch_was_given_up_is_analysed() {
    for fixture in both().await {
        let store = &fixture.store;
        store.order_fetch(&uid(), "pacs").await.unwrap();
        store.order_fetch(&uid(), "other").await.unwrap();
        let job = claim(store, Kind::Fetch("pacs")).await.unwrap();
        let _ = store.bury_fetch(&job, "no connection").await.unwrap();
        let row = store.study(&uid()).await.unwrap().unwrap();
        assert_eq!(row.state, StudyState::Received, "another peer may have it");
        send(store, "1.2.9.1", b"one").await;
        let job = claim(store, Kind::Fetch("other")).await.unwrap();
        let _ = store.bury_fetch(&job, "no connection").await.unwrap();
        analysed(store).await;
        sound(&fixture).await;
    }
}

#[tokio::test]
async fn a_result_stands_while_its_study_is_fetched_again() {
    for fixture in both().await {
        let store = &fixture.store;
        send(store, "1.2.9.1", b"one").await;
        analysed(store).await;
        store.order_fetch(&uid(), "pacs").await.unwrap();
        let job = claim(store, Kind::Fetch("pacs")).await.unwrap();
        let row = store.study(&uid()).await.unwrap().unwrap();
        assert_eq!(row.state, StudyState::Scored);
        let _ = store.bury_fetch(&job, "no connection").await.unwrap();
        let row = store.study(&uid()).await.unwrap().unwrap();
        assert_eq!(row.state, StudyState::Scored, "it is none the worse for it");
        store.order_fetch(&uid(), "pacs").await.unwrap();
        let job = claim(store, Kind::Fetch("pacs")).await.unwrap();
        let _ = store.fetched(&job, &found(1)).await.unwrap();
        analysed(store).await;
        sound(&fixture).await;
    }
}

#[tokio::test]
async fn an_image_of_a_study_that_could_not_be_fetched_begins_anew() {
    for fixture in both().await {
        let store = &fixture.store;
        store.order_fetch(&uid(), "pacs").await.unwrap();
        let job = claim(store, Kind::Fetch("pacs")).await.unwrap();
        let _ = store.bury_fetch(&job, "no connection").await.unwrap();
        let (object, stored) = store.put_object("one".into()).await.unwrap();
        let instance = super::fixture::instance("1.2", "1.2.9.1", object);
        store
            .accept(&instance, &record(&instance), stored, &at_once)
            .await
            .unwrap();
        analysed(store).await;
        sound(&fixture).await;
    }
}

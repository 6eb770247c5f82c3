//! Workitems on both engines: performed by the claim that analyses their study, ended with it, and heard of by their subscribers.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fixture::{Fixture, both, record, send, uid};
use super::*;
use crate::dicom::InstanceUid;
use crate::finding::{Outcome, StudyResult};
use crate::workitem::{Attributes, Order, Refusal, State, Workitem, tag};

pub(super) const LEASE: Duration = Duration::from_mins(1);

pub(super) fn item(text: &str) -> InstanceUid {
    InstanceUid::parse(text).unwrap()
}

pub(super) fn new(workitem: &str, instances: &[&str], peer: Option<&str>) -> NewWorkitem {
    let scheduled = Workitem::schedule(item(workitem), Attributes::default(), "20261129").unwrap();
    NewWorkitem {
        workitem: scheduled.workitem,
        order: Some(Order {
            study: uid(),
            instances: instances.iter().map(|text| item(text)).collect(),
            retrieve_from: BTreeSet::new(),
            retrieve_urls: BTreeSet::new(),
        }),
        peer: peer.map(str::to_owned),
    }
}

/// As the workflow decides.
pub(super) fn patience(snapshot: &Snapshot) -> Duration {
    let now = snapshot.ordered || snapshot.awaited == Some(0);
    if now {
        Duration::ZERO
    } else {
        Duration::from_hours(1)
    }
}

pub(super) async fn create(store: &Store, new: &NewWorkitem) -> bool {
    store.create_workitem(new, &patience).await.unwrap()
}

pub(super) async fn arrive(store: &Store, sop: &str) {
    let (object, stored) = store.put_object(sop.to_owned().into()).await.unwrap();
    let instance = super::fixture::instance("1.2", sop, object);
    store
        .accept(&instance, &record(&instance), stored, &patience)
        .await
        .unwrap();
}

pub(super) async fn state(store: &Store, workitem: &str) -> State {
    store.workitem(&item(workitem)).await.unwrap().unwrap().state
}

pub(super) async fn queued(store: &Store) -> usize {
    let describe = |snapshot: &Snapshot| Completeness {
        basis: Basis::Workitem,
        instances: snapshot.instances,
        expected: snapshot.expected,
    };
    store.enqueue_due(10, describe).await.unwrap()
}

pub(super) async fn claim(store: &Store, kind: Kind<'_>) -> Job {
    store.claim(kind, 1, LEASE, 3).await.unwrap().pop().unwrap()
}

pub(super) fn result(job: &Job, outcome: Outcome) -> NewResult {
    let failed = NewResult::failed(job, "modality", "it is CT".to_owned());
    NewResult {
        body: StudyResult {
            outcome,
            ..failed.body.clone()
        },
        ..failed
    }
}

/// Makes the report of every result that waits for one.
pub(super) async fn keep_reports(store: &Store) {
    for job in store
        .claim(Kind::Deliver(OWN_ARCHIVE), 5, LEASE, 3)
        .await
        .unwrap()
    {
        keep_report(store, &job).await;
    }
}

pub(super) async fn keep_report(store: &Store, job: &Job) {
    let Work::Deliver { result, .. } = &job.work else {
        panic!("it makes nothing");
    };
    let sop = crate::dicom::uid::derived(&["report", result.as_str()]);
    let (object, stored) = store.put_object(sop.clone().into()).await.unwrap();
    let instance = super::fixture::instance("1.2", &sop, object);
    let made = MadeObject {
        record: record(&instance),
        instance,
        stored,
    };
    let kept = store.keep_made(job, &[made], &serde_json::json!({})).await;
    assert_eq!(kept.unwrap(), Settled::Stored);
}

pub(super) async fn sound(fixture: &Fixture) {
    let report = fixture.store.check(false, || ()).await.unwrap();
    assert_eq!(report.disagreements, []);
}

#[tokio::test]
async fn a_study_is_complete_when_all_is_there_that_its_workitem_lists() {
    for fixture in both().await {
        let store = &fixture.store;
        assert!(create(store, &new("1.7", &["1.2.1", "1.2.2"], None)).await);
        assert!(
            !create(store, &new("1.7", &["1.2.3"], None)).await,
            "there is one"
        );
        assert_eq!(queued(store).await, 0, "nothing of the study is here");
        assert_eq!(store.next_due_in().await.unwrap(), None);
        arrive(store, "1.2.1").await;
        assert_eq!(queued(store).await, 0);
        arrive(store, "1.2.2").await;
        assert_eq!(queued(store).await, 1);
        let job = claim(store, Kind::Analyse).await;
        assert_eq!(state(store, "1.7").await, State::InProgress);
        let _ = store
            .complete(&job, &result(&job, Outcome::Scored))
            .await
            .unwrap();
        keep_reports(store).await;
        assert_eq!(state(store, "1.7").await, State::Completed);
        sound(&fixture).await;
    }
}

#[tokio::test]
async fn what_dies_or_fails_on_the_way_leaves_a_workitem_that_ends() {
    for fixture in both().await {
        let store = &fixture.store;
        create(store, &new("1.7", &["1.2.1"], None)).await;
        arrive(store, "1.2.1").await;
        assert_eq!(queued(store).await, 1);
        // a worker that dies, one that is overtaken by a late image, and one that fails for good
        let _gone = store.claim(Kind::Analyse, 1, Duration::ZERO, 3).await.unwrap();
        let stale = claim(store, Kind::Analyse).await;
        arrive(store, "1.2.2").await;
        assert_eq!(
            store
                .complete(&stale, &result(&stale, Outcome::Scored))
                .await
                .unwrap(),
            Settled::Stale
        );
        assert_eq!(state(store, "1.7").await, State::InProgress);
        assert!(store.order(&uid(), None, &patience).await.unwrap() == Asked::Accepted);
        assert_eq!(queued(store).await, 1);
        for _ in 0..3 {
            store.claim(Kind::Analyse, 1, Duration::ZERO, 3).await.unwrap();
        }
        assert!(store.claim(Kind::Analyse, 1, LEASE, 3).await.unwrap().is_empty());
        keep_reports(store).await;
        assert_eq!(state(store, "1.7").await, State::Canceled);
        sound(&fixture).await;
    }
}

#[tokio::test]
async fn one_that_comes_while_its_study_is_analysed_ends_with_it() {
    for fixture in both().await {
        let store = &fixture.store;
        send(store, "1.2.1", b"one").await;
        assert_eq!(queued(store).await, 1);
        let job = claim(store, Kind::Analyse).await;
        create(store, &new("1.7", &["1.2.1"], None)).await;
        create(store, &new("1.8", &["1.2.1", "1.2.2"], None)).await;
        let _ = store
            .complete(&job, &result(&job, Outcome::Refused))
            .await
            .unwrap();
        keep_reports(store).await;
        assert_eq!(state(store, "1.7").await, State::Canceled);
        assert_eq!(
            state(store, "1.8").await,
            State::Scheduled,
            "it lacks an instance"
        );
        arrive(store, "1.2.2").await;
        assert_eq!(queued(store).await, 1);
        let job = claim(store, Kind::Analyse).await;
        let _ = store
            .complete(&job, &result(&job, Outcome::Scored))
            .await
            .unwrap();
        keep_reports(store).await;
        assert_eq!(state(store, "1.8").await, State::Completed);
        sound(&fixture).await;
    }
}

#[tokio::test]
async fn one_of_a_settled_study_is_performed_at_once() {
    for fixture in both().await {
        let store = &fixture.store;
        send(store, "1.2.1", b"one").await;
        assert_eq!(queued(store).await, 1);
        let job = claim(store, Kind::Analyse).await;
        let _ = store
            .complete(&job, &result(&job, Outcome::Scored))
            .await
            .unwrap();
        keep_reports(store).await;
        create(store, &new("1.7", &["1.2.1"], None)).await;
        create(store, &new("1.8", &[], None)).await;
        assert_eq!(queued(store).await, 1);
        let job = claim(store, Kind::Analyse).await;
        let _ = store
            .complete(&job, &result(&job, Outcome::Scored))
            .await
            .unwrap();
        keep_reports(store).await;
        for workitem in ["1.7", "1.8"] {
            assert_eq!(state(store, workitem).await, State::Completed, "{workitem}");
        }
        sound(&fixture).await;
    }
}

#[tokio::test]
async fn one_whose_input_a_peer_has_is_fetched_and_canceled_where_that_fails() {
    for fixture in both().await {
        let store = &fixture.store;
        create(store, &new("1.7", &["1.2.1"], Some("pacs"))).await;
        let job = claim(store, Kind::Fetch("pacs")).await;
        let _ = store.bury_fetch(&job, "no connection").await.unwrap();
        let workitem = store.workitem(&item("1.7")).await.unwrap().unwrap();
        assert_eq!(workitem.state, State::Canceled);
        let why = workitem
            .attributes
            .items(tag::PROGRESS_INFORMATION)
            .next()
            .unwrap();
        let why = why[tag::REASON_FOR_CANCELLATION]["Value"][0].as_str().unwrap();
        assert!(why.contains("from pacs: no connection"), "{why}");
        sound(&fixture).await;

        create(store, &new("1.8", &["1.2.1", "1.2.2"], Some("pacs"))).await;
        create(store, &new("1.9", &["1.2.1"], Some("pacs"))).await;
        let job = claim(store, Kind::Fetch("pacs")).await;
        arrive(store, "1.2.1").await;
        let found = Fetched {
            listed: 1,
            fetched: 1,
            already_here: 0,
            refused: None,
        };
        let _ = store.fetched(&job, &found).await.unwrap();
        assert_eq!(
            state(store, "1.8").await,
            State::Canceled,
            "the peer does not have all of it"
        );
        assert_eq!(queued(store).await, 1);
        let job = claim(store, Kind::Analyse).await;
        let _ = store
            .complete(&job, &result(&job, Outcome::Scored))
            .await
            .unwrap();
        keep_reports(store).await;
        assert_eq!(state(store, "1.9").await, State::Completed);
        sound(&fixture).await;
    }
}

#[tokio::test]
async fn a_workitem_that_comes_while_its_study_is_fetched_has_the_peer_asked_once_more() {
    for fixture in both().await {
        let store = &fixture.store;
        create(store, &new("1.7", &["1.2.1"], Some("pacs"))).await;
        let found = |listed| Fetched {
            listed,
            fetched: 1,
            already_here: listed - 1,
            refused: None,
        };
        let job = claim(store, Kind::Fetch("pacs")).await;
        // the peer has listed one image, and then got another
        create(store, &new("1.8", &["1.2.1", "1.2.2"], Some("pacs"))).await;
        create(store, &new("1.9", &["1.2.3"], Some("pacs"))).await;
        arrive(store, "1.2.1").await;
        assert_eq!(store.fetched(&job, &found(1)).await.unwrap(), Settled::Stored);
        assert_eq!(queued(store).await, 0, "it is fetched once more");
        assert_eq!(state(store, "1.8").await, State::Scheduled);
        sound(&fixture).await;
        let job = claim(store, Kind::Fetch("pacs")).await;
        assert_eq!(job.attempt, 1);
        arrive(store, "1.2.2").await;
        assert_eq!(store.fetched(&job, &found(2)).await.unwrap(), Settled::Stored);
        assert_eq!(
            state(store, "1.9").await,
            State::Canceled,
            "the peer was asked after it came, and does not have it"
        );
        assert_eq!(queued(store).await, 1);
        let job = claim(store, Kind::Analyse).await;
        let _ = store
            .complete(&job, &result(&job, Outcome::Scored))
            .await
            .unwrap();
        keep_reports(store).await;
        for workitem in ["1.7", "1.8"] {
            assert_eq!(state(store, workitem).await, State::Completed, "{workitem}");
        }
        sound(&fixture).await;
    }
}

#[tokio::test]
async fn changes_at_the_same_time_have_one_winner() {
    for fixture in both().await {
        let store = &fixture.store;
        create(store, &new("1.7", &["1.2.1"], None)).await;
        let take = |transaction: String| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut request = Attributes::default();
                request.put(tag::STATE, "CS", "IN PROGRESS");
                request.put(tag::TRANSACTION_UID, "UI", &transaction);
                let change =
                    |workitem: &mut Workitem, _: bool, now: &str| workitem.change_state(&request, now);
                store
                    .change_workitem(&item("1.7"), change)
                    .await
                    .unwrap()
                    .unwrap()
            })
        };
        let takes: Vec<_> = (1..=8).map(|number| take(format!("1.9.{number}"))).collect();
        let mut won = 0;
        for taken in takes {
            match taken.await.unwrap() {
                Ok(_) => won += 1,
                Err(refusal) => assert_eq!(refusal, Refusal::Inconsistent),
            }
        }
        assert_eq!(won, 1);
        // and what another performs is not performed here
        arrive(store, "1.2.1").await;
        assert!(store.order(&uid(), None, &patience).await.unwrap() == Asked::Accepted);
        assert_eq!(queued(store).await, 1);
        let job = claim(store, Kind::Analyse).await;
        let _ = store
            .complete(&job, &result(&job, Outcome::Scored))
            .await
            .unwrap();
        keep_reports(store).await;
        assert_eq!(state(store, "1.7").await, State::InProgress);
        sound(&fixture).await;
    }
}

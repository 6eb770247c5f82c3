//! How workitems end, on both engines: with the objects of their study's result, or when there will be none; each in one transaction.

use std::time::Duration;

use super::fixture::{Fixture, both};
use super::workitem_tests::*;
use super::*;
use crate::finding::Outcome;
use crate::workitem::{State, tag};

const OWN: Kind<'static> = Kind::Deliver(OWN_ARCHIVE);

/// A workitem whose study is settled with this result, and the making of its objects.
async fn settled(store: &Store, outcome: Outcome) -> (NewResult, Job) {
    create(store, &new("1.7", &["1.2.1"], None)).await;
    arrive(store, "1.2.1").await;
    assert_eq!(queued(store).await, 1);
    let job = claim(store, Kind::Analyse).await;
    let result = result(&job, outcome);
    assert_eq!(store.complete(&job, &result).await.unwrap(), Settled::Stored);
    (result, claim(store, OWN).await)
}

/// Asks for the study's result again, and settles it with this one.
async fn again(store: &Store, result: &NewResult) {
    assert_eq!(queued(store).await, 1);
    let job = claim(store, Kind::Analyse).await;
    assert_eq!(store.complete(&job, result).await.unwrap(), Settled::Stored);
}

/// The code of why it was canceled, and the words.
async fn why(store: &Store, workitem: &str) -> (String, String) {
    let workitem = store.workitem(&item(workitem)).await.unwrap().unwrap();
    assert_eq!(workitem.state, State::Canceled);
    let progress = workitem.attributes.items(tag::PROGRESS_INFORMATION).next();
    let progress = progress.unwrap();
    let code = &progress[tag::DISCONTINUATION_REASON]["Value"][0]["00080100"]["Value"][0];
    let words = &progress[tag::REASON_FOR_CANCELLATION]["Value"][0];
    (
        code.as_str().unwrap().to_owned(),
        words.as_str().unwrap().to_owned(),
    )
}

#[tokio::test]
async fn a_workitem_is_completed_when_the_report_that_it_names_is_kept() {
    for fixture in both().await {
        let store = &fixture.store;
        let (_, making) = settled(store, Outcome::Scored).await;
        assert_eq!(state(store, "1.7").await, State::InProgress);
        sound(&fixture).await;
        // what is not written ends nothing
        let elsewhere = super::fixture::instance("1.9", "1.9.1", Sha::of(b"DICM"));
        super::fixture::accept(store, &elsewhere).await;
        let taken = MadeObject {
            record: super::fixture::record(&elsewhere),
            instance: NewInstance {
                study: super::fixture::uid(),
                ..elsewhere
            },
            stored: Stored::Now,
        };
        let refused = store.keep_made(&making, &[taken], &serde_json::json!({})).await;
        assert!(matches!(refused, Err(StoreError::Busy(_))), "{refused:?}");
        assert_eq!(state(store, "1.7").await, State::InProgress);
        keep_report(store, &making).await;
        assert_eq!(state(store, "1.7").await, State::Completed);
    }
}

#[tokio::test]
async fn one_whose_report_is_given_up_is_canceled_with_the_cause() {
    for fixture in both().await {
        let store = &fixture.store;
        let (_, making) = settled(store, Outcome::Scored).await;
        let buried = store.bury_delivery(&making, "no image can be read").await;
        assert_eq!(buried.unwrap(), Settled::Stored);
        let (code, words) = why(store, "1.7").await;
        assert!(
            code == "report-failed" && words.ends_with(": no image can be read"),
            "{code}: {words}"
        );
        sound(&fixture).await;
    }
}

#[tokio::test]
async fn one_whose_report_nobody_lives_to_make_ends_with_the_last_attempt() {
    for fixture in both().await {
        let store = &fixture.store;
        let (_, making) = settled(store, Outcome::Refused).await;
        let released = store.release(&making, Duration::ZERO).await.unwrap();
        assert_eq!(released, Settled::Stored);
        for _ in 0..3 {
            store.claim(OWN, 1, Duration::ZERO, 3).await.unwrap();
        }
        assert_eq!(state(store, "1.7").await, State::InProgress);
        assert!(store.claim(OWN, 1, LEASE, 3).await.unwrap().is_empty());
        let (code, words) = why(store, "1.7").await;
        assert_eq!((code.as_str(), words.as_str()), ("modality", "it is CT"));
        sound(&fixture).await;
    }
}

#[tokio::test]
async fn one_of_a_result_that_was_made_before_ends_with_it_at_once_or_with_what_is_under_way() {
    for fixture in both().await {
        let store = &fixture.store;
        let (result, making) = settled(store, Outcome::Scored).await;
        create(store, &new("1.8", &["1.2.1"], None)).await;
        again(store, &result).await;
        for waiting in ["1.7", "1.8"] {
            assert_eq!(state(store, waiting).await, State::InProgress, "{waiting}");
        }
        keep_report(store, &making).await;
        for ended in ["1.7", "1.8"] {
            assert_eq!(state(store, ended).await, State::Completed, "{ended}");
        }
        create(store, &new("1.9", &["1.2.1"], None)).await;
        again(store, &result).await;
        assert_eq!(state(store, "1.9").await, State::Completed);
        sound(&fixture).await;
    }
}

#[tokio::test]
async fn a_report_that_was_given_up_is_made_for_whoever_orders_it_again() {
    for fixture in both().await {
        let store = &fixture.store;
        let (result, making) = settled(store, Outcome::Scored).await;
        let _ = store.bury_delivery(&making, "no room").await.unwrap();
        create(store, &new("1.8", &["1.2.1"], None)).await;
        again(store, &result).await;
        assert_eq!(state(store, "1.8").await, State::InProgress);
        sound(&fixture).await;
        keep_reports(store).await;
        assert_eq!(state(store, "1.8").await, State::Completed);
        assert_eq!(state(store, "1.7").await, State::Canceled, "it has ended");
    }
}

#[tokio::test]
async fn one_ends_with_the_result_that_was_its_own_though_a_later_one_takes_its_place() {
    for fixture in both().await {
        let store = &fixture.store;
        let (first, making) = settled(store, Outcome::Scored).await;
        create(store, &new("1.8", &["1.2.1", "1.2.2"], None)).await;
        arrive(store, "1.2.2").await;
        assert_eq!(queued(store).await, 1);
        let job = claim(store, Kind::Analyse).await;
        let second = result(&job, Outcome::Scored);
        assert_ne!(second.key, first.key);
        assert_eq!(store.complete(&job, &second).await.unwrap(), Settled::Stored);
        sound(&fixture).await;
        keep_report(store, &making).await;
        assert_eq!(state(store, "1.7").await, State::Completed);
        assert_eq!(state(store, "1.8").await, State::InProgress);
        keep_reports(store).await;
        assert_eq!(state(store, "1.8").await, State::Completed);
        for (workitem, of) in [("1.7", &first), ("1.8", &second)] {
            let ended = store.workitem(&item(workitem)).await.unwrap().unwrap();
            // as `report::report_uid` makes it
            let report = crate::dicom::uid::derived(&["osteon", "structured report", of.key.as_str()]);
            let shown = serde_json::to_string(&ended.attributes).unwrap();
            assert!(shown.contains(&report), "{workitem}");
        }
        sound(&fixture).await;
    }
}

#[tokio::test]
async fn one_of_a_study_of_which_nothing_ever_came_ends_though_there_is_nothing_to_make() {
    for fixture in both().await {
        let store = &fixture.store;
        let (_, making) = settled(store, Outcome::Failed).await;
        let kept = store.keep_made(&making, &[], &serde_json::json!({})).await;
        assert_eq!(kept.unwrap(), Settled::Stored);
        assert_eq!(why(store, "1.7").await.0, "modality");
        sound(&fixture).await;
    }
}

#[tokio::test]
async fn one_that_is_canceled_while_its_report_is_made_stays_so() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        let (_, making) = settled(&store, Outcome::Scored).await;
        let cancel = |workitem: &mut crate::workitem::Workitem, told: bool, now: &str| {
            workitem.request_cancel(&crate::workitem::Attributes::default(), told, now)
        };
        let canceled = store.change_workitem(&item("1.7"), cancel).await.unwrap();
        assert!(canceled.unwrap().is_ok());
        keep_report(&store, &making).await;
        assert_eq!(state(&store, "1.7").await, State::Canceled);
    }
}

//! The store's promises about deliveries: each destination has its queue, the newest result arrives last, and every delivery ends. On
//! both engines.

use std::time::Duration;

use super::fixture::{Fixture, accept, at_once, both, instance, make_nothing, send, uid};
use super::queue_tests::{LEASE, claim, enqueue, kinds, queued, result, study};
use super::*;
use crate::dicom::StudyUid;
use crate::finding::Outcome;

/// Where the study's results stand: state and key, the latest first.
async fn standing(store: &Store) -> Vec<(&'static str, ResultKey)> {
    let rows = store.deliveries(&uid()).await.unwrap().into_iter();
    rows.map(|row| (row.state, row.result_key)).collect()
}

#[tokio::test]
async fn a_result_waits_for_its_delivery_until_it_is_there_or_given_up() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        queued(&store).await;
        let job = claim(&store, LEASE).await.unwrap();
        let made = result(Outcome::Scored, "made");
        assert_eq!(store.complete(&job, &made).await.unwrap(), Settled::Stored);
        let deliver = || store.claim(Kind::Deliver("pacs"), 5, LEASE, 3);
        let job = deliver().await.unwrap().pop().unwrap();
        let work = Work::Deliver {
            result: made.key.clone(),
            destination: "pacs".to_owned(),
        };
        assert_eq!((&job.work, job.attempt), (&work, 1));
        assert!(deliver().await.unwrap().is_empty());
        let failed = store
            .fail_attempt(&job, "it is down", Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(failed, Settled::Stored);
        let waiting = store.deliveries(&uid()).await.unwrap();
        assert_eq!(
            (waiting[0].state, waiting[0].cause.as_deref()),
            ("waiting", Some("it is down"))
        );
        let job = deliver().await.unwrap().pop().unwrap();
        assert_eq!(
            store.bury_delivery(&job, "it says no").await.unwrap(),
            Settled::Stored
        );
        assert_eq!(store.deliveries(&uid()).await.unwrap()[0].state, "dead");
        assert_eq!(
            study(&store).await.state,
            StudyState::Scored,
            "the result is none the worse for it"
        );
        assert_eq!(store.retry_all_dead().await.unwrap(), 1);
        let job = deliver().await.unwrap().pop().unwrap();
        assert_eq!(store.delivered(&job).await.unwrap(), Settled::Stored);
        assert_eq!(store.delivered(&job).await.unwrap(), Settled::Stale);
        assert_eq!(store.deliveries(&uid()).await.unwrap()[0].state, "delivered");
        let kinds = kinds(&store).await;
        assert_eq!(
            kinds[4..],
            [
                "delivery-queued",
                "delivery-failed",
                "delivery-dead",
                "retried",
                "delivered"
            ]
        );
    }
}

#[tokio::test]
async fn a_later_result_is_sent_in_the_place_of_one_that_has_not_arrived() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        queued(&store).await;
        let deliver = || store.claim(Kind::Deliver("pacs"), 5, LEASE, 3);
        let (old, new) = (result(Outcome::Scored, "old"), result(Outcome::Scored, "new"));
        let job = claim(&store, LEASE).await.unwrap();
        assert_eq!(store.complete(&job, &old).await.unwrap(), Settled::Stored);
        // one attempt is under way when the late image comes
        let sending = deliver().await.unwrap().pop().unwrap();
        send(&store, "1.2.10", b"late").await;
        assert_eq!(enqueue(&store).await, 1);
        let job = claim(&store, LEASE).await.unwrap();
        assert_eq!(store.complete(&job, &new).await.unwrap(), Settled::Stored);
        assert_eq!(
            standing(&store).await,
            [("waiting", new.key.clone()), ("superseded", old.key.clone())]
        );
        let failed = store.fail_attempt(&sending, "it is down", Duration::ZERO).await;
        assert_eq!(failed.unwrap(), Settled::Stale, "it does not come back");
        let jobs = deliver().await.unwrap();
        let [job] = &jobs[..] else { panic!("{jobs:?}") };
        assert!(matches!(&job.work, Work::Deliver { result, .. } if *result == new.key));
        assert_eq!(store.delivered(job).await.unwrap(), Settled::Stored);
        assert!(kinds(&store).await.contains(&"delivery-superseded".to_owned()));

        // the first content again: its result is the newest once more, as one of its own that takes the place of the one between
        send(&store, "1.2.10", b"later").await;
        assert_eq!(enqueue(&store).await, 1);
        let job = claim(&store, LEASE).await.unwrap();
        assert_eq!(store.complete(&job, &old).await.unwrap(), Settled::Stored);
        let row = study(&store).await;
        let again = row.result_key.unwrap();
        assert!(again != old.key && row.supersedes == Some(new.key.clone()));
        assert_eq!(
            standing(&store).await,
            [
                ("waiting", again.clone()),
                ("delivered", new.key.clone()),
                ("superseded", old.key.clone())
            ]
        );
        // the same once more is no other
        store.order(&uid(), None, &at_once).await.unwrap();
        assert_eq!(enqueue(&store).await, 1);
        let job = claim(&store, LEASE).await.unwrap();
        assert_eq!(store.complete(&job, &old).await.unwrap(), Settled::Stored);
        assert_eq!(study(&store).await.result_key, Some(again));
    }
}

#[tokio::test]
async fn each_destination_has_its_own_queue() {
    for Fixture {
        mut settings,
        folder: _kept,
        ..
    } in both().await
    {
        settings.destinations = vec!["ris".to_owned(), "pacs".to_owned()];
        let store = Store::open(&settings).await.unwrap();
        for number in 0..3 {
            let study = format!("1.3.{number}");
            accept(&store, &instance(&study, &format!("{study}.1"), Sha::of(b"DICM"))).await;
            assert_eq!(enqueue(&store).await, 1);
            let job = claim(&store, LEASE).await.unwrap();
            let failed = NewResult::failed(&job, "engine", "as the test says".to_owned());
            assert_eq!(store.complete(&job, &failed).await.unwrap(), Settled::Stored);
        }
        for destination in ["ris", "pacs"] {
            let queue = Kind::Deliver(destination);
            let jobs = store.claim(queue, 10, LEASE, 3).await.unwrap();
            assert_eq!(jobs.len(), 3);
            assert!(jobs.iter().all(|job| job.kind() == queue));
            assert!(store.due_in(queue).await.unwrap().unwrap() > LEASE / 2);
        }
        assert_eq!(store.due_in(Kind::Deliver("other")).await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_waits_for_a_peer_that_nobody_knows_is_given_up_in_time() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        queued(&store).await;
        let job = claim(&store, LEASE).await.unwrap();
        let made = result(Outcome::Scored, "made");
        assert_eq!(store.complete(&job, &made).await.unwrap(), Settled::Stored);
        make_nothing(&store).await;
        let ordered = StudyUid::parse("1.9").unwrap();
        store.order_fetch(&ordered, "old").await.unwrap();
        let all = [Kind::Deliver("pacs"), Kind::Fetch("old")];
        assert_eq!(store.give_up_unserved(&all, Duration::ZERO).await.unwrap(), 0);
        // a name counts for what it is used for
        let others = [Kind::Deliver("old"), Kind::Fetch("pacs")];
        assert_eq!(store.give_up_unserved(&others, LEASE).await.unwrap(), 0);
        assert_eq!(store.give_up_unserved(&others, Duration::ZERO).await.unwrap(), 2);
        assert_eq!(standing(&store).await[0].0, "dead");
        assert_eq!(kinds(&store).await.last().unwrap(), "delivery-dead");
        assert_eq!(study(&store).await.state, StudyState::Scored);
        let failed = store.study(&ordered).await.unwrap().unwrap();
        assert_eq!(failed.state, StudyState::Failed);
        let message = failed.result.unwrap().reason.unwrap().message;
        assert!(message.contains("not in the configuration"), "{message}");
    }
}

#[tokio::test]
async fn what_is_claimed_and_put_back_every_second_is_one_event() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        queued(&store).await;
        for _ in 0..5 {
            let job = claim(&store, LEASE).await.unwrap();
            let released = store.release(&job, Duration::from_millis(1)).await.unwrap();
            assert_eq!(released, Settled::Stored);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(kinds(&store).await, ["received", "queued", "claimed"]);
        let job = claim(&store, LEASE).await.unwrap();
        let failed = store.fail_attempt(&job, "engine", Duration::ZERO).await.unwrap();
        assert_eq!(failed, Settled::Stored);
        claim(&store, LEASE).await.unwrap();
        assert_eq!(kinds(&store).await[3..], ["attempt-failed", "claimed"]);
    }
}

//! The store's promises about what is made of a result: all of it or nothing, once, and it stays. On both engines.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::fixture::{Fixture, both, instance, record, send, uid};
use super::queue_tests::{LEASE, claim, enqueue, kinds, queued, result};
use super::*;
use crate::finding::Outcome;

/// An object of this content, whose bytes are stored.
async fn made(store: &Store, sop: &str, content: &'static [u8]) -> MadeObject {
    let (object, stored) = store.put_object(Bytes::from_static(content)).await.unwrap();
    let instance = instance("1.2", sop, object);
    MadeObject {
        record: record(&instance),
        instance,
        stored,
    }
}

/// Settles the queued study with a result of this name, and claims the making of its objects.
async fn making(store: &Store, name: &str) -> Job {
    let job = claim(store, LEASE).await.unwrap();
    let settled = store.complete(&job, &result(Outcome::Scored, name)).await;
    assert_eq!(settled.unwrap(), Settled::Stored);
    claim_making(store).await
}

async fn claim_making(store: &Store) -> Job {
    let own = Kind::Deliver(OWN_ARCHIVE);
    let mut jobs = store.claim(own, 5, LEASE, 3).await.unwrap();
    assert_eq!(jobs.len(), 1);
    jobs.remove(0)
}

async fn uids(store: &Store, name: &str) -> Vec<String> {
    let rows = store.made_for(&uid(), &result(Outcome::Scored, name).key).await;
    let rows = rows.unwrap().into_iter();
    rows.map(|row| row.instance.uid.to_string()).collect()
}

#[tokio::test]
async fn what_is_made_is_there_all_at_once_and_only_once() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        queued(&store).await;
        let job = making(&store, "a").await;
        let key = result(Outcome::Scored, "a").key;
        assert_eq!(store.making(&key).await.unwrap().unwrap().state, "sending");
        assert_eq!(
            store.deliveries(&uid()).await.unwrap().len(),
            1,
            "it is no destination of the configuration"
        );
        let both = [
            made(&store, "1.2.100", b"report").await,
            made(&store, "1.2.101", b"map").await,
        ];
        let detail = json!({ "without_heatmap": [] });
        assert_eq!(
            store.keep_made(&job, &both, &detail).await.unwrap(),
            Settled::Stored
        );
        assert_eq!(uids(&store, "a").await, ["1.2.100", "1.2.101"]);
        let event = store.events(&uid()).await.unwrap().pop().unwrap();
        assert_eq!(
            (event.kind.as_str(), &event.detail["objects"]),
            ("objects-made", &json!(2))
        );
        let study = store.study(&uid()).await.unwrap().unwrap();
        assert_eq!((study.instances, study.generation), (1, 1), "nothing has arrived");
        assert_eq!(store.making(&key).await.unwrap().unwrap().state, "delivered");

        let late = [made(&store, "1.2.102", b"another map").await];
        assert_eq!(
            store.keep_made(&job, &late, &detail).await.unwrap(),
            Settled::Stale
        );
        assert_eq!(uids(&store, "a").await.len(), 2);
    }
}

#[tokio::test]
async fn a_claim_that_has_the_job_again_changes_nothing_that_is_made() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        queued(&store).await;
        let stalled = making(&store, "a").await;
        let objects = [made(&store, "1.2.100", b"report").await];
        let detail = json!({});
        // its lease has run out, and another worker has it
        let released = store.renew(&stalled, Duration::ZERO).await.unwrap();
        assert_eq!(released, Settled::Stored);
        let job = claim_making(&store).await;
        let stale = store.keep_made(&stalled, &objects, &detail).await.unwrap();
        assert_eq!((stale, uids(&store, "a").await.len()), (Settled::Stale, 0));
        let settled = store.keep_made(&job, &objects, &detail).await.unwrap();
        assert_eq!((settled, uids(&store, "a").await.len()), (Settled::Stored, 1));
    }
}

#[tokio::test]
async fn each_result_keeps_its_objects_and_they_stay_when_images_go() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        queued(&store).await;
        let first = making(&store, "a").await;
        // a late image before the objects of the first result were made
        send(&store, "1.2.10", b"late").await;
        assert_eq!(enqueue(&store).await, 1);
        let second = making(&store, "b").await;
        for (job, sop, content) in [(&first, "1.2.100", b"one"), (&second, "1.2.101", b"two")] {
            let objects = [made(&store, sop, content).await];
            let settled = store.keep_made(job, &objects, &json!({})).await.unwrap();
            assert_eq!(settled, Settled::Stored, "{sop}");
        }
        assert_eq!(uids(&store, "a").await, ["1.2.100"]);
        assert_eq!(uids(&store, "b").await, ["1.2.101"]);
        let jobs = store.claim(Kind::Deliver("pacs"), 5, LEASE, 3).await.unwrap();
        assert_eq!(store.delivered(&jobs[0]).await.unwrap(), Settled::Stored);
        assert_eq!(store.forget_images(Duration::ZERO).await.unwrap(), 1);
        assert_eq!(
            store.sweep(Duration::ZERO).await.unwrap().objects,
            2,
            "the images"
        );
        for row in store
            .made_for(&uid(), &result(Outcome::Scored, "a").key)
            .await
            .unwrap()
        {
            assert_eq!(&store.object(&row.instance.object).await.unwrap()[..], b"one");
        }
    }
}

#[tokio::test]
async fn making_is_served_and_is_queued_once_for_what_is_older() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        queued(&store).await;
        let job = making(&store, "a").await;
        let released = store.release(&job, Duration::ZERO).await.unwrap();
        assert_eq!(released, Settled::Stored);
        let served = [Kind::Analyse, Kind::Deliver("pacs"), Kind::Deliver(OWN_ARCHIVE)];
        let given_up = store.give_up_unserved(&served, Duration::ZERO).await.unwrap();
        assert_eq!(given_up, 0);
        let key = result(Outcome::Scored, "a").key;
        store.queue_making(&uid(), 1, &key).await.unwrap();
        let job = claim_making(&store).await;
        let settled = store.keep_made(&job, &[], &json!({})).await.unwrap();
        assert_eq!(settled, Settled::Stored);
        assert!(
            !kinds(&store).await.contains(&"objects-made".to_owned()),
            "there were none"
        );

        let older = ResultKey::of(&uid(), "older", "");
        assert_eq!(store.making(&older).await.unwrap(), None);
        store.queue_making(&uid(), 1, &older).await.unwrap();
        store.queue_making(&uid(), 1, &older).await.unwrap();
        claim_making(&store).await;
    }
}

#[tokio::test]
async fn a_copy_that_came_back_first_becomes_what_was_made_and_a_stranger_does_not() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        send(&store, "1.2.100", b"report").await;
        queued(&store).await;
        let job = making(&store, "a").await;
        let objects = [made(&store, "1.2.100", b"report").await];
        let settled = store.keep_made(&job, &objects, &json!({})).await.unwrap();
        assert_eq!(settled, Settled::Stored);
        assert_eq!(uids(&store, "a").await, ["1.2.100"]);
        assert_eq!(store.instances(&uid()).await.unwrap().len(), 1);

        let elsewhere = instance("1.9", "1.2.200", Sha::of(b"DICM"));
        super::fixture::accept(&store, &elsewhere).await;
        store
            .queue_making(&uid(), 1, &ResultKey::of(&uid(), "b", ""))
            .await
            .unwrap();
        let job = claim_making(&store).await;
        let objects = [made(&store, "1.2.200", b"taken").await];
        let refused = store.keep_made(&job, &objects, &json!({})).await;
        assert!(matches!(refused, Err(StoreError::Busy(_))), "{refused:?}");
        assert!(
            store.renew(&job, LEASE).await.unwrap() == Settled::Stored,
            "nothing was written"
        );
    }
}

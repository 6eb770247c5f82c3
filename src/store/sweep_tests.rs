//! The store's promises about what goes: nothing that a row names, whoever is at work at the same time. On both engines.

use std::time::Duration;

use super::fixture::{Fixture, accept, at_once, both, instance, make_nothing, record, send, uid};
use super::*;
use crate::dicom::StudyUid;
use crate::finding::{Outcome, StudyResult};

const NOW: Duration = Duration::ZERO;
const LEASE: Duration = Duration::from_mins(1);

async fn is_there(store: &Store, content: &[u8]) -> bool {
    let state = store.objects.check(&Sha::of(content), true).await.unwrap();
    state == ObjectState::Present
}

fn path(fixture: &Fixture, content: &[u8]) -> std::path::PathBuf {
    let digits = Sha::of(content).to_string();
    let (first, rest) = digits.split_at(2);
    let folder = fixture.folder.path().join("objects").join(first);
    folder.join(format!("{rest}.dcm"))
}

/// Makes the result of the only study.
async fn settle(store: &Store) -> ResultKey {
    let describe = |snapshot: &Snapshot| Completeness {
        basis: Basis::Quiet,
        instances: snapshot.instances,
        expected: None,
    };
    store.enqueue_due(10, describe).await.unwrap();
    let job = store.claim(Kind::Analyse, 1, LEASE, 3).await.unwrap().remove(0);
    let inputs: Vec<Input> = store
        .instances(&job.study)
        .await
        .unwrap()
        .into_iter()
        .map(|row| Input {
            instance: row.instance.uid,
            object: row.instance.object,
        })
        .collect();
    let key = ResultKey::of(&job.study, "model", &input_digest(&inputs));
    let result = NewResult {
        key: key.clone(),
        model: None,
        inputs,
        body: StudyResult {
            outcome: Outcome::Scored,
            reason: None,
            findings: vec![],
            instances: vec![],
        },
    };
    assert_eq!(store.complete(&job, &result).await.unwrap(), Settled::Stored);
    key
}

async fn deliver(store: &Store) {
    for job in store.claim(Kind::Deliver("pacs"), 10, LEASE, 3).await.unwrap() {
        assert_eq!(store.delivered(&job).await.unwrap(), Settled::Stored);
    }
    make_nothing(store).await;
}

#[tokio::test]
async fn an_orphan_goes_when_it_is_old_and_what_a_row_names_stays() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        send(&store, "1.2.9", b"NAMED").await;
        store.put_object(Bytes::from_static(b"ORPHAN")).await.unwrap();
        assert_eq!(
            store.sweep(Duration::from_hours(1)).await.unwrap(),
            Swept::default(),
            "it is young"
        );
        let report = store.check(true, || {}).await.unwrap();
        assert_eq!(
            (report.objects, report.orphans, report.disagreements),
            (2, 1, vec![])
        );
        assert_eq!(store.sweep(NOW).await.unwrap(), Swept { objects: 1, bytes: 6 });
        assert!(is_there(&store, b"NAMED").await && !is_there(&store, b"ORPHAN").await);
    }
}

#[tokio::test]
async fn what_a_result_was_made_from_stays_after_its_instance_was_replaced() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        send(&store, "1.2.9", b"FIRST").await;
        settle(&store).await;
        send(&store, "1.2.9", b"SECOND").await;
        assert_eq!(store.sweep(NOW).await.unwrap().objects, 0);
        assert!(is_there(&store, b"FIRST").await);
    }
}

/// The sweeper takes an orphan between a sender's storing it (it was there) and naming it.
#[tokio::test]
async fn a_sender_whose_object_was_swept_is_told_to_store_it_again() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        store.put_object(Bytes::from_static(b"ORPHAN")).await.unwrap();
        let (object, stored) = store.put_object(Bytes::from_static(b"ORPHAN")).await.unwrap();
        assert_eq!(stored, Stored::Before);
        assert_eq!(store.sweep(NOW).await.unwrap().objects, 1);
        let instance = instance("1.2", "1.2.9", object);
        assert_eq!(
            store
                .accept(&instance, &record(&instance), stored, &at_once)
                .await
                .unwrap(),
            None
        );
        assert_eq!(store.study(&uid()).await.unwrap(), None, "nothing was named");
        let (_, stored) = store.put_object(Bytes::from_static(b"ORPHAN")).await.unwrap();
        assert_eq!(stored, Stored::Now);
        assert_eq!(
            store
                .accept(&instance, &record(&instance), stored, &at_once)
                .await
                .unwrap(),
            Some(Accepted::New)
        );
    }
}

/// Senders and sweepers at the same objects: every object that a row names is there in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn senders_and_sweepers_at_once_lose_nothing() {
    for fixture in both().await {
        let contents: Vec<Bytes> = (0..20_u8).map(|number| vec![number; 100].into()).collect();
        for content in &contents {
            fixture.store.put_object(content.clone()).await.unwrap();
        }
        let sweeper = fixture.reopened().await;
        let sweeping = tokio::spawn(async move {
            let mut swept = 0;
            for _ in 0..20 {
                swept += sweeper.sweep(NOW).await.unwrap().objects;
            }
            swept
        });
        let mut senders = Vec::new();
        for (number, content) in contents.into_iter().enumerate() {
            let store = fixture.store.clone();
            senders.push(tokio::spawn(async move {
                loop {
                    let (object, stored) = store.put_object(content.clone()).await.unwrap();
                    // a fresh object is young; here the sweeper takes every age, so it is looked at in any case
                    let stored = if stored == Stored::Now {
                        Stored::Before
                    } else {
                        stored
                    };
                    let instance = instance("1.2", &format!("1.2.9.{number}"), object);
                    if store
                        .accept(&instance, &record(&instance), stored, &at_once)
                        .await
                        .unwrap()
                        .is_some()
                    {
                        return;
                    }
                }
            }));
        }
        for sender in senders {
            sender.await.unwrap();
        }
        sweeping.await.unwrap();
        let report = fixture.store.check(true, || {}).await.unwrap();
        assert_eq!((report.instances, report.disagreements), (20, vec![]));
    }
}

/// Between a sweeper's listing an orphan and its removing it, another sweeper removes it, and a sender stores it anew.
#[tokio::test]
async fn what_was_stored_since_it_was_listed_is_not_swept() {
    let age = Duration::from_hours(1);
    for fixture in both().await {
        let store = &fixture.store;
        let (object, _) = store.put_object(Bytes::from_static(b"ORPHAN")).await.unwrap();
        let listed = StoredObject {
            sha: object.clone(),
            modified: Timestamp(0),
            bytes: 6,
        };
        store.objects.remove(&object).await.unwrap();
        assert!(
            !store.remove_unnamed(&listed, age).await.unwrap(),
            "it is gone already"
        );
        let (_, stored) = store.put_object(Bytes::from_static(b"ORPHAN")).await.unwrap();
        assert_eq!(stored, Stored::Now);
        assert!(!store.remove_unnamed(&listed, age).await.unwrap(), "it is young");
        assert_eq!(
            accept(store, &instance("1.2", "1.2.9", object)).await,
            Accepted::New
        );
        assert!(is_there(store, b"ORPHAN").await);
    }
}

/// What replaces a damaged object is looked at as if it had been there all the time: a sweeper may be about to remove it.
#[tokio::test]
async fn an_object_that_is_mended_was_there_before() {
    let fixture = both().await.remove(0);
    let (object, _) = fixture
        .store
        .put_object(Bytes::from_static(b"DICM"))
        .await
        .unwrap();
    std::fs::write(path(&fixture, b"DICM"), b"DAMAGED").unwrap();
    let (mended, stored) = fixture
        .store
        .put_object(Bytes::from_static(b"DICM"))
        .await
        .unwrap();
    assert_eq!((mended, stored), (object, Stored::Before));
    assert!(is_there(&fixture.store, b"DICM").await);
}

#[tokio::test]
async fn what_a_result_was_made_from_stays_also_where_earlier_images_were_let_go() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        send(&store, "1.2.9", b"FIRST").await;
        settle(&store).await;
        deliver(&store).await;
        assert_eq!(store.forget_images(NOW).await.unwrap(), 1);
        assert_eq!(store.sweep(NOW).await.unwrap().objects, 1);
        send(&store, "1.2.9", b"SECOND").await;
        settle(&store).await;
        send(&store, "1.2.9", b"THIRD").await;
        assert_eq!(store.sweep(NOW).await.unwrap().objects, 0);
        assert!(is_there(&store, b"SECOND").await);
    }
}

#[tokio::test]
async fn images_go_when_their_study_is_finished_and_old_and_its_result_stays() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        send(&store, "1.2.9", b"DICM").await;
        assert_eq!(store.forget_images(NOW).await.unwrap(), 0, "it has no result yet");
        let key = settle(&store).await;
        assert_eq!(
            store.forget_images(NOW).await.unwrap(),
            0,
            "its result is not delivered yet"
        );
        deliver(&store).await;
        assert_eq!(
            store.forget_images(Duration::from_hours(1)).await.unwrap(),
            0,
            "it is young"
        );
        for still_young in [
            database::sql!("UPDATE instances SET received_at = 1"),
            database::sql!("UPDATE instances SET received_at = " now),
        ] {
            let aged = store.database.query(still_young);
            aged.execute(store.database.read()).await.unwrap();
            assert_eq!(store.forget_images(Duration::from_hours(1)).await.unwrap(), 0);
            let aged = store
                .database
                .query(database::sql!("UPDATE studies SET last_arrival_at = 1"));
            aged.execute(store.database.read()).await.unwrap();
        }
        assert_eq!(store.forget_images(NOW).await.unwrap(), 1);
        assert_eq!(store.forget_images(NOW).await.unwrap(), 0);
        assert_eq!(store.sweep(NOW).await.unwrap().objects, 1);
        assert!(store.instances(&uid()).await.unwrap()[0].removed_at.is_some());
        let study = store.study(&uid()).await.unwrap().unwrap();
        assert_eq!((study.state, study.result_key), (StudyState::Scored, Some(key)));
        assert_eq!(store.check(true, || {}).await.unwrap().disagreements, vec![]);

        let ordered = store.order(&uid(), None, &at_once).await.unwrap();
        assert_eq!(
            ordered,
            Asked::Removed,
            "what is left must not make its result worse"
        );
        assert_eq!(
            store.study(&uid()).await.unwrap().unwrap().state,
            StudyState::Scored
        );

        assert_eq!(
            send(&store, "1.2.9", b"DICM").await,
            Accepted::Identical,
            "sent again, it is there again"
        );
        let again = store.study(&uid()).await.unwrap().unwrap();
        assert_eq!(again.state, StudyState::Received, "and is looked at again");
        assert!(store.instances(&uid()).await.unwrap()[0].removed_at.is_none());
        assert_eq!(store.sweep(NOW).await.unwrap().objects, 0);
        assert!(is_there(&store, b"DICM").await);
    }
}

#[tokio::test]
async fn images_that_must_stay_do_not_hide_those_that_may_go() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        send(&store, "1.2.9", b"DICM").await;
        settle(&store).await;
        deliver(&store).await;
        // older, and not analysed yet: more than are looked at together
        for number in 0..250 {
            let waits = instance("1.3", &format!("1.3.{number}"), Sha::of(b"DICM"));
            accept(&store, &waits).await;
        }
        let aged = [
            database::sql!("UPDATE instances SET received_at = 1 WHERE study_uid = '1.3'"),
            database::sql!("UPDATE instances SET received_at = 2 WHERE study_uid = '1.2'"),
            database::sql!("UPDATE studies SET last_arrival_at = 2"),
        ];
        for statement in aged {
            let aged = store.database.query(statement);
            aged.execute(store.database.read()).await.unwrap();
        }
        assert_eq!(store.forget_images(Duration::from_hours(1)).await.unwrap(), 1);
        assert!(store.instances(&uid()).await.unwrap()[0].removed_at.is_some());
        let waiting = StudyUid::parse("1.3").unwrap();
        let waiting = store.instances(&waiting).await.unwrap();
        assert!(waiting.iter().all(|row| row.removed_at.is_none()));
    }
}

#[tokio::test]
async fn a_check_finds_what_is_lost_damaged_or_contradicts_itself() {
    for fixture in both().await {
        let store = &fixture.store;
        for (sop, content) in [("1.2.1", b"GOOD"), ("1.2.2", b"LOST"), ("1.2.3", b"FLIP")] {
            send(store, sop, content).await;
        }
        settle(store).await;
        std::fs::remove_file(path(&fixture, b"LOST")).unwrap();
        std::fs::write(path(&fixture, b"FLIP"), b"FLOP").unwrap();
        accept(store, &instance("1.3", "1.3.1", Sha::of(b"GOOD"))).await;
        let broken = store.database.query(database::sql!(
            "UPDATE studies SET state = 'analysing' WHERE study_uid = '1.3'"
        ));
        broken.execute(store.database.read()).await.unwrap();
        let found = |report: StoreReport| {
            report
                .disagreements
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        let wrong_row = "a study is to be analysed and no job is there for it: 1.3";
        let lost = "the object of an instance is missing: 1.2.2";
        assert_eq!(found(store.check(false, || {}).await.unwrap()), [wrong_row, lost]);
        let deep = found(store.check(true, || {}).await.unwrap());
        assert_eq!(
            deep,
            [wrong_row, lost, "the object of an instance is damaged: 1.2.3"]
        );
    }
}

//! What instances are found by, and objects that were made here: on both engines.

use std::time::Duration;

use sqlx::Row;

use super::database::sql;
use super::fixture::{Fixture, accept, at_once, both, instance, record, send, uid};
use super::*;
use crate::dicom::record::Record;

/// The record of an instance that says this of its study and its series.
fn says(instance: &NewInstance, patient: &str, modality: &str) -> Record {
    let header = serde_json::json!({
        "00080018": { "vr": "UI", "Value": [instance.uid] },
        "00080060": { "vr": "CS", "Value": [modality] },
        "00100020": { "vr": "LO", "Value": [patient] },
        "0020000D": { "vr": "UI", "Value": [instance.study] },
        "0020000E": { "vr": "UI", "Value": [instance.series] },
        "00200013": { "vr": "IS", "Value": [7] },
    });
    Record::of_header(&header.to_string(), true).unwrap()
}

async fn accept_that_says(store: &Store, instance: &NewInstance, patient: &str, modality: &str) -> Accepted {
    store
        .accept(
            instance,
            &says(instance, patient, modality),
            Stored::Now,
            &at_once,
        )
        .await
        .unwrap()
        .unwrap()
}

/// Patient ID of each study and Modality of each series.
async fn kept(store: &Store) -> Vec<(String, String, String)> {
    let rows = store
        .database
        .query(sql!(
            "SELECT study_records.study_uid, patient_id, modality FROM study_records \
             LEFT JOIN series_records ON series_records.study_uid = study_records.study_uid ORDER BY 1, 3"
        ))
        .fetch_all(store.database.read())
        .await
        .unwrap();
    rows.iter()
        .map(|row| {
            (
                row.get(0),
                row.get(1),
                row.try_get::<Option<String>, _>(2).unwrap().unwrap_or_default(),
            )
        })
        .collect()
}

fn row(study: &str, patient: &str, modality: &str) -> (String, String, String) {
    (study.to_owned(), patient.to_owned(), modality.to_owned())
}

/// Makes an instance one that was made here.
async fn mark_as_made(store: &Store, sop: &str) {
    store
        .database
        .query(sql!("UPDATE instances SET made_for = 'key' WHERE sop_uid = $1"))
        .bind(sop.to_owned())
        .execute(store.database.read())
        .await
        .unwrap();
}

#[tokio::test]
async fn the_last_arrival_says_what_a_study_and_a_series_are() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        let (one, two) = (
            instance("1.2", "1.2.8", Sha::of(b"a")),
            instance("1.2", "1.2.9", Sha::of(b"a")),
        );
        accept_that_says(&store, &one, "p1", "DX").await;
        accept_that_says(&store, &two, "p2", "CR").await;
        assert_eq!(kept(&store).await, [row("1.2", "p2", "CR")]);
        let rows = store
            .database
            .query(sql!("SELECT number FROM instances WHERE described = 1"));
        let rows = rows.fetch_all(store.database.read()).await.unwrap();
        assert_eq!(
            rows.iter().map(|row| row.get::<i64, _>(0)).collect::<Vec<_>>(),
            [7, 7]
        );

        // it moves to another study: the one that remains says what its study is
        let moved = instance("1.3", "1.2.9", Sha::of(b"a"));
        accept_that_says(&store, &moved, "p3", "CR").await;
        assert_eq!(
            kept(&store).await,
            [row("1.2", "p1", "DX"), row("1.3", "p3", "CR")]
        );
        let moved = instance("1.3", "1.2.8", Sha::of(b"a"));
        accept_that_says(&store, &moved, "p3", "CR").await;
        assert_eq!(
            kept(&store).await,
            [row("1.3", "p3", "CR")],
            "nothing is left of it"
        );
        // and to another series of its study
        let series = crate::dicom::SeriesUid::parse("1.2.4").unwrap();
        let moved = NewInstance {
            series,
            ..instance("1.3", "1.2.8", Sha::of(b"b"))
        };
        accept_that_says(&store, &moved, "p3", "DX").await;
        assert_eq!(
            kept(&store).await,
            [row("1.3", "p3", "CR"), row("1.3", "p3", "DX")]
        );
    }
}

#[tokio::test]
async fn an_instance_from_before_is_described_later_and_overtakes_nobody() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        let (old, new) = (
            instance("1.2", "1.2.9", Sha::of(b"a")),
            instance("1.2", "1.2.10", Sha::of(b"a")),
        );
        accept_that_says(&store, &old, "old", "DX").await;
        store.forget_records().await;
        accept_that_says(&store, &new, "new", "CR").await;
        let rows = store.undescribed("", 10).await.unwrap();
        assert_eq!(
            rows.iter().map(|row| &row.instance.uid).collect::<Vec<_>>(),
            [&old.uid]
        );
        let record = says(&old, "old", "DX");
        let other = NewInstance {
            object: Sha::of(b"b"),
            ..old.clone()
        };
        assert!(!store.describe(&other, &record).await.unwrap(), "other bytes");
        assert!(store.describe(&old, &record).await.unwrap());
        assert!(!store.describe(&old, &record).await.unwrap(), "once is enough");
        assert_eq!(kept(&store).await, [row("1.2", "new", "CR")]);
        assert!(store.undescribed("", 10).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_was_made_here_counts_for_nothing_that_was_received() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        send(&store, "1.2.8", b"DICM").await;
        send(&store, "1.2.9", b"SR").await;
        mark_as_made(&store, "1.2.9").await;
        assert_eq!(store.study(&uid()).await.unwrap().unwrap().instances, 1);
        let rows = store.instances(&uid()).await.unwrap();
        assert_eq!(
            rows.iter()
                .map(|row| row.instance.uid.as_str())
                .collect::<Vec<_>>(),
            ["1.2.8"]
        );
        assert_eq!(rows[0].made_for, None);

        // for those who search and retrieve it is an instance like all others
        let stored = store.stored(&uid(), None, None).await.unwrap();
        assert_eq!(stored.len(), 2);
        assert_eq!(stored[1].made_for.as_ref().map(ResultKey::as_str), Some("key"));
        let query = crate::dicom::query::Query::default();
        let search = Search {
            level: crate::dicom::record::Level::Study,
            study: None,
            series: None,
            query: &query,
        };
        let found = store.search(&search, 9).await.unwrap();
        assert_eq!(found[0].study_counts.as_ref().unwrap().instances, 2);

        // an order, a change and the queue count received ones
        let counts = std::sync::Mutex::new(vec![]);
        let patience = |snapshot: &Snapshot| {
            counts.lock().unwrap().push(snapshot.instances);
            Duration::ZERO
        };
        store.order(&uid(), None, &patience).await.unwrap();
        let third = instance("1.2", "1.2.10", Sha::of(b"DICM"));
        store
            .accept(&third, &record(&third), Stored::Now, &patience)
            .await
            .unwrap();
        let describe = |snapshot: &Snapshot| Completeness {
            basis: Basis::Quiet,
            instances: snapshot.instances,
            expected: None,
        };
        assert_eq!(store.enqueue_due(9, describe).await.unwrap(), 1);
        assert_eq!(*counts.lock().unwrap(), [1, 2]);
        let events = store.events(&uid()).await.unwrap();
        let queued = events.iter().find(|event| event.kind == "queued").unwrap();
        assert_eq!(queued.detail["instances"], 2);
    }
}

#[tokio::test]
async fn an_object_that_was_made_here_and_comes_back_changes_nothing() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        send(&store, "1.2.8", b"DICM").await;
        send(&store, "1.2.9", b"SR").await;
        mark_as_made(&store, "1.2.9").await;
        let before = store.study(&uid()).await.unwrap();
        for back in [
            instance("1.2", "1.2.9", Sha::of(b"SR")),
            instance("1.2", "1.2.9", Sha::of(b"another")),
            // under another study, of which nothing may be left
            instance("1.3", "1.2.9", Sha::of(b"SR")),
        ] {
            assert_eq!(accept(&store, &back).await, Accepted::Made);
        }
        assert_eq!(store.study(&uid()).await.unwrap(), before);
        assert_eq!(store.studies(9).await.unwrap().len(), 1);
        let object = store.database.query(sql!(
            "SELECT object_sha256 FROM instances WHERE sop_uid = '1.2.9'"
        ));
        let object = object.fetch_one(store.database.read()).await.unwrap();
        assert_eq!(object.get::<String, _>(0), Sha::of(b"SR").to_string());
    }
}

#[tokio::test]
async fn what_was_made_stays_when_the_images_go() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        send(&store, "1.2.8", b"DICM").await;
        send(&store, "1.2.9", b"SR").await;
        mark_as_made(&store, "1.2.9").await;
        for old in [
            sql!("UPDATE studies SET state = 'refused', last_arrival_at = 1"),
            sql!("UPDATE instances SET received_at = 1"),
        ] {
            store
                .database
                .query(old)
                .execute(store.database.read())
                .await
                .unwrap();
        }
        assert_eq!(store.forget_images(Duration::from_secs(1)).await.unwrap(), 1);
        let kept = store
            .database
            .query(sql!("SELECT sop_uid FROM instances WHERE removed_at IS NULL"));
        let kept = kept.fetch_all(store.database.read()).await.unwrap();
        assert_eq!(
            kept.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>(),
            ["1.2.9"]
        );
        assert_eq!(
            store.forget_images(Duration::from_secs(1)).await.unwrap(),
            0,
            "nothing but that is left"
        );
        assert!(store.is_named(&Sha::of(b"SR")).await.unwrap());
    }
}

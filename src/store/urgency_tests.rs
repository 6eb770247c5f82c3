//! What goes first, on both engines.

use std::time::Duration;

use super::database::sql;
use super::fixture::{Fixture, accept, both, instance, record};
use super::workitem_tests::{LEASE, arrive, claim, create, item, new, queued, result};
use super::*;
use crate::finding::Outcome;
use crate::workitem::{Attributes, Workitem, tag};

#[tokio::test]
async fn an_urgent_study_is_analysed_before_one_that_came_earlier() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        for (study, urgent) in [("1.5", false), ("1.6", true)] {
            let (object, _) = store.put_object(Bytes::from_static(b"DICM")).await.unwrap();
            let urgent = NewInstance {
                urgent,
                ..instance(study, &format!("{study}.1"), object)
            };
            accept(&store, &urgent).await;
        }
        assert_eq!(queued(&store).await, 2);
        let first = claim(&store, Kind::Analyse).await;
        assert_eq!(first.study.as_str(), "1.6");
        assert_eq!(claim(&store, Kind::Analyse).await.study.as_str(), "1.5");
    }
}

#[tokio::test]
async fn an_urgent_study_that_was_put_back_still_goes_first_and_the_others_do_not_starve() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        for (study, urgent) in [("1.4", false), ("1.5", false), ("1.6", true)] {
            let (object, _) = store.put_object(Bytes::from_static(b"DICM")).await.unwrap();
            let instance = NewInstance {
                urgent,
                ..instance(study, &format!("{study}.1"), object)
            };
            accept(&store, &instance).await;
        }
        assert_eq!(queued(&store).await, 3);
        let job = claim(&store, Kind::Analyse).await;
        assert_eq!((job.study.as_str(), job.urgent), ("1.6", true));
        let delay = Duration::from_millis(50);
        assert_eq!(
            store.fail_attempt(&job, "again", delay).await.unwrap(),
            Settled::Stored
        );
        tokio::time::sleep(2 * delay).await;
        assert_eq!(store.due_in(Kind::Analyse).await.unwrap(), Some(Duration::ZERO));
        let job = claim(&store, Kind::Analyse).await;
        assert_eq!(job.study.as_str(), "1.6", "it was put back after the others came");
        assert_eq!(
            store.fail_attempt(&job, "again", delay).await.unwrap(),
            Settled::Stored
        );
        tokio::time::sleep(2 * delay).await;
        let aged = sql!("UPDATE jobs SET available_at = available_at - 660000 WHERE study_uid = '1.5'");
        let aged = store.database.query(aged);
        aged.execute(store.database.read()).await.unwrap();
        let both = store.claim(Kind::Analyse, 2, LEASE, 5).await.unwrap();
        let both: Vec<&str> = both.iter().map(|job| job.study.as_str()).collect();
        assert_eq!(both, ["1.5", "1.6"], "it has waited for ten minutes longer");
        assert_eq!(claim(&store, Kind::Analyse).await.study.as_str(), "1.4");
    }
}

#[tokio::test]
async fn a_high_priority_goes_before_others() {
    for fixture in both().await {
        let store = &fixture.store;
        let other = instance("1.1", "1.1.1", store.put_object("other".into()).await.unwrap().0);
        store
            .accept(&other, &record(&other), Stored::Now, &|_| Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(queued(store).await, 1);
        let mut urgent = new("1.7", &["1.2.1"], None);
        urgent.workitem.attributes.put(tag::PRIORITY, "CS", "HIGH");
        create(store, &urgent).await;
        arrive(store, "1.2.1").await;
        assert_eq!(queued(store).await, 1);
        let job = claim(store, Kind::Analyse).await;
        assert_eq!((job.study.as_str(), job.urgent), ("1.2", true));
    }
}

#[tokio::test]
async fn a_priority_that_is_changed_counts_for_what_waits_already() {
    for fixture in both().await {
        let store = &fixture.store;
        for study in ["1.0", "1.1"] {
            let other = instance(study, &format!("{study}.1"), Sha::of(b"DICM"));
            accept(store, &other).await;
        }
        create(store, &new("1.7", &["1.2.1"], None)).await;
        arrive(store, "1.2.1").await;
        assert_eq!(queued(store).await, 3);
        let prioritise = async |priority: &str| {
            let mut changes = Attributes::default();
            changes.put(tag::PRIORITY, "CS", priority);
            let change = |workitem: &mut Workitem, _: bool, now: &str| workitem.update(changes, None, now);
            let changed = store.change_workitem(&item("1.7"), change).await.unwrap();
            changed.unwrap().unwrap();
        };
        prioritise("LOW").await;
        assert_eq!(claim(store, Kind::Analyse).await.study.as_str(), "1.0");
        prioritise("HIGH").await;
        let job = claim(store, Kind::Analyse).await;
        assert_eq!((job.study.as_str(), job.urgent), ("1.2", true));
        let _ = store
            .complete(&job, &result(&job, Outcome::Scored))
            .await
            .unwrap();
        assert!(
            claim(store, Kind::Deliver(OWN_ARCHIVE)).await.urgent,
            "its report goes first, too"
        );
    }
}

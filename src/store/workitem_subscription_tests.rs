//! What subscribers hear of workitems, on both engines and every server.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fixture::both;
use super::workitem_tests::{LEASE, arrive, claim, create, item, keep_reports, new, queued, result};
use super::*;
use crate::finding::Outcome;
use crate::workitem::{Attributes, Workitem, tag};

/// What a subscriber heard: workitem and state.
pub(super) async fn heard(store: &Store, ae_title: &str) -> Vec<(String, String)> {
    let reports = store.reports(ae_title, Timestamp(0), LEASE).await.unwrap();
    let told = |report: &Report| {
        let event = serde_json::to_value(&report.event).unwrap();
        let state = event[tag::STATE]["Value"][0]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (report.workitem.to_string(), state)
    };
    reports.iter().map(told).collect()
}

#[tokio::test]
async fn subscribers_hear_where_their_workitems_stand_on_every_server() {
    for fixture in both().await {
        let (store, elsewhere) = (&fixture.store, fixture.reopened().await);
        create(store, &new("1.7", &["1.2.1"], None)).await;
        let one = Target::Workitem(item("1.7"));
        assert!(store.subscribe("ONE", &one).await.unwrap());
        assert!(
            !store
                .subscribe("ONE", &Target::Workitem(item("1.6")))
                .await
                .unwrap()
        );
        assert!(store.subscribe("ALL", &Target::Every).await.unwrap());
        let filter = "SOPInstanceUID=1.8".to_owned();
        assert!(store.subscribe("SOME", &Target::Matching(filter)).await.unwrap());
        create(store, &new("1.8", &["1.2.9"], None)).await;
        store.suspend("ALL", &Target::Every).await.unwrap();
        create(store, &new("1.9", &["1.2.9"], None)).await;
        arrive(store, "1.2.1").await;
        assert_eq!(queued(store).await, 1);
        let job = claim(store, Kind::Analyse).await;
        assert!(store.unsubscribe("ONE", &one).await.unwrap());
        let _ = store
            .complete(&job, &result(&job, Outcome::Scored))
            .await
            .unwrap();
        keep_reports(store).await;
        let of = |workitem: &str, state: &str| (workitem.to_owned(), state.to_owned());
        let one = [of("1.7", "SCHEDULED"), of("1.7", "IN PROGRESS")];
        assert_eq!(heard(&elsewhere, "ONE").await, one);
        let all: BTreeSet<_> = heard(&elsewhere, "ALL").await.into_iter().collect();
        let wanted = [
            of("1.7", "SCHEDULED"),
            of("1.7", "IN PROGRESS"),
            of("1.7", "COMPLETED"),
            of("1.8", "SCHEDULED"),
        ];
        assert_eq!(all, BTreeSet::from(wanted));
        assert_eq!(heard(&elsewhere, "SOME").await, [of("1.8", "SCHEDULED")]);
        assert_eq!(store.forget_reports(Duration::from_hours(1)).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn who_subscribes_to_all_while_workitems_come_and_change_hears_of_each() {
    for fixture in both().await {
        let store = &fixture.store;
        for round in 0..12 {
            let came = |number: usize| format!("1.7.{round}.{number}");
            create(store, &new(&came(0), &["1.2.1"], None)).await;
            let mut at_once = tokio::task::JoinSet::new();
            for number in 1..6 {
                let (store, uid) = (store.clone(), came(number));
                at_once.spawn(async move {
                    create(&store, &new(&uid, &["1.2.1"], None)).await;
                });
            }
            let (subscriber, changer, first) = (store.clone(), store.clone(), item(&came(0)));
            let name = format!("AE{round}");
            let own = name.clone();
            at_once.spawn(async move {
                assert!(subscriber.subscribe(&own, &Target::Every).await.unwrap());
            });
            at_once.spawn(async move {
                let change = |workitem: &mut Workitem, told: bool, now: &str| {
                    workitem.request_cancel(&Attributes::default(), told, now)
                };
                changer
                    .change_workitem(&first, change)
                    .await
                    .unwrap()
                    .unwrap()
                    .unwrap();
            });
            while let Some(done) = at_once.join_next().await {
                done.unwrap();
            }
            let heard = heard(store, &name).await;
            for number in 1..6 {
                let one = came(number);
                assert!(
                    heard.iter().any(|(workitem, _)| *workitem == one),
                    "{one}: {heard:?}"
                );
            }
            // canceled before it was subscribed to, or heard of as it was
            let last = heard.iter().rfind(|(workitem, _)| *workitem == came(0));
            assert!(last.is_none_or(|(_, state)| state == "CANCELED"), "{heard:?}");
            store.unsubscribe(&name, &Target::Every).await.unwrap();
        }
    }
}

//! Which workitems are found, and which are no longer there to be found. On both engines.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fixture::both;
use super::workitem_subscription_tests::heard;
use super::workitem_tests::*;
use super::*;
use crate::workitem::{Attributes, Page, Query, State, Workitem, tag};

#[tokio::test]
async fn many_workitems_are_found_in_pages() {
    for fixture in both().await {
        let store = &fixture.store;
        for number in 1..=7 {
            create(store, &new(&format!("1.7.{number}"), &["1.2.1"], None)).await;
        }
        let (query, page) = Query::parse(&[("limit".to_owned(), "3".to_owned())]).unwrap();
        let mut seen = BTreeSet::new();
        for offset in [0, 3, 6] {
            let (found, more) = store
                .find_workitems(&query, &Page { offset, ..page })
                .await
                .unwrap();
            assert_eq!(more, offset < 6);
            seen.extend(found.into_iter().map(|workitem| workitem.uid));
        }
        assert_eq!(seen.len(), 7);
    }
}

/// However large workitems are, one answer has no more than some megabytes of them.
#[tokio::test]
async fn large_workitems_are_found_in_pages_of_bytes() {
    for fixture in both().await {
        let store = &fixture.store;
        for number in 1..=10 {
            let mut large = new(&format!("1.7.{number}"), &["1.2.1"], None);
            large
                .workitem
                .attributes
                .put("00741204", "LO", &"x".repeat(1_000_000));
            create(store, &large).await;
        }
        let (query, page) = Query::parse(&[]).unwrap();
        let (first, more) = store.find_workitems(&query, &page).await.unwrap();
        assert_eq!((first.len(), more), (8, true));
        let next = Page { offset: 8, ..page };
        let (rest, more) = store.find_workitems(&query, &next).await.unwrap();
        assert_eq!((rest.len(), more), (2, false));
    }
}

#[tokio::test]
async fn a_workitem_is_found_by_its_patient_its_study_and_its_state() {
    for fixture in both().await {
        let store = &fixture.store;
        let patients: [&[&str]; 4] = [&["P1"], &["P2"], &["P1", "P2"], &[]];
        for (number, patients) in (1..).zip(patients) {
            let mut new = new(&format!("1.7.{number}"), &["1.2.1"], None);
            let values = serde_json::json!({ "00100020": { "vr": "LO", "Value": patients } });
            let values = Attributes::read(values.to_string().as_bytes()).unwrap();
            new.workitem.attributes.merge(values);
            if number > 2 {
                // it names its study, and is another's work
                new.order = None;
            }
            let study = if number == 4 { "1.1" } else { "1.2" };
            let input = serde_json::json!({ "0020000D": { "vr": "UI", "Value": [study] } });
            new.workitem
                .attributes
                .put_sequence(tag::INPUT_INFORMATION, &[input]);
            create(store, &new).await;
        }
        let found = async |name: &str, value: &str| {
            let (query, page) = Query::parse(&[(name.to_owned(), value.to_owned())]).unwrap();
            let (found, _) = store.find_workitems(&query, &page).await.unwrap();
            let mut uids: Vec<_> = found.iter().map(|workitem| workitem.uid.to_string()).collect();
            uids.sort();
            uids.join(" ")
        };
        for (name, value, wanted) in [
            ("PatientID", "P1", "1.7.1 1.7.3"),
            ("PatientID", "P2", "1.7.2 1.7.3"),
            ("PatientID", "P3", ""),
            ("PatientID", "P?", "1.7.1 1.7.2 1.7.3"),
            ("00404021.0020000D", "1.2", "1.7.1 1.7.2 1.7.3"),
            ("00404021.0020000D", "1.1", "1.7.4"),
            ("ProcedureStepState", "SCHEDULED", "1.7.1 1.7.2 1.7.3 1.7.4"),
            ("ProcedureStepState", "COMPLETED", ""),
        ] {
            assert_eq!(found(name, value).await, wanted, "{name}={value}");
        }
    }
}

#[tokio::test]
async fn what_has_ended_long_ago_is_forgotten_with_its_subscriptions() {
    for fixture in both().await {
        let store = &fixture.store;
        for workitem in ["1.7", "1.8"] {
            create(store, &new(workitem, &["1.2.1"], None)).await;
            let target = Target::Workitem(item(workitem));
            assert!(store.subscribe("ONE", &target).await.unwrap());
        }
        let cancel = |workitem: &mut Workitem, told: bool, now: &str| {
            workitem.request_cancel(&Attributes::default(), told, now)
        };
        assert_eq!(store.forget_workitems(Duration::ZERO).await.unwrap(), 0);
        store
            .change_workitem(&item("1.7"), cancel)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(store.forget_workitems(LEASE).await.unwrap(), 0, "not long ago");
        assert_eq!(store.forget_workitems(Duration::ZERO).await.unwrap(), 1);
        assert_eq!(store.workitem(&item("1.7")).await.unwrap(), None);
        assert_eq!(state(store, "1.8").await, State::Scheduled);
        // one of the same UID is a new one, of which nobody hears
        assert!(create(store, &new("1.7", &["1.2.1"], None)).await);
        let before = heard(store, "ONE").await.len();
        store
            .change_workitem(&item("1.7"), cancel)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(heard(store, "ONE").await.len(), before);
        sound(&fixture).await;
    }
}

//! What a workitem allows and what becomes of it.

use serde_json::{Map, Value, json};

use super::*;
use crate::dicom::StudyUid;
use crate::fault::FaultKind;
use crate::finding::{InstanceResult, Outcome, StudyResult, StudyRule};

pub(super) const NOW: &str = "20261129120000.000+0000";

pub(super) fn uid() -> InstanceUid {
    InstanceUid::parse("1.2.7").unwrap()
}

pub(super) fn read(body: &Value) -> Attributes {
    Attributes::read(body.to_string().as_bytes()).unwrap()
}

/// An order for two instances of the study 1.2, as an archive writes it.
pub(super) fn ordered() -> Value {
    json!({
        "00741200": { "vr": "CS", "Value": ["HIGH"] },
        "00741204": { "vr": "LO", "Value": ["Score"] },
        "00404018": { "vr": "SQ", "Value": [{ "00080100": { "vr": "SH", "Value": ["score"] } }] },
        "00404021": { "vr": "SQ", "Value": [{
            "0020000D": { "vr": "UI", "Value": ["1.2"] },
            "00081199": { "vr": "SQ", "Value": [
                { "00081155": { "vr": "UI", "Value": ["1.2.1"] } },
                { "00081155": { "vr": "UI", "Value": ["1.2.2"] } },
            ]},
            "0040E021": { "vr": "SQ", "Value": [{ "00080054": { "vr": "AE", "Value": ["PACS"] } }] },
            "0040E025": { "vr": "SQ", "Value": [{ "00081190": { "vr": "UR", "Value": ["http://pacs/studies/1.2"] } }] },
        }]},
    })
}

fn scheduled() -> Workitem {
    Workitem::schedule(uid(), read(&ordered()), NOW).unwrap().workitem
}

fn state(state: &str, transaction: Option<&str>) -> Attributes {
    let mut request = Attributes::default();
    request.put(tag::STATE, "CS", state);
    if let Some(transaction) = transaction {
        request.put(tag::TRANSACTION_UID, "UI", transaction);
    }
    request
}

fn performed() -> Attributes {
    let mut performed = Attributes::default();
    performed.put_sequence(tag::PERFORMED_PROCEDURE, &[json!({})]);
    performed
}

fn kind(event: &Event) -> (Value, Value) {
    let event = serde_json::to_value(event).unwrap();
    (
        event["00001002"]["Value"][0].clone(),
        event[tag::STATE]["Value"][0].clone(),
    )
}

#[test]
fn what_is_missing_and_has_one_sensible_value_is_put_in() {
    let new = Workitem::schedule(uid(), read(&ordered()), NOW).unwrap();
    assert!(new.modified);
    let of = |tag| new.workitem.attributes.text(tag);
    assert_eq!(of(tag::STATE), Some("SCHEDULED"));
    assert_eq!(of(tag::PRIORITY), Some("HIGH"));
    assert_eq!(of(tag::SOP_INSTANCE_UID), Some("1.2.7"));
    assert_eq!(of(tag::SCHEDULED_START), Some(NOW));
    let again = Workitem::schedule(uid(), new.workitem.attributes.clone(), NOW).unwrap();
    assert!(!again.modified, "nothing is missing any more");
}

#[test]
fn a_new_workitem_is_scheduled_and_has_no_performer() {
    for (tag, vr, value) in [
        (tag::STATE, "CS", "IN PROGRESS"),
        (tag::TRANSACTION_UID, "UI", "1.2.3"),
        (tag::SOP_INSTANCE_UID, "UI", "1.2.8"),
    ] {
        let mut attributes = read(&ordered());
        attributes.put(tag, vr, value);
        assert_eq!(
            Workitem::schedule(uid(), attributes, NOW).unwrap_err().code,
            "workitem",
            "{tag}"
        );
    }
    for reserved in [EVERY_WORKITEM, MATCHING_WORKITEMS] {
        let uid = InstanceUid::parse(reserved).unwrap();
        assert!(Workitem::schedule(uid, Attributes::default(), NOW).is_err());
    }
}

#[test]
fn an_order_is_that_of_one_study_for_this_station() {
    let attributes = read(&ordered());
    let order = Order::of(&attributes).unwrap().unwrap();
    assert_eq!(
        (
            order.study.as_str(),
            order.instances.len(),
            attributes.is_urgent()
        ),
        ("1.2", 2, true)
    );
    assert!(order.says_where() && order.retrieve_from.contains("PACS"));
    let with = |tag: &str, element: Value| {
        let mut body = ordered();
        body[tag] = element;
        Order::of(&read(&body))
    };
    let station =
        |value: &str| json!({ "vr": "SQ", "Value": [{ "00080100": { "vr": "SH", "Value": [value] } }] });
    assert_eq!(with(tag::SCHEDULED_STATION, station("CT-1")).unwrap(), None);
    assert!(with(tag::SCHEDULED_STATION, station("OSTEON")).unwrap().is_some());
    let none = json!({ "vr": "SQ" });
    assert_eq!(with(tag::INPUT_INFORMATION, none.clone()).unwrap(), None);
    let mut for_us = ordered();
    for_us[tag::INPUT_INFORMATION] = none;
    for_us[tag::SCHEDULED_STATION] = station("osteon");
    assert!(
        Order::of(&read(&for_us)).is_err(),
        "it is for this station and names no study"
    );
    let study = |uid: &str| json!({ "0020000D": { "vr": "UI", "Value": [uid] } });
    for items in [json!([study("1.2"), study("1.3")]), json!([study("1..2")])] {
        assert!(with(tag::INPUT_INFORMATION, json!({ "vr": "SQ", "Value": items })).is_err());
    }
    assert_eq!(StudyUid::parse("1.2").unwrap(), order.study);
}

#[test]
fn the_state_goes_one_way_and_only_for_whoever_has_the_transaction() {
    let mut workitem = scheduled();
    let change = |workitem: &mut Workitem, to: &str, by| workitem.change_state(&state(to, by), NOW);
    assert_eq!(
        change(&mut workitem, "IN PROGRESS", None),
        Err(Refusal::TransactionMissing)
    );
    assert_eq!(
        change(&mut workitem, "COMPLETED", Some("1.9")),
        Err(Refusal::Inconsistent)
    );
    assert_eq!(
        change(&mut workitem, "SCHEDULED", Some("1.9")),
        Err(Refusal::Inconsistent)
    );
    assert!(matches!(
        change(&mut workitem, "DONE", Some("1.9")),
        Err(Refusal::Invalid(_))
    ));
    assert!(matches!(
        change(&mut workitem, "IN PROGRESS", Some("x")),
        Err(Refusal::Invalid(_))
    ));
    assert_eq!(workitem, scheduled(), "a refusal changes nothing");
    let begun = change(&mut workitem, "IN PROGRESS", Some("1.9")).unwrap();
    assert_eq!(kind(&begun.events[0]), (json!(1), json!("IN PROGRESS")));
    assert!(
        !workitem.attributes.has(tag::TRANSACTION_UID),
        "nobody else gets to see it"
    );
    assert_eq!(
        change(&mut workitem, "IN PROGRESS", Some("1.9")),
        Err(Refusal::Inconsistent)
    );
    assert_eq!(
        change(&mut workitem, "COMPLETED", Some("1.8")),
        Err(Refusal::TransactionIncorrect)
    );
    assert!(matches!(
        change(&mut workitem, "COMPLETED", Some("1.9")),
        Err(Refusal::Unready(_))
    ));
    assert_eq!(
        workitem.update(performed(), None, NOW),
        Err(Refusal::TransactionMissing)
    );
    assert_eq!(
        workitem.update(performed(), Some("1.8"), NOW),
        Err(Refusal::TransactionIncorrect)
    );
    workitem.update(performed(), Some("1.9"), NOW).unwrap();
    change(&mut workitem, "COMPLETED", Some("1.9")).unwrap();
    assert_eq!(
        change(&mut workitem, "COMPLETED", Some("1.9")).unwrap().already,
        Some(State::Completed)
    );
    assert_eq!(
        change(&mut workitem, "CANCELED", Some("1.9")),
        Err(Refusal::Inconsistent)
    );
    assert_eq!(
        workitem.update(performed(), Some("1.9"), NOW),
        Err(Refusal::Inconsistent)
    );
}

#[test]
fn an_update_changes_neither_identity_nor_state_nor_input() {
    for (tag, vr, value) in [
        (tag::STATE, "CS", "COMPLETED"),
        (tag::SOP_INSTANCE_UID, "UI", "1.2.8"),
        (tag::PATIENT_ID, "LO", "another"),
    ] {
        let mut changes = Attributes::default();
        changes.put(tag, vr, value);
        assert!(
            matches!(scheduled().update(changes, None, NOW), Err(Refusal::Invalid(_))),
            "{tag}"
        );
    }
    let mut workitem = scheduled();
    let mut changes = Attributes::default();
    changes.put(tag::LABEL, "LO", "Another");
    changes.put(tag::STATE, "CS", "SCHEDULED");
    changes.put_sequence(tag::PROGRESS_INFORMATION, &[json!({})]);
    changes.put_sequence(tag::SCHEDULED_PERFORMERS, &[json!({})]);
    let changed = workitem.update(changes, None, NOW).unwrap();
    let kinds: Vec<_> = changed.events.iter().map(|event| kind(event).0).collect();
    assert_eq!(kinds, [json!(3), json!(5)]);
    assert_eq!(workitem.attributes.text(tag::LABEL), Some("Another"));
}

#[test]
fn an_update_may_change_the_priority_but_not_whose_work_it_is() {
    let mut workitem = scheduled();
    let mut changes = Attributes::default();
    changes.put(tag::PRIORITY, "CS", "LOW");
    workitem.update(changes, None, NOW).unwrap();
    assert!(!workitem.attributes.is_urgent());
    let station = |code: &str| {
        let mut changes = Attributes::default();
        let code = json!({ "00080100": { "vr": "SH", "Value": [code] } });
        changes.put_sequence(tag::SCHEDULED_STATION, &[code]);
        changes
    };
    workitem.update(station("osteon"), None, NOW).unwrap();
    let before = workitem.clone();
    let refused = workitem.update(station("CT-1"), None, NOW);
    assert!(matches!(refused, Err(Refusal::Invalid(_))));
    assert_eq!(workitem, before);

    let mut body = ordered();
    body[tag::SCHEDULED_STATION] =
        serde_json::to_value(station("CT-1")).unwrap()[tag::SCHEDULED_STATION].clone();
    let mut anothers = Workitem::schedule(uid(), read(&body), NOW).unwrap().workitem;
    let refused = anothers.update(station("OSTEON"), None, NOW);
    assert!(matches!(refused, Err(Refusal::Invalid(_))));
    anothers.update(station("CT-2"), None, NOW).unwrap();
}

#[test]
fn a_wish_to_cancel_is_granted_unless_another_performs_it() {
    let mut why = Attributes::default();
    why.put(tag::REASON_FOR_CANCELLATION, "LT", "not needed");
    let mut workitem = scheduled();
    let changed = workitem.request_cancel(&why, false, NOW).unwrap();
    let kinds: Vec<_> = changed.events.iter().map(kind).collect();
    assert_eq!(
        kinds,
        [(json!(1), json!("IN PROGRESS")), (json!(1), json!("CANCELED"))]
    );
    let progress = workitem
        .attributes
        .items(tag::PROGRESS_INFORMATION)
        .next()
        .unwrap();
    assert_eq!(progress[tag::REASON_FOR_CANCELLATION]["Value"][0], "not needed");
    assert_eq!(
        workitem.request_cancel(&why, false, NOW).unwrap().already,
        Some(State::Canceled)
    );

    let mut here = scheduled();
    here.begin("1.9".into(), NOW);
    here.request_cancel(&why, false, NOW).unwrap();
    assert_eq!(here.state, State::Canceled);

    let mut elsewhere = scheduled();
    elsewhere
        .change_state(&state("IN PROGRESS", Some("1.9")), NOW)
        .unwrap();
    assert_eq!(
        elsewhere.request_cancel(&why, false, NOW),
        Err(Refusal::OutOfReach)
    );
    let told = elsewhere.request_cancel(&why, true, NOW).unwrap();
    assert_eq!(kind(&told.events[0]).0, json!(2));
    assert_eq!(elsewhere.state, State::InProgress);
    elsewhere.update(performed(), Some("1.9"), NOW).unwrap();
    elsewhere
        .change_state(&state("COMPLETED", Some("1.9")), NOW)
        .unwrap();
    assert_eq!(
        elsewhere.request_cancel(&why, true, NOW),
        Err(Refusal::AlreadyCompleted)
    );
}

fn result(kind: Option<FaultKind>) -> StudyResult {
    let fault = Fault::new(kind.unwrap_or(FaultKind::Refused), "modality", "it is CT");
    let mut result = StudyResult::of(
        vec![InstanceResult::unscored(&fault, None)],
        &StudyRule::default(),
        &[],
    );
    if kind.is_none() {
        result.outcome = Outcome::Scored;
    }
    result
}

fn ending(result: &StudyResult) -> Ending<'_> {
    Ending {
        study: "1.2",
        key: "key",
        result,
        is_kept: true,
        cause: None,
    }
}

#[test]
fn a_scored_study_completes_it_with_the_report_and_any_other_cancels_it_with_the_reason() {
    let mut workitem = scheduled();
    workitem.begin("1.9".into(), NOW);
    let event = workitem.end(&ending(&result(None)), NOW);
    assert_eq!(kind(&event), (json!(1), json!("COMPLETED")));
    let shown = serde_json::to_value(workitem.shown("http://osteon/dicom-web")).unwrap();
    let performed = &shown[tag::PERFORMED_PROCEDURE]["Value"][0];
    assert_eq!(
        performed[tag::PERFORMED_WORKITEM_CODE]["Value"][0]["00080100"]["Value"][0],
        "score"
    );
    let output = &performed[tag::OUTPUT_INFORMATION]["Value"][0];
    let report = &output[tag::REFERENCED_SOP_SEQUENCE]["Value"][0][tag::REFERENCED_INSTANCE]["Value"][0];
    assert_eq!(report, &json!(crate::report::report_uid("key")));
    let place = output[tag::WADO_RS_RETRIEVAL]["Value"][0][tag::RETRIEVE_URL]["Value"][0]
        .as_str()
        .unwrap();
    assert!(
        place.starts_with("http://osteon/dicom-web/studies/1.2/series/2.25."),
        "{place}"
    );

    for kind_of in [FaultKind::Refused, FaultKind::Internal] {
        let mut workitem = scheduled();
        workitem.begin("1.9".into(), NOW);
        let event = workitem.end(&ending(&result(Some(kind_of))), NOW);
        assert_eq!(kind(&event), (json!(1), json!("CANCELED")));
        let progress = workitem
            .attributes
            .items(tag::PROGRESS_INFORMATION)
            .next()
            .unwrap();
        assert_eq!(progress[tag::REASON_FOR_CANCELLATION]["Value"][0], "it is CT");
        let code = &progress[tag::DISCONTINUATION_REASON]["Value"][0];
        assert_eq!(
            (&code["00080100"]["Value"][0], &code["00080102"]["Value"][0]),
            (&json!("modality"), &json!("99OSTEON"))
        );
    }

    let (scored, mut workitem) = (result(None), scheduled());
    workitem.begin("1.9".into(), NOW);
    let unkept = Ending {
        is_kept: false,
        cause: Some("no room"),
        ..ending(&scored)
    };
    let event = workitem.end(&unkept, NOW);
    assert_eq!(kind(&event), (json!(1), json!("CANCELED")));
    let text = serde_json::to_string(&workitem.attributes).unwrap();
    assert!(
        text.contains("could not be kept: no room") && !text.contains(&crate::report::report_uid("key")),
        "{text}"
    );
}

#[test]
fn an_output_that_is_no_item_is_shown_as_it_is() {
    let mut workitem = scheduled();
    workitem.performed_here = true;
    let odd = json!([{ "00404033": { "vr": "SQ", "Value": ["x", null, 7] } }]);
    let mut update = read(&ordered());
    update.put_sequence(tag::PERFORMED_PROCEDURE, odd.as_array().unwrap());
    workitem.attributes = update;
    let shown = Map::from(workitem.shown("http://here"));
    assert_eq!(shown[tag::PERFORMED_PROCEDURE]["Value"], odd);
}

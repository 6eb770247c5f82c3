//! What became of a study and why, in sentences. Pure.

use crate::store::{Basis, Event, StudyRow, StudyState, Timestamp};

/// Workers queue what is due within a second or so. What waits for more seconds than this has none that can.
const PUNCTUAL: i64 = 30;

/// Why the study has its score, or why it has none, `now` by the clock of its store.
#[must_use]
pub fn account(study: &StudyRow, events: &[Event], now: Timestamp) -> String {
    let last = |kind: &str| {
        let of_now = |event: &&Event| event.generation == study.generation && event.kind == kind;
        events.iter().rev().find(of_now)
    };
    let said = |event: &Event, field: &str| event.detail[field].as_str().map(str::to_owned);
    let overdue = study.due_at.map_or(0, |due| now.0 - due.0) / 1000;
    let mut sentences = vec![match study.state {
        StudyState::Received if study.instances == 0 && of_fetch(study, events).is_none() => {
            "It was ordered, and nothing of it has come so far.".to_owned()
        }
        StudyState::Received if overdue > PUNCTUAL => not_taken_up(study, overdue),
        StudyState::Received => of_fetch(study, events).unwrap_or_else(|| {
            format!(
                "It has {} and waits to be complete, because nobody has said that no more will come.",
                images(study.instances)
            )
        }),
        StudyState::Analysing => match last_of_analysis(study, events) {
            Some(failed) if failed.kind == "attempt-failed" => format!(
                "Attempt {} failed: {}. It is tried again.",
                failed.detail["attempt"],
                said(failed, "cause").unwrap_or_default()
            ),
            Some(claimed) if claimed.kind == "claimed" => format!(
                "Attempt {} of its analysis is under way.",
                claimed.detail["attempt"]
            ),
            _ => "It is complete and waits for a worker.".to_owned(),
        },
        StudyState::Scored => {
            let model = last("scored").and_then(|scored| said(scored, "model"));
            format!(
                "It was scored by {}.",
                model.as_deref().unwrap_or("a model that is not known any more")
            )
        }
        StudyState::Refused => format!("It must not be scored: {}.", reason(study)),
        StudyState::Failed => format!(
            "It could not be scored: {}. `osteon jobs retry {}` tries it again.",
            reason(study),
            study.study
        ),
    }];
    if let Some(completeness) = study.completeness.as_ref().filter(|_| study.result.is_some()) {
        let count = images(completeness.instances);
        sentences.push(match (completeness.basis, completeness.expected) {
            (Basis::Quiet, _) => format!("It had {count} when none had come for a while."),
            (Basis::Expected, _) => format!("It had {count}, as many as were expected."),
            (Basis::Overdue, Some(expected)) => {
                format!("It had {count} of {expected} that were expected; the others did not come in time.")
            }
            (Basis::Overdue, None) => format!("It had {count}."),
            (Basis::Workitem, _) => format!("It had {count}, all that a workitem lists."),
            (Basis::Ordered, _) => format!("It had {count} when its result was asked for."),
        });
    }
    if study.supersedes.is_some() {
        sentences.push("The result takes the place of an earlier one.".to_owned());
    }
    sentences.join(" ")
}

/// Nothing is written of a study that cannot be written of: what keeps it is elsewhere.
fn not_taken_up(study: &StudyRow, seconds: i64) -> String {
    format!(
        "It has {} and has been complete for {seconds} seconds, and no server has taken it up: either none runs as a worker (`osteon serve \
         --role all` or `worker`), or those that do cannot write, because the disk is full or the database refuses it. Their log says \
         which; nothing of the study is lost, and it goes on by itself.",
        images(study.instances)
    )
}

/// Where the fetch stands that the study waits for, if it waits for one.
fn of_fetch(study: &StudyRow, events: &[Event]) -> Option<String> {
    let of_fetch = |event: &&Event| event.kind.starts_with("fetch") || event.detail["job"] == "fetch";
    let last = events.iter().rfind(of_fetch)?;
    let (peer, here) = (last.detail["peer"].as_str()?, images(study.instances));
    match last.kind.as_str() {
        "fetch-queued" | "retried" | "released" => {
            Some(format!("It is fetched from {peer}; {here} came so far."))
        }
        "fetch-failed" => Some(format!(
            "Attempt {} to fetch it from {peer} failed: {}. It is tried again.",
            last.detail["attempt"],
            last.detail["cause"].as_str().unwrap_or_default()
        )),
        _ => None,
    }
}

/// What happened last to the job that analyses the study as it is now.
fn last_of_analysis<'a>(study: &StudyRow, events: &'a [Event]) -> Option<&'a Event> {
    let of_analysis = |event: &&Event| match event.kind.as_str() {
        "queued" | "claimed" | "attempt-failed" => true,
        // of a delivery, too
        "released" | "retried" => event.detail["job"] == "analyse",
        _ => false,
    };
    let mut of_now = events.iter().filter(|event| event.generation == study.generation);
    of_now.rfind(of_analysis)
}

fn reason(study: &StudyRow) -> String {
    let reason = study.result.as_ref().and_then(|result| result.reason.as_ref());
    reason.map_or_else(
        || "no reason is known".to_owned(),
        |reason| format!("{} ({})", reason.message, reason.code),
    )
}

fn images(count: i64) -> String {
    if count == 1 {
        "1 instance".to_owned()
    } else {
        format!("{count} instances")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dicom::StudyUid;
    use crate::fault::{Fault, FaultKind};
    use crate::finding::{InstanceResult, StudyResult, StudyRule};
    use crate::store::{Completeness, Timestamp};

    fn event(at: i64, kind: &str, detail: Value) -> Event {
        Event {
            at: Timestamp(at),
            kind: kind.to_owned(),
            generation: 1,
            detail,
        }
    }

    fn study(state: StudyState) -> StudyRow {
        let fault = Fault::new(FaultKind::Refused, "modality", "it is CT");
        let result = StudyResult::of(
            vec![InstanceResult::unscored(&fault, None)],
            &StudyRule::default(),
            &[],
        );
        let settled = matches!(
            state,
            StudyState::Scored | StudyState::Refused | StudyState::Failed
        );
        StudyRow {
            study: StudyUid::parse("1.2").unwrap(),
            state,
            received_at: Timestamp(0),
            last_arrival_at: Timestamp(0),
            analysed_at: None,
            generation: 1,
            instances: 2,
            due_at: Some(Timestamp(0)),
            result: settled.then_some(result),
            result_key: None,
            supersedes: None,
            completeness: Some(Completeness {
                basis: Basis::Overdue,
                instances: 2,
                expected: Some(3),
            }),
        }
    }

    #[test]
    fn every_state_is_accounted_for() {
        let claimed = event(1, "claimed", json!({ "attempt": 2 }));
        let failed = event(
            2,
            "attempt-failed",
            json!({ "attempt": 2, "cause": "the engine stopped" }),
        );
        let scored = event(3, "scored", json!({ "model": "spine 4" }));
        let released = event(3, "released", json!({ "attempt": 2, "job": "analyse" }));
        let retried = event(3, "retried", json!({ "job": "analyse" }));
        let sent_later = event(3, "released", json!({ "attempt": 2, "job": "deliver" }));
        let of = |state, events: &[Event]| account(&study(state), events, Timestamp(1000));
        assert!(of(StudyState::Received, &[]).contains("2 instances and waits to be complete"));
        let text = account(&study(StudyState::Received), &[], Timestamp(90_000));
        assert!(
            text.contains("complete for 90 seconds") && text.contains("disk is full"),
            "{text}"
        );
        let ordered = event(1, "fetch-queued", json!({ "peer": "pacs" }));
        let down = event(
            2,
            "fetch-failed",
            json!({ "peer": "pacs", "attempt": 1, "cause": "no connection" }),
        );
        let here = event(3, "fetched", json!({ "peer": "pacs" }));
        assert!(
            of(StudyState::Received, std::slice::from_ref(&ordered))
                .contains("fetched from pacs; 2 instances")
        );
        let events = [ordered, down, here];
        assert!(
            of(StudyState::Received, &events[..2])
                .contains("Attempt 1 to fetch it from pacs failed: no connection.")
        );
        assert!(of(StudyState::Received, &events).contains("waits to be complete"));
        assert!(of(StudyState::Analysing, &[]).contains("waits for a worker"));
        assert!(
            of(StudyState::Analysing, std::slice::from_ref(&claimed)).contains("Attempt 2 of its analysis")
        );
        for put_back in [released, retried] {
            let events = [claimed.clone(), put_back];
            assert!(of(StudyState::Analysing, &events).contains("waits for a worker"));
        }
        let events = [claimed.clone(), sent_later];
        assert!(of(StudyState::Analysing, &events).contains("under way"));
        assert!(
            of(StudyState::Analysing, &[claimed, failed]).contains("Attempt 2 failed: the engine stopped.")
        );
        let text = of(StudyState::Scored, &[scored]);
        assert!(
            text.contains("scored by spine 4. It had 2 instances of 3"),
            "{text}"
        );
        assert!(of(StudyState::Refused, &[]).contains("must not be scored: it is CT (modality)."));
        assert!(of(StudyState::Failed, &[]).contains("osteon jobs retry 1.2"));
    }
}

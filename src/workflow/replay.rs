//! A stored result is made again, from the same bytes by the same model, and compared.

use std::time::Duration;

use super::analyse::{Chosen, Score, Stopped, score_object};
use crate::fault::{Fault, FaultKind};
use crate::finding::{Finding, InstanceResult, Reading, StudyResult};
use crate::inference::Priority;
use crate::store::{ResultRow, Store};

/// How long one image may take.
const LONGEST: Duration = Duration::from_mins(5);

/// What came of making a result again.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// The result as it is now.
    pub result: StudyResult,
    /// The largest difference between a number of then and of now.
    pub difference: f32,
    /// What else differs: outcomes, reasons, labels.
    pub other: Vec<String>,
}

impl Replay {
    /// Whether everything is as it was, and numbers differ by no more than `tolerance`.
    #[must_use]
    pub fn is_same(&self, tolerance: f32) -> bool {
        self.other.is_empty() && self.difference <= tolerance
    }
}

/// Repeats the case of `row` with `chosen`, whose digest must be that of the model that made it.
///
/// # Errors
/// A [`Fault`] that says which image or model is not there any more.
pub async fn replay(
    store: &Store,
    scorer: &dyn Score,
    chosen: &Chosen,
    row: &ResultRow,
) -> Result<Replay, Fault> {
    if row.model_digest.as_deref() != Some(chosen.model.digest.as_str()) {
        let message = "the result was made by another model: nothing can be said about it with this one";
        return Err(Fault::new(FaultKind::Refused, "another-model", message));
    }
    let mut instances: Vec<InstanceResult> = Vec::new();
    // in the order of then, which decides between equals
    for then in &row.body.instances {
        let input = row
            .inputs
            .iter()
            .find(|input| then.sop_instance_uid.as_deref() == Some(input.instance.as_str()))
            .ok_or_else(|| {
                Fault::new(
                    FaultKind::NotFound,
                    "input",
                    "the result does not say what it was made from",
                )
            })?;
        let scored = score_object(store, scorer, &chosen.model, input, Priority::Routine);
        let scored = tokio::time::timeout(LONGEST, scored).await;
        instances.push(match scored {
            Ok(Ok(result)) => result,
            Ok(Err(Stopped::Fault(fault))) => return Err(fault),
            Ok(Err(Stopped::Stale)) | Err(_) => {
                return Err(Fault::new(
                    FaultKind::Internal,
                    "timeout",
                    "an image took longer than five minutes",
                ));
            }
        });
    }
    let now = StudyResult::of(instances, &chosen.rule, &chosen.questions);
    Ok(compare(&row.body, now))
}

fn compare(then: &StudyResult, now: StudyResult) -> Replay {
    let (mut difference, mut other) = (0.0_f32, Vec::new());
    let mut differs = |what: &str, then: &str, now: &str| {
        if then != now {
            other.push(format!("{what}: {then} then, {now} now"));
        }
    };
    differs("outcome", then.outcome.name(), now.outcome.name());
    let code = |result: &InstanceResult| {
        result
            .reason
            .as_ref()
            .map_or("none", |reason| &reason.code)
            .to_owned()
    };
    for (then, now) in then.instances.iter().zip(&now.instances) {
        let what = format!("instance {}", then.sop_instance_uid.as_deref().unwrap_or("?"));
        differs(&what, then.outcome.name(), now.outcome.name());
        differs(&format!("{what}, reason"), &code(then), &code(now));
        difference = difference.max(apart(&then.findings, &now.findings));
    }
    difference = difference.max(apart(&then.findings, &now.findings));
    Replay {
        result: now,
        difference,
        other,
    }
}

/// How far the numbers of the same labels lie apart; infinitely, where one has a label that the other lacks.
fn apart(then: &[Finding], now: &[Finding]) -> f32 {
    if then.len() != now.len() {
        return f32::INFINITY;
    }
    let pairs = then
        .iter()
        .zip(now)
        .map(|(then, now)| match (&then.reading, &now.reading) {
            _ if then.label != now.label => f32::INFINITY,
            (
                Reading::Probability {
                    probability: then, ..
                },
                Reading::Probability { probability: now, .. },
            )
            | (Reading::Quantity { value: then, .. }, Reading::Quantity { value: now, .. }) => {
                (then - now).abs()
            }
            _ => f32::INFINITY,
        });
    pairs.fold(0.0, f32::max)
}

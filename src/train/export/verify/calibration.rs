//! The temperatures that the manifest tells are those in the network: goldens compare logits, which have none yet.

use super::{Unmet, distance, engine};
use crate::finding::Task;
use crate::model::{Activation, Head, Package};
use crate::runtime::Runtime;
use crate::runtime::proof::golden_inputs;

/// Most by which a probability may differ: the inverse of a temperature may be kept in 16 bits.
const MOST_OFF: f32 = 1e-3;

/// The answers to the golden cases are the logits at the labels' temperatures.
pub(super) fn temperatures(package: &Package, runtime: &Runtime) -> Result<String, Unmet> {
    let heads = &package.manifest.heads;
    let shown = heads.iter().filter(|head| head.logits.is_some()).count();
    if shown == 0 {
        return Err(Unmet::Lacks(
            "no head names its logits, as where several networks answer together, so that nothing shows their temperatures"
                .to_owned(),
        ));
    }
    let mut engine = engine(package, runtime)?;
    let mut worst: f32 = 0.0;
    for (case, input) in package
        .goldens
        .cases
        .iter()
        .zip(golden_inputs(package, |image| image)?)
    {
        let answers = engine.run(&[&input]).map_err(|error| error.to_string())?;
        let outputs = answers.iter().flat_map(|answer| &answer.heads);
        for (head, output) in heads.iter().zip(outputs) {
            let Some(logits) = &output.logits else { continue };
            for (found, expected) in output.values.iter().zip(expected(head, logits)) {
                let off = distance(*found, expected);
                if off > MOST_OFF {
                    return Err(Unmet::Fails(format!(
                        "head {}, golden case {}: an answer is {off:.1e} off from what its logit is at the temperature of the manifest: the network divides by another",
                        head.name, case.name
                    )));
                }
                worst = worst.max(off);
            }
        }
    }
    Ok(format!(
        "{shown} of {} heads, at most {worst:.1e} off",
        heads.len()
    ))
}

/// What the manifest's labels make of logits.
fn expected(head: &Head, logits: &[f32]) -> Vec<f32> {
    // thresholds between grades are one fewer than labels, which share one temperature
    let calibrated: Vec<f32> = logits
        .iter()
        .zip(&head.labels)
        .map(|(logit, label)| logit / label.temperature)
        .collect();
    match head.task {
        Task::Regression => calibrated,
        Task::Multiclass => Activation::Softmax.apply(&calibrated),
        Task::Binary | Task::Multilabel | Task::Ordinal => Activation::Sigmoid.apply(&calibrated),
    }
}

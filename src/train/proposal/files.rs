//! What a proposal comes to as `fit.json` and `package.json`.

use std::path::Path;

use serde::Serialize;

use super::ProposalError;
use super::columns::{Question, heads};
use super::usage::Usage;
use crate::dicom::CodedValue;
use crate::finding::Task;
use crate::train::data::Flip;
use crate::train::export::description::{Description, LabelDescription};
use crate::train::learn::Recipe;
use crate::train::learn::heads::Head;
use crate::train::network::{Architecture, Residual};
use crate::train::unfilled::FILL_IN;

/// The sensitivity of a finding's threshold until a person chooses another one.
pub(super) const SENSITIVITY: f64 = 0.9;

/// The recipe, with what a person may want to change first; all else has its default.
pub(super) fn recipe(questions: &[Question], usage: &Usage, flip: &Flip) -> Result<String, ProposalError> {
    #[derive(Serialize)]
    struct Sketch {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        labels: Vec<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        heads: Vec<Head>,
        architecture: Architecture,
        augmentation: Augmented,
        epochs: usize,
        batch: usize,
        seed: u64,
    }
    #[derive(Serialize)]
    struct Augmented {
        horizontal_flip: Flip,
    }
    let [rows, columns] = usage.size();
    let residual = Residual {
        rows,
        columns,
        ..Residual::default()
    };
    let heads = heads(questions);
    let whole = Recipe {
        labels: questions.iter().flat_map(Question::labels).collect(),
        heads: heads.clone(),
        architecture: Architecture::Residual(residual),
        ..Recipe::default()
    };
    whole.check()?;
    let sketch = Sketch {
        labels: if heads.is_empty() {
            whole.labels
        } else {
            Vec::new()
        },
        heads,
        architecture: whole.architecture,
        augmentation: Augmented {
            horizontal_flip: flip.clone(),
        },
        epochs: whole.epochs,
        batch: whole.batch,
        seed: whole.seed,
    };
    Ok(serde_json::to_string_pretty(&sketch)? + "\n")
}

/// The description, with what nobody can read from a table to be filled in.
pub(super) fn description(
    csv: &Path,
    questions: &[Question],
    usage: &Usage,
    name: &str,
) -> Result<String, ProposalError> {
    let label = |name: String, task: Task| LabelDescription {
        name,
        code: CodedValue {
            scheme: format!("{FILL_IN}: such as SCT"),
            value: format!("{FILL_IN}: the code"),
            meaning: format!("{FILL_IN}: its meaning"),
        },
        sensitivity: (task == Task::Multilabel).then_some(SENSITIVITY),
    };
    let names: Vec<&str> = questions.iter().map(|question| question.name.as_str()).collect();
    let [_, (_, parts, _), _] = usage.names();
    let shown = if parts.is_empty() {
        vec!["radiographs"]
    } else {
        parts
    };
    let description = Description {
        name: name.to_owned(),
        version: 1,
        title: format!("{} ({})", names.join(", "), shown.join(", ")),
        notice: "For research only. Not for clinical use.".to_owned(),
        licence: format!("{FILL_IN}: an SPDX expression, such as Apache-2.0"),
        intended_use: usage.intended(csv),
        quality: None,
        labels: questions
            .iter()
            .flat_map(|question| {
                let labels = question.labels().into_iter();
                labels.map(|name| label(name, question.task))
            })
            .collect(),
    };
    Ok(serde_json::to_string_pretty(&description)? + "\n")
}

//! What a model answers: a tensor for each head under the head's name, and the network's own tensors under their names in the ONNX
//! file.

use crate::fault::{Fault, FaultKind};
use crate::finding::{Finding, Reading, interpret};
use crate::inference::{Inferred, ServedModel};

/// The input that takes whole DICOM files.
pub(super) const DICOM: &str = "dicom";

/// Where an output's values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A head's answer: one number for each label, as in `/v1`.
    Head(usize),
    /// What the network gives for a head.
    Scores(usize),
    /// The same before temperature.
    Logits(usize),
    /// Evidence for each label.
    Maps(usize),
    /// The features before the heads.
    Embedding,
}

/// An output that can be asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output<'a> {
    pub(super) name: &'a str,
    pub(super) source: Source,
    /// After the batch; `-1` where only the network knows.
    pub(super) sizes: [i64; 3],
    /// How many of the sizes count.
    rank: usize,
}

impl Output<'_> {
    /// Its shape without the batch.
    pub(super) fn shape(&self) -> &[i64] {
        &self.sizes[..self.rank]
    }
}

/// Everything that can be asked of a model, heads first. A network's tensor that has the name of a head is not reached: the head's
/// values are what it was named for.
pub(super) fn of(model: &ServedModel) -> Vec<Output<'_>> {
    fn push<'a>(outputs: &mut Vec<Output<'a>>, name: &'a str, source: Source, shape: &[usize]) {
        if outputs.iter().any(|output| output.name == name) {
            return;
        }
        let mut sizes = [-1; 3];
        for (size, known) in sizes.iter_mut().zip(shape) {
            *size = *known as i64;
        }
        let rank = if matches!(source, Source::Maps(_)) { 3 } else { 1 };
        outputs.push(Output {
            name,
            source,
            sizes,
            rank,
        });
    }
    let manifest = &model.manifest;
    let mut outputs = Vec::new();
    for (index, head) in manifest.heads.iter().enumerate() {
        push(
            &mut outputs,
            &head.name,
            Source::Head(index),
            &[head.labels.len()],
        );
    }
    for (index, head) in manifest.heads.iter().enumerate() {
        push(&mut outputs, &head.scores, Source::Scores(index), &[head.width()]);
        if let Some(logits) = &head.logits {
            push(&mut outputs, logits, Source::Logits(index), &[head.width()]);
        }
        if let Some(maps) = &head.activation_map {
            push(&mut outputs, maps, Source::Maps(index), &[head.labels.len()]);
        }
    }
    if let Some(embedding) = &manifest.embedding {
        push(&mut outputs, embedding, Source::Embedding, &[]);
    }
    outputs
}

/// The values of one image.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// Without the batch.
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

impl Row {
    fn flat(values: Vec<f32>) -> Self {
        Self {
            shape: vec![values.len()],
            values,
        }
    }
}

/// What a network said of one image, for one output.
///
/// # Errors
/// `not-a-probability` or `out-of-range` where a head's numbers are no answer, and `not-finite` where the network's own are none: such a
/// number is never a score.
pub(super) fn of_tensor(inferred: &Inferred, source: Source, name: &str) -> Result<Row, Fault> {
    let row = row(inferred, source)?;
    if row.values.iter().all(|value| value.is_finite()) {
        return Ok(row);
    }
    let message =
        format!("the network's output {name} holds what is no finite number, so there is no answer");
    Err(Fault::new(FaultKind::Internal, "not-finite", message))
}

fn row(inferred: &Inferred, source: Source) -> Result<Row, Fault> {
    let head = |index: usize| inferred.prediction.heads.get(index).ok_or_else(missing);
    Ok(match source {
        Source::Head(index) => {
            let described = inferred.model.manifest.heads.get(index).ok_or_else(missing)?;
            let findings = interpret(described.task, &described.labels, &head(index)?.values)
                .map_err(|error| Fault::new(FaultKind::Internal, error.code(), error.to_string()))?;
            Row::flat(findings.iter().map(value).collect())
        }
        Source::Scores(index) => Row::flat(head(index)?.scores.clone()),
        Source::Logits(index) => Row::flat(head(index)?.logits.clone().ok_or_else(missing)?),
        Source::Maps(index) => {
            let maps = &head(index)?.activation_maps;
            let first = maps.first().ok_or_else(missing)?;
            Row {
                shape: vec![maps.len(), first.rows, first.columns],
                values: maps.iter().flat_map(|map| &map.values).copied().collect(),
            }
        }
        Source::Embedding => Row::flat(inferred.prediction.embedding.clone().ok_or_else(missing)?),
    })
}

/// What was found on one image, for one head: the findings are those of all heads, one after the other.
pub(super) fn of_findings(model: &ServedModel, findings: &[Finding], head: usize) -> Row {
    let heads = &model.manifest.heads;
    let before: usize = heads.iter().take(head).map(|head| head.labels.len()).sum();
    let labels = heads.get(head).map_or(0, |head| head.labels.len());
    let own = findings.iter().skip(before).take(labels);
    Row::flat(own.map(value).collect())
}

fn value(finding: &Finding) -> f32 {
    match finding.reading {
        Reading::Probability { probability, .. } => probability,
        Reading::Quantity { value, .. } => value,
    }
}

fn missing() -> Fault {
    Fault::new(
        FaultKind::Internal,
        "output",
        "the network did not give an output that its manifest names",
    )
}

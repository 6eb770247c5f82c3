//! How good a network is on patients that it has never seen, and whether it looks at the right thing.
//!
//! The shortcut audit asks three questions: what the header alone would give, what is left when the corners (where
//! lead markers and labels stand) are blanked, and what the corners alone would give.

pub mod ablate;
pub mod agreement;
pub mod card;
pub mod compare;
pub mod folds;
pub mod gallery;
pub mod header;
pub mod held_out;
pub mod presence;
pub mod subgroups;

use serde::{Deserialize, Serialize};

use self::header::{FromHeader, says_something};
use self::subgroups::{Answers, Subgroup};
use super::data::index::Labelled;
use crate::evaluation::EvaluationError;
use crate::evaluation::calibration::calibration_error_interval;
use crate::evaluation::interval::{
    Bootstrap, Estimate, auprc_interval, auroc_interval, determination_interval,
};
use crate::evaluation::roc::auroc;
use crate::finding::Task;
use crate::image::Plane;
use crate::image::preprocess::Preprocessing;
use crate::model::{Activation, Head};
use crate::runtime::{Engine, Prediction, RuntimeError};

/// Rows and columns of a corner, as a share of the image's.
const CORNER: f64 = 0.2;

/// The result for one label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelAssessment {
    /// Its name; of a grade, with "or above".
    pub label: String,
    /// From where on it counts as present.
    pub threshold: f64,
    /// Images for which it is known.
    pub images: usize,
    /// Of them, those that have the finding.
    pub positive: usize,
    /// Area under the receiver operating characteristic.
    pub auroc: Estimate,
    /// Average precision.
    pub auprc: Estimate,
    /// Expected calibration error over ten bins.
    pub calibration_error: Estimate,
    /// Share of the diseased at or above the threshold.
    pub sensitivity: f64,
    /// Share of the healthy below it.
    pub specificity: f64,
    /// Area with the corners blanked.
    pub auroc_without_corners: f64,
    /// Area with everything but the corners blanked.
    pub auroc_corners_only: f64,
    /// What each column of the header would give by itself.
    pub of_header: Vec<FromHeader>,
    /// The figures of those whom columns tell apart.
    pub subgroups: Vec<Subgroup>,
}

/// The columns of a test set's table that [`assess`] looks at beside the labels; a table has some of them.
#[must_use]
pub fn covariates() -> Vec<&'static str> {
    let mut all = header::COLUMNS.to_vec();
    all.extend(
        subgroups::COLUMNS
            .iter()
            .filter(|column| !header::COLUMNS.contains(column)),
    );
    all
}

/// The result for one number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NumberAssessment {
    /// Its name.
    pub label: String,
    /// UCUM code of its unit.
    pub unit: String,
    /// Images for which it is known.
    pub images: usize,
    /// Coefficient of determination.
    pub determination: Estimate,
    /// Mean distance from the truth, in its unit.
    pub mean_error: f64,
}

/// The result for all labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// Findings, classes, and grades from the second on.
    pub labels: Vec<LabelAssessment>,
    /// Numbers.
    pub numbers: Vec<NumberAssessment>,
    /// Of which of them the test set says nothing, and why.
    pub left_out: Vec<(String, String)>,
}

/// A yes or no that the network answers with a probability.
struct Question {
    name: String,
    threshold: f64,
    /// Places among the values of all heads that add up to the probability.
    values: std::ops::Range<usize>,
    /// Places among the labels of which one is true where the answer is yes.
    labels: std::ops::Range<usize>,
}

/// What the network says of one image, one number for each value of all heads.
struct Answer {
    /// As probabilities, or numbers.
    values: Vec<f32>,
    /// In the same order, and apart where probabilities are both 0 or 1 in 32 bits: log-odds where the network gives logits.
    ranks: Vec<f64>,
}

impl Answer {
    fn of(prediction: &Prediction, heads: &[Head]) -> Self {
        let mut ranks = Vec::new();
        for (output, head) in prediction.heads.iter().zip(heads) {
            match (head.task, &output.logits) {
                (Task::Binary | Task::Multilabel, Some(logits)) => {
                    ranks.extend(logits.iter().copied().map(f64::from));
                }
                (Task::Ordinal, _) if head.activation == Activation::Sigmoid => {
                    ranks.extend(output.scores.iter().copied().map(f64::from));
                }
                _ => ranks.extend(output.values.iter().copied().map(f64::from)),
            }
        }
        Self {
            values: prediction.values(),
            ranks,
        }
    }
}

/// The questions of a head whose values and labels begin at these places.
fn questions(head: &Head, values: usize, labels: usize) -> Vec<Question> {
    let count = head.labels.len();
    let question = |place: usize| {
        let label = &head.labels[place];
        let mut question = Question {
            name: label.name.clone(),
            threshold: f64::from(label.threshold.unwrap_or(0.5)),
            values: values + place..values + place + 1,
            labels: labels + place..labels + place + 1,
        };
        if head.task == Task::Ordinal {
            question.name.push_str(" or above");
            question.labels.end = labels + count;
            question.values = if head.width() < count {
                values + place - 1..values + place
            } else {
                values + place..values + count
            };
        }
        question
    };
    match head.task {
        Task::Regression => Vec::new(),
        Task::Ordinal => (1..count).map(question).collect(),
        _ => (0..count).map(question).collect(),
    }
}

/// Scores a labelled folder with an exported network; `covariates` are the columns whose cells are with its images. A question that the
/// images cannot answer, for example because none of them has the finding, is left out with the reason.
///
/// # Errors
/// What ONNX Runtime said.
pub fn assess(
    engine: &mut Engine,
    contract: &Preprocessing,
    heads: &[Head],
    labelled: &Labelled,
    covariates: &[&str],
    step: impl Fn(),
) -> Result<Assessment, String> {
    let mut whole = Vec::new();
    let mut without = Vec::new();
    let mut only = Vec::new();
    for image in &labelled.samples.images {
        let plane = &*image.plane().map_err(|error| error.to_string())?;
        let mut answer = |plane: &Plane| -> Result<Answer, String> {
            let said = engine.run(&[&contract.tensor(plane)]);
            let said = said.map_err(|error: RuntimeError| error.to_string())?.pop();
            let said = said.ok_or("the network gave no answer")?;
            Ok(Answer::of(&said, heads))
        };
        whole.push(answer(plane)?);
        without.push(answer(&blanked(plane, true))?);
        only.push(answer(&blanked(plane, false))?);
        step();
    }
    let mut assessment = Assessment::default();
    let (mut values, mut labels) = (0, 0);
    for head in heads {
        for question in questions(head, values, labels) {
            let answers = [&whole, &without, &only];
            match one(&question, labelled, covariates, answers) {
                Ok(assessed) => assessment.labels.push(assessed),
                Err(error) => assessment.left_out.push((question.name, error.to_string())),
            }
        }
        if head.task == Task::Regression {
            for place in 0..head.labels.len() {
                let places = [values + place, labels + place];
                match number(head, place, places, labelled, &whole) {
                    Ok(assessed) => assessment.numbers.push(assessed),
                    Err(reason) => {
                        let name = head.labels[place].name.clone();
                        assessment.left_out.push((name, reason));
                    }
                }
            }
        }
        values += head.width();
        labels += head.labels.len();
    }
    Ok(assessment)
}

fn number(
    head: &Head,
    place: usize,
    [value, column]: [usize; 2],
    labelled: &Labelled,
    answers: &[Answer],
) -> Result<NumberAssessment, String> {
    let (label, samples) = (&head.labels[place], &labelled.samples);
    let quantity = label.quantity.as_ref();
    let quantity = quantity.ok_or("it has no quantity")?;
    let known: Vec<usize> = (0..samples.len())
        .filter(|case| !samples.labels[*case][column].is_nan())
        .collect();
    let truth: Vec<f64> = known
        .iter()
        .map(|case| f64::from(samples.labels[*case][column]))
        .collect();
    let said = |case: &usize| f64::from(answers[*case].values[value] * quantity.scale + quantity.offset);
    let predicted: Vec<f64> = known.iter().map(said).collect();
    let patients: Vec<&String> = known.iter().map(|case| &samples.patients[*case]).collect();
    let errors = predicted
        .iter()
        .zip(&truth)
        .map(|(said, truth)| (said - truth).abs());
    Ok(NumberAssessment {
        label: label.name.clone(),
        unit: quantity.unit.clone(),
        images: known.len(),
        mean_error: errors.sum::<f64>() / known.len().max(1) as f64,
        determination: determination_interval(&predicted, &truth, &patients, Bootstrap::default())
            .map_err(|error| error.to_string())?,
    })
}

fn one(
    question: &Question,
    labelled: &Labelled,
    covariates: &[&str],
    [whole, without, only]: [&Vec<Answer>; 3],
) -> Result<LabelAssessment, EvaluationError> {
    let samples = &labelled.samples;
    let known: Vec<usize> = (0..samples.len())
        .filter(|case| !samples.labels[*case][question.labels.start].is_nan())
        .collect();
    let truth: Vec<bool> = known
        .iter()
        .map(|case| samples.labels[*case][question.labels.clone()].iter().sum::<f32>() > 0.5)
        .collect();
    let patients: Vec<&String> = known.iter().map(|case| &samples.patients[*case]).collect();
    let of = |answers: &[Answer]| -> Vec<f64> {
        known
            .iter()
            .map(|case| answers[*case].ranks[question.values.clone()].iter().sum())
            .collect()
    };
    let probabilities: Vec<f64> = known
        .iter()
        .map(|case| f64::from(whole[*case].values[question.values.clone()].iter().sum::<f32>()))
        .collect();
    let ranks = of(whole);
    let share = |truth_is: bool, called: bool| {
        let cases = || {
            probabilities
                .iter()
                .zip(&truth)
                .filter(|(_, truth)| **truth == truth_is)
        };
        let right = cases()
            .filter(|(probability, _)| (**probability >= question.threshold) == called)
            .count();
        right as f64 / cases().count().max(1) as f64
    };
    let cells = |name: &str| -> Option<Vec<&str>> {
        let column = covariates.iter().position(|own| *own == name)?;
        let of = |case: &usize| labelled.covariates[*case][column].as_str();
        says_something(&labelled.covariates, column).then(|| known.iter().map(of).collect())
    };
    let of_header = header::COLUMNS.iter();
    let of_header =
        of_header.filter_map(|name| Some(header::of_column(name, &cells(name)?, &truth, &patients)));
    let of_header = of_header.collect();
    let answers = Answers {
        probabilities: &probabilities,
        truth: &truth,
        patients: &patients,
        threshold: question.threshold,
    };
    let columns = subgroups::COLUMNS.iter();
    let groups = columns.filter_map(|name| Some(subgroups::of_column(name, &cells(name)?, &answers)));
    let groups = groups.flatten().collect();
    let bootstrap = Bootstrap::default();
    Ok(LabelAssessment {
        label: question.name.clone(),
        threshold: question.threshold,
        images: known.len(),
        positive: truth.iter().filter(|present| **present).count(),
        auroc: auroc_interval(&ranks, &truth, &patients, bootstrap)?,
        auprc: auprc_interval(&ranks, &truth, &patients, bootstrap)?,
        calibration_error: calibration_error_interval(&probabilities, &truth, &patients, 10, bootstrap)?,
        sensitivity: share(true, true),
        specificity: share(false, false),
        auroc_without_corners: auroc(&of(without), &truth)?,
        auroc_corners_only: auroc(&of(only), &truth)?,
        of_header,
        subgroups: groups,
    })
}

/// The plane with its corners, or with everything else, set to its mean.
fn blanked(plane: &Plane, corners: bool) -> Plane {
    let mean =
        plane.values.iter().map(|value| u64::from(*value)).sum::<u64>() / plane.values.len().max(1) as u64;
    let edge = |place: usize, count: usize| {
        let from_edge = place.min(count - 1 - place);
        (from_edge as f64) < CORNER * count as f64
    };
    let mut blank = plane.clone();
    for (index, value) in blank.values.iter_mut().enumerate() {
        let in_corner = edge(index / plane.columns, plane.rows) && edge(index % plane.columns, plane.columns);
        if in_corner == corners {
            *value = mean as u16;
        }
    }
    blank
}

#[cfg(test)]
mod tests;

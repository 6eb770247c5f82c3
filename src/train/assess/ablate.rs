//! What each augmentation is worth on these images: the same training again without it.
//!
//! Seed, split and everything else stay, and the differences are paired by patient. An interval that holds 0 says that these images do
//! not tell; one that does not says less than it seems, as [`caution`] has it: of each training there is one seed, its epoch was chosen
//! on the very images, and there are many settings.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::folds::aligned;
use crate::evaluation::interval::{Bootstrap, Estimate, auroc_difference_interval};
use crate::finding::Task;
use crate::image::{Plane, Tensor};
use crate::train::data::Samples;
use crate::train::learn::fit::predict;
use crate::train::learn::measure::measure;
use crate::train::learn::{Engine, FitError, Heads, Progress, Recipe, Training};

/// One training of the comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// The setting that is switched off; none for the whole recipe.
    pub without: Option<String>,
    /// For each label its measure on the held-out patients.
    pub measures: Vec<Option<Estimate>>,
    /// For each label that is a finding the area of the whole recipe minus that of this training: above 0, it came out better with the
    /// setting, by this seed. The interval is that of other patients, not of other seeds.
    pub worth: Vec<Option<Estimate>>,
}

/// Whoever watches a comparison, which may take days.
pub trait Watch {
    /// Before a training, the `number`th of `all`, from 1, without a setting or by the whole recipe; what it says tells how it goes.
    fn begin(&mut self, without: Option<&str>, number: usize, all: usize) -> Box<dyn Progress>;
    /// After each training, with all that there are until then.
    fn done(&mut self, arms: &[Arm]) -> std::io::Result<()>;
}

/// Why there is no comparison; what was told before stays true.
#[derive(Debug, thiserror::Error)]
pub enum AblationError {
    /// A training.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The watcher could not keep the figures.
    #[error("the figures cannot be kept: {0}")]
    Kept(#[from] std::io::Error),
}

/// Trains by the whole recipe, then without each setting in turn that is on.
pub fn ablate<N: Fn(&Plane) -> Tensor + Sync>(
    training: &Training<'_, N>,
    watch: &mut dyn Watch,
) -> Result<Vec<Arm>, AblationError> {
    let heads = training.recipe.heads();
    let bootstrap = Bootstrap {
        seed: training.recipe.seed,
        ..Bootstrap::default()
    };
    let settings = training.recipe.augmentation.explain().into_iter();
    let without: Vec<_> = settings
        .filter_map(|(name, _)| Some((name, training.recipe.augmentation.without(name)?)))
        .collect();
    let all = 1 + without.len();
    let whole = answers(
        training,
        training.recipe,
        &heads,
        watch.begin(None, 1, all).as_mut(),
    )?;
    let mut arms = vec![Arm {
        without: None,
        measures: measure(&heads, &whole, training.validation, bootstrap).of_labels,
        worth: Vec::new(),
    }];
    watch.done(&arms)?;
    for (place, (name, augmentation)) in without.into_iter().enumerate() {
        let recipe = Recipe {
            augmentation,
            ..training.recipe.clone()
        };
        let mut progress = watch.begin(Some(name), place + 2, all);
        let without = answers(training, &recipe, &heads, progress.as_mut())?;
        arms.push(Arm {
            without: Some(name.to_owned()),
            measures: measure(&heads, &without, training.validation, bootstrap).of_labels,
            worth: worth(&heads, &whole, &without, training.validation, bootstrap),
        });
        watch.done(&arms)?;
    }
    Ok(arms)
}

fn answers<N: Fn(&Plane) -> Tensor + Sync>(
    training: &Training<'_, N>,
    recipe: &Recipe,
    heads: &Heads,
    progress: &mut dyn Progress,
) -> Result<Vec<Vec<f64>>, FitError> {
    let training = Training { recipe, ..*training };
    let outcome = training.run(None, None, progress)?;
    let engine = Engine::on(
        training.devices.first,
        &outcome.graph,
        &outcome.weights,
        recipe.threads,
    )?;
    let answers = predict(
        &engine,
        heads,
        training.validation,
        training.normalise,
        recipe.batch,
    )?;
    Ok(answers.logits)
}

fn worth(
    heads: &Heads,
    whole: &[Vec<f64>],
    without: &[Vec<f64>],
    samples: &Samples,
    bootstrap: Bootstrap,
) -> Vec<Option<Estimate>> {
    let of_finding = |label: usize, logit: usize| {
        let known: Vec<usize> = (0..samples.len())
            .filter(|case| !samples.labels[*case][label].is_nan())
            .collect();
        let of =
            |logits: &[Vec<f64>]| -> Vec<f64> { known.iter().map(|case| logits[*case][logit]).collect() };
        let truth: Vec<bool> = known
            .iter()
            .map(|case| samples.labels[*case][label] > 0.5)
            .collect();
        let patients: Vec<&String> = known.iter().map(|case| &samples.patients[*case]).collect();
        auroc_difference_interval(&of(whole), &of(without), &truth, &patients, bootstrap).ok()
    };
    let mut worth = Vec::new();
    for placed in heads.placed() {
        if matches!(placed.head.task, Task::Binary | Task::Multilabel) {
            worth.extend(
                placed
                    .labels
                    .zip(placed.logits)
                    .map(|(label, logit)| of_finding(label, logit)),
            );
        } else {
            worth.extend(placed.labels.map(|_| None));
        }
    }
    worth
}

/// What the differences do not say, for people: that of other seeds, and that one of several intervals misses by chance.
#[must_use]
pub fn caution(arms: &[Arm]) -> String {
    let told = arms.iter().flat_map(|arm| &arm.worth).flatten().count();
    let mut text = "Each training has one seed, and its epoch was chosen on these images: the intervals are of other patients, and another seed may move a difference by as much.".to_owned();
    if told > 1 {
        let missed = 1.0 - 0.95_f64.powi(i32::try_from(told).unwrap_or(i32::MAX));
        // writing to a string cannot fail
        let _ = write!(
            text,
            " Of {told} intervals one or more miss 0 with a probability of up to {:.0} % where no setting matters.",
            100.0 * missed
        );
    }
    text
}

/// The comparison as a table for people; `labels` are those of the recipe.
#[must_use]
pub fn table(arms: &[Arm], labels: &[String]) -> String {
    let mut rows = vec![vec!["without".to_owned()]];
    for label in labels {
        rows[0].extend([label.clone(), "worth of the setting".to_owned()]);
    }
    for arm in arms {
        let mut row = vec![arm.without.clone().unwrap_or_else(|| "(whole recipe)".to_owned())];
        for (place, measure) in arm.measures.iter().enumerate() {
            row.push(
                measure.map_or("-".to_owned(), |Estimate { value, lower, upper }| {
                    format!("{value:.3} [{lower:.3}, {upper:.3}]")
                }),
            );
            let worth = arm.worth.get(place).copied().flatten();
            row.push(worth.map_or(String::new(), |Estimate { value, lower, upper }| {
                format!("{value:+.3} [{lower:+.3}, {upper:+.3}]")
            }));
        }
        rows.push(row);
    }
    aligned(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_settings_are_said_to_miss_by_chance() {
        let estimate = Estimate {
            value: 0.01,
            lower: -0.02,
            upper: 0.04,
        };
        let arm = |worth: Vec<Option<Estimate>>| Arm {
            without: None,
            measures: Vec::new(),
            worth,
        };
        // 1 - 0.95^8
        let arms = [
            arm(Vec::new()),
            arm(vec![Some(estimate); 4]),
            arm(vec![Some(estimate); 4]),
            arm(vec![None]),
        ];
        let said = caution(&arms);
        assert!(
            said.contains("one seed") && said.contains("Of 8 intervals"),
            "{said}"
        );
        assert!(said.contains("up to 34 %"), "{said}");
        assert!(!caution(&arms[..1]).contains('%'));
    }
}

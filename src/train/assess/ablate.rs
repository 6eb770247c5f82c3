//! What each augmentation is worth on these images: the same training again without it, and all of that with several seeds.
//!
//! The held-out patients stay, and so does everything but the setting and the seed. Differences are paired by patient and by seed, and their
//! intervals are of other patients and of other seeds ([`auroc_difference_over_trainings`]); with one seed they are of other patients alone. What they do not
//! say, [`caution`] says.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::folds::aligned;
use crate::evaluation::interval::{Bootstrap, Estimate};
use crate::evaluation::trainings::auroc_difference_over_trainings;
use crate::train::data::Samples;
use crate::train::learn::Heads;
use crate::train::learn::measure::{Scored, Truth, scored};
use crate::train::plot::forest::{Forest, Row};

/// What came of one training.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The setting that is switched off; none for the whole recipe.
    pub without: Option<String>,
    /// Its seed.
    pub seed: u64,
    /// What it says of the held-out patients; or why there is nothing.
    pub outcome: Result<Outcome, String>,
}

/// What a training says of the held-out patients.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// For each label its measure.
    pub measures: Vec<Option<Estimate>>,
    /// For each image the logits of all heads.
    pub logits: Vec<Vec<f64>>,
}

/// All trainings of one recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// The setting that is switched off; none for the whole recipe.
    pub without: Option<String>,
    /// Each training.
    pub trainings: Vec<Figures>,
    /// For each label that has an area the area of the whole recipe minus that of this one, mean over the seeds that both have: above 0, trainings
    /// came out better with the setting. None for the whole recipe itself.
    pub worth: Vec<Option<Estimate>>,
}

/// One training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Its seed.
    pub seed: u64,
    /// For each label its measure on the held-out patients, with a patient-level interval; none where it has no value.
    pub measures: Vec<Option<Estimate>>,
    /// Why it has none at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The figures of the trainings that there are until now, whole recipe first; `samples` are the held-out images.
#[must_use]
pub fn arms(heads: &Heads, samples: &Samples, trained: &[Trained], bootstrap: Bootstrap) -> Vec<Arm> {
    let mut names: Vec<&Option<String>> = vec![&None];
    for own in trained {
        if !names.contains(&&own.without) {
            names.push(&own.without);
        }
    }
    let of = |name: &Option<String>| -> Vec<&Trained> {
        trained.iter().filter(|own| own.without == *name).collect()
    };
    let whole = of(&None);
    let arm = |name: &Option<String>| {
        let own = of(name);
        let pairs: Vec<[&Outcome; 2]> = (whole.iter())
            .filter_map(|whole| {
                let without = own.iter().find(|without| without.seed == whole.seed)?;
                Some([whole.outcome.as_ref().ok()?, without.outcome.as_ref().ok()?])
            })
            .collect();
        Arm {
            without: name.clone(),
            worth: match name {
                None => Vec::new(),
                Some(_) => worth(heads, samples, &pairs, bootstrap),
            },
            trainings: own.into_iter().map(|own| figures(heads, own)).collect(),
        }
    };
    names.into_iter().map(arm).collect()
}

fn figures(heads: &Heads, trained: &Trained) -> Figures {
    let (measures, problem) = match &trained.outcome {
        Ok(outcome) => (outcome.measures.clone(), None),
        Err(reason) => (vec![None; heads.labels().count()], Some(reason.clone())),
    };
    Figures {
        seed: trained.seed,
        measures,
        problem,
    }
}

/// For each label the difference of the `pairs` of trainings, with the setting and without.
fn worth(
    heads: &Heads,
    samples: &Samples,
    pairs: &[[&Outcome; 2]],
    bootstrap: Bootstrap,
) -> Vec<Option<Estimate>> {
    let said: Vec<[Vec<Option<Scored<'_>>>; 2]> = pairs
        .iter()
        .map(|pair| pair.map(|outcome| scored(heads, &outcome.logits, samples)))
        .collect();
    let of_label = |label: usize| {
        let scores = |place: usize| -> Option<Vec<Vec<f64>>> {
            let each = said
                .iter()
                .map(|pair| Some(pair[place][label].as_ref()?.said.clone()));
            each.collect()
        };
        let first = said.first()?[0][label].as_ref()?;
        let Truth::Is(truth) = &first.truth else {
            return None;
        };
        auroc_difference_over_trainings(&scores(0)?, &scores(1)?, truth, &first.patients, bootstrap).ok()
    };
    (0..heads.labels().count()).map(of_label).collect()
}

impl Arm {
    /// Seeds by which it was trained.
    fn seeds(&self) -> usize {
        self.trainings.iter().filter(|own| own.problem.is_none()).count()
    }

    /// The measure of the label at this place: of one training with its interval, of several the mean and the deviation between seeds.
    fn measure(&self, label: usize) -> String {
        let of = |own: &Figures| own.measures.get(label).copied().flatten();
        let known: Vec<Estimate> = self.trainings.iter().filter_map(of).collect();
        if let [Estimate { value, lower, upper }] = known[..] {
            return format!("{value:.3} [{lower:.3}, {upper:.3}]");
        }
        if known.is_empty() {
            return "-".to_owned();
        }
        let count = known.len() as f64;
        let mean = known.iter().map(|own| own.value).sum::<f64>() / count;
        let squares = known.iter().map(|own| (own.value - mean).powi(2));
        let deviation = (squares.sum::<f64>() / (count - 1.0)).sqrt();
        format!("{mean:.3}, {deviation:.3}")
    }
}

/// What the figures do not say, for people.
#[must_use]
pub fn caution(arms: &[Arm]) -> String {
    let seeds = arms.iter().map(Arm::seeds).min().unwrap_or(0);
    let mut text = if seeds < 2 {
        "Not every recipe has two seeds: the intervals are of other patients, and another seed may move a difference by as much (--seeds).".to_owned()
    } else {
        "Measures are the mean over the seeds and the deviation between them. The intervals are of other seeds and other patients; the fewer seeds, the wider.".to_owned()
    };
    text.push_str(" Each training's epoch was chosen on these images.");
    let told = arms.iter().flat_map(|arm| &arm.worth).flatten().count();
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

/// For each label what the settings are worth, with their intervals, in the order of the recipe; `labels` are those of the recipe.
#[must_use]
pub fn forests(arms: &[Arm], labels: &[String]) -> Vec<Forest> {
    let of_label = |(label, name): (usize, &String)| {
        let rows = arms.iter().filter_map(|arm| {
            let Estimate { value, lower, upper } = arm.worth.get(label).copied().flatten()?;
            Some(Row {
                name: arm.without.clone()?,
                value: 100.0 * value,
                lower: 100.0 * lower,
                upper: 100.0 * upper,
            })
        });
        let rows: Vec<Row> = rows.collect();
        (!rows.is_empty()).then(|| Forest {
            title: format!("{name}: what each setting is worth, with 95% intervals"),
            measure: "hundredths of AUROC".to_owned(),
            rows,
        })
    };
    labels.iter().enumerate().filter_map(of_label).collect()
}

/// The comparison as a table for people; `labels` are those of the recipe.
#[must_use]
pub fn table(arms: &[Arm], labels: &[String]) -> String {
    let mut rows = vec![vec!["without".to_owned(), "seeds".to_owned()]];
    for label in labels {
        rows[0].extend([label.clone(), "worth of the setting".to_owned()]);
    }
    let mut problems = String::new();
    for arm in arms {
        let name = arm.without.as_deref().unwrap_or("(whole recipe)");
        let mut row = vec![name.to_owned(), arm.seeds().to_string()];
        for label in 0..labels.len() {
            row.push(arm.measure(label));
            let worth = arm.worth.get(label).copied().flatten();
            row.push(worth.map_or(String::new(), |Estimate { value, lower, upper }| {
                format!("{value:+.3} [{lower:+.3}, {upper:+.3}]")
            }));
        }
        rows.push(row);
        for Figures { seed, problem, .. } in &arm.trainings {
            if let Some(reason) = problem {
                // writing to a string cannot fail
                let _ = writeln!(problems, "without {name}, seed {seed}: {reason}");
            }
        }
    }
    aligned(&rows) + &problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Samples {
        Samples {
            labels: (0..40)
                .map(|image| vec![f32::from(u8::from(image % 2 == 0))])
                .collect(),
            patients: (0..40).map(|image| format!("p{image}")).collect(),
            images: Vec::new(),
            body_parts: Vec::new(),
        }
    }

    /// A training whose answers are right but for `noise`, which its seed draws.
    fn trained(without: Option<&str>, seed: u64, noise: f64) -> Trained {
        let logit = |image: u64| {
            let truth = if image.is_multiple_of(2) { 1.0 } else { 0.0 };
            truth + noise * ((image * (37 + 2 * seed) % 41) as f64 - 20.0) / 20.0
        };
        let estimate = Estimate {
            value: 0.9 + 0.01 * seed as f64,
            lower: 0.8,
            upper: 1.0,
        };
        Trained {
            without: without.map(str::to_owned),
            seed,
            outcome: Ok(Outcome {
                measures: vec![Some(estimate)],
                logits: (0..40).map(|image| vec![logit(image)]).collect(),
            }),
        }
    }

    fn of(trained: &[Trained]) -> Vec<Arm> {
        let heads = Heads::new(&[], &["fracture".to_owned()]);
        arms(&heads, &samples(), trained, Bootstrap::default())
    }

    #[test]
    fn differences_are_of_the_seeds_that_both_have() {
        let mut all = vec![
            trained(None, 1, 0.6),
            trained(Some("rotation"), 1, 1.4),
            trained(None, 2, 0.6),
            trained(Some("rotation"), 2, 1.4),
            trained(None, 3, 0.6),
        ];
        let found = of(&all);
        let names: Vec<Option<&str>> = found.iter().map(|arm| arm.without.as_deref()).collect();
        assert_eq!(names, [None, Some("rotation")]);
        assert!(found[0].worth.is_empty());
        let two = found[1].worth[0].unwrap();
        assert!(two.value > 0.05, "{two:?}");
        // the third seed of one recipe alone changes nothing
        assert_eq!(of(&all[..4])[1].worth, found[1].worth);
        // one seed is no measure of seeds, and two are hardly one
        let one = of(&all[..2])[1].worth[0].unwrap();
        assert!(two.upper - two.lower > one.upper - one.lower, "{one:?} {two:?}");

        let words = table(&found, &["fracture".to_owned()]);
        let rows: Vec<&str> = words.lines().collect();
        assert!(
            rows[1].starts_with("(whole recipe)  3      0.920, 0.010"),
            "{words}"
        );
        assert!(
            rows[2].starts_with("rotation        2      0.915, 0.007"),
            "{words}"
        );
        let expected = Row {
            name: "rotation".to_owned(),
            value: 100.0 * two.value,
            lower: 100.0 * two.lower,
            upper: 100.0 * two.upper,
        };
        assert_eq!(forests(&found, &["fracture".to_owned()])[0].rows, [expected]);
        assert!(forests(&found[..1], &["fracture".to_owned()]).is_empty());

        // a training that failed leaves the others theirs
        all[3].outcome = Err("the loss is NaN".to_owned());
        let found = of(&all);
        assert_eq!(found[1].worth[0].unwrap(), one);
        let words = table(&found, &["fracture".to_owned()]);
        assert!(
            words.ends_with("\nwithout rotation, seed 2: the loss is NaN\n"),
            "{words}"
        );
        assert!(
            words.contains("rotation        1      0.910 [0.800, 1.000]"),
            "{words}"
        );
    }

    #[test]
    fn what_figures_do_not_say_is_said() {
        let estimate = Estimate {
            value: 0.01,
            lower: -0.02,
            upper: 0.04,
        };
        let arm = |seeds: u64, worth: Vec<Option<Estimate>>| Arm {
            without: None,
            trainings: (0..seeds)
                .map(|seed| Figures {
                    seed,
                    measures: Vec::new(),
                    problem: None,
                })
                .collect(),
            worth,
        };
        // 1 - 0.95^8
        let arms = [
            arm(3, Vec::new()),
            arm(3, vec![Some(estimate); 4]),
            arm(2, vec![Some(estimate); 4]),
            arm(2, vec![None]),
        ];
        let said = caution(&arms);
        assert!(
            said.contains("other seeds and other patients") && said.contains("Of 8 intervals"),
            "{said}"
        );
        assert!(said.contains("up to 34 %"), "{said}");
        let said = caution(&[arm(3, Vec::new()), arm(1, vec![Some(estimate)])]);
        assert!(
            said.contains("another seed may move") && !said.contains('%'),
            "{said}"
        );
    }
}

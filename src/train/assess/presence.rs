//! Which answers the images of a part hold, and of how many patients: what can be calibrated on them is known before the first step.

use std::collections::HashSet;

use super::folds::aligned;
use crate::finding::Task;
use crate::train::data::Samples;
use crate::train::learn::Heads;

/// The answers that the images of a part hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence(Vec<Answers>);

/// Of one finding, the values 0 and 1; of a head with classes or grades, each of these; of a quantity, any number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answers {
    /// As the recipe names it.
    question: String,
    task: Task,
    counts: Vec<Count>,
}

/// How often one answer is there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Count {
    answer: String,
    images: usize,
    patients: usize,
}

impl Presence {
    /// Counts in `cases`, which have the labels and the patient of each image.
    pub fn of<'a>(heads: &Heads, cases: &(impl Iterator<Item = (&'a [f32], &'a str)> + Clone)) -> Self {
        let count = |answer: &str, holds: &dyn Fn(&[f32]) -> bool| {
            let own = cases.clone().filter(|(labels, _)| holds(labels));
            let mut patients = HashSet::new();
            let images = own.map(|(_, patient)| patients.insert(patient)).count();
            Count {
                answer: answer.to_owned(),
                images,
                patients: patients.len(),
            }
        };
        let mut all = Vec::new();
        for placed in heads.placed() {
            let (task, names) = (placed.head.task, &placed.head.labels);
            let named = names.iter().zip(placed.labels.clone());
            let is = move |place: usize, present: bool| {
                move |labels: &[f32]| !labels[place].is_nan() && (labels[place] > 0.5) == present
            };
            match task {
                Task::Binary | Task::Multilabel => all.extend(named.map(|(name, place)| Answers {
                    question: name.clone(),
                    task,
                    counts: vec![count("0", &is(place, false)), count("1", &is(place, true))],
                })),
                Task::Multiclass | Task::Ordinal => all.push(Answers {
                    question: placed.head.name.clone(),
                    task,
                    counts: named.map(|(name, place)| count(name, &is(place, true))).collect(),
                }),
                Task::Regression => all.extend(named.map(|(name, place)| Answers {
                    question: name.clone(),
                    task,
                    counts: vec![count("any number", &move |labels: &[f32]| {
                        !labels[place].is_nan()
                    })],
                })),
            }
        }
        Self(all)
    }

    /// Counts in samples.
    #[must_use]
    pub fn of_samples(heads: &Heads, samples: &Samples) -> Self {
        let labels = samples.labels.iter().map(Vec::as_slice);
        Self::of(heads, &labels.zip(samples.patients.iter().map(String::as_str)))
    }

    /// What a network cannot be calibrated on, where these are the held-out images, so that no package could come of it: a sentence for each
    /// question.
    #[must_use]
    pub fn uncalibrated(&self) -> Vec<String> {
        self.0.iter().filter_map(Answers::lack).collect()
    }

    /// The counts of several parts beside one another, as a table for people.
    #[must_use]
    pub fn table(parts: &[(&str, &Self)]) -> String {
        let mut header = vec![String::new(), String::new()];
        for (name, _) in parts {
            header.extend([format!("{name}: images"), "patients".to_owned()]);
        }
        let mut rows = vec![header];
        let questions = parts.first().map_or(&[][..], |(_, first)| &first.0);
        for (question, answers) in questions.iter().enumerate() {
            for (place, count) in answers.counts.iter().enumerate() {
                let mut row = vec![answers.question.clone(), count.answer.clone()];
                for (_, part) in parts {
                    let own = &part.0[question].counts[place];
                    row.extend([own.images.to_string(), own.patients.to_string()]);
                }
                rows.push(row);
            }
        }
        aligned(&rows)
    }
}

impl Answers {
    /// What is missing for a temperature.
    fn lack(&self) -> Option<String> {
        let Self { question, task, .. } = self;
        let absent = |count: &&Count| count.images == 0;
        let missing = self.counts.iter().filter(absent).count();
        match task {
            Task::Binary | Task::Multilabel if missing > 0 => {
                let names: Vec<&str> = self
                    .counts
                    .iter()
                    .filter(absent)
                    .map(|count| count.answer.as_str())
                    .collect();
                Some(format!("no held-out image has {question} {}", names.join(" or ")))
            }
            Task::Multiclass | Task::Ordinal if missing == self.counts.len() => {
                Some(format!("no held-out image has any {question}"))
            }
            // the thresholds between grades share one temperature: one side of all of them is too little
            Task::Ordinal if missing + 1 == self.counts.len() => {
                let ends = [self.counts.first(), self.counts.last()];
                let only = ends.into_iter().flatten().find(|count| count.images > 0)?;
                Some(format!("every held-out image has {question} {}", only.answer))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::label::Quantity;
    use crate::train::export::Calibration;
    use crate::train::learn::fit::Predictions;
    use crate::train::learn::heads::Head;
    use crate::train::run::Validation;

    const NAN: f32 = f32::NAN;

    fn heads() -> Heads {
        let quantity = Quantity {
            unit: "a".to_owned(),
            scale: 10.0,
            offset: 60.0,
            range: [0.0, 120.0],
        };
        let all = [
            Head::new("findings", Task::Multilabel, &["fracture", "implant"]),
            Head::new("part", Task::Multiclass, &["hip", "hand"]),
            Head::new("grade", Task::Ordinal, &["none", "mild", "severe"]),
            Head {
                quantities: vec![quantity],
                ..Head::new("age", Task::Regression, &["years"])
            },
        ];
        Heads::new(&all, &[])
    }

    /// fracture, implant; hip, hand; none, mild, severe; years
    fn samples(rows: &[[f32; 8]]) -> Samples {
        Samples {
            labels: rows.iter().map(|row| row.to_vec()).collect(),
            patients: (0..rows.len()).map(|place| format!("p{}", place / 2)).collect(),
            ..Samples::default()
        }
    }

    /// What export would say of an untrained network.
    fn exportable(samples: &Samples) -> bool {
        let answers = Predictions {
            logits: vec![vec![0.0; heads().width()]; samples.labels.len()],
        };
        let places = (0..samples.labels.len()).collect();
        Calibration::of(&heads(), &Validation::of(samples, places, answers, None), None).is_ok()
    }

    #[test]
    fn what_export_could_not_calibrate_is_named_and_nothing_else() {
        let good = [
            [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 50.0],
            [0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, NAN],
        ];
        let with = |change: &dyn Fn(&mut [f32; 8])| {
            let mut rows = good;
            rows.iter_mut().for_each(change);
            samples(&rows)
        };
        let grade = |place: usize| {
            move |row: &mut [f32; 8]| {
                row[4..7].fill(0.0);
                row[4 + place] = 1.0;
            }
        };
        for (samples, said) in [
            (samples(&good), vec![]),
            (
                with(&|row| row[0] = 1.0),
                vec!["no held-out image has fracture 0"],
            ),
            (
                with(&|row| row[1] = NAN),
                vec!["no held-out image has implant 0 or 1"],
            ),
            (
                with(&|row| row[2..4].fill(NAN)),
                vec!["no held-out image has any part"],
            ),
            (
                with(&|row| row[4..7].fill(NAN)),
                vec!["no held-out image has any grade"],
            ),
            (with(&grade(0)), vec!["every held-out image has grade none"]),
            (with(&grade(2)), vec!["every held-out image has grade severe"]),
            // on one side of one threshold and on the other of the other
            (with(&grade(1)), vec![]),
            (with(&|row| row[7] = NAN), vec![]),
        ] {
            assert_eq!(Presence::of_samples(&heads(), &samples).uncalibrated(), said);
            assert_eq!(exportable(&samples), said.is_empty(), "{said:?}");
        }
    }

    #[test]
    fn the_table_has_images_and_patients_of_every_answer() {
        let one = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 50.0];
        let (train, held_out) = (samples(&[one; 3]), samples(&[[NAN; 8]]));
        let [train, held_out] = [train, held_out].map(|samples| Presence::of_samples(&heads(), &samples));
        let table = Presence::table(&[("training", &train), ("held out", &held_out)]);
        let cells: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(cells[2], ["fracture", "1", "3", "2", "0", "0"], "{table}");
        assert_eq!(cells[5], ["part", "hip", "3", "2", "0", "0"], "{table}");
        assert_eq!(
            cells[10],
            ["years", "any", "number", "3", "2", "0", "0"],
            "{table}"
        );
    }
}

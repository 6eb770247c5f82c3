//! What is counted while the table is written, for the report.
//!
//! Invariant: words of headers are told only where at least [`LEAST_PATIENTS`] patients have them: what one patient alone has may be
//! about that patient.

use std::collections::BTreeMap;

use serde::Serialize;

use super::row::Row;
use crate::train::data::anatomy::{Mapped, Origin};

/// The column whose words are told with what they were not understood to mean.
pub(super) const BODY_PART: &str = "body part";
/// The column of decades, which have an order.
pub(super) const AGE: &str = "age";
/// So many patients have words that are told.
pub const LEAST_PATIENTS: usize = 3;
/// More different words, or values of a label, are not told apart.
const MOST_WORDS: usize = 50_000;
const MOST_VALUES: usize = 40;

/// Different patients, up to as many as matter.
#[derive(Clone, Debug, Default)]
struct Few(Vec<u32>);

impl Few {
    fn note(&mut self, patient: u32) {
        if self.0.len() < LEAST_PATIENTS && !self.0.contains(&patient) {
            self.0.push(patient);
        }
    }
}

/// What something that was said stands for.
#[derive(Clone, Debug, Serialize)]
pub struct Mapping {
    /// `body part`, `view` or `side`.
    pub kind: &'static str,
    /// Where it was said.
    pub origin: Origin,
    /// What was said; nothing where too few patients have it.
    pub said: Option<String>,
    /// What it stands for; nothing where the table does not know it.
    pub name: Option<&'static str>,
    /// How many images say it.
    pub images: u64,
}

/// A value of a label.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Value {
    /// How many images have it.
    pub images: u64,
    /// How many patients have it; no more than [`LEAST_PATIENTS`] are counted.
    pub patients: usize,
}

/// The values of a label.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LabelCounts {
    /// Its name.
    pub name: String,
    /// By value; of a label with many values, none.
    pub values: BTreeMap<String, Value>,
    /// How many images have any.
    pub images: u64,
    #[serde(skip)]
    patients: BTreeMap<String, Few>,
    #[serde(skip)]
    many: bool,
}

impl LabelCounts {
    /// Values that one patient alone has.
    pub fn of_one_patient(&self) -> impl Iterator<Item = &str> {
        let values = self.values.iter().filter(|(_, value)| value.patients == 1);
        values.map(|(value, _)| value.as_str())
    }
}

/// What words stand for, how many images have them, and which patients.
#[derive(Clone, Debug, Default)]
struct Words {
    name: Option<&'static str>,
    images: u64,
    patients: Few,
}

/// The counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) labelled: u64,
    pub(super) columns: BTreeMap<&'static str, BTreeMap<String, u64>>,
    pub(super) labels: Vec<LabelCounts>,
    words: BTreeMap<(&'static str, Origin, String), Words>,
    /// Words beyond those that are told apart.
    pub(super) more_words: u64,
    /// Body parts as attribute and description have them, where they differ.
    pub(super) disagreements: BTreeMap<(&'static str, &'static str), u64>,
}

impl Tally {
    pub(super) fn new(labels: &[String]) -> Self {
        let label = |name: &String| LabelCounts {
            name: name.clone(),
            ..LabelCounts::default()
        };
        Self {
            labels: labels.iter().map(label).collect(),
            ..Self::default()
        }
    }

    pub(super) fn row(&mut self, row: &Row, patient: u32) {
        self.labelled += u64::from(row.labelled);
        let decade = row.age.map_or(String::new(), |age| match age / 10 {
            9.. => "90 or more".to_owned(),
            decade => format!("{:02} to {:02}", 10 * decade, 10 * decade + 9),
        });
        for (column, value) in [
            ("modality", row.modality.as_str()),
            (BODY_PART, row.body_part),
            ("view", row.view),
            ("side", row.laterality),
            ("sex", row.sex.as_str()),
            (AGE, decade.as_str()),
            ("site", row.site.as_str()),
            ("scanner", row.scanner.as_str()),
            ("text in the pixels", row.burned_in.name()),
            ("split", row.split.map_or("", |part| part.name())),
        ] {
            *self
                .columns
                .entry(column)
                .or_default()
                .entry(value.to_owned())
                .or_default() += 1;
        }
        for (counts, value) in self.labels.iter_mut().zip(&row.labels) {
            if value.is_empty() {
                continue;
            }
            counts.images += 1;
            if counts.many || (counts.values.len() >= MOST_VALUES && !counts.values.contains_key(value)) {
                counts.many = true;
                counts.values.clear();
                counts.patients.clear();
                continue;
            }
            let few = counts.patients.entry(value.clone()).or_default();
            few.note(patient);
            let count = counts.values.entry(value.clone()).or_default();
            count.images += 1;
            count.patients = few.0.len();
        }
    }

    pub(super) fn words<'a>(
        &mut self,
        kind: &'static str,
        mapped: impl Iterator<Item = Mapped<'a>>,
        patient: u32,
    ) {
        let mapped: Vec<Mapped<'_>> = mapped.collect();
        let understood = mapped.iter().any(|mapped| mapped.name.is_some());
        let (mut stated, mut described) = (None, None);
        for Mapped { origin, said, name } in mapped {
            match origin {
                Origin::Description => described = described.or(name),
                _ => stated = stated.or(name),
            }
            // a description need not name a side or a view, nor a body part that is known otherwise
            let is_gap = kind == BODY_PART && !understood;
            if name.is_none() && origin == Origin::Description && !is_gap {
                continue;
            }
            let key = (kind, origin, said.to_owned());
            if self.words.len() >= MOST_WORDS && !self.words.contains_key(&key) {
                self.more_words += 1;
                continue;
            }
            let words = self.words.entry(key).or_default();
            words.name = name;
            words.images += 1;
            words.patients.note(patient);
        }
        if let (Some(stated), Some(described)) = (stated, described)
            && stated != described
            && kind == BODY_PART
        {
            *self.disagreements.entry((stated, described)).or_default() += 1;
        }
    }

    /// What was mapped to what, the most frequent first; what few patients have together at the end of each kind.
    pub(super) fn mappings(&self) -> Vec<Mapping> {
        let mut told = Vec::new();
        let mut untold: BTreeMap<(&'static str, Origin, Option<&'static str>), u64> = BTreeMap::new();
        for (
            (kind, origin, said),
            Words {
                name,
                images,
                patients,
            },
        ) in &self.words
        {
            if patients.0.len() >= LEAST_PATIENTS {
                told.push(Mapping {
                    kind,
                    origin: *origin,
                    said: Some(said.clone()),
                    name: *name,
                    images: *images,
                });
            } else {
                *untold.entry((kind, *origin, *name)).or_default() += images;
            }
        }
        told.sort_by(|one, other| {
            (one.kind, one.origin, std::cmp::Reverse(one.images), &one.said).cmp(&(
                other.kind,
                other.origin,
                std::cmp::Reverse(other.images),
                &other.said,
            ))
        });
        told.extend(untold.into_iter().map(|((kind, origin, name), images)| Mapping {
            kind,
            origin,
            said: None,
            name,
            images,
        }));
        told
    }
}

//! The questions that a network is trained to answer, and where each one's numbers stand.
//!
//! Three rows of numbers belong to an image. *Labels* are what is known: one value for each label, 0 or 1 for findings, classes
//! and grades (one class or grade of a head is 1), a number in its unit for regression, NaN for unknown. *Targets* are what the
//! network is to answer, one for each of its *logits*: grades become the thresholds between them, P(grade > k), one fewer than
//! grades (Niu 2016; the form that manifests know), and numbers lose their scale and offset. Heads stand behind one another in all
//! three.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::super::data::Column;
use super::super::data::columns::Kind;
use crate::finding::Task;
use crate::finding::label::Quantity;

/// The head of a recipe that names labels only.
pub const FINDINGS: &str = "findings";

/// One question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Lower-case letters, digits, `-` and `_`; for classes and grades the name of the column of the CSV, too.
    pub name: String,
    /// What kind of question.
    pub task: Task,
    /// Findings, classes, grades from the lowest, or quantities.
    pub labels: Vec<String>,
    /// For regression, what each label's number is: the network answers `(value - offset) / scale`, which should be about 0 and
    /// spread by about 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantities: Vec<Quantity>,
    /// Its share of the loss, beside the other heads.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

/// All heads of a network, at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Heads(Vec<Head>);

/// A head and where its numbers stand.
#[derive(Clone, Debug)]
pub struct Placed<'a> {
    /// The head.
    pub head: &'a Head,
    /// Its labels among those of all heads.
    pub labels: Range<usize>,
    /// Its logits among those of all heads.
    pub logits: Range<usize>,
}

impl Head {
    /// A question with a share of the loss as large as others'; a regression needs its quantities besides.
    #[must_use]
    pub fn new(name: &str, task: Task, labels: &[impl AsRef<str>]) -> Self {
        Self {
            name: name.to_owned(),
            task,
            labels: labels.iter().map(|label| label.as_ref().to_owned()).collect(),
            quantities: Vec::new(),
            weight: one(),
        }
    }

    /// How many logits it has.
    #[must_use]
    pub fn width(&self) -> usize {
        match self.task {
            Task::Ordinal => self.labels.len().saturating_sub(1),
            _ => self.labels.len(),
        }
    }

    /// Whether exactly one of its labels is true.
    #[must_use]
    pub fn excludes(&self) -> bool {
        matches!(self.task, Task::Multiclass | Task::Ordinal)
    }

    fn check(&self) -> Result<(), String> {
        let (name, labels) = (&self.name, self.labels.len());
        let fits = match self.task {
            Task::Binary => labels == 1,
            Task::Multiclass | Task::Ordinal => labels >= 2,
            Task::Multilabel | Task::Regression => labels >= 1,
        };
        if !fits {
            return Err(format!(
                "head {name} has {labels} labels; binary takes one, multiclass and ordinal two or more, the others one or more"
            ));
        }
        let quantities = if self.task == Task::Regression { labels } else { 0 };
        if self.quantities.len() != quantities {
            return Err(format!(
                "head {name} has {} quantities; {quantities} are needed: one for each label of a regression",
                self.quantities.len()
            ));
        }
        let usable = |quantity: &Quantity| {
            quantity.scale.is_finite() && quantity.scale != 0.0 && quantity.offset.is_finite()
        };
        if !self.quantities.iter().all(usable) {
            return Err(format!(
                "head {name}: a scale must be finite and not 0, an offset finite"
            ));
        }
        if !(self.weight > 0.0 && self.weight.is_finite()) {
            return Err(format!(
                "head {name}: its weight is {}; it must be above 0",
                self.weight
            ));
        }
        Ok(())
    }

    fn targets(&self, labels: &[f32], targets: &mut Vec<f32>) {
        match self.task {
            Task::Ordinal => {
                let mut above: f32 = labels.iter().sum();
                targets.extend(labels.iter().take(self.width()).map(|grade| {
                    above -= grade;
                    above
                }));
            }
            Task::Regression => targets.extend(
                labels
                    .iter()
                    .zip(&self.quantities)
                    .map(|(value, quantity)| (value - quantity.offset) / quantity.scale),
            ),
            Task::Binary | Task::Multiclass | Task::Multilabel => targets.extend_from_slice(labels),
        }
    }
}

impl Heads {
    /// The heads of a recipe: those that it lists, or one multilabel head over its labels.
    #[must_use]
    pub fn new(listed: &[Head], labels: &[String]) -> Self {
        if !listed.is_empty() {
            return Self(listed.to_vec());
        }
        Self(vec![Head::new(FINDINGS, Task::Multilabel, labels)])
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the head.
    pub fn check(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        let mut labels = BTreeSet::new();
        for head in &self.0 {
            head.check()?;
            if !names.insert(&head.name) {
                return Err(format!("head {} stands twice", head.name));
            }
            if let Some(label) = head.labels.iter().find(|label| !labels.insert(*label)) {
                return Err(format!("label {label} stands twice"));
            }
        }
        Ok(())
    }

    /// Every head with its places.
    pub fn placed(&self) -> impl Iterator<Item = Placed<'_>> {
        self.0.iter().scan((0, 0), |(labels, logits), head| {
            let placed = Placed {
                head,
                labels: *labels..*labels + head.labels.len(),
                logits: *logits..*logits + head.width(),
            };
            (*labels, *logits) = (placed.labels.end, placed.logits.end);
            Some(placed)
        })
    }

    /// How many logits the network has.
    #[must_use]
    pub fn width(&self) -> usize {
        self.0.iter().map(Head::width).sum()
    }

    /// The names of all labels.
    pub fn labels(&self) -> impl Iterator<Item = &String> {
        self.0.iter().flat_map(|head| &head.labels)
    }

    /// The columns of a table that hold the labels: of classes and grades one for the head, named after it; otherwise one for each
    /// label.
    #[must_use]
    pub fn columns(&self) -> Vec<Column> {
        let of = |head: &Head| -> Vec<Column> {
            let one = |kind: Kind| {
                move |name: &String| Column {
                    name: name.clone(),
                    kind: kind.clone(),
                }
            };
            match head.task {
                Task::Binary | Task::Multilabel => head.labels.iter().map(one(Kind::Finding)).collect(),
                Task::Regression => head.labels.iter().map(one(Kind::Number)).collect(),
                Task::Multiclass | Task::Ordinal => vec![one(Kind::Classes(head.labels.clone()))(&head.name)],
            }
        };
        self.0.iter().flat_map(of).collect()
    }

    /// For each label the name of its measure; the lowest grade has none, because its threshold would be below all.
    #[must_use]
    pub fn measures(&self) -> Vec<Option<&'static str>> {
        let of = |head: &Head| {
            let (task, name) = (head.task, super::measure::name(head.task));
            (0..head.labels.len())
                .map(move |place| (task != Task::Ordinal || place > 0).then_some(name))
                .collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }

    /// What the network is to answer where these are the labels; NaN where that is unknown.
    #[must_use]
    pub fn targets(&self, labels: &[f32]) -> Vec<f32> {
        let mut targets = Vec::with_capacity(self.width());
        for placed in self.placed() {
            placed
                .head
                .targets(labels.get(placed.labels).unwrap_or_default(), &mut targets);
        }
        targets
    }

    /// Checks one image's labels.
    ///
    /// # Errors
    /// A sentence that names the head, and no value.
    pub fn check_labels(&self, labels: &[f32]) -> Result<(), String> {
        for placed in self.placed() {
            let name = &placed.head.name;
            let own = labels.get(placed.labels).unwrap_or_default();
            let bit = |value: &f32| *value == 0.0 || (*value - 1.0).abs() < f32::EPSILON;
            let known = own.iter().filter(|value| !value.is_nan());
            let valid = match placed.head.task {
                Task::Regression => known.clone().all(|value| value.is_finite()),
                Task::Binary | Task::Multilabel => known.clone().all(bit),
                Task::Multiclass | Task::Ordinal => {
                    let ones = known.clone().filter(|value| **value > 0.5).count();
                    let count = known.clone().count();
                    known.clone().all(bit) && (count == 0 || (count == own.len() && ones == 1))
                }
            };
            if !valid {
                return Err(format!(
                    "labels of head {name} are not usable: findings are 0, 1 or unknown, of classes and grades one is 1 or all are unknown, numbers are finite"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads() -> Heads {
        let age = Quantity {
            unit: "a".to_owned(),
            scale: 10.0,
            offset: 60.0,
            range: [0.0, 120.0],
        };
        Heads(vec![
            Head::new("findings", Task::Multilabel, &["fracture", "implant"]),
            Head::new("grade", Task::Ordinal, &["none", "mild", "severe"]),
            Head {
                quantities: vec![age],
                ..Head::new("age", Task::Regression, &["years"])
            },
        ])
    }

    #[test]
    fn grades_become_thresholds_and_numbers_lose_their_unit() {
        heads().check().unwrap();
        assert_eq!(heads().width(), 5);
        let columns: Vec<String> = heads().columns().into_iter().map(|column| column.name).collect();
        assert_eq!(columns, ["fracture", "implant", "grade", "years"]);
        let of = |labels: &[f32]| heads().targets(labels);
        assert_eq!(of(&[1.0, 0.0, 1.0, 0.0, 0.0, 70.0]), [1.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(of(&[1.0, 0.0, 0.0, 1.0, 0.0, 40.0]), [1.0, 0.0, 1.0, 0.0, -2.0]);
        let unknown = of(&[f32::NAN; 6]);
        assert!(unknown.len() == 5 && unknown.iter().all(|target| target.is_nan()));
    }

    #[test]
    fn labels_that_contradict_themselves_are_refused() {
        assert!(
            heads()
                .check_labels(&[1.0, f32::NAN, 0.0, 0.0, 1.0, 55.5])
                .is_ok()
        );
        for wrong in [
            [0.5, 0.0, 1.0, 0.0, 0.0, 1.0],
            [1.0, 0.0, 1.0, 1.0, 0.0, 1.0],
            [1.0, 0.0, 0.0, 0.0, 0.0, 1.0],
            [1.0, 0.0, 1.0, 0.0, f32::NAN, 1.0],
            [1.0, 0.0, 1.0, 0.0, 0.0, f32::INFINITY],
        ] {
            assert!(heads().check_labels(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_head_that_cannot_be_is_named() {
        let mut wrong = heads();
        wrong.0[1].labels.truncate(1);
        assert!(wrong.check().unwrap_err().contains("head grade has 1 labels"));
        let mut wrong = heads();
        wrong.0[2].quantities.clear();
        assert!(wrong.check().unwrap_err().contains("quantities"));
        let mut wrong = heads();
        wrong.0[1].labels[0] = "fracture".to_owned();
        assert_eq!(wrong.check().unwrap_err(), "label fracture stands twice");
    }
}

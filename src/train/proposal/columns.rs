//! What the columns of a table hold, and which questions to a network they could be.

use std::collections::{BTreeMap, HashSet};

use crate::finding::Task;
use crate::finding::label::Quantity;
use crate::train::learn::heads::{FINDINGS, Head};
use crate::train::unfilled::FILL_IN;

/// More different words are a text and no answer.
const MOST_CLASSES: usize = 20;
/// More different whole numbers are no grades.
const MOST_GRADES: usize = 10;
/// More different values of a column are not told apart.
const MOST_VALUES: usize = 40;
/// Words for grades, the lowest first.
const GRADES: [&str; 6] = ["none", "minimal", "mild", "moderate", "marked", "severe"];

/// A column with a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The column.
    pub name: String,
    /// What kind of question it was taken for.
    pub task: Task,
    /// Its answers, grades from the lowest, each with its images and patients; of a number, none.
    pub answers: Vec<Answer>,
    /// Images with an answer.
    pub images: usize,
    /// Of a number, what it is.
    quantity: Option<Quantity>,
}

/// An answer and how often it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// As the cells have it.
    pub value: String,
    /// Images that have it.
    pub images: usize,
    /// Patients of these.
    pub patients: usize,
}

/// What is known of a column.
pub(super) struct Profile {
    name: String,
    images: usize,
    /// For each value its images and their patients; empty where there are too many.
    values: BTreeMap<String, (usize, HashSet<u32>)>,
    many: bool,
    /// None where a cell is no number.
    numbers: Option<Numbers>,
}

#[derive(Clone, Copy)]
struct Numbers {
    lowest: f64,
    highest: f64,
    sum: f64,
    squares: f64,
}

impl Profile {
    pub(super) fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            images: 0,
            values: BTreeMap::new(),
            many: false,
            numbers: Some(Numbers {
                lowest: f64::INFINITY,
                highest: f64::NEG_INFINITY,
                sum: 0.0,
                squares: 0.0,
            }),
        }
    }

    /// Takes note of the cell of an image; an empty one is unknown.
    pub(super) fn note(&mut self, cell: &str, patient: u32) {
        if cell.is_empty() {
            return;
        }
        self.images += 1;
        let number = cell.parse().ok().filter(|number: &f64| number.is_finite());
        self.numbers = self.numbers.zip(number).map(|(numbers, number)| Numbers {
            lowest: numbers.lowest.min(number),
            highest: numbers.highest.max(number),
            sum: numbers.sum + number,
            squares: numbers.squares + number * number,
        });
        if self.many || (self.values.len() == MOST_VALUES && !self.values.contains_key(cell)) {
            self.many = true;
            self.values.clear();
            return;
        }
        let (images, patients) = self.values.entry(cell.to_owned()).or_default();
        *images += 1;
        patients.insert(patient);
    }

    /// What question it could be; `asked` where somebody wants it, because not every number is one.
    ///
    /// # Errors
    /// Why it is none: no value is repeated, because it might be a name.
    pub(super) fn question(&self, asked: bool) -> Result<Question, String> {
        let (task, order) = self.task(asked)?;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        let names_head = !matches!(task, Task::Binary | Task::Multilabel);
        if names_head && (self.name.len() > 64 || !self.name.bytes().all(plain)) {
            return Err(
                "a head gets the name of the column: give it at most 64 lower-case letters, digits, - and _"
                    .to_owned(),
            );
        }
        let answer = |value: String| {
            let (images, patients) = self
                .values
                .get(&value)
                .map_or((0, 0), |(images, patients)| (*images, patients.len()));
            Answer {
                value,
                images,
                patients,
            }
        };
        Ok(Question {
            name: self.name.clone(),
            task,
            answers: order.into_iter().map(answer).collect(),
            images: self.images,
            quantity: self
                .numbers
                .filter(|_| task == Task::Regression)
                .map(|numbers| numbers.quantity(self.images)),
        })
    }

    /// The task, with the answers in their order.
    fn task(&self, asked: bool) -> Result<(Task, Vec<String>), String> {
        let words: Vec<String> = self.values.keys().cloned().collect();
        if self.images == 0 {
            return Err("it is empty in every line".to_owned());
        }
        if words.len() == 1 {
            return Err(
                "all images that have a value have the same: there is nothing to tell apart".to_owned(),
            );
        }
        if words == ["0", "1"] {
            return Ok((Task::Multilabel, words));
        }
        let whole: Option<Vec<i64>> = words.iter().map(|word| word.parse().ok()).collect();
        let whole = whole.filter(|_| !self.many && words.len() <= MOST_GRADES);
        if self.numbers.is_some() && whole.is_none() {
            return if asked {
                Ok((Task::Regression, Vec::new()))
            } else {
                Err(format!(
                    "it holds numbers: --question {} makes a regression of them",
                    self.name
                ))
            };
        }
        if self.many || words.len() > MOST_CLASSES {
            return Err(format!("it holds more than {MOST_CLASSES} different texts"));
        }
        let grade = |word: &String| GRADES.iter().position(|grade| word.eq_ignore_ascii_case(grade));
        let ranks: Option<Vec<i64>> = whole.filter(|_| words.len() > 2).or_else(|| {
            words
                .iter()
                .map(|word| grade(word).map(|rank| rank as i64))
                .collect()
        });
        let Some(ranks) = ranks else {
            return Ok((Task::Multiclass, words));
        };
        let mut order: Vec<(i64, String)> = ranks.into_iter().zip(words).collect();
        order.sort();
        if order.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err("one grade is written in two ways".to_owned());
        }
        Ok((Task::Ordinal, order.into_iter().map(|(_, word)| word).collect()))
    }
}

impl Numbers {
    /// Scale and offset bring the numbers to about 0 and a spread of 1.
    fn quantity(self, count: usize) -> Quantity {
        let count = count as f64;
        let mean = self.sum / count;
        let deviation = (self.squares / count - mean * mean).max(0.0).sqrt();
        Quantity {
            unit: format!("{FILL_IN}: the UCUM code of the unit, or 1 for none"),
            scale: if deviation > 0.0 { deviation as f32 } else { 1.0 },
            offset: mean as f32,
            range: [self.lowest as f32, self.highest as f32],
        }
    }
}

impl Question {
    /// What it is called among tasks.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.task {
            Task::Binary | Task::Multilabel => "finding",
            Task::Multiclass => "classes",
            Task::Ordinal => "grades",
            Task::Regression => "number",
        }
    }

    /// The labels that a network has for it.
    pub(super) fn labels(&self) -> Vec<String> {
        match self.task {
            Task::Multiclass | Task::Ordinal => {
                self.answers.iter().map(|answer| answer.value.clone()).collect()
            }
            _ => vec![self.name.clone()],
        }
    }
}

/// The heads of a network for these questions: all findings together, every other question by itself. None where there are findings
/// alone, for which a recipe needs no heads.
pub(super) fn heads(questions: &[Question]) -> Vec<Head> {
    let (findings, others): (Vec<&Question>, Vec<&Question>) = questions
        .iter()
        .partition(|question| question.task == Task::Multilabel);
    if others.is_empty() {
        return Vec::new();
    }
    let mut heads = Vec::new();
    if !findings.is_empty() {
        let names: Vec<&str> = findings.iter().map(|question| question.name.as_str()).collect();
        heads.push(Head::new(FINDINGS, Task::Multilabel, &names));
    }
    heads.extend(others.into_iter().map(|question| Head {
        quantities: question.quantity.iter().cloned().collect(),
        ..Head::new(&question.name, question.task, &question.labels())
    }));
    heads
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &str, cells: &[&str], asked: bool) -> Result<Question, String> {
        let mut profile = Profile::of(name);
        for (patient, cell) in cells.iter().enumerate() {
            profile.note(cell, patient as u32 / 2);
        }
        profile.question(asked)
    }

    fn taken(cells: &[&str]) -> (Task, Vec<String>) {
        let found = question("grade", cells, false).unwrap();
        let answers = found.answers.into_iter().map(|answer| answer.value);
        (found.task, answers.collect())
    }

    #[test]
    fn cells_tell_the_task() {
        let own = |task, answers: &[&str]| (task, answers.iter().map(|own| (*own).to_owned()).collect());
        assert_eq!(taken(&["1", "", "0", "1"]), own(Task::Multilabel, &["0", "1"]));
        assert_eq!(
            taken(&["hip", "hand", "hip"]),
            own(Task::Multiclass, &["hand", "hip"])
        );
        assert_eq!(taken(&["2", "10", "1"]), own(Task::Ordinal, &["1", "2", "10"]));
        assert_eq!(taken(&["1", "2", "1"]), own(Task::Multiclass, &["1", "2"]));
        assert_eq!(
            taken(&["Severe", "none", "mild"]),
            own(Task::Ordinal, &["none", "mild", "Severe"])
        );
    }

    #[test]
    fn answers_are_counted_with_their_patients() {
        let found = question("fracture", &["1", "1", "0", "1", ""], false).unwrap();
        let count = |value: &str, images, patients| Answer {
            value: value.to_owned(),
            images,
            patients,
        };
        assert_eq!(found.answers, [count("0", 1, 1), count("1", 3, 2)]);
        assert_eq!((found.images, found.kind()), (4, "finding"));
    }

    #[test]
    fn numbers_are_a_question_where_somebody_asks() {
        let cells = ["-1.5", "0", "1.5"];
        let why = question("t_score", &cells, false).unwrap_err();
        assert!(why.contains("--question t_score makes a regression"), "{why}");
        let found = question("t_score", &cells, true).unwrap();
        let heads = heads(&[found]);
        let quantity = &heads[0].quantities[0];
        // numpy.std([-1.5, 0, 1.5]) = 1.224744871391589
        assert!((quantity.scale - 1.224_744_9).abs() < 1e-6 && quantity.offset.abs() < 1e-6);
        assert_eq!(
            quantity.range.map(f32::to_bits),
            [-1.5_f32, 1.5].map(f32::to_bits)
        );
        assert!(quantity.unit.starts_with(FILL_IN));
    }

    #[test]
    fn what_is_no_question_says_why() {
        let names: Vec<String> = (0..60).map(|name| format!("Doe {name}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for (name, cells, why) in [
            ("a", &["", ""][..], "empty in every line"),
            ("a", &["1", "1"], "have the same"),
            ("a", &names[..30], "more than 20 different texts"),
            ("a", &names, "more than 20 different texts"),
            ("Grade (Genant)", &["0", "1", "2"], "lower-case letters"),
            ("a", &["mild", "Mild", "none"], "written in two ways"),
        ] {
            let said = question(name, cells, false).unwrap_err();
            assert!(said.contains(why) && !said.contains("Doe"), "{said}");
        }
    }

    #[test]
    fn findings_alone_need_no_heads() {
        let finding = question("fracture", &["0", "1"], false).unwrap();
        assert_eq!(heads(std::slice::from_ref(&finding)), []);
        let grade = question("grade", &["0", "1", "2"], false).unwrap();
        let both = heads(&[grade, finding]);
        let names: Vec<&str> = both.iter().map(|head| head.name.as_str()).collect();
        assert_eq!(names, ["findings", "grade"]);
    }
}

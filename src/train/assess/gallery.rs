//! Held-out images with what the network looks at: its surest and its least sure answers, the right ones and the wrong ones.
//!
//! Invariants: an image in which something may be written is not among them; memory does not grow with the number of images.

use crate::finding::Task;
use crate::image::heatmap::{ActivationMap, Picture, over};
use crate::image::lettering::{CELL, write};
use crate::image::thumbnail::thumbnail;
use crate::model::Head;
use crate::runtime::Prediction;
use crate::train::data::index::may_be_shown;
use crate::train::data::samples::Image;
use crate::train::run::Visited;

/// Images of each kind of answer at either end: the surest, and the least sure.
const EITHER: usize = 4;
/// Longest side of an image, about.
const SIDE: usize = 200;
/// Pixels between images.
const GAP: usize = 8;
/// How large letters are.
const LETTERS: usize = 2;
/// The kinds of answers, in the order of a sheet.
const KINDS: [&str; 4] = [
    "true positives",
    "false negatives",
    "false positives",
    "true negatives",
];

/// The images to be shown, of all that were offered.
pub struct Gallery {
    questions: Vec<Question>,
    hidden: usize,
}

/// A label with a map of its own.
struct Question {
    name: String,
    threshold: f32,
    /// Its head, and its place there.
    head: usize,
    place: usize,
    /// Its place among the labels of all heads.
    label: usize,
    /// One for each of [`KINDS`].
    shelves: [Shelf; 4],
}

/// Images with one kind of answer, the surest first; those between the two ends are let go.
#[derive(Default)]
struct Shelf {
    images: usize,
    shown: Vec<Shown>,
}

struct Shown {
    probability: f32,
    /// How far the probability is from the threshold.
    margin: f32,
    picture: Picture,
}

impl Gallery {
    /// For a network that answers with `heads`. Grades and numbers have no map of their own, and no sheet.
    #[must_use]
    pub fn new(heads: &[Head]) -> Self {
        let mut questions = Vec::new();
        let mut label = 0;
        for (number, head) in heads.iter().enumerate() {
            let calls = !matches!(head.task, Task::Ordinal | Task::Regression);
            if calls && head.activation_map.is_some() {
                questions.extend(head.labels.iter().enumerate().map(|(place, own)| Question {
                    name: own.name.clone(),
                    threshold: own.threshold.unwrap_or(0.5),
                    head: number,
                    place,
                    label: label + place,
                    shelves: Default::default(),
                }));
            }
            label += head.labels.len();
        }
        Self { questions, hidden: 0 }
    }

    /// Looks at a few images and the `answers` to them.
    ///
    /// # Errors
    /// What the images' cache said.
    pub fn offer(&mut self, few: &Visited<'_>, answers: &[Prediction]) -> Result<(), String> {
        let images = few.samples.images.iter().zip(&few.samples.labels);
        for ((image, labels), (answer, row)) in images.zip(answers.iter().zip(few.rows)) {
            // looked at only where it would be shown: it may mean to decode a file
            let mut may = None;
            for question in &mut self.questions {
                let may_be_shown = || *may.get_or_insert_with(|| may_be_shown(row));
                question.offer(image, labels[question.label], answer, may_be_shown)?;
            }
            self.hidden += usize::from(may == Some(false));
        }
        Ok(())
    }

    /// How many images would have been shown, were nothing written in them, or had it been known what is.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// A sheet for each label of which there is anything to show, with its name.
    #[must_use]
    pub fn sheets(&self) -> Vec<(&str, Picture)> {
        let shows = |question: &&Question| question.shelves.iter().any(|shelf| !shelf.shown.is_empty());
        let questions = self.questions.iter().filter(shows);
        questions
            .map(|question| (question.name.as_str(), question.sheet()))
            .collect()
    }
}

impl Question {
    fn offer(
        &mut self,
        image: &Image,
        truth: f32,
        answer: &Prediction,
        may_be_shown: impl FnOnce() -> bool,
    ) -> Result<(), String> {
        let Some(head) = answer.heads.get(self.head) else {
            return Ok(());
        };
        let (Some(probability), Some(map)) =
            (head.values.get(self.place), head.activation_maps.get(self.place))
        else {
            return Ok(());
        };
        if truth.is_nan() {
            return Ok(());
        }
        let kind = match (truth > 0.5, *probability >= self.threshold) {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 3,
        };
        let margin = (probability - self.threshold).abs();
        self.shelves[kind].offer(*probability, margin, may_be_shown, || picture(image, map))
    }

    fn sheet(&self) -> Picture {
        let shown = || self.shelves.iter().flat_map(|shelf| &shelf.shown);
        let largest = |of: fn(&Picture) -> usize| shown().map(|own| of(&own.picture)).max().unwrap_or(0);
        let (rows, columns) = (largest(|own| own.rows), largest(|own| own.columns));
        let line = CELL[1] * LETTERS + GAP / 2;
        let title = format!(
            "{}, threshold {:.3}; heat is what speaks for it",
            self.name, self.threshold
        );
        let titles =
            self.shelves.iter().zip(KINDS).map(|(shelf, kind)| {
                format!("{} {kind}: the surest first, the least sure last", shelf.images)
            });
        let titles: Vec<String> = titles.collect();
        let longest = titles
            .iter()
            .chain([&title])
            .map(|words| words.chars().count())
            .max();
        // a line above each row of images says what they are, one below each image what the network says
        let cell = [rows + 2 * line + GAP, columns.max(6 * CELL[0] * LETTERS) + GAP];
        let width = (2 * EITHER * cell[1]).max(longest.unwrap_or(0) * CELL[0] * LETTERS);
        let mut sheet = Picture {
            rows: GAP + line + KINDS.len() * cell[0],
            columns: GAP + width,
            values: Vec::new(),
        };
        sheet.values = vec![0; sheet.rows * sheet.columns * 3];
        write(&mut sheet, &title, [GAP, GAP], LETTERS);
        for (place, (title, shelf)) in titles.iter().zip(&self.shelves).enumerate() {
            let top = GAP + line + place * cell[0];
            write(&mut sheet, title, [top, GAP], LETTERS);
            for (number, own) in shelf.shown.iter().enumerate() {
                let left = GAP + number * cell[1];
                paste(&mut sheet, &own.picture, [top + line, left]);
                let said = format!("{:.3}", own.probability);
                write(&mut sheet, &said, [top + line + rows + 2, left], LETTERS);
            }
        }
        sheet
    }
}

impl Shelf {
    fn offer(
        &mut self,
        probability: f32,
        margin: f32,
        may_be_shown: impl FnOnce() -> bool,
        draw: impl FnOnce() -> Result<Picture, String>,
    ) -> Result<(), String> {
        self.images += 1;
        let is_between = self.shown.len() == 2 * EITHER
            && margin <= self.shown[EITHER - 1].margin
            && margin >= self.shown[EITHER].margin;
        if is_between || !may_be_shown() {
            return Ok(());
        }
        let place = self.shown.partition_point(|own| own.margin >= margin);
        let picture = draw()?;
        self.shown.insert(
            place,
            Shown {
                probability,
                margin,
                picture,
            },
        );
        if self.shown.len() > 2 * EITHER {
            self.shown.remove(EITHER);
        }
        Ok(())
    }
}

fn picture(image: &Image, map: &ActivationMap) -> Result<Picture, String> {
    let plane = image.plane().map_err(|error| error.to_string())?;
    Ok(over(&thumbnail(&plane, SIDE), map))
}

fn paste(sheet: &mut Picture, picture: &Picture, [top, left]: [usize; 2]) {
    let width = picture.columns * 3;
    for (row, line) in picture.values.chunks_exact(width.max(1)).enumerate() {
        let start = ((top + row) * sheet.columns + left) * 3;
        sheet.values[start..start + width].copy_from_slice(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Plane;
    use crate::model::Activation;
    use crate::runtime::HeadOutput;
    use crate::train::data::Samples;
    use crate::train::data::index::{BurnedIn, LabelledRow};

    fn head(task: Task, map: bool) -> Head {
        let label = |name: &str| {
            let code = serde_json::json!({"scheme": "99TEST", "value": name, "meaning": name});
            serde_json::from_value(serde_json::json!({"name": name, "code": code, "threshold": 0.5})).unwrap()
        };
        Head {
            name: "findings".to_owned(),
            task,
            labels: ["one", "other"].map(label).to_vec(),
            scores: "scores".to_owned(),
            activation: Activation::None,
            logits: None,
            activation_map: map.then(|| "map".to_owned()),
        }
    }

    fn row(burned_in: BurnedIn) -> LabelledRow {
        LabelledRow {
            line: 2,
            file: "nowhere".into(),
            digest: None,
            patient: "p".to_owned(),
            without_patient: false,
            group: "p".to_owned(),
            split: None,
            body_part: None,
            burned_in: Some(burned_in),
            labels: Vec::new(),
            covariates: Vec::new(),
        }
    }

    /// Offers images with the truth of the first label and what is said of it; of the second nothing is known.
    fn offered(cases: &[(f32, f32, BurnedIn)]) -> Gallery {
        let mut gallery = Gallery::new(&[head(Task::Multilabel, true)]);
        for (truth, said, burned_in) in cases {
            let mut samples = Samples::default();
            let plane = Plane {
                rows: 8,
                columns: 6,
                values: vec![30_000; 48],
            };
            samples.push(plane, vec![*truth, f32::NAN], "p".to_owned());
            let map = ActivationMap {
                rows: 1,
                columns: 1,
                values: vec![1.0],
            };
            let answer = Prediction {
                heads: vec![HeadOutput {
                    scores: vec![*said, 0.5],
                    logits: None,
                    values: vec![*said, 0.5],
                    activation_maps: vec![map.clone(), map],
                }],
                embedding: None,
            };
            let row = row(*burned_in);
            let few = Visited {
                samples: &samples,
                parts: &[],
                rows: &[&row],
            };
            gallery.offer(&few, &[answer]).unwrap();
        }
        gallery
    }

    fn said(gallery: &Gallery, kind: usize) -> Vec<f32> {
        let shown = &gallery.questions[0].shelves[kind].shown;
        shown.iter().map(|own| own.probability).collect()
    }

    #[test]
    fn the_surest_and_the_least_sure_of_each_kind_are_kept() {
        let cases: Vec<_> = (0..40)
            .map(|case| (1.0, 0.51 + 0.01 * (case * 7 % 40) as f32, BurnedIn::No))
            .chain([
                (1.0, 0.2, BurnedIn::No),
                (0.0, 0.9, BurnedIn::Unknown),
                (0.0, 0.1, BurnedIn::No),
            ])
            .collect();
        let gallery = offered(&cases);
        let kept = said(&gallery, 0);
        for (found, expected) in kept.iter().zip([0.9, 0.89, 0.88, 0.87, 0.54, 0.53, 0.52, 0.51]) {
            assert!((found - expected).abs() < 1e-5, "{kept:?}");
        }
        assert_eq!(kept.len(), 2 * EITHER);
        assert_eq!(
            [1, 2, 3].map(|kind| said(&gallery, kind)),
            [vec![0.2], vec![0.9], vec![0.1]]
        );
        assert_eq!(
            gallery.questions[0].shelves.each_ref().map(|own| own.images),
            [40, 1, 1, 1]
        );
        // nothing is known of the other label
        let sheets = gallery.sheets();
        assert_eq!(sheets.len(), 1);
        assert_eq!(sheets[0].0, "one");
        let coloured = sheets[0].1.values.chunks(3).any(|pixel| pixel[0] != pixel[2]);
        assert!(coloured, "heat lies over the images");
    }

    #[test]
    fn an_image_with_text_in_it_is_never_shown() {
        let gallery = offered(&[
            (1.0, 0.99, BurnedIn::Stated),
            (1.0, 0.98, BurnedIn::Seen),
            (1.0, 0.97, BurnedIn::Likely),
            (1.0, 0.6, BurnedIn::No),
        ]);
        assert_eq!(said(&gallery, 0), [0.6]);
        assert_eq!((gallery.hidden(), gallery.questions[0].shelves[0].images), (3, 4));
        assert!(offered(&[(1.0, 0.9, BurnedIn::Seen)]).sheets().is_empty());
    }

    #[test]
    fn what_has_no_map_has_no_sheet() {
        for (task, map) in [(Task::Ordinal, true), (Task::Multilabel, false)] {
            assert!(Gallery::new(&[head(task, map)]).questions.is_empty());
        }
        let both = Gallery::new(&[head(Task::Regression, true), head(Task::Multiclass, true)]);
        let labels: Vec<usize> = both.questions.iter().map(|question| question.label).collect();
        assert_eq!(labels, [2, 3]);
    }
}

//! The images of a finished run, found again by its table.
//!
//! A run knows which images it held out by their places among all that could be read, so the table has to be the same, and the same
//! images have to be readable. They are visited a few at a time.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Record, RunFolder};
use crate::image::preprocess::Preprocessing;
use crate::model::package::sha256;
use crate::train::data::Samples;
use crate::train::data::index::{LabelledError, LabelledRow, rows, visit};
use crate::train::data::labels::Part;
use crate::train::learn::Recipe;

/// The images of a run.
pub struct RunImages {
    csv: PathBuf,
    rows: Vec<LabelledRow>,
    /// Places among the images that could be read.
    held_out: BTreeSet<usize>,
    unreadable: usize,
}

/// Why the images could not be visited.
enum Stopped {
    Images(LabelledError),
    Said(String),
}

impl From<LabelledError> for Stopped {
    fn from(error: LabelledError) -> Self {
        Self::Images(error)
    }
}

impl RunImages {
    /// Finds the table of `run`, which was told `recipe` and left `record`.
    ///
    /// # Errors
    /// A sentence that says what is gone or has changed.
    pub fn find(run: &RunFolder, recipe: &Recipe, record: &Record) -> Result<Self, String> {
        let source = run.source().map_err(|error| error.to_string())?;
        let csv = source.labels;
        let shown = csv.display();
        let bytes = std::fs::read(&csv)
            .map_err(|error| format!("{shown}, the table of the run's images, cannot be read: {error}"))?;
        if sha256(&bytes) != source.labels_sha256 {
            return Err(format!(
                "{shown} has changed since the training, so that it does not say any more which patients were held out: put the old file back"
            ));
        }
        if record.validation.places.len() != record.validation.labels.len() {
            return Err("the run does not say which images it held out: train it again".to_owned());
        }
        Ok(Self {
            rows: rows(&csv, &recipe.heads().columns(), &[]).map_err(|error| error.to_string())?,
            csv,
            held_out: record.validation.places.iter().copied().collect(),
            unreadable: record.data.unreadable_images,
        })
    }

    /// Visits the images of the `wanted` parts, in the order of the table: `visit` gets a few, with the part of each. `step` is called
    /// for each row that is read; [`RunImages::len`] says how many rows that is.
    ///
    /// What a cross-validation left out of a run counts as training here: it is not held out, and the patients are others.
    ///
    /// # Errors
    /// A sentence: images that cannot be read any more, or what `visit` said.
    pub fn visit(
        &self,
        wanted: &[Part],
        contract: &Preprocessing,
        step: impl Fn() + Sync,
        mut each: impl FnMut(&Samples, &[Part]) -> Result<(), String>,
    ) -> Result<(), String> {
        let chosen = self.chosen(wanted);
        let mut places = chosen.places.into_iter();
        let mut unreadable = Vec::new();
        let visited = visit(&self.csv, chosen.rows, contract, step, |labelled| {
            unreadable.extend(labelled.unreadable);
            let parts: Vec<Part> = labelled
                .splits
                .iter()
                .zip(places.by_ref())
                .map(|(given, place)| self.part(*given, place))
                .collect();
            let own: Vec<usize> = (0..parts.len())
                .filter(|image| wanted.contains(&parts[*image]))
                .collect();
            if own.is_empty() {
                return Ok(());
            }
            let parts: Vec<Part> = own.iter().map(|image| parts[*image]).collect();
            each(&labelled.samples.select(&own), &parts).map_err(Stopped::Said)
        });
        visited.map_err(|stopped| match stopped {
            Stopped::Images(error) => error.to_string(),
            Stopped::Said(reason) => reason,
        })?;
        if unreadable.len() == self.unreadable {
            return Ok(());
        }
        let (file, cause) = unreadable.first().cloned().unwrap_or_default();
        Err(format!(
            "{} images of the run's table cannot be read, and {} could not when it was trained ({}: {cause}): put them back",
            unreadable.len(),
            self.unreadable,
            file.display()
        ))
    }

    /// How many rows have to be read for the `wanted` parts.
    #[must_use]
    pub fn len(&self, wanted: &[Part]) -> usize {
        self.chosen(wanted).rows.len()
    }

    /// The rows that have to be read, and the places that those of them which can be read have had.
    fn chosen(&self, wanted: &[Part]) -> Chosen {
        // where some could not be read, only reading all tells which
        if self.unreadable > 0 {
            return Chosen {
                rows: self.rows.clone(),
                places: (0..self.rows.len()).collect(),
            };
        }
        let places: Vec<usize> = (0..self.rows.len())
            .filter(|place| wanted.contains(&self.part(self.rows[*place].split, *place)))
            .collect();
        Chosen {
            rows: places.iter().map(|place| self.rows[*place].clone()).collect(),
            places,
        }
    }

    fn part(&self, given: Option<Part>, place: usize) -> Part {
        if self.held_out.contains(&place) {
            Part::Validation
        } else if given == Some(Part::Test) {
            Part::Test
        } else {
            Part::Train
        }
    }
}

struct Chosen {
    rows: Vec<LabelledRow>,
    places: Vec<usize>,
}

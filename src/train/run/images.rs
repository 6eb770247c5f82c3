//! The images of a finished run, found again by its table.
//!
//! A run knows which images it held out by their places among all with a label that could be read, so the table has to be the same, and the same
//! images have to be readable. They are visited a few at a time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Record, RunFolder};
use crate::image::preprocess::Preprocessing;
use crate::train::data::Samples;
use crate::train::data::index::{LabelledError, LabelledRow, labelled_rows, rows, visit};
use crate::train::data::labels::Part;
use crate::train::learn::Recipe;

/// Which images of a run are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Those of the patients who were held out.
    pub held_out: bool,
    /// Of the training's, about so many at most, evenly from all.
    pub training: usize,
}

/// A few images of a run.
pub struct Visited<'a> {
    /// The images.
    pub samples: &'a Samples,
    /// The part that each is in.
    pub parts: &'a [Part],
    /// What the table says of each.
    pub rows: &'a [&'a LabelledRow],
}

/// The images of a run.
pub struct RunImages {
    csv: PathBuf,
    rows: Vec<LabelledRow>,
    /// Places among the images that could be read.
    held_out: BTreeSet<usize>,
    unreadable: usize,
    training: usize,
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

impl Wanted {
    /// The held-out patients, and nothing else.
    pub const HELD_OUT: Self = Self {
        held_out: true,
        training: 0,
    };
}

impl RunImages {
    /// Finds the table of `run`, which was told `recipe` and left `record`, where it was or where it was `moved` to.
    ///
    /// # Errors
    /// A sentence that says what is gone or has changed.
    pub fn find(
        run: &RunFolder,
        recipe: &Recipe,
        record: &Record,
        moved: Option<&Path>,
    ) -> Result<Self, String> {
        let source = run.source().map_err(|error| error.to_string())?;
        let csv = source.found(moved).map_err(|error| error.to_string())?.labels;
        if record.validation.places.len() != record.validation.labels.len() {
            return Err("the run does not say which images it held out: train it again".to_owned());
        }
        let columns = recipe.heads().columns();
        let rows = match record.data.unlabelled_images {
            Some(_) => labelled_rows(&csv, &columns).map(|(rows, _)| rows),
            None => rows(&csv, &columns, &[]),
        };
        Ok(Self {
            rows: rows.map_err(|error| error.to_string())?,
            csv,
            held_out: record.validation.places.iter().copied().collect(),
            unreadable: record.data.unreadable_images,
            training: record.data.training_images,
        })
    }

    /// Counts as held out only what another run on the same table, which left `record`, held out as well.
    pub fn hold_out_with(&mut self, record: &Record) {
        let places = &record.validation.places;
        self.held_out.retain(|place| places.contains(place));
    }

    /// Whether any image is held out.
    #[must_use]
    pub fn has_held_out(&self) -> bool {
        !self.held_out.is_empty()
    }

    /// Visits the `wanted` images in the order of the table: `each` gets a few. `step` is called for each row that
    /// is read; [`RunImages::len`] says how many rows that is.
    ///
    /// What a cross-validation left out of a run counts as training here: it is not held out, and the patients are others.
    ///
    /// # Errors
    /// A sentence: images that cannot be read any more, or what `visit` said.
    pub fn visit(
        &self,
        wanted: Wanted,
        contract: &Preprocessing,
        step: impl Fn() + Sync,
        mut each: impl FnMut(Visited<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let (places, rows): (Vec<usize>, Vec<LabelledRow>) = self.chosen(wanted).into_iter().unzip();
        let mut places = places.into_iter();
        let mut choice = self.choice(wanted);
        let mut unreadable = Vec::new();
        let visited = visit(&self.csv, rows, contract, step, |labelled| {
            unreadable.extend(labelled.unreadable);
            let all: Vec<Part> = labelled
                .splits
                .iter()
                .zip(places.by_ref())
                .map(|(given, place)| self.part(*given, place))
                .collect();
            // where some rows were chosen, all of them are wanted
            let own: Vec<usize> = (0..all.len())
                .filter(|image| self.unreadable == 0 || choice(all[*image]))
                .collect();
            if own.is_empty() {
                return Ok(());
            }
            let parts: Vec<Part> = own.iter().map(|image| all[*image]).collect();
            let of_line = |line: &u64| self.rows.binary_search_by_key(line, |row| row.line).ok();
            let rows = own.iter().filter_map(|image| of_line(&labelled.lines[*image]));
            let rows: Vec<&LabelledRow> = rows.map(|row| &self.rows[row]).collect();
            each(Visited {
                samples: &labelled.samples.select(&own),
                parts: &parts,
                rows: &rows,
            })
            .map_err(Stopped::Said)
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

    /// How many rows have to be read for the `wanted` images.
    #[must_use]
    pub fn len(&self, wanted: Wanted) -> usize {
        self.chosen(wanted).len()
    }

    /// The rows that have to be read. With each stands the place that it has, or, where some could not be read, only the places of
    /// those which can be read, in their order.
    fn chosen(&self, wanted: Wanted) -> Vec<(usize, LabelledRow)> {
        let mut choice = self.choice(wanted);
        let rows = self.rows.iter().cloned().enumerate();
        // where some could not be read, only reading all tells which
        rows.filter(|(place, row)| self.unreadable > 0 || choice(self.part(row.split, *place)))
            .collect()
    }

    /// Says of one image after the other whether it is wanted.
    fn choice(&self, wanted: Wanted) -> impl FnMut(Part) -> bool + use<> {
        let every = self.training.div_ceil(wanted.training.max(1)).max(1);
        let mut seen = 0;
        move |part| match part {
            Part::Validation => wanted.held_out,
            Part::Test => false,
            Part::Train => {
                seen += 1;
                wanted.training > 0 && (seen - 1) % every == 0
            }
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

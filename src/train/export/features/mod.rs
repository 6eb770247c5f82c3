//! Where the features of the images that a network knows lie: `embedding.json` of a package (docs/input-gates.md, "Distribution").
//!
//! Means and precision are of the training's images, the limit is of the patients that were held out, and all of them go through the
//! exported network on ONNX Runtime, as the server's images will. Classes have a mean each where one question alone is asked and its
//! answers exclude each other (Lee et al. 2018, arXiv 1807.03888); otherwise there is one mean.

mod covariance;

use std::collections::BTreeMap;

use super::answering::Answering;
use super::package::Draft;
use super::served::Served;
use crate::evaluation::conformal::rank_for;
use crate::finding::{EmbeddingStatistics, Precision, Task};
use crate::model::DistributionEntry;
use crate::model::package::MODEL;
use crate::runtime::Runtime;
use crate::train::data::Samples;
use crate::train::data::labels::Part;
use crate::train::learn::Heads;
use crate::train::run::{RunImages, Wanted};
use covariance::Covariance;

/// The file of the package.
const FILE: &str = "embedding.json";
/// Share of new images like those of the held-out patients that are to be within the limit.
const WITHIN: f64 = 0.99;
/// More training images than this say nothing new about some thousand features: then these are taken evenly from all.
const MOST_IMAGES: usize = 20_000;
/// A class needs so many images for a mean of its own.
const LEAST_OF_CLASS: usize = 10;

/// The features of images.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Of the training's images.
    training: Vec<Vec<f32>>,
    /// For each of them its class; `None` where it is not known.
    classes: Vec<Option<usize>>,
    /// Of the images of held-out patients.
    held_out: Vec<Vec<f32>>,
}

/// Which images the statistics are of.
const WANTED: Wanted = Wanted {
    held_out: true,
    training: MOST_IMAGES,
};

/// Rows that [`add_statistics`] reads: as often it calls `step`.
#[must_use]
pub fn steps(images: &RunImages) -> usize {
    images.len(WANTED)
}

/// Runs the images of the one training behind `draft` through its network, and adds the statistics of its features.
///
/// # Errors
/// A sentence: images that are gone, or features that say nothing.
pub fn add_statistics(
    draft: &mut Draft,
    answering: &Answering,
    images: &RunImages,
    runtime: &Runtime,
    step: impl Fn() + Sync,
) -> Result<(), String> {
    let first = answering.first();
    let model = draft.files.get(MODEL).ok_or("the draft has no model")?;
    let mut served = Served::load(runtime, model, &draft.manifest)?;
    let heads = first.recipe.heads();
    let mut gathered = Gathered::default();
    images.visit(WANTED, &first.contract, step, |few| {
        gathered.add(&mut served, &heads, few.samples, few.parts)
    })?;
    let statistics = gathered.statistics()?;
    let text = serde_json::to_vec(&statistics).map_err(|error| error.to_string())?;
    draft.files.insert(FILE.to_owned(), text);
    draft.held_out.distance = Some(format!("Images unlike these are refused: {}", statistics.origin));
    draft.manifest.distribution = Some(DistributionEntry {
        file: FILE.to_owned(),
    });
    Ok(())
}

impl Gathered {
    fn add(
        &mut self,
        served: &mut Served,
        heads: &Heads,
        samples: &Samples,
        parts: &[Part],
    ) -> Result<(), String> {
        let answers = served.answer(&samples.images)?;
        for (image, answer) in answers.into_iter().enumerate() {
            let features = answer.embedding.ok_or("the network has no embedding")?;
            if parts[image] == Part::Validation {
                self.held_out.push(features);
            } else {
                self.training.push(features);
                self.classes.push(class_of(heads, &samples.labels[image]));
            }
        }
        Ok(())
    }

    /// Sums them up.
    ///
    /// # Errors
    /// A sentence, where the features say nothing.
    pub fn statistics(mut self) -> Result<EmbeddingStatistics, String> {
        if self.training.len() < 2 || self.held_out.is_empty() {
            return Err(format!(
                "{} training images and {} of held-out patients are too few for statistics of the features",
                self.training.len(),
                self.held_out.len()
            ));
        }
        let classes = self.by_class();
        let means: BTreeMap<usize, Vec<f64>> = classes
            .iter()
            .map(|(class, images)| (*class, self.mean(images)))
            .collect();
        let covariance = Covariance::ledoit_wolf(&self.training, |image| {
            &means[&self.classes[image].unwrap_or_default()]
        })?;
        let factor = covariance.precision_factor()?;
        let mut statistics = EmbeddingStatistics {
            origin: String::new(),
            means: means.values().map(|mean| rounded(mean)).collect(),
            precision: Precision::Cholesky(rounded(&factor)),
            limit: 1.0,
        };
        let mut distances = self
            .held_out
            .iter()
            .map(|features| statistics.distance(features))
            .collect::<Result<Vec<f64>, _>>()
            .map_err(|error| error.to_string())?;
        distances.sort_by(f64::total_cmp);
        // where there are too few to tell, the farthest is as far as any is known to lie
        let rank = rank_for(WITHIN, distances.len()).min(distances.len());
        statistics.limit = distances[rank - 1];
        let count = distances.len();
        let around = match means.len() {
            1 => "one mean".to_owned(),
            classes => format!("the means of {classes} classes"),
        };
        statistics.origin = format!(
            "{} features of {} training images around {around}, covariance shrunk by {:.4} (Ledoit and Wolf 2004); the limit is the distance of number {rank} of {count} images of held-out patients, so about {:.1} % of new ones like them are beyond",
            covariance.features,
            self.training.len(),
            covariance.shrinkage,
            100.0 * (count + 1 - rank) as f64 / (count + 1) as f64
        );
        statistics.check()?;
        Ok(statistics)
    }

    /// The training's images by their class; all of them together where a class is too small to tell. Where classes tell, images of
    /// none are left out.
    fn by_class(&mut self) -> BTreeMap<usize, Vec<usize>> {
        let mut images: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (image, class) in self.classes.iter().enumerate() {
            if let Some(class) = class {
                images.entry(*class).or_default().push(image);
            }
        }
        if images.is_empty() || images.values().any(|own| own.len() < LEAST_OF_CLASS) {
            self.classes = vec![Some(0); self.training.len()];
            return BTreeMap::from([(0, (0..self.training.len()).collect())]);
        }
        if self.classes.iter().any(Option::is_none) {
            let known: Vec<bool> = self.classes.iter().map(Option::is_some).collect();
            let mut kept = known.iter();
            self.training.retain(|_| kept.next() == Some(&true));
            self.classes.retain(Option::is_some);
            return self.by_class();
        }
        images
    }

    fn mean(&self, images: &[usize]) -> Vec<f64> {
        let mut sums = vec![0.0; self.training[images[0]].len()];
        for image in images {
            for (sum, feature) in sums.iter_mut().zip(&self.training[*image]) {
                *sum += f64::from(*feature);
            }
        }
        sums.iter().map(|sum| sum / images.len() as f64).collect()
    }
}

/// The class of an image, where one question alone is asked and one answer is true; otherwise all images are of one.
fn class_of(heads: &Heads, labels: &[f32]) -> Option<usize> {
    let mut placed = heads.placed();
    let (Some(only), None) = (placed.next(), placed.next()) else {
        return Some(0);
    };
    match only.head.task {
        Task::Binary => labels
            .first()
            .filter(|label| !label.is_nan())
            .map(|label| usize::from(*label > 0.5)),
        Task::Multiclass | Task::Ordinal => labels.iter().position(|label| *label > 0.5),
        Task::Multilabel | Task::Regression => Some(0),
    }
}

/// Seven digits, as many as the features have: the file is half as large.
fn rounded(numbers: &[f64]) -> Vec<f64> {
    numbers
        .iter()
        .map(|number| format!("{number:.6e}").parse().unwrap_or(*number))
        .collect()
}

#[cfg(test)]
mod tests;

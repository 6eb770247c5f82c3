//! Labelled images of one size, in memory or in the cache on disk, each with its patient.
//!
//! Invariant of [`Samples`] that has passed [`Samples::check`]: one label list, one patient and one body part for each image, all
//! images of one size, every label finite or NaN (unknown).

use std::borrow::Cow;
use std::sync::Arc;

use super::cache::{CacheError, PlaneCache};
use crate::image::Plane;

/// A display image, bone bright.
#[derive(Clone, Debug)]
pub enum Image {
    /// In memory.
    Held(Plane),
    /// A record of a cache.
    Cached(Arc<PlaneCache>, u32),
}

impl From<Plane> for Image {
    fn from(plane: Plane) -> Self {
        Self::Held(plane)
    }
}

impl Image {
    /// The image itself.
    ///
    /// # Errors
    /// [`CacheError`] where the cache cannot be read any more.
    pub fn plane(&self) -> Result<Cow<'_, Plane>, CacheError> {
        match self {
            Self::Held(plane) => Ok(Cow::Borrowed(plane)),
            Self::Cached(cache, record) => cache.read(*record).map(Cow::Owned),
        }
    }

    /// Its rows and columns, if it has as many values as they say.
    fn size(&self) -> Result<[usize; 2], [usize; 2]> {
        match self {
            Self::Cached(cache, _) => Ok(cache.size()),
            Self::Held(plane) => {
                let size = [plane.rows, plane.columns];
                (plane.values.len() == size[0] * size[1])
                    .then_some(size)
                    .ok_or(size)
            }
        }
    }
}

/// Images with labels.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// The images.
    pub images: Vec<Image>,
    /// For each image one value per label: 1 present, 0 absent, a number in its unit, NaN unknown.
    pub labels: Vec<Vec<f32>>,
    /// For each image the pseudonym of its patient.
    pub patients: Vec<String>,
    /// For each image what it shows, in the words of the table; none where that is unknown.
    pub body_parts: Vec<Option<Arc<str>>>,
}

/// Why samples cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SamplesError {
    /// No image at all.
    #[error("no images; at least one is needed")]
    Empty,
    /// Lists of different lengths.
    #[error(
        "{images} images, {labels} label lists, {patients} patients and {body_parts} body parts; there must be as many of each"
    )]
    Length {
        /// Images.
        images: usize,
        /// Label lists.
        labels: usize,
        /// Patients.
        patients: usize,
        /// Body parts.
        body_parts: usize,
    },
    /// An image of another size than the first.
    #[error("image {index} has {found:?} rows and columns; it must have {needed:?}")]
    Size {
        /// Its place.
        index: usize,
        /// Its size.
        found: [usize; 2],
        /// What is needed.
        needed: [usize; 2],
    },
    /// A label list of the wrong length, or a value that is no label.
    #[error("image {index}: labels must be {needed} values, finite or unknown (NaN)")]
    Label {
        /// Its place.
        index: usize,
        /// How many labels there are.
        needed: usize,
    },
}

impl Samples {
    /// How many images there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Appends one image of an unknown body part.
    pub fn push(&mut self, image: impl Into<Image>, labels: Vec<f32>, patient: String) {
        self.push_of(None, image, labels, patient);
    }

    /// Appends one image that shows `part`.
    pub fn push_of(
        &mut self,
        part: Option<Arc<str>>,
        image: impl Into<Image>,
        labels: Vec<f32>,
        patient: String,
    ) {
        self.images.push(image.into());
        self.labels.push(labels);
        self.patients.push(patient);
        self.body_parts.push(part);
    }

    /// The images at these places, in this order.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        Self {
            images: indices.iter().map(|index| self.images[*index].clone()).collect(),
            labels: indices.iter().map(|index| self.labels[*index].clone()).collect(),
            patients: indices
                .iter()
                .map(|index| self.patients[*index].clone())
                .collect(),
            body_parts: indices
                .iter()
                .map(|index| self.body_parts[*index].clone())
                .collect(),
        }
    }

    /// Checks lengths, sizes and labels for `labels` labels.
    pub fn check(&self, labels: usize) -> Result<(), SamplesError> {
        let first = self.images.first().ok_or(SamplesError::Empty)?;
        let lists = [self.labels.len(), self.patients.len(), self.body_parts.len()];
        if lists != [self.len(); 3] {
            let [labels, patients, body_parts] = lists;
            return Err(SamplesError::Length {
                images: self.len(),
                labels,
                patients,
                body_parts,
            });
        }
        let needed = first.size().unwrap_or_else(|found| found);
        for (index, image) in self.images.iter().enumerate() {
            match image.size() {
                Ok(found) if found == needed => {}
                Ok(found) | Err(found) => return Err(SamplesError::Size { index, found, needed }),
            }
        }
        let valid = |value: &f32| !value.is_infinite();
        match self
            .labels
            .iter()
            .position(|own| own.len() != labels || !own.iter().all(valid))
        {
            Some(index) => Err(SamplesError::Label {
                index,
                needed: labels,
            }),
            None => Ok(()),
        }
    }
}

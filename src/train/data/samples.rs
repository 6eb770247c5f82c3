//! Labelled images in memory, of one size, each with its patient.
//!
//! Invariant of [`Samples`] that has passed [`Samples::check`]: one label list and one patient for each plane, all
//! planes of one size, every label finite or NaN (unknown).

use crate::image::Plane;

/// Images with labels.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Display images, bone bright.
    pub planes: Vec<Plane>,
    /// For each image one value per label: 1 present, 0 absent, a number in its unit, NaN unknown.
    pub labels: Vec<Vec<f32>>,
    /// For each image the pseudonym of its patient.
    pub patients: Vec<String>,
}

/// Why samples cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SamplesError {
    /// No image at all.
    #[error("no images; at least one is needed")]
    Empty,
    /// Lists of different lengths.
    #[error("{planes} images, {labels} label lists and {patients} patients; there must be as many of each")]
    Length {
        /// Images.
        planes: usize,
        /// Label lists.
        labels: usize,
        /// Patients.
        patients: usize,
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
        self.planes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.planes.is_empty()
    }

    /// Appends one image.
    pub fn push(&mut self, plane: Plane, labels: Vec<f32>, patient: String) {
        self.planes.push(plane);
        self.labels.push(labels);
        self.patients.push(patient);
    }

    /// The images at these places, in this order.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        Self {
            planes: indices.iter().map(|index| self.planes[*index].clone()).collect(),
            labels: indices.iter().map(|index| self.labels[*index].clone()).collect(),
            patients: indices
                .iter()
                .map(|index| self.patients[*index].clone())
                .collect(),
        }
    }

    /// Checks lengths, sizes and labels for `labels` labels.
    pub fn check(&self, labels: usize) -> Result<(), SamplesError> {
        let first = self.planes.first().ok_or(SamplesError::Empty)?;
        if self.labels.len() != self.len() || self.patients.len() != self.len() {
            let (planes, labels, patients) = (self.len(), self.labels.len(), self.patients.len());
            return Err(SamplesError::Length {
                planes,
                labels,
                patients,
            });
        }
        let needed = [first.rows, first.columns];
        for (index, plane) in self.planes.iter().enumerate() {
            let found = [plane.rows, plane.columns];
            if found != needed || plane.values.len() != plane.rows * plane.columns {
                return Err(SamplesError::Size { index, found, needed });
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

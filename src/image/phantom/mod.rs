//! Seeded synthetic lateral radiographs of the lumbar spine, and their true labels.
//!
//! Invariants: a phantom is a function of its [`Recipe`] alone, with no file, clock or thread involved; the labels are drawn first
//! and act on the image only through anatomy (mineral, cortex, texture, heights), never through exposure, header or polarity;
//! geometry is in millimetres, attenuation in natural logarithms, and only the last step knows of 12 bits.
//!
//! The parts, in the order of the beam: [`truth`] (labels), `anatomy` and `stack` (the spine), `vertebra` and `surroundings` (attenuation),
//! `acquisition` and `detector` (pixels), [`instance`] (DICOM). `geometry`, `plane`, `rod`, `texture`, `marker` and `sampling` serve them,
//! `identity`, `calendar` and `element` serve the instance.

mod acquisition;
mod anatomy;
mod body;
mod calendar;
mod detector;
mod element;
mod geometry;
mod identity;
pub mod instance;
mod marker;
mod plane;
mod rod;
mod sampling;
mod stack;
mod surroundings;
mod texture;
pub mod truth;
mod vertebra;

use acquisition::Acquisition;
use anatomy::Spine;
use geometry::Affine;
use plane::Plane;
use sampling::{Dice, Stream};
use surroundings::Surroundings;
use texture::Texture;

pub use instance::{InstanceError, to_dicom};
pub use truth::{Deformity, EXTERNAL_SITE, Genant, Sex, Truth};

/// Rows of a phantom of the usual size.
pub const ROWS: u16 = 640;
/// Columns of a phantom of the usual size.
pub const COLUMNS: u16 = 480;

/// A rendered phantom.
#[derive(Clone, Debug, PartialEq)]
pub struct Phantom {
    /// What is true of it.
    pub truth: Truth,
    /// Height in pixels.
    pub rows: u16,
    /// Width in pixels.
    pub columns: u16,
    /// Side of a pixel at the detector, mm; the field is about 165 mm high.
    pub pixel_spacing_mm: f32,
    /// Row by row, `0..=4095`, in display sense: bone bright, whatever `truth.monochrome1` says.
    pub pixels: Vec<u16>,
}

/// What to render.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Decides the patient: truth, anatomy and surroundings.
    pub seed: u64,
    /// Decides, together with the seed, the exposure: a patient's further images have further numbers.
    pub view: u32,
    /// Height in pixels.
    pub rows: u16,
    /// Width in pixels; 3/4 of the rows shows the whole field.
    pub columns: u16,
    /// The site to render for; by default one that the seed picks. [`EXTERNAL_SITE`] has its own gamma, noise and blur.
    pub site: Option<u8>,
}

impl Recipe {
    /// The first image of the patient `seed`.
    #[must_use]
    pub fn new(seed: u64, rows: u16, columns: u16) -> Self {
        Self {
            seed,
            view: 0,
            rows,
            columns,
            site: None,
        }
    }

    /// What is true of the phantom, without rendering it.
    #[must_use]
    pub fn truth(&self) -> Truth {
        Truth::draw(self.seed, self.site)
    }

    /// Renders the phantom, on the calling thread.
    #[must_use]
    pub fn render(&self) -> Phantom {
        let truth = self.truth();
        let acquisition = Acquisition::new(self.seed, self.view, &truth, self.rows, self.columns);
        let detector = Affine::pixels_to_detector(self.rows, self.columns, acquisition.spacing);
        let spine = Spine::new(self.seed, &truth);
        let mut attenuation = self.attenuation(&truth, &spine, &acquisition);
        if let Some(marker) = &acquisition.marker {
            marker.paint(&mut attenuation, detector);
        }
        let dice = &mut Dice::new(self.seed, Stream::Noise, self.view);
        let pixels = detector::expose(attenuation, &acquisition, detector, dice);
        Phantom {
            truth,
            rows: self.rows,
            columns: self.columns,
            pixel_spacing_mm: acquisition.spacing,
            pixels,
        }
    }

    /// The attenuation of the patient, without noise or processing: natural logarithms.
    fn attenuation(&self, truth: &Truth, spine: &Spine, acquisition: &Acquisition) -> Plane {
        let detector = Affine::pixels_to_detector(self.rows, self.columns, acquisition.spacing);
        let frame = Affine::pixels_to_patient(detector, truth.facing_left, acquisition.pose);
        let texture = Texture::new(&mut Dice::new(self.seed, Stream::Texture, 0));
        let mut plane = Plane::zeros(usize::from(self.rows), usize::from(self.columns));
        Surroundings::new(self.seed, truth, spine).paint(&mut plane, frame, &texture);
        for (body, offset) in spine.bodies.iter().zip([3.0, 17.0, 31.0, 44.0, 9.0, 23.0, 51.0]) {
            vertebra::paint(&mut plane, frame, body, spine.mineral, &texture, offset);
        }
        plane
    }
}

/// The first image of the patient `seed`, at a site that the seed picks.
#[must_use]
pub fn phantom(seed: u64, rows: u16, columns: u16) -> Phantom {
    Recipe::new(seed, rows, columns).render()
}

#[cfg(test)]
mod tests;

//! How good an image is for a network, measured in a fraction of a millisecond.
//!
//! Two places are looked at: a grid of stored values, for what the detector lost and how much of the image is border, and
//! the plane that becomes the network's input, for what the network sees. Nothing is decided here; [`crate::finding::QualityLimits`]
//! does.

use serde::{Deserialize, Serialize};

use super::border::{Rectangle, span};
use super::preprocess::Placement;
use super::{Plane, StoredImage};

/// Lines of the grid in each direction, at most: a share is then known to within about half a per cent.
const LINES: usize = 96;
/// A line is border where the middle 90 % of its values span less than this part of the image's own span.
const FLAT: f64 = 0.04;
/// Pixels of the plane that are looked at in each direction, at most.
const SIDE: usize = 128;
/// Steps of grey that are told apart in the plane: those of eight bits.
const STEPS: usize = 256;

/// What was measured of one image. Every number is a share, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Pixels of the field without a grey of their own: at the lowest or highest stored value that occurs there, or shown
    /// black or white by the model's contract, whichever share is larger.
    pub saturated: f32,
    /// From the 5th to the 95th percentile of the grey that the network sees, as a part of black to white.
    pub contrast: f32,
    /// What is left of the image's area without the flat lines at its sides.
    pub field: f32,
    /// The mean grey that the network sees, 0 black and 1 white, without what the contract added around the image.
    #[serde(skip)]
    pub grey: f32,
}

impl Quality {
    /// Measures an image and the plane that a contract made of it.
    #[must_use]
    pub fn of(image: &StoredImage, plane: &Plane, placement: &Placement) -> Self {
        let (lost, field) = stored(image);
        let shown = Shown::of(plane, placement.target);
        // more digits than these are not known
        let rounded = |share: f32| (share * 1e4).round() / 1e4;
        Self {
            saturated: rounded(lost.max(shown.ends())),
            contrast: rounded(shown.between(0.05, 0.95)),
            field: rounded(field),
            grey: rounded(shown.mean()),
        }
    }
}

/// Of a grid of stored values, the share of the field that is at the lowest or highest of them, and the field's share of the area.
fn stored(image: &StoredImage) -> (f32, f32) {
    let places = |count: usize| -> Vec<usize> {
        let lines = count.min(LINES);
        // the middle of each of `lines` equal parts
        (0..lines)
            .map(|line| (2 * line + 1) * count / (2 * lines))
            .collect()
    };
    let (rows, columns) = (places(image.rows), places(image.columns));
    if rows.is_empty() || columns.is_empty() {
        return (0.0, 0.0);
    }
    let mut code = [0];
    let grid: Vec<Option<i32>> = rows
        .iter()
        .flat_map(|row| columns.iter().map(move |column| row * image.columns + column))
        .map(|place| {
            image.codes.read(place, &mut code);
            (!image.is_padding(code[0])).then(|| image.stored_value(code[0]))
        })
        .collect();
    let width = columns.len();
    let flat = FLAT * f64::from(span(grid.iter().flatten().copied().collect(), 0.005));
    // padding is no part of the image: a line of nothing else has no span
    let is_flat = |line: Vec<i32>| line.is_empty() || f64::from(span(line, 0.05)) < flat;
    let row = |row: usize| -> Vec<i32> {
        let line = &grid[row * width..(row + 1) * width];
        line.iter().flatten().copied().collect()
    };
    let Some((top, bottom)) = kept(rows.len(), |index| is_flat(row(index))) else {
        return (0.0, 0.0);
    };
    let column = |column: usize| -> Vec<i32> {
        (top..=bottom)
            .filter_map(|row| grid[row * width + column])
            .collect()
    };
    let Some((left, right)) = kept(width, |index| is_flat(column(index))) else {
        return (0.0, 0.0);
    };
    let field: Vec<i32> = (left..=right).flat_map(column).collect();
    let ends = field.iter().min().zip(field.iter().max());
    let lost = ends.map_or(0, |(low, high)| {
        field
            .iter()
            .filter(|value| *value == low || *value == high)
            .count()
    });
    let area = (bottom - top + 1) * (right - left + 1);
    (
        lost as f32 / field.len().max(1) as f32,
        area as f32 / grid.len() as f32,
    )
}

/// The first and the last line that is not flat.
fn kept(count: usize, is_flat: impl Fn(usize) -> bool) -> Option<(usize, usize)> {
    let first = (0..count).find(|line| !is_flat(*line))?;
    let last = (0..count).rev().find(|line| !is_flat(*line))?;
    Some((first, last))
}

/// How often each step of grey is shown.
struct Shown {
    counts: [u32; STEPS],
    total: u32,
}

impl Shown {
    /// A grid of the part of the plane that the image fills.
    fn of(plane: &Plane, part: Rectangle) -> Self {
        let mut counts = [0; STEPS];
        let mut total = 0;
        let (down, across) = (
            part.rows.div_ceil(SIDE).max(1),
            part.columns.div_ceil(SIDE).max(1),
        );
        for row in (part.top..part.top + part.rows).step_by(down) {
            let start = row * plane.columns + part.left;
            let line = plane.values.get(start..start + part.columns).unwrap_or_default();
            for value in line.iter().step_by(across) {
                counts[usize::from(value >> 8)] += 1;
                total += 1;
            }
        }
        Self { counts, total }
    }

    fn share(&self, count: u32) -> f32 {
        count as f32 / self.total.max(1) as f32
    }

    /// Shown black or white, to within one step.
    fn ends(&self) -> f32 {
        self.share(self.counts[0] + self.counts[STEPS - 1])
    }

    fn mean(&self) -> f32 {
        let sum: f64 = self
            .counts
            .iter()
            .enumerate()
            .map(|(step, count)| step as f64 * f64::from(*count))
            .sum();
        (sum / f64::from(self.total.max(1)) / (STEPS - 1) as f64) as f32
    }

    /// The distance between two quantiles.
    fn between(&self, low: f32, high: f32) -> f32 {
        let at = |quantile: f32| {
            let mut passed = 0;
            self.counts
                .iter()
                .position(|count| {
                    passed += count;
                    self.share(passed) >= quantile
                })
                .unwrap_or(0)
        };
        at(high).saturating_sub(at(low)) as f32 / (STEPS - 1) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::super::phantom::phantom;
    use super::super::preprocess::Preprocessing;
    use super::*;

    fn measured(image: &StoredImage) -> Quality {
        let (plane, placement) = Preprocessing::grey(256, 192).plane(image).unwrap();
        Quality::of(image, &plane, &placement)
    }

    /// A phantom without window or border of its own making.
    fn spine(rows: u16, columns: u16) -> Vec<u16> {
        phantom(5, rows, columns).pixels
    }

    fn image(rows: usize, columns: usize, codes: Vec<u16>) -> StoredImage {
        StoredImage::twelve_bits(rows, columns, codes)
    }

    #[test]
    fn a_phantom_is_a_good_image() {
        for seed in 0..8 {
            let phantom = phantom(seed, 500, 400);
            let quality = measured(&image(500, 400, phantom.pixels));
            assert!(
                quality.saturated < 0.3 && quality.contrast > 0.3 && quality.field > 0.4,
                "{quality:?}"
            );
        }
    }

    #[test]
    fn what_the_detector_lost_is_seen_whatever_the_window() {
        let mut codes = spine(500, 400);
        let mut sorted = codes.clone();
        sorted.sort_unstable();
        // an exposure beyond what the detector holds: the upper 60 % all read the same
        let clip = sorted[sorted.len() * 2 / 5];
        for code in &mut codes {
            *code = (*code).min(clip);
        }
        let quality = measured(&image(500, 400, codes));
        assert!((0.5..0.75).contains(&quality.saturated), "{quality:?}");
    }

    #[test]
    fn noise_without_a_picture_has_no_contrast() {
        let noise = (0..2000_usize * 1600)
            .map(|index| 2000 + ((index.wrapping_mul(2_654_435_761) >> 13) & 31) as u16)
            .collect();
        let quality = measured(&image(2000, 1600, noise));
        assert!(quality.contrast < 0.1, "{quality:?}");
    }

    #[test]
    fn a_small_field_in_a_wide_border_is_seen_in_either_polarity() {
        let small = spine(150, 120);
        let mut codes = vec![30_u16; 600 * 480];
        for (row, line) in small.chunks(120).enumerate() {
            let start = (200 + row) * 480 + 100;
            codes[start..start + 120].copy_from_slice(line);
        }
        let quality = measured(&image(600, 480, codes.clone()));
        assert!((0.03..0.09).contains(&quality.field), "{quality:?}");
        for code in &mut codes {
            *code = 4095 - *code;
        }
        let other = measured(&image(600, 480, codes));
        assert_eq!(other.field, quality.field);
    }

    #[test]
    fn any_size_is_measured() {
        for (rows, columns) in [(1, 2), (2, 1), (3, 700), (129, 127)] {
            let codes = (0..rows * columns).map(|index| (index % 4000) as u16).collect();
            let quality = measured(&image(rows, columns, codes));
            for share in [quality.saturated, quality.contrast, quality.field, quality.grey] {
                assert!((0.0..=1.0).contains(&share), "{rows} x {columns}: {quality:?}");
            }
        }
    }
}

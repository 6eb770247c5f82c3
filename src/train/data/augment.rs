//! Random, label-keeping changes of a training image, from a written recipe.
//!
//! One affine resampling (bilinear) for all geometry, then intensities through one table, in 16 bits from end to end.
//! A change is drawn from a random source that belongs to (seed, epoch, image) alone, so it does not depend on threads.

mod explain;
mod flip;
pub mod sheet;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

pub use flip::{Flip, PartFlips};

use crate::image::Plane;

/// How far images are changed. Every amount is the end of a symmetric range; 0 (or 1 for ratios) switches it off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Degrees, either way.
    pub rotation: f32,
    /// Share of rows and of columns, either way.
    pub translation: f32,
    /// Smallest and largest magnification.
    pub scale: [f32; 2],
    /// Mirror left and right in half of the images: right for lateral spines, wrong where sides have meaning, and so only where the recipe
    /// says it.
    pub horizontal_flip: Flip,
    /// Smallest and largest exponent on the values from 0 to 1, drawn evenly on the logarithm.
    pub gamma: [f32; 2],
    /// Smallest and largest factor on the distance from mid-grey.
    pub contrast: [f32; 2],
    /// Shift of all values, as a share of white, either way.
    pub brightness: f32,
    /// Largest standard deviation of added noise, as a share of white.
    pub noise: f32,
    /// Probability that one rectangle is blanked; low, because it may hide the finding.
    pub cutout_probability: f32,
    /// Largest side of that rectangle, as a share of rows and of columns.
    pub cutout_size: f32,
}

impl Default for Augmentation {
    fn default() -> Self {
        Self {
            rotation: 10.0,
            translation: 0.05,
            scale: [0.9, 1.1],
            horizontal_flip: Flip::Every(false),
            gamma: [0.75, 1.33],
            contrast: [0.8, 1.2],
            brightness: 0.05,
            noise: 0.01,
            cutout_probability: 0.1,
            cutout_size: 0.15,
        }
    }
}

/// What one draw of a recipe does to one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Degrees.
    pub rotation: f32,
    /// Share of the rows by which the content moves down.
    pub down: f32,
    /// Share of the columns by which it moves to the right.
    pub right: f32,
    /// Magnification.
    pub scale: f32,
    /// Whether left and right are exchanged.
    pub flip: bool,
    /// Exponent on the values from 0 to 1.
    pub gamma: f32,
    /// Factor on the distance from mid-grey.
    pub contrast: f32,
    /// Shift of all values, as a share of white.
    pub brightness: f32,
    /// Standard deviation of the noise, as a share of white.
    pub noise: f32,
}

/// The random source of one image in one epoch, the same whichever thread asks.
#[must_use]
pub fn random_for(seed: u64, epoch: usize, sample: usize) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (place, part) in [seed, epoch as u64, sample as u64].into_iter().enumerate() {
        key[8 * place..8 * place + 8].copy_from_slice(&part.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// The image with left and right exchanged.
#[must_use]
pub fn mirrored(plane: &Plane) -> Plane {
    let rows = plane.values.chunks(plane.columns.max(1));
    Plane {
        values: rows.flat_map(|row| row.iter().rev().copied()).collect(),
        ..*plane
    }
}

impl Augmentation {
    /// No change at all.
    #[must_use]
    pub fn none() -> Self {
        Self {
            rotation: 0.0,
            translation: 0.0,
            scale: [1.0; 2],
            horizontal_flip: Flip::Every(false),
            gamma: [1.0; 2],
            contrast: [1.0; 2],
            brightness: 0.0,
            noise: 0.0,
            cutout_probability: 0.0,
            cutout_size: 0.0,
        }
    }

    /// Names the first setting that is out of range, with what would be right.
    pub fn check(&self) -> Result<(), String> {
        let ranges = [
            ("scale", self.scale),
            ("gamma", self.gamma),
            ("contrast", self.contrast),
        ];
        for (name, [low, high]) in ranges {
            if !(low > 0.0 && low <= high && high.is_finite()) {
                return Err(format!(
                    "{name} [{low}, {high}] must be two positive numbers, the smaller one first"
                ));
            }
        }
        let amounts = [
            ("rotation", self.rotation, 180.0),
            ("translation", self.translation, 0.5),
            ("brightness", self.brightness, 1.0),
            ("noise", self.noise, 1.0),
            ("cutout_probability", self.cutout_probability, 1.0),
            ("cutout_size", self.cutout_size, 1.0),
        ];
        match amounts
            .iter()
            .find(|(_, value, most)| !(0.0..=*most).contains(value))
        {
            Some((name, value, most)) => Err(format!("{name} is {value}; it must be from 0 to {most}")),
            None => Ok(()),
        }
    }

    /// Draws what the change of one image, which shows `part`, will be, but for noise and cutout, which follow from the same source.
    #[must_use]
    pub fn draw(&self, part: Option<&str>, random: &mut impl Rng) -> Change {
        let around = |random: &mut _, amount: f32| amount * (2.0 * uniform(random) - 1.0);
        Change {
            rotation: around(random, self.rotation),
            down: around(random, self.translation),
            right: around(random, self.translation),
            scale: between(random, self.scale),
            flip: random.random::<bool>() && self.horizontal_flip.allows(part),
            gamma: between(random, self.gamma),
            contrast: between(random, self.contrast),
            brightness: around(random, self.brightness),
            noise: self.noise * uniform(random),
        }
    }

    /// A changed copy of `plane`, which shows `part`, of the same size.
    #[must_use]
    pub fn apply(&self, plane: &Plane, part: Option<&str>, random: &mut impl Rng) -> Plane {
        // resampled, values could come out one off from those that are served
        if *self == Self::none() {
            return plane.clone();
        }
        let change = self.draw(part, random);
        let angle = change.rotation.to_radians();
        let (sine, cosine) = (angle.sin() / change.scale, angle.cos() / change.scale);
        let sign = if change.flip { -1.0 } else { 1.0 };
        let geometry = Geometry {
            across: [cosine * sign, sine * sign],
            down: [-sine, cosine],
            shift: [
                change.right * plane.columns as f32,
                change.down * plane.rows as f32,
            ],
        };
        let mut values = geometry.resample(plane);
        let table = intensity_table(change.gamma, change.contrast, change.brightness);
        let deviation = change.noise * f32::from(u16::MAX);
        for value in &mut values {
            let position = value.clamp(0.0, 65535.0) * (TABLE as f32 / 65536.0);
            let knot = position as usize;
            *value = table[knot] + (position - knot as f32) * (table[knot + 1] - table[knot]);
            if deviation > 0.0 {
                *value += deviation * normal(random);
            }
        }
        let mut changed = Plane {
            rows: plane.rows,
            columns: plane.columns,
            values: values
                .into_iter()
                .map(|value| (value + 0.5).clamp(0.0, 65535.0) as u16)
                .collect(),
        };
        if uniform(random) < self.cutout_probability {
            self.cut_out(&mut changed, random);
        }
        changed
    }

    /// Blanks one rectangle with the image's mean, which says neither bone nor air.
    fn cut_out(&self, plane: &mut Plane, random: &mut impl Rng) {
        let side = |random: &mut _, size: usize| {
            ((self.cutout_size * uniform(random) * size as f32) as usize).min(size)
        };
        let (rows, columns) = (side(random, plane.rows), side(random, plane.columns));
        let top = random.random_range(0..=plane.rows - rows);
        let left = random.random_range(0..=plane.columns - columns);
        let sum: u64 = plane.values.iter().map(|value| u64::from(*value)).sum();
        let mean = (sum / plane.values.len().max(1) as u64) as u16;
        for row in top..top + rows {
            plane.values[row * plane.columns + left..row * plane.columns + left + columns].fill(mean);
        }
    }
}

const TABLE: usize = 4096;

/// From a pixel of the result to the place in the source, about the centre.
struct Geometry {
    /// Source step `[columns, rows]` for one column of the result.
    across: [f32; 2],
    /// Source step `[columns, rows]` for one row of the result.
    down: [f32; 2],
    /// `[columns, rows]` by which the content moves.
    shift: [f32; 2],
}

impl Geometry {
    /// Bilinear; beyond the edge the nearest pixel goes on, so that no black wedge gives the rotation away.
    fn resample(&self, plane: &Plane) -> Vec<f32> {
        let (last_row, last_column) = (plane.rows.saturating_sub(1), plane.columns.saturating_sub(1));
        let centre = [last_column as f32 / 2.0, last_row as f32 / 2.0];
        let at = |row: usize, column: usize| f32::from(plane.values[row * plane.columns + column]);
        let mut values = Vec::with_capacity(plane.values.len());
        for row in 0..plane.rows {
            for column in 0..plane.columns {
                let x = column as f32 - centre[0] - self.shift[0];
                let y = row as f32 - centre[1] - self.shift[1];
                let source_x =
                    (centre[0] + self.across[0] * x + self.down[0] * y).clamp(0.0, last_column as f32);
                let source_y =
                    (centre[1] + self.across[1] * x + self.down[1] * y).clamp(0.0, last_row as f32);
                let (left, top) = (source_x as usize, source_y as usize);
                let (right, bottom) = ((left + 1).min(last_column), (top + 1).min(last_row));
                let (beside, below) = (source_x - left as f32, source_y - top as f32);
                let upper = at(top, left) + beside * (at(top, right) - at(top, left));
                let lower = at(bottom, left) + beside * (at(bottom, right) - at(bottom, left));
                values.push(upper + below * (lower - upper));
            }
        }
        values
    }
}

/// Knots of the change of intensity, from 0 to 65536 in equal steps.
fn intensity_table(gamma: f32, contrast: f32, brightness: f32) -> Vec<f32> {
    let knot = |place: usize| {
        let value = (place as f32 / TABLE as f32).powf(gamma);
        65535.0 * ((value - 0.5) * contrast + 0.5 + brightness)
    };
    (0..=TABLE + 1).map(knot).collect()
}

fn uniform(random: &mut impl Rng) -> f32 {
    random.random::<f32>()
}

/// Even on the logarithm, so that halving and doubling are as likely.
fn between(random: &mut impl Rng, [low, high]: [f32; 2]) -> f32 {
    low * (uniform(random) * (high / low).ln()).exp()
}

/// About normal, of mean 0 and variance 1: four even numbers added up, cheap enough for every pixel.
fn normal(random: &mut impl Rng) -> f32 {
    let bits = random.next_u64();
    let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
    (sum as f32 - 131_070.0) / 37_837.2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp() -> Plane {
        let value = |pixel: usize| ((pixel % 40) * 1000 + (pixel / 40) * 300 + 5000) as u16;
        Plane {
            rows: 50,
            columns: 40,
            values: (0..2000).map(value).collect(),
        }
    }

    #[test]
    fn the_empty_recipe_changes_nothing() {
        let changed = Augmentation::none().apply(&ramp(), None, &mut random_for(1, 0, 0));
        assert_eq!(changed, ramp());
    }

    #[test]
    fn a_change_belongs_to_seed_epoch_and_sample() {
        let recipe = Augmentation::default();
        let with = |seed, epoch, sample| recipe.apply(&ramp(), None, &mut random_for(seed, epoch, sample));
        assert_eq!(with(1, 2, 3), with(1, 2, 3));
        assert_ne!(with(1, 2, 3), with(2, 2, 3));
        assert_ne!(with(1, 2, 3), with(1, 3, 3));
        assert_ne!(with(1, 2, 3), with(1, 2, 4));
    }

    #[test]
    fn one_rectangle_is_cut_out_within_its_size() {
        let recipe = Augmentation {
            cutout_probability: 1.0,
            cutout_size: 0.5,
            ..Augmentation::none()
        };
        let nothing = Augmentation {
            cutout_size: 0.0,
            ..recipe.clone()
        };
        let mut largest = 0;
        for sample in 0..50 {
            let before = nothing.apply(&ramp(), None, &mut random_for(1, 0, sample));
            let sum: u64 = before.values.iter().map(|value| u64::from(*value)).sum();
            let mean = (sum / 2000) as u16;
            let after = recipe.apply(&ramp(), None, &mut random_for(1, 0, sample));
            let changed = (0..2000).filter(|pixel| after.values[*pixel] != before.values[*pixel]);
            let (rows, columns): (Vec<usize>, Vec<usize>) =
                changed.map(|pixel| (pixel / 40, pixel % 40)).unzip();
            let ends = |places: &[usize]| Some((*places.iter().min()?, *places.iter().max()?));
            let (Some((top, bottom)), Some((left, right))) = (ends(&rows), ends(&columns)) else {
                continue;
            };
            assert!(bottom - top < 25 && right - left < 20);
            let inside = (top..=bottom).flat_map(|row| (left..=right).map(move |column| row * 40 + column));
            assert!(inside.clone().all(|pixel| after.values[pixel] == mean));
            largest = largest.max(inside.count());
        }
        assert!(largest > 200, "{largest}");
    }

    #[test]
    fn a_flip_mirrors_and_twice_restores() {
        let geometry = Geometry {
            across: [-1.0, 0.0],
            down: [0.0, 1.0],
            shift: [0.0, 0.0],
        };
        let values = geometry.resample(&ramp());
        assert!((values[0] - f32::from(ramp().values[39])).abs() < 1.0);
        let values = values.into_iter().map(|value| value as u16).collect();
        let twice = geometry.resample(&Plane {
            rows: 50,
            columns: 40,
            values,
        });
        assert!(
            twice
                .iter()
                .zip(&ramp().values)
                .all(|(left, right)| (left - f32::from(*right)).abs() < 1.0)
        );
    }

    #[test]
    fn only_what_may_be_mirrored_is() {
        let recipe = Augmentation {
            horizontal_flip: serde_json::from_str(r#"{"body_part": {"hand": true}}"#).unwrap(),
            ..Augmentation::default()
        };
        let flipped = |part| {
            let draws = (0..40).map(|epoch| recipe.draw(part, &mut random_for(1, epoch, 0)).flip);
            draws.filter(|flip| *flip).count()
        };
        assert!(
            (10..30).contains(&flipped(Some("hand"))),
            "{}",
            flipped(Some("hand"))
        );
        assert_eq!([flipped(Some("chest")), flipped(None)], [0, 0]);
    }

    #[test]
    fn noise_has_mean_0_and_variance_1() {
        let mut random = random_for(9, 0, 0);
        let draws: Vec<f64> = (0..100_000).map(|_| f64::from(normal(&mut random))).collect();
        let mean = draws.iter().sum::<f64>() / 1e5;
        let variance = draws.iter().map(|draw| draw * draw).sum::<f64>() / 1e5;
        assert!(
            mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02,
            "{mean} {variance}"
        );
    }

    #[test]
    fn a_wrong_recipe_is_named() {
        let recipe = Augmentation {
            gamma: [1.3, 0.7],
            ..Augmentation::default()
        };
        assert!(recipe.check().unwrap_err().starts_with("gamma"));
        assert!(
            Augmentation {
                noise: f32::NAN,
                ..Augmentation::default()
            }
            .check()
            .is_err()
        );
        assert!(Augmentation::default().check().is_ok());
    }
}

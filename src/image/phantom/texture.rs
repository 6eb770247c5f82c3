//! Smooth random texture: a periodic tile of noise, sampled at any scale.
//!
//! Invariants: a tile depends on its dice alone; samples lie within about -2.5..=2.5 with mean 0 and a deviation near 0.7.

use super::sampling::Dice;

const SIDE: usize = 64;

/// A periodic field of random numbers with one value per unit of length.
#[derive(Clone, Debug)]
pub(super) struct Texture {
    lattice: Vec<f32>,
}

impl Texture {
    pub(super) fn new(dice: &mut Dice) -> Self {
        Self {
            lattice: (0..SIDE * SIDE)
                .map(|_| dice.quick_normal().clamp(-2.5, 2.5))
                .collect(),
        }
    }

    /// The value at a place, in units of the lattice.
    #[inline]
    pub(super) fn at(&self, x: f32, y: f32) -> f32 {
        // The offset keeps both coordinates positive, so that truncation is a floor.
        let (x, y) = (x + 4096.0, y + 4096.0);
        let (column, row) = (x as usize, y as usize);
        let (right, down) = (smooth(x - column as f32), smooth(y - row as f32));
        let (left, top) = (column % SIDE, row % SIDE);
        let (next, bottom) = ((left + 1) % SIDE, (top + 1) % SIDE);
        let value = |row: usize, column: usize| self.lattice[row * SIDE + column];
        let upper = value(top, left) + (value(top, next) - value(top, left)) * right;
        let lower = value(bottom, left) + (value(bottom, next) - value(bottom, left)) * right;
        upper + (lower - upper) * down
    }
}

/// A cubic ramp over `0..=1` with level ends.
#[inline]
pub(super) fn smooth(share: f32) -> f32 {
    share * share * (3.0 - 2.0 * share)
}

/// 0 below `low`, 1 above `high`, smooth between.
#[inline]
pub(super) fn ramp(value: f32, low: f32, high: f32) -> f32 {
    smooth(((value - low) / (high - low)).clamp(0.0, 1.0))
}

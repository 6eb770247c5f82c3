//! From attenuation to 12-bit pixels: exposure, scatter, blur, noise, the scanner's processing, and the shutters.
//!
//! Invariants: the order is that of a real detector (quanta before logarithm before processing); the window comes from the image
//! within the shutters, so that absolute exposure leaves no trace but noise; bone is bright.

use super::acquisition::{Acquisition, Collimation};
use super::geometry::{Affine, Point};
use super::plane::Plane;
use super::sampling::Dice;

/// Largest value of a 12-bit pixel.
pub(super) const MAXIMUM: u16 = 4095;
/// How far scattered radiation spreads, mm.
const SCATTER_REACH: f32 = 16.0;
/// Scale above which the scanner flattens contrast, mm.
const FLATTENING_REACH: f32 = 13.0;
/// Scale below which the scanner sharpens, mm.
const SHARPENING_REACH: f32 = 1.4;
/// Shares of the field that the window leaves out, at the dark end and at the bright end; the latter holds the lead marker.
const WINDOW_SHARES: [f32; 2] = [0.02, 0.985];

/// The image that the detector and its processing make of `attenuation`.
pub(super) fn expose(
    mut attenuation: Plane,
    acquisition: &Acquisition,
    detector: Affine,
    dice: &mut Dice,
) -> Vec<u16> {
    let spacing = acquisition.spacing;
    let average = attenuation.mean();
    attenuation
        .values
        .iter_mut()
        .for_each(|value| *value = (average - *value).exp());
    let mut light = attenuation;
    let scattered = light.smoothed(SCATTER_REACH / spacing);
    light
        .values
        .iter_mut()
        .zip(&scattered.values)
        .for_each(|(light, scattered)| *light += acquisition.scatter * scattered);
    light.blur(acquisition.blur / spacing);
    let per_pixel = acquisition.quanta * spacing * spacing * (1.0 + acquisition.scatter);
    for value in &mut light.values {
        // Poisson noise: the deviation is the root of the count; at these counts a normal is as good.
        let noise = (*value / per_pixel).sqrt() * dice.quick_normal();
        *value = -(*value + noise).max(*value * 0.2).ln();
    }
    // Charge and light spread a little between neighbouring pixels after the quanta were counted.
    light.blur((0.12 / spacing).clamp(0.3, 1.0));
    process(&mut light, acquisition);
    let [low, high] = window(&light, &acquisition.collimation, detector);
    let [below, above] = acquisition.window_margins;
    let (low, width) = (
        low - below * (high - low),
        ((1.0 + below + above) * (high - low)).max(1e-3),
    );
    quantize(&light, acquisition, detector, dice, low, width)
}

/// Flattens the large scale and sharpens the fine one, as vendors' processing does.
fn process(image: &mut Plane, acquisition: &Acquisition) {
    let coarse = image.smoothed(FLATTENING_REACH / acquisition.spacing);
    let fine = image.smoothed(SHARPENING_REACH / acquisition.spacing);
    let average = coarse.mean();
    for ((value, coarse), fine) in image.values.iter_mut().zip(&coarse.values).zip(&fine.values) {
        *value += acquisition.sharpening * (*value - fine) - acquisition.flattening * (coarse - average);
    }
}

/// The darkest and the brightest value that the image should show, from within the shutters.
fn window(image: &Plane, collimation: &Collimation, detector: Affine) -> [f32; 2] {
    // A few thousand samples settle a percentile.
    let step = ((image.values.len() / 6000) as f32).sqrt().max(1.0) as usize;
    let mut samples = Vec::with_capacity(8192);
    for row in (0..image.rows).step_by(step) {
        for column in (0..image.columns).step_by(step) {
            if collimation.openness(detector.apply(Point::new(column as f32, row as f32))) > 0.99 {
                samples.push(image.values[row * image.columns + column]);
            }
        }
    }
    samples.sort_by(f32::total_cmp);
    let last = samples.len().saturating_sub(1) as f32;
    WINDOW_SHARES.map(|share| samples.get((share * last) as usize).copied().unwrap_or_default())
}

/// Windows, applies gamma, lays the shutters over, and rounds to 12 bits.
fn quantize(
    image: &Plane,
    acquisition: &Acquisition,
    detector: Affine,
    dice: &mut Dice,
    low: f32,
    width: f32,
) -> Vec<u16> {
    let collimation = &acquisition.collimation;
    let gamma = Curve::new(acquisition.gamma);
    let mut pixels = Vec::with_capacity(image.values.len());
    for (row, line) in image.values.chunks_exact(image.columns).enumerate() {
        for (column, value) in line.iter().enumerate() {
            let mut shown = gamma.at((value - low) / width);
            let open = collimation.openness(detector.apply(Point::new(column as f32, row as f32)));
            if open < 1.0 {
                let shutter = collimation.value + collimation.noise * dice.quick_normal();
                shown = shutter + (shown - shutter) * open;
            }
            pixels.push((shown.clamp(0.0, 1.0) * f32::from(MAXIMUM)).round() as u16);
        }
    }
    pixels
}

/// A gamma curve with a soft toe and shoulder, from a table: a power per pixel would cost as much as the rest.
struct Curve {
    table: Vec<f32>,
}

impl Curve {
    const STEPS: f32 = 2048.0;
    /// The table covers this much below 0 and above 1.
    const MARGIN: f32 = 0.25;

    fn new(gamma: f32) -> Self {
        let place = |step: u16| (f32::from(step) / Self::STEPS) * (1.0 + 2.0 * Self::MARGIN) - Self::MARGIN;
        // Softplus at both ends keeps highlights and shadows from being cut off.
        let soft = |value: f32| (1.0 + (value * 24.0).exp()).ln() / 24.0;
        let table = (0..=2048)
            .map(|step| (soft(place(step)) - soft(place(step) - 1.0)).max(0.0).powf(gamma))
            .collect();
        Self { table }
    }

    #[inline]
    fn at(&self, value: f32) -> f32 {
        let place = ((value + Self::MARGIN) / (1.0 + 2.0 * Self::MARGIN)).clamp(0.0, 0.999_99) * Self::STEPS;
        let low = place as usize;
        self.table[low] + (self.table[low + 1] - self.table[low]) * (place - low as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_rises_and_stays_in_range() {
        let curve = Curve::new(0.9);
        let values: Vec<f32> = (0..100).map(|step| curve.at(-0.5 + step as f32 * 0.02)).collect();
        assert!(values.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(values[0] >= 0.0 && values[99] <= 1.01);
        assert!((Curve::new(1.0).at(0.5) - 0.5).abs() < 1e-3);
    }
}

//! Filters at the points where they are multiplied.

use super::{PATCH, POINTS};

/// A filter's values at the points 0, 1, -1, 2, -2 and infinity.
const AT_POINTS: [[f64; 3]; PATCH] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// Filters in ONNX Runtime's order with `block` channels beside each other, as [`Convolution::run`](super::Convolution::run) takes them:
/// `[36 points][filters / (2 block)][channels][2 block of filters]`, four times as many numbers as there were. An odd last block of
/// filters stands alone. `None` where the numbers are not those of so many filters and channels.
#[must_use]
pub fn transformed(weights: &[f32], filters: usize, channels: usize, block: usize) -> Option<Vec<f32>> {
    let fits = block > 0
        && filters.is_multiple_of(block)
        && channels.is_multiple_of(block)
        && weights.len() == filters * channels * 9;
    if !fits {
        return None;
    }
    let mut points = vec![0.0; POINTS * filters * channels];
    let pair = 2 * block;
    for (number, filter) in weights.chunks_exact(9 * block * block).enumerate() {
        let (outer, inner) = (
            number / (channels / block) * block,
            number % (channels / block) * block,
        );
        for of_channel in 0..block {
            for of_filter in 0..block {
                let weight = |row: usize, column: usize| {
                    f64::from(filter[((row * 3 + column) * block + of_channel) * block + of_filter])
                };
                let (output, channel) = (outer + of_filter, inner + of_channel);
                let first = output / pair * pair;
                let width = pair.min(filters - first);
                let place = first * channels + channel * width + output - first;
                for (point, values) in points.chunks_exact_mut(filters * channels).enumerate() {
                    let (down, across) = (AT_POINTS[point / PATCH], AT_POINTS[point % PATCH]);
                    let row = |row: usize| {
                        down[row]
                            * (0..3)
                                .map(|column| across[column] * weight(row, column))
                                .sum::<f64>()
                    };
                    values[place] = (0..3).map(row).sum::<f64>() as f32;
                }
            }
        }
    }
    Some(points)
}

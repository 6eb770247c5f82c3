//! A covariance that can be inverted, and the factor of its inverse.

use rayon::prelude::*;

/// Rows that are summed up while they are in the processor's cache.
const BLOCK: usize = 64;
/// However many images there are, at least this share of the mean variance is in every direction: what rounding does to a feature that
/// never varied is no distance.
const LEAST_SHRINKAGE: f64 = 1e-4;

/// The covariance of features around the means of their classes, shrunk towards a multiple of the identity.
pub(super) struct Covariance {
    /// How many features.
    pub(super) features: usize,
    /// Row after row; only the lower triangle counts.
    pub(super) values: Vec<f64>,
    /// The share of the identity, 0 to 1.
    pub(super) shrinkage: f64,
}

impl Covariance {
    /// The estimate of Ledoit and Wolf (2004, Journal of Multivariate Analysis 88:365): `(1 - s) S + s m I` with the `s` that brings it
    /// nearest to the truth and `m` the mean variance. It can be inverted where there are fewer images than features, and with many
    /// images `s` goes to 0. `mean_of` gives for each row the mean of its class.
    ///
    /// # Errors
    /// A sentence, where the features do not vary or are no numbers.
    pub(super) fn ledoit_wolf<'a>(
        rows: &'a [Vec<f32>],
        mean_of: impl Fn(usize) -> &'a [f64],
    ) -> Result<Self, String> {
        let features = rows.first().map_or(0, Vec::len);
        let count = rows.len() as f64;
        let mut values = vec![0.0; features * features];
        let mut fourth = 0.0;
        for (block, rows) in rows.chunks(BLOCK).enumerate() {
            let centred: Vec<Vec<f64>> = rows
                .iter()
                .enumerate()
                .map(|(place, row)| {
                    let mean = mean_of(block * BLOCK + place);
                    row.iter()
                        .zip(mean)
                        .map(|(x, mean)| f64::from(*x) - mean)
                        .collect()
                })
                .collect();
            fourth += centred.iter().map(|row| dot(row, row).powi(2)).sum::<f64>();
            values
                .par_chunks_mut(features.max(1))
                .enumerate()
                .for_each(|(line, sums)| {
                    for row in &centred {
                        let own = row[line];
                        for (sum, other) in sums[..=line].iter_mut().zip(row) {
                            *sum += own * other;
                        }
                    }
                });
        }
        for value in &mut values {
            *value /= count;
        }
        let (mut trace, mut squares) = (0.0, 0.0);
        for (line, row) in values.chunks(features.max(1)).enumerate() {
            trace += row[line];
            squares += 2.0 * dot(&row[..line], &row[..line]) + row[line].powi(2);
        }
        let size = features as f64;
        let mean = trace / size;
        if !(mean.is_finite() && mean > 0.0) {
            return Err("the network's features do not vary, or are no numbers".to_owned());
        }
        let noise = (fourth / count - squares) / (size * count);
        let distance = (squares - 2.0 * mean * trace + size * mean * mean) / size;
        let estimate = if distance > 0.0 {
            (noise / distance).clamp(0.0, 1.0)
        } else {
            0.0
        };
        let shrinkage = estimate.max(LEAST_SHRINKAGE);
        for (place, value) in values.iter_mut().enumerate() {
            *value *= 1.0 - shrinkage;
            if place / features == place % features {
                *value += shrinkage * mean;
            }
        }
        Ok(Self {
            features,
            values,
            shrinkage,
        })
    }

    /// The lower triangle `L`, line after line, with `L Lᵀ` the inverse of the covariance.
    ///
    /// With rows and columns in reverse order the covariance is `C Cᵀ`, `C` lower triangular; read in reverse order again, `C⁻¹` is the
    /// transpose of `L`.
    ///
    /// # Errors
    /// A sentence, where it cannot be inverted.
    pub(super) fn precision_factor(&self) -> Result<Vec<f64>, String> {
        let size = self.features;
        let reversed = |line: usize, column: usize| {
            // below the diagonal after the reversal is above it before
            self.values[(size - 1 - column) * size + size - 1 - line]
        };
        let mut factor: Vec<Vec<f64>> = Vec::with_capacity(size);
        for line in 0..size {
            let mut own = Vec::with_capacity(line + 1);
            for (column, above) in factor.iter().enumerate() {
                let rest = reversed(line, column) - dot(&own, &above[..column]);
                own.push(rest / above[column]);
            }
            let rest = reversed(line, line) - dot(&own, &own);
            if rest <= 0.0 || rest.is_nan() {
                return Err("the covariance of the features cannot be inverted".to_owned());
            }
            own.push(rest.sqrt());
            factor.push(own);
        }
        // column by column, from its place on the diagonal on
        let inverse: Vec<Vec<f64>> = (0..size)
            .into_par_iter()
            .map(|column| {
                let mut own = vec![1.0 / factor[column][column]];
                for line in factor.iter().enumerate().skip(column + 1) {
                    let (place, line) = line;
                    own.push(-dot(&line[column..place], &own) / line[place]);
                }
                own
            })
            .collect();
        let mut lower = Vec::with_capacity(size * (size + 1) / 2);
        for line in 0..size {
            for column in 0..=line {
                let (from, to) = (size - 1 - line, size - 1 - column);
                lower.push(inverse[from][to - from]);
            }
        }
        Ok(lower)
    }
}

/// Four sums side by side, which the processor adds at once.
fn dot(left: &[f64], right: &[f64]) -> f64 {
    let ((fours, rest), (others, rest_of_others)) = (left.as_chunks::<4>(), right.as_chunks::<4>());
    let mut sums = [0.0; 4];
    for (own, other) in fours.iter().zip(others) {
        for ((sum, left), right) in sums.iter_mut().zip(own).zip(other) {
            *sum += left * right;
        }
    }
    let tail: f64 = rest.iter().zip(rest_of_others).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + tail
}

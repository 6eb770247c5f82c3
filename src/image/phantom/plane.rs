//! A plane of numbers and the separable filters on it.
//!
//! Invariants: row-major, `values.len() == rows * columns`; edges are extended, never wrapped or darkened.

use super::geometry::{Affine, Bounds};

/// An image of `f32`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plane {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) values: Vec<f32>,
}

impl Plane {
    pub(super) fn zeros(rows: usize, columns: usize) -> Self {
        Self {
            rows,
            columns,
            values: vec![0.0; rows * columns],
        }
    }

    /// Adds `value(x, y)` to every pixel that `frame` (pixels to local millimetres) sends into `bounds`.
    pub(super) fn paint(&mut self, frame: Affine, bounds: Bounds, mut value: impl FnMut(f32, f32) -> f32) {
        self.change(frame, bounds, |pixel, x, y| *pixel += value(x, y));
    }

    /// Calls `change(pixel, x, y)` for every pixel that `frame` sends into `bounds`.
    pub(super) fn change(
        &mut self,
        frame: Affine,
        bounds: Bounds,
        mut change: impl FnMut(&mut f32, f32, f32),
    ) {
        let area = frame.invert_bounds(bounds);
        let first_row = area.low.y.floor().max(0.0) as usize;
        let first_column = area.low.x.floor().max(0.0) as usize;
        let end_row = ((area.high.y.ceil() + 1.0).max(0.0) as usize).min(self.rows);
        let end_column = ((area.high.x.ceil() + 1.0).max(0.0) as usize).min(self.columns);
        if first_column >= end_column {
            return;
        }
        for row in first_row..end_row {
            let line = &mut self.values[row * self.columns..(row + 1) * self.columns];
            let x_offset = frame.x_by_row * row as f32 + frame.x_offset;
            let y_offset = frame.y_by_row * row as f32 + frame.y_offset;
            for (column, pixel) in line.iter_mut().enumerate().take(end_column).skip(first_column) {
                let x = frame.x_by_column * column as f32 + x_offset;
                let y = frame.y_by_column * column as f32 + y_offset;
                if bounds.holds(x, y) {
                    change(pixel, x, y);
                }
            }
        }
    }

    /// Blurs with a Gaussian of a few pixels; `deviation` in pixels.
    pub(super) fn blur(&mut self, deviation: f32) {
        let radius = (deviation * 3.0).ceil().max(1.0) as usize;
        let mut kernel: Vec<f32> = (0..=radius)
            .map(|step| (-0.5 * (step as f32 / deviation.max(1e-3)).powi(2)).exp())
            .collect();
        let total = kernel[0] + 2.0 * kernel[1..].iter().sum::<f32>();
        for weight in &mut kernel {
            *weight /= total;
        }
        let source = self.values.clone();
        let columns = self.columns;
        // Down the columns first, whole rows at a time, then along each row with its ends extended.
        for (row, line) in self.values.chunks_exact_mut(columns).enumerate() {
            let center = &source[row * columns..(row + 1) * columns];
            line.iter_mut()
                .zip(center)
                .for_each(|(pixel, value)| *pixel = kernel[0] * value);
            for (step, weight) in kernel.iter().enumerate().skip(1) {
                let above = row.saturating_sub(step) * columns;
                let below = (row + step).min(self.rows - 1) * columns;
                let pairs = source[above..above + columns]
                    .iter()
                    .zip(&source[below..below + columns]);
                line.iter_mut()
                    .zip(pairs)
                    .for_each(|(pixel, (above, below))| *pixel += weight * (above + below));
            }
        }
        let mut padded = vec![0.0; columns + 2 * radius];
        for line in self.values.chunks_exact_mut(columns) {
            padded[..radius].fill(line[0]);
            padded[radius..radius + columns].copy_from_slice(line);
            padded[radius + columns..].fill(line[columns - 1]);
            line.iter_mut()
                .zip(&padded[radius..])
                .for_each(|(pixel, value)| *pixel = kernel[0] * value);
            for (step, weight) in kernel.iter().enumerate().skip(1) {
                let pairs = padded[radius - step..].iter().zip(&padded[radius + step..]);
                line.iter_mut()
                    .zip(pairs)
                    .for_each(|(pixel, (left, right))| *pixel += weight * (left + right));
            }
        }
    }

    /// The plane without detail finer than `deviation` pixels, computed on a coarser grid because it is smooth.
    pub(super) fn smoothed(&self, deviation: f32) -> Self {
        let step = ((deviation / 2.0) as usize).clamp(1, 32);
        if step == 1 {
            let mut copy = self.clone();
            copy.blur(deviation);
            return copy;
        }
        let mut coarse = self.shrunk(step);
        coarse.blur((deviation / step as f32).max(0.5));
        coarse.stretched(self.rows, self.columns, step)
    }

    /// Means over blocks of `step` by `step` pixels.
    fn shrunk(&self, step: usize) -> Self {
        let mut coarse = Self::zeros(self.rows.div_ceil(step), self.columns.div_ceil(step));
        for (row, band) in self.values.chunks(step * self.columns).enumerate() {
            let target = &mut coarse.values[row * coarse.columns..(row + 1) * coarse.columns];
            let height = band.len() / self.columns;
            for line in band.chunks_exact(self.columns) {
                for (pixel, block) in target.iter_mut().zip(line.chunks(step)) {
                    *pixel += block.iter().sum::<f32>() / (block.len() * height) as f32;
                }
            }
        }
        coarse
    }

    /// Bilinear interpolation of block means back to the full grid.
    pub(super) fn stretched(&self, rows: usize, columns: usize, step: usize) -> Self {
        let place = |index: usize, count: usize| {
            let at = ((index as f32 + 0.5) / step as f32 - 0.5).clamp(0.0, (count - 1) as f32);
            let low = at as usize;
            (low, (low + 1).min(count - 1), at - low as f32)
        };
        let across: Vec<_> = (0..columns).map(|column| place(column, self.columns)).collect();
        let mut values = Vec::with_capacity(rows * columns);
        let mut line = vec![0.0; self.columns];
        for row in 0..rows {
            let (above, below, share) = place(row, self.rows);
            let above = &self.values[above * self.columns..(above + 1) * self.columns];
            let below = &self.values[below * self.columns..(below + 1) * self.columns];
            line.iter_mut()
                .zip(above.iter().zip(below))
                .for_each(|(pixel, (a, b))| *pixel = a + (b - a) * share);
            values.extend(
                across
                    .iter()
                    .map(|&(left, right, share)| line[left] + (line[right] - line[left]) * share),
            );
        }
        Self {
            rows,
            columns,
            values,
        }
    }

    pub(super) fn mean(&self) -> f32 {
        self.values.iter().sum::<f32>() / self.values.len().max(1) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_keep_a_constant_and_the_sum_of_a_point() {
        let mut plane = Plane::zeros(40, 30);
        plane.values.fill(3.0);
        plane.blur(1.3);
        assert!(plane.values.iter().all(|value| (value - 3.0).abs() < 1e-4));
        assert!(
            plane
                .smoothed(9.0)
                .values
                .iter()
                .all(|value| (value - 3.0).abs() < 1e-4)
        );
        let mut point = Plane::zeros(41, 31);
        point.values[20 * 31 + 15] = 1.0;
        point.blur(1.5);
        assert!((point.values.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        assert!(
            (point.values[20 * 31 + 15] - 0.0707).abs() < 0.002,
            "1 / (2 pi 1.5^2)"
        );
    }
}

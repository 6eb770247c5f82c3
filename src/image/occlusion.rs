//! Evidence without an activation map: which parts of the input the answer depends on (Zeiler and Fergus 2014, arXiv 1311.2901).
//!
//! Patches are laid over the network's input, one for each cell of a grid, each twice as large as its cell, so that neighbours
//! overlap by half; the network answers once for each. Where the answer drops, the patch hid evidence. Nothing is run here:
//! whoever runs the network asks for each [`Occlusion::tensor`] and hands the drops to [`Occlusion::map`].
//!
//! A patch has the image's own mean grey. Black would be evidence by itself, as air or a collimator's edge is, and so would white; the
//! mean is what says least.

use super::Tensor;
use super::border::Rectangle;
use super::heatmap::ActivationMap;
use super::preprocess::{Layout, Preprocessing};

/// Cells of the grid: rows and columns. 48 runs of the network, at most.
pub const GRID: [usize; 2] = [8, 6];

/// The patches over one input.
#[derive(Clone, Debug)]
pub struct Occlusion {
    tensor: Tensor,
    layout: Layout,
    /// One value for each channel.
    fill: Vec<f32>,
    /// Cells of the grid, whose patch is absent where nothing of the image lies under it.
    patches: Vec<Option<Rectangle>>,
    grid: [usize; 2],
}

impl Occlusion {
    /// A grid over an input; `target` is the part of it that the image fills.
    #[must_use]
    pub fn new(contract: &Preprocessing, tensor: Tensor, target: Rectangle, grid: [usize; 2]) -> Self {
        let grid = [
            grid[0].clamp(1, contract.rows),
            grid[1].clamp(1, contract.columns),
        ];
        let edges = |cell: usize, cells: usize, size: usize| {
            // half a cell beyond the cell's own edges
            let low = (2 * cell * size / cells).saturating_sub(size / cells) / 2;
            let high = (2 * (cell + 1) * size / cells + size / cells).div_ceil(2);
            (low, high.min(size))
        };
        let patches = (0..grid[0] * grid[1])
            .map(|cell| {
                let (top, bottom) = edges(cell / grid[1], grid[0], contract.rows);
                let (left, right) = edges(cell % grid[1], grid[1], contract.columns);
                let patch = Rectangle {
                    top,
                    left,
                    rows: bottom - top,
                    columns: right - left,
                };
                overlap(patch, target).then_some(patch)
            })
            .collect();
        let mut occlusion = Self {
            tensor,
            layout: contract.layout,
            fill: Vec::new(),
            patches,
            grid,
        };
        occlusion.fill = occlusion.means(target);
        occlusion
    }

    /// The cells for which the network has to be run.
    pub fn cells(&self) -> impl Iterator<Item = usize> {
        let patches = self.patches.iter().enumerate();
        patches.filter_map(|(cell, patch)| patch.map(|_| cell))
    }

    /// The input with the patch of one cell over it.
    #[must_use]
    pub fn tensor(&self, cell: usize) -> Tensor {
        let mut occluded = self.tensor.clone();
        if let Some(Some(patch)) = self.patches.get(cell) {
            for place in self.places(*patch) {
                let channel = self.channel(place);
                if let (Some(value), Some(fill)) = (occluded.values.get_mut(place), self.fill.get(channel)) {
                    *value = *fill;
                }
            }
        }
        occluded
    }

    /// The map over the whole input: by how much the answer dropped for each cell, in units of the logit. A cell that was not
    /// run says nothing: 0.
    #[must_use]
    pub fn map(&self, drops: impl IntoIterator<Item = (usize, f32)>) -> ActivationMap {
        let mut values = vec![0.0; self.patches.len()];
        for (cell, drop) in drops {
            if let Some(value) = values.get_mut(cell) {
                *value = drop;
            }
        }
        ActivationMap {
            rows: self.grid[0],
            columns: self.grid[1],
            values,
        }
    }

    /// The mean of each channel over a part of the input.
    fn means(&self, part: Rectangle) -> Vec<f32> {
        let mut sums = vec![(0.0_f64, 0_u32); self.channels()];
        for place in self.places(part) {
            let channel = self.channel(place);
            if let (Some(value), Some((sum, count))) = (self.tensor.values.get(place), sums.get_mut(channel))
            {
                *sum += f64::from(*value);
                *count += 1;
            }
        }
        sums.iter()
            .map(|(sum, count)| (sum / f64::from((*count).max(1))) as f32)
            .collect()
    }

    fn channels(&self) -> usize {
        match self.layout {
            Layout::Nchw | Layout::Ncwh => self.tensor.shape[0],
            Layout::Nhwc => self.tensor.shape[2],
        }
    }

    fn channel(&self, place: usize) -> usize {
        match self.layout {
            Layout::Nchw | Layout::Ncwh => place / (self.tensor.shape[1] * self.tensor.shape[2]).max(1),
            Layout::Nhwc => place % self.tensor.shape[2].max(1),
        }
    }

    /// Where the values of a rectangle lie in the tensor.
    fn places(&self, part: Rectangle) -> impl Iterator<Item = usize> + use<> {
        let [_, second, third] = self.tensor.shape;
        // how far the next channel, row and column are
        let (channel, row, column) = match self.layout {
            Layout::Nchw => (second * third, third, 1),
            Layout::Nhwc => (1, second * third, third),
            Layout::Ncwh => (second * third, 1, third),
        };
        (0..self.channels()).flat_map(move |of_channel| {
            (part.top..part.top + part.rows).flat_map(move |of_row| {
                let columns = part.left..part.left + part.columns;
                columns.map(move |of_column| of_channel * channel + of_row * row + of_column * column)
            })
        })
    }
}

/// A probability as a logit: near 0 and 1 large changes of evidence are small changes of probability.
#[must_use]
pub fn logit(probability: f32) -> f32 {
    // what f32 can tell from 0 and 1
    let probability = f64::from(probability).clamp(1e-7, 1.0 - 1e-7);
    (probability / (1.0 - probability)).ln() as f32
}

fn overlap(a: Rectangle, b: Rectangle) -> bool {
    a.top < b.top + b.rows
        && b.top < a.top + a.rows
        && a.left < b.left + b.columns
        && b.left < a.left + a.columns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(contract: &Preprocessing) -> Rectangle {
        Rectangle {
            top: 0,
            left: 0,
            rows: contract.rows,
            columns: contract.columns,
        }
    }

    /// Black but for one bright square, in each layout.
    fn bright_square(layout: Layout, channels: usize) -> (Preprocessing, Tensor) {
        let contract = Preprocessing {
            layout,
            channels,
            mean: vec![0.0; channels],
            std: vec![1.0; channels],
            ..Preprocessing::grey(64, 48)
        };
        let mut plane = crate::image::Plane {
            rows: 64,
            columns: 48,
            values: vec![0; 64 * 48],
        };
        for row in 40..48 {
            plane.values[row * 48 + 8..row * 48 + 16].fill(u16::MAX);
        }
        let tensor = contract.tensor(&plane);
        (contract, tensor)
    }

    fn mean(tensor: &Tensor) -> f32 {
        tensor.values.iter().sum::<f32>() / tensor.values.len() as f32
    }

    #[test]
    fn the_map_peaks_at_what_the_answer_depends_on() {
        for (layout, channels) in [(Layout::Nchw, 1), (Layout::Nchw, 3), (Layout::Nhwc, 3)] {
            let (contract, tensor) = bright_square(layout, channels);
            let occlusion = Occlusion::new(&contract, tensor.clone(), whole(&contract), GRID);
            assert_eq!(occlusion.cells().count(), 48);
            // an answer that is the mean of its input
            let map = occlusion.map(
                occlusion
                    .cells()
                    .map(|cell| (cell, mean(&tensor) - mean(&occlusion.tensor(cell)))),
            );
            let peak = map.values.iter().copied().fold(f32::MIN, f32::max);
            let peak = map.values.iter().position(|value| *value == peak).unwrap();
            assert_eq!((peak / 6, peak % 6), (5, 1), "{layout:?}: {:?}", map.values);
            assert!(
                map.values[0] < 0.0,
                "the mean is brighter than what it hides there"
            );
        }
    }

    #[test]
    fn every_pixel_is_hidden_and_neighbours_overlap_by_half() {
        for (rows, columns, grid) in [(64, 48, GRID), (256, 192, GRID), (7, 5, GRID), (65, 47, [3, 5])] {
            let contract = Preprocessing::grey(rows, columns);
            let tensor = Tensor {
                shape: [1, rows, columns],
                values: vec![1.0; rows * columns],
            };
            let mut occlusion = Occlusion::new(&contract, tensor, whole(&contract), grid);
            occlusion.fill = vec![0.0];
            let mut hidden = vec![0; rows * columns];
            for cell in occlusion.cells() {
                for (count, value) in hidden.iter_mut().zip(occlusion.tensor(cell).values) {
                    *count += usize::from(value == 0.0);
                }
            }
            assert!(
                hidden.iter().all(|count| (1..=9).contains(count)),
                "{rows} x {columns}"
            );
            let middle = hidden[rows / 2 * columns + columns / 2];
            assert!(middle >= 4, "{rows} x {columns}: {middle}");
        }
    }

    #[test]
    fn nothing_is_run_for_what_the_contract_added_around_the_image() {
        let contract = Preprocessing::grey(64, 48);
        let (_, tensor) = bright_square(Layout::Nchw, 1);
        let target = Rectangle {
            top: 0,
            left: 20,
            rows: 64,
            columns: 8,
        };
        let occlusion = Occlusion::new(&contract, tensor, target, GRID);
        assert_eq!(occlusion.cells().count(), 8 * 2);
        assert_eq!(
            occlusion.fill,
            [0.0],
            "the mean of the image, not of what is around it"
        );
        assert!(occlusion.map([(1, f32::NAN), (9999, 1.0)]).check().is_err());
    }

    /// `scipy.special.logit(0.7310585786)` = 1.
    #[test]
    fn a_logit_is_finite_for_every_probability() {
        assert!((logit(0.731_058_6) - 1.0).abs() < 1e-5);
        assert!(logit(0.0).is_finite() && logit(1.0).is_finite());
        assert!(logit(f32::NAN).is_nan());
    }
}

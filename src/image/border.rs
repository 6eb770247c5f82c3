//! Finding the collimated field: the part of a radiograph inside its flat, unexposed border.
//!
//! The decision is symmetric under inversion, so that a MONOCHROME1 and a MONOCHROME2 copy are cropped alike.

use super::grey::StoredImage;

/// A rectangle of pixels inside an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rectangle {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Height, at least 1.
    pub rows: usize,
    /// Width, at least 1.
    pub columns: usize,
}

/// Lines sampled in each direction, at most: enough to find a border, cheap on any image.
const SAMPLES: usize = 256;
/// A line is border where the middle 90 % of its values span less than this part of the image's own span.
const FLAT: f64 = 0.04;
/// No side loses more than this part of its dimension: more would be anatomy.
const MOST: f64 = 0.4;

/// The image without its flat border; the whole image where there is none.
#[must_use]
pub fn exposed_field(image: &StoredImage) -> Rectangle {
    let row_step = image.rows.div_ceil(SAMPLES).max(1);
    let column_step = image.columns.div_ceil(SAMPLES).max(1);
    let mut codes = vec![0; image.columns];
    let grid: Vec<Vec<i32>> = (0..image.rows)
        .step_by(row_step)
        .map(|row| {
            image.codes.read(row * image.columns, &mut codes);
            codes
                .iter()
                .step_by(column_step)
                .map(|code| image.stored_value(*code))
                .collect()
        })
        .collect();
    let width = grid.first().map_or(0, Vec::len);

    let all: Vec<i32> = grid.iter().flatten().copied().collect();
    let flat = FLAT * f64::from(span(all, 0.005));
    let (first_row, last_row) = kept(grid.len(), |row| f64::from(span(grid[row].clone(), 0.05)) < flat);
    let (first_column, last_column) = kept(width, |column| {
        let line = grid[first_row..=last_row].iter().map(|row| row[column]).collect();
        f64::from(span(line, 0.05)) < flat
    });

    let top = first_row * row_step;
    let left = first_column * column_step;
    // the last sampled line that is kept stands for the lines up to the next sample
    let bottom = if last_row + 1 == grid.len() {
        image.rows
    } else {
        (last_row + 1) * row_step
    };
    let right = if last_column + 1 == width {
        image.columns
    } else {
        (last_column + 1) * column_step
    };
    Rectangle {
        top,
        left,
        rows: bottom - top,
        columns: right - left,
    }
}

/// The distance between the quantiles `tail` and `1 - tail`.
pub(super) fn span(mut values: Vec<i32>, tail: f64) -> i32 {
    if values.is_empty() {
        return 0;
    }
    let low = (tail * (values.len() - 1) as f64) as usize;
    let high = values.len() - 1 - low;
    let (_, high_value, _) = values.select_nth_unstable(high);
    let high_value = *high_value;
    let (_, low_value, _) = values.select_nth_unstable(low);
    high_value - *low_value
}

/// The first and last of `count` lines after the flat ones at both ends are taken off.
fn kept(count: usize, is_flat: impl Fn(usize) -> bool) -> (usize, usize) {
    let most = (count as f64 * MOST) as usize;
    let from_start = (0..most).take_while(|line| is_flat(*line)).count();
    let from_end = (0..most).take_while(|line| is_flat(count - 1 - *line)).count();
    // a side that is flat as far as we look is not a border but a part of the picture
    let start = if from_start == most { 0 } else { from_start };
    let end = if from_end == most { 0 } else { from_end };
    (start, count.saturating_sub(1 + end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bordered(rows: usize, columns: usize, field: Rectangle, inverted: bool) -> StoredImage {
        let codes = (0..rows * columns)
            .map(|index| {
                let (row, column) = (index / columns, index % columns);
                let inside = (field.top..field.top + field.rows).contains(&row)
                    && (field.left..field.left + field.columns).contains(&column);
                let value = if inside {
                    500 + ((row * 37 + column * 91) % 3000) as u16
                } else {
                    60 + (index % 3) as u16
                };
                if inverted { 4095 - value } else { value }
            })
            .collect();
        StoredImage::twelve_bits(rows, columns, codes)
    }

    #[test]
    fn finds_the_field_in_either_polarity() {
        let field = Rectangle {
            top: 20,
            left: 10,
            rows: 160,
            columns: 100,
        };
        for inverted in [false, true] {
            assert_eq!(exposed_field(&bordered(200, 150, field, inverted)), field);
        }
    }

    #[test]
    fn samples_a_large_image() {
        let field = Rectangle {
            top: 400,
            left: 200,
            rows: 1600,
            columns: 1200,
        };
        let found = exposed_field(&bordered(2500, 2048, field, false));
        for (found, expected) in [
            (found.top, 400),
            (found.left, 200),
            (found.rows, 1600),
            (found.columns, 1200),
        ] {
            assert!(found.abs_diff(expected) <= 16, "{found} for {expected}");
        }
    }

    #[test]
    fn keeps_an_image_without_border_and_one_pixel() {
        let whole = Rectangle {
            top: 0,
            left: 0,
            rows: 64,
            columns: 48,
        };
        assert_eq!(exposed_field(&bordered(64, 48, whole, false)), whole);
        let one = Rectangle {
            top: 0,
            left: 0,
            rows: 1,
            columns: 1,
        };
        assert_eq!(exposed_field(&bordered(1, 1, one, false)), one);
    }
}

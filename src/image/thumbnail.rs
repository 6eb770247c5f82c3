//! An image at a size for a sheet of many: reduced or magnified by a whole number, so that pixels stay what they are.

use super::Plane;

/// The image with its longest side near to `side` pixels, which it reaches only where a whole number takes it there.
#[must_use]
pub fn thumbnail(plane: &Plane, side: usize) -> Plane {
    let longest = plane.rows.max(plane.columns).max(1);
    let (reduced, magnified) = (longest.div_ceil(side.max(1)), (side / longest).max(1));
    let [rows, columns] = [plane.rows, plane.columns].map(|count| count / reduced * magnified);
    let mut values = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            // the mean of the pixels that become one
            let (first, begin) = (row / magnified * reduced, column / magnified * reduced);
            let mut sum = 0_u64;
            for down in first..first + reduced {
                let start = down * plane.columns + begin;
                let line = &plane.values[start..start + reduced];
                sum += line.iter().map(|value| u64::from(*value)).sum::<u64>();
            }
            values.push((sum / (reduced * reduced) as u64) as u16);
        }
    }
    Plane {
        rows,
        columns,
        values,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_images_are_magnified_and_large_ones_averaged() {
        let ramp = |rows, columns| Plane {
            rows,
            columns,
            values: (0..rows * columns).map(|pixel| pixel as u16).collect(),
        };
        let small = thumbnail(&ramp(4, 3), 10);
        assert_eq!((small.rows, small.columns), (8, 6));
        assert_eq!(small.values[..6], [0, 0, 1, 1, 2, 2]);
        assert_eq!(small.values[6..12], small.values[..6]);
        let large = thumbnail(&ramp(4, 4), 2);
        // (0 + 1 + 4 + 5) / 4, (2 + 3 + 6 + 7) / 4
        assert_eq!(
            (large.rows, large.columns, &large.values[..2]),
            (2, 2, &[2, 4][..])
        );
        let odd = thumbnail(&ramp(600, 300), 256);
        assert_eq!((odd.rows, odd.columns), (200, 100));
    }
}

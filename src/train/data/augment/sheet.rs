//! A contact sheet: images as they are, and beside each what a recipe of augmentation makes of it.
//!
//! The draws are those of the first epochs of a training with the same seed, so that the sheet shows what the network will see.

use rayon::prelude::*;

use super::{Augmentation, random_for};
use crate::image::Plane;
use crate::image::heatmap::Picture;
use crate::image::lettering::{CELL, write};

/// Longest side of an image on the sheet, about.
const SIDE: usize = 256;
/// Pixels between images.
const GAP: usize = 8;
/// Lines below each.
const LINES: usize = 4;

/// An image of a training.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// Its place in the training.
    pub place: usize,
    /// The image.
    pub plane: &'a Plane,
    /// What it shows, in the words of the table.
    pub part: Option<&'a str>,
}

/// Rows of the original and `draws` changed copies, each with what was drawn below it.
#[must_use]
pub fn sheet(recipe: &Augmentation, images: &[Shown<'_>], seed: u64, draws: usize) -> Picture {
    let cells: Vec<(Plane, [String; LINES])> = images
        .par_iter()
        .flat_map_iter(|Shown { place, plane, part }| {
            let words = ["as it is", part.unwrap_or_default(), "", ""];
            let original = ((*plane).clone(), words.map(str::to_owned));
            std::iter::once(original).chain((0..draws).map(move |epoch| {
                let random = || random_for(seed, epoch, *place);
                (
                    recipe.apply(plane, *part, &mut random()),
                    recipe.draw(*part, &mut random()).words(),
                )
            }))
        })
        .collect();
    let longest = cells
        .iter()
        .flat_map(|(_, words)| words)
        .map(String::len)
        .max()
        .unwrap_or(0);
    let size = cells
        .iter()
        .map(|(plane, _)| shown(plane))
        .fold([0, 0], |most, size| [most[0].max(size[0]), most[1].max(size[1])]);
    let cell = [
        size[0] + LINES * CELL[1] + GAP,
        size[1].max(longest * CELL[0]) + GAP,
    ];
    let (rows, columns) = (images.len() * cell[0] + GAP, (draws + 1) * cell[1] + GAP);
    let mut picture = Picture {
        rows,
        columns,
        values: vec![0; rows * columns * 3],
    };
    for (place, (plane, words)) in cells.iter().enumerate() {
        let corner = [
            GAP + place / (draws + 1) * cell[0],
            GAP + place % (draws + 1) * cell[1],
        ];
        draw(&mut picture, plane, corner);
        for (line, text) in words.iter().enumerate() {
            write(
                &mut picture,
                text,
                [corner[0] + size[0] + 2 + line * CELL[1], corner[1]],
                1,
            );
        }
    }
    picture
}

/// By how much an image is reduced for the sheet, and then magnified: one of the two is 1.
fn factors(plane: &Plane) -> [usize; 2] {
    let longest = plane.rows.max(plane.columns).max(1);
    [longest.div_ceil(SIDE), (SIDE / longest).max(1)]
}

/// Rows and columns of an image on the sheet.
fn shown(plane: &Plane) -> [usize; 2] {
    let [reduced, magnified] = factors(plane);
    [
        plane.rows / reduced * magnified,
        plane.columns / reduced * magnified,
    ]
}

fn draw(picture: &mut Picture, plane: &Plane, [top, left]: [usize; 2]) {
    let ([rows, columns], [reduced, magnified]) = (shown(plane), factors(plane));
    for row in 0..rows {
        for column in 0..columns {
            // the mean of the pixels that become one
            let (first, begin) = (row / magnified * reduced, column / magnified * reduced);
            let mut sum = 0_u64;
            for down in first..first + reduced {
                let start = down * plane.columns + begin;
                sum += plane.values[start..start + reduced]
                    .iter()
                    .map(|value| u64::from(*value))
                    .sum::<u64>();
            }
            let grey = (sum / (reduced * reduced) as u64 / 257) as u8;
            let pixel = ((top + row) * picture.columns + left + column) * 3;
            picture.values[pixel..pixel + 3].fill(grey);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_shows_the_image_and_what_training_sees_of_it() {
        // 40 by 30 pixels are magnified six times
        let plane = Plane {
            rows: 40,
            columns: 30,
            values: (0..1200).map(|pixel| (pixel * 50) as u16).collect(),
        };
        let recipe = Augmentation {
            noise: 0.0,
            ..Augmentation::default()
        };
        let image = |place| Shown {
            place,
            plane: &plane,
            part: None,
        };
        let sheet = sheet(&recipe, &[image(7), image(9)], 3, 2);
        let grey = |row: usize, column: usize| sheet.values[(row * sheet.columns + column) * 3];
        assert_eq!(grey(GAP + 239, GAP + 179), (plane.values[1199] / 257) as u8);
        // the second cell of the first row is the first epoch of image 7
        let width = (sheet.columns - GAP) / 3;
        let seen = recipe.apply(&plane, None, &mut random_for(3, 0, 7));
        for (row, column) in [(0, 0), (20, 15), (39, 29)] {
            assert_eq!(
                grey(GAP + row * 6, GAP + width + column * 6),
                (seen.values[row * 30 + column] / 257) as u8
            );
        }
        let large = Plane {
            rows: 600,
            columns: 300,
            values: vec![257 * 9; 180_000],
        };
        assert_eq!(shown(&large), [200, 100]);
    }
}

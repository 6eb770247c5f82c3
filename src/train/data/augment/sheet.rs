//! A contact sheet: images as they are, and beside each what a recipe of augmentation makes of it.
//!
//! The draws are those of the first epochs of a training with the same seed, so that the sheet shows what the network will see.

use rayon::prelude::*;

use super::{Augmentation, random_for};
use crate::image::Plane;
use crate::image::heatmap::Picture;
use crate::image::lettering::{CELL, write};
use crate::image::thumbnail::thumbnail;

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
            let original = (thumbnail(plane, SIDE), words.map(str::to_owned));
            std::iter::once(original).chain((0..draws).map(move |epoch| {
                let random = || random_for(seed, epoch, *place);
                (
                    thumbnail(&recipe.apply(plane, *part, &mut random()), SIDE),
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
    let size = cells.iter().fold([0, 0], |most, (plane, _)| {
        [most[0].max(plane.rows), most[1].max(plane.columns)]
    });
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

fn draw(picture: &mut Picture, plane: &Plane, [top, left]: [usize; 2]) {
    for (row, line) in plane.values.chunks_exact(plane.columns.max(1)).enumerate() {
        let start = ((top + row) * picture.columns + left) * 3;
        for (column, value) in line.iter().enumerate() {
            let grey = (value / 257) as u8;
            picture.values[start + column * 3..start + column * 3 + 3].fill(grey);
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
    }
}

//! Pictures for people: some images of each body part, and pairs that were found to be the same, on sheets with captions.
//!
//! Invariant: of an image in which something may be written there is an empty tile that says so, because a name could stand there.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use rayon::prelude::*;

use super::reading::is_picture;
use super::row::Row;
use super::source::Source;
use crate::dicom::Instance;
use crate::image::Plane;
use crate::image::decode::{decode, decode_picture};
use crate::image::heatmap::Picture;
use crate::image::lettering::{CELL, write};
use crate::image::preprocess::Preprocessing;

/// Images of each body part that are shown.
const SHOWN: usize = 12;
/// Images beside each other.
const ACROSS: usize = 6;
/// Height and width of an image.
const SIZE: [usize; 2] = [200, 160];
const LINES: usize = 2;
const GAP: usize = 6;
/// How large letters are.
const LETTERS: usize = 2;
/// What stands in the tile of an image that is not shown.
const HIDDEN: [&str; 3] = ["not shown:", "text in the", "pixels"];

/// An image with what is written below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// Where it is; nothing where something may be written in its pixels.
    pub(super) place: Option<String>,
    pub(super) caption: [String; LINES],
}

/// Some images of each body part: those whose names have the lowest hashes, so that the choice favours nothing and is always the same.
/// Only where there are too few others, images that are not shown stand among them.
#[derive(Debug, Default)]
pub(super) struct Choice {
    parts: BTreeMap<&'static str, BTreeMap<(bool, u64), Shown>>,
}

impl Choice {
    pub(super) fn offer(&mut self, place: &str, row: &Row) {
        let mut hasher = DefaultHasher::new();
        row.image.hash(&mut hasher);
        let chosen = self.parts.entry(row.body_part).or_default();
        let hidden = row.burned_in.is_suspected();
        let rank = (hidden, hasher.finish());
        if chosen.len() == SHOWN && chosen.last_key_value().is_some_and(|(last, _)| *last < rank) {
            return;
        }
        let age = row.age.map_or(String::new(), |age| age.min(90).to_string());
        let words = |words: [&str; 2]| words.join(" ").trim().to_owned();
        let caption = [words([row.view, row.laterality]), words([&row.sex, &age])];
        let place = (!hidden).then(|| place.to_owned());
        chosen.insert(rank, Shown { place, caption });
        if chosen.len() > SHOWN {
            chosen.pop_last();
        }
    }

    /// By body part; what has none is under nothing.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&'static str, Vec<Shown>)> {
        let parts = self.parts.iter();
        parts.map(|(part, chosen)| (*part, chosen.values().cloned().collect()))
    }
}

/// A sheet as PNG; an image that cannot be read any more is left black. None where it cannot be written.
pub(super) fn sheet(shown: &[Shown], source: &Source<'_>) -> Option<Vec<u8>> {
    let planes: Vec<Option<Plane>> = shown
        .par_iter()
        .map(|shown| plane(shown.place.as_ref()?, source))
        .collect();
    let picture = drawn(shown, &planes);
    let mut png = Vec::new();
    let encoder = ::image::codecs::png::PngEncoder::new(&mut png);
    let (width, height) = (picture.columns as u32, picture.rows as u32);
    let kind = ::image::ExtendedColorType::Rgb8;
    let written = ::image::ImageEncoder::write_image(encoder, &picture.values, width, height, kind);
    written.ok().map(|()| png)
}

fn drawn(shown: &[Shown], planes: &[Option<Plane>]) -> Picture {
    let across = ACROSS.min(shown.len()).max(1);
    let height = CELL[1] * LETTERS;
    let cell = [SIZE[0] + LINES * height + GAP, SIZE[1] + GAP];
    let (rows, columns) = (shown.len().div_ceil(across) * cell[0], across * cell[1]);
    let mut picture = Picture {
        rows,
        columns,
        values: vec![0; rows * columns * 3],
    };
    for (number, (shown, plane)) in shown.iter().zip(planes).enumerate() {
        let (top, left) = (number / across * cell[0], number % across * cell[1]);
        for (row, line) in plane
            .iter()
            .flat_map(|plane| plane.values.chunks(SIZE[1]).enumerate())
        {
            for (column, value) in line.iter().enumerate() {
                let start = ((top + row) * columns + left + column) * 3;
                picture.values[start..start + 3].fill((value >> 8) as u8);
            }
        }
        let mut say = |text: &str, row: usize| {
            let text: String = text.chars().take(SIZE[1] / (LETTERS * CELL[0])).collect();
            write(&mut picture, &text, [top + row, left], LETTERS);
        };
        if shown.place.is_none() {
            for (line, text) in HIDDEN.iter().enumerate() {
                say(text, SIZE[0] / 3 + line * height);
            }
        }
        for (line, text) in shown.caption.iter().enumerate() {
            say(text, SIZE[0] + 4 + line * height);
        }
    }
    picture
}

fn plane(place: &str, source: &Source<'_>) -> Option<Plane> {
    let bytes = source.read(place).ok()?;
    let image = if is_picture(&bytes) {
        decode_picture(&bytes).ok()?
    } else {
        decode(&Instance::parse(bytes).ok()?).ok()?
    };
    let (plane, _) = Preprocessing::grey(SIZE[0], SIZE[1]).plane(&image).ok()?;
    Some(plane)
}

#[cfg(test)]
mod tests {
    use super::super::facts::BurnedIn;
    use super::*;

    fn row(image: usize, burned_in: BurnedIn) -> Row {
        Row {
            image: format!("image {image}"),
            body_part: "hand",
            burned_in,
            ..Row::default()
        }
    }

    #[test]
    fn images_with_text_come_last_and_are_not_shown() {
        let mut choice = Choice::default();
        for image in 0..40 {
            let burned_in = match image % 4 {
                0 => BurnedIn::Stated,
                1 => BurnedIn::Seen,
                2 => BurnedIn::Likely,
                _ => BurnedIn::Unknown,
            };
            choice.offer(&format!("place {image}"), &row(image, burned_in));
        }
        let (_, chosen) = choice.parts().next().unwrap();
        let places: Vec<bool> = chosen.iter().map(|shown| shown.place.is_some()).collect();
        assert_eq!(places, [vec![true; 10], vec![false; 2]].concat());
        let own = |place: &str| place[6..].parse::<usize>().unwrap() % 4 == 3;
        assert!(chosen.iter().filter_map(|shown| shown.place.as_deref()).all(own));
    }

    #[test]
    fn the_tile_of_an_image_that_is_not_shown_says_so() {
        let caption = [String::new(), String::new()];
        let tile = |place: Option<&str>| Shown {
            place: place.map(str::to_owned),
            caption: caption.clone(),
        };
        let lit = |shown| drawn(&[shown], &[None]).values.iter().any(|value| *value > 0);
        assert!(lit(tile(None)), "it says why it is empty");
        assert!(!lit(tile(Some("one that cannot be read any more"))));
    }
}

//! Pictures for people: some images of each body part, and pairs that were found to be the same, on sheets with captions.

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

/// An image with what is written below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) place: String,
    pub(super) caption: [String; LINES],
}

/// Some images of each body part: those whose names have the lowest hashes, so that the choice favours nothing and is always the same.
#[derive(Debug, Default)]
pub(super) struct Choice {
    parts: BTreeMap<&'static str, BTreeMap<u64, Shown>>,
}

impl Choice {
    pub(super) fn offer(&mut self, place: &str, row: &Row) {
        let mut hasher = DefaultHasher::new();
        row.image.hash(&mut hasher);
        let chosen = self.parts.entry(row.body_part).or_default();
        let hash = hasher.finish();
        if chosen.len() == SHOWN && chosen.last_key_value().is_some_and(|(last, _)| *last < hash) {
            return;
        }
        let age = row.age.map_or(String::new(), |age| age.min(90).to_string());
        let words = |words: [&str; 2]| words.join(" ").trim().to_owned();
        let caption = [words([row.view, row.laterality]), words([&row.sex, &age])];
        let place = place.to_owned();
        chosen.insert(hash, Shown { place, caption });
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
        .map(|shown| plane(&shown.place, source))
        .collect();
    let across = ACROSS.min(shown.len()).max(1);
    let cell = [SIZE[0] + LINES * CELL[1] * 2 + GAP, SIZE[1] + GAP];
    let (rows, columns) = (shown.len().div_ceil(across) * cell[0], across * cell[1]);
    let mut picture = Picture {
        rows,
        columns,
        values: vec![0; rows * columns * 3],
    };
    for (number, (shown, plane)) in shown.iter().zip(&planes).enumerate() {
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
        for (line, text) in shown.caption.iter().enumerate() {
            let text: String = text.chars().take(SIZE[1] / (2 * CELL[0])).collect();
            write(
                &mut picture,
                &text,
                [top + SIZE[0] + 4 + line * CELL[1] * 2, left],
                2,
            );
        }
    }
    let mut png = Vec::new();
    let encoder = ::image::codecs::png::PngEncoder::new(&mut png);
    let (width, height) = (columns as u32, rows as u32);
    let kind = ::image::ExtendedColorType::Rgb8;
    let written = ::image::ImageEncoder::write_image(encoder, &picture.values, width, height, kind);
    written.ok().map(|()| png)
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

//! An activation map laid over its radiograph, as a picture.
//!
//! The picture is the whole input field at a multiple of the input's resolution, under the model's own contract, so
//! that the map lies exactly where the network saw it.

use super::preprocess::{PreprocessError, Preprocessing};
use super::{Plane, StoredImage};

/// Evidence for one label over the network's input: positive where the image speaks for the finding.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationMap {
    /// Height.
    pub rows: usize,
    /// Width.
    pub columns: usize,
    /// Row-major, in units of the logit.
    pub values: Vec<f32>,
}

impl ActivationMap {
    /// Whether there is a finite number for every place.
    ///
    /// # Errors
    /// A sentence that says what is off.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.values.is_empty() || self.values.len() != self.rows * self.columns {
            return Err("the model's activation map has not the size that it states");
        }
        if !self.values.iter().all(|value| value.is_finite()) {
            return Err("the model's activation map holds what is no finite number, so it is not shown");
        }
        Ok(())
    }
}

/// Where the evidence of a picture comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explanation {
    /// The network gave it.
    ActivationMap,
    /// The answer was watched while parts of the image were hidden: see [`super::occlusion`].
    Occlusion,
}

impl Explanation {
    /// `activation-map` or `occlusion`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ActivationMap => "activation-map",
            Self::Occlusion => "occlusion",
        }
    }
}

/// A picture with three 8-bit channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Height.
    pub rows: usize,
    /// Width.
    pub columns: usize,
    /// Row-major red, green, blue.
    pub values: Vec<u8>,
}

/// How many picture pixels an input pixel becomes, in each direction.
const MAGNIFICATION: usize = 3;
/// More pixels than this has no side of a picture: an input that is too large for its magnification is magnified less, or reduced.
pub const LONGEST_SIDE: usize = 1536;
/// A map whose highest evidence is below this many logits is not stretched up to look like a finding.
const LEAST_SCALE: f32 = 1.0;
/// How much of the radiograph the strongest evidence hides.
const OPACITY: f32 = 0.55;

/// The radiograph as the network saw it, with the evidence of `map` over it.
///
/// # Errors
/// [`PreprocessError`] as [`Preprocessing::apply`].
pub fn overlay(
    contract: &Preprocessing,
    image: &StoredImage,
    map: &ActivationMap,
) -> Result<Picture, PreprocessError> {
    Ok(over(&magnified(contract, image)?, map))
}

/// A display image with the evidence of `map` over it.
#[must_use]
pub fn over(plane: &Plane, map: &ActivationMap) -> Picture {
    let scale = map
        .values
        .iter()
        .copied()
        .filter(|value| value.is_finite())
        .fold(LEAST_SCALE, f32::max);
    let mut values = Vec::with_capacity(plane.values.len() * 3);
    for row in 0..plane.rows {
        for column in 0..plane.columns {
            let grey = f32::from(plane.values[row * plane.columns + column]) / f32::from(u16::MAX);
            let y = (row as f32 + 0.5) / plane.rows as f32;
            let x = (column as f32 + 0.5) / plane.columns as f32;
            let heat = (at(map, y, x) / scale).clamp(0.0, 1.0);
            let opacity = OPACITY * heat;
            for channel in colour(heat) {
                let mixed = grey * (1.0 - opacity) + channel * opacity;
                values.push((mixed * 255.0).round() as u8);
            }
        }
    }
    Picture {
        rows: plane.rows,
        columns: plane.columns,
        values,
    }
}

/// The radiograph as the network saw it, without a map.
///
/// # Errors
/// [`PreprocessError`] as [`Preprocessing::apply`].
pub fn magnified(contract: &Preprocessing, image: &StoredImage) -> Result<Plane, PreprocessError> {
    let longest = contract.rows.max(contract.columns);
    let scaled = |side: usize| {
        if longest * MAGNIFICATION <= LONGEST_SIDE {
            side * MAGNIFICATION
        } else {
            (side * LONGEST_SIDE / longest).max(1)
        }
    };
    let larger = Preprocessing {
        rows: scaled(contract.rows),
        columns: scaled(contract.columns),
        shorter_side: contract.shorter_side.map(scaled),
        ..contract.clone()
    };
    Ok(larger.plane(image)?.0)
}

impl Picture {
    /// The picture as a PNG file.
    ///
    /// # Errors
    /// The encoder's words, which only ever speak of sizes.
    pub fn png(&self) -> Result<Vec<u8>, String> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        ::image::write_buffer_with_format(
            &mut bytes,
            &self.values,
            self.columns as u32,
            self.rows as u32,
            ::image::ExtendedColorType::Rgb8,
            ::image::ImageFormat::Png,
        )
        .map_err(|error| error.to_string())?;
        Ok(bytes.into_inner())
    }
}

/// Bilinear value of the map at relative position (0..1, 0..1).
fn at(map: &ActivationMap, y: f32, x: f32) -> f32 {
    let place = |position: f32, count: usize| {
        let exact = (position * count as f32 - 0.5).clamp(0.0, count as f32 - 1.0);
        let low = exact as usize;
        (low, (low + 1).min(count - 1), exact - low as f32)
    };
    if map.rows == 0 || map.columns == 0 {
        return 0.0;
    }
    let (top, bottom, down) = place(y, map.rows);
    let (left, right, across) = place(x, map.columns);
    let value =
        |row: usize, column: usize| map.values.get(row * map.columns + column).copied().unwrap_or(0.0);
    let upper = value(top, left) * (1.0 - across) + value(top, right) * across;
    let lower = value(bottom, left) * (1.0 - across) + value(bottom, right) * across;
    upper * (1.0 - down) + lower * down
}

/// From deep blue over magenta and orange to yellow: rises in brightness, and is told apart by the colour-blind.
fn colour(heat: f32) -> [f32; 3] {
    const STOPS: [[f32; 3]; 5] = [
        [0.05, 0.03, 0.53],
        [0.49, 0.01, 0.66],
        [0.80, 0.28, 0.47],
        [0.97, 0.58, 0.25],
        [0.94, 0.98, 0.13],
    ];
    let position = heat.clamp(0.0, 1.0) * (STOPS.len() - 1) as f32;
    let low = (position as usize).min(STOPS.len() - 2);
    let part = position - low as f32;
    std::array::from_fn(|channel| STOPS[low][channel] * (1.0 - part) + STOPS[low + 1][channel] * part)
}

#[cfg(test)]
mod tests {
    use super::super::grey::GreyTransform;
    use super::*;

    #[test]
    fn the_heat_lies_where_the_evidence_is() {
        let codes = (0..64 * 64).map(|index| (index % 251) as u16).collect();
        let image = StoredImage {
            rows: 64,
            columns: 64,
            bits_stored: 8,
            signed: false,
            codes: crate::image::Codes::Words(codes),
            transform: GreyTransform::default(),
        };
        let contract = Preprocessing {
            crop_border: false,
            ..Preprocessing::grey(32, 32)
        };
        let mut map = ActivationMap {
            rows: 4,
            columns: 4,
            values: vec![-5.0; 16],
        };
        map.values[4 * 3] = 8.0;
        let picture = overlay(&contract, &image, &map).unwrap();
        let coloured = |row: usize, column: usize| {
            let pixel = &picture.values[(row * picture.columns + column) * 3..][..3];
            pixel[0] != pixel[1] || pixel[1] != pixel[2]
        };
        assert!(coloured(84, 12), "bottom left");
        assert!(!coloured(12, 84), "top right");
        assert!(picture.png().unwrap().starts_with(b"\x89PNG"));
    }

    #[test]
    fn no_picture_is_larger_than_its_bound() {
        let image = StoredImage {
            rows: 8,
            columns: 8,
            bits_stored: 8,
            signed: false,
            codes: crate::image::Codes::Words((0..64).collect()),
            transform: GreyTransform::default(),
        };
        for (rows, columns, picture) in [
            (512, 64, (1536, 192)),
            (513, 64, (1536, 191)),
            (3072, 2, (1536, 1)),
        ] {
            let contract = Preprocessing {
                crop_border: false,
                ..Preprocessing::grey(rows, columns)
            };
            let plane = magnified(&contract, &image).unwrap();
            assert_eq!((plane.rows, plane.columns), picture, "{rows} by {columns}");
        }
    }

    #[test]
    fn a_map_without_a_number_for_every_place_is_not_shown() {
        let map = |values: &[f32]| ActivationMap {
            rows: 1,
            columns: 2,
            values: values.to_vec(),
        };
        assert!(map(&[-1.0, 1.0]).check().is_ok());
        for odd in [&[0.0, f32::NAN][..], &[f32::INFINITY, 0.0], &[0.0], &[]] {
            assert!(map(odd).check().is_err(), "{odd:?}");
        }
    }
}

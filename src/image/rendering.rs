//! A frame as a picture for people (PS3.18 section 8.3.5): the grey scale that the file or the caller wants, in eight bits, as PNG or
//! JPEG.
//!
//! Invariant: modality LUT, VOI LUT and polarity come from [`StoredImage::display_table`], as for a network's input; the picture has
//! eight bits only at the end.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageFormat};

use super::decode::{self, DecodeError, MAX_PIXELS, declared, decode_frame};
use super::grey::{StoredImage, Voi};
use super::{colour, depths};
use crate::dicom::Instance;
use crate::fault::{Fault, FaultKind};

/// The longest side of a picture.
pub const MOST_PIXELS: u32 = 8192;

/// What a picture is to be like.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendering {
    /// The window, instead of the file's.
    pub window: Option<Voi>,
    /// The room that the picture is to fit into, and the part of the image that is shown; without it, the image in its own size.
    pub viewport: Option<Viewport>,
    /// Its format.
    pub format: PictureFormat,
}

/// How a picture is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureFormat {
    /// Without loss.
    Png,
    /// With loss; quality from 1 to 100.
    Jpeg {
        /// 1 (worst) to 100.
        quality: u8,
    },
}

/// PS3.18 section 8.3.5.1.3.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Viewport {
    /// Width of the room, 1 to [`MOST_PIXELS`].
    pub width: u32,
    /// Height of the room, 1 to [`MOST_PIXELS`].
    pub height: u32,
    /// Left and top of the part that is shown, in pixels of the image.
    pub origin: [u32; 2],
    /// Width and height of that part, in pixels of the image; negative ones turn it round. To the end of the image where there is none.
    pub size: [Option<i32>; 2],
}

/// Why there is no picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// There is no image.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The part to be shown is none of the image.
    #[error(
        "the region of the viewport lies outside the image: it must begin inside of it and have at least one pixel"
    )]
    Region,
    /// The picture cannot be written.
    #[error("the picture could not be written")]
    Encode,
}

impl From<RenderError> for Fault {
    fn from(error: RenderError) -> Self {
        let message = error.to_string();
        match error {
            RenderError::Decode(error) => error.into(),
            RenderError::Region => Self::new(FaultKind::Invalid, "viewport", message),
            RenderError::Encode => Self::new(FaultKind::Internal, "picture", message),
        }
    }
}

/// The bytes that making the picture of a frame may take, beside the file: decoding it, and then a sample of eight bits, or three, for each
/// pixel, twice.
#[must_use]
pub fn memory(instance: &Instance) -> usize {
    let [pixels, samples, allocated] = declared(&instance.header);
    let pixels = pixels.min(MAX_PIXELS);
    let made = if colour::is_colour(&instance.header) {
        // the samples in an order of their own, and as they are shown
        pixels * (samples.min(4) * allocated.min(64).div_ceil(8) + 6)
    } else {
        pixels * 2
    };
    decode::memory(instance, 0) + made
}

/// The picture of a frame (from 1).
///
/// # Errors
/// [`RenderError`].
pub fn render(instance: &Instance, frame: u32, rendering: &Rendering) -> Result<Vec<u8>, RenderError> {
    let window = rendering.window.as_ref();
    let picture = if colour::is_colour(&instance.header) {
        DynamicImage::ImageRgb8(colour::picture(instance, frame)?)
    } else if depths::has(&instance.header) {
        DynamicImage::ImageLuma8(depths::picture(instance, frame, window)?)
    } else {
        DynamicImage::ImageLuma8(grey(&decode_frame(instance, frame)?, window))
    };
    let picture = match &rendering.viewport {
        Some(viewport) => shown(&picture, viewport)?,
        None => picture,
    };
    let mut bytes = Vec::new();
    let written = match rendering.format {
        PictureFormat::Png => picture.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png),
        PictureFormat::Jpeg { quality } => {
            picture.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, quality))
        }
    };
    written.map(|()| bytes).map_err(|_| RenderError::Encode)
}

fn grey(image: &StoredImage, window: Option<&Voi>) -> GrayImage {
    let whole;
    let voi = if let Some(voi) = window.or(image.transform.voi.as_ref()) {
        voi
    } else {
        whole = present_range(image);
        &whole
    };
    let table: Vec<u8> = image
        .display_table(voi)
        .iter()
        .map(|value| (value >> 8) as u8)
        .collect();
    let mut picture = GrayImage::new(image.columns as u32, image.rows as u32);
    let mut codes = vec![0; image.columns];
    for (row, line) in picture.chunks_exact_mut(image.columns).enumerate() {
        image.codes.read(row * image.columns, &mut codes);
        for (pixel, code) in line.iter_mut().zip(&codes) {
            *pixel = table.get(usize::from(*code)).copied().unwrap_or_default();
        }
    }
    picture
}

/// From the lowest to the highest modality value that the image has, padding left out, where the file says nothing of a window.
fn present_range(image: &StoredImage) -> Voi {
    let mut present = vec![false; image.code_count()];
    let mut codes = vec![0; image.columns];
    for row in 0..image.rows {
        image.codes.read(row * image.columns, &mut codes);
        for code in &codes {
            present[usize::from(*code)] = true;
        }
    }
    let modality = image.modality_values();
    let values = present.iter().zip(&modality).enumerate();
    let values = values.filter(|(code, (present, _))| **present && !image.is_padding(*code as u16));
    Voi::spanning(values.map(|(_, (_, value))| *value))
}

/// The part that a viewport shows, as large as fits into it without a change of its proportions.
fn shown(picture: &DynamicImage, viewport: &Viewport) -> Result<DynamicImage, RenderError> {
    let [left, top] = viewport.origin;
    let extent = |size: Option<i32>, from: u32, whole: u32| {
        let rest = whole
            .checked_sub(from)
            .filter(|rest| *rest > 0)
            .ok_or(RenderError::Region)?;
        let size = size.map_or(rest, i32::unsigned_abs).min(rest);
        if size == 0 {
            Err(RenderError::Region)
        } else {
            Ok(size)
        }
    };
    let width = extent(viewport.size[0], left, picture.width())?;
    let height = extent(viewport.size[1], top, picture.height())?;
    let mut part = picture.crop_imm(left, top, width, height);
    if viewport.size[0].is_some_and(|size| size < 0) {
        part = part.fliph();
    }
    if viewport.size[1].is_some_and(|size| size < 0) {
        part = part.flipv();
    }
    let scale =
        (f64::from(viewport.width) / f64::from(width)).min(f64::from(viewport.height) / f64::from(height));
    let scaled = |length: u32| ((f64::from(length) * scale).round() as u32).clamp(1, MOST_PIXELS);
    let (width, height) = (scaled(width), scaled(height));
    Ok(match part {
        DynamicImage::ImageLuma8(part) => {
            DynamicImage::ImageLuma8(imageops::resize(&part, width, height, FilterType::Triangle))
        }
        part => part.resize_exact(width, height, FilterType::Triangle),
    })
}

#[cfg(test)]
mod tests;

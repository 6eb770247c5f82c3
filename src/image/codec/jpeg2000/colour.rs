//! Three components as red, green and blue (ITU-T T.800 annex G).

use std::cell::RefCell;

use super::block::Block;
use super::codestream::{self, Tile};
use super::header::Size;
use super::layout::Resolution;
use super::subband::{Sample, Source};
use super::wavelet::{Lines as _, Plane};
use super::{Cancel, CodecError, Layout, codestream_of, extent, layout, packet, pixel_value, synthesise};

/// A decoded image.
pub(in super::super) struct Colour {
    /// Three samples for each pixel, in as many bits as are allocated.
    pub(in super::super) bytes: Vec<u8>,
    /// The components were transformed, and are red, green and blue again.
    pub(in super::super) mixed: bool,
}

/// Decodes one frame.
///
/// # Errors
/// [`CodecError::Disagrees`] where the stream has another size, another sign or more bits, [`CodecError::Colour`] for other numbers of
/// components, [`CodecError::Unsupported`] for components of different sizes, [`CodecError::Damaged`] where it ends early or is not what
/// T.800 and T.814 allow.
pub(in super::super) fn decode(stream: &[u8], layout: &Layout) -> Result<Colour, CodecError> {
    let stream = codestream_of(stream)?;
    let (size, tiles) = codestream::read(stream)?;
    if size.components != 3 {
        return Err(CodecError::Colour);
    }
    if extent(size.image) != [layout.columns, layout.rows] || size.precision > layout.allocated || size.signed
    {
        return Err(CodecError::Disagrees);
    }
    let width = layout.allocated as usize / 8;
    let mut image = Image {
        size,
        width,
        bytes: vec![0; layout.rows * layout.columns * 3 * width],
    };
    let block = RefCell::new(Block::new());
    let mut parts = layout::most_parts(layout.rows * layout.columns * 3);
    for tile in &tiles {
        let components = tile.components.iter();
        let resolutions = components
            .map(|component| layout::resolutions(tile.area, component, image.size.precision, &mut parts));
        let mut resolutions = resolutions.collect::<Result<Vec<_>, _>>()?;
        packet::read(tile, &mut resolutions)?;
        let reversible = tile
            .components
            .iter()
            .filter(|component| component.coding.reversible);
        match reversible.count() {
            3 => image.put::<i32>(tile, &resolutions, &block)?,
            0 => image.put::<f32>(tile, &resolutions, &block)?,
            // T.800 allows that only where nothing is transformed, and nobody writes it
            _ => return Err(CodecError::Unsupported),
        }
    }
    Ok(Colour {
        bytes: image.bytes,
        mixed: tiles.iter().all(|tile| tile.mixed),
    })
}

/// What the tiles are put together in.
struct Image {
    size: Size,
    /// Bytes a sample.
    width: usize,
    bytes: Vec<u8>,
}

impl Image {
    fn put<T: Unmixed>(
        &mut self,
        tile: &Tile<'_>,
        resolutions: &[Vec<Resolution>],
        block: &RefCell<Block>,
    ) -> Result<(), CodecError> {
        let mut planes = [0; 3].map(|_| Plane::<T>::new(tile.area));
        for ((component, resolutions), plane) in tile.components.iter().zip(resolutions).zip(&mut planes) {
            let source = Source {
                packets: &tile.packets,
                component,
                cancel: Cancel::NEVER,
            };
            synthesise::<T>(source, resolutions, block, |_, y, line| {
                plane.line_mut(y).copy_from_slice(line);
            })?;
        }
        let [columns, _] = extent(self.size.image);
        let [left, top] = [0, 1].map(|axis| (tile.area[axis] - self.size.image[axis]) as usize);
        let [_, height] = extent(tile.area);
        let [first, second, third] = &mut planes;
        for y in 0..height {
            let samples = first.line(y)?.iter().zip(second.line(y)?).zip(third.line(y)?);
            let start = ((top + y) * columns + left) * 3 * self.width;
            let places = self.bytes[start..].chunks_exact_mut(3 * self.width);
            for (((first, second), third), place) in samples.zip(places) {
                let pixel = [*first, *second, *third];
                let pixel = if tile.mixed { T::unmixed(pixel) } else { pixel };
                for (sample, bytes) in pixel.into_iter().zip(place.chunks_exact_mut(self.width)) {
                    let value = pixel_value(sample, &self.size, self.size.precision);
                    bytes.copy_from_slice(&value.to_le_bytes()[..self.width]);
                }
            }
        }
        Ok(())
    }
}

/// Samples whose components can be transformed back.
trait Unmixed: Sample {
    fn unmixed(pixel: [Self; 3]) -> [Self; 3];
}

impl Unmixed for i32 {
    /// The reversible transformation (equations G-6 to G-8).
    fn unmixed([luminance, blue, red]: [Self; 3]) -> [Self; 3] {
        let green = luminance.wrapping_sub(blue.wrapping_add(red) >> 2);
        [red.wrapping_add(green), green, blue.wrapping_add(green)]
    }
}

impl Unmixed for f32 {
    /// The irreversible transformation (equations G-12 to G-14).
    fn unmixed([luminance, blue, red]: [Self; 3]) -> [Self; 3] {
        [
            luminance + 1.402 * red,
            luminance - 0.344_13 * blue - 0.714_14 * red,
            luminance + 1.772 * blue,
        ]
    }
}

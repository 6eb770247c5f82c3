//! JPEG 2000 (ITU-T T.800) and High-Throughput JPEG 2000 (T.814) for one component, and for three of the same size, in safe Rust.

mod block;
mod codestream;
mod colour;
mod contexts;
mod header;
mod ht;
mod ht_codes;
mod layout;
mod mq;
mod packet;
mod subband;
mod tag_tree;
mod wavelet;

use std::cell::RefCell;

use super::{Cancel, CodecError, Frame, Layout};
use crate::pages::Pages;
use block::Block;
pub(super) use colour::decode as decode_colour;
use header::Size;
use layout::Resolution;
use subband::{Sample, Source, SubBand};
use wavelet::{Lines, Plane};

/// Decodes one frame without its `discard` highest resolution levels, each of which halves its sides; without as many of them
/// as there are, where that is less.
///
/// # Errors
/// [`CodecError::Disagrees`] where the stream has another size or more bits, [`CodecError::Damaged`] where it ends early
/// or is not what T.800 and T.814 allow, [`CodecError::Colour`] for colour.
pub(super) fn decode(
    stream: &[u8],
    layout: &Layout,
    discard: u32,
    cancel: Cancel<'_>,
) -> Result<Frame, CodecError> {
    let Layout {
        rows,
        columns,
        allocated: bits,
        ..
    } = *layout;
    let stream = codestream_of(stream)?;
    let (size, tiles) = codestream::read(stream)?;
    if size.components != 1 {
        return Err(CodecError::Colour);
    }
    if extent(size.image) != [columns, rows] || size.precision > bits {
        return Err(CodecError::Disagrees);
    }
    let levels = tiles.iter().map(|tile| tile.components[0].coding.levels);
    let levels = levels.min().unwrap_or(0);
    let (discarded, area) = reduced(size.image, levels.min(discard));
    let mut parts = layout::most_parts(rows * columns);
    let [columns, rows] = extent(area);
    let mut image = Image {
        size,
        // at a lower resolution the wavelet overshoots at edges, also where the stream has room for more bits than are stored
        bits: if discarded == 0 {
            size.precision
        } else {
            size.precision.min(layout.stored + layout.shift)
        },
        area,
        width: bits as usize / 8,
        pixels: Pages::zeroed(rows * columns * bits as usize / 8),
    };
    let block = RefCell::new(Block::new());
    for tile in &tiles {
        cancel.check()?;
        let component = &tile.components[0];
        let mut resolutions = [layout::resolutions(
            tile.area,
            component,
            size.precision,
            &mut parts,
        )?];
        packet::read(tile, &mut resolutions)?;
        let [resolutions] = resolutions;
        let kept = &resolutions[..resolutions.len() - discarded as usize];
        let source = Source {
            packets: &tile.packets,
            component,
            cancel,
        };
        if component.coding.reversible {
            synthesise::<i32>(source, kept, &block, |place, y, line| image.write(place, y, line))?;
        } else {
            synthesise::<f32>(source, kept, &block, |place, y, line| image.write(place, y, line))?;
        }
    }
    Ok(Frame {
        rows,
        columns,
        codes: layout.stored(image.pixels.freeze()),
        halved: discarded,
    })
}

/// The bytes that decoding so many pixels of `samples` samples may take, with the pixels, whatever the stream is: beside these the
/// resolutions below the highest, whole planes where there are several samples, and what the codestream is cut into.
pub(super) fn most_memory(pixels: usize, samples: usize, allocated: usize) -> usize {
    let all = pixels * samples;
    let planes = if samples > 1 { size_of::<i32>() } else { 0 };
    all * (allocated.div_ceil(8) + size_of::<i32>() / 2 + planes)
        + layout::most_parts(all) * layout::BYTES_A_PART
}

/// The same of a stream with one component as its headers say, without its `discard` highest resolution levels, or as many as there are.
pub(super) fn memory(stream: &[u8], pixels: usize, allocated: usize, discard: u32) -> usize {
    let most = most_memory(pixels, 1, allocated);
    let common = codestream_of(stream).and_then(codestream::common);
    let Ok(Some((size, coding, layers))) = common else {
        return most;
    };
    let [columns, rows] = extent(size.image);
    // where that is another size, nothing is decoded
    if columns.saturating_mul(rows) != pixels {
        return most;
    }
    let most_parts = layout::most_parts(pixels);
    let [across, down] = size.tiles();
    let (mut parts, mut tiles) = (0, 0);
    for index in 0..across.saturating_mul(down) {
        parts += layout::parts(size.tile(index), &coding);
        tiles += 1;
        if parts > most_parts {
            return most;
        }
    }
    let of_parts = if block::has_many_segments(coding.style) {
        most_parts * layout::BYTES_A_PART
    } else {
        // each layer adds a piece to a code-block's segment
        parts * (layout::BYTES_A_PART + layers as usize * 4 * size_of::<std::ops::Range<usize>>())
    };
    let (_, area) = reduced(size.image, coding.levels.min(discard));
    let [columns, rows] = extent(area);
    // the sub-bands of a level as far as a row of code-blocks goes, and the lines that the wavelet is at
    let lines = columns * (2 * rows.min(1 << coding.block[1]) + WAVELET_LINES) * size_of::<i32>();
    let own = columns * rows * (allocated.div_ceil(8) + size_of::<i32>() / 2) + lines + of_parts;
    most.min(own + tiles * BYTES_A_TILE + WORKING)
}

/// More lines than the wavelet holds.
const WAVELET_LINES: usize = 20;
/// What the headers of a tile take at most, but for its packets.
const BYTES_A_TILE: usize = 2 << 10;
/// What code-blocks are decoded in, and what is left.
const WORKING: usize = 256 << 10;

/// Width and height of an area.
fn extent([left, top, right, bottom]: [u32; 4]) -> [usize; 2] {
    [
        right.saturating_sub(left) as usize,
        bottom.saturating_sub(top) as usize,
    ]
}

/// The area of an image without at most `discard` of its resolution levels (equation B-14), and without how many: a narrow
/// image far from the origin may have no pixel left at all in the lowest.
fn reduced(image: [u32; 4], discard: u32) -> (u32, [u32; 4]) {
    (0..=discard)
        .rev()
        .map(|levels| (levels, image.map(|edge| layout::halved(edge, levels))))
        .find(|(_, area)| !extent(*area).contains(&0))
        .unwrap_or((0, image))
}

/// What the tiles are put together in.
struct Image {
    size: Size,
    /// Bits of a pixel.
    bits: u32,
    /// Left, top, right and bottom at the resolution that is decoded.
    area: [u32; 4],
    /// Bytes a pixel.
    width: usize,
    pixels: Pages,
}

impl Image {
    /// Writes line `y` of a tile that begins at `left` and `top`.
    fn write<T: Sample>(&mut self, [left, top]: [u32; 2], y: usize, line: &[T]) {
        let [columns, _] = extent(self.area);
        let start = ((top - self.area[1]) as usize + y) * columns + (left - self.area[0]) as usize;
        let pixels = &mut self.pixels.bytes()[start * self.width..];
        if self.width == 1 {
            for (pixel, sample) in pixels.iter_mut().zip(line) {
                *pixel = pixel_value(*sample, &self.size, self.bits) as u8;
            }
        } else {
            for (pixel, sample) in pixels.as_chunks_mut().0.iter_mut().zip(line) {
                *pixel = pixel_value(*sample, &self.size, self.bits).to_le_bytes();
            }
        }
    }
}

/// The level shift (section G.1), and no pixel out of range.
#[inline(always)]
fn pixel_value<T: Sample>(sample: T, size: &Size, bits: u32) -> u16 {
    let value = sample.rounded();
    if size.signed {
        let half = 1_i32 << (bits - 1);
        value.clamp(-half, half - 1) as u16
    } else {
        let half = 1_i32 << (size.precision - 1);
        value.saturating_add(half).clamp(0, (1 << bits) - 1) as u16
    }
}

/// The codestream itself, where it is wrapped into a JP2 file, which DICOM does not want.
fn codestream_of(stream: &[u8]) -> Result<&[u8], CodecError> {
    if stream.starts_with(&[0xFF, 0x4F]) {
        return Ok(stream);
    }
    let mut rest = stream;
    while let Some((header, _)) = rest.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let end = if length == 0 { rest.len() } else { length };
        let content = rest.get(8..end).ok_or(CodecError::Damaged)?;
        if &header[4..] == b"jp2c" {
            return Ok(content);
        }
        rest = &rest[end..];
    }
    Err(CodecError::Damaged)
}

/// Puts the sub-bands of a component of a tile together, from the lowest resolution up; `write` gets where the highest begins, the
/// number of a line and its samples.
fn synthesise<T: Sample>(
    source: Source<'_>,
    resolutions: &[Resolution],
    block: &RefCell<Block>,
    mut write: impl FnMut([u32; 2], usize, &[T]),
) -> Result<(), CodecError> {
    let (first, others) = resolutions.split_first().ok_or(CodecError::Damaged)?;
    let mut low: Box<dyn Lines<T> + '_> = Box::new(SubBand::new(source, &first.bands[0], block));
    let Some((last, others)) = others.split_last() else {
        let [left, top, _, bottom] = first.area;
        for y in 0..(bottom - top) as usize {
            write([left, top], y, low.line(y)?);
        }
        return Ok(());
    };
    for resolution in others {
        let mut whole = Plane::new(resolution.area);
        let [mut right, mut down, mut both] = high_pass(source, resolution, block)?;
        let bands: [&mut dyn Lines<T>; 4] = [&mut *low, &mut right, &mut down, &mut both];
        wavelet::level(bands, resolution.area, |y, line| {
            whole.line_mut(y).copy_from_slice(line);
        })?;
        low = Box::new(whole);
    }
    let [left, top, ..] = last.area;
    let [mut right, mut down, mut both] = high_pass(source, last, block)?;
    let bands: [&mut dyn Lines<T>; 4] = [&mut *low, &mut right, &mut down, &mut both];
    wavelet::level(bands, last.area, |y, line| {
        write([left, top], y, line);
    })
}

/// HL, LH and HH of a resolution.
fn high_pass<'a, T: Sample>(
    source: Source<'a>,
    resolution: &'a Resolution,
    block: &'a RefCell<Block>,
) -> Result<[SubBand<'a, T>; 3], CodecError> {
    let [right, down, both] = resolution.bands.as_slice() else {
        return Err(CodecError::Damaged);
    };
    Ok([right, down, both].map(|band| SubBand::new(source, band, block)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::image::Codes;
    use crate::model::package::sha256;

    /// One of the files of `tests/data/decode`, 53 columns and 37 rows, without `discard` resolution levels.
    fn decoded(file: &str, bits: u32, discard: u32) -> Frame {
        decode(&codestream(file), &layout(bits), discard, Cancel::NEVER).unwrap()
    }

    fn codestream(file: &str) -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decode");
        let bytes = std::fs::read(folder.join(file)).unwrap();
        // the codestream begins with SOC and SIZ, and ends by itself
        let start = memchr::memmem::find(&bytes, &[0xFF, 0x4F, 0xFF, 0x51]).unwrap();
        bytes[start..].to_vec()
    }

    fn layout(bits: u32) -> Layout {
        Layout {
            rows: 37,
            columns: 53,
            allocated: bits,
            stored: bits,
            shift: 0,
            mask: ((1_u32 << bits) - 1) as u16,
        }
    }

    /// What is counted before is what is taken then.
    #[test]
    fn parts_are_counted_as_they_are_cut() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decode");
        let mut counted = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            if !file.starts_with("jpeg2000-") && !file.starts_with("htj2k-") {
                continue;
            }
            let stream = codestream(&file);
            let Some((_, coding, _)) = codestream::common(&stream).unwrap() else {
                continue;
            };
            let (size, tiles) = codestream::read(&stream).unwrap();
            for tile in &tiles {
                let mut left = usize::MAX;
                layout::resolutions(tile.area, &tile.components[0], size.precision, &mut left).unwrap();
                assert_eq!(layout::parts(tile.area, &coding), usize::MAX - left, "{file}");
            }
            counted += 1;
        }
        assert!(counted > 30, "{counted}");
    }

    #[test]
    fn an_ordinary_image_takes_little_more_than_its_pixels_and_less_when_it_is_halved() {
        // headers are all that is read, so a small file with another size in them stands for a large one
        let pixels = 2500 * 2048;
        let mut stream = codestream("jpeg2000-12u.dcm");
        for (at, value) in [(8, 2500_u32), (12, 2048), (24, 2500), (28, 2048)] {
            stream[at..at + 4].copy_from_slice(&value.to_be_bytes());
        }
        let bytes_a_pixel = |stream: &[u8], halve| memory(stream, pixels, 16, halve) as f64 / pixels as f64;
        let [whole, once, twice] = [0, 1, 2].map(|halve| bytes_a_pixel(&stream, halve));
        assert!((4.0..5.0).contains(&whole), "{whole}");
        assert!((1.0..2.0).contains(&once), "{once}");
        assert!((0.25..1.0).contains(&twice), "{twice}");
        // there is no third level
        assert!((bytes_a_pixel(&stream, 3) - twice).abs() < f64::EPSILON);

        // what a tile says of itself may be anything
        let place = |marker: u8| memchr::memmem::find(&stream, &[0xFF, marker]).unwrap();
        let (coding, tile) = (place(0x52), place(0x90));
        let length = 2 + usize::from(stream[coding + 3]);
        let own = stream[coding..coding + length].to_vec();
        let psot = tile + 6..tile + 10;
        let all = u32::from_be_bytes(stream[psot.clone()].try_into().unwrap()) + length as u32;
        stream[psot].copy_from_slice(&all.to_be_bytes());
        stream.splice(tile + 12..tile + 12, own);
        assert!(codestream::read(&stream).is_ok());
        assert_eq!(memory(&stream, pixels, 16, 2), most_memory(pixels, 1, 16));
    }

    #[test]
    fn lower_resolutions_are_those_of_openjpeg() {
        // with the beginnings of digests of what `opj_decompress -r` writes
        let references = [
            ("jpeg2000-8u.dcm", 8, 1, [19, 27], "1cd511ea468b8b0e"),
            ("jpeg2000-16s.dcm", 16, 2, [10, 14], "c55ba561dd0b5d84"),
            ("jpeg2000-all-styles.dcm", 16, 1, [19, 27], "fba31e9d212024d8"),
            ("jpeg2000-six-levels.dcm", 16, 5, [2, 2], "dc317e56143ba6b9"),
            ("jpeg2000-region.dcm", 16, 2, [10, 14], "9e406770861fa8d5"),
            ("jpeg2000-offsets.dcm", 16, 1, [18, 26], "39cf395298df9414"),
            ("jpeg2000-offsets.dcm", 16, 2, [9, 13], "0b62f9348d045d45"),
            ("jpeg2000-tiles.dcm", 16, 1, [19, 27], "4c2c038544193b9d"),
            ("jpeg2000-tiles.dcm", 16, 2, [10, 14], "4434be7a6dd90a84"),
            ("htj2k-12u.dcm", 16, 1, [19, 27], "945e3a202bae8caa"),
            ("htj2k-12u.dcm", 16, 2, [10, 14], "129d007e07e47585"),
        ];
        for (file, bits, discard, size, digest) in references {
            let frame = decoded(file, bits, discard);
            assert_eq!(
                (frame.halved, [frame.rows, frame.columns]),
                (discard, size),
                "{file}"
            );
            let Codes::Stored { bytes, .. } = frame.codes else {
                panic!("{file}: not as stored");
            };
            assert!(sha256(&bytes).starts_with(digest), "{file} without {discard}");
        }
    }

    /// A stream of 16 bits for 12 stored ones, which lie in its upper bits or in its lower.
    #[test]
    fn a_lower_resolution_keeps_to_the_bits_that_are_stored() {
        let highest = |shift: u32| {
            let bytes = codestream("htj2k-12u.dcm");
            let layout = Layout {
                stored: 12,
                shift,
                mask: 0xFFF,
                ..layout(16)
            };
            let frame = decode(&bytes, &layout, 1, Cancel::NEVER).unwrap();
            let words = frame.codes.words(frame.rows * frame.columns);
            words.into_iter().max().unwrap()
        };
        assert_eq!(highest(0), 0xFFF);
        // as they are in the file, its values fill the lower 12 of the 16 bits, and overshoot a little
        assert!((0xFF..=0x140).contains(&highest(4)), "{}", highest(4));
    }

    #[test]
    fn no_more_levels_are_discarded_than_there_are() {
        assert_eq!(decoded("jpeg2000-12u.dcm", 16, 9).halved, 2);
        let full = decoded("jpeg2000-no-levels.dcm", 16, 3);
        assert_eq!((full.halved, full.rows, full.columns), (0, 37, 53));
        // an odd column by itself is in no lower resolution
        assert_eq!(reduced([7, 0, 8, 64], 3), (0, [7, 0, 8, 64]));
        assert_eq!(reduced([8, 0, 9, 64], 3), (3, [1, 0, 2, 8]));
    }
}

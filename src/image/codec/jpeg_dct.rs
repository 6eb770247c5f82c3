//! JPEG with the DCT and Huffman codes, sequential: baseline and extended (processes 1, 2 and 4 of ITU-T T.81, annex F),
//! for one component of 8 or 12 bits.

use bytes::Bytes;
use pulp::{Arch, Simd, WithSimd};

use super::huffman::{Bits, END_OF_BLOCK, RunTable};
use super::idct::{self, Block};
use super::markers::{EOI, Markers, SOS, frame_header, restart_interval};
use super::segments::Segments;
use super::{Cancel, CodecError};
use crate::pages::Pages;

/// Decodes one frame of `rows` x `columns` into the little-endian bytes of an uncompressed one with `bits` (8 or 16)
/// allocated bits; the stream's own header must agree.
///
/// # Errors
/// [`CodecError::Disagrees`] where the stream has another size or more bits, [`CodecError::Damaged`] where it ends early
/// or is not what T.81 allows, [`CodecError::Colour`] for colour.
pub(super) fn decode(
    stream: &[u8],
    rows: usize,
    columns: usize,
    bits: u32,
    cancel: Cancel<'_>,
) -> Result<Bytes, CodecError> {
    let mut reader = Markers::new(stream)?;
    let mut tables = Tables::default();
    let mut frame = None;
    let mut restart = 0;
    loop {
        let (marker, segment) = reader.next()?;
        match marker {
            DQT => tables.define_steps(segment)?,
            DHT => tables.define_codes(segment)?,
            SOF0 | SOF1 => frame = Some(Frame::read(segment, rows, columns, bits)?),
            DRI => restart = restart_interval(segment)?,
            SOS => {
                let frame = frame.ok_or(CodecError::Damaged)?;
                let scan = Scan::read(segment, frame, &tables)?;
                return scan.decode(reader.rest(), rows, columns, restart, bits, cancel);
            }
            // another process: the transfer syntax promised this one
            0xC2 | 0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF | EOI => return Err(CodecError::Damaged),
            _ => {}
        }
    }
}

const SOF0: u8 = 0xC0;
const SOF1: u8 = 0xC1;
const DHT: u8 = 0xC4;
const DQT: u8 = 0xDB;
const DRI: u8 = 0xDD;

/// The order of the coefficients in the stream (T.81 figure A.6), as places in a [`Block`].
const ZIGZAG: [u8; 64] = zigzag();

const fn zigzag() -> [u8; 64] {
    let mut places = [0; 64];
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut k = 0;
    while k < 64 {
        places[k] = idct::place(row, column);
        let up = (row + column).is_multiple_of(2);
        match (up, row, column) {
            (true, _, 7) => row += 1,
            (true, 0, _) | (false, 7, _) => column += 1,
            (true, ..) => (row, column) = (row - 1, column + 1),
            (false, _, 0) => row += 1,
            (false, ..) => (row, column) = (row + 1, column - 1),
        }
        k += 1;
    }
    places
}

/// What the stream defines before its scan; the last definition counts.
#[derive(Default)]
struct Tables<'a> {
    /// The steps of quantisation in zigzag order.
    steps: [Option<[i32; 64]>; 4],
    /// The DC and the AC codes.
    codes: [[Option<Codes<'a>>; 4]; 2],
}

/// Huffman codes: how many of each length, and their symbols.
type Codes<'a> = (&'a [u8; 16], &'a [u8]);

impl<'a> Tables<'a> {
    /// T.81 section B.2.4.1.
    fn define_steps(&mut self, mut segment: &[u8]) -> Result<(), CodecError> {
        while let Some((class, rest)) = segment.split_first() {
            let place = self
                .steps
                .get_mut(usize::from(class & 15))
                .ok_or(CodecError::Damaged)?;
            let mut steps = [0; 64];
            segment = match class >> 4 {
                0 => {
                    let (bytes, rest) = rest.split_first_chunk::<64>().ok_or(CodecError::Damaged)?;
                    steps = bytes.map(i32::from);
                    rest
                }
                1 => {
                    let (bytes, rest) = rest.split_first_chunk::<128>().ok_or(CodecError::Damaged)?;
                    for (step, pair) in steps.iter_mut().zip(bytes.as_chunks().0) {
                        *step = i32::from(u16::from_be_bytes(*pair));
                    }
                    rest
                }
                _ => return Err(CodecError::Damaged),
            };
            if steps.contains(&0) {
                return Err(CodecError::Damaged);
            }
            *place = Some(steps);
        }
        Ok(())
    }

    /// T.81 section B.2.4.2.
    fn define_codes(&mut self, mut segment: &'a [u8]) -> Result<(), CodecError> {
        while let Some((class, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk().ok_or(CodecError::Damaged)?;
            let total = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(total).ok_or(CodecError::Damaged)?;
            let place = self
                .codes
                .get_mut(usize::from(class >> 4))
                .and_then(|tables| tables.get_mut(usize::from(class & 15)))
                .ok_or(CodecError::Damaged)?;
            *place = Some((counts, symbols));
            segment = rest;
        }
        Ok(())
    }

    fn codes(&self, class: usize, selector: u8) -> Result<Codes<'a>, CodecError> {
        let table = self.codes[class].get(usize::from(selector));
        table.copied().flatten().ok_or(CodecError::Damaged)
    }
}

#[derive(Clone, Copy)]
struct Frame {
    precision: u32,
    component: u8,
    /// Which steps of quantisation.
    steps: u8,
}

impl Frame {
    /// T.81 section B.2.2.
    fn read(segment: &[u8], rows: usize, columns: usize, bits: u32) -> Result<Self, CodecError> {
        let (precision, [component, sampling, steps]) = frame_header(segment, rows, columns, bits)?;
        // the factors themselves do not matter: the blocks of a single component are not interleaved (T.81 section A.2.2)
        let legal = 1..=4;
        if !legal.contains(&(sampling >> 4)) || !legal.contains(&(sampling & 15)) {
            return Err(CodecError::Damaged);
        }
        if precision != 8 && precision != 12 {
            return Err(CodecError::Damaged);
        }
        Ok(Self {
            precision,
            component,
            steps,
        })
    }
}

struct Scan {
    precision: u32,
    dc: RunTable,
    ac: RunTable,
    steps: [i32; 64],
}

impl Scan {
    /// T.81 section B.2.3. The spectral selection and the approximation can have one value only in a sequential process,
    /// and some 12-bit files have wrong ones: they are not looked at.
    fn read(segment: &[u8], frame: Frame, tables: &Tables<'_>) -> Result<Self, CodecError> {
        let [1, component, selector, _, _, _] = *segment else {
            return Err(CodecError::Damaged);
        };
        if component != frame.component {
            return Err(CodecError::Damaged);
        }
        let (counts, categories) = tables.codes(0, selector >> 4)?;
        // as symbols of a run table: no run before a difference
        if categories.iter().any(|category| *category > 15) {
            return Err(CodecError::Damaged);
        }
        let dc = RunTable::new(counts, categories)?;
        let (counts, symbols) = tables.codes(1, selector & 15)?;
        let ac = RunTable::new(counts, symbols)?;
        let steps = tables.steps.get(usize::from(frame.steps));
        let steps = steps.copied().flatten().ok_or(CodecError::Damaged)?;
        Ok(Self {
            precision: frame.precision,
            dc,
            ac,
            steps,
        })
    }

    fn decode(
        &self,
        entropy_coded: &[u8],
        rows: usize,
        columns: usize,
        restart: usize,
        bits: u32,
        cancel: Cancel<'_>,
    ) -> Result<Bytes, CodecError> {
        let blocks = columns.div_ceil(8) * rows.div_ceil(8);
        let width = bits as usize / 8;
        let mut pixels = Pages::zeroed(rows * columns * width);
        Arch::new().dispatch(Image {
            scan: self,
            entropy_coded,
            interval: if restart == 0 { blocks } else { restart },
            pixels: pixels.bytes(),
            columns,
            width,
            cancel,
        })?;
        Ok(pixels.freeze())
    }

    /// The coefficients of one block (T.81 section F.2.2), dequantised. Not 0 if one is larger than in any image.
    #[inline(always)]
    fn block<const PRECISION: u32>(&self, bits: &mut Bits<'_>, dc: &mut i32, block: &mut Block) -> u32 {
        let limit = 1 << (PRECISION + 3);
        let difference = self.dc.coefficient(bits).value;
        *dc = dc.wrapping_add(difference);
        let mut value = dc.wrapping_mul(self.steps[0]);
        let mut wild = value.wrapping_add(limit) as u32;
        block.set(0, value);
        let mut k = 0;
        while k < 63 {
            let coefficient = self.ac.coefficient(bits);
            k += coefficient.advance;
            if k > 63 {
                // past the last one other than by its own code
                wild |= u32::from(k < END_OF_BLOCK) << 31;
                break;
            }
            value = coefficient.value.wrapping_mul(self.steps[k as usize]);
            wild |= value.wrapping_add(limit) as u32;
            block.set(ZIGZAG[k as usize & 63], value);
        }
        wild & !(2 * limit as u32 - 1)
    }
}

/// How many blocks are read before they are turned into pixels: what was written in pieces of 16 bits is not at once there
/// to be read in larger ones, and the one job can start before the other ends.
const BATCH: usize = 16;

/// All blocks of a scan, to be decoded with what instructions the processor has: those of the oldest one are left to what
/// is not inlined, and no attribute makes sure of that for a closure.
struct Image<'a> {
    scan: &'a Scan,
    entropy_coded: &'a [u8],
    /// How many blocks each segment has, but for the last.
    interval: usize,
    pixels: &'a mut [u8],
    columns: usize,
    width: usize,
    cancel: Cancel<'a>,
}

impl WithSimd for Image<'_> {
    type Output = Result<(), CodecError>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Self::Output {
        match (self.scan.precision, self.width) {
            (8, 1) => self.decode::<8, 1>(),
            (8, _) => self.decode::<8, 2>(),
            _ => self.decode::<12, 2>(),
        }
    }
}

impl Image<'_> {
    #[inline(always)]
    fn decode<const PRECISION: u32, const WIDTH: usize>(self) -> Result<(), CodecError> {
        let Self {
            scan,
            columns,
            pixels,
            cancel,
            ..
        } = self;
        let mut segments = Segments::new(self.entropy_coded);
        let mut plain = Vec::new();
        let mut bits = Bits::new(&[]);
        let mut batch: [Block; BATCH] = Default::default();
        let mut interval_left = 0;
        let mut dc = 0;
        let mut wild = 0;
        for lines in pixels.chunks_mut(8 * columns * WIDTH) {
            cancel.check()?;
            for start in (0..columns).step_by(8 * BATCH) {
                let places = (start..columns).step_by(8);
                for (block, _) in batch.iter_mut().zip(places.clone()) {
                    if interval_left == 0 {
                        segments.next(&mut plain)?;
                        bits = Bits::new(&plain);
                        interval_left = self.interval;
                        dc = 0;
                    }
                    wild |= scan.block::<PRECISION>(&mut bits, &mut dc, block);
                    interval_left -= 1;
                    if interval_left == 0 && (bits.overran() || bits.left() > 7) {
                        return Err(CodecError::Damaged);
                    }
                }
                for (block, x) in batch.iter_mut().zip(places) {
                    if PRECISION == 8 {
                        draw::<u8, WIDTH>(&block.bytes(), lines, columns, x);
                    } else {
                        draw::<u16, WIDTH>(&block.words(), lines, columns, x);
                    }
                }
            }
            // no need to go on to the end of the image
            if wild != 0 || bits.overran() {
                return Err(CodecError::Damaged);
            }
        }
        if segments.at_the_end() {
            Ok(())
        } else {
            Err(CodecError::Damaged)
        }
    }
}

/// Puts a block where it belongs in its `lines`, as far as it lies within the image.
#[inline(always)]
fn draw<T: Copy + Into<u16>, const WIDTH: usize>(
    block: &[[T; 8]; 8],
    lines: &mut [u8],
    columns: usize,
    x: usize,
) {
    for (line, values) in lines.chunks_mut(columns * WIDTH).zip(block) {
        let (pixels, _) = line[x * WIDTH..].as_chunks_mut::<WIDTH>();
        let put = |(pixel, value): (&mut [u8; WIDTH], &T)| {
            pixel.copy_from_slice(&(*value).into().to_le_bytes()[..WIDTH]);
        };
        match pixels.first_chunk_mut::<8>() {
            // so many that they are no loop
            Some(eight) => eight.iter_mut().zip(values).for_each(put),
            None => pixels.iter_mut().zip(values).for_each(put),
        }
    }
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;
    use image::{ExtendedColorType, ImageEncoder};

    use super::*;

    #[test]
    fn every_block_lands_in_its_place() {
        // more blocks than a batch in a line, and neither side a multiple of eight
        let (columns, rows) = (8 * BATCH + 61, 29);
        let pixel = |at: usize| (at % columns + at / columns) as u8;
        let pixels: Vec<u8> = (0..rows * columns).map(pixel).collect();
        let mut stream = Vec::new();
        JpegEncoder::new_with_quality(&mut stream, 100)
            .write_image(&pixels, columns as u32, rows as u32, ExtendedColorType::L8)
            .unwrap();

        let bytes = decode(&stream, rows, columns, 8, Cancel::NEVER).unwrap();
        let near = |(found, put): (&u8, &u8)| found.abs_diff(*put) <= 2;
        assert!(bytes.iter().zip(&pixels).all(near));

        let words = decode(&stream, rows, columns, 16, Cancel::NEVER).unwrap();
        assert!(words.iter().step_by(2).eq(&bytes));
        assert!(words.iter().skip(1).step_by(2).all(|high| *high == 0));
    }
}

//! A sub-band's code-blocks become its lines, row by row of them.
//!
//! They are decoded when the wavelet asks for their lines: a row of code-blocks stays in a near cache and its memory serves
//! the next one, where whole sub-bands would be as large as the image.

use std::borrow::Cow;
use std::cell::RefCell;

use super::block::{self, Block, HIGH_THROUGHPUT};
use super::codestream::Component;
use super::layout::{Band, CodeBlock};
use super::wavelet::{Lines, Wavelet};
use super::{Cancel, CodecError, ht};

/// Numbers that code-blocks and transformations are computed in.
pub(super) trait Sample: Wavelet {
    /// From a value twice as large.
    fn dequantised(value: i32, step: f32) -> Self;
    /// To the nearest whole number.
    fn rounded(self) -> i32;
}

impl Sample for i32 {
    #[inline(always)]
    fn dequantised(value: i32, _step: f32) -> Self {
        value / 2
    }

    #[inline(always)]
    fn rounded(self) -> i32 {
        self
    }
}

impl Sample for f32 {
    #[inline(always)]
    fn dequantised(value: i32, step: f32) -> Self {
        value as f32 * (0.5 * step)
    }

    #[inline(always)]
    fn rounded(self) -> i32 {
        self.round_ties_even() as i32
    }
}

/// Where the code-blocks of a component of a tile have their bytes, and how they are coded.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// The packets of the tile.
    pub(super) packets: &'a [u8],
    pub(super) component: &'a Component,
    pub(super) cancel: Cancel<'a>,
}

/// A sub-band on its way to being lines.
pub(super) struct SubBand<'a, T> {
    source: Source<'a>,
    band: &'a Band,
    /// Where code-blocks are decoded; one is enough for all sub-bands.
    block: &'a RefCell<Block>,
    /// The code-blocks that are still to come, from the top.
    waiting: std::vec::IntoIter<&'a CodeBlock>,
    width: usize,
    /// The lines that are there: from, to, and their samples.
    top: usize,
    bottom: usize,
    samples: Vec<T>,
}

impl<'a, T: Sample> SubBand<'a, T> {
    pub(super) fn new(source: Source<'a>, band: &'a Band, block: &'a RefCell<Block>) -> Self {
        let blocks = band.precincts.iter().flat_map(|precinct| &precinct.blocks);
        let mut waiting: Vec<&CodeBlock> = blocks.collect();
        waiting.sort_by_key(|block| block.place[1]);
        Self {
            source,
            band,
            block,
            waiting: waiting.into_iter(),
            width: (band.area[2] - band.area[0]) as usize,
            top: 0,
            bottom: 0,
            samples: Vec::new(),
        }
    }

    /// Decodes the next row of code-blocks, whose heights are the same in all precincts.
    fn advance(&mut self) -> Result<(), CodecError> {
        let first = self.waiting.as_slice().first().ok_or(CodecError::Damaged)?;
        self.top = self.bottom;
        self.bottom = first.place[1] + first.size[1];
        self.samples.clear();
        self.samples
            .resize(self.width * (self.bottom - self.top), T::default());
        let row = self.waiting.as_slice();
        let count = row.partition_point(|block| block.place[1] < self.bottom);
        for block in self.waiting.by_ref().take(count) {
            self.source.cancel.check()?;
            let Some(zero_planes) = block.zero_planes else {
                continue;
            };
            let planes = (self.band.planes + self.source.component.shift).checked_sub(zero_planes);
            let planes = planes
                .filter(|planes| *planes <= MOST_PLANES)
                .ok_or(CodecError::Damaged)?;
            let decoded = &mut *self.block.borrow_mut();
            block_values(self.source, block, (planes, zero_planes), self.band, decoded)?;
            let [width, height] = block.size;
            let values = &mut decoded.values[..width * height];
            if self.source.component.shift > 0 {
                for value in &mut *values {
                    *value = shifted_back(*value, self.source.component.shift);
                }
            }
            let lines = self.samples.chunks_mut(self.width);
            for (values, line) in values.chunks(width).zip(lines) {
                for (sample, value) in line[block.place[0]..].iter_mut().zip(values) {
                    *sample = T::dequantised(*value, self.band.step);
                }
            }
        }
        Ok(())
    }
}

impl<T: Sample> Lines<T> for SubBand<'_, T> {
    fn line(&mut self, y: usize) -> Result<&[T], CodecError> {
        if self.width == 0 {
            return Ok(&[]);
        }
        while y >= self.bottom {
            self.advance()?;
        }
        let start = (y - self.top) * self.width;
        Ok(&self.samples[start..start + self.width])
    }
}

/// The most bit-planes of a code-block: its values, twice as large, then fit into 32 bits.
const MOST_PLANES: u32 = 29;

/// A region of interest's coefficients come down from above the rest (section H.1).
fn shifted_back(value: i32, shift: u32) -> i32 {
    let magnitude = value.unsigned_abs();
    if shift < 31 && magnitude >> shift > 0 {
        (magnitude >> shift) as i32 * value.signum()
    } else {
        value
    }
}

/// Decodes one code-block into `blocks`.
fn block_values(
    source: Source<'_>,
    block: &CodeBlock,
    (planes, zero_planes): (u32, u32),
    band: &Band,
    blocks: &mut Block,
) -> Result<(), CodecError> {
    let size = (block.size[0], block.size[1]);
    let bytes: Vec<Cow<'_, [u8]>> = block
        .segments
        .iter()
        .map(|segment| match segment.pieces.as_slice() {
            [one] => Cow::Borrowed(&source.packets[one.clone()]),
            several => several
                .iter()
                .flat_map(|piece| &source.packets[piece.clone()])
                .copied()
                .collect(),
        })
        .collect();
    let style = source.component.coding.style;
    if style & HIGH_THROUGHPUT != 0 {
        let segments = [0, 1].map(|index| bytes.get(index).map_or(&[][..], |bytes| &**bytes));
        return ht::decode(
            &mut blocks.values,
            size,
            (planes, zero_planes + 2),
            style,
            block.passes,
            segments,
        );
    }
    let passes = block.segments.iter().map(|segment| segment.passes);
    let segments: Vec<block::Segment<'_>> = bytes
        .iter()
        .zip(passes)
        .map(|(bytes, passes)| block::Segment { bytes, passes })
        .collect();
    blocks.decode(size, band.orientation, planes, style, &segments)
}

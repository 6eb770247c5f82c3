//! Embedded block coding (ITU-T T.800 annex D): the coding passes of one code-block.
//!
//! Four samples of a column share a word of flags, which holds all that their contexts depend on: the significance of
//! their eighteen neighbours and themselves (three columns by six rows, row by row), the signs of their column, and
//! what the passes remember. One shift brings a sample's neighbourhood to the lowest nine bits.

use super::CodecError;
use super::contexts::{Orientation, SIGN_CODING, ZERO_CODING};
use super::mq::{Mq, RUN, Raw, States, UNIFORM};

/// The most samples of a code-block (T.800 section A.6.1, table A.18).
pub(super) const MOST_SAMPLES: usize = 4096;

/// Selective arithmetic coding bypass.
const BYPASS: u8 = 1;
/// Reset of context probabilities at each pass.
const RESET: u8 = 2;
/// Termination on each coding pass.
const TERMINATE: u8 = 4;
/// Vertically causal context.
const CAUSAL: u8 = 8;
/// Segmentation symbols.
const SYMBOLS: u8 = 32;
/// The block coder of T.814.
pub(super) const HIGH_THROUGHPUT: u8 = 64;

/// A sample's neighbours in the lowest nine bits of its flags; the middle one is itself.
const NEIGHBOURS: u32 = 0x1EF;
/// Significance of the first of the four samples; those below follow three bits apart, as with all that follow.
const SIGNIFICANT: u32 = 1 << 4;
/// Sign of the sample above the four.
const SIGN_ABOVE: u32 = 1 << 18;
/// Sign of the first of the four samples; that of the one below the four is the fifth.
const SIGN: u32 = 1 << 19;
/// Refined before.
const REFINED: u32 = 1 << 20;
/// Coded in this bit-plane's significance propagation pass.
const VISITED: u32 = 1 << 21;

/// The four samples, each by one bit, three bits apart as in their flags.
const ROWS: u32 = 1 | 1 << 3 | 1 << 6 | 1 << 9;

/// Those of the four samples that are inside, where so many rows are left.
fn rows_inside(left: usize) -> u32 {
    if left < 4 {
        ROWS & ((1 << (3 * left)) - 1)
    } else {
        ROWS
    }
}

/// Those of the four samples that have a significant neighbour.
#[inline(always)]
fn near_significant(flags: u32) -> u32 {
    let beside = flags | flags >> 2;
    let across = beside | flags >> 1;
    (across | beside >> 3 | across >> 6) & ROWS
}

/// Brings the bits of four samples to the lowest ones of four lanes of 16 bits.
#[inline(always)]
fn lanes(rows: u32) -> u64 {
    // the sixteen products are of different bits, so that none carries
    (u64::from(rows) * (1 | 1 << 13 | 1 << 26 | 1 << 39)) & 0x0001_0001_0001_0001
}

/// One codeword segment: its bytes and how many coding passes they hold.
pub(super) struct Segment<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) passes: u32,
}

/// How many passes the next codeword segment may hold, from the style and what came before (T.800 table D.9).
pub(super) fn most_passes(style: u8, pass: u32) -> u32 {
    if style & HIGH_THROUGHPUT != 0 {
        if pass == 0 { 1 } else { 2 }
    } else if style & TERMINATE != 0 {
        1
    } else if style & BYPASS != 0 {
        match pass {
            0..10 => 10 - pass,
            // two raw passes, then a clean-up pass by itself
            _ if pass.is_multiple_of(3) => 1,
            _ => 2 - (pass % 3 - 1),
        }
    } else {
        u32::MAX
    }
}

/// Whether a code-block of this style may have many codeword segments, and not one, or two or three where it is of high throughput.
pub(super) fn has_many_segments(style: u8) -> bool {
    style & HIGH_THROUGHPUT == 0 && style & (TERMINATE | BYPASS) != 0
}

/// The working memory of one code-block at a time.
pub(super) struct Block {
    /// Values, twice as large so that the lowest bit can hold a half (T.800 section E.1.1.2), row by row.
    pub(super) values: Box<[i32; MOST_SAMPLES]>,
    flags: Box<[u32; MOST_SAMPLES]>,
    /// Samples to be refined, each its index and above it its context.
    queue: Box<[u16; MOST_SAMPLES]>,
    width: usize,
    height: usize,
    /// Words of flags in a line: one column more on both sides.
    line: usize,
}

/// Where bits come from in a pass.
trait Source {
    /// A bit in a context of zero coding or refinement.
    fn bit(&mut self, context: usize) -> u32;
    /// The sign of a sample with this index into [`SIGN_CODING`].
    fn sign(&mut self, index: usize) -> u32;
}

impl Source for Mq<'_> {
    #[inline(always)]
    fn bit(&mut self, context: usize) -> u32 {
        self.decide(context)
    }

    #[inline(always)]
    fn sign(&mut self, index: usize) -> u32 {
        let (context, flip) = SIGN_CODING[index & 255];
        self.decide(usize::from(context)) ^ u32::from(flip)
    }
}

impl Source for Raw<'_> {
    #[inline(always)]
    fn bit(&mut self, _context: usize) -> u32 {
        Raw::bit(self)
    }

    #[inline(always)]
    fn sign(&mut self, _index: usize) -> u32 {
        Raw::bit(self)
    }
}

impl Block {
    pub(super) fn new() -> Self {
        Self {
            values: Box::new([0; MOST_SAMPLES]),
            flags: Box::new([0; MOST_SAMPLES]),
            queue: Box::new([0; MOST_SAMPLES]),
            width: 0,
            height: 0,
            line: 0,
        }
    }

    /// Decodes a block of `width` x `height` samples with `planes` magnitude bit-planes into [`Self::values`].
    ///
    /// # Errors
    /// [`CodecError::Damaged`] where there are more passes than bit-planes, or a segmentation symbol is wrong.
    pub(super) fn decode(
        &mut self,
        (width, height): (usize, usize),
        orientation: Orientation,
        planes: u32,
        style: u8,
        segments: &[Segment<'_>],
    ) -> Result<(), CodecError> {
        self.width = width;
        self.height = height;
        self.line = width + 2;
        self.values[..width * height].fill(0);
        let words = self.line * (height.div_ceil(4) + 2);
        self.flags.get_mut(..words).ok_or(CodecError::Damaged)?.fill(0);

        let mut view = View {
            values: &mut self.values,
            flags: &mut self.flags,
            queue: &mut self.queue,
            width,
            height,
            line: self.line,
            zero_coding: &ZERO_CODING[orientation as usize],
            causal: style & CAUSAL != 0,
        };
        let mut states = States::initial();
        // the first pass of a block is a clean-up pass
        let mut pass = 0_u32;
        for segment in segments {
            let raw = style & BYPASS != 0 && pass >= 10 && !pass.is_multiple_of(3);
            let mut mq = Mq::new(segment.bytes, states);
            let mut bits = Raw::new(segment.bytes);
            for _ in 0..segment.passes {
                let plane = planes.checked_sub(pass.div_ceil(3)).filter(|plane| *plane > 0);
                let plane = plane.ok_or(CodecError::Damaged)?;
                match (pass % 3, raw) {
                    (0, _) => {
                        view.clean_up(&mut mq, plane);
                        if style & SYMBOLS != 0 {
                            let symbol = (0..4).fold(0, |symbol, _| symbol << 1 | mq.decide(UNIFORM));
                            if symbol != 0b1010 {
                                return Err(CodecError::Damaged);
                            }
                        }
                    }
                    (1, false) => view.propagate(&mut mq, plane),
                    (1, true) => view.propagate(&mut bits, plane),
                    (_, false) => view.refine(&mut mq, plane),
                    (_, true) => view.refine(&mut bits, plane),
                }
                if style & RESET != 0 {
                    mq.states = States::initial();
                }
                pass += 1;
            }
            if !raw {
                states = mq.states;
            }
        }
        Ok(())
    }
}

/// Does the same for each of a column's samples, so that every shift is a constant.
macro_rules! each_sample {
    ($shift:ident => $body:expr) => {
        each_sample!($shift => $body, 0, 3, 6, 9)
    };
    ($shift:ident => $body:expr, $($number:literal),*) => {
        $({
            let $shift: u32 = $number;
            $body
        })*
    };
}

/// A block's memory, borrowed: what the passes work on.
struct View<'a> {
    values: &'a mut [i32; MOST_SAMPLES],
    flags: &'a mut [u32; MOST_SAMPLES],
    queue: &'a mut [u16; MOST_SAMPLES],
    width: usize,
    height: usize,
    line: usize,
    /// Contexts of zero coding by neighbourhood.
    zero_coding: &'static [u8; 512],
    /// Whether contexts leave out the samples below the four (section D.7).
    causal: bool,
}

/// Four samples, one below the other. Each is named by the shift that brings its neighbourhood to the lowest bits: 0, 3, 6, 9.
struct Column {
    /// Where its flags are.
    at: usize,
    flags: u32,
    /// The index of the first sample's value.
    first: usize,
}

impl View<'_> {
    /// Makes a sample of the column at `at` significant, with this sign, for its neighbours in other columns and stripes.
    /// Gives the flags that its own column gains.
    #[inline(always)]
    fn mark(&mut self, at: usize, shift: u32, sign: u32) -> u32 {
        let line = self.line;
        let flags = &mut *self.flags;
        let mut set = |at: usize, bits: u32| flags[at & (MOST_SAMPLES - 1)] |= bits;
        set(at - 1, SIGNIFICANT << 1 << shift);
        set(at + 1, SIGNIFICANT >> 1 << shift);
        if shift == 0 && !self.causal {
            set(at - line - 1, 1 << 17);
            set(at - line, 1 << 16 | sign << 31);
            set(at - line + 1, 1 << 15);
        }
        if shift == 9 {
            set(at + line - 1, 1 << 2);
            set(at + line, (1 << 1) | (sign * SIGN_ABOVE));
            set(at + line + 1, 1);
        }
        (SIGNIFICANT | (sign * SIGN)) << shift
    }

    #[inline(always)]
    fn flag(&self, at: usize) -> u32 {
        self.flags[at & (MOST_SAMPLES - 1)]
    }

    #[inline(always)]
    fn column(&self, top: usize, x: usize) -> Column {
        let at = self.line * (top / 4 + 1) + 1 + x;
        Column {
            at,
            flags: self.flag(at),
            first: top * self.width + x,
        }
    }

    /// Sign and significance of the four nearest neighbours, as an index into [`SIGN_CODING`].
    #[inline(always)]
    fn signs(&self, column: &Column, shift: u32) -> usize {
        let own = column.flags >> shift;
        // the sign above the first row lies where there is room for it, two bits higher than one above another row
        let signs = if shift == 0 {
            own >> 2 & 1 << 16 | own & 1 << 22
        } else {
            own
        };
        let left = self.flag(column.at - 1) >> 17 >> shift;
        let right = self.flag(column.at + 1) >> 15 >> shift;
        (own & 0b1010_1010 | signs >> 16 & 0b100_0001 | left & 0b100 | right & 0b1_0000) as usize
    }

    /// Decodes the sign of a sample that becomes significant.
    #[inline(always)]
    fn make_significant(&mut self, source: &mut impl Source, column: &mut Column, shift: u32, plane: u32) {
        let sign = source.sign(self.signs(column, shift));
        let value = 3_i32 << plane >> 1;
        // a third of the shift is the row
        let index = column.first + ((shift * 11) >> 5) as usize * self.width;
        self.values[index & (MOST_SAMPLES - 1)] = if sign == 1 { -value } else { value };
        column.flags |= self.mark(column.at, shift, sign);
    }

    /// Decodes whether a sample becomes significant.
    #[inline(always)]
    fn becomes_significant(&self, source: &mut impl Source, column: &Column, shift: u32) -> bool {
        let context = self.zero_coding[(column.flags >> shift & NEIGHBOURS) as usize];
        source.bit(usize::from(context)) == 1
    }

    /// Significance propagation pass (T.800 section D.3.1).
    fn propagate<S: Source + Copy>(&mut self, source: &mut S, plane: u32) {
        let mut bits = *source;
        for top in (0..self.height).step_by(4) {
            let rows = rows_inside(self.height - top);
            for x in 0..self.width {
                let mut column = self.column(top, x);
                let insignificant = !column.flags >> 4 & rows;
                let mut coded = near_significant(column.flags) & insignificant;
                if coded == 0 {
                    continue;
                }
                let mut left = coded;
                while left != 0 {
                    let shift = left.trailing_zeros();
                    left &= left - 1;
                    if self.becomes_significant(&mut bits, &column, shift) {
                        self.make_significant(&mut bits, &mut column, shift, plane);
                        let next = 8 << shift & insignificant;
                        coded |= next;
                        left |= next;
                    }
                }
                self.flags[column.at & (MOST_SAMPLES - 1)] = column.flags | (coded * VISITED);
            }
        }
        *source = bits;
    }

    /// Magnitude refinement pass (T.800 section D.3.3).
    ///
    /// No decision changes which samples are refined, and in which contexts. So those of four rows are listed first, and the
    /// decisions are then made without a branch between them.
    fn refine<S: Source + Copy>(&mut self, source: &mut S, plane: u32) {
        let mut bits = *source;
        let half = 1_i32 << plane >> 1;
        for top in (0..self.height).step_by(4) {
            let start = self.line * (top / 4 + 1) + 1;
            let count = self.list_refined(start);
            let values = &mut self.values[top * self.width..];
            for entry in &self.queue[..count.min(MOST_SAMPLES)] {
                let Some(value) = values.get_mut(usize::from(entry & 0xFFF)) else {
                    break;
                };
                let up = bits.bit(usize::from(14 + (entry >> 12))) as i32;
                let sign = *value >> 31;
                *value += (((2 * up - 1) * half) ^ sign) - sign;
            }
        }
        *source = bits;
    }

    /// Lists the samples to be refined of the four rows whose flags begin at `start`, each with its index in the four rows
    /// and above it its context, counted from the first of refinement. Gives how many there are.
    #[inline(always)]
    fn list_refined(&mut self, start: usize) -> usize {
        let width = self.width as u64;
        let mut count = 0;
        // a lane of 16 bits for each row
        let mut indices = width << 16 | width << 33 | (3 * width) << 48;
        for flags in &mut self.flags[start..start + self.width] {
            let refined = *flags >> 4 & !(*flags >> 21) & ROWS;
            if refined != 0 {
                let again = *flags >> 20 & ROWS;
                let first = near_significant(*flags) & !again;
                let entries = indices | lanes(first) << 12 | lanes(again) << 13;
                each_sample!(shift => {
                    self.queue[count & (MOST_SAMPLES - 1)] = (entries >> (shift * 16 / 3)) as u16;
                    count += (refined >> shift & 1) as usize;
                });
                *flags |= refined * REFINED;
            }
            indices += 0x0001_0001_0001_0001;
        }
        count
    }

    /// Clean-up pass (T.800 section D.3.4).
    fn clean_up(&mut self, source: &mut Mq<'_>, plane: u32) {
        let mut bits = *source;
        for top in (0..self.height).step_by(4) {
            let rows = rows_inside(self.height - top);
            for x in 0..self.width {
                let mut column = self.column(top, x);
                let mut left = !(column.flags >> 4 | column.flags >> 21) & rows;
                if column.flags == 0 && rows == ROWS {
                    // nothing near: one decision for all four
                    if bits.decide(RUN) == 0 {
                        continue;
                    }
                    let shift = 3 * (bits.decide(UNIFORM) << 1 | bits.decide(UNIFORM));
                    self.make_significant(&mut bits, &mut column, shift, plane);
                    left &= ROWS << 3 << shift;
                }
                if left != 0 {
                    each_sample!(shift => {
                        if left >> shift & 1 == 1 && self.becomes_significant(&mut bits, &column, shift) {
                            self.make_significant(&mut bits, &mut column, shift, plane);
                        }
                    });
                }
                self.flags[column.at & (MOST_SAMPLES - 1)] = column.flags & !(ROWS * VISITED);
            }
        }
        *source = bits;
    }
}

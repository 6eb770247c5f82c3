//! Embedded block coding (ITU-T T.800 annex D): the coding passes of one code-block.
//!
//! Four samples of a column share a word of flags, which holds all that their contexts depend on: the significance of
//! their eighteen neighbours and themselves (three columns by six rows, row by row), the signs of their column, and
//! what the passes remember. One shift brings a sample's neighbourhood to the lowest nine bits.

use super::CodecError;
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

/// Which of the sub-bands a block lies in, as far as contexts are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Orientation {
    /// LL and LH: vertically high-pass, or not at all.
    Vertical,
    /// HL.
    Horizontal,
    /// HH.
    Diagonal,
}

/// Contexts of zero coding (T.800 table D.1) by neighbourhood.
static ZERO_CODING: [[u8; 512]; 3] = [zero_coding(0), zero_coding(1), zero_coding(2)];

const fn zero_coding(orientation: usize) -> [u8; 512] {
    let mut contexts = [0; 512];
    let mut index = 0;
    while index < 512 {
        let across = (index >> 3 & 1) + (index >> 5 & 1);
        let down = (index >> 1 & 1) + (index >> 7 & 1);
        let corners = (index & 1) + (index >> 2 & 1) + (index >> 6 & 1) + (index >> 8 & 1);
        let (h, v) = if orientation == 1 {
            (down, across)
        } else {
            (across, down)
        };
        contexts[index] = if orientation == 2 {
            match (corners, across + down) {
                (3.., _) => 8,
                (2, 1..) => 7,
                (2, _) => 6,
                (1, 2..) => 5,
                (1, 1) => 4,
                (1, _) => 3,
                (_, 2..) => 2,
                (_, 1) => 1,
                _ => 0,
            }
        } else {
            match (h, v, corners) {
                (2, _, _) => 8,
                (1, 1.., _) => 7,
                (1, _, 1..) => 6,
                (1, _, _) => 5,
                (_, 2, _) => 4,
                (_, 1, _) => 3,
                (_, _, 2..) => 2,
                (_, _, 1) => 1,
                _ => 0,
            }
        };
        index += 1;
    }
    contexts
}

/// Context and XOR bit of sign coding (T.800 tables D.2 and D.3) by significance and sign of left, right, above, below.
static SIGN_CODING: [(u8, u8); 256] = {
    const fn contribution(first: usize, second: usize) -> i32 {
        const fn one(pair: usize) -> i32 {
            match pair {
                1 => 1,
                3 => -1,
                _ => 0,
            }
        }
        let sum = one(first) + one(second);
        if sum > 1 {
            1
        } else if sum < -1 {
            -1
        } else {
            sum
        }
    }
    let mut table = [(0, 0); 256];
    let mut index = 0;
    while index < 256 {
        let h = contribution(index & 3, index >> 2 & 3);
        let v = contribution(index >> 4 & 3, index >> 6 & 3);
        table[index] = match (h, v) {
            (1, 1) => (13, 0),
            (1, 0) => (12, 0),
            (1, _) => (11, 0),
            (0, 1) => (10, 0),
            (0, 0) => (9, 0),
            (0, _) => (10, 1),
            (_, 1) => (11, 1),
            (_, 0) => (12, 1),
            _ => (13, 1),
        };
        index += 1;
    }
    table
};

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

/// Does the same for each of a column's rows; with four of them, which is almost always, every shift is a constant.
macro_rules! each_row {
    ($rows:expr, $row:ident => $body:expr) => {
        if $rows == 4 {
            {
                let $row = 0_u32;
                $body
            }
            {
                let $row = 1_u32;
                $body
            }
            {
                let $row = 2_u32;
                $body
            }
            {
                let $row = 3_u32;
                $body
            }
        } else {
            for $row in 0..$rows {
                $body
            }
        }
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

impl View<'_> {
    /// Makes sample `row` (0 to 3) of the column at `at` significant, with this sign.
    #[inline(always)]
    fn mark(&mut self, at: usize, row: u32, sign: u32) {
        let line = self.line;
        let flags = &mut *self.flags;
        let mut set = |at: usize, bits: u32| flags[at & (MOST_SAMPLES - 1)] |= bits;
        set(at - 1, SIGNIFICANT << 1 << (3 * row));
        set(at, (SIGNIFICANT | (sign * SIGN)) << (3 * row));
        set(at + 1, SIGNIFICANT >> 1 << (3 * row));
        if row == 0 && !self.causal {
            set(at - line - 1, 1 << 17);
            set(at - line, 1 << 16 | sign << 31);
            set(at - line + 1, 1 << 15);
        }
        if row == 3 {
            set(at + line - 1, 1 << 2);
            set(at + line, (1 << 1) | (sign * SIGN_ABOVE));
            set(at + line + 1, 1);
        }
    }

    #[inline(always)]
    fn flag(&self, at: usize) -> u32 {
        self.flags[at & (MOST_SAMPLES - 1)]
    }

    /// Significance and sign of the four nearest neighbours, as an index into [`SIGN_CODING`].
    #[inline(always)]
    fn signs(&self, at: usize, row: u32) -> usize {
        let flags = self.flag(at);
        let own = flags >> (3 * row);
        let pair = |significant: u32, sign: u32| (significant & 1) | (sign & 1) << 1;
        let left = pair(own >> 3, self.flag(at - 1) >> (19 + 3 * row));
        let right = pair(own >> 5, self.flag(at + 1) >> (19 + 3 * row));
        let sign_above = if row == 0 {
            flags >> 18
        } else {
            flags >> (16 + 3 * row)
        };
        let above = pair(own >> 1, sign_above);
        let below = pair(own >> 7, flags >> (22 + 3 * row));
        (left | right << 2 | above << 4 | below << 6) as usize
    }

    #[inline(always)]
    fn become_significant(
        &mut self,
        source: &mut impl Source,
        at: usize,
        row: u32,
        index: usize,
        plane: u32,
    ) {
        let sign = source.sign(self.signs(at, row));
        let value = 3_i32 << plane >> 1;
        self.values[index & (MOST_SAMPLES - 1)] = if sign == 1 { -value } else { value };
        self.mark(at, row, sign);
    }

    #[inline(always)]
    fn propagate_one(&mut self, bits: &mut impl Source, at: usize, row: u32, first: usize, plane: u32) {
        let near = self.flag(at) >> (3 * row);
        if near & (SIGNIFICANT | VISITED) == 0 && near & NEIGHBOURS != 0 {
            let context = self.zero_coding[(near & NEIGHBOURS) as usize];
            if bits.bit(usize::from(context)) == 1 {
                self.become_significant(bits, at, row, first + row as usize * self.width, plane);
            }
            self.flags[at & (MOST_SAMPLES - 1)] |= VISITED << (3 * row);
        }
    }

    /// Significance propagation pass (T.800 section D.3.1).
    fn propagate<S: Source + Copy>(&mut self, source: &mut S, plane: u32) {
        let mut bits = *source;
        for top in (0..self.height).step_by(4) {
            let rows = (self.height - top).min(4) as u32;
            let start = self.line * (top / 4 + 1) + 1;
            for x in 0..self.width {
                let at = start + x;
                if self.flag(at) == 0 {
                    continue;
                }
                each_row!(rows, row => self.propagate_one(&mut bits, at, row, top * self.width + x, plane));
            }
        }
        *source = bits;
    }

    /// Magnitude refinement pass (T.800 section D.3.3).
    ///
    /// No decision changes which samples are refined, and in which contexts. So those of four rows are listed first, and the
    /// decisions are then made without a branch between them.
    fn refine<S: Source + Copy>(&mut self, source: &mut S, plane: u32) {
        const ALL: u32 = SIGNIFICANT | SIGNIFICANT << 3 | SIGNIFICANT << 6 | SIGNIFICANT << 9;
        let mut bits = *source;
        let half = 1_i32 << plane >> 1;
        for top in (0..self.height).step_by(4) {
            let rows = (self.height - top).min(4) as u32;
            let start = self.line * (top / 4 + 1) + 1;
            let mut count = 0;
            for x in 0..self.width {
                let flags = self.flag(start + x);
                let refined = flags & !(flags >> 17) & ALL;
                if refined == 0 {
                    continue;
                }
                each_row!(rows, row => {
                    let near = flags >> (3 * row);
                    let index = ((top + row as usize) * self.width + x) as u16;
                    let first = 14 + u16::from(near & NEIGHBOURS != 0);
                    let context = if near & REFINED == 0 { first } else { 16 };
                    self.queue[count & (MOST_SAMPLES - 1)] = index | (context - 14) << 12;
                    count += (refined >> (4 + 3 * row) & 1) as usize;
                });
                self.flags[(start + x) & (MOST_SAMPLES - 1)] |= refined << 16;
            }
            for entry in &self.queue[..count.min(MOST_SAMPLES)] {
                let value = &mut self.values[usize::from(*entry) & (MOST_SAMPLES - 1)];
                let up = bits.bit(usize::from(14 + (*entry >> 12))) as i32;
                let sign = *value >> 31;
                *value += (((2 * up - 1) * half) ^ sign) - sign;
            }
        }
        *source = bits;
    }

    /// Clean-up pass (T.800 section D.3.4).
    fn clean_up(&mut self, source: &mut Mq<'_>, plane: u32) {
        const VISITS: u32 = VISITED | VISITED << 3 | VISITED << 6 | VISITED << 9;
        let mut bits = *source;
        for top in (0..self.height).step_by(4) {
            let rows = (self.height - top).min(4) as u32;
            let start = self.line * (top / 4 + 1) + 1;
            for x in 0..self.width {
                let at = start + x;
                let mut first = 0;
                if rows == 4 && self.flag(at) == 0 {
                    // nothing near: one decision for all four
                    if bits.decide(RUN) == 0 {
                        continue;
                    }
                    first = bits.decide(UNIFORM) << 1;
                    first |= bits.decide(UNIFORM);
                    let index = (top + first as usize) * self.width + x;
                    self.become_significant(&mut bits, at, first, index, plane);
                    first += 1;
                }
                each_row!(rows, row => {
                    let near = self.flag(at) >> (3 * row);
                    if row >= first
                        && near & (SIGNIFICANT | VISITED) == 0
                        && bits.decide(usize::from(self.zero_coding[(near & NEIGHBOURS) as usize])) == 1
                    {
                        let index = (top + row as usize) * self.width + x;
                        self.become_significant(&mut bits, at, row, index, plane);
                    }
                });
                self.flags[at & (MOST_SAMPLES - 1)] &= !VISITS;
            }
        }
        *source = bits;
    }
}

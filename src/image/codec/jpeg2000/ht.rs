//! The high-throughput block coder (ITU-T T.814, ISO/IEC 15444-15): a clean-up pass over quads of 2 x 2 samples, then
//! significance propagation and magnitude refinement for one more bit-plane.

use super::CodecError;
use super::block::MOST_SAMPLES;
use super::ht_codes::{FIRST_LINE, OTHER_LINES};

/// Stripe-causal formation of significance.
const CAUSAL: u8 = 8;

/// Bits read forwards, the lowest first; behind a byte 0xFF one stuffed bit is left out (section 7.1.2).
struct Forward<'a> {
    bytes: &'a [u8],
    at: usize,
    window: u64,
    valid: u32,
    after_ff: bool,
    /// What comes behind the end.
    fill: u8,
}

impl<'a> Forward<'a> {
    fn new(bytes: &'a [u8], fill: u8) -> Self {
        Self {
            bytes,
            at: 0,
            window: 0,
            valid: 0,
            after_ff: false,
            fill,
        }
    }

    /// Makes at least 32 bits valid, and gives the next ones.
    #[inline(always)]
    fn look(&mut self) -> u32 {
        while self.valid < 32 {
            if !self.after_ff
                && let Some(four) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<4>)
            {
                let word = u32::from_le_bytes(*four);
                // no byte 0xFF: its complement has no zero byte
                if (!word).wrapping_sub(0x0101_0101) & word & 0x8080_8080 == 0 {
                    self.window |= u64::from(word) << self.valid;
                    self.valid += 32;
                    self.at += 4;
                    break;
                }
            }
            let byte = self.bytes.get(self.at).copied().unwrap_or(self.fill);
            self.at += 1;
            self.window |= u64::from(byte) << self.valid;
            self.valid += 8 - u32::from(self.after_ff);
            self.after_ff = byte == 0xFF;
        }
        self.window as u32
    }

    #[inline(always)]
    fn skip(&mut self, count: u32) {
        self.window >>= count;
        self.valid -= count;
    }

    fn bit(&mut self) -> u32 {
        let bit = self.look() & 1;
        self.skip(1);
        bit
    }
}

/// Bits read backwards; a byte 0x7F before one above 0x8F has a stuffed bit (sections 7.1.3 and 7.1.5).
struct Backward<'a> {
    bytes: &'a [u8],
    window: u64,
    valid: u32,
    after_high: bool,
}

impl<'a> Backward<'a> {
    /// The variable-length codes, which begin with the upper half of the last byte but one.
    fn codes(bytes: &'a [u8]) -> Self {
        let (last, bytes) = bytes
            .split_last()
            .map_or((0, bytes), |(last, rest)| (*last, rest));
        let half = u64::from(last >> 4);
        Self {
            bytes,
            window: half,
            valid: 4 - u32::from(half & 7 == 7),
            after_high: last | 15 > 0x8F,
        }
    }

    fn refinements(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            window: 0,
            valid: 0,
            after_high: true,
        }
    }

    /// Makes at least 32 bits valid, and gives the next ones.
    #[inline(always)]
    fn look(&mut self) -> u32 {
        while self.valid < 32 {
            let byte = match self.bytes.split_last() {
                Some((last, rest)) => {
                    self.bytes = rest;
                    *last
                }
                None => 0,
            };
            self.window |= u64::from(byte) << self.valid;
            self.valid += 8 - u32::from(self.after_high && byte & 0x7F == 0x7F);
            self.after_high = byte > 0x8F;
        }
        self.window as u32
    }

    #[inline(always)]
    fn skip(&mut self, count: u32) {
        self.window >>= count;
        self.valid -= count;
    }
}

/// The adaptive run-length decoder of events (section 7.1.4 and 7.3.3).
struct Events<'a> {
    bytes: &'a [u8],
    at: usize,
    current: u8,
    left: u32,
    state: usize,
    /// Events 0 that come before anything else.
    zeros: u32,
    /// Whether an event 1 follows them.
    one: bool,
}

impl<'a> Events<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            current: 0,
            left: 0,
            state: 0,
            zeros: 0,
            one: false,
        }
    }

    fn bit(&mut self) -> u32 {
        if self.left == 0 {
            self.left = if self.current == 0xFF { 7 } else { 8 };
            self.current = match self.bytes.get(self.at) {
                // the last byte's lower half belongs to the codes
                Some(byte) if self.at + 1 == self.bytes.len() => byte | 15,
                Some(byte) => *byte,
                None => 0xFF,
            };
            self.at += 1;
        }
        self.left -= 1;
        u32::from(self.current >> self.left & 1)
    }

    #[inline(always)]
    fn next(&mut self) -> bool {
        if self.zeros == 0 && !self.one {
            self.refill();
        }
        if self.zeros > 0 {
            self.zeros -= 1;
            return false;
        }
        self.one = false;
        true
    }

    #[inline(never)]
    fn refill(&mut self) {
        /// Table 2 of T.814.
        const EXPONENTS: [u32; 13] = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5];
        let exponent = EXPONENTS[self.state];
        if self.bit() == 1 {
            self.zeros = 1 << exponent;
            self.state = (self.state + 1).min(12);
        } else {
            self.zeros = (0..exponent).fold(0, |zeros, _| zeros << 1 | self.bit());
            self.one = true;
            self.state = self.state.saturating_sub(1);
        }
    }
}

/// Prefix length, suffix length and base of an exponent's offset by its next three bits (table 3 of T.814).
const OFFSETS: [(u32, u32, u32); 8] = [
    (3, 5, 5),
    (1, 0, 1),
    (2, 0, 2),
    (1, 0, 1),
    (3, 1, 3),
    (1, 0, 1),
    (2, 0, 2),
    (1, 0, 1),
];

/// The offsets of two quads, interleaved prefix by prefix and suffix by suffix (section 7.3.6).
#[inline(always)]
fn offsets(
    codes: &mut Backward<'_>,
    coded: [bool; 2],
    first_line: bool,
    events: &mut Events<'_>,
) -> [u32; 2] {
    if coded == [false; 2] {
        return [0; 2];
    }
    let bits = codes.look();
    let (mut window, mut used) = (bits, 0);
    let mut take = |count: u32| {
        let bits = window & ((1 << count) - 1);
        window >>= count;
        used += count;
        bits
    };
    let mut result = [0; 2];
    let both = coded == [true; 2];
    let raised = both && first_line && events.next();
    let (length, suffix, base) = OFFSETS[(bits & 7) as usize];
    if both {
        take(length);
        let rest = bits >> length;
        if first_line && !raised && length > 2 {
            // the second offset is then 1 or 2
            result[1] = take(1) + 1;
            result[0] = base + take(suffix);
        } else {
            let (second_length, second_suffix, second_base) = OFFSETS[(rest & 7) as usize];
            take(second_length);
            result[0] = base + take(suffix);
            result[1] = second_base + take(second_suffix);
            if raised {
                result[0] += 2;
                result[1] += 2;
            }
        }
    } else {
        take(length);
        result[usize::from(coded[1])] = base + take(suffix);
    }
    codes.skip(used);
    result
}

/// Decodes a block of `width` x `height` samples whose clean-up pass is of bit-plane `plane` (from 1), with at most
/// `most_exponent` bits in a sample, into values twice as large.
///
/// # Errors
/// [`CodecError::Damaged`] for what T.814 does not allow.
pub(super) fn decode(
    values: &mut [i32; MOST_SAMPLES],
    (width, height): (usize, usize),
    (plane, most_exponent): (u32, u32),
    style: u8,
    passes: u32,
    [clean_up, refinement]: [&[u8]; 2],
) -> Result<(), CodecError> {
    let samples = values.get_mut(..width * height).ok_or(CodecError::Damaged)?;
    samples.fill(0);
    let &[.., low, high] = clean_up else {
        return Err(CodecError::Damaged);
    };
    let suffix = usize::from(high) << 4 | usize::from(low & 15);
    if suffix < 2 || suffix > clean_up.len() || suffix > 4079 || plane == 0 || plane > 30 {
        return Err(CodecError::Damaged);
    }
    let (magnitudes, rest) = clean_up.split_at(clean_up.len() - suffix);
    let rest = &rest[..suffix - 1];
    let mut events = Events::new(rest);
    let mut codes = Backward::codes(rest);
    let mut magnitudes = Forward::new(magnitudes, 0xFF);
    // exponents of the line above, with one column to the left and three to the right
    let mut above = [0_u8; 1024 + 6];
    let mut below = [0_u8; 1024 + 6];
    for top in (0..height).step_by(2) {
        let mut context = 0_usize;
        let two = top + 1 < height;
        for left in (0..width).step_by(4) {
            let mut quads = [0_u32; 2];
            for (number, quad) in quads.iter_mut().enumerate() {
                let x = left + 2 * number;
                if x >= width {
                    break;
                }
                let window = (codes.look() & 0x7F) as usize;
                let table = if top == 0 {
                    &FIRST_LINE
                } else {
                    context |= usize::from(above[x] | above[x + 1] > 0);
                    context |= usize::from(above[x + 2] | above[x + 3] > 0) << 2;
                    &OTHER_LINES
                };
                if context != 0 || events.next() {
                    *quad = u32::from(table[context << 7 | window]);
                }
                codes.skip(*quad & 7);
                context = if top == 0 {
                    (*quad >> 4 & 1 | *quad >> 5 & 7) as usize
                } else {
                    (*quad >> 5 & 2 | *quad >> 6 & 2) as usize
                };
            }
            let coded = quads.map(|quad| quad & 8 != 0);
            let offsets = offsets(&mut codes, coded, top == 0, &mut events);
            for number in 0..2 {
                let (quad, x) = (quads[number], left + 2 * number);
                if x >= width {
                    break;
                }
                let significant = quad >> 4 & 15;
                let inside = (if x + 1 < width { 15 } else { 3 }) & (if two { 15 } else { 5 });
                if significant & !inside != 0 {
                    return Err(CodecError::Damaged);
                }
                let mut bits = offsets[number] + 1;
                if top > 0 && significant & significant.wrapping_sub(1) != 0 {
                    let near = above[x].max(above[x + 1]).max(above[x + 2]).max(above[x + 3]);
                    bits += u32::from(near).saturating_sub(2);
                }
                if bits > most_exponent.min(30) {
                    return Err(CodecError::Damaged);
                }
                for sample in 0..4 {
                    let (column, row) = (x + sample / 2, top + sample % 2);
                    let mut exponent = 0;
                    if significant >> sample & 1 == 1 {
                        let count = bits - (quad >> (12 + sample) & 1);
                        let window = magnitudes.look();
                        magnitudes.skip(count);
                        let known = quad >> (8 + sample) & 1;
                        let value = window & ((1 << count) - 1) | known << count | 1;
                        let magnitude = (value.wrapping_add(2) << (plane - 1)) as i32 & i32::MAX;
                        samples[row * width + column] = if window & 1 == 1 { -magnitude } else { magnitude };
                        exponent = (32 - value.leading_zeros()) as u8;
                    }
                    if sample % 2 == 1 {
                        below[column + 1] = exponent;
                    }
                }
            }
        }
        std::mem::swap(&mut above, &mut below);
        above[width + 1..width + 4].fill(0);
    }
    if passes > 1 && plane > 1 {
        refine(
            samples,
            (width, height),
            plane,
            style & CAUSAL != 0,
            passes,
            refinement,
        );
    }
    Ok(())
}

/// The passes of the bit-plane below (sections 7.4 and 7.5).
fn refine(
    samples: &mut [i32],
    (width, height): (usize, usize),
    plane: u32,
    causal: bool,
    passes: u32,
    bytes: &[u8],
) {
    let line = width + 2;
    let mut significant = vec![false; line * (height + 2)];
    for y in 0..height {
        for x in 0..width {
            significant[(y + 1) * line + x + 1] = samples[y * width + x] != 0;
        }
    }
    let half = 1_i32 << (plane - 2);
    if passes > 2 {
        let mut bits = Backward::refinements(bytes);
        for top in (0..height).step_by(4) {
            for x in 0..width {
                for y in top..(top + 4).min(height) {
                    let sample = &mut samples[y * width + x];
                    if *sample == 0 {
                        continue;
                    }
                    let mut magnitude = sample.abs();
                    if bits.look() & 1 == 0 {
                        magnitude ^= 1 << (plane - 1);
                    }
                    bits.skip(1);
                    magnitude |= half;
                    *sample = if *sample < 0 { -magnitude } else { magnitude };
                }
            }
        }
    }
    let mut bits = Forward::new(bytes, 0);
    for top in (0..height).step_by(4) {
        let bottom = (top + 4).min(height);
        for left in (0..width).step_by(4) {
            let mut fresh = Vec::with_capacity(16);
            for x in left..(left + 4).min(width) {
                for y in top..bottom {
                    let at = (y + 1) * line + x + 1;
                    if significant[at] {
                        continue;
                    }
                    let mut near = significant[at - 1] || significant[at + 1];
                    near |= significant[at - line - 1..=at - line + 1].contains(&true);
                    if !(causal && y == top + 3) {
                        near |= significant[at + line - 1..=at + line + 1].contains(&true);
                    }
                    if near && bits.bit() == 1 {
                        significant[at] = true;
                        fresh.push(y * width + x);
                    }
                }
            }
            for index in fresh {
                let magnitude = 3 * half;
                samples[index] = if bits.bit() == 1 { -magnitude } else { magnitude };
            }
        }
    }
}

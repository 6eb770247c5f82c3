//! The pixels of a JPEG-LS scan.
//!
//! Each pixel chooses the statistics that the next one is decoded with, so that no two can be decoded at a time, and what
//! counts is how many steps lie on the way from one to the next. As much as can be is therefore done off that way: two of
//! the three gradients for a whole line in advance, the order of the next code as soon as its context changes, and the
//! stuffed bits before everything else.

use bytes::Bytes;
use pulp::{Arch, Simd, WithSimd};

use super::bits::{Bits, Unstuffed, first};
use super::parameters::Parameters;
use super::{Cancel, CodecError};
use crate::pages::Pages;

/// Decodes a scan into little-endian codes of `width` bytes.
pub(super) fn decode(
    parameters: Parameters,
    entropy_coded: &[u8],
    rows: usize,
    columns: usize,
    width: usize,
    cancel: Cancel<'_>,
) -> Result<Bytes, CodecError> {
    let data = Unstuffed::new(entropy_coded);
    let mut pixels = Pages::zeroed(rows * columns * width);
    let mut scan = Scan::new(parameters, &data);
    let lines = Lines {
        scan: &mut scan,
        pixels: pixels.bytes(),
        columns,
        width,
        cancel,
    };
    Arch::new().dispatch(lines)?;
    Ok(pixels.freeze())
}

/// All lines of a scan, to be decoded with what instructions the processor has: those of the oldest one are left to what
/// is not inlined, and no attribute makes sure of that for a closure.
struct Lines<'a, 'b> {
    scan: &'a mut Scan<'b>,
    pixels: &'a mut [u8],
    columns: usize,
    width: usize,
    cancel: Cancel<'a>,
}

impl WithSimd for Lines<'_, '_> {
    type Output = Result<(), CodecError>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Self::Output {
        let Self {
            scan,
            pixels,
            columns,
            width,
            cancel,
        } = self;
        if scan.parameters.exact() {
            scan.lines::<true>(pixels, columns, width, cancel)
        } else {
            scan.lines::<false>(pixels, columns, width, cancel)
        }
    }
}

/// The statistics of a context (T.87 section A.2.1).
#[derive(Clone, Copy)]
struct Context {
    a: i32,
    b: i32,
    n: i32,
    c: i16,
    /// The order of the next code, which follows from A and N.
    k: u8,
}

impl Context {
    fn new(a: i32) -> Self {
        let (n, b, c) = (1, 0, 0);
        let k = order(n, a) as u8;
        Self { a, b, n, c, k }
    }

    /// All ones where the next error is stored as its complement (T.87 section A.5.2): where k is 0 and 2 B at most -N.
    #[inline(always)]
    fn complement(&self) -> i32 {
        ((2 * self.b + self.n - 1) & (i32::from(self.k) - 1)) >> 31
    }

    /// T.87 section A.6, without a branch where one would go this or that way at random.
    #[inline(always)]
    fn update(&mut self, error: i32, step: i32, reset: i32) {
        let Self {
            mut a, mut b, mut n, ..
        } = *self;
        a += error.abs();
        b += error * step;
        if n == reset {
            a >>= 1;
            b >>= 1;
            n >>= 1;
        }
        n += 1;
        // all ones where the errors lean to one side
        let low = (b + n - 1) >> 31;
        let high = -b >> 31;
        b += (n & low) - (n & high);
        let c = (i32::from(self.c) + low - high).clamp(-128, 127);
        *self = Self {
            a,
            b: b.max(1 - n).min(0),
            n,
            c: c as i16,
            k: order(n, a) as u8,
        };
    }
}

/// The smallest k with `n * 2^k >= sum` (T.87 section A.5.1); at most 16, as no error is larger than 2^15.
#[inline(always)]
fn order(n: i32, sum: i32) -> u32 {
    let (n, sum) = (n as u32, sum as u32);
    // they have their highest bits so far apart: that, or one more
    let least = n.leading_zeros().saturating_sub(sum.leading_zeros());
    least + u32::from(n << least < sum)
}

/// The statistics of the ends of runs; B counts the negative errors.
#[derive(Clone, Copy)]
struct RunContext {
    a: i32,
    b: i32,
    n: i32,
}

/// Orders of the run lengths (T.87 section A.2.1, J).
const RUNS: [u32; 32] = [
    0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15,
];

/// From how many zeros on a code may be too long for one window, whatever its order.
const LONG: u32 = Bits::WINDOW - 16;

struct Scan<'a> {
    parameters: Parameters,
    /// From how many zeros on a code of the regular mode has to be looked at more closely.
    long: u32,
    bits: Bits<'a>,
    /// 81 Q1 + 9 Q2 + Q3.
    contexts: [Context; 365],
    ends: [RunContext; 2],
    run: usize,
}

impl<'a> Scan<'a> {
    fn new(parameters: Parameters, data: &'a Unstuffed) -> Self {
        let a = ((parameters.range + 32) / 64).max(2);
        Self {
            long: LONG.min(parameters.limit - parameters.error_bits - 1),
            parameters,
            bits: data.bits(),
            contexts: [Context::new(a); 365],
            ends: [RunContext { a, b: 0, n: 1 }; 2],
            run: 0,
        }
    }

    #[inline(always)]
    fn lines<const EXACT: bool>(
        &mut self,
        pixels: &mut [u8],
        columns: usize,
        width: usize,
        cancel: Cancel<'_>,
    ) -> Result<(), CodecError> {
        // one more to the left, and to the right of what is above
        let mut above = vec![0_u16; columns + 2];
        let mut line = vec![0_u16; columns + 2];
        let mut contexts = vec![0_i16; columns];
        for out in pixels.chunks_exact_mut(columns * width) {
            cancel.check()?;
            above[columns + 1] = above[columns];
            line[0] = above[1];
            self.parameters.begun_contexts(&above, &mut contexts);
            self.line::<EXACT>(&contexts, &above, &mut line)?;
            if width == 1 {
                for (byte, value) in out.iter_mut().zip(&line[1..]) {
                    *byte = *value as u8;
                }
            } else {
                for (word, value) in out.as_chunks_mut().0.iter_mut().zip(&line[1..]) {
                    *word = value.to_le_bytes();
                }
            }
            // no need to go on to the end of the image
            if self.bits.overran() {
                return Err(CodecError::Damaged);
            }
            std::mem::swap(&mut above, &mut line);
        }
        Ok(())
    }

    #[inline(always)]
    fn line<const EXACT: bool>(
        &mut self,
        begun: &[i16],
        above: &[u16],
        line: &mut [u16],
    ) -> Result<(), CodecError> {
        let columns = begun.len();
        let (above, line) = (&above[..=columns], &mut line[..=columns]);
        let mut bits = self.bits;
        let mut a = i32::from(line[0]);
        let mut c = i32::from(above[0]);
        let mut at = 0;
        while at < columns {
            let b = i32::from(above[at + 1]);
            let index = i32::from(begun[at]) + self.parameters.region(c - a);
            if index != 0 {
                a = self.regular::<EXACT>(&mut bits, index, [a, b, c]);
                at += 1;
                line[at] = a as u16;
                c = b;
                continue;
            }
            self.bits = bits;
            let length = self.run_length(columns - at)?;
            line[at + 1..=at + length].fill(a as u16);
            at += length;
            if at < columns {
                at += 1;
                a = self.interruption::<EXACT>(a, i32::from(above[at]));
                line[at] = a as u16;
            }
            c = i32::from(above[at]);
            bits = self.bits;
        }
        self.bits = bits;
        Ok(())
    }

    /// One pixel in the regular mode (T.87 section A.4 to A.6).
    #[inline(always)]
    fn regular<const EXACT: bool>(&mut self, bits: &mut Bits<'a>, index: i32, [a, b, c]: [i32; 3]) -> i32 {
        // the sign of the index is that of its first gradient that is not zero: all ones, or none
        let sign = index >> 31;
        let context = &mut self.contexts[index.unsigned_abs() as usize];
        // the median of the three, which is what the standard's two comparisons choose
        let edge = (a + b - c).max(a.min(b)).min(a.max(b));
        let correction = (i32::from(context.c) ^ sign) - sign;
        let predicted = (edge + correction).max(0).min(self.parameters.highest);

        let k = u32::from(context.k);
        let window = bits.window();
        let zeros = window.leading_zeros();
        let mapped = if zeros < self.long {
            bits.take(zeros + 1 + k);
            (zeros << k) | first(window << zeros << 1, k)
        } else {
            let (behind, value) = golomb(*bits, k, self.parameters.limit, self.parameters.error_bits);
            *bits = behind;
            value
        };
        // no error has more bits: what has is no stream
        let mapped = i32::from(mapped as u16);
        // 0, 1, 2, 3, ... stand for 0, -1, 1, -2, ...
        let mut error = (mapped >> 1) ^ -(mapped & 1);
        if EXACT || self.parameters.near == 0 {
            error ^= context.complement();
        }
        let step = if EXACT { 1 } else { self.parameters.step };
        context.update(error, step, self.parameters.reset);
        self.parameters
            .reconstructed::<EXACT>(predicted, (error ^ sign) - sign)
    }

    /// How many pixels are like the one to the left (T.87 section A.7.1).
    fn run_length(&mut self, room: usize) -> Result<usize, CodecError> {
        let mut length = 0;
        while self.bits.read(1) == 1 {
            let whole = 1 << RUNS[self.run];
            let count = whole.min(room - length);
            length += count;
            // a run that the end of the line cut short does not make the next one longer
            if count == whole {
                self.run = (self.run + 1).min(31);
            }
            if length == room {
                return Ok(length);
            }
        }
        length += self.bits.read(RUNS[self.run]) as usize;
        if length > room {
            return Err(CodecError::Damaged);
        }
        Ok(length)
    }

    /// The pixel that ends a run (T.87 section A.7.2).
    fn interruption<const EXACT: bool>(&mut self, a: i32, b: i32) -> i32 {
        let parameters = &self.parameters;
        let alike = (a - b).abs() <= parameters.near;
        let kind = i32::from(alike);
        let context = &mut self.ends[usize::from(alike)];
        let k = order(context.n, context.a + if alike { context.n >> 1 } else { 0 });
        let limit = parameters.limit - RUNS[self.run] - 1;
        let (bits, mapped) = golomb(self.bits, k, limit, parameters.error_bits);
        self.bits = bits;
        self.run = self.run.saturating_sub(1);

        let mapped = mapped.min(1 << 16) as i32;
        let folded = mapped + kind;
        let odd = folded & 1;
        let size = (folded + odd) >> 1;
        let error = if i32::from(k != 0 || 2 * context.b >= context.n) == odd {
            -size
        } else {
            size
        };
        context.b += i32::from(error < 0);
        context.a += (mapped + 1 - kind) >> 1;
        if context.n == parameters.reset {
            context.a >>= 1;
            context.b >>= 1;
            context.n >>= 1;
        }
        context.n += 1;
        if alike {
            parameters.reconstructed::<EXACT>(a, error)
        } else {
            parameters.reconstructed::<EXACT>(b, error * (b - a).signum())
        }
    }
}

/// A value in the limited Golomb code of order `k` (T.87 section A.5.3), however long.
#[inline(never)]
fn golomb(mut bits: Bits<'_>, k: u32, limit: u32, error_bits: u32) -> (Bits<'_>, u32) {
    let most = limit.saturating_sub(error_bits + 1);
    let mut high = 0;
    loop {
        let zeros = bits.window().leading_zeros().min(Bits::WINDOW - 1);
        if high + zeros >= most {
            // so many zeros, then a one: an escape
            bits.take(most - high + 1);
            let value = bits.read(error_bits) + 1;
            return (bits, value);
        }
        high += zeros;
        bits.take(zeros);
        if zeros < Bits::WINDOW - 1 {
            bits.take(1);
            let value = (high << k) + bits.read(k);
            return (bits, value);
        }
    }
}

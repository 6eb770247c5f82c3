//! JPEG-LS, lossless and near-lossless (ITU-T T.87), for one component of 2 to 16 bits.
//!
//! The names of the standard are kept where it has one letter for a thing: A, B, C and N of a context, the neighbours a
//! (left), b (above), c (above left) and d (above right).

use bytes::Bytes;

use super::CodecError;
use super::markers::{EOI, Markers, SOS, frame_header};
use crate::pages::Pages;

const SOF55: u8 = 0xF7;
const LSE: u8 = 0xF8;
const DRI: u8 = 0xDD;

/// Decodes one frame of `rows` x `columns` into little-endian codes of `bits` (8 or 16) bits, which the stream's own header
/// must agree with.
///
/// # Errors
/// As `jpeg_lossless`; restart intervals and palettes, which no radiograph has, are [`CodecError::Unsupported`].
pub(super) fn decode(stream: &[u8], rows: usize, columns: usize, bits: u32) -> Result<Bytes, CodecError> {
    let mut reader = Markers::new(stream)?;
    let mut precision = None;
    let mut preset = [0; 5];
    loop {
        let (marker, segment) = reader.next()?;
        match marker {
            SOF55 => {
                let (found, _) = frame_header(segment, rows, columns, bits)?;
                if !(2..=16).contains(&found) {
                    return Err(CodecError::Damaged);
                }
                precision = Some(found);
            }
            LSE => {
                let [1, ref numbers @ ..] = *segment else {
                    return Err(CodecError::Unsupported);
                };
                for (number, pair) in preset.iter_mut().zip(numbers.chunks_exact(2)) {
                    *number = i32::from(u16::from_be_bytes([pair[0], pair[1]]));
                }
            }
            DRI => return Err(CodecError::Unsupported),
            SOS => {
                let [1, _, _, near, interleave, _] = *segment else {
                    return Err(CodecError::Damaged);
                };
                if interleave != 0 {
                    return Err(CodecError::Damaged);
                }
                let precision = precision.ok_or(CodecError::Damaged)?;
                let parameters = Parameters::new(precision, i32::from(near), preset)?;
                return Scan::new(parameters, reader.rest()).decode(rows, columns, bits as usize / 8);
            }
            EOI => return Err(CodecError::Damaged),
            _ => {}
        }
    }
}

/// The parameters of a scan (T.87 section A.2.1 and annex C.2.4.1.1).
struct Parameters {
    /// MAXVAL.
    highest: i32,
    near: i32,
    /// 2 NEAR + 1.
    step: i32,
    range: i32,
    /// qbpp.
    error_bits: u32,
    limit: u32,
    /// The region of every gradient from `-highest` to `highest`, -4 to 4 (T.87 section A.3.3).
    regions: Box<[i8]>,
    reset: i32,
}

impl Parameters {
    fn new(precision: u32, near: i32, [highest, t1, t2, t3, reset]: [i32; 5]) -> Result<Self, CodecError> {
        let default = |given: i32, otherwise: i32| if given == 0 { otherwise } else { given };
        let highest = default(highest, (1 << precision) - 1);
        if highest >= 1 << precision || near > (highest / 2).min(255) {
            return Err(CodecError::Damaged);
        }
        let step = 2 * near + 1;
        let range = (highest + 2 * near) / step + 1;
        let bits_of = |count: i32| (count as u32).next_power_of_two().trailing_zeros();
        let sample_bits = bits_of(highest + 1).max(2);

        let clamp = |value: i32, least: i32| {
            if value > highest || value < least {
                least
            } else {
                value
            }
        };
        let basic = if highest >= 128 {
            let factor = (highest.min(4095) + 128) / 256;
            [
                factor + 2 + 3 * near,
                factor * 4 + 3 + 5 * near,
                factor * 17 + 4 + 7 * near,
            ]
        } else {
            let factor = 256 / (highest + 1);
            [
                (3 / factor + 3 * near).max(2),
                (7 / factor + 5 * near).max(3),
                (21 / factor + 7 * near).max(4),
            ]
        };
        let t1 = default(t1, clamp(basic[0], near + 1));
        let t2 = default(t2, clamp(basic[1], t1));
        let t3 = default(t3, clamp(basic[2], t2));
        if !(near < t1 && t1 <= t2 && t2 <= t3 && t3 <= highest.max(t2)) {
            return Err(CodecError::Damaged);
        }
        let region = |gradient: i32| {
            let size = gradient.abs();
            let region = if size <= near {
                0
            } else {
                1 + i8::from(size >= t1) + i8::from(size >= t2) + i8::from(size >= t3)
            };
            if gradient < 0 { -region } else { region }
        };
        Ok(Self {
            highest,
            near,
            step,
            range,
            error_bits: bits_of(range),
            limit: 2 * (sample_bits + sample_bits.max(8)),
            regions: (-highest..=highest).map(region).collect(),
            reset: default(reset, 64).max(3),
        })
    }

    fn region(&self, gradient: i32) -> i32 {
        i32::from(self.regions[(gradient + self.highest) as usize])
    }

    /// A prediction with its error put right, within the range (T.87 section A.4.5 and A.5.3).
    fn reconstructed(&self, predicted: i32, error: i32) -> i32 {
        let span = self.range * self.step;
        let mut value = predicted + error * self.step;
        if value < -self.near {
            value += span;
        } else if value > self.highest + self.near {
            value -= span;
        }
        value.clamp(0, self.highest)
    }
}

/// The statistics of a context (T.87 section A.2.1); for a run's context, B counts the negative errors.
#[derive(Clone, Copy)]
struct Context {
    a: i32,
    b: i32,
    c: i32,
    n: i32,
}

impl Context {
    /// The smallest k with `N * 2^k >= sum` (T.87 section A.5.1).
    fn k(&self, sum: i32) -> u32 {
        if self.n >= sum {
            return 0;
        }
        // N and the sum have their highest bits so far apart: that, or one more
        let least = self.n.leading_zeros() - sum.leading_zeros();
        (least + u32::from(self.n << least < sum)).min(16)
    }

    fn halve(&mut self, reset: i32) {
        if self.n == reset {
            self.a >>= 1;
            self.b >>= 1;
            self.n >>= 1;
        }
        self.n += 1;
    }
}

/// Orders of the run lengths (T.87 section A.2.1, J).
const RUNS: [u32; 32] = [
    0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15,
];

struct Scan<'a> {
    parameters: Parameters,
    bits: Bits<'a>,
    /// 81 Q1 + 9 Q2 + Q3, then the two of a run's end.
    contexts: [Context; 367],
    run: usize,
}

impl<'a> Scan<'a> {
    fn new(parameters: Parameters, entropy_coded: &'a [u8]) -> Self {
        let context = Context {
            a: ((parameters.range + 32) / 64).max(2),
            b: 0,
            c: 0,
            n: 1,
        };
        Self {
            parameters,
            bits: Bits::new(entropy_coded),
            contexts: [context; 367],
            run: 0,
        }
    }

    fn decode(mut self, rows: usize, columns: usize, width: usize) -> Result<Bytes, CodecError> {
        let mut pixels = Pages::zeroed(rows * columns * width);
        // one more to the left, and to the right of what is above
        let mut above = vec![0_i32; columns + 2];
        let mut line = vec![0_i32; columns + 2];
        for out in pixels.bytes().chunks_exact_mut(columns * width) {
            above[columns + 1] = above[columns];
            line[0] = above[1];
            self.line(&above, &mut line, columns)?;
            if width == 1 {
                for (byte, value) in out.iter_mut().zip(&line[1..=columns]) {
                    *byte = *value as u8;
                }
            } else {
                for (word, value) in out.chunks_exact_mut(2).zip(&line[1..=columns]) {
                    word.copy_from_slice(&(*value as u16).to_le_bytes());
                }
            }
            if self.bits.overran() {
                return Err(CodecError::Damaged);
            }
            std::mem::swap(&mut above, &mut line);
        }
        Ok(pixels.freeze())
    }

    fn line(&mut self, above: &[i32], line: &mut [i32], columns: usize) -> Result<(), CodecError> {
        let mut at = 1;
        while at <= columns {
            let (a, b, c, d) = (line[at - 1], above[at], above[at - 1], above[at + 1]);
            let gradients = [d - b, b - c, c - a].map(|gradient| self.parameters.region(gradient));
            let index = 81 * gradients[0] + 9 * gradients[1] + gradients[2];
            if index != 0 {
                line[at] = self.regular(index, a, b, c);
                at += 1;
                continue;
            }
            let length = self.run_length(columns + 1 - at)?;
            line[at..at + length].fill(a);
            at += length;
            if at <= columns {
                line[at] = self.interruption(a, above[at]);
                self.run = self.run.saturating_sub(1);
                at += 1;
            }
        }
        Ok(())
    }

    /// One pixel in the regular mode (T.87 section A.4 to A.6).
    fn regular(&mut self, index: i32, a: i32, b: i32, c: i32) -> i32 {
        // the sign of the index is that of its first gradient that is not zero
        let sign = index.signum();
        let context = &mut self.contexts[index.unsigned_abs() as usize];
        // the median of the three, which is what the standard's two comparisons choose
        let edge = (a + b - c).clamp(a.min(b), a.max(b));
        let predicted = (edge + sign * context.c).clamp(0, self.parameters.highest);

        let k = context.k(context.a);
        let mapped = self
            .bits
            .golomb(k, self.parameters.limit, self.parameters.error_bits);
        // 0, 1, 2, 3, ... stand for 0, -1, 1, -2, ...
        let mut error = (mapped >> 1) ^ -(mapped & 1);
        if k == 0 && self.parameters.near == 0 && 2 * context.b <= -context.n {
            error = -error - 1;
        }

        context.b += error * self.parameters.step;
        context.a += error.abs();
        context.halve(self.parameters.reset);
        if context.b <= -context.n {
            context.b = (context.b + context.n).max(1 - context.n);
            context.c = (context.c - 1).max(-128);
        } else if context.b > 0 {
            context.b = (context.b - context.n).min(0);
            context.c = (context.c + 1).min(127);
        }
        self.parameters.reconstructed(predicted, sign * error)
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
    fn interruption(&mut self, a: i32, b: i32) -> i32 {
        let parameters = &self.parameters;
        let alike = (a - b).abs() <= parameters.near;
        let kind = i32::from(alike);
        let context = &mut self.contexts[365 + usize::from(alike)];
        let k = context.k(context.a + if alike { context.n >> 1 } else { 0 });
        let limit = parameters.limit - RUNS[self.run] - 1;
        let mapped = self.bits.golomb(k, limit, parameters.error_bits);

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
        context.halve(parameters.reset);
        if alike {
            parameters.reconstructed(a, error)
        } else {
            parameters.reconstructed(b, error * (b - a).signum())
        }
    }
}

/// Entropy-coded bits, the highest first; behind a byte 0xFF one stuffed bit is left out (T.87 annex A.1).
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    window: u64,
    valid: u32,
    after_ff: bool,
    /// Bits taken from behind the end.
    missing: usize,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            window: 0,
            valid: 0,
            after_ff: false,
            missing: 0,
        }
    }

    /// Makes at least 56 bits valid.
    #[inline]
    fn refill(&mut self) {
        if self.valid > 48 {
            return;
        }
        if !self.after_ff
            && let Some(eight) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>)
        {
            let word = u64::from_be_bytes(*eight);
            // a byte is 0xFF where its complement is zero
            let inverse = !word;
            if inverse.wrapping_sub(0x0101_0101_0101_0101) & !inverse & 0x8080_8080_8080_8080 == 0 {
                let taken = (63 - self.valid) / 8;
                // no bit behind the valid ones: the byte that they belong to may come again with other neighbours
                let fresh = word >> (64 - 8 * taken) << (64 - 8 * taken);
                self.window |= fresh >> self.valid;
                self.at += taken as usize;
                self.valid += 8 * taken;
                return;
            }
        }
        self.refill_slowly();
    }

    #[cold]
    fn refill_slowly(&mut self) {
        while self.valid <= 56 {
            let byte = match self.bytes.get(self.at) {
                // a marker ends the data, and so does the end
                Some(byte) if !(self.after_ff && *byte >= 0x80) => *byte,
                _ => {
                    self.missing += 8;
                    self.valid += 8;
                    continue;
                }
            };
            let width = if self.after_ff { 7 } else { 8 };
            self.window |= u64::from(byte) << (64 - width - self.valid);
            self.valid += width;
            self.after_ff = byte == 0xFF;
            self.at += 1;
        }
    }

    #[inline]
    fn take(&mut self, count: u32) {
        self.window = self.window.checked_shl(count).unwrap_or(0);
        self.valid -= count;
    }

    /// The next `count` bits, at most 16.
    #[inline]
    fn read(&mut self, count: u32) -> u32 {
        if count == 0 {
            return 0;
        }
        self.refill();
        let value = (self.window >> (64 - count)) as u32;
        self.take(count);
        value
    }

    /// A value in the limited Golomb code of order `k` (T.87 section A.5.3).
    #[inline]
    fn golomb(&mut self, k: u32, limit: u32, error_bits: u32) -> i32 {
        let most = limit.saturating_sub(error_bits + 1);
        let mut high = 0;
        loop {
            self.refill();
            let zeros = self.window.leading_zeros().min(self.valid);
            high += zeros;
            if high >= most {
                // so many zeros, then a one: an escape
                self.take(zeros - (high - most).min(zeros));
                let _one = self.read(1);
                return self.read(error_bits) as i32 + 1;
            }
            if zeros < self.valid {
                self.take(zeros + 1);
                break;
            }
            self.take(zeros);
        }
        (high << k) as i32 + self.read(k) as i32
    }

    /// Whether more bits were taken than there are.
    fn overran(&self) -> bool {
        self.missing > self.valid as usize
    }
}

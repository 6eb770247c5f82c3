//! The MQ arithmetic decoder (ITU-T T.800 annex C), and the raw bits of the selective bypass (section D.6).

use std::hint::select_unpredictable;

/// The context of the run-length mode.
pub(super) const RUN: usize = 17;
/// The uniform context.
pub(super) const UNIFORM: usize = 18;

/// Qe, NMPS, NLPS and SWITCH of the states (T.800 table C.2).
const STATES: [(u16, u8, u8, bool); 47] = [
    (0x5601, 1, 1, true),
    (0x3401, 2, 6, false),
    (0x1801, 3, 9, false),
    (0x0AC1, 4, 12, false),
    (0x0521, 5, 29, false),
    (0x0221, 38, 33, false),
    (0x5601, 7, 6, true),
    (0x5401, 8, 14, false),
    (0x4801, 9, 14, false),
    (0x3801, 10, 14, false),
    (0x3001, 11, 17, false),
    (0x2401, 12, 18, false),
    (0x1C01, 13, 20, false),
    (0x1601, 29, 21, false),
    (0x5601, 15, 14, true),
    (0x5401, 16, 14, false),
    (0x5101, 17, 15, false),
    (0x4801, 18, 16, false),
    (0x3801, 19, 17, false),
    (0x3401, 20, 18, false),
    (0x3001, 21, 19, false),
    (0x2801, 22, 19, false),
    (0x2401, 23, 20, false),
    (0x2201, 24, 21, false),
    (0x1C01, 25, 22, false),
    (0x1801, 26, 23, false),
    (0x1601, 27, 24, false),
    (0x1401, 28, 25, false),
    (0x1201, 29, 26, false),
    (0x1101, 30, 27, false),
    (0x0AC1, 31, 28, false),
    (0x09C1, 32, 29, false),
    (0x08A1, 33, 30, false),
    (0x0521, 34, 31, false),
    (0x0441, 35, 32, false),
    (0x02A1, 36, 33, false),
    (0x0221, 37, 34, false),
    (0x0141, 38, 35, false),
    (0x0111, 39, 36, false),
    (0x0085, 40, 37, false),
    (0x0049, 41, 38, false),
    (0x0025, 42, 39, false),
    (0x0015, 43, 40, false),
    (0x0009, 44, 41, false),
    (0x0005, 45, 42, false),
    (0x0001, 45, 43, false),
    (0x5601, 46, 46, false),
];

/// Qe, the interval and the register of the code are the upper 16 bits of a word; below them are bits to come.
const TOP: u32 = 48;

/// A state together with its more probable symbol, which is the lowest bit of the index: Qe in the upper half of a word,
/// the index in the lower one.
const fn state(index: usize) -> u32 {
    (STATES[index / 2].0 as u32) << 16 | index as u32
}

/// What follows upon a state by its index: the next one after the more probable symbol in the lower half, and after the less
/// probable one in the upper half. As many as an index of seven bits can name, so that none needs to be checked.
static NEXT: [u64; 128] = {
    let mut next = [0; 128];
    let mut index = 0;
    while index < 94 {
        let (_, more, less, switch) = STATES[index / 2];
        let symbol = index % 2;
        let other = if switch { 1 - symbol } else { symbol };
        let (more, less) = (2 * more as usize + symbol, 2 * less as usize + other);
        next[index] = (state(less) as u64) << 32 | state(more) as u64;
        index += 1;
    }
    next
};

/// The states of all contexts.
#[derive(Clone, Copy)]
pub(super) struct States([u32; 32]);

impl States {
    /// The states at the start of a code-block (T.800 table D.7).
    pub(super) const fn initial() -> Self {
        let mut states = [state(0); 32];
        states[0] = state(2 * 4);
        states[RUN] = state(2 * 3);
        states[UNIFORM] = state(2 * 46);
        Self(states)
    }
}

/// A decoder of one codeword segment. Behind its end come ones, as the standard wants (section C.3.4).
///
/// The lower bit-planes of a radiograph are noise: whether a decision is the likely one, and whether the interval has to
/// be renormalised, is chance, and a branch on chance costs more than all that a decision computes. So both ways are
/// computed and one is taken, and the only branch is the one for more bytes, every few dozen bits.
#[derive(Clone, Copy)]
pub(super) struct Mq<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether the byte before `at` was 0xFF.
    stuffed: bool,
    /// The interval.
    a: u64,
    /// The code, as far as it has been read.
    c: u64,
    /// How many of the highest bits of `c` have been read.
    read: u32,
    pub(super) states: States,
}

impl<'a> Mq<'a> {
    /// INITDEC of section C.3.5.
    pub(super) fn new(bytes: &'a [u8], states: States) -> Self {
        let mut decoder = Self {
            bytes,
            at: 0,
            stuffed: false,
            a: 0x8000 << TOP,
            c: 0,
            // the first byte comes below the highest bit
            read: 1,
            states,
        };
        decoder.fill();
        decoder
    }

    /// BYTEIN of section C.3.4, four times.
    #[inline(always)]
    fn fill(&mut self) {
        let four = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<4>);
        let word = four.map_or(u32::MAX, |four| u32::from_be_bytes(*four));
        // no byte 0xFF: its complement has no zero byte
        let plain = (!word).wrapping_sub(0x0101_0101) & word & 0x8080_8080 == 0;
        let (value, count) = if plain && !self.stuffed {
            self.at += 4;
            (u64::from(word), 32)
        } else {
            let (value, count, at, stuffed) = unstuffed(self.bytes, self.at, self.stuffed);
            (self.at, self.stuffed) = (at, stuffed);
            (value, count)
        };
        // the highest bit of a stuffed byte is a carry
        self.c = self.c.wrapping_add(value << (64 - self.read - count));
        self.read += count;
    }

    /// DECODE of section C.3.2: the next decision in a context.
    #[inline(always)]
    pub(super) fn decide(&mut self, context: usize) -> u32 {
        let state = self.states.0[context & 31];
        let next = NEXT[(state & 127) as usize];
        let qe = u64::from(state >> 16) << TOP;
        let upper = self.a - qe;
        let (rest, lower) = self.c.overflowing_sub(qe);
        // the two parts change places where the lower one has become the larger (figures C.16 and C.17)
        let unlikely = lower ^ (upper < qe);
        let part = select_unpredictable(lower, qe, upper);
        let code = select_unpredictable(lower, self.c, rest);
        let next = select_unpredictable(unlikely, (next >> 32) as u32, next as u32);
        let renormalised = part >> 63 == 0;
        self.states.0[context & 31] = select_unpredictable(renormalised, next, state);
        // RENORMD of section C.3.3
        let shift = part.leading_zeros();
        self.a = part << shift;
        self.c = code << shift;
        self.read -= shift;
        if self.read < 64 - TOP {
            self.fill();
        }
        (state & 1) ^ u32::from(unlikely)
    }
}

/// Four bytes of a segment where they are not plain: their bits and how many, and what comes next.
#[inline(never)]
fn unstuffed(bytes: &[u8], mut at: usize, mut stuffed: bool) -> (u64, u32, usize, bool) {
    let (mut value, mut count) = (0, 0);
    for _ in 0..4 {
        let byte = bytes.get(at).copied().unwrap_or(0xFF);
        if stuffed && byte > 0x8F {
            // a marker ends the segment
            value = (value << 8) + 0xFF;
            count += 8;
            continue;
        }
        let bits = 8 - u32::from(stuffed);
        value = (value << bits) + u64::from(byte);
        count += bits;
        stuffed = byte == 0xFF;
        at += 1;
    }
    (value, count, at, stuffed)
}

/// Bits of a segment that bypasses the arithmetic coder; behind a byte 0xFF one stuffed bit is left out.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a> {
    bytes: &'a [u8],
    at: usize,
    current: u32,
    left: u32,
}

impl<'a> Raw<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            current: 0,
            left: 0,
        }
    }

    #[inline]
    pub(super) fn bit(&mut self) -> u32 {
        if self.left == 0 {
            self.left = if self.current == 0xFF { 7 } else { 8 };
            self.current = self.bytes.get(self.at).map_or(0xFF, |byte| u32::from(*byte));
            self.at += 1;
        }
        self.left -= 1;
        self.current >> self.left & 1
    }
}

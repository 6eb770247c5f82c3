//! The MQ arithmetic decoder (ITU-T T.800 annex C), and the raw bits of the selective bypass (section D.6).

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

/// States together with their more probable symbol, which is the lowest bit of the index: Qe in the lower half of a word,
/// the next index after the more probable symbol above it, and after the less probable one on top. As many as an index of
/// seven bits can name, so that none needs to be checked.
static STEPS: [u32; 128] = {
    let mut steps = [0; 128];
    let mut index = 0;
    while index < 94 {
        let (qe, more, less, switch) = STATES[index / 2];
        let symbol = index as u32 % 2;
        let other = if switch { 1 - symbol } else { symbol };
        steps[index] = qe as u32 | (2 * more as u32 + symbol) << 16 | (2 * less as u32 + other) << 24;
        index += 1;
    }
    steps
};

/// The states of all contexts.
#[derive(Clone, Copy)]
pub(super) struct States([u8; 32]);

impl States {
    /// The states at the start of a code-block (T.800 table D.7).
    pub(super) const fn initial() -> Self {
        let mut states = [0; 32];
        states[0] = 2 * 4;
        states[RUN] = 2 * 3;
        states[UNIFORM] = 2 * 46;
        Self(states)
    }
}

/// A decoder of one codeword segment. Behind its end come ones, as the standard wants (section C.3.4).
#[derive(Clone, Copy)]
pub(super) struct Mq<'a> {
    bytes: &'a [u8],
    at: usize,
    a: u32,
    c: u32,
    count: u32,
    pub(super) states: States,
}

impl<'a> Mq<'a> {
    /// INITDEC of section C.3.5.
    pub(super) fn new(bytes: &'a [u8], states: States) -> Self {
        let mut decoder = Self {
            bytes,
            at: 0,
            a: 0x8000,
            c: u32::from(bytes.first().copied().unwrap_or(0xFF)) << 16,
            count: 0,
            states,
        };
        decoder.byte_in();
        decoder.c <<= 7;
        decoder.count -= 7;
        decoder
    }

    #[inline(always)]
    fn byte(&self, at: usize) -> u32 {
        self.bytes.get(at).map_or(0xFF, |byte| u32::from(*byte))
    }

    /// BYTEIN of section C.3.4.
    #[inline(always)]
    fn byte_in(&mut self) {
        let next = self.byte(self.at + 1);
        if self.byte(self.at) == 0xFF {
            if next > 0x8F {
                self.c += 0xFF00;
                self.count = 8;
            } else {
                self.at += 1;
                self.c += next << 9;
                self.count = 7;
            }
        } else {
            self.at += 1;
            self.c += next << 8;
            self.count = 8;
        }
    }

    /// DECODE of section C.3.2: the next decision in a context.
    #[inline(always)]
    pub(super) fn decide(&mut self, context: usize) -> u32 {
        let index = self.states.0[context & 31];
        let step = STEPS[usize::from(index & 127)];
        let qe = step & 0xFFFF;
        self.a -= qe;
        let likely = u32::from(index & 1);
        let lower = self.c >> 16 < qe;
        if !lower {
            self.c -= qe << 16;
            if self.a & 0x8000 != 0 {
                return likely;
            }
        }
        // the two parts change places where the lower one has become the larger (figures C.16 and C.17)
        let unlikely = (self.a < qe) ^ lower;
        if lower {
            self.a = qe;
        }
        self.states.0[context & 31] = if unlikely { step >> 24 } else { step >> 16 & 0xFF } as u8;
        self.renormalise();
        likely ^ u32::from(unlikely)
    }

    /// RENORMD of section C.3.3, as many bits at a time as there are.
    #[inline(always)]
    fn renormalise(&mut self) {
        let mut shift = self.a.leading_zeros() - 16;
        self.a <<= shift;
        loop {
            if self.count == 0 {
                self.byte_in();
            }
            let now = shift.min(self.count);
            self.c <<= now;
            self.count -= now;
            shift -= now;
            if shift == 0 {
                return;
            }
        }
    }
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

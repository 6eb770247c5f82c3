//! The inverse DCT of a block (T.81 section A.3.3), in integers.
//!
//! The standard leaves open how exactly it is computed. This one gives the very pixels of the "accurate integer" method that
//! most decoders use: C. Loeffler, A. Ligtenberg and G. Moschytz, "Practical fast 1-D DCT algorithms with 11
//! multiplications", ICASSP 1989, with constants of 13 bits, columns before rows, and a rounding after each.
//! Sums of integers can be put in any order, so here the flow graph is multiplied out to one factor for each pair of
//! input and output: that suits vector instructions and a block with few coefficients.

use wide::bytemuck::cast;
use wide::{i16x8, i32x4, u8x16};

/// Where a coefficient lies in a [`Block`].
pub(super) const fn place(row: usize, column: usize) -> u8 {
    let pair = row / 4 * 2 + row % 2;
    (pair * 16 + column * 2 + row / 2 % 2) as u8
}

/// The coefficients of one block, in the order in which processors multiply and add pairs: those of the rows 0 and 2,
/// 1 and 3, 4 and 6, 5 and 7 side by side.
#[derive(Default)]
pub(super) struct Block {
    coefficients: [[[i16; 2]; 8]; 4],
    /// The places that were set.
    set: u64,
}

/// The places in the upper left quarter.
const QUARTER: u64 = 0x00FF_00FF;

impl Block {
    #[inline(always)]
    pub(super) fn set(&mut self, place: u8, value: i32) {
        self.coefficients.as_flattened_mut().as_flattened_mut()[usize::from(place & 63)] = value as i16;
        self.set |= 1 << (place & 63);
    }

    /// Turns the block into pixels of 8 bits and leaves it empty.
    #[inline(always)]
    pub(super) fn bytes(&mut self) -> [[u8; 8]; 8] {
        let pixels = if self.set <= 1 {
            [[self.constant::<8>() as u8; 8]; 8]
        } else if self.set & !QUARTER == 0 {
            self.inverse_8::<1>()
        } else {
            self.inverse_8::<2>()
        };
        *self = Self::default();
        pixels
    }

    /// Turns the block into pixels of 12 bits and leaves it empty.
    #[inline(always)]
    pub(super) fn words(&mut self) -> [[u16; 8]; 8] {
        let pixels = if self.set <= 1 {
            [[self.constant::<12>(); 8]; 8]
        } else if self.set & !QUARTER == 0 {
            self.inverse_12::<1>()
        } else {
            self.inverse_12::<2>()
        };
        *self = Self::default();
        pixels
    }

    /// The pixel of a block with no coefficient but the first: rounding twice is the same as once.
    #[inline(always)]
    fn constant<const PRECISION: u32>(&self) -> u16 {
        level::<PRECISION>((i32::from(self.coefficients[0][0][0]) + 4) >> 3)
    }

    /// Of 8 bits: every value between the columns and the rows fits into 16 bits. `PAIRS`: of the even as of the odd rows
    /// and columns, how many pairs may have coefficients.
    #[inline(always)]
    fn inverse_8<const PAIRS: usize>(&self) -> [[u8; 8]; 8] {
        let coefficients: [[i16x8; 2]; 4] = cast(self.coefficients);
        let mut sums = [[i32x4::ZERO; 2]; 8];
        for half in 0..PAIRS {
            for y in 0..4 {
                let mut even = i32x4::splat(1 << 10);
                let mut odd = i32x4::ZERO;
                for i in 0..PAIRS {
                    even += coefficients[2 * i][half].dot(pairs([EVEN[2 * i][y], EVEN[2 * i + 1][y]]));
                    odd += coefficients[2 * i + 1][half].dot(pairs([ODD[2 * i][y], ODD[2 * i + 1][y]]));
                }
                sums[y][half] = (even + odd) >> 11;
                sums[7 - y][half] = (even - odd) >> 11;
            }
        }
        let mut work = [i16x8::ZERO; 8];
        for (line, sums) in work.iter_mut().zip(sums) {
            *line = i16x8::from_i32x8_saturate(cast(sums));
        }
        for line in &mut work {
            let columns: [[i16; 2]; 4] = cast(*line);
            // the level shift (T.81 section A.3.1), and the half that rounds
            let level = i32x4::splat((128 << 18) + (1 << 17));
            let mut sums = [level; 2];
            for i in 0..2 * PAIRS {
                let factors: [i16x8; 2] = cast(ROWS[i]);
                for (sum, factors) in sums.iter_mut().zip(factors) {
                    *sum += pairs(columns[i]).dot(factors);
                }
            }
            *line = i16x8::from_i32x8_saturate(cast(sums.map(|sum| sum >> 18)));
        }
        let [a, b, c, d, e, f, g, h] = work;
        cast([
            u8x16::narrow_i16x8(a, b),
            u8x16::narrow_i16x8(c, d),
            u8x16::narrow_i16x8(e, f),
            u8x16::narrow_i16x8(g, h),
        ])
    }

    #[inline(always)]
    fn inverse_12<const PAIRS: usize>(&self) -> [[u16; 8]; 8] {
        let mut work = [[0_i32; 8]; 8];
        for y in 0..4 {
            let mut even = [1_i32 << 11; 8];
            let mut odd = [0_i32; 8];
            for i in 0..PAIRS {
                for x in 0..8 {
                    even[x] += dot(self.coefficients[2 * i][x], [EVEN[2 * i][y], EVEN[2 * i + 1][y]]);
                    odd[x] += dot(
                        self.coefficients[2 * i + 1][x],
                        [ODD[2 * i][y], ODD[2 * i + 1][y]],
                    );
                }
            }
            for x in 0..8 {
                // what wraps here is no image, and is refused behind it
                work[y][x] = even[x].wrapping_add(odd[x]) >> 12;
                work[7 - y][x] = even[x].wrapping_sub(odd[x]) >> 12;
            }
        }
        let mut pixels = [[0; 8]; 8];
        for (line, pixels) in work.iter().zip(&mut pixels) {
            let mut even = [1_i32 << 16; 4];
            let mut odd = [0_i32; 4];
            for i in 0..2 * PAIRS {
                for x in 0..4 {
                    even[x] = even[x].wrapping_add(line[2 * i].wrapping_mul(i32::from(EVEN[i][x])));
                    odd[x] = odd[x].wrapping_add(line[2 * i + 1].wrapping_mul(i32::from(ODD[i][x])));
                }
            }
            for x in 0..4 {
                pixels[x] = level::<12>(even[x].wrapping_add(odd[x]) >> 17);
                pixels[7 - x] = level::<12>(even[x].wrapping_sub(odd[x]) >> 17);
            }
        }
        pixels
    }
}

/// One pair in all places.
#[inline(always)]
fn pairs(pair: [i16; 2]) -> i16x8 {
    cast([pair; 4])
}

/// One product of [`i16x8::dot`].
#[inline(always)]
fn dot(pair: [i16; 2], factors: [i16; 2]) -> i32 {
    i32::from(pair[0]) * i32::from(factors[0]) + i32::from(pair[1]) * i32::from(factors[1])
}

/// The level shift (T.81 section A.3.1), and no pixel out of range.
#[inline(always)]
fn level<const PRECISION: u32>(value: i32) -> u16 {
    (value + (1 << (PRECISION - 1))).clamp(0, (1 << PRECISION) - 1) as u16
}

/// How much the coefficients 2i and 2i + 1 add to each output.
const ROWS: [[[i16; 2]; 8]; 4] = {
    let mut rows = [[[0; 2]; 8]; 4];
    let mut i = 0;
    while i < 4 {
        let mut x = 0;
        while x < 4 {
            rows[i][x] = [EVEN[i][x], ODD[i][x]];
            rows[i][7 - x] = [EVEN[i][x], -ODD[i][x]];
            x += 1;
        }
        i += 1;
    }
    rows
};

/// How much coefficient 2i adds to the outputs x and 7 - x.
const EVEN: [[i16; 4]; 4] = {
    let one = fixed(1.0);
    // sqrt(2) times c6, c2 - c6 and c2 + c6, where cn = cos(n pi / 16)
    let rotate = fixed(0.541_196_100);
    let low = rotate + fixed(0.765_366_865);
    let high = rotate - fixed(1.847_759_065);
    [
        [one, one, one, one],
        [low, rotate, -rotate, -low],
        [one, -one, -one, one],
        [rotate, high, -high, -rotate],
    ]
};

/// How much coefficient 2i + 1 adds to the output x, and takes from 7 - x.
const ODD: [[i16; 4]; 4] = {
    // sqrt(2) times sums of cosines, by their number in the flow graph
    let all = fixed(1.175_875_602);
    let z1 = fixed(0.899_976_223);
    let z2 = fixed(2.562_915_447);
    let z3 = fixed(1.961_570_560);
    let z4 = fixed(0.390_180_644);
    let (t7, t5) = (fixed(0.298_631_336), fixed(2.053_119_869));
    let (t3, t1) = (fixed(3.072_711_026), fixed(1.501_321_110));
    [
        [t1 - z1 - z4 + all, all, all - z4, all - z1],
        [all, t3 - z2 - z3 + all, all - z2, all - z3],
        [all - z4, all - z2, t5 - z2 - z4 + all, all],
        [all - z1, all - z3, all, t7 - z1 - z3 + all],
    ]
};

/// A factor with 13 bits behind the point.
const fn fixed(factor: f64) -> i16 {
    (factor * 8192.0 + 0.5) as i16
}

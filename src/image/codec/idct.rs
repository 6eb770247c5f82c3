//! The inverse DCT of a block (T.81 section A.3.3), in integers.
//!
//! The standard leaves open how exactly it is computed. This one gives the very pixels of the "accurate integer" method that
//! most decoders use: C. Loeffler, A. Ligtenberg and G. Moschytz, "Practical fast 1-D DCT algorithms with 11
//! multiplications", ICASSP 1989, with constants of 13 bits, columns before rows, and a rounding after each.
//! Sums of integers can be put in any order, so here the flow graph is multiplied out to one factor for each pair of
//! input and output: that suits vector instructions and a block with few coefficients.

/// Where a coefficient lies in a [`Block`].
pub(super) const fn place(row: usize, column: usize) -> u8 {
    (row * 8 + column / 2 + column % 2 * 4) as u8
}

/// The coefficients of one block. In each row the even columns lie before the odd ones.
#[derive(Default)]
pub(super) struct Block {
    coefficients: [[i16; 8]; 8],
    /// The places that were set.
    set: u64,
}

/// The places in the upper left quarter.
const QUARTER: u64 = 0x3333_3333;

impl Block {
    #[inline]
    pub(super) fn set(&mut self, place: u8, value: i32) {
        self.coefficients.as_flattened_mut()[usize::from(place & 63)] = value as i16;
        self.set |= 1 << (place & 63);
    }

    /// Turns the block into pixels and leaves it empty.
    #[inline]
    pub(super) fn pixels<const PRECISION: u32>(&mut self) -> [[u16; 8]; 8] {
        let pixels = if self.set <= 1 {
            // rounding twice is the same as once for a constant
            let level = level::<PRECISION>((i32::from(self.coefficients[0][0]) + 4) >> 3);
            [[level; 8]; 8]
        } else if self.set & !QUARTER == 0 {
            self.inverse::<PRECISION, 2>()
        } else {
            self.inverse::<PRECISION, 4>()
        };
        *self = Self::default();
        pixels
    }

    /// `HALF`: of the even as of the odd rows and columns, how many may have coefficients.
    #[inline]
    fn inverse<const PRECISION: u32, const HALF: usize>(&self) -> [[u16; 8]; 8] {
        // how many bits the columns keep behind the point; with 12 bits there is no place for more
        let kept = if PRECISION == 8 { 2 } else { 1 };
        let mut work = [[0_i32; 8]; 8];
        for y in 0..4 {
            let mut even = [1_i32 << (12 - kept); 8];
            let mut odd = [0_i32; 8];
            for i in 0..HALF {
                for x in 0..8 {
                    even[x] += i32::from(self.coefficients[2 * i][x]) * i32::from(EVEN[i][y]);
                    odd[x] += i32::from(self.coefficients[2 * i + 1][x]) * i32::from(ODD[i][y]);
                }
            }
            for x in 0..8 {
                // what wraps here is no image, and is refused behind it
                work[y][x] = even[x].wrapping_add(odd[x]) >> (13 - kept);
                work[7 - y][x] = even[x].wrapping_sub(odd[x]) >> (13 - kept);
            }
        }
        let shift = 13 + kept + 3;
        let mut pixels = [[0; 8]; 8];
        for (line, pixels) in work.iter().zip(&mut pixels) {
            let mut even = [1_i32 << (shift - 1); 4];
            let mut odd = [0_i32; 4];
            for i in 0..HALF {
                for x in 0..4 {
                    even[x] = even[x].wrapping_add(product::<PRECISION>(line[i], EVEN[i][x]));
                    odd[x] = odd[x].wrapping_add(product::<PRECISION>(line[4 + i], ODD[i][x]));
                }
            }
            for x in 0..4 {
                pixels[x] = level::<PRECISION>(even[x].wrapping_add(odd[x]) >> shift);
                pixels[7 - x] = level::<PRECISION>(even[x].wrapping_sub(odd[x]) >> shift);
            }
        }
        pixels
    }
}

/// Of 8-bit images every intermediate value fits into 16 bits, for which processors have faster instructions.
#[inline]
fn product<const PRECISION: u32>(value: i32, factor: i16) -> i32 {
    let value = if PRECISION == 8 {
        i32::from(value as i16)
    } else {
        value
    };
    value.wrapping_mul(i32::from(factor))
}

/// The level shift (T.81 section A.3.1), and no pixel out of range.
fn level<const PRECISION: u32>(value: i32) -> u16 {
    (value + (1 << (PRECISION - 1))).clamp(0, (1 << PRECISION) - 1) as u16
}

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

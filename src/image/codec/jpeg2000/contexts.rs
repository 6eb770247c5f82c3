//! The contexts of a code-block's decisions (ITU-T T.800 section D.3), looked up by what is significant around a sample.

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
pub(super) static ZERO_CODING: [[u8; 512]; 3] = [zero_coding(0), zero_coding(1), zero_coding(2)];

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

/// Context and XOR bit of sign coding (T.800 tables D.2 and D.3) by sign and significance of above, left, right, below.
pub(super) static SIGN_CODING: [(u8, u8); 256] = {
    const fn contribution(first: usize, second: usize) -> i32 {
        const fn one(pair: usize) -> i32 {
            match pair & 3 {
                2 => 1,
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
        let h = contribution(index >> 2, index >> 4);
        let v = contribution(index, index >> 6);
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

//! Huffman codes of the lossless process: a table that gives a whole difference in one look, and the bits to look at.

use super::CodecError;

/// How many bits one look takes in.
const LOOK: u32 = 13;

/// Bits of a segment without byte stuffing, the highest first. Behind the end there are zeros; [`Self::overran`] tells.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, in the highest places.
    window: u64,
    /// How many bits of `window` are valid.
    valid: u32,
    /// Bits taken from behind the end.
    missing: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            window: 0,
            valid: 0,
            missing: 0,
        }
    }

    /// Makes at least 56 bits valid.
    #[inline]
    fn refill(&mut self) {
        if let Some(eight) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            self.window |= u64::from_be_bytes(*eight) >> self.valid;
            let taken = (63 - self.valid) / 8;
            self.at += taken as usize;
            self.valid += taken * 8;
        } else {
            self.refill_at_the_end();
        }
    }

    #[cold]
    fn refill_at_the_end(&mut self) {
        while self.valid <= 56 {
            match self.bytes.get(self.at) {
                Some(byte) => {
                    self.window |= u64::from(*byte) << (56 - self.valid);
                    self.at += 1;
                }
                None => self.missing += 8,
            }
            self.valid += 8;
        }
    }

    #[inline]
    fn take(&mut self, count: u32) {
        self.window <<= count;
        self.valid -= count;
    }

    /// Whether more bits were taken than there are.
    pub(super) fn overran(&self) -> bool {
        self.missing > self.valid as usize
    }
}

/// A Huffman table (T.81 annex C and section F.2.2.3) over the categories 0 to 16 of differences.
pub(super) struct Table {
    /// For the next `LOOK` bits: the bits of code and difference together, or 0 where they are more; the difference.
    looks: Box<[(u8, i16); 1 << LOOK]>,
    /// The highest code of each length, left-aligned in 16 bits, as an exclusive bound.
    bounds: [u32; 17],
    /// What to add to a code of each length to get the index of its category.
    offsets: [i32; 17],
    categories: Vec<u8>,
}

impl Table {
    /// Builds the table from the number of codes of each length 1 to 16 and their categories.
    pub(super) fn new(counts: &[u8; 16], categories: &[u8]) -> Result<Self, CodecError> {
        let mut bounds = [0_u32; 17];
        let mut offsets = [0_i32; 17];
        let mut code = 0_u32;
        let mut index = 0_usize;
        for length in 1..=16 {
            let count = u32::from(counts[length - 1]);
            offsets[length] = index as i32 - code as i32;
            code += count;
            index += count as usize;
            if code > 1 << length {
                return Err(CodecError::Damaged);
            }
            bounds[length] = code << (16 - length);
            code <<= 1;
        }
        if categories.is_empty() || categories.iter().any(|category| *category > 16) {
            return Err(CodecError::Damaged);
        }
        let mut table = Self {
            looks: vec![(0, 0); 1 << LOOK]
                .into_boxed_slice()
                .try_into()
                .map_err(|_| CodecError::Damaged)?,
            bounds,
            offsets,
            categories: categories.to_vec(),
        };
        for look in 0..1_u32 << LOOK {
            let window = u64::from(look) << (64 - LOOK);
            if let Some((length, category)) = table.category(window)
                && length + u32::from(category) <= LOOK
            {
                let difference = extend(window << length, category);
                table.looks[look as usize] = ((length + u32::from(category)) as u8, difference as i16);
            }
        }
        Ok(table)
    }

    /// Length and category of the code at the top of `window`, if it is one.
    fn category(&self, window: u64) -> Option<(u32, u8)> {
        let top = (window >> 48) as u32;
        let length = (1..=16).find(|length| top < self.bounds[*length])?;
        let index = (top >> (16 - length)) as i32 + self.offsets[length];
        let category = self.categories.get(usize::try_from(index).ok()?)?;
        Some((length as u32, *category))
    }

    /// The next difference, modulo 2^16 (T.81 section H.1.2.2). What is no code counts as bits behind the end.
    #[inline]
    pub(super) fn difference(&self, bits: &mut Bits<'_>) -> u16 {
        bits.refill();
        let (length, difference) = self.looks[(bits.window >> (64 - LOOK)) as usize];
        if length > 0 {
            bits.take(u32::from(length));
            return difference as u16;
        }
        self.long_difference(bits)
    }

    #[cold]
    fn long_difference(&self, bits: &mut Bits<'_>) -> u16 {
        let Some((length, category)) = self.category(bits.window) else {
            bits.missing = usize::MAX / 2;
            return 0;
        };
        bits.take(length);
        if category == 16 {
            return 1 << 15;
        }
        let difference = extend(bits.window, category);
        bits.take(u32::from(category));
        difference as u16
    }
}

/// The difference of a category from the bits at the top of `window` (T.81 section F.2.2.1, `EXTEND`).
fn extend(window: u64, category: u8) -> i32 {
    match category {
        0 => 0,
        16 => 1 << 15,
        _ => {
            let value = (window >> (64 - u32::from(category))) as i32;
            if value < 1 << (category - 1) {
                value - (1 << category) + 1
            } else {
                value
            }
        }
    }
}

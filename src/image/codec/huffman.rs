//! Huffman codes: tables that give a whole difference or coefficient in one look, and the bits to look at.

use super::CodecError;

/// How many bits one look of a [`Table`] takes in.
const LOOK: u32 = 13;

/// Bits of a segment without byte stuffing, the highest first. Behind the end there are zeros; [`Self::overran`] tells.
///
/// What is seldom called takes and gives them as a value: what has an address does not stay in registers.
#[derive(Clone, Copy)]
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
    #[inline(always)]
    fn refill(&mut self) {
        if let Some(eight) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            self.window |= u64::from_be_bytes(*eight) >> self.valid;
            self.at += (63 - self.valid) as usize / 8;
            // as many whole bytes as there is room for
            self.valid |= 0b11_1000;
        } else {
            *self = self.refilled_at_the_end();
        }
    }

    #[cold]
    #[inline(never)]
    fn refilled_at_the_end(mut self) -> Self {
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
        self
    }

    #[inline(always)]
    fn take(&mut self, count: u32) {
        self.window <<= count;
        self.valid -= count;
    }

    /// What follows cannot be read: counts as bits behind the end.
    #[cold]
    fn give_up(&mut self) {
        self.missing = usize::MAX / 2;
    }

    /// Whether more bits were taken than there are.
    pub(super) fn overran(&self) -> bool {
        self.missing > self.valid as usize
    }

    /// How many bits were not taken.
    pub(super) fn left(&self) -> usize {
        let unread = self.bytes.len().saturating_sub(self.at) * 8;
        (unread + self.valid as usize).saturating_sub(self.missing)
    }
}

/// Huffman codes as they are defined in a stream (T.81 annex C): how many there are of each length, and their symbols.
struct Codes {
    /// The highest code of each length, left-aligned in 16 bits, as an exclusive bound.
    bounds: [u32; 17],
    /// What to add to a code of each length to get the index of its symbol.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Codes {
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, CodecError> {
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
        if symbols.is_empty() {
            return Err(CodecError::Damaged);
        }
        Ok(Self {
            bounds,
            offsets,
            symbols: symbols.to_vec(),
        })
    }

    /// Length and symbol of the code at the top of `window`, if it is one (T.81 section F.2.2.3, `DECODE`).
    fn symbol(&self, window: u64) -> Option<(u32, u8)> {
        let top = (window >> 48) as u32;
        let length = (1..=16).find(|length| top < self.bounds[*length])?;
        let index = (top >> (16 - length)) as i32 + self.offsets[length];
        let symbol = self.symbols.get(usize::try_from(index).ok()?)?;
        Some((length as u32, *symbol))
    }
}

/// The Huffman table of a lossless process, over the categories 0 to 16 of differences.
pub(super) struct Table {
    /// For the next `LOOK` bits: the bits of code and difference together, or 0 where they are more; the difference.
    looks: Box<[(u8, i16); 1 << LOOK]>,
    codes: Codes,
}

impl Table {
    /// Builds the table from the number of codes of each length 1 to 16 and their categories.
    pub(super) fn new(counts: &[u8; 16], categories: &[u8]) -> Result<Self, CodecError> {
        if categories.iter().any(|category| *category > 16) {
            return Err(CodecError::Damaged);
        }
        let mut table = Self {
            looks: vec![(0, 0); 1 << LOOK]
                .into_boxed_slice()
                .try_into()
                .map_err(|_| CodecError::Damaged)?,
            codes: Codes::new(counts, categories)?,
        };
        for look in 0..1_u32 << LOOK {
            let window = u64::from(look) << (64 - LOOK);
            if let Some((length, category)) = table.codes.symbol(window)
                && length + u32::from(category) <= LOOK
            {
                let difference = extend(window << length, category);
                table.looks[look as usize] = ((length + u32::from(category)) as u8, difference as i16);
            }
        }
        Ok(table)
    }

    /// The next difference, modulo 2^16 (T.81 section H.1.2.2). What is no code counts as bits behind the end.
    #[inline(always)]
    pub(super) fn difference(&self, bits: &mut Bits<'_>) -> u16 {
        bits.refill();
        let (length, difference) = self.looks[(bits.window >> (64 - LOOK)) as usize];
        if length > 0 {
            bits.take(u32::from(length));
            return difference as u16;
        }
        let (behind, difference) = self.long_difference(*bits);
        *bits = behind;
        difference
    }

    #[cold]
    fn long_difference<'a>(&self, mut bits: Bits<'a>) -> (Bits<'a>, u16) {
        let Some((length, category)) = self.codes.symbol(bits.window) else {
            bits.give_up();
            return (bits, 0);
        };
        bits.take(length);
        if category == 16 {
            return (bits, 1 << 15);
        }
        let difference = extend(bits.window, category);
        bits.take(u32::from(category));
        (bits, difference as u16)
    }
}

/// What one code of the DCT processes stands for.
#[derive(Clone, Copy)]
pub(super) struct Coefficient {
    /// How far it lies behind the last one in zigzag order: the zeros between them, and one.
    pub(super) advance: u32,
    /// Before dequantisation.
    pub(super) value: i32,
}

/// The advance of the code for "only zeros from here on": so far that no other code can reach it from within a block.
pub(super) const END_OF_BLOCK: u32 = 128;

/// How many bits one look of a [`RunTable`] takes in.
const RUN_LOOK: u32 = 11;

/// One look into a [`RunTable`], packed: bits taken, advance, value.
#[derive(Clone, Copy)]
struct Look {
    /// Code and value together; of the code alone, plus [`Look::CODE_ONLY`], where the value needs more than a look;
    /// 0 where the code does.
    bits: u8,
    advance: u8,
    /// The value, or how many bits it has.
    value: i16,
}

impl Look {
    const CODE_ONLY: u8 = 0x80;
    const NONE: Self = Self {
        bits: 0,
        advance: 0,
        value: 0,
    };
}

/// The Huffman table of a sequential DCT process, over runs of zeros and the categories of the coefficient behind them
/// (T.81 section F.1.2.2.1).
pub(super) struct RunTable {
    looks: Box<[Look; 1 << RUN_LOOK]>,
    codes: Codes,
}

impl RunTable {
    /// Builds the table from the number of codes of each length 1 to 16 and their symbols.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, CodecError> {
        let codes = Codes::new(counts, symbols)?;
        let mut looks: Box<[Look; 1 << RUN_LOOK]> = vec![Look::NONE; 1 << RUN_LOOK]
            .into_boxed_slice()
            .try_into()
            .map_err(|_| CodecError::Damaged)?;
        Self::fill(&codes, &mut looks);
        Ok(Self { looks, codes })
    }

    fn fill(codes: &Codes, looks: &mut [Look; 1 << RUN_LOOK]) {
        for (place, look) in looks.iter_mut().enumerate() {
            let window = (place as u64) << (64 - RUN_LOOK);
            let Some((length, symbol)) = codes.symbol(window).filter(|(length, _)| *length <= RUN_LOOK)
            else {
                continue;
            };
            let Some((advance, category)) = run(symbol) else {
                continue;
            };
            let whole = length + u32::from(category);
            *look = if whole <= RUN_LOOK {
                Look {
                    bits: whole as u8,
                    advance: advance as u8,
                    value: extend(window << length, category) as i16,
                }
            } else {
                Look {
                    bits: length as u8 | Look::CODE_ONLY,
                    advance: advance as u8,
                    value: i16::from(category),
                }
            };
        }
    }

    /// The next coefficient that is not zero. What is no code ends the block and counts as bits behind the end.
    #[inline(always)]
    pub(super) fn coefficient(&self, bits: &mut Bits<'_>) -> Coefficient {
        bits.refill();
        let look = self.looks[(bits.window >> (64 - RUN_LOOK)) as usize];
        // neither 0 nor CODE_ONLY
        if look.bits.wrapping_sub(1) < Look::CODE_ONLY {
            bits.take(u32::from(look.bits));
            return Coefficient {
                advance: u32::from(look.advance),
                value: i32::from(look.value),
            };
        }
        let (behind, coefficient) = self.long_coefficient(*bits, look);
        *bits = behind;
        coefficient
    }

    #[inline(never)]
    fn long_coefficient<'a>(&self, mut bits: Bits<'a>, look: Look) -> (Bits<'a>, Coefficient) {
        let (length, advance, category) = if look.bits == 0 {
            let found = self.codes.symbol(bits.window);
            let Some((length, (advance, category))) =
                found.and_then(|(length, symbol)| Some((length, run(symbol)?)))
            else {
                bits.give_up();
                let coefficient = Coefficient {
                    advance: END_OF_BLOCK,
                    value: 0,
                };
                return (bits, coefficient);
            };
            (length, advance, category)
        } else {
            let length = u32::from(look.bits ^ Look::CODE_ONLY);
            (length, u32::from(look.advance), look.value as u8)
        };
        bits.take(length);
        let value = extend(bits.window, category);
        bits.take(u32::from(category));
        (bits, Coefficient { advance, value })
    }
}

/// Advance and category of a symbol (T.81 figures F.1 and F.2), if it is one of a sequential process.
fn run(symbol: u8) -> Option<(u32, u8)> {
    match (symbol >> 4, symbol & 15) {
        (0, 0) => Some((END_OF_BLOCK, 0)),
        // sixteen zeros
        (15, 0) => Some((16, 0)),
        (_, 0) => None,
        (zeros, category) => Some((u32::from(zeros) + 1, category)),
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

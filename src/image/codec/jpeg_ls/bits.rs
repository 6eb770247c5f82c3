//! The bits of a JPEG-LS scan, freed of the stuffed ones (T.87 annex A.1): one behind every byte 0xFF.

/// The entropy-coded data before the next marker, or the end, in one piece.
pub(super) struct Unstuffed {
    /// With zeros behind the end.
    bytes: Vec<u8>,
    /// How many bits there are.
    length: usize,
}

impl Unstuffed {
    pub(super) fn new(entropy_coded: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(entropy_coded.len() + 1 + size_of::<u64>());
        // the last byte, and how many of its bits wait for a byte to be filled
        let (mut last, mut waiting) = (0, 0);
        let mut rest = entropy_coded;
        loop {
            let end = memchr::memchr(0xFF, rest).map_or(rest.len(), |at| at + 1);
            let (piece, behind) = rest.split_at(end);
            if let Some(first) = piece.first() {
                bytes.push(joined(last, *first, waiting));
                bytes.extend(piece.windows(2).map(|pair| joined(pair[0], pair[1], waiting)));
            }
            last = piece.last().copied().unwrap_or(last);
            match behind.split_first() {
                // its highest bit is left out: of a marker it would be a one
                Some((next @ 0..=0x7F, behind)) => {
                    if waiting == 0 {
                        waiting = 7;
                    } else {
                        bytes.push(joined(last, next << 1, waiting));
                        waiting -= 1;
                    }
                    last = *next;
                    rest = behind;
                }
                _ => break,
            }
        }
        let length = bytes.len() * 8 + waiting;
        bytes.push(joined(last, 0, waiting));
        bytes.extend([0; size_of::<u64>()]);
        Self { bytes, length }
    }

    pub(super) fn bits(&self) -> Bits<'_> {
        Bits { data: self, at: 0 }
    }
}

/// The last `waiting` bits of one byte, and the first ones of the next.
fn joined(last: u8, next: u8, waiting: usize) -> u8 {
    (u16::from_be_bytes([last, next]) >> waiting) as u8
}

/// A place in the bits. Behind the end there are zeros; [`Self::overran`] tells.
#[derive(Clone, Copy)]
pub(super) struct Bits<'a> {
    data: &'a Unstuffed,
    at: usize,
}

impl Bits<'_> {
    /// How many bits of [`Self::window`] are good for use.
    pub(super) const WINDOW: u32 = 57;

    /// The next bits, in the highest places.
    #[inline(always)]
    pub(super) fn window(&self) -> u64 {
        let byte = self.at / 8;
        let eight = self.data.bytes.get(byte..byte + 8);
        let word = eight
            .and_then(<[u8]>::first_chunk)
            .map_or(0, |eight| u64::from_be_bytes(*eight));
        word << (self.at % 8)
    }

    #[inline(always)]
    pub(super) fn take(&mut self, count: u32) {
        self.at += count as usize;
    }

    /// The next `count` bits, at most 16.
    #[inline(always)]
    pub(super) fn read(&mut self, count: u32) -> u32 {
        let value = first(self.window(), count);
        self.take(count);
        value
    }

    /// Whether more bits were taken than there are.
    pub(super) fn overran(&self) -> bool {
        self.at > self.data.length
    }
}

/// The first `count` bits of a window, at most 32.
#[inline(always)]
pub(super) fn first(window: u64, count: u32) -> u32 {
    (window >> 1 >> (63 - count)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit, as the standard says it.
    fn slowly(entropy_coded: &[u8]) -> (Vec<u8>, usize) {
        let mut bits = Vec::new();
        let mut after_ff = false;
        for byte in entropy_coded {
            if after_ff && *byte >= 0x80 {
                break;
            }
            bits.extend((0..8 - u32::from(after_ff)).rev().map(|at| byte >> at & 1));
            after_ff = *byte == 0xFF;
        }
        let byte = |bits: &[u8]| (0..8).fold(0, |byte, at| byte << 1 | bits.get(at).unwrap_or(&0));
        (bits.chunks(8).map(byte).collect(), bits.len())
    }

    #[test]
    fn leaves_out_one_bit_behind_every_ff_up_to_a_marker() {
        let mut state = 1_u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        for length in 0..200 {
            let mut stream = vec![0; length];
            let mut last = 0;
            for byte in &mut stream {
                let ff = random() < 90;
                *byte = if ff && last != 0xFF {
                    0xFF
                } else {
                    random() & if last == 0xFF { 0x7F } else { 0xFF }
                };
                last = *byte;
            }
            if length > 150 {
                stream[140] = 0xFF;
                stream[141] = 0xD9;
            }
            let found = Unstuffed::new(&stream);
            let (bytes, length) = slowly(&stream);
            assert_eq!(found.length, length, "{stream:02X?}");
            assert_eq!(found.bytes[..bytes.len()], bytes, "{stream:02X?}");
        }
    }
}

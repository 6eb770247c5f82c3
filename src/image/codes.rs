//! The bit patterns of one frame, read line by line.

use bytes::Bytes;

/// The bit patterns of one frame, row-major. Uncompressed pixels stay in the bytes that arrived: a radiograph has ten
/// megabytes of them, and every copy costs more than what is computed with it.
#[derive(Clone, Debug, PartialEq)]
pub enum Codes {
    /// Little-endian, as the file holds them.
    Stored {
        /// At least one byte, or two, for every pixel.
        bytes: Bytes,
        /// Bits Allocated (0028,0100) is 8, otherwise 16.
        single: bool,
        /// How far High Bit lies above the highest of the stored bits.
        shift: u32,
        /// The stored bits, after the shift.
        mask: u16,
    },
    /// Decompressed or computed.
    Words(Vec<u16>),
}

impl Codes {
    /// Fills `line` with the codes from index `start` on; what lies beyond the end stays as it was.
    pub fn read(&self, start: usize, line: &mut [u16]) {
        match self {
            Self::Words(words) => {
                for (code, word) in line.iter_mut().zip(words.get(start..).unwrap_or_default()) {
                    *code = *word;
                }
            }
            Self::Stored {
                bytes,
                single: true,
                shift,
                mask,
            } => {
                for (code, byte) in line.iter_mut().zip(bytes.get(start..).unwrap_or_default()) {
                    *code = (u16::from(*byte) >> shift) & mask;
                }
            }
            Self::Stored {
                bytes,
                single: false,
                shift,
                mask,
            } => {
                let pairs = bytes.get(2 * start..).unwrap_or_default().chunks_exact(2);
                for (code, pair) in line.iter_mut().zip(pairs) {
                    *code = (u16::from_le_bytes([pair[0], pair[1]]) >> shift) & mask;
                }
            }
        }
    }

    /// The first `count` codes.
    #[must_use]
    pub fn words(&self, count: usize) -> Vec<u16> {
        let mut words = vec![0; count];
        self.read(0, &mut words);
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_bytes_and_words_from_any_place() {
        let bytes = Bytes::from_static(&[0xF1, 0xFF, 0x23, 0xF1, 0x45, 0xF2]);
        let sixteen = Codes::Stored {
            bytes: bytes.clone(),
            single: false,
            shift: 4,
            mask: 0xFF,
        };
        assert_eq!(sixteen.words(3), [0xFF, 0x12, 0x24]);
        let mut last = [0];
        sixteen.read(2, &mut last);
        assert_eq!(last, [0x24]);
        let eight = Codes::Stored {
            bytes,
            single: true,
            shift: 0,
            mask: 0x7F,
        };
        assert_eq!(eight.words(3), [0x71, 0x7F, 0x23]);
        assert_eq!(Codes::Words(vec![7, 8, 9]).words(2), [7, 8]);
    }
}

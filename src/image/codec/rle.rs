//! RLE Lossless (PS3.5 annex G): byte planes, the most significant first, each packed by itself.

use bytes::Bytes;

use super::CodecError;
use crate::pages::Pages;

/// The header: a count and fifteen offsets of 32 bits.
const HEADER: usize = 64;

/// How many pixels of all planes are unpacked before they are put together, so that they stay in the nearest cache.
const BLOCK: usize = 4096;

/// Decodes one frame of `pixels` pixels of one sample with `planes` (1 or 2) bytes each into little-endian bytes.
///
/// # Errors
/// [`CodecError::Damaged`] where a plane is missing or ends early, [`CodecError::Unsupported`] for more planes.
pub(super) fn decode(stream: &[u8], pixels: usize, planes: usize) -> Result<Bytes, CodecError> {
    let word = |index: usize| -> Result<usize, CodecError> {
        let four = stream
            .get(4 * index..)
            .and_then(<[u8]>::first_chunk)
            .ok_or(CodecError::Damaged)?;
        Ok(u32::from_le_bytes(*four) as usize)
    };
    match word(0)? {
        count if count == planes => {}
        0 => return Err(CodecError::Damaged),
        _ => return Err(CodecError::Unsupported),
    }
    let plane = |index: usize| -> Result<Plane<'_>, CodecError> {
        let start = word(index)?;
        let end = if index < planes {
            word(index + 1)?
        } else {
            stream.len()
        };
        if start < HEADER {
            return Err(CodecError::Damaged);
        }
        let packed = stream.get(start..end).ok_or(CodecError::Damaged)?;
        Ok(Plane {
            packed,
            run: Run::Literal(0),
        })
    };
    let mut high = plane(1)?;
    let mut out = Pages::zeroed(pixels * planes);
    if planes == 1 {
        high.unpack(out.bytes())?;
        return Ok(out.freeze());
    }
    // the first plane holds the high bytes (PS3.5 section G.2)
    let mut low = plane(2)?;
    let (mut highs, mut lows) = ([0; BLOCK], [0; BLOCK]);
    for words in out.bytes().chunks_mut(2 * BLOCK) {
        let count = words.len() / 2;
        high.unpack(&mut highs[..count])?;
        low.unpack(&mut lows[..count])?;
        for ((word, high), low) in words.chunks_exact_mut(2).zip(&highs).zip(&lows) {
            word.copy_from_slice(&[*low, *high]);
        }
    }
    Ok(out.freeze())
}

/// What is left of a run that more pixels are to come from.
enum Run {
    Literal(usize),
    Repeat(u8, usize),
}

/// One plane of bytes, unpacked piece by piece (PS3.5 section G.3.2); what is packed behind the last one is padding.
struct Plane<'a> {
    packed: &'a [u8],
    run: Run,
}

impl Plane<'_> {
    /// Fills `piece` with the next bytes.
    fn unpack(&mut self, mut piece: &mut [u8]) -> Result<(), CodecError> {
        while !piece.is_empty() {
            let taken = match &mut self.run {
                Run::Literal(0) | Run::Repeat(_, 0) => {
                    self.next_run()?;
                    continue;
                }
                Run::Literal(left) => {
                    let count = (*left).min(piece.len());
                    let (bytes, behind) = self.packed.split_at_checked(count).ok_or(CodecError::Damaged)?;
                    piece[..count].copy_from_slice(bytes);
                    self.packed = behind;
                    *left -= count;
                    count
                }
                Run::Repeat(byte, left) => {
                    let count = (*left).min(piece.len());
                    piece[..count].fill(*byte);
                    *left -= count;
                    count
                }
            };
            piece = &mut piece[taken..];
        }
        Ok(())
    }

    fn next_run(&mut self) -> Result<(), CodecError> {
        let (control, rest) = self.packed.split_first().ok_or(CodecError::Damaged)?;
        self.packed = rest;
        match *control {
            literal @ 0..=127 => self.run = Run::Literal(usize::from(literal) + 1),
            // stands for nothing
            128 => {}
            repeat => {
                let (byte, rest) = rest.split_first().ok_or(CodecError::Damaged)?;
                self.run = Run::Repeat(*byte, 257 - usize::from(repeat));
                self.packed = rest;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(planes: &[&[u8]]) -> Vec<u8> {
        let mut header = vec![planes.len() as u32];
        let mut at = HEADER;
        for plane in planes {
            header.push(at as u32);
            at += plane.len();
        }
        header.resize(16, 0);
        let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
        for plane in planes {
            bytes.extend_from_slice(plane);
        }
        bytes
    }

    /// The example of `PackBits` in TIFF 6.0, section 9, which PS3.5 annex G is built on.
    const PACKED: &[u8] = &[
        0xFE, 0xAA, 0x02, 0x80, 0x00, 0x2A, 0xFD, 0xAA, 0x03, 0x80, 0x00, 0x2A, 0x22, 0xF7, 0xAA,
    ];
    const PLAIN: [u8; 24] = [
        0xAA, 0xAA, 0xAA, 0x80, 0x00, 0x2A, 0xAA, 0xAA, 0xAA, 0xAA, 0x80, 0x00, 0x2A, 0x22, 0xAA, 0xAA, 0xAA,
        0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA,
    ];

    #[test]
    fn planes_become_words() {
        assert_eq!(decode(&frame(&[PACKED]), 24, 1).unwrap(), PLAIN.as_slice());
        let both = decode(&frame(&[PACKED, &[0xE9, 7]]), 24, 2).unwrap();
        assert_eq!(both, PLAIN.map(|byte| [7, byte]).concat());
    }

    #[test]
    fn what_is_damaged_is_an_error() {
        let whole = frame(&[PACKED]);
        for length in 0..whole.len() {
            assert!(decode(&whole[..length], 24, 1).is_err(), "{length}");
        }
        assert_eq!(decode(&whole, 24, 2), Err(CodecError::Unsupported));
    }
}

//! RLE Lossless (PS3.5 annex G): byte planes, the most significant first, each packed by itself.

use bytes::Bytes;

use super::{Cancel, CodecError};
use crate::pages::Pages;

/// The header: a count and fifteen offsets of 32 bits.
const HEADER: usize = 64;

/// How many pixels of all planes are unpacked before they are put together, so that they stay in the nearest cache.
const BLOCK: usize = 4096;

/// The longest run.
const RUN: usize = 128;

/// Decodes one frame of `pixels` pixels of one sample with `planes` (1 or 2) bytes each into little-endian bytes.
///
/// # Errors
/// [`CodecError::Damaged`] where a plane is missing or ends early, [`CodecError::Disagrees`] for another number of planes.
pub(super) fn decode(
    stream: &[u8],
    pixels: usize,
    planes: usize,
    cancel: Cancel<'_>,
) -> Result<Bytes, CodecError> {
    let packed = Planes::of(stream, planes)?;
    let mut high = packed.plane(0)?;
    let mut out = Pages::zeroed(pixels * planes);
    if planes == 1 {
        for bytes in out.bytes().chunks_mut(BLOCK) {
            cancel.check()?;
            bytes.copy_from_slice(high.next(bytes.len())?);
            high.drop_block();
        }
        return Ok(out.freeze());
    }
    // the first plane holds the high bytes (PS3.5 section G.2)
    let mut low = packed.plane(1)?;
    for words in out.bytes().chunks_mut(2 * BLOCK) {
        cancel.check()?;
        let count = words.len() / 2;
        let pairs = low.next(count)?.iter().zip(high.next(count)?);
        for (word, (low, high)) in words.as_chunks_mut().0.iter_mut().zip(pairs) {
            *word = [*low, *high];
        }
        low.drop_block();
        high.drop_block();
    }
    Ok(out.freeze())
}

/// The same for pixels of three samples with `width` bytes each; they lie pixel by pixel.
///
/// # Errors
/// As [`decode`].
pub(super) fn decode_colour(stream: &[u8], pixels: usize, width: usize) -> Result<Vec<u8>, CodecError> {
    let packed = Planes::of(stream, 3 * width)?;
    let mut out = vec![0; pixels * 3 * width];
    for number in 0..3 * width {
        // all bytes of a sample follow each other, the highest first
        let (sample, byte) = (number / width, width - 1 - number % width);
        let mut plane = packed.plane(number)?;
        for pixels in out.chunks_mut(BLOCK * 3 * width) {
            let places = pixels.iter_mut().skip(sample * width + byte).step_by(3 * width);
            let count = places.len();
            for (place, value) in places.zip(plane.next(count)?) {
                *place = *value;
            }
            plane.drop_block();
        }
    }
    Ok(out)
}

/// The packed planes of a frame.
struct Planes<'a> {
    stream: &'a [u8],
    count: usize,
}

impl<'a> Planes<'a> {
    fn of(stream: &'a [u8], count: usize) -> Result<Self, CodecError> {
        let planes = Self { stream, count };
        match planes.word(0)? {
            stated if stated == count => Ok(planes),
            0 => Err(CodecError::Damaged),
            _ => Err(CodecError::Disagrees),
        }
    }

    /// A word of the header: how many planes there are, then where each begins.
    fn word(&self, index: usize) -> Result<usize, CodecError> {
        let four = self.stream.get(4 * index..).and_then(<[u8]>::first_chunk);
        Ok(u32::from_le_bytes(*four.ok_or(CodecError::Damaged)?) as usize)
    }

    fn plane(&self, index: usize) -> Result<Plane<'a>, CodecError> {
        let start = self.word(index + 1)?;
        let end = if index + 1 < self.count {
            self.word(index + 2)?
        } else {
            self.stream.len()
        };
        if start < HEADER {
            return Err(CodecError::Damaged);
        }
        let packed = self.stream.get(start..end).ok_or(CodecError::Damaged)?;
        Ok(Plane {
            packed,
            plain: [0; BLOCK + RUN],
            filled: 0,
        })
    }
}

/// One plane of bytes, unpacked block by block (PS3.5 section G.3.2); what is packed behind the last one is padding.
struct Plane<'a> {
    packed: &'a [u8],
    /// The block, and what the run that ends it has for the next one.
    plain: [u8; BLOCK + RUN],
    filled: usize,
}

impl Plane<'_> {
    /// The first `count` bytes of the next block.
    fn next(&mut self, count: usize) -> Result<&[u8], CodecError> {
        while self.filled < count {
            let (control, rest) = self.packed.split_first().ok_or(CodecError::Damaged)?;
            let place = self.plain[self.filled..]
                .first_chunk_mut()
                .ok_or(CodecError::Damaged)?;
            match *control {
                literal @ 0..=127 => {
                    let length = usize::from(literal) + 1;
                    let (bytes, behind) = rest.split_at_checked(length).ok_or(CodecError::Damaged)?;
                    copy(rest, bytes, place);
                    self.packed = behind;
                    self.filled += length;
                }
                // stands for nothing
                128 => self.packed = rest,
                repeat => {
                    let (byte, behind) = rest.split_first().ok_or(CodecError::Damaged)?;
                    *place = [*byte; RUN];
                    self.packed = behind;
                    self.filled += 257 - usize::from(repeat);
                }
            }
        }
        Ok(&self.plain[..count])
    }

    fn drop_block(&mut self) {
        self.plain.copy_within(BLOCK.., 0);
        self.filled = self.filled.saturating_sub(BLOCK);
    }
}

/// Puts `bytes`, with which `rest` begins, into `place`. More may be put there than that, but as much every time: copying
/// a number of bytes that is as good as random takes longer than copying the most.
#[inline(always)]
fn copy(rest: &[u8], bytes: &[u8], place: &mut [u8; RUN]) {
    if bytes.len() <= 16
        && let Some(chunk) = rest.first_chunk::<16>()
    {
        place[..16].copy_from_slice(chunk);
    } else if let Some(chunk) = rest.first_chunk() {
        *place = *chunk;
    } else {
        place[..bytes.len()].copy_from_slice(bytes);
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
        assert_eq!(
            decode(&frame(&[PACKED]), 24, 1, Cancel::NEVER).unwrap(),
            PLAIN.as_slice()
        );
        let both = decode(&frame(&[PACKED, &[0xE9, 7]]), 24, 2, Cancel::NEVER).unwrap();
        assert_eq!(both, PLAIN.map(|byte| [7, byte]).concat());
    }

    #[test]
    fn a_run_may_reach_into_the_next_block() {
        let packed = PACKED.repeat(1000);
        let plain = PLAIN.repeat(1000);
        assert_eq!(
            decode(&frame(&[&packed]), 24_000, 1, Cancel::NEVER).unwrap(),
            plain
        );
        let both = decode(&frame(&[&packed, &packed]), 24_000, 2, Cancel::NEVER).unwrap();
        let doubled: Vec<u8> = plain.iter().flat_map(|byte| [*byte; 2]).collect();
        assert_eq!(both, doubled);
    }

    #[test]
    fn planes_of_three_samples_become_pixels() {
        let runs = [[0xE9_u8, 1], [0xE9, 2], [0xE9, 3], [0xE9, 4], [0xE9, 5]];
        let mut planes: Vec<&[u8]> = runs.iter().map(<[u8; 2]>::as_slice).collect();
        planes.insert(1, PACKED);
        let words = decode_colour(&frame(&planes), 24, 2).unwrap();
        let wanted: Vec<u8> = PLAIN.iter().flat_map(|low| [*low, 1, 3, 2, 5, 4]).collect();
        assert_eq!(words, wanted);
        let long = [PACKED.repeat(1000), [0x81, 9].repeat(188), [0x81, 8].repeat(188)];
        let long: Vec<&[u8]> = long.iter().map(Vec::as_slice).collect();
        let bytes = decode_colour(&frame(&long), 24_000, 1).unwrap();
        let wanted: Vec<u8> = PLAIN.repeat(1000).iter().flat_map(|red| [*red, 9, 8]).collect();
        assert!(bytes == wanted);
        assert_eq!(
            decode_colour(&frame(&long[..2]), 24_000, 1),
            Err(CodecError::Disagrees)
        );
    }

    #[test]
    fn what_is_damaged_is_an_error() {
        let whole = frame(&[PACKED]);
        for length in 0..whole.len() {
            assert!(
                decode(&whole[..length], 24, 1, Cancel::NEVER).is_err(),
                "{length}"
            );
        }
        assert_eq!(decode(&whole, 24, 2, Cancel::NEVER), Err(CodecError::Disagrees));
    }
}

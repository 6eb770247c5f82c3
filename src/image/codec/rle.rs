//! RLE Lossless (PS3.5 annex G): byte planes, the most significant first, each packed by itself.

use super::CodecError;

/// The header: a count and fifteen offsets of 32 bits.
const HEADER: usize = 64;

/// Decodes one frame of `pixels` pixels of one sample with `planes` (1 or 2) bytes each.
///
/// # Errors
/// [`CodecError::Damaged`] where a plane is missing or ends early, [`CodecError::Unsupported`] for more planes.
pub(super) fn decode(stream: &[u8], pixels: usize, planes: usize) -> Result<Vec<u16>, CodecError> {
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
    let mut words = vec![0_u16; pixels];
    for index in 1..=planes {
        let start = word(index)?;
        let end = if index < planes {
            word(index + 1)?
        } else {
            stream.len()
        };
        if start < HEADER {
            return Err(CodecError::Damaged);
        }
        let shift = 8 * (planes - index);
        unpack(
            stream.get(start..end).ok_or(CodecError::Damaged)?,
            &mut words,
            shift,
        )?;
    }
    Ok(words)
}

/// Adds one plane to every word (PS3.5 section G.3.2); what is packed behind it is padding.
fn unpack(mut packed: &[u8], words: &mut [u16], shift: usize) -> Result<(), CodecError> {
    let mut left = words;
    while !left.is_empty() {
        let (control, rest) = packed.split_first().ok_or(CodecError::Damaged)?;
        let count = match *control {
            literal @ 0..=127 => usize::from(literal) + 1,
            128 => {
                packed = rest;
                continue;
            }
            repeat => 257 - usize::from(repeat),
        };
        let (run, behind) = left.split_at_mut(count.min(left.len()));
        if *control < 128 {
            let bytes = rest.get(..run.len()).ok_or(CodecError::Damaged)?;
            for (word, byte) in run.iter_mut().zip(bytes) {
                *word |= u16::from(*byte) << shift;
            }
            packed = rest.get(count..).unwrap_or_default();
        } else {
            let (byte, rest) = rest.split_first().ok_or(CodecError::Damaged)?;
            for word in run {
                *word |= u16::from(*byte) << shift;
            }
            packed = rest;
        }
        left = behind;
    }
    Ok(())
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
            decode(&frame(&[PACKED]), 24, 1).unwrap(),
            PLAIN.map(u16::from).to_vec()
        );
        let both = decode(&frame(&[PACKED, &[0xE9, 7]]), 24, 2).unwrap();
        assert_eq!(both, PLAIN.map(|byte| u16::from(byte) << 8 | 7).to_vec());
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

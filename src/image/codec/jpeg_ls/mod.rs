//! JPEG-LS, lossless and near-lossless (ITU-T T.87), for one component of 2 to 16 bits.
//!
//! The names of the standard are kept where it has one letter for a thing: A, B, C and N of a context, the neighbours a
//! (left), b (above), c (above left) and d (above right).

mod bits;
mod parameters;
mod scan;

use bytes::Bytes;

use self::parameters::Parameters;
use super::markers::{EOI, Markers, SOS, frame_header};
use super::{Cancel, CodecError};

const SOF55: u8 = 0xF7;
const LSE: u8 = 0xF8;
const DRI: u8 = 0xDD;

/// Decodes one frame of `rows` x `columns` into little-endian codes of `bits` (8 or 16) bits, which the stream's own header
/// must agree with.
///
/// # Errors
/// As `jpeg_lossless`; restart intervals and palettes, which no radiograph has, are [`CodecError::Unsupported`].
pub(super) fn decode(
    stream: &[u8],
    rows: usize,
    columns: usize,
    bits: u32,
    cancel: Cancel<'_>,
) -> Result<Bytes, CodecError> {
    let mut reader = Markers::new(stream)?;
    let mut precision = None;
    let mut preset = [0; 5];
    loop {
        let (marker, segment) = reader.next()?;
        match marker {
            SOF55 => {
                let (found, _) = frame_header(segment, rows, columns, bits)?;
                if !(2..=16).contains(&found) {
                    return Err(CodecError::Damaged);
                }
                precision = Some(found);
            }
            LSE => {
                let [1, ref numbers @ ..] = *segment else {
                    return Err(CodecError::Unsupported);
                };
                for (number, pair) in preset.iter_mut().zip(numbers.chunks_exact(2)) {
                    *number = i32::from(u16::from_be_bytes([pair[0], pair[1]]));
                }
            }
            DRI => return Err(CodecError::Unsupported),
            SOS => {
                let [1, _, _, near, interleave, _] = *segment else {
                    return Err(CodecError::Damaged);
                };
                if interleave != 0 {
                    return Err(CodecError::Damaged);
                }
                let precision = precision.ok_or(CodecError::Damaged)?;
                let parameters = Parameters::new(precision, i32::from(near), preset)?;
                return scan::decode(
                    parameters,
                    reader.rest(),
                    rows,
                    columns,
                    bits as usize / 8,
                    cancel,
                );
            }
            EOI => return Err(CodecError::Damaged),
            _ => {}
        }
    }
}

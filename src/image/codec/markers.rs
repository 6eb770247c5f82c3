//! The marker segments that every JPEG family has in common (ITU-T T.81 annex B).

use super::CodecError;

const SOI: u8 = 0xD8;
/// End of image.
pub(super) const EOI: u8 = 0xD9;
/// Start of scan: behind its segment lies the entropy-coded data.
pub(super) const SOS: u8 = 0xDA;

/// The marker segments before the entropy-coded data.
pub(super) struct Markers<'a> {
    stream: &'a [u8],
    at: usize,
}

impl<'a> Markers<'a> {
    pub(super) fn new(stream: &'a [u8]) -> Result<Self, CodecError> {
        if stream.get(..2) == Some(&[0xFF, SOI]) {
            Ok(Self { stream, at: 2 })
        } else {
            Err(CodecError::Damaged)
        }
    }

    /// The next marker with its segment, which is empty for markers that stand alone.
    pub(super) fn next(&mut self) -> Result<(u8, &'a [u8]), CodecError> {
        let byte = |at: usize| self.stream.get(at).copied().ok_or(CodecError::Damaged);
        if byte(self.at)? != 0xFF {
            return Err(CodecError::Damaged);
        }
        // any number of fill bytes may stand before a marker
        while byte(self.at + 1)? == 0xFF {
            self.at += 1;
        }
        let marker = byte(self.at + 1)?;
        self.at += 2;
        if matches!(marker, 0x01 | 0xD0..=0xD9) {
            return Ok((marker, &[]));
        }
        let length = usize::from(u16::from_be_bytes([byte(self.at)?, byte(self.at + 1)?]));
        let segment = self
            .stream
            .get(self.at + 2..self.at + length.max(2))
            .ok_or(CodecError::Damaged)?;
        self.at += length.max(2);
        Ok((marker, segment))
    }

    /// What lies behind the last segment.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.stream.get(self.at..).unwrap_or_default()
    }
}

/// The precision in bits and the parameters of the one component, from a frame header (T.81 section B.2.2), which must
/// agree with the size of the image and the bits allocated.
pub(super) fn frame_header(
    segment: &[u8],
    rows: usize,
    columns: usize,
    bits: u32,
) -> Result<(u32, [u8; 3]), CodecError> {
    let [precision, y1, y0, x1, x0, components, ref rest @ ..] = *segment else {
        return Err(CodecError::Damaged);
    };
    if components != 1 {
        return Err(CodecError::Colour);
    }
    let component = rest.try_into().map_err(|_| CodecError::Damaged)?;
    let size = [[y1, y0], [x1, x0]].map(|pair| usize::from(u16::from_be_bytes(pair)));
    let precision = u32::from(precision);
    if size != [rows, columns] || precision > bits {
        return Err(CodecError::Disagrees);
    }
    Ok((precision, component))
}

/// The restart interval (T.81 section B.2.4.4); 0 stands for none.
pub(super) fn restart_interval(segment: &[u8]) -> Result<usize, CodecError> {
    let pair = segment.try_into().map_err(|_| CodecError::Damaged)?;
    Ok(usize::from(u16::from_be_bytes(pair)))
}

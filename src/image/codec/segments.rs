//! The entropy-coded segments of a scan (T.81 section B.1.1.5), freed of their byte stuffing.

use super::CodecError;
use super::markers::EOI;

/// Cuts the entropy-coded data at its restart markers.
pub(super) struct Segments<'a> {
    rest: &'a [u8],
    /// The marker behind the last segment; none yet, or none because the stream ends.
    marker: Option<u8>,
    /// How many segments were given out.
    count: usize,
}

impl<'a> Segments<'a> {
    pub(super) fn new(entropy_coded: &'a [u8]) -> Self {
        Self {
            rest: entropy_coded,
            marker: None,
            count: 0,
        }
    }

    /// Puts the bytes of the next segment into `plain`. All but the first must follow the restart marker whose turn it
    /// is: they count from 0 to 7, over and over.
    pub(super) fn next(&mut self, plain: &mut Vec<u8>) -> Result<(), CodecError> {
        let turn = (self.count > 0).then(|| RST0 | ((self.count - 1) & 7) as u8);
        if self.marker != turn {
            return Err(CodecError::Damaged);
        }

        self.count += 1;
        self.marker = None;
        plain.clear();
        while let Some(at) = memchr::memchr(0xFF, self.rest) {
            plain.extend_from_slice(&self.rest[..at]);
            match self.rest.get(at + 1) {
                Some(0) => {
                    plain.push(0xFF);
                    self.rest = &self.rest[at + 2..];
                }
                // a fill byte
                Some(0xFF) => self.rest = &self.rest[at + 1..],
                marker => {
                    self.marker = marker.copied();
                    self.rest = self.rest.get(at + 2..).unwrap_or_default();
                    return Ok(());
                }
            }
        }
        plain.extend_from_slice(self.rest);
        self.rest = &[];
        Ok(())
    }

    /// Whether the image ends with this segment, be it that its last two bytes are missing.
    pub(super) fn at_the_end(&self) -> bool {
        matches!(self.marker, None | Some(EOI))
    }
}

const RST0: u8 = 0xD0;

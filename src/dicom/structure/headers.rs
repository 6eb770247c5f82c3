//! Reading the header of an element: tag, value representation, length.

use super::super::repair::Repair;
use super::super::value_representation as vr;
use super::{ITEM, ITEM_END, OutOfBounds, PIXEL_DATA, SEQUENCE_END, Syntax, UNDEFINED, Walk};

/// The header of one element, as it is to be read.
#[derive(Clone, Copy)]
pub(in crate::dicom) struct ElementHeader {
    pub(in crate::dicom) tag: (u16, u16),
    /// Two blanks where neither the file nor the dictionary says.
    pub(super) vr: [u8; 2],
    pub(in crate::dicom) length: u32,
}

impl<'a> Walk<'a> {
    /// The group of the next element, in little endian.
    pub(in crate::dicom) fn group(&self) -> Option<u16> {
        self.two(self.at, Syntax::EXPLICIT).ok()
    }

    /// The next `length` bytes.
    pub(in crate::dicom) fn value(&self, length: u32) -> Option<&'a [u8]> {
        self.bytes.get(self.at..self.at.saturating_add(length as usize))
    }

    fn two(&self, at: usize, syntax: Syntax) -> Result<u16, OutOfBounds> {
        let bytes = self.bytes.get(at..at + 2).ok_or(OutOfBounds::Length)?;
        let bytes = [bytes[0], bytes[1]];
        Ok(if syntax.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    fn four(&self, at: usize, syntax: Syntax) -> Result<u32, OutOfBounds> {
        let (first, second) = (
            u32::from(self.two(at, syntax)?),
            u32::from(self.two(at + 2, syntax)?),
        );
        Ok(if syntax.big_endian {
            first << 16 | second
        } else {
            second << 16 | first
        })
    }

    /// Reads a header and moves behind it.
    pub(in crate::dicom) fn header(&mut self, syntax: Syntax) -> Result<ElementHeader, OutOfBounds> {
        let tag = (self.two(self.at, syntax)?, self.two(self.at + 2, syntax)?);
        if !syntax.explicit || tag.0 == ITEM.0 {
            let length = self.four(self.at + 4, syntax)?;
            self.at += 8;
            // the parser will take the dictionary's, and look for elements in what is a sequence there
            let vr = vr::of_dictionary(tag).unwrap_or(*b"  ");
            return Ok(ElementHeader { tag, vr, length });
        }
        let vr = self
            .bytes
            .get(self.at + 4..self.at + 6)
            .ok_or(OutOfBounds::Length)?;
        let vr = [vr[0], vr[1]];
        if !vr.iter().all(u8::is_ascii_uppercase) {
            return self.header_without_vr(tag, syntax);
        }
        if vr::is_short(vr) {
            let length = u32::from(self.two(self.at + 6, syntax)?);
            self.at += 8;
            return Ok(ElementHeader { tag, vr, length });
        }
        let length = self.four(self.at + 8, syntax)?;
        self.at += 12;
        Ok(ElementHeader { tag, vr, length })
    }

    /// A header whose value representation is none: left out altogether, or two bytes that mean nothing before a length of
    /// two or four bytes; what follows tells.
    fn header_without_vr(&mut self, tag: (u16, u16), syntax: Syntax) -> Result<ElementHeader, OutOfBounds> {
        let forms = [
            (8, self.four(self.at + 4, syntax)),
            (8, self.two(self.at + 6, syntax).map(u32::from)),
            (12, self.four(self.at + 8, syntax)),
        ];
        for (size, length) in forms {
            let Ok(length) = length else { continue };
            let end = self.at.saturating_add(size).saturating_add(length as usize);
            if length != UNDEFINED && self.may_begin_behind(tag, end, syntax) {
                self.at += size;
                self.repairs.add(Repair::ValueRepresentation);
                self.unreadable = true;
                return Ok(ElementHeader {
                    tag,
                    vr: vr::of_dictionary(tag).unwrap_or(*b"UN"),
                    length,
                });
            }
        }
        Err(OutOfBounds::Length)
    }

    /// Whether an element that comes after `tag` begins at `place`, or something ends there.
    fn may_begin_behind(&self, tag: (u16, u16), place: usize, syntax: Syntax) -> bool {
        if place == self.bytes.len() || self.levels.iter().any(|level| level.end == Some(place)) {
            return true;
        }
        match (self.two(place, syntax), self.two(place + 2, syntax)) {
            (Ok(group), Ok(element)) => {
                matches!((group, element), ITEM_END | SEQUENCE_END)
                    || ((group, element) > tag && group <= PIXEL_DATA.0 && group - tag.0 < 0x1000)
                    || ((group, element) > tag && group == PIXEL_DATA.0)
            }
            _ => false,
        }
    }
}

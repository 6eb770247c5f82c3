//! Reading the header of an element: tag, value representation, length.

use super::super::repair::Repair;
use super::super::value_representation as vr;
use super::{ITEM, ITEM_END, OutOfBounds, PIXEL_DATA, SEQUENCE_END, Syntax, Walk};

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

    pub(super) fn two(&self, at: usize, syntax: Syntax) -> Result<u16, OutOfBounds> {
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
    /// two or four bytes. What follows tells: best a header that is whole, else at least a tag that may come next; and the
    /// shorter of two lengths, since a wrong one reaches into the pixels, where anything may look like a tag.
    fn header_without_vr(&mut self, tag: (u16, u16), syntax: Syntax) -> Result<ElementHeader, OutOfBounds> {
        let forms = [
            (8, self.four(self.at + 4, syntax)),
            (8, self.two(self.at + 6, syntax).map(u32::from)),
            (12, self.four(self.at + 8, syntax)),
        ];
        let mut forms: Vec<(usize, u32)> = forms
            .into_iter()
            .filter_map(|(size, length)| Some((size, length.ok()?)))
            .collect();
        // an empty value is the least likely, unless there is nothing but zeros
        let zeros = self.four(self.at + 4, syntax) == Ok(0);
        forms.sort_by_key(|(_, length)| (*length == 0 && !zeros, *length));
        let end = |(size, length): &(usize, u32)| self.at.saturating_add(size + *length as usize);
        let whole = forms
            .iter()
            .find(|form| self.is_end(end(form)) || self.is_header_behind(tag, end(form), syntax));
        let form = whole.or_else(|| {
            forms
                .iter()
                .find(|form| self.is_tag_behind(tag, end(form), syntax))
        });
        let Some((size, length)) = form.copied() else {
            return Err(OutOfBounds::Length);
        };
        self.at += size;
        self.repairs.add(Repair::ValueRepresentation);
        self.unreadable = true;
        Ok(ElementHeader {
            tag,
            vr: vr::of_dictionary(tag).unwrap_or(*b"UN"),
            length,
        })
    }

    /// Whether the file, or something that is open, ends at `place`.
    fn is_end(&self, place: usize) -> bool {
        place == self.bytes.len() || self.levels.iter().any(|level| level.end == Some(place))
    }

    /// Whether a tag that may come after `tag` is at `place`.
    fn is_tag_behind(&self, tag: (u16, u16), place: usize, syntax: Syntax) -> bool {
        match (self.two(place, syntax), self.two(place + 2, syntax)) {
            (Ok(group), Ok(element)) => {
                let next = (group, element);
                matches!(next, ITEM_END | SEQUENCE_END) || (next > tag && group <= PIXEL_DATA.0)
            }
            _ => false,
        }
    }

    /// Whether such a tag is there with a value representation that there is.
    fn is_header_behind(&self, tag: (u16, u16), place: usize, syntax: Syntax) -> bool {
        let letters = self.bytes.get(place + 4..place + 6);
        self.is_tag_behind(tag, place, syntax)
            && letters.is_some_and(|letters| vr::is_known([letters[0], letters[1]]))
    }
}

//! Where the parts of a data set lie, found before anything is parsed: no length beyond the end, no nesting without end.
//!
//! One pass over the headers, which neither allocates for values nor recurses. It bounds what the parser would take on
//! trust (memory for a declared length, for every value, a call for each level of nesting) and finds the pixels, so that
//! they are never copied: ten megabytes of a radiograph stay where they arrived. Only a header that the parser could not
//! read, or would misread, is written anew.

use std::ops::Range;

use super::repair::{Repair, Repairs};
use super::value_representation::{self as vr, judged};

/// The deepest nesting of sequences and items that is read; real files have less than ten levels.
const MOST_LEVELS: usize = 64;
/// The most elements, items and single values that are read; a radiograph has some hundreds, and each takes memory.
const MOST_PARTS: usize = 500_000;
const UNDEFINED: u32 = 0xFFFF_FFFF;
const ITEM: (u16, u16) = (0xFFFE, 0xE000);
const ITEM_END: (u16, u16) = (0xFFFE, 0xE00D);
const SEQUENCE_END: (u16, u16) = (0xFFFE, 0xE0DD);
const PIXEL_DATA: (u16, u16) = (0x7FE0, 0x0010);

/// How elements are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Syntax {
    explicit: bool,
    big_endian: bool,
}

impl Syntax {
    /// Explicit VR, little endian.
    pub(super) const EXPLICIT: Self = Self {
        explicit: true,
        big_endian: false,
    };
    /// Implicit VR, little endian.
    pub(super) const IMPLICIT: Self = Self {
        explicit: false,
        big_endian: false,
    };
    /// Explicit VR, big endian.
    pub(super) const BIG_ENDIAN: Self = Self {
        explicit: true,
        big_endian: true,
    };
}

/// Why a structure is out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OutOfBounds {
    /// A length that reaches beyond the end.
    #[error("the data set ends early or a declared length is wrong")]
    Length,
    /// Sequences inside sequences without end.
    #[error("sequences are nested more than {MOST_LEVELS} deep")]
    Depth,
    /// More elements and values than any image needs.
    #[error("the data set has more than {MOST_PARTS} elements and values")]
    Parts,
}

/// The header and the pixels of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Structure {
    /// The elements before Pixel Data (7FE0,0010).
    pub(super) header: Header,
    /// The value of Pixel Data, if there is one.
    pub(super) pixels: Option<Pixels>,
    /// What was put right.
    pub(super) repairs: Repairs,
}

/// The elements before Pixel Data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// Their place in the file.
    AsWritten(Range<usize>),
    /// The same, so that a strict parser can read them.
    Rewritten(Vec<u8>),
}

/// The place of Pixel Data's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pixels {
    /// Uncompressed.
    Native {
        /// The value.
        value: Range<usize>,
        /// Whether it consists of 16-bit words, which have the byte order of the transfer syntax.
        words: bool,
    },
    /// The items of an encapsulated value; the first is the Basic Offset Table (PS3.5 section A.4).
    Encapsulated(Vec<Range<usize>>),
}

/// Walks the data set that begins at `start` and is not deflated.
///
/// # Errors
/// [`OutOfBounds`].
pub(super) fn data_set(bytes: &[u8], start: usize, syntax: Syntax) -> Result<Structure, OutOfBounds> {
    let mut walk = Walk::new(bytes, start);
    let (end, pixels) = walk.data_set(syntax)?;
    let header = if walk.unreadable {
        let mut again = Walk::new(bytes, start);
        again.rewritten = Some(Vec::new());
        again.data_set(syntax)?;
        Header::Rewritten(again.rewritten.unwrap_or_default())
    } else {
        Header::AsWritten(start..end)
    };
    Ok(Structure {
        header,
        pixels,
        repairs: walk.repairs,
    })
}

/// The header of one element, as it is to be read.
#[derive(Clone, Copy)]
pub(super) struct ElementHeader {
    pub(super) tag: (u16, u16),
    /// Two blanks where there is none.
    vr: [u8; 2],
    pub(super) length: u32,
}

/// An open sequence or item: where it ends, if that is declared, and how its elements are written.
#[derive(Clone, Copy)]
struct Level {
    end: Option<usize>,
    syntax: Syntax,
    is_item: bool,
}

/// A place in a file, and what has been seen on the way to it.
pub(super) struct Walk<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
    levels: Vec<Level>,
    parts: usize,
    repairs: Repairs,
    /// Whether a strict parser would stumble.
    unreadable: bool,
    /// The elements before Pixel Data, where they have to be written anew: sequences and items without lengths.
    rewritten: Option<Vec<u8>>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at,
            levels: Vec::new(),
            parts: 0,
            repairs: Repairs::default(),
            unreadable: false,
            rewritten: None,
        }
    }

    /// Where the elements before Pixel Data end, and the pixels.
    fn data_set(&mut self, syntax: Syntax) -> Result<(usize, Option<Pixels>), OutOfBounds> {
        loop {
            while self
                .levels
                .last()
                .is_some_and(|level| level.end.is_some_and(|end| self.at >= end))
            {
                self.close();
            }
            // an odd last value may lack its padding byte
            let before = self.at.min(self.bytes.len());
            // fewer bytes than a header has
            if self.bytes.len().saturating_sub(self.at) < 8 {
                if self.at < self.bytes.len() {
                    self.repairs.add(Repair::TrailingBytes);
                }
                self.close_all();
                return Ok((before, None));
            }
            let syntax = self.levels.last().map_or(syntax, |level| level.syntax);
            let header = self.header(syntax)?;
            self.count(1)?;
            match header.tag {
                ITEM_END | SEQUENCE_END => self.close(),
                PIXEL_DATA if self.levels.is_empty() => {
                    let pixels = self.pixels(&header, syntax)?;
                    self.behind_the_pixels(syntax);
                    return Ok((before, Some(pixels)));
                }
                // pixels inside a sequence are an icon's
                PIXEL_DATA if header.length == UNDEFINED => {
                    self.pixels(&header, syntax)?;
                    self.copy(before..self.at);
                }
                // written as implicit VR, whatever is around it (PS3.5 section 6.2.2, note 4)
                _ if header.length == UNDEFINED && &header.vr == b"UN" => {
                    self.open(&header, syntax, Syntax::IMPLICIT)?;
                }
                _ if header.tag == ITEM || header.length == UNDEFINED || &header.vr == b"SQ" => {
                    self.open(&header, syntax, syntax)?;
                }
                _ => self.element(header, syntax)?,
            }
        }
    }

    /// Moves behind the value of an element that holds no others.
    fn element(&mut self, header: ElementHeader, syntax: Syntax) -> Result<(), OutOfBounds> {
        let start = self.at;
        self.at = self.end_of(header.length)?;
        let value = &self.bytes[start..self.at.min(self.bytes.len())];
        if header.length % 2 == 1 {
            self.repairs.add(Repair::OddLength);
        }
        if vr::has_many_values(header.vr) {
            self.count(memchr::memchr_iter(b'\\', value).count())?;
        }
        let better = if syntax.explicit && !syntax.big_endian {
            judged(header.tag, header.vr, value)
        } else {
            None
        };
        if let Some(better) = better {
            self.unreadable = true;
            // UN is what the standard wants of a writer that does not know better
            if &header.vr != b"UN" {
                self.repairs.add(Repair::ValueRepresentation);
            }
            self.write_header(header.tag, better, value.len() as u32, syntax);
        } else {
            self.write_header(header.tag, header.vr, value.len() as u32, syntax);
        }
        self.copy(start..start + value.len());
        Ok(())
    }

    /// Moves behind the value of Pixel Data.
    fn pixels(&mut self, header: &ElementHeader, syntax: Syntax) -> Result<Pixels, OutOfBounds> {
        if header.length != UNDEFINED {
            let start = self.at;
            self.at = self.end_of(header.length)?;
            if header.length % 2 == 1 {
                self.repairs.add(Repair::OddLength);
            }
            return Ok(Pixels::Native {
                value: start..self.at.min(self.bytes.len()),
                words: &header.vr != b"OB",
            });
        }
        let mut items = Vec::new();
        // a file that ends without its Sequence Delimitation Item is complete all the same
        while self.bytes.len().saturating_sub(self.at) >= 8 {
            let header = self.header(syntax)?;
            if header.tag != ITEM {
                if header.tag != SEQUENCE_END {
                    self.repairs.add(Repair::Delimiter);
                }
                return Ok(Pixels::Encapsulated(items));
            }
            self.count(1)?;
            let start = self.at;
            self.at = self.end_of(header.length)?;
            items.push(start..self.at.min(self.bytes.len()));
        }
        self.repairs.add(Repair::Delimiter);
        Ok(Pixels::Encapsulated(items))
    }

    /// Looks whether only elements follow: Data Set Trailing Padding and the like.
    fn behind_the_pixels(&mut self, syntax: Syntax) {
        let mut last = PIXEL_DATA;
        while self.at < self.bytes.len() {
            let next = self.header(syntax);
            let Some(header) = next.ok().filter(|header| header.tag > last) else {
                self.repairs.add(Repair::TrailingBytes);
                return;
            };
            // what is inside such a sequence is nobody's concern
            let Some(end) = self
                .end_of(header.length)
                .ok()
                .filter(|_| header.length != UNDEFINED)
            else {
                if header.length != UNDEFINED {
                    self.repairs.add(Repair::TrailingBytes);
                }
                return;
            };
            self.at = end;
            last = header.tag;
        }
    }

    fn open(&mut self, header: &ElementHeader, around: Syntax, inside: Syntax) -> Result<(), OutOfBounds> {
        if self.levels.len() >= MOST_LEVELS {
            return Err(OutOfBounds::Depth);
        }
        let end = if header.length == UNDEFINED {
            None
        } else {
            Some(self.end_of(header.length)?)
        };
        self.write_header(header.tag, header.vr, UNDEFINED, around);
        self.levels.push(Level {
            end,
            syntax: inside,
            is_item: header.tag == ITEM,
        });
        Ok(())
    }

    /// Closes the innermost sequence or item.
    fn close(&mut self) {
        if let Some(level) = self.levels.pop() {
            let tag = if level.is_item { ITEM_END } else { SEQUENCE_END };
            self.write_header(tag, *b"  ", 0, level.syntax);
        }
    }

    /// Closes what is open where the file ends.
    fn close_all(&mut self) {
        if !self.levels.is_empty() {
            self.repairs.add(Repair::Delimiter);
            self.unreadable = true;
        }
        while !self.levels.is_empty() {
            self.close();
        }
    }

    fn count(&mut self, parts: usize) -> Result<(), OutOfBounds> {
        self.parts += parts;
        if self.parts > MOST_PARTS {
            return Err(OutOfBounds::Parts);
        }
        Ok(())
    }

    fn copy(&mut self, range: Range<usize>) {
        if let Some(rewritten) = &mut self.rewritten {
            rewritten.extend_from_slice(&self.bytes[range.start..range.end.min(self.bytes.len())]);
        }
    }

    fn write_header(&mut self, (group, element): (u16, u16), vr: [u8; 2], length: u32, syntax: Syntax) {
        let Some(out) = &mut self.rewritten else {
            return;
        };
        let two = |value: u16| {
            if syntax.big_endian {
                value.to_be_bytes()
            } else {
                value.to_le_bytes()
            }
        };
        let four = |value: u32| {
            if syntax.big_endian {
                value.to_be_bytes()
            } else {
                value.to_le_bytes()
            }
        };
        out.extend(two(group));
        out.extend(two(element));
        if syntax.explicit && group != ITEM.0 {
            out.extend(vr);
            if vr::is_short(vr) {
                out.extend(two(length as u16));
                return;
            }
            out.extend([0, 0]);
        }
        out.extend(four(length));
    }

    fn end_of(&self, length: u32) -> Result<usize, OutOfBounds> {
        let end = self.at.saturating_add(length as usize);
        // an odd last value may lack its padding byte
        if end > self.bytes.len() + 1 {
            Err(OutOfBounds::Length)
        } else {
            Ok(end)
        }
    }

    /// The group of the next element, in little endian.
    pub(super) fn group(&self) -> Option<u16> {
        self.two(self.at, Syntax::EXPLICIT).ok()
    }

    /// The next `length` bytes.
    pub(super) fn value(&self, length: u32) -> Option<&'a [u8]> {
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
    pub(super) fn header(&mut self, syntax: Syntax) -> Result<ElementHeader, OutOfBounds> {
        let tag = (self.two(self.at, syntax)?, self.two(self.at + 2, syntax)?);
        if !syntax.explicit || tag.0 == ITEM.0 {
            let length = self.four(self.at + 4, syntax)?;
            self.at += 8;
            return Ok(ElementHeader {
                tag,
                vr: *b"  ",
                length,
            });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(syntax: Syntax, bytes: &[u8]) -> Result<Structure, OutOfBounds> {
        data_set(bytes, 0, syntax)
    }

    #[test]
    fn a_length_beyond_the_end_is_found_at_any_level() {
        let long = b"\x10\x00\x20\x00OB\0\0\xF0\xFF\xFF\x0Fab";
        assert_eq!(walk(Syntax::EXPLICIT, long), Err(OutOfBounds::Length));
        let nested = [
            b"\x08\x00\x15\x11SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF".as_slice(),
            long,
        ]
        .concat();
        assert_eq!(walk(Syntax::EXPLICIT, &nested), Err(OutOfBounds::Length));
        let implicit = b"\x10\x00\x20\x00\xF0\xFF\xFF\x0Fab";
        assert_eq!(walk(Syntax::IMPLICIT, implicit), Err(OutOfBounds::Length));
        let fragment = b"\xE0\x7F\x10\x00OB\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\x09\x00\x00\x00abcd";
        assert_eq!(walk(Syntax::EXPLICIT, fragment), Err(OutOfBounds::Length));
    }

    #[test]
    fn endless_nesting_is_found() {
        let level = b"\x08\x00\x15\x11SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF";
        assert_eq!(
            walk(Syntax::EXPLICIT, &level.repeat(20_000)),
            Err(OutOfBounds::Depth)
        );
        assert!(walk(Syntax::EXPLICIT, &level.repeat(20)).is_ok());
    }

    #[test]
    fn the_items_of_compressed_pixels_are_found_with_and_without_their_delimiter() {
        let open = b"\x08\x00\x60\x00CS\x02\x00DX\xE0\x7F\x10\x00OB\0\0\xFF\xFF\xFF\xFF";
        let items = b"\xFE\xFF\x00\xE0\x00\x00\x00\x00\xFE\xFF\x00\xE0\x04\x00\x00\x00abcd";
        let close = b"\xFE\xFF\xDD\xE0\x00\x00\x00\x00";
        let expected = |repairs: &[Repair]| Structure {
            header: Header::AsWritten(0..10),
            pixels: Some(Pixels::Encapsulated(vec![30..30, 38..42])),
            repairs: set(repairs),
        };
        let whole = [open.as_slice(), items, close].concat();
        assert_eq!(walk(Syntax::EXPLICIT, &whole), Ok(expected(&[])));
        let open_ended = [open.as_slice(), items].concat();
        assert_eq!(
            walk(Syntax::EXPLICIT, &open_ended),
            Ok(expected(&[Repair::Delimiter]))
        );
    }

    #[test]
    fn an_icons_pixels_are_not_the_images() {
        let icon = b"\x88\x00\x00\x02SQ\0\0\x16\x00\x00\x00\xFE\xFF\x00\xE0\x0E\x00\x00\x00\xE0\x7F\x10\x00OB\0\0\x02\x00\x00\x00xy";
        let image = b"\xE0\x7F\x10\x00OW\0\0\x04\x00\x00\x00abcd";
        let both = [icon.as_slice(), image].concat();
        let structure = walk(Syntax::EXPLICIT, &both).unwrap();
        assert_eq!(structure.header, Header::AsWritten(0..34));
        assert_eq!(
            structure.pixels,
            Some(Pixels::Native {
                value: 46..50,
                words: true
            })
        );
        assert_eq!(walk(Syntax::EXPLICIT, icon).unwrap().pixels, None);
    }

    fn set(repairs: &[Repair]) -> Repairs {
        let mut all = Repairs::default();
        for repair in repairs {
            all.add(*repair);
        }
        all
    }

    /// The header as a parser gets it, and the repairs.
    fn repaired(bytes: &[u8]) -> (Vec<u8>, Repairs) {
        let structure = walk(Syntax::EXPLICIT, bytes).unwrap();
        let header = match structure.header {
            Header::AsWritten(range) => bytes[range].to_vec(),
            Header::Rewritten(header) => header,
        };
        (header, structure.repairs)
    }

    const MODALITY: &[u8] = b"\x08\x00\x60\x00CS\x02\x00DX";
    const ROWS: &[u8] = b"\x28\x00\x10\x00US\x02\x00\xC4\x09";

    #[test]
    fn what_a_strict_parser_would_misread_is_written_anew() {
        let whole = [MODALITY, ROWS].concat();
        let wrong_vr = set(&[Repair::ValueRepresentation]);
        for (what, rows, repairs) in [
            (
                "implicit",
                b"\x28\x00\x10\x00\x02\x00\x00\x00\xC4\x09".as_slice(),
                &wrong_vr,
            ),
            ("no VR", b"\x28\x00\x10\x00??\x02\x00\xC4\x09", &wrong_vr),
            (
                "no VR, long",
                b"\x28\x00\x10\x00??\0\0\x02\0\0\0\xC4\x09",
                &wrong_vr,
            ),
            ("OB", b"\x28\x00\x10\x00OB\0\0\x02\0\0\0\xC4\x09", &wrong_vr),
            ("unknown", b"\x28\x00\x10\x00UN\0\0\x02\0\0\0\xC4\x09", &set(&[])),
        ] {
            let (header, found) = repaired(&[MODALITY, rows].concat());
            assert_eq!((&header, &found), (&whole, repairs), "{what}");
        }
    }

    #[test]
    fn what_is_open_at_the_end_is_closed() {
        let sequence = b"\x08\x00\x15\x11SQ\0\0\xFF\xFF\xFF\xFF";
        let item = b"\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF";
        let ends = b"\xFE\xFF\x0D\xE0\0\0\0\0\xFE\xFF\xDD\xE0\0\0\0\0";
        let open = [sequence.as_slice(), item, MODALITY].concat();
        let closed = [open.as_slice(), ends].concat();
        assert_eq!(repaired(&open), (closed.clone(), set(&[Repair::Delimiter])));
        assert_eq!(repaired(&closed), (closed, set(&[])));
    }

    #[test]
    fn bytes_behind_the_last_element_are_left_out() {
        let trailing = set(&[Repair::TrailingBytes]);
        assert_eq!(
            repaired(&[MODALITY, b"\r\n"].concat()),
            (MODALITY.to_vec(), trailing.clone())
        );
        let pixels = b"\xE0\x7F\x10\x00OW\0\0\x04\x00\x00\x00abcd";
        for behind in [b"\0\0\0\0\0\0\0\0\0\0".as_slice(), b"garbage of any kind", b"x"] {
            let structure = walk(Syntax::EXPLICIT, &[MODALITY, pixels, behind].concat()).unwrap();
            assert_eq!(structure.header, Header::AsWritten(0..10));
            assert_eq!(structure.repairs, trailing);
        }
        let padding = b"\xFC\xFF\xFC\xFFOB\0\0\x02\0\0\0\0\0";
        let structure = walk(Syntax::EXPLICIT, &[MODALITY, pixels, padding].concat()).unwrap();
        assert!(structure.repairs.is_empty());
    }

    #[test]
    fn more_elements_or_values_than_an_image_needs_are_refused() {
        let elements = MODALITY.repeat(MOST_PARTS + 1);
        assert_eq!(walk(Syntax::EXPLICIT, &elements), Err(OutOfBounds::Parts));
        assert!(walk(Syntax::EXPLICIT, &MODALITY.repeat(1000)).is_ok());
        let mut values = b"\x18\x00\x10\x00UC\0\0".to_vec();
        values.extend((MOST_PARTS as u32 + 8).to_le_bytes());
        values.resize(values.len() + MOST_PARTS + 8, b'\\');
        assert_eq!(walk(Syntax::EXPLICIT, &values), Err(OutOfBounds::Parts));
    }
}

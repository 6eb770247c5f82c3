//! Where the parts of a file lie, found before anything is parsed: no length beyond the end, no nesting without end.
//!
//! One pass over the headers, which neither allocates for values nor recurses. It bounds what the parser would take on
//! trust (memory for a declared length, a call for each level of nesting) and finds the pixels, so that they are never
//! copied: ten megabytes of a radiograph stay where they arrived.

use std::ops::Range;

use dicom_dictionary_std::uids;

/// The deepest nesting of sequences and items that is read; real files have less than ten levels.
const MOST_LEVELS: usize = 64;
const UNDEFINED: u32 = 0xFFFF_FFFF;

/// Value representations with 16 bits of length; all others have two reserved bytes and 32 bits (PS3.5 section 7.1.2).
const SHORT: [&[u8; 2]; 21] = [
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL",
    b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
];

/// How the elements of a level are written.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Syntax {
    explicit: bool,
    big_endian: bool,
}

const EXPLICIT: Syntax = Syntax {
    explicit: true,
    big_endian: false,
};
const IMPLICIT: Syntax = Syntax {
    explicit: false,
    big_endian: false,
};

/// Why a structure is out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OutOfBounds {
    /// A length that reaches beyond the end.
    #[error("the data set ends early or a declared length is wrong")]
    Length,
    /// Sequences inside sequences without end.
    #[error("sequences are nested more than {MOST_LEVELS} deep")]
    Depth,
}

/// The file meta information of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    /// Transfer Syntax UID (0002,0010) without padding; empty where the file does not say.
    pub(super) transfer_syntax: String,
    /// Where the data set begins.
    pub(super) end: usize,
}

/// The places of a data set's header and pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Structure {
    /// The elements before Pixel Data (7FE0,0010).
    pub(super) header: Range<usize>,
    /// The value of Pixel Data, if there is one.
    pub(super) pixels: Option<Pixels>,
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

/// Reads the file meta information, whose first element is at `start`.
///
/// It ends where group 0002 does, whatever its own group length says: writers are known to get that wrong.
///
/// # Errors
/// [`OutOfBounds`].
pub(super) fn meta(file: &[u8], start: usize) -> Result<Meta, OutOfBounds> {
    let mut walk = Walk::new(file, start);
    let mut transfer_syntax = String::new();
    while walk.two(walk.at, EXPLICIT) == Ok(2) {
        let header = walk.header(EXPLICIT)?;
        let value = file
            .get(walk.at..walk.at.saturating_add(header.length as usize))
            .ok_or(OutOfBounds::Length)?;
        if header.tag == (0x0002, 0x0010) {
            String::from_utf8_lossy(value)
                .trim_end_matches(['\0', ' '])
                .clone_into(&mut transfer_syntax);
        }
        walk.at += value.len();
    }
    Ok(Meta {
        transfer_syntax,
        end: walk.at,
    })
}

/// Walks the data set that begins at `start` and is not deflated.
///
/// # Errors
/// [`OutOfBounds`].
pub(super) fn data_set(bytes: &[u8], start: usize, transfer_syntax: &str) -> Result<Structure, OutOfBounds> {
    let syntax = match transfer_syntax {
        uids::IMPLICIT_VR_LITTLE_ENDIAN => IMPLICIT,
        super::BIG_ENDIAN => Syntax {
            explicit: true,
            big_endian: true,
        },
        _ => EXPLICIT,
    };
    Walk::new(bytes, start).data_set(syntax)
}

struct Header {
    tag: (u16, u16),
    vr: [u8; 2],
    length: u32,
}

/// An open sequence or item: where it ends, if that is declared, and how its elements are written.
#[derive(Clone, Copy)]
struct Level {
    end: Option<usize>,
    syntax: Syntax,
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    levels: Vec<Level>,
}

impl<'a> Walk<'a> {
    fn new(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at,
            levels: Vec::new(),
        }
    }

    fn data_set(mut self, syntax: Syntax) -> Result<Structure, OutOfBounds> {
        let start = self.at;
        let mut found = None;
        loop {
            while self
                .levels
                .last()
                .is_some_and(|level| level.end.is_some_and(|end| self.at >= end))
            {
                self.levels.pop();
            }
            // fewer bytes than a header has are the parser's to judge
            if self.bytes.len().saturating_sub(self.at) < 8 {
                break;
            }
            let before = self.at;
            let syntax = self.levels.last().map_or(syntax, |level| level.syntax);
            let header = self.header(syntax)?;
            match header.tag {
                (0xFFFE, 0xE00D | 0xE0DD) => {
                    self.levels.pop();
                }
                (0x7FE0, 0x0010) => {
                    let value = self.pixels(&header, syntax)?;
                    // pixels inside a sequence are an icon's
                    if self.levels.is_empty() && found.is_none() {
                        found = Some((before, value));
                    }
                }
                // written as implicit VR, whatever is around it (PS3.5 section 6.2.2, note 4)
                _ if header.length == UNDEFINED && &header.vr == b"UN" => self.open(UNDEFINED, IMPLICIT)?,
                (0xFFFE, 0xE000) => self.open(header.length, syntax)?,
                _ if header.length == UNDEFINED || &header.vr == b"SQ" => self.open(header.length, syntax)?,
                _ => self.at = self.end_of(header.length)?,
            }
        }
        let (end, pixels) = match found {
            Some((end, value)) => (end, Some(value)),
            None => (self.bytes.len(), None),
        };
        Ok(Structure {
            header: start..end.max(start),
            pixels,
        })
    }

    /// Moves behind the value of Pixel Data.
    fn pixels(&mut self, header: &Header, syntax: Syntax) -> Result<Pixels, OutOfBounds> {
        if header.length != UNDEFINED {
            let start = self.at;
            self.at = self.end_of(header.length)?;
            return Ok(Pixels::Native {
                value: start..self.at.min(self.bytes.len()),
                words: &header.vr != b"OB",
            });
        }
        let mut items = Vec::new();
        // a file that ends without its Sequence Delimitation Item is complete all the same
        while self.bytes.len().saturating_sub(self.at) >= 8 {
            let header = self.header(syntax)?;
            if header.tag != (0xFFFE, 0xE000) {
                break;
            }
            let start = self.at;
            self.at = self.end_of(header.length)?;
            items.push(start..self.at.min(self.bytes.len()));
        }
        Ok(Pixels::Encapsulated(items))
    }

    fn open(&mut self, length: u32, syntax: Syntax) -> Result<(), OutOfBounds> {
        if self.levels.len() >= MOST_LEVELS {
            return Err(OutOfBounds::Depth);
        }
        let end = if length == UNDEFINED {
            None
        } else {
            Some(self.end_of(length)?)
        };
        self.levels.push(Level { end, syntax });
        Ok(())
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
    fn header(&mut self, syntax: Syntax) -> Result<Header, OutOfBounds> {
        let tag = (self.two(self.at, syntax)?, self.two(self.at + 2, syntax)?);
        if !syntax.explicit || tag.0 == 0xFFFE {
            let length = self.four(self.at + 4, syntax)?;
            self.at += 8;
            return Ok(Header {
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
        if SHORT.contains(&&vr) {
            let length = u32::from(self.two(self.at + 6, syntax)?);
            self.at += 8;
            return Ok(Header { tag, vr, length });
        }
        let length = self.four(self.at + 8, syntax)?;
        self.at += 12;
        Ok(Header { tag, vr, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LITTLE: &str = "1.2.840.10008.1.2.1";

    fn walk(syntax: &str, bytes: &[u8]) -> Result<Structure, OutOfBounds> {
        data_set(bytes, 0, syntax)
    }

    #[test]
    fn a_length_beyond_the_end_is_found_at_any_level() {
        let long = b"\x10\x00\x20\x00OB\0\0\xF0\xFF\xFF\x0Fab";
        assert_eq!(walk(LITTLE, long), Err(OutOfBounds::Length));
        let nested = [
            b"\x08\x00\x15\x11SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF".as_slice(),
            long,
        ]
        .concat();
        assert_eq!(walk(LITTLE, &nested), Err(OutOfBounds::Length));
        let implicit = b"\x10\x00\x20\x00\xF0\xFF\xFF\x0Fab";
        assert_eq!(walk("1.2.840.10008.1.2", implicit), Err(OutOfBounds::Length));
        let fragment = b"\xE0\x7F\x10\x00OB\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\x09\x00\x00\x00abcd";
        assert_eq!(walk("1.2.840.10008.1.2.4.70", fragment), Err(OutOfBounds::Length));
    }

    #[test]
    fn endless_nesting_is_found() {
        let level = b"\x08\x00\x15\x11SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF";
        assert_eq!(walk(LITTLE, &level.repeat(20_000)), Err(OutOfBounds::Depth));
        assert!(walk(LITTLE, &level.repeat(20)).is_ok());
    }

    #[test]
    fn the_items_of_compressed_pixels_are_found_with_and_without_their_delimiter() {
        let open = b"\x08\x00\x60\x00CS\x02\x00DX\xE0\x7F\x10\x00OB\0\0\xFF\xFF\xFF\xFF";
        let items = b"\xFE\xFF\x00\xE0\x00\x00\x00\x00\xFE\xFF\x00\xE0\x04\x00\x00\x00abcd";
        let close = b"\xFE\xFF\xDD\xE0\x00\x00\x00\x00";
        let expected = Structure {
            header: 0..10,
            pixels: Some(Pixels::Encapsulated(vec![30..30, 38..42])),
        };
        let whole = [open.as_slice(), items, close].concat();
        assert_eq!(walk("1.2.840.10008.1.2.4.70", &whole), Ok(expected.clone()));
        let open_ended = [open.as_slice(), items].concat();
        assert_eq!(walk("1.2.840.10008.1.2.4.70", &open_ended), Ok(expected));
    }

    #[test]
    fn an_icons_pixels_are_not_the_images() {
        let icon = b"\x88\x00\x00\x02SQ\0\0\x16\x00\x00\x00\xFE\xFF\x00\xE0\x0E\x00\x00\x00\xE0\x7F\x10\x00OB\0\0\x02\x00\x00\x00xy";
        let image = b"\xE0\x7F\x10\x00OW\0\0\x04\x00\x00\x00abcd";
        let both = [icon.as_slice(), image].concat();
        let structure = walk(LITTLE, &both).unwrap();
        assert_eq!(structure.header, 0..34);
        assert_eq!(
            structure.pixels,
            Some(Pixels::Native {
                value: 46..50,
                words: true
            })
        );
        assert_eq!(walk(LITTLE, icon).unwrap().pixels, None);
    }

    #[test]
    fn the_meta_information_ends_where_its_group_does() {
        let file = b"\x02\x00\x00\x00UL\x04\x00\xFF\0\0\0\x02\x00\x10\x00UI\x04\x001.2\0\x08\x00\x60\x00CS\x02\x00DX";
        assert_eq!(
            meta(file, 0),
            Ok(Meta {
                transfer_syntax: "1.2".to_owned(),
                end: 24
            })
        );
    }
}

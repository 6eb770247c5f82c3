//! A look at a data set's structure before it is parsed: no length beyond the end, no nesting without end.
//!
//! The parser takes memory for a declared length before it reads, and recurses into sequences; both are bounded here,
//! in one pass over the headers that neither allocates for values nor recurses. Deflated data sets cannot be looked at
//! without inflating them; they pass.

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

/// Why a structure is out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfBounds {
    /// A length that reaches beyond the end.
    #[error("the data set ends early or a declared length is wrong")]
    Length,
    /// Sequences inside sequences without end.
    #[error("sequences are nested more than {MOST_LEVELS} deep")]
    Depth,
}

/// Checks the file's structure.
///
/// # Errors
/// [`OutOfBounds`].
pub fn check(file: &[u8]) -> Result<(), OutOfBounds> {
    let start = if file.get(128..132) == Some(b"DICM") {
        132
    } else {
        4
    };
    let meta = Syntax {
        explicit: true,
        big_endian: false,
    };
    let mut walk = Walk {
        bytes: file,
        at: start,
        levels: Vec::new(),
    };
    // the file meta information ends where group 0002 does
    let mut uid = String::new();
    while walk.group(meta) == Some(2) {
        let header = walk.header(meta)?;
        let value = file
            .get(walk.at..walk.at.saturating_add(header.length as usize))
            .ok_or(OutOfBounds::Length)?;
        if header.tag == (0x0002, 0x0010) {
            String::from_utf8_lossy(value)
                .trim_end_matches(['\0', ' '])
                .clone_into(&mut uid);
        }
        walk.at += value.len();
    }
    let syntax = match uid.as_str() {
        uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => return Ok(()),
        uids::IMPLICIT_VR_LITTLE_ENDIAN => Syntax {
            explicit: false,
            big_endian: false,
        },
        "1.2.840.10008.1.2.2" => Syntax {
            explicit: true,
            big_endian: true,
        },
        _ => meta,
    };
    walk.data_set(syntax)
}

struct Header {
    tag: (u16, u16),
    vr: [u8; 2],
    length: u32,
}

/// An open sequence or item: where it ends, if that is declared, how its elements are written, whether its items hold
/// compressed pixels.
#[derive(Clone, Copy)]
struct Level {
    end: Option<usize>,
    syntax: Syntax,
    fragments: bool,
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    levels: Vec<Level>,
}

impl Walk<'_> {
    fn data_set(&mut self, syntax: Syntax) -> Result<(), OutOfBounds> {
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
                return Ok(());
            }
            let level = self.levels.last().copied();
            let syntax = level.map_or(syntax, |level| level.syntax);
            let header = self.header(syntax)?;
            match header.tag {
                (0xFFFE, 0xE00D | 0xE0DD) => {
                    self.levels.pop();
                }
                (0xFFFE, 0xE000) if !level.is_some_and(|level| level.fragments) => {
                    self.open(header.length, syntax, false)?;
                }
                (0x7FE0, 0x0010) if header.length == UNDEFINED => self.open(UNDEFINED, syntax, true)?,
                _ if header.length == UNDEFINED && &header.vr == b"UN" => {
                    // written as implicit VR, whatever is around it (PS3.5 section 6.2.2, note 4)
                    self.open(
                        UNDEFINED,
                        Syntax {
                            explicit: false,
                            big_endian: false,
                        },
                        false,
                    )?;
                }
                _ if header.length == UNDEFINED || &header.vr == b"SQ" => {
                    self.open(header.length, syntax, false)?;
                }
                _ => self.at = self.end_of(header.length)?,
            }
        }
    }

    fn open(&mut self, length: u32, syntax: Syntax, fragments: bool) -> Result<(), OutOfBounds> {
        if self.levels.len() >= MOST_LEVELS {
            return Err(OutOfBounds::Depth);
        }
        let end = if length == UNDEFINED {
            None
        } else {
            Some(self.end_of(length)?)
        };
        self.levels.push(Level {
            end,
            syntax,
            fragments,
        });
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

    fn group(&self, syntax: Syntax) -> Option<u16> {
        self.two(self.at, syntax).ok()
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

    /// A file meta group that names a transfer syntax, and a data set behind it.
    fn file(syntax: &str, data_set: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 128];
        bytes.extend_from_slice(b"DICM\x02\x00\x10\x00UI");
        bytes.extend_from_slice(&(syntax.len() as u16).to_le_bytes());
        bytes.extend_from_slice(syntax.as_bytes());
        bytes.extend_from_slice(data_set);
        bytes
    }

    #[test]
    fn a_length_beyond_the_end_is_found_at_any_level() {
        let long = b"\x10\x00\x20\x00OB\0\0\xF0\xFF\xFF\x0Fab";
        assert_eq!(
            check(&file("1.2.840.10008.1.2.1 ", long)),
            Err(OutOfBounds::Length)
        );
        let nested = [
            b"\x08\x00\x15\x11SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF".as_slice(),
            long,
        ]
        .concat();
        assert_eq!(
            check(&file("1.2.840.10008.1.2.1 ", &nested)),
            Err(OutOfBounds::Length)
        );
        let implicit = b"\x10\x00\x20\x00\xF0\xFF\xFF\x0Fab";
        assert_eq!(
            check(&file("1.2.840.10008.1.2 ", implicit)),
            Err(OutOfBounds::Length)
        );
    }

    #[test]
    fn endless_nesting_is_found() {
        let level = b"\x08\x00\x15\x11SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF";
        assert_eq!(
            check(&file("1.2.840.10008.1.2.1 ", &level.repeat(20_000))),
            Err(OutOfBounds::Depth)
        );
        assert_eq!(check(&file("1.2.840.10008.1.2.1 ", &level.repeat(20))), Ok(()));
    }

    #[test]
    fn compressed_pixels_and_sequences_pass() {
        let fragments = b"\xE0\x7F\x10\x00OB\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\x00\x00\x00\x00\xFE\xFF\x00\xE0\x04\x00\x00\x00abcd\xFE\xFF\xDD\xE0\x00\x00\x00\x00";
        assert_eq!(check(&file("1.2.840.10008.1.2.4.70", fragments)), Ok(()));
    }
}

//! Where the parts of a data set lie, found before anything is parsed: no length beyond the end, no nesting without end.
//!
//! One pass over the headers, which neither allocates for values nor recurses. It bounds what the parser would take on
//! trust (memory for a declared length, for every value, a call for each level of nesting) and finds the pixels, so that
//! they are never copied: ten megabytes of a radiograph stay where they arrived. Only a header that the parser could not
//! read, or would misread, is written anew.

mod headers;
mod rewritten;
#[cfg(test)]
mod tests;
mod text;

use std::ops::Range;

use super::character_set::CharacterSets;
use super::repair::{Repair, Repairs};
use super::value_representation::{self as vr, judged};
use headers::ElementHeader;
use rewritten::Rewritten;

/// The deepest nesting of sequences and items that is read; real files have less than ten levels.
const MOST_LEVELS: usize = 64;
/// The most elements, items and single values that are read; a radiograph has some hundreds, and each takes memory.
const MOST_PARTS: usize = 500_000;
const UNDEFINED: u32 = 0xFFFF_FFFF;
const ITEM: (u16, u16) = (0xFFFE, 0xE000);
const ITEM_END: (u16, u16) = (0xFFFE, 0xE00D);
const SEQUENCE_END: (u16, u16) = (0xFFFE, 0xE0DD);
const PIXEL_DATA: (u16, u16) = (0x7FE0, 0x0010);
const PHOTOMETRIC_INTERPRETATION: (u16, u16) = (0x0028, 0x0004);

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
    /// More before Pixel Data than there may be.
    #[error("the elements before Pixel Data have more than {} MiB", .0 >> 20)]
    Header(usize),
}

/// The header and the pixels of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Structure {
    /// The elements before Pixel Data (7FE0,0010).
    pub(super) header: Header,
    /// The value of Pixel Data, if there is one.
    pub(super) pixels: Option<Pixels>,
    /// Where the value of Photometric Interpretation (0028,0004) lies among the elements of the header.
    pub(super) photometric: Option<Range<usize>>,
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

/// Walks the data set that begins at `start` and is not deflated; before its pixels there may be `most` bytes.
///
/// # Errors
/// [`OutOfBounds`].
pub(super) fn data_set(
    bytes: &[u8],
    start: usize,
    syntax: Syntax,
    most: usize,
) -> Result<Structure, OutOfBounds> {
    let mut walk = Walk::new(bytes, start);
    let (end, pixels) = walk.data_set(syntax)?;
    if end - start > most {
        return Err(OutOfBounds::Header(most));
    }
    let mut photometric = walk
        .photometric
        .take()
        .map(|place| place.start - start..place.end - start);
    let header = if walk.unreadable {
        let mut again = Walk::new(bytes, start);
        again.in_unicode = walk.in_unicode;
        again.rewritten = Some(Rewritten {
            syntax,
            bytes: Vec::new(),
        });
        again.data_set(syntax)?;
        photometric = again.photometric;
        Header::Rewritten(
            again
                .rewritten
                .map(|rewritten| rewritten.bytes)
                .unwrap_or_default(),
        )
    } else {
        Header::AsWritten(start..end)
    };
    Ok(Structure {
        header,
        pixels,
        photometric,
        repairs: walk.repairs,
    })
}

/// An open sequence or item: where it ends, if that is declared, and how its elements are written.
#[derive(Clone, Copy)]
struct Level {
    end: Option<usize>,
    /// Where the innermost that has a declared end does: nothing inside may reach further.
    limit: usize,
    syntax: Syntax,
    is_item: bool,
    character_sets: CharacterSets,
}

impl Level {
    fn end_tag(&self) -> (u16, u16) {
        if self.is_item { ITEM_END } else { SEQUENCE_END }
    }
}

/// A place in a file, and what has been seen on the way to it.
pub(super) struct Walk<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
    levels: Vec<Level>,
    parts: usize,
    pub(super) repairs: Repairs,
    /// Whether a strict parser would stumble.
    unreadable: bool,
    rewritten: Option<Rewritten>,
    /// The character sets of the outermost data set.
    character_sets: CharacterSets,
    /// Whether texts are rewritten in Unicode: a character set is beyond the parser.
    in_unicode: bool,
    /// Where the value of Photometric Interpretation is: in the file, or in what is rewritten.
    photometric: Option<Range<usize>>,
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
            character_sets: CharacterSets::default(),
            in_unicode: false,
            photometric: None,
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
            if self.at > self.limit() {
                return Err(OutOfBounds::Length);
            }
            self.count(1)?;
            match header.tag {
                ITEM_END | SEQUENCE_END => self.delimiter(&header),
                PIXEL_DATA if self.levels.is_empty() => {
                    let pixels = self.pixels(&header, syntax)?;
                    self.behind_the_pixels(syntax);
                    return Ok((before, Some(pixels)));
                }
                // pixels inside a sequence are an icon's: nobody needs them where the header is written anew
                PIXEL_DATA if header.length == UNDEFINED => drop(self.pixels(&header, syntax)?),
                // written as implicit VR, whatever is around it (PS3.5 section 6.2.2, note 4)
                _ if &header.vr == b"UN" && self.is_unknown_sequence(&header, syntax) => {
                    self.unreadable = true;
                    self.open(&header, Syntax::IMPLICIT)?;
                }
                _ if header.tag == ITEM || header.length == UNDEFINED || &header.vr == b"SQ" => {
                    self.open(&header, syntax)?;
                }
                _ => self.element(header, syntax)?,
            }
        }
    }

    /// Whether an element without a known value representation holds items.
    fn is_unknown_sequence(&self, header: &ElementHeader, syntax: Syntax) -> bool {
        let first = (self.two(self.at, syntax), self.two(self.at + 2, syntax));
        header.length == UNDEFINED
            || (vr::of_dictionary(header.tag) == Some(*b"SQ") && first == (Ok(ITEM.0), Ok(ITEM.1)))
    }

    /// Closes what a delimiter says is at its end, if it is open: a sequence with an item that has none of its own, but an
    /// item only if it is the innermost.
    fn delimiter(&mut self, header: &ElementHeader) {
        let is_open = |depth: usize, is_item: bool| {
            let level = self.levels.iter().rev().nth(depth);
            level.is_some_and(|level| level.is_item == is_item)
        };
        let is_item = header.tag == ITEM_END;
        let levels = if is_open(0, is_item) {
            1
        } else if !is_item && is_open(0, true) && is_open(1, false) {
            2
        } else {
            0
        };
        if levels != 1 || header.length != 0 {
            self.repairs.add(Repair::Delimiter);
            self.unreadable = true;
        }
        for _ in 0..levels {
            self.close();
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
        if better.is_some() {
            self.unreadable = true;
            // UN is what the standard wants of a writer that does not know better
            if &header.vr != b"UN" {
                self.repairs.add(Repair::ValueRepresentation);
            }
        }
        let vr = better.unwrap_or(header.vr);
        let part = value.len() % vr::unit(vr);
        if part > 0 {
            self.repairs.add(Repair::OddLength);
            self.unreadable = true;
        }
        let whole = start..start + value.len() - part;
        if let Some(text) = self.unicode(header.tag, vr, whole.clone()) {
            self.write_text(header.tag, vr, text);
            return Ok(());
        }
        self.write_header(header.tag, vr, whole.len() as u32);
        if header.tag == PHOTOMETRIC_INTERPRETATION && self.levels.is_empty() {
            let rewritten = self.rewritten.as_ref().map(|rewritten| rewritten.bytes.len());
            let place = rewritten.unwrap_or(start);
            self.photometric = Some(place..place + whole.len());
        }
        self.copy(whole);
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
        // what it finds there is nothing that has to be put right
        let mut walk = Walk::new(self.bytes, self.at);
        let mut last = PIXEL_DATA;
        while walk.at < self.bytes.len() {
            let header = walk.header(syntax).ok();
            let Some(header) = header.filter(|header| header.tag > last && !walk.unreadable) else {
                self.repairs.add(Repair::TrailingBytes);
                return;
            };
            // what is inside such a sequence is nobody's concern
            if header.length == UNDEFINED {
                return;
            }
            let Ok(end) = walk.end_of(header.length) else {
                self.repairs.add(Repair::TrailingBytes);
                return;
            };
            walk.at = end;
            last = header.tag;
        }
    }

    /// Opens a sequence or an item, whose elements are written so.
    fn open(&mut self, header: &ElementHeader, syntax: Syntax) -> Result<(), OutOfBounds> {
        if self.levels.len() >= MOST_LEVELS {
            return Err(OutOfBounds::Depth);
        }
        let end = if header.length == UNDEFINED {
            None
        } else {
            Some(self.end_of(header.length)?)
        };
        self.write_header(header.tag, *b"SQ", UNDEFINED);
        self.levels.push(Level {
            end,
            limit: end.unwrap_or(self.limit()),
            syntax,
            is_item: header.tag == ITEM,
            character_sets: self.character_sets_here(),
        });
        Ok(())
    }

    /// Closes the innermost sequence or item.
    fn close(&mut self) {
        if let Some(level) = self.levels.pop() {
            self.write_header(level.end_tag(), *b"  ", 0);
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
            rewritten
                .bytes
                .extend_from_slice(&self.bytes[range.start..range.end.min(self.bytes.len())]);
        }
    }

    fn write_header(&mut self, tag: (u16, u16), vr: [u8; 2], length: u32) {
        if let Some(rewritten) = &mut self.rewritten {
            rewritten.header(tag, vr, length);
        }
    }

    /// How far an element may reach.
    fn limit(&self) -> usize {
        // an odd last value may lack its padding byte
        self.levels
            .last()
            .map_or(self.bytes.len() + 1, |level| level.limit)
    }

    fn end_of(&self, length: u32) -> Result<usize, OutOfBounds> {
        let end = self.at.saturating_add(length as usize);
        if end > self.limit() {
            Err(OutOfBounds::Length)
        } else {
            Ok(end)
        }
    }
}

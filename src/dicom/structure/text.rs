//! Texts in character sets that the parser would misread: they are rewritten in UTF-8, all of a file or none.

use std::ops::Range;

use super::super::character_set::CharacterSets;
use super::Walk;

const SPECIFIC_CHARACTER_SET: (u16, u16) = (0x0008, 0x0005);
/// Value representations whose texts are in the character sets of their data set (PS3.5 section 6.1.2.3).
const TEXTS: [&[u8; 2]; 7] = [b"LO", b"LT", b"PN", b"SH", b"ST", b"UC", b"UT"];

impl Walk<'_> {
    /// The character sets of the data set that is being walked; an item has those of what it stands in, unless it names its own.
    pub(super) fn character_sets_here(&self) -> CharacterSets {
        let level = self.levels.last();
        level.map_or(self.character_sets, |level| level.character_sets)
    }

    /// What stands in the place of a value where texts are rewritten in Unicode; looks at the names of character sets on the way.
    pub(super) fn unicode(&mut self, tag: (u16, u16), vr: [u8; 2], value: Range<usize>) -> Option<Vec<u8>> {
        let value = self.bytes.get(value)?;
        if tag == SPECIFIC_CHARACTER_SET {
            let sets = CharacterSets::of(value);
            match self.levels.last_mut() {
                Some(level) => level.character_sets = sets,
                None => self.character_sets = sets,
            }
            if sets.is_beyond_the_parser() {
                self.in_unicode = true;
                self.unreadable = true;
            }
            return self.in_unicode.then(|| b"ISO_IR 192".to_vec());
        }
        if !self.in_unicode || self.rewritten.is_none() || !TEXTS.contains(&&vr) {
            return None;
        }
        let mut text = self
            .character_sets_here()
            .decode(value, &vr == b"PN")
            .into_bytes();
        if text.len() % 2 == 1 {
            text.push(b' ');
        }
        Some(text)
    }

    /// Writes such a text, in a value representation that is long enough for it.
    pub(super) fn write_text(&mut self, tag: (u16, u16), vr: [u8; 2], text: Vec<u8>) {
        let vr = if text.len() > usize::from(u16::MAX) {
            *b"UT"
        } else {
            vr
        };
        self.write_header(tag, vr, text.len() as u32);
        if let Some(rewritten) = &mut self.rewritten {
            rewritten.bytes.extend(text);
        }
    }
}

//! Elements written anew, in one syntax.

use super::super::value_representation as vr;
use super::{ITEM, Syntax};

/// The elements before Pixel Data, written anew in one syntax; sequences and items without lengths.
pub(super) struct Rewritten {
    pub(super) syntax: Syntax,
    pub(super) bytes: Vec<u8>,
}

impl Rewritten {
    pub(super) fn header(&mut self, (group, element): (u16, u16), vr: [u8; 2], length: u32) {
        self.two(group);
        self.two(element);
        if !self.syntax.explicit || group == ITEM.0 {
            return self.four(length);
        }
        let vr = match u16::try_from(length) {
            Ok(length) if vr::is_short(vr) => {
                self.bytes.extend(vr);
                return self.two(length);
            }
            // too long for its own, as a table without value representation may be
            Err(_) if vr::is_short(vr) => *b"UN",
            _ if &vr == b"  " => *b"UN",
            _ => vr,
        };
        self.bytes.extend(vr);
        self.two(0);
        self.four(length);
    }

    fn two(&mut self, value: u16) {
        self.bytes.extend(if self.syntax.big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        });
    }

    fn four(&mut self, value: u32) {
        self.bytes.extend(if self.syntax.big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        });
    }
}

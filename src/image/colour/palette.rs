//! The colours that the pixels of a PALETTE COLOR image are numbers of (PS3.3 sections C.7.6.3.1.5 and C.7.6.3.1.6).

use dicom_core::Tag;
use dicom_core::value::{PrimitiveValue, Value};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use crate::dicom::text;

/// Descriptor and data of red, green and blue.
const TABLES: [(Tag, Tag); 3] = [
    (
        tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
        tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    ),
    (
        tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
        tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    ),
    (
        tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
        tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    ),
];

/// Red, green and blue of each stored value.
pub(super) struct Palette([Table; 3]);

struct Table {
    /// The stored value that the first entry is for.
    first: i32,
    /// At least one, of eight bits.
    entries: Vec<u8>,
}

impl Palette {
    /// That of an image; `None` where there is none, or it is in segments, or damaged.
    pub(super) fn of(header: &InMemDicomObject) -> Option<Self> {
        if text(header, tags::PHOTOMETRIC_INTERPRETATION)? != "PALETTE COLOR" {
            return None;
        }
        let [red, green, blue] = TABLES.map(|(descriptor, data)| Table::of(header, descriptor, data));
        Some(Self([red?, green?, blue?]))
    }

    /// The colour of a stored value; one outside of a table has that of its first or last entry.
    pub(super) fn colour(&self, stored: i32) -> [u8; 3] {
        self.0.each_ref().map(|table| {
            let index = stored.saturating_sub(table.first).max(0) as usize;
            let last = table.entries.len() - 1;
            table.entries.get(index.min(last)).copied().unwrap_or_default()
        })
    }
}

impl Table {
    fn of(header: &InMemDicomObject, descriptor: Tag, data: Tag) -> Option<Self> {
        let descriptor = header.get(descriptor)?.to_multi_int::<i32>().ok()?;
        let [count, first, bits] = *descriptor.as_slice() else {
            return None;
        };
        // a count of 0 stands for 65536
        let count = match count & 0xFFFF {
            0 => 65_536,
            count => count as usize,
        };
        let is_signed = header
            .get(tags::PIXEL_REPRESENTATION)
            .is_some_and(|element| matches!(element.to_int::<u16>(), Ok(1)));
        let first = if is_signed {
            i32::from(first as i16)
        } else {
            i32::from(first as u16)
        };
        let bytes = match header.get(data)?.value() {
            Value::Primitive(PrimitiveValue::U8(bytes)) => bytes.to_vec(),
            Value::Primitive(PrimitiveValue::U16(words)) => {
                words.iter().flat_map(|word| word.to_le_bytes()).collect()
            }
            _ => return None,
        };
        let entries: Vec<u8> = if bytes.len() >= 2 * count {
            // of sixteen bits the higher eight; some writers give entries of eight bits a word each
            let place = usize::from(bits == 16);
            bytes
                .chunks_exact(2)
                .take(count)
                .map(|word| word[place])
                .collect()
        } else {
            bytes.into_iter().take(count).collect()
        };
        (entries.len() == count && matches!(bits, 8 | 16)).then_some(Self { first, entries })
    }
}

//! Value representations as two letters: how long their lengths are, and whether a value can have one (PS3.5 section 6.2).

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;

/// Value representations with 16 bits of length; all others have two reserved bytes and 32 bits (PS3.5 section 7.1.2).
const SHORT: [&[u8; 2]; 21] = [
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL",
    b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
];

/// Value representations of one text or of bytes: a backslash in them divides nothing.
const UNDIVIDED: [&[u8; 2]; 11] = [
    b"LT", b"ST", b"UT", b"UR", b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ",
];

/// Whether the length of such an element has 16 bits.
pub(super) fn is_short(vr: [u8; 2]) -> bool {
    SHORT.contains(&&vr)
}

/// Whether there is such a value representation.
pub(super) fn is_known(vr: [u8; 2]) -> bool {
    VR::from_binary(vr).is_some()
}

/// Whether a parser would divide the value at its backslashes; without a value representation it may.
pub(super) fn has_many_values(vr: [u8; 2]) -> bool {
    !UNDIVIDED.contains(&&vr)
}

/// The group of Rows, Columns and all else that describes pixels.
const IMAGE: u16 = 0x0028;
const LUT_DESCRIPTOR: (u16, u16) = (0x0028, 0x3002);

/// What the data dictionary says of a standard element.
pub(super) fn of_dictionary((group, element): (u16, u16)) -> Option<[u8; 2]> {
    let entry = StandardDataDictionary.by_tag(Tag(group, element))?;
    let letters = entry.vr().relaxed().to_string().as_bytes();
    letters.try_into().ok()
}

/// The dictionary's value representation, where a value of explicit VR cannot be read by its own: bytes that are called UN,
/// OB or OW and are something else, and numbers of the image that are called text.
pub(super) fn judged(tag: (u16, u16), vr: [u8; 2], value: &[u8]) -> Option<[u8; 2]> {
    let bytes = matches!(&vr, b"UN" | b"OB" | b"OW");
    let text = size(vr).is_none() && !bytes && is_short(vr);
    if !bytes && !text {
        return None;
    }
    let better = of_dictionary(tag).filter(|better| *better != vr)?;
    if better.starts_with(b"O") || &better == b"SQ" || &better == b"UN" {
        return None;
    }
    // text that is called unknown must not become a number, which nobody would look at: only the few that pixels need do
    let fits = match size(better) {
        Some(size) if tag == LUT_DESCRIPTOR => value.len() == 3 * size,
        Some(size) => tag.0 == IMAGE && value.len() == size,
        None => true,
    };
    let number = size(better).is_some();
    // a number may as well be written as text
    let readable = text && (!number || is_number(value));
    let too_long = is_short(better) && value.len() > usize::from(u16::MAX);
    (fits && !readable && !too_long).then_some(better)
}

/// Whether text is a number, padded or not.
fn is_number(value: &[u8]) -> bool {
    let text = std::str::from_utf8(value).unwrap_or_default();
    text.trim_end_matches(['\0', ' '])
        .trim_start_matches(' ')
        .parse::<f64>()
        .is_ok()
}

/// Bytes that a parser reads at a time; what is less than that it would leave for the next element.
pub(super) fn unit(vr: [u8; 2]) -> usize {
    match &vr {
        b"OW" => 2,
        b"OF" | b"OL" => 4,
        b"OD" | b"OV" => 8,
        _ => size(vr).unwrap_or(1),
    }
}

/// Bytes of one binary number.
fn size(vr: [u8; 2]) -> Option<usize> {
    let vr = VR::from_binary(vr)?;
    match vr {
        VR::US | VR::SS => Some(2),
        VR::UL | VR::SL | VR::FL | VR::AT => Some(4),
        VR::FD | VR::UV | VR::SV => Some(8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_cannot_be_read_get_the_dictionarys_representation() {
        const ROWS: (u16, u16) = (0x0028, 0x0010);
        const MODALITY: (u16, u16) = (0x0008, 0x0060);
        assert_eq!(judged(ROWS, *b"UN", &[0xC4, 9]), Some(*b"US"));
        assert_eq!(judged(ROWS, *b"OB", &[0xC4, 9]), Some(*b"US"));
        assert_eq!(judged(ROWS, *b"CS", &[0xC4, 9]), Some(*b"US"));
        assert_eq!(judged(ROWS, *b"IS", b"2500"), None, "a number all the same");
        assert_eq!(judged(ROWS, *b"LO", &[0, 0x20]), Some(*b"US"), "8192 rows");
        assert_eq!(judged(ROWS, *b"US", &[0xC4, 9]), None);
        assert_eq!(judged(ROWS, *b"UN", &[1, 2, 3]), None, "no whole number");
        assert_eq!(
            judged(ROWS, *b"UN", b"A^NAME"),
            None,
            "three numbers where one belongs"
        );
        assert_eq!(
            judged((0x0028, 0x3002), *b"UN", &[0; 6]),
            Some(*b"US"),
            "LUT Descriptor"
        );
        assert_eq!(
            judged((0x0018, 0x9219), *b"UN", b"AB"),
            None,
            "no number that pixels need"
        );
        assert_eq!(judged(MODALITY, *b"UN", b"DX"), Some(*b"CS"));
        assert_eq!(judged(MODALITY, *b"LO", b"DX"), None, "text is text");
        assert_eq!(
            judged(MODALITY, *b"UN", &vec![b'A'; 70_000]),
            None,
            "too long for it"
        );
        assert_eq!(judged((0x0009, 0x1001), *b"UN", b"x"), None, "private");
    }
}

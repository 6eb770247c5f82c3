//! What stands before a data set: preamble, prefix and file meta information (PS3.10 section 7.1), or what is there of them.

use dicom_dictionary_std::uids;

use super::repair::{Repair, Repairs};
use super::structure::{OutOfBounds, Syntax, Walk};

/// Where the data set of a file begins, and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    /// Transfer Syntax UID (0002,0010) without padding, or the one that was told from the data set.
    pub(super) transfer_syntax: String,
    /// How the elements are written.
    pub(super) syntax: Syntax,
    /// Where the data set begins; it may be deflated.
    pub(super) data_set: usize,
    /// What was put right.
    pub(super) repairs: Repairs,
}

/// Finds the data set of a file; `None` where the bytes begin as no DICOM file does.
///
/// # Errors
/// [`OutOfBounds`] where the file meta information breaks off.
pub(super) fn open(file: &[u8]) -> Result<Option<Envelope>, OutOfBounds> {
    let mut repairs = Repairs::default();
    let prefix = |at: usize| file.get(at..at + 4) == Some(b"DICM".as_slice());
    let group = |at: usize, group: [u8; 2]| file.get(at..at + 2) == Some(group.as_slice());
    let start = if prefix(128) {
        132
    } else if prefix(0) {
        repairs.add(Repair::Preamble);
        4
    } else if group(0, [2, 0]) || file.get(..PROBE).and_then(told).is_some() {
        repairs.add(Repair::Preamble);
        repairs.add(Repair::Prefix);
        0
    } else if group(128, [2, 0]) {
        repairs.add(Repair::Prefix);
        128
    } else {
        return Ok(None);
    };
    let meta = meta(file, start, &mut repairs)?;
    let (transfer_syntax, syntax, told) = agreed(meta.transfer_syntax, &file[meta.end..]);
    if meta.end == start {
        repairs.add(Repair::FileMeta);
    } else if told {
        repairs.add(Repair::TransferSyntax);
    }
    Ok(Some(Envelope {
        transfer_syntax,
        syntax,
        data_set: meta.end,
        repairs,
    }))
}

/// The first bytes of a data set that tell how it is written.
const PROBE: usize = 8;

/// How a data set is written, as far as its first element tells: one of group 0008, as every image has it.
fn told(first: &[u8]) -> Option<Syntax> {
    let letters = |vr: &[u8]| vr.iter().all(u8::is_ascii_uppercase);
    match *first {
        [8, 0, _, _, a, b, ..] if letters(&[a, b]) => Some(Syntax::EXPLICIT),
        [0, 8, _, _, a, b, ..] if letters(&[a, b]) => Some(Syntax::BIG_ENDIAN),
        // a length; the first elements of a data set are short
        [8, 0, _, _, _, _, 0, 0] => Some(Syntax::IMPLICIT),
        _ => None,
    }
}

/// The transfer syntax that the file names, unless its data set is evidently written in another way; and whether it is.
fn agreed(named: String, data_set: &[u8]) -> (String, Syntax, bool) {
    let syntax = match named.as_str() {
        uids::IMPLICIT_VR_LITTLE_ENDIAN => Syntax::IMPLICIT,
        super::BIG_ENDIAN => Syntax::BIG_ENDIAN,
        _ => Syntax::EXPLICIT,
    };
    if named == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
        return (named, syntax, false);
    }
    let Some(found) = data_set.get(..PROBE).and_then(told) else {
        return (named, syntax, false);
    };
    if !named.is_empty() && found == syntax {
        return (named, syntax, false);
    }
    // compressed pixels stay what they are, however the header around them is written
    let native = matches!(
        named.as_str(),
        "" | uids::IMPLICIT_VR_LITTLE_ENDIAN | uids::EXPLICIT_VR_LITTLE_ENDIAN | super::BIG_ENDIAN
    );
    let name = match found {
        _ if !native => return (named, found, true),
        Syntax::IMPLICIT => uids::IMPLICIT_VR_LITTLE_ENDIAN,
        Syntax::BIG_ENDIAN => super::BIG_ENDIAN,
        _ => uids::EXPLICIT_VR_LITTLE_ENDIAN,
    };
    (name.to_owned(), found, true)
}

struct Meta {
    /// Empty where the file does not say.
    transfer_syntax: String,
    end: usize,
}

/// Reads the file meta information, whose first element is at `start`.
///
/// It ends where group 0002 does, whatever its own group length says: writers are known to get that wrong.
fn meta(file: &[u8], start: usize, repairs: &mut Repairs) -> Result<Meta, OutOfBounds> {
    let mut walk = Walk::new(file, start);
    let mut transfer_syntax = String::new();
    let mut declared_end = None;
    // some writers leave the value representations out here, too
    let letters = file.get(start + 4..start + 6);
    let syntax = if letters.is_some_and(|vr| vr.iter().all(u8::is_ascii_uppercase)) {
        Syntax::EXPLICIT
    } else {
        Syntax::IMPLICIT
    };
    while walk.group() == Some(2) {
        let header = walk.header(syntax)?;
        let value = walk.value(header.length).ok_or(OutOfBounds::Length)?;
        match header.tag {
            (2, 0) => {
                declared_end = value
                    .try_into()
                    .ok()
                    .map(|length| walk.at + value.len() + u32::from_le_bytes(length) as usize);
            }
            (2, 0x10) => String::from_utf8_lossy(value)
                .trim_end_matches(['\0', ' '])
                .clone_into(&mut transfer_syntax),
            _ => {}
        }
        walk.at += value.len();
    }
    repairs.join(&walk.repairs);
    if walk.at > start {
        if syntax == Syntax::IMPLICIT {
            repairs.add(Repair::ValueRepresentation);
        }
        if declared_end != Some(walk.at) {
            repairs.add(Repair::GroupLength);
        }
    }
    Ok(Meta {
        transfer_syntax,
        end: walk.at,
    })
}

#[cfg(test)]
mod tests {
    use super::Repair::{FileMeta, GroupLength, Preamble, Prefix};
    use super::*;

    const META: &[u8] =
        b"\x02\x00\x00\x00UL\x04\x00\x1C\0\0\0\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0";
    const DATA_SET: &[u8] = b"\x08\x00\x60\x00CS\x02\x00DX";

    fn opened(parts: &[&[u8]]) -> (String, Vec<Repair>) {
        let file = parts.concat();
        let envelope = open(&file).unwrap().unwrap();
        assert_eq!(&file[envelope.data_set..][..4], &parts[parts.len() - 1][..4]);
        (envelope.transfer_syntax, envelope.repairs.iter().collect())
    }

    #[test]
    fn a_whole_file_needs_no_repair() {
        let explicit = "1.2.840.10008.1.2.1".to_owned();
        assert_eq!(opened(&[&[0; 128], b"DICM", META, DATA_SET]), (explicit, vec![]));
    }

    #[test]
    fn what_is_missing_before_the_data_set_is_said() {
        let explicit = || "1.2.840.10008.1.2.1".to_owned();
        assert_eq!(opened(&[b"DICM", META, DATA_SET]), (explicit(), vec![Preamble]));
        assert_eq!(opened(&[&[0; 128], META, DATA_SET]), (explicit(), vec![Prefix]));
        assert_eq!(opened(&[META, DATA_SET]), (explicit(), vec![Preamble, Prefix]));
        assert_eq!(
            opened(&[DATA_SET]),
            (explicit(), vec![Preamble, Prefix, FileMeta])
        );
        assert_eq!(
            opened(&[&[0; 128], b"DICM", &META[12..], DATA_SET]),
            (explicit(), vec![GroupLength])
        );
        let mut wrong = META.to_vec();
        wrong[8] += 2;
        assert_eq!(
            opened(&[&[0; 128], b"DICM", &wrong, DATA_SET]),
            (explicit(), vec![GroupLength])
        );
    }

    #[test]
    fn a_bare_data_set_is_not_taken_for_a_preamble() {
        // the length of Modality, 2, lies where group 0002 would behind a preamble
        let mut file = b"\x08\x00\x08\x00CS".to_vec();
        file.extend([114, 0]);
        file.resize(122, b' ');
        file.extend_from_slice(DATA_SET);
        assert_eq!(&file[128..130], [2, 0]);
        let envelope = open(&file).unwrap().unwrap();
        assert_eq!(envelope.data_set, 0);
    }

    #[test]
    fn a_data_set_that_is_written_otherwise_is_read_as_it_is() {
        let implicit = b"\x08\x00\x60\x00\x02\x00\x00\x00DX";
        assert_eq!(
            opened(&[&[0; 128], b"DICM", META, implicit]),
            ("1.2.840.10008.1.2".to_owned(), vec![Repair::TransferSyntax])
        );
        let mut jpeg = META.to_vec();
        jpeg.truncate(META.len() - 20);
        jpeg[18] = 22;
        jpeg[8] = 30;
        jpeg.extend_from_slice(b"1.2.840.10008.1.2.4.70");
        let file = [&[0; 128], b"DICM".as_slice(), &jpeg, implicit].concat();
        let envelope = open(&file).unwrap().unwrap();
        assert_eq!(envelope.transfer_syntax, "1.2.840.10008.1.2.4.70");
        assert_eq!(envelope.syntax, Syntax::IMPLICIT);
    }

    #[test]
    fn what_is_no_dicom_file_is_none() {
        assert_eq!(open(b"hello, this is a letter"), Ok(None));
        assert_eq!(open(&[0; 500]), Ok(None));
        assert_eq!(open(b""), Ok(None));
    }
}

//! A patient's name in every attribute of the dictionary, in every representation that can hold it, in every place.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, TagRange, VirtualVr};
use dicom_dictionary_std::StandardDataDictionary;

use super::*;

/// What is planted begins with this; a number follows, which tells where it was.
const SEED: &str = "ZZPL";

/// Every attribute of the dictionary, as (tag, VR); of repeating groups the first, and one that repeats.
static DICTIONARY: LazyLock<Vec<(Tag, VR)>> = LazyLock::new(|| {
    let groups = (0x0008..0x0100)
        .step_by(2)
        .chain([
            0x0400, 0x2000, 0x2010, 0x2020, 0x2030, 0x2040, 0x2050, 0x2100, 0x2110, 0x2120, 0x2130, 0x2200,
        ])
        .chain([
            0x3002, 0x3004, 0x3006, 0x3008, 0x300A, 0x300C, 0x300E, 0x3010, 0x4000, 0x4008, 0x4010, 0x4FFE,
        ])
        .chain([
            0x5000, 0x5002, 0x5200, 0x5400, 0x5600, 0x6000, 0x6002, 0x7FE0, 0xFFFA, 0xFFFC,
        ]);
    let mut all = Vec::new();
    for group in groups {
        for element in 1..=0xFFFF {
            let tag = Tag(group, element);
            let Some(entry) = StandardDataDictionary.by_tag(tag) else {
                continue;
            };
            // of the elements that repeat within their group, one is enough
            if matches!(entry.tag, TagRange::Element100(first) if tag != first) {
                continue;
            }
            let vr = match entry.vr() {
                VirtualVr::Exact(vr) => vr,
                VirtualVr::Ox | VirtualVr::Px => VR::OB,
                _ => VR::US,
            };
            all.push((tag, vr));
        }
    }
    all
});

/// What holds the names: all attributes whose value can be read as text, and how many there are.
fn planted() -> Vec<DataElement<InMemDicomObject>> {
    let structure = [tags::SPECIFIC_CHARACTER_SET, tags::PIXEL_DATA];
    let elements = DICTIONARY.iter().filter_map(|(tag, vr)| {
        let (tag, vr) = (*tag, *vr);
        let name = format!("{SEED}{:04X}{:04X}", tag.0, tag.1);
        if structure.contains(&tag) {
            return None;
        }
        let value = match vr {
            VR::SQ => return None,
            _ if values::is_text(vr) => PrimitiveValue::from(name),
            VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::UN => {
                // of a length that suits words of any size
                PrimitiveValue::U8(format!("{name:16}").as_bytes().into())
            }
            // binary numbers are no text
            _ => return None,
        };
        Some(DataElement::new(tag, vr, value))
    });
    elements.collect()
}

/// The same, under the VR that unknown attributes have.
fn unknown() -> Vec<DataElement<InMemDicomObject>> {
    planted()
        .into_iter()
        .map(|element| {
            let value = element.value().primitive().unwrap().to_bytes().into_owned();
            DataElement::new(element.header().tag, VR::UN, PrimitiveValue::U8(value.into()))
        })
        .collect()
}

fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::SQ, DataSetSequence::new(items, Length::UNDEFINED))
}

/// A few names, in a code of a public scheme, too.
fn few() -> InMemDicomObject {
    let mut item = InMemDicomObject::new_empty();
    for (tag, vr) in [
        (tags::PATIENT_NAME, VR::PN),
        (tags::PATIENT_ID, VR::LO),
        (tags::CODE_MEANING, VR::LO),
        (tags::TEXT_VALUE, VR::UT),
        (tags::BODY_PART_EXAMINED, VR::CS),
        (tags::STUDY_DATE, VR::DA),
    ] {
        put(&mut item, tag, vr, &format!("{SEED}{:04X}{:04X}", tag.0, tag.1));
    }
    item
}

fn coded() -> InMemDicomObject {
    let mut item = few();
    put(&mut item, tags::CODE_VALUE, VR::SH, "122496007");
    put(&mut item, tags::CODING_SCHEME_DESIGNATOR, VR::SH, "SCT");
    item
}

/// The name in every place of a file.
fn everywhere() -> Bytes {
    let file = file(1, 0, |object| {
        for element in planted() {
            // what has to be right for the file to be read at all is planted in sequences
            let vital = [
                tags::STUDY_INSTANCE_UID,
                tags::SERIES_INSTANCE_UID,
                tags::SOP_INSTANCE_UID,
                tags::SOP_CLASS_UID,
                tags::PHOTOMETRIC_INTERPRETATION,
                tags::IMAGE_TYPE,
                tags::CONVERSION_TYPE,
                tags::BURNED_IN_ANNOTATION,
                tags::NUMBER_OF_FRAMES,
            ];
            let tag = element.header().tag;
            if !vital.contains(&tag) {
                object.put(element);
            }
        }
        for (tag, vr) in DICTIONARY.iter() {
            if *vr == VR::SQ {
                object.put(sequence(*tag, vec![few(), coded()]));
            }
        }
        // two deep, in sequences that the table does not list
        for (outer, inner) in [
            (tags::VIEW_CODE_SEQUENCE, tags::VIEW_MODIFIER_CODE_SEQUENCE),
            (
                tags::ANATOMIC_REGION_SEQUENCE,
                tags::ANATOMIC_REGION_MODIFIER_SEQUENCE,
            ),
            (
                tags::SOURCE_IMAGE_SEQUENCE,
                tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE,
            ),
        ] {
            for elements in [planted(), unknown()] {
                let deep = InMemDicomObject::from_element_iter(elements.clone());
                let mut middle = InMemDicomObject::from_element_iter(elements);
                middle.put(sequence(inner, vec![deep, coded()]));
                middle.remove_element(tags::CODE_VALUE);
                middle.remove_element(tags::LONG_CODE_VALUE);
                middle.remove_element(tags::URN_CODE_VALUE);
                let mut code = middle.clone();
                put(&mut code, tags::CODE_VALUE, VR::SH, "122496007");
                put(&mut code, tags::CODING_SCHEME_DESIGNATOR, VR::SH, "SCT");
                object.put(sequence(outer, vec![middle, code]));
            }
        }
        // private, with and without a creator; in no dictionary; under a VR that is not its own
        put(object, Tag(0x0019, 0x0010), VR::LO, "ZZPLCREATOR");
        put(object, Tag(0x0019, 0x1001), VR::LO, "ZZPLPRIVATE");
        put(object, Tag(0x0021, 0x1001), VR::UN, "ZZPLORPHAN");
        object.put(sequence(Tag(0x0019, 0x1002), vec![few()]));
        put(object, Tag(0x0018, 0x0FF1), VR::LO, "ZZPLUNKNOWN");
        put(object, tags::EXPOSURE_INDEX, VR::LO, "ZZPLNUMBER");
        put(object, tags::SMALLEST_IMAGE_PIXEL_VALUE, VR::LO, "ZZPLNUMBER");
    });
    // in the preamble, in the file meta information, behind the end
    let mut file = file.to_vec();
    file[..12].copy_from_slice(b"ZZPLPREAMBLE");
    let title = b"\x02\x00\x16\x00AE\x08\x00ZZPLMETA";
    let length = u32::from_le_bytes(file[140..144].try_into().unwrap());
    let end = 144 + length as usize;
    file.splice(end..end, title.iter().copied());
    file[140..144].copy_from_slice(&(length + title.len() as u32).to_le_bytes());
    file.extend_from_slice(b"\xFC\xFF\xFC\xFFOB\0\0\x0C\0\0\0ZZPLTRAILING");
    // of more bytes, the file would be refused as damaged
    file.extend_from_slice(b"ZZPLEND");
    Bytes::from(file)
}

/// What is left of the names, in any case of letters.
fn left(file: &[u8]) -> BTreeSet<String> {
    let upper = file.to_ascii_uppercase();
    memchr::memmem::find_iter(&upper, SEED.as_bytes())
        .map(|at| String::from_utf8_lossy(&upper[at..(at + 12).min(upper.len())]).into_owned())
        .collect()
}

#[test]
fn the_whole_dictionary_is_planted() {
    // PS3.6 2026 as the crate has it: 5,346 entries, of which 17 are commands, directories and file meta information
    let all = &*DICTIONARY;
    assert!(all.len() > 5_200, "{}", all.len());
    let texts = planted();
    assert!(texts.len() > 2_700, "{}", texts.len());
    let representations: BTreeSet<VR> = texts.iter().map(|element| element.header().vr).collect();
    for vr in [
        VR::AE,
        VR::AS,
        VR::CS,
        VR::DA,
        VR::DS,
        VR::DT,
        VR::IS,
        VR::LO,
        VR::LT,
        VR::OB,
        VR::OD,
        VR::OF,
        VR::OL,
        VR::OV,
        VR::OW,
        VR::PN,
        VR::SH,
        VR::ST,
        VR::TM,
        VR::UC,
        VR::UI,
        VR::UN,
        VR::UR,
        VR::UT,
    ] {
        assert!(representations.contains(&vr), "{vr:?}");
    }
    assert!(left(&everywhere()).len() > 2_700);
}

#[test]
fn a_name_planted_everywhere_is_found_nowhere() {
    use ProfileOption::{Descriptors, Graphics, ModifiedDates, SafePrivate, StructuredContent};
    let file = everywhere();
    for options in [
        &[][..],
        &[
            Descriptors,
            StructuredContent,
            Graphics,
            ModifiedDates,
            SafePrivate,
        ],
        &[ProfileOption::FullDates, ProfileOption::Uids],
    ] {
        let new = deidentifier(options).file(file.clone()).unwrap();
        assert_eq!(left(&new.file), BTreeSet::new(), "{options:?}");
        let report = serde_json::to_string(&new.report.changes.list()).unwrap();
        assert_eq!(left(report.as_bytes()), BTreeSet::new());
    }
}

#[test]
fn old_uids_are_found_nowhere() {
    let source = file(1, 0, |_| {});
    let new = deidentifier(&[]).file(source.clone()).unwrap();
    assert_eq!(new.uids.len(), 3);
    for old in new.uids.keys() {
        assert!(memchr::memmem::find(&source, old.as_bytes()).is_some());
        assert!(memchr::memmem::find(&new.file, old.as_bytes()).is_none());
    }
}

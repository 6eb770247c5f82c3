//! The bounds, and what is put right.

use super::*;

fn walk(syntax: Syntax, bytes: &[u8]) -> Result<Structure, OutOfBounds> {
    data_set(bytes, 0, syntax, usize::MAX)
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
fn a_sequence_without_vr_is_looked_into() {
    // Referenced Study Sequence (0008,1110) with an item, and in it a value longer than all
    let inside = b"\xFE\xFF\x00\xE0\x0A\0\0\0\x08\x00\x50\x11\xF0\xFF\xFF\xFFab";
    let sequence = [b"\x08\x00\x10\x11\x12\0\0\0".as_slice(), inside].concat();
    assert_eq!(walk(Syntax::IMPLICIT, &sequence), Err(OutOfBounds::Length));
}

/// It would be taken for more than it is by a parser that reads the item to its end and no further.
#[test]
fn an_element_that_reaches_beyond_its_item_is_found() {
    let item = b"\xFE\xFF\x00\xE0\x08\0\0\0";
    let inside = [OPEN_SEQUENCE.as_slice(), item, MODALITY].concat();
    assert_eq!(walk(Syntax::EXPLICIT, &inside), Err(OutOfBounds::Length));
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
        photometric: None,
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

/// A sequence and an item without lengths, and their delimiters.
const OPEN_SEQUENCE: &[u8; 12] = b"\x08\x00\x15\x11SQ\0\0\xFF\xFF\xFF\xFF";
const OPEN_ITEM: &[u8; 8] = b"\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF";
const END_ITEM: &[u8; 8] = b"\xFE\xFF\x0D\xE0\0\0\0\0";
const END_SEQUENCE: &[u8; 8] = b"\xFE\xFF\xDD\xE0\0\0\0\0";
/// One behind the other.
const OPEN_BOTH: &[u8; 20] = b"\x08\x00\x15\x11SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF";
const END_BOTH: &[u8; 16] = b"\xFE\xFF\x0D\xE0\0\0\0\0\xFE\xFF\xDD\xE0\0\0\0\0";

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

/// PS3.5 section 6.2.2, note 4: a writer that does not know a sequence writes its items in implicit VR.
#[test]
fn an_unknown_sequence_is_read_as_implicit_and_written_as_explicit() {
    let unknown = b"\x08\x00\x15\x11UN\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\x0A\0\0\0";
    let inside = b"\x08\x00\x60\x00\x02\0\0\0DX";
    let end = b"\xFE\xFF\xDD\xE0\0\0\0\0";
    assert_eq!(
        repaired(&[unknown.as_slice(), inside, end, ROWS].concat()),
        (
            [OPEN_BOTH.as_slice(), MODALITY, END_ITEM, end, ROWS].concat(),
            set(&[])
        )
    );
}

#[test]
fn an_unknown_sequence_with_a_length_is_looked_into_as_well() {
    let unknown = b"\x08\x00\x15\x11UN\0\0\x12\0\0\0\xFE\xFF\x00\xE0\x0A\0\0\0";
    let inside = b"\x08\x00\x60\x00\x02\0\0\0DX";
    assert_eq!(
        repaired(&[unknown.as_slice(), inside, ROWS].concat()),
        (
            [OPEN_BOTH.as_slice(), MODALITY, END_BOTH, ROWS].concat(),
            set(&[])
        )
    );
}

/// Its header has no value representation there, and would be read as one of a value of four gigabytes.
#[test]
fn an_icon_inside_an_unknown_sequence_is_left_out() {
    let unknown = b"\x08\x00\x15\x11UN\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF";
    let icon = b"\xE0\x7F\x10\x00\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\0\0\0\0\xFE\xFF\xDD\xE0\0\0\0\0";
    let file = [unknown.as_slice(), icon, END_BOTH, ROWS].concat();
    assert_eq!(
        repaired(&file),
        ([OPEN_BOTH.as_slice(), END_BOTH, ROWS].concat(), set(&[]))
    );
}

#[test]
fn a_delimiter_closes_what_it_ends_and_nothing_else() {
    let whole = [
        OPEN_SEQUENCE.as_slice(),
        OPEN_ITEM,
        MODALITY,
        END_ITEM,
        END_SEQUENCE,
        ROWS,
    ]
    .concat();
    let without_item_end = [OPEN_SEQUENCE.as_slice(), OPEN_ITEM, MODALITY, END_SEQUENCE, ROWS].concat();
    let twice = [
        OPEN_SEQUENCE.as_slice(),
        OPEN_ITEM,
        MODALITY,
        END_ITEM,
        END_ITEM,
        END_SEQUENCE,
        ROWS,
    ]
    .concat();
    assert_eq!(repaired(&whole), (whole.clone(), set(&[])));
    for file in [without_item_end, twice] {
        assert_eq!(repaired(&file), (whole.clone(), set(&[Repair::Delimiter])));
    }
}

#[test]
fn delimiters_that_a_parser_would_take_for_elements_are_put_right() {
    // outside of any sequence, and with a length of four gigabytes
    let stray = b"\xFE\xFF\xDD\xE0\xF0\xFF\xFF\xFF";
    assert_eq!(
        repaired(&[MODALITY, stray, ROWS].concat()).0,
        [MODALITY, ROWS].concat()
    );
}

#[test]
fn what_is_open_at_the_end_is_closed() {
    let open = [OPEN_SEQUENCE.as_slice(), OPEN_ITEM, MODALITY].concat();
    let closed = [open.as_slice(), END_BOTH].concat();
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
    for behind in [[0; 8].as_slice(), &[0; 10], b"garbage of any kind", b"x"] {
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

/// The parser would take the rest for the beginning of the next element, and its length for four gigabytes.
#[test]
fn a_value_that_ends_within_a_number_is_cut_there() {
    let three = b"\x28\x00\x10\x00US\x03\x00\xC4\x09\xFF";
    assert_eq!(
        repaired(&[three.as_slice(), MODALITY].concat()),
        ([ROWS, MODALITY].concat(), set(&[Repair::OddLength]))
    );
}

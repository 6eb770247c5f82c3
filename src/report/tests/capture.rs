//! Heat maps as Secondary Captures: what they show, whose they are, and that they are always the same.

use super::*;
use crate::image::heatmap::{Explanation, Picture};
use crate::image::lettering;

/// A grey picture of this size.
fn picture(rows: usize, columns: usize) -> Picture {
    Picture {
        rows,
        columns,
        values: vec![100; rows * columns * 3],
    }
}

fn capture(picture: &Picture, header: &InMemDicomObject) -> Object {
    let (finding, source) = (osteoporosis(0.75), SourceInstance::of(header).unwrap());
    let instance = scored(&source, vec![finding.clone()]);
    let map = HeatmapPicture {
        picture,
        explanation: Explanation::Occlusion,
        finding: &finding,
        model: instance.model.as_ref().unwrap(),
        number: 2,
    };
    secondary_capture(&map, &identity(KEY), header).unwrap()
}

fn number(object: &Object, tag: Tag) -> usize {
    object.get(tag).unwrap().to_int::<usize>().unwrap()
}

#[test]
fn it_is_an_image_of_the_same_study_derived_from_its_source() {
    let [header, _] = headers();
    let source = SourceInstance::of(&header).unwrap();
    let object = capture(&picture(64, 48), &header);
    for tag in [
        tags::PATIENT_ID,
        tags::PATIENT_NAME,
        tags::STUDY_INSTANCE_UID,
        tags::ACCESSION_NUMBER,
    ] {
        assert!(text(&object, tag).is_some(), "{tag}");
        assert_eq!(text(&object, tag), text(&header, tag), "{tag}");
    }
    let said = |tag| text(&object, tag).unwrap_or_default();
    assert_eq!(said(tags::SOP_CLASS_UID), uids::SECONDARY_CAPTURE_IMAGE_STORAGE);
    assert_eq!(
        said(tags::SOP_INSTANCE_UID),
        capture_uid(KEY, source.uid.as_str())
    );
    assert_eq!(said(tags::SERIES_INSTANCE_UID), capture_series_uid(KEY));
    assert_ne!(capture_series_uid(KEY), report_series_uid(KEY));
    assert_eq!(
        (said(tags::BURNED_IN_ANNOTATION), said(tags::CONVERSION_TYPE)),
        ("YES".into(), "WSD".into())
    );
    assert_eq!(
        (
            said(tags::INSTANCE_NUMBER),
            said(tags::PHOTOMETRIC_INTERPRETATION)
        ),
        ("2".into(), "RGB".into())
    );
    assert!(
        said(tags::DERIVATION_DESCRIPTION).contains("evidence for osteoporosis by model spine 3, occlusion")
    );
    let from = items(&object, tags::SOURCE_IMAGE_SEQUENCE)[0];
    assert_eq!(
        text(from, tags::REFERENCED_SOP_INSTANCE_UID).unwrap(),
        source.uid.as_str()
    );
    let purpose = items(from, tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE)[0];
    assert_eq!(code_of(purpose).unwrap().value, "121322");
    let contributed = items(&object, tags::CONTRIBUTING_EQUIPMENT_SEQUENCE)[0];
    let purpose = items(contributed, tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE)[0];
    assert_eq!(code_of(purpose).unwrap().value, "109102");
}

#[test]
fn the_words_are_in_its_pixels_above_the_whole_picture() {
    let [header, _] = headers();
    for (rows, columns) in [(64, 48), (672, 300), (1536, 1536), (33, 1)] {
        let object = capture(&picture(rows, columns), &header);
        let [height, width] = [tags::ROWS, tags::COLUMNS].map(|tag| number(&object, tag));
        let pixels = object.get(tags::PIXEL_DATA).unwrap().to_bytes().unwrap();
        assert_eq!(pixels.len(), (height * width * 3).next_multiple_of(2));
        assert!(height.max(width) <= 2048);
        let grey = pixels.chunks(1).filter(|value| value[0] == 100).count();
        assert_eq!(grey, rows * columns * 3, "nothing of the picture is hidden");
        // the words as they are when they are written on black, at the size that the band has
        let band = height - rows;
        let size = band / (3 * lettering::CELL[1]);
        let mut words = Picture {
            rows: band,
            columns: width,
            values: vec![0; band * width * 3],
        };
        let margin = lettering::CELL[1] * size / 2;
        lettering::write(&mut words, WARNING, [margin, lettering::CELL[0] * size], size);
        let first_line = (margin + lettering::CELL[1] * size) * width * 3;
        assert_eq!(
            pixels[..first_line],
            words.values[..first_line],
            "{rows} by {columns}"
        );
        let lit = words.values[..first_line]
            .chunks(1)
            .filter(|value| value[0] == 255)
            .count();
        assert!(lit >= 200 * size * size, "{lit}");
    }
}

#[test]
fn the_side_is_that_of_the_image_or_unknown_where_there_may_be_one() {
    let [mut header, _] = headers();
    let put = |header: &mut InMemDicomObject, tag, value: &str| {
        header.put(DataElement::new(tag, VR::CS, PrimitiveValue::from(value)));
    };
    for side in ["L", "R", "B", "U"] {
        put(&mut header, tags::IMAGE_LATERALITY, side);
        let object = capture(&picture(8, 8), &header);
        assert_eq!(text(&object, tags::IMAGE_LATERALITY).as_deref(), Some(side));
        assert!(object.get(tags::LATERALITY).is_none(), "{side}");
    }
    // nothing is said: a spine has no side, an elbow has one that is not known
    header.remove_element(tags::IMAGE_LATERALITY);
    header.remove_element(tags::LATERALITY);
    let spine = capture(&picture(8, 8), &header);
    header.remove_element(tags::ANATOMIC_REGION_SEQUENCE);
    put(&mut header, tags::BODY_PART_EXAMINED, "ELBOW");
    let elbow = capture(&picture(8, 8), &header);
    for (object, is_there) in [(spine, false), (elbow, true)] {
        assert!(object.get(tags::IMAGE_LATERALITY).is_none());
        assert_eq!(object.get(tags::LATERALITY).is_some(), is_there);
        assert_eq!(text(&object, tags::LATERALITY), None);
    }
}

#[test]
fn the_same_map_is_the_same_file() {
    let headers = headers();
    let bytes = |header: &InMemDicomObject| {
        let mut file = Vec::new();
        capture(&picture(64, 48), header).write_all(&mut file).unwrap();
        file
    };
    assert_eq!(bytes(&headers[0]), bytes(&headers[0]));
    let read = |file: Vec<u8>| Instance::parse(file.into()).unwrap();
    let (one, other) = (read(bytes(&headers[0])), read(bytes(&headers[1])));
    assert_eq!(one.series, other.series, "one series for each result");
    assert_ne!(one.uid, other.uid);
    // Python: int.from_bytes(hashlib.sha256(b''.join(len(p).to_bytes(8, 'little') + p for p in
    // [b'osteon', b'heat map', b'0' * 64, b'1.2.3'])).digest()[:16], 'big')
    assert_eq!(
        capture_uid(&"0".repeat(64), "1.2.3"),
        "2.25.147406551728069410362342011833829911358"
    );
}

#[test]
fn what_is_shown_is_what_is_present_and_most_probable() {
    let [header, _] = headers();
    let source = SourceInstance::of(&header).unwrap();
    let finding = |label: &str, probability, positive| Finding {
        label: label.into(),
        reading: Reading::Probability {
            probability,
            threshold: None,
            positive,
        },
        ..osteoporosis(0.0)
    };
    let shown = |findings| {
        let instance = scored(&source, findings);
        shown_finding(&instance).map(|finding| finding.label.clone())
    };
    let (a, b, c) = (
        finding("a", 0.9, false),
        finding("b", 0.2, true),
        finding("c", 0.3, true),
    );
    assert_eq!(shown(vec![a.clone(), b.clone(), c]).as_deref(), Some("c"));
    assert_eq!(shown(vec![finding("d", 0.1, false), a]).as_deref(), Some("d"));
    assert_eq!(
        shown(vec![b.clone(), finding("e", 0.2, true)]).as_deref(),
        Some("b")
    );
    assert_eq!(shown(vec![]), None);
}

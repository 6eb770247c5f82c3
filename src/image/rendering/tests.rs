//! Pictures whose pixels can be told beforehand.

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR, dicom_value};
use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

use super::super::grey::VoiFunction;
use super::*;

const PNG: Rendering = Rendering {
    window: None,
    viewport: None,
    format: PictureFormat::Png,
};

/// Four pixels in two rows of eight bits: 0, 100 / 200, 255.
fn instance(elements: &[(Tag, VR, PrimitiveValue)], pixels: &[u8]) -> Instance {
    let mut object = InMemDicomObject::new_empty();
    for (tag, text) in [
        (tags::SOP_CLASS_UID, "1.2.840.10008.5.1.4.1.1.1.1"),
        (tags::SOP_INSTANCE_UID, "1.2.9"),
        (tags::STUDY_INSTANCE_UID, "1.2"),
        (tags::SERIES_INSTANCE_UID, "1.2.3"),
    ] {
        object.put(DataElement::new(tag, VR::UI, PrimitiveValue::from(text)));
    }
    let mut number = |tag, value: u16| object.put(DataElement::new(tag, VR::US, dicom_value!(U16, [value])));
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, 2),
        (tags::COLUMNS, 2),
        (tags::BITS_ALLOCATED, 8),
        (tags::BITS_STORED, 8),
        (tags::HIGH_BIT, 7),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        number(tag, value);
    }
    object.put(DataElement::new(
        tags::PHOTOMETRIC_INTERPRETATION,
        VR::CS,
        PrimitiveValue::from("MONOCHROME2"),
    ));
    for (tag, vr, value) in elements {
        object.put(DataElement::new(*tag, *vr, value.clone()));
    }
    object.put(DataElement::new(
        tags::PIXEL_DATA,
        VR::OB,
        PrimitiveValue::from(pixels.to_vec()),
    ));
    let meta = FileMetaTableBuilder::new().transfer_syntax("1.2.840.10008.1.2.1");
    let mut bytes = Vec::new();
    object.with_meta(meta).unwrap().write_all(&mut bytes).unwrap();
    Instance::parse(bytes.into()).unwrap()
}

fn pixels(instance: &Instance, rendering: &Rendering) -> (u32, u32, Vec<u8>) {
    let bytes = render(instance, 1, rendering).unwrap();
    let picture = image::load_from_memory(&bytes).unwrap();
    (picture.width(), picture.height(), picture.into_bytes())
}

fn window(center: &str, width: &str) -> [(Tag, VR, PrimitiveValue); 2] {
    [
        (tags::WINDOW_CENTER, VR::DS, PrimitiveValue::from(center)),
        (tags::WINDOW_WIDTH, VR::DS, PrimitiveValue::from(width)),
    ]
}

#[test]
fn the_window_is_the_callers_the_files_or_all_that_there_is() {
    let plain = instance(&[], &[50, 100, 200, 250]);
    assert_eq!(pixels(&plain, &PNG), (2, 2, vec![0, 64, 191, 255]));
    let of_file = instance(&window("150.5", "101"), &[50, 100, 200, 250]);
    assert_eq!(pixels(&of_file, &PNG).2, [0, 0, 255, 255]);
    let of_caller = Rendering {
        window: Some(Voi::Window {
            center: 128.0,
            width: 256.0,
            function: VoiFunction::Linear,
        }),
        ..PNG
    };
    assert_eq!(pixels(&of_file, &of_caller).2, [50, 100, 200, 250]);
    let one_value = instance(&[], &[7; 4]);
    assert_eq!(pixels(&one_value, &PNG).2, [255; 4], "and no division by zero");
}

#[test]
fn polarity_is_the_files() {
    let inverted = [(
        tags::PHOTOMETRIC_INTERPRETATION,
        VR::CS,
        PrimitiveValue::from("MONOCHROME1"),
    )];
    assert_eq!(
        pixels(&instance(&inverted, &[0, 0, 255, 255]), &PNG).2,
        [255, 255, 0, 0]
    );
}

#[test]
fn colour_is_shown_as_it_is_in_either_order() {
    let colour = |planar: u16| {
        [
            (tags::SAMPLES_PER_PIXEL, VR::US, dicom_value!(U16, [3])),
            (
                tags::PHOTOMETRIC_INTERPRETATION,
                VR::CS,
                PrimitiveValue::from("RGB"),
            ),
            (tags::PLANAR_CONFIGURATION, VR::US, dicom_value!(U16, [planar])),
        ]
    };
    let by_pixel = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    assert_eq!(pixels(&instance(&colour(0), &by_pixel), &PNG).2, by_pixel);
    let by_plane = [1, 4, 7, 10, 2, 5, 8, 11, 3, 6, 9, 12];
    assert_eq!(pixels(&instance(&colour(1), &by_plane), &PNG).2, by_pixel);
}

#[test]
fn a_viewport_shows_its_region_as_large_as_fits() {
    let plain = instance(&[], &[0, 85, 170, 255]);
    let viewport = |width, height, origin, size| Rendering {
        viewport: Some(Viewport {
            width,
            height,
            origin,
            size,
        }),
        ..PNG
    };
    let at = |viewport| pixels(&plain, &viewport);
    assert_eq!(
        at(viewport(8, 4, [0, 0], [None, None])).0,
        4,
        "its proportions stay"
    );
    assert_eq!(at(viewport(1, 1, [1, 0], [Some(1), Some(1)])), (1, 1, vec![85]));
    assert_eq!(at(viewport(2, 2, [0, 0], [Some(-2), None])).2, [85, 0, 255, 170]);
    assert_eq!(at(viewport(2, 2, [0, 0], [None, Some(-9)])).2, [170, 255, 0, 85]);
    for wrong in [
        viewport(2, 2, [2, 0], [None, None]),
        viewport(2, 2, [0, 0], [Some(0), None]),
    ] {
        assert_eq!(render(&plain, 1, &wrong), Err(RenderError::Region));
    }
}

#[test]
fn a_jpeg_is_smaller_where_its_quality_is_lower() {
    let noisy: Vec<u8> = (0..4).map(|at| at * 80).collect();
    let size = |quality| {
        let rendering = Rendering {
            format: PictureFormat::Jpeg { quality },
            ..PNG
        };
        let bytes = render(&instance(&[], &noisy), 1, &rendering).unwrap();
        assert_eq!(bytes[..2], [0xFF, 0xD8]);
        bytes.len()
    };
    assert!(size(10) < size(100));
}

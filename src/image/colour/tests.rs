//! The files of `tests/data/colour`, which `scripts/make-decode-references` made: each is held to the picture that pydicom 3.0.2 makes of
//! it, with libjpeg-turbo (Pillow) and `OpenJPEG` for what is compressed.

use std::path::Path;

use super::super::raw;
use super::super::rendering::{PictureFormat, Rendering, render};
use super::*;
use crate::dicom::explicit;

fn file(name: &str) -> Bytes {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/colour");
    std::fs::read(folder.join(name)).unwrap().into()
}

fn instance(name: &str) -> Instance {
    Instance::parse(file(&format!("{name}.dcm"))).unwrap()
}

/// Red, green and blue of the picture of a frame.
fn rendered(instance: &Instance, frame: u32) -> Result<Vec<u8>, String> {
    let rendering = Rendering {
        window: None,
        viewport: None,
        format: PictureFormat::Png,
    };
    let picture = render(instance, frame, &rendering).map_err(|error| error.to_string())?;
    Ok(image::load_from_memory(&picture).unwrap().into_rgb8().into_raw())
}

fn expected(name: &str) -> Vec<u8> {
    let picture = image::load_from_memory(&file(&format!("{name}.png"))).unwrap();
    picture.into_rgb8().into_raw()
}

fn farthest(one: &[u8], other: &[u8]) -> u8 {
    assert_eq!(one.len(), other.len());
    let apart = one.iter().zip(other).map(|(one, other)| one.abs_diff(*other));
    apart.max().unwrap_or(0)
}

/// A file, the frame that is shown, and how far a sample may be from the reference: nothing where no decoder rounds, one step where a
/// matrix does, and for JPEG what two inverse DCTs and two ways of spreading a shared colour may differ by.
const FILES: [(&str, u32, u8); 20] = [
    ("rgb", 1, 0),
    ("rgb-planes", 1, 0),
    ("rgb-16", 1, 0),
    ("ybr-full", 1, 1),
    ("ybr-full-422", 1, 1),
    ("rle-rgb", 1, 0),
    ("rle-rgb-planes", 1, 0),
    ("rle-rgb-16", 1, 0),
    ("rle-ybr-full", 1, 1),
    ("jpeg-444", 1, 3),
    ("jpeg-422", 1, 6),
    ("jpeg-420", 1, 6),
    ("jpeg-rgb", 1, 2),
    ("jpeg-rgb-unsaid", 1, 2),
    ("jpeg2000-rct", 1, 0),
    ("jpeg2000-ict", 1, 1),
    ("palette-8", 1, 0),
    ("palette-16", 1, 0),
    ("palette-8-rle", 1, 0),
    ("palette-16-rle", 1, 0),
];

#[test]
fn pictures_are_those_of_pydicom() {
    for (name, frame, near) in FILES
        .into_iter()
        .chain([("bits-2-frames", 2, 0), ("grey-32", 1, 1)])
    {
        let found = rendered(&instance(name), frame).unwrap_or_else(|error| panic!("{name}: {error}"));
        let apart = farthest(&found, &expected(name));
        assert!(apart <= near, "{name}: {apart} apart");
    }
}

/// The file that a caller gets who asks for nothing compressed shows the same.
#[test]
fn what_is_written_anew_shows_the_same_picture() {
    for (name, _, _) in FILES {
        let bytes = file(&format!("{name}.dcm"));
        let stored = Instance::parse(bytes.clone()).unwrap();
        assert!(stored::frames(&stored).is_ok(), "{name} holds what it declares");
        if matches!(stored.pixels, Some(PixelData::Native(_))) {
            continue;
        }
        let pixels = raw::uncompressed_pixels(&stored).unwrap();
        let frame = raw::uncompressed(&stored, 1).unwrap();
        assert_eq!(frame.len() as u64, pixels.bytes, "{name}");
        assert_eq!(raw::frame_size(&stored), Ok(frame.len()), "{name}");
        let mut anew = explicit::beginning(&bytes, &stored, Some(pixels)).unwrap();
        anew.extend_from_slice(&frame);
        anew.resize(anew.len().next_multiple_of(2), 0);
        let anew = Instance::parse(anew.into()).unwrap();
        assert!(matches!(anew.pixels, Some(PixelData::Native(_))), "{name}");
        assert!(rendered(&anew, 1) == rendered(&stored, 1), "{name}");
        let of = |instance: &Instance| text(&instance.header, tags::PHOTOMETRIC_INTERPRETATION).unwrap();
        let wanted = if name.starts_with("jpeg") {
            "RGB".to_owned()
        } else {
            of(&stored)
        };
        assert_eq!(of(&anew), wanted, "{name}");
    }
}

#[test]
fn what_is_cut_short_is_an_error() {
    for (name, _, _) in FILES {
        let mut cut = instance(name);
        match &mut cut.pixels {
            Some(PixelData::Native(bytes)) => bytes.truncate(bytes.len() / 2),
            Some(PixelData::Encapsulated { fragments, .. }) => {
                let half = fragments[0].len() / 2;
                fragments[0].truncate(half);
            }
            None => panic!("{name} has no pixels"),
        }
        assert!(picture(&cut, 1).is_err(), "{name}");
    }
}

#[test]
fn colours_that_are_not_known_are_refused() {
    let mut unknown = instance("rgb");
    for photometric in ["CMYK", "YBR_PARTIAL_422", "YBR_ICT", ""] {
        unknown.header.put(dicom_core::DataElement::new(
            tags::PHOTOMETRIC_INTERPRETATION,
            dicom_core::VR::CS,
            dicom_core::PrimitiveValue::from(photometric),
        ));
        assert_eq!(
            picture(&unknown, 1).unwrap_err(),
            DecodeError::Colour,
            "{photometric}"
        );
    }
    let mut without = instance("palette-8");
    without
        .header
        .remove_element(tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA);
    assert_eq!(picture(&without, 1).unwrap_err(), DecodeError::Colour);
}

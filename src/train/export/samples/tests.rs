//! What goes into a package as a golden case, from the user's own file.

use std::io::Cursor;

use image::{DynamicImage, ImageBuffer, ImageFormat, Luma};

use super::*;
use crate::dicom;
use crate::image::phantom::{Recipe, to_dicom};
use crate::image::preprocess::Preprocessing;

const PATIENT: &str = "CANARY^PATIENT";

fn phantom(monochrome1: bool, change: impl FnOnce(&mut InMemDicomObject)) -> Vec<u8> {
    let mut phantom = Recipe::new(5, 96, 64).render();
    phantom.truth.monochrome1 = monochrome1;
    let mut file = to_dicom(&phantom, 1, 1, 0).unwrap();
    change(&mut file);
    let mut bytes = Vec::new();
    file.write_all(&mut bytes).unwrap();
    bytes
}

fn made(images: &[(&str, Vec<u8>)]) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let images = images
        .iter()
        .map(|(name, bytes)| ((*name).to_owned(), bytes.clone()));
    Ok(samples(&images.collect())?.files)
}

fn names(samples: &BTreeMap<String, Vec<u8>>) -> Vec<&str> {
    samples.keys().map(String::as_str).collect()
}

fn instance(file: &[u8]) -> Instance {
    Instance::parse(file.to_vec().into()).unwrap()
}

fn input(file: &[u8]) -> Vec<f32> {
    let contract = Preprocessing::grey(32, 24);
    let image = contract.decode(&instance(file)).unwrap();
    contract.apply(&image).unwrap().0.values
}

fn far(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    let pairs = one.iter().zip(other);
    pairs.map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
}

#[test]
fn what_goes_into_a_package_names_nobody_and_shows_the_same_picture() {
    let named = phantom(false, |header| {
        header.put(text(tags::PATIENT_NAME, VR::PN, PATIENT));
        header.put(text(tags::PATIENT_COMMENTS, VR::LT, PATIENT));
    });
    let samples = made(&[("sample.dcm", named.clone())]).unwrap();
    assert_eq!(names(&samples), ["sample-inverted.dcm", "sample.dcm"]);
    for (name, file) in &samples {
        let holds = |text: &str| file.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!holds(PATIENT), "{name}");
        let header = instance(file).header;
        assert!(dicom::text(&header, tags::PATIENT_AGE).is_some(), "{name}");
        assert!(dicom::text(&header, tags::BODY_PART_EXAMINED).is_some(), "{name}");
        assert_ne!(instance(file).uid, instance(&named).uid, "{name}");
        assert!(far(&input(file), &input(&named)) < 1e-3, "{name}");
    }
    let polarity = |name: &str| {
        let header = instance(&samples[name]).header;
        dicom::text(&header, tags::PHOTOMETRIC_INTERPRETATION).unwrap()
    };
    assert_eq!(polarity("sample.dcm"), "MONOCHROME2");
    assert_eq!(polarity("sample-inverted.dcm"), "MONOCHROME1");
    assert_eq!(
        made(&[("sample.dcm", named)]).unwrap(),
        samples,
        "equal files give equal samples"
    );
}

#[test]
fn a_copy_is_added_only_where_a_polarity_is_missing() {
    let (one, other) = (phantom(true, |_| {}), phantom(false, |_| {}));
    assert_eq!(names(&made(&[("a.dcm", one.clone())]).unwrap()), ["a.dcm"]);
    assert_eq!(
        names(&made(&[("b.dcm", other.clone()), ("c.dcm", one)]).unwrap()),
        ["b.dcm", "c.dcm"]
    );
    let taken = made(&[("b", other.clone()), ("b-inverted", other)]).unwrap_err();
    assert!(
        taken.starts_with("golden image b-inverted is MONOCHROME2"),
        "{taken}"
    );
}

#[test]
fn pictures_are_goldens_with_the_pixels_that_training_saw() {
    let mut files = Vec::new();
    let grey8 = ImageBuffer::from_fn(40, 60, |x, y| Luma([((x * 3 + y * 2) % 250) as u8]));
    let grey16 = ImageBuffer::from_fn(40, 60, |x, y| Luma([((x * 300 + y * 500) % 65_000) as u16]));
    for (picture, format) in [
        (DynamicImage::ImageLuma8(grey8.clone()), ImageFormat::Png),
        (DynamicImage::ImageLuma16(grey16), ImageFormat::Png),
        (DynamicImage::ImageLuma8(grey8), ImageFormat::Jpeg),
    ] {
        let mut bytes = Vec::new();
        picture.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
        files.push(bytes);
    }
    let contract = Preprocessing::grey(32, 24);
    for file in files {
        let images = BTreeMap::from([("sample.dcm".to_owned(), file.clone())]);
        let Samples {
            files: samples,
            warnings,
        } = samples(&images).unwrap();
        assert!(
            warnings[0].starts_with("golden image sample.dcm: a picture does not say"),
            "{warnings:?}"
        );
        assert_eq!(samples.len(), 2);
        let picture = decode_picture(&file).unwrap();
        let trained = contract.apply(&picture).unwrap().0.values;
        assert_eq!(far(&input(&samples["sample.dcm"]), &trained), 0.0);
        assert!(far(&input(&samples["sample-inverted.dcm"]), &trained) < 1e-3);
    }
}

#[test]
fn an_image_that_may_name_somebody_in_its_pixels_is_no_golden() {
    let inscribed = phantom(false, |header| {
        header.put(text(tags::BURNED_IN_ANNOTATION, VR::CS, "YES"));
    });
    let refused = made(&[("sample.dcm", inscribed)]).unwrap_err();
    assert!(
        refused.starts_with("golden image sample.dcm: Burned In Annotation")
            && refused.contains("osteon-train deidentify"),
        "{refused}"
    );
    let refused = made(&[("sample.dcm", b"no image".to_vec())]).unwrap_err();
    assert!(refused.starts_with("golden image sample.dcm: "), "{refused}");
}

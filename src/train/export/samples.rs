//! Images that become golden cases and travel with the package: without what names anybody, and in both polarities.
//!
//! A DICOM file is de-identified (PS3.15 Basic Profile; age and sex, by which a model refuses, are kept), a PNG or JPEG gives its
//! pixels to a Secondary Capture. Pixels are not looked at: what is written in them stays, so a file that speaks for text in them is
//! refused. Equal files give equal samples.

use std::collections::BTreeMap;

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::mem::InMemElement;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use sha2::{Digest, Sha256};

use super::polarity::other_polarity;
use crate::deidentify::{Deidentifier, Key, Options, ProfileOption};
use crate::dicom::{Instance, uid};
use crate::image::StoredImage;
use crate::image::decode::{decode, decode_picture};
use crate::image::grey::{Modality, Voi};
use crate::model::package::sha256;
use crate::train::data::index::is_picture;

/// What is put behind the name of an inverted copy.
const INVERTED: &str = "-inverted";

/// Images as they go into a package.
#[derive(Debug, Default)]
pub struct Samples {
    /// DICOM files by their names.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What is to be looked at before the package leaves the house, in sentences.
    pub warnings: Vec<String>,
}

/// Makes samples of `images`, DICOM, PNG or JPEG, by the names that they will have. Where none is MONOCHROME1, an inverted copy of one
/// is added, without which nobody would notice that a program leaves the inversion out.
///
/// # Errors
/// A sentence that names the image.
pub fn samples(images: &BTreeMap<String, Vec<u8>>) -> Result<Samples, String> {
    let mut samples = Samples::default();
    let (mut has_inverted, mut copy) = (false, None);
    for (name, image) in images {
        let failed = |error: String| format!("golden image {name}: {error}");
        let (file, warnings) = sample(image).map_err(failed)?;
        let warnings = warnings.into_iter().map(|warning| failed(warning.to_owned()));
        samples.warnings.extend(warnings);
        let instance = Instance::parse(file.clone().into()).map_err(|error| failed(error.to_string()))?;
        let shown = decode(&instance).map_err(|error| failed(error.to_string()))?;
        has_inverted |= shown.transform.inverted;
        if copy.is_none() && !has_inverted {
            copy = inverted(&instance, shown)
                .map_err(failed)?
                .map(|file| (beside(name), file));
        }
        samples.files.insert(name.clone(), file);
    }
    if has_inverted {
        return Ok(samples);
    }
    let (name, file) = copy.ok_or(
        "no golden image is MONOCHROME1, and lookup tables say how they are shown, so that none can be inverted: add one that is",
    )?;
    if samples.files.insert(name.clone(), file).is_some() {
        return Err(format!(
            "golden image {name} is MONOCHROME2 and has the name of an inverted copy: choose another name"
        ));
    }
    Ok(samples)
}

/// `sample-inverted.dcm` for `sample.dcm`.
fn beside(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((stem, kind)) => format!("{stem}{INVERTED}.{kind}"),
        None => format!("{name}{INVERTED}"),
    }
}

/// A DICOM file that names nobody, and what it does not say of itself.
fn sample(image: &[u8]) -> Result<(Vec<u8>, Vec<&'static str>), String> {
    if is_picture(image) {
        let picture = decode_picture(image).map_err(|error| error.to_string())?;
        let unknown = "a picture does not say whether there is text in the pixels";
        return Ok((captured(&picture, image)?, vec![unknown]));
    }
    let options = Options::new([ProfileOption::PatientCharacteristics]).map_err(|error| error.to_string())?;
    // equal files give equal samples, and who has the key has the file
    let key = Key::new(Sha256::digest(image).into());
    let named_nobody = Deidentifier::new(key, options)
        .file(image.to_vec().into())
        .map_err(|refusal| {
            format!(
                "{refusal}; it would go into the package, so osteon-train deidentify has to make a copy of it first"
            )
        })?;
    Ok((named_nobody.file, named_nobody.report.warnings))
}

/// A picture's pixels as a Secondary Capture.
fn captured(picture: &StoredImage, file: &[u8]) -> Result<Vec<u8>, String> {
    let digest = sha256(file);
    let uid = |what: &str| uid::derived(&["golden picture", what, &digest]);
    let size = |count: usize| {
        u16::try_from(count).map_err(|_| format!("{count} rows or columns are more than DICOM can say"))
    };
    let mut header = InMemDicomObject::from_element_iter([
        text(tags::SOP_CLASS_UID, VR::UI, uids::SECONDARY_CAPTURE_IMAGE_STORAGE),
        text(tags::SOP_INSTANCE_UID, VR::UI, &uid("instance")),
        text(tags::STUDY_INSTANCE_UID, VR::UI, &uid("study")),
        text(tags::SERIES_INSTANCE_UID, VR::UI, &uid("series")),
        text(tags::MODALITY, VR::CS, "OT"),
        text(tags::CONVERSION_TYPE, VR::CS, "WSD"),
        text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        number(tags::SAMPLES_PER_PIXEL, 1),
        number(tags::ROWS, size(picture.rows)?),
        number(tags::COLUMNS, size(picture.columns)?),
        number(tags::PIXEL_REPRESENTATION, 0),
    ]);
    put_pixels(&mut header, picture);
    written(header, uids::SECONDARY_CAPTURE_IMAGE_STORAGE, &uid("instance"))
}

/// The same picture in the other polarity, from an uncompressed file and its image; `None` where lookup tables say how it is shown.
fn inverted(instance: &Instance, image: StoredImage) -> Result<Option<Vec<u8>>, String> {
    let is_table = matches!(image.transform.modality, Modality::Table(_))
        || matches!(image.transform.voi, Some(Voi::Table(_)));
    if is_table {
        return Ok(None);
    }
    let image = other_polarity(image);
    let mut header = instance.header.clone();
    let new = uid::derived(&["inverted golden", instance.uid.as_str()]);
    header.put(text(tags::SOP_INSTANCE_UID, VR::UI, &new));
    header.put(text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME1"));
    if header.get(tags::PRESENTATION_LUT_SHAPE).is_some() {
        header.put(text(tags::PRESENTATION_LUT_SHAPE, VR::CS, "INVERSE"));
    }
    if let Some(Voi::Window { center, width, .. }) = image.transform.voi {
        // the first of several windows is the one that is used
        header.put(text(tags::WINDOW_CENTER, VR::DS, &decimal(center)));
        header.put(text(tags::WINDOW_WIDTH, VR::DS, &decimal(width)));
        header.remove_element(tags::WINDOW_CENTER_WIDTH_EXPLANATION);
    }
    if let Some((low, high)) = image.transform.padding {
        for (tag, value) in [
            (tags::PIXEL_PADDING_VALUE, low),
            (tags::PIXEL_PADDING_RANGE_LIMIT, high),
        ] {
            // two's complement where values have a sign
            header.put(number(tag, value as u16));
        }
    }
    put_pixels(&mut header, &image);
    Ok(Some(written(header, &instance.class, &new)?))
}

/// Pixel Data, and the attributes that say how it lies.
fn put_pixels(header: &mut InMemDicomObject, image: &StoredImage) {
    let bits = image.bits_stored as u16;
    let words = image.codes.words(image.rows * image.columns);
    let (allocated, vr, pixels) = if bits <= 8 {
        let bytes: Vec<u8> = words.into_iter().map(|word| word as u8).collect();
        (8, VR::OB, PrimitiveValue::U8(bytes.into()))
    } else {
        (16, VR::OW, PrimitiveValue::U16(words.into()))
    };
    header.put(number(tags::BITS_ALLOCATED, allocated));
    header.put(number(tags::BITS_STORED, bits));
    header.put(number(tags::HIGH_BIT, bits - 1));
    header.put(DataElement::new(tags::PIXEL_DATA, vr, pixels));
}

fn written(header: InMemDicomObject, class: &str, instance: &str) -> Result<Vec<u8>, String> {
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .media_storage_sop_class_uid(class)
        .media_storage_sop_instance_uid(instance)
        .implementation_class_uid(uid::implementation_class())
        .build()
        .map_err(|error| error.to_string())?;
    let mut file = Vec::new();
    header
        .with_exact_meta(meta)
        .write_all(&mut file)
        .map_err(|error| error.to_string())?;
    Ok(file)
}

/// A decimal string has 16 characters at most (PS3.5 section 6.2).
fn decimal(value: f64) -> String {
    let plain = value.to_string();
    if plain.len() <= 16 {
        plain
    } else {
        format!("{value:.8e}")
    }
}

fn text(tag: Tag, vr: VR, value: &str) -> InMemElement {
    DataElement::new(tag, vr, PrimitiveValue::from(value))
}

fn number(tag: Tag, value: u16) -> InMemElement {
    DataElement::new(tag, VR::US, PrimitiveValue::from(value))
}

#[cfg(test)]
mod tests;

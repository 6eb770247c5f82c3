//! What the fuzz targets do with bytes of any kind: nothing may panic, hang or take more memory than it should.
//!
//! The stories of `tests/it` run the same functions over `fuzz/corpus`.

use bytes::Bytes;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use osteon::dicom::multipart::{MultipartReader, Step};
use osteon::dicom::{Attributes, FlatDataSet, Instance, InstanceUid, PixelData, SeriesUid, StudyUid, xml};
use osteon::image::decode::decode_frame;
use osteon::image::occlusion::{GRID, Occlusion};
use osteon::image::preprocess::{Fit, Preprocessing, ReducedResolution};
use osteon::image::rendering::{PictureFormat, Rendering, render};
use osteon::image::{Quality, raw};

/// The transfer syntaxes of `codec`, by the first byte of its input.
pub const SYNTAXES: [&str; 10] = [
    uids::JPEG_BASELINE8_BIT,
    uids::JPEG_EXTENDED12_BIT,
    uids::JPEG_LOSSLESS,
    uids::JPEG_LOSSLESS_SV1,
    uids::JPEGLS_LOSSLESS,
    uids::JPEG2000,
    uids::HTJ2K,
    uids::JPEGXL,
    uids::RLE_LOSSLESS,
    uids::JPEGLS_NEAR_LOSSLESS,
];

/// A file of any kind: envelope, structure, parser, and what is asked of a header.
pub fn parse(data: &[u8]) {
    if let Ok(instance) = Instance::parse(Bytes::copy_from_slice(data)) {
        let _ = Attributes::of(&instance);
    }
}

/// A compressed frame: transfer syntax, rows, columns and bits (one byte each), then the stream.
pub fn codec(data: &[u8]) {
    let [syntax, rows, columns, bits, stream @ ..] = data else {
        return;
    };
    let stored = u16::from(bits % 16) + 1;
    let allocated = if stored > 8 { 16 } else { 8 };
    let number = |tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
    let header = InMemDicomObject::from_element_iter([
        number(tags::SAMPLES_PER_PIXEL, 1),
        DataElement::new(
            tags::PHOTOMETRIC_INTERPRETATION,
            VR::CS,
            PrimitiveValue::from("MONOCHROME2"),
        ),
        number(tags::ROWS, (*rows).into()),
        number(tags::COLUMNS, (*columns).into()),
        number(tags::BITS_ALLOCATED, allocated),
        number(tags::BITS_STORED, stored),
        number(tags::HIGH_BIT, stored - 1),
        number(tags::PIXEL_REPRESENTATION, 0),
    ]);
    let (Ok(study), Ok(series), Ok(uid)) = (
        StudyUid::parse("2.25.1"),
        SeriesUid::parse("2.25.2"),
        InstanceUid::parse("2.25.3"),
    ) else {
        return;
    };
    let instance = Instance {
        header,
        pixels: Some(PixelData::Encapsulated {
            offsets: Bytes::new(),
            fragments: vec![Bytes::copy_from_slice(stream)],
        }),
        transfer_syntax: SYNTAXES[usize::from(*syntax) % SYNTAXES.len()].to_owned(),
        study,
        series,
        uid,
        class: String::new(),
        repairs: Default::default(),
    };
    let _ = decode_frame(&instance, 1);
}

/// A command set of DIMSE, or the identifier of a query: what is read is written, and is the same when it is read again.
pub fn flat(data: &[u8]) {
    let Ok(elements) = FlatDataSet::read(data) else {
        return;
    };
    for tag in [
        tags::COMMAND_FIELD,
        tags::MESSAGE_ID,
        tags::AFFECTED_SOP_INSTANCE_UID,
    ] {
        let _ = (elements.number(tag), elements.text(tag));
    }
    assert_eq!(FlatDataSet::read(&elements.bytes()).as_ref(), Ok(&elements));
}

/// A data set in the Native DICOM Model, there and back.
pub fn native_model(data: &[u8]) {
    if let Ok(attributes) = xml::read(data) {
        let _ = xml::read(xml::document(&attributes).as_bytes());
    }
}

/// A whole file as a picture and as an uncompressed frame, in colour or in grey.
pub fn picture(data: &[u8]) {
    let Ok(instance) = Instance::parse(Bytes::copy_from_slice(data)) else {
        return;
    };
    let rendering = Rendering {
        window: None,
        viewport: None,
        format: PictureFormat::Png,
    };
    for frame in [1, 2] {
        let _ = render(&instance, frame, &rendering);
        let _ = raw::uncompressed(&instance, frame);
    }
}

/// A multipart body in pieces: the first byte is their length.
pub fn multipart(data: &[u8]) {
    let [piece, body @ ..] = data else {
        return;
    };
    let Ok(mut reader) = MultipartReader::new("boundary", 1 << 12) else {
        return;
    };
    for bytes in body.chunks(usize::from(*piece).max(1)) {
        reader.push(bytes);
        while let Ok(Step::Part(_) | Step::TooLarge) = reader.step() {}
    }
    let _ = reader.finish();
}

/// A whole file, as far as a network's input, with what is measured of it and what is hidden of it.
pub fn preprocess(data: &[u8]) {
    let Ok(instance) = Instance::parse(Bytes::copy_from_slice(data)) else {
        return;
    };
    let mut contract = Preprocessing::grey(9, 7);
    input(&contract, &instance);
    contract.fit = Fit::Stretch;
    contract.crop_border = false;
    contract.reduced_resolution = Some(ReducedResolution { bound: 1.0 });
    input(&contract, &instance);
}

fn input(contract: &Preprocessing, instance: &Instance) {
    let Ok(image) = contract.decode(instance) else {
        return;
    };
    let Ok((plane, placement)) = contract.plane(&image) else {
        return;
    };
    let _ = Quality::of(&image, &plane, &placement);
    let occlusion = Occlusion::new(contract, contract.tensor(&plane), placement.target, GRID);
    if let Some(cell) = occlusion.cells().last() {
        let _ = occlusion.tensor(cell);
    }
}

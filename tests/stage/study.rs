//! Studies to send: small phantoms under UIDs of one's own choice.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileDicomObject, InMemDicomObject};
use osteon::image::phantom::{Recipe, to_dicom};

/// Where the UIDs of all test studies begin.
const ROOT: &str = "1.3.6.1.4.1.99999.7";
/// How many different images there are of one size.
const DIFFERENT: u64 = 4;

/// One image as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) uid: String,
    pub(crate) bytes: bytes::Bytes,
}

/// A study as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Study {
    pub(crate) uid: String,
    pub(crate) images: Vec<Image>,
}

/// The UID of study `number` of `run`.
pub(crate) fn uid(run: u64, number: u64) -> String {
    // no part of it may read `666`, which is what poison is known by
    format!("{ROOT}.{run}.{}", 1_000_000 + number)
}

/// The UID of a study whose analysis goes wrong in the way `kind`: 1 abort, 2 hang, 3 memory, 4 panic.
pub(crate) fn poison(run: u64, number: u64, kind: u64) -> String {
    format!("{}.666.{kind}", uid(run, number))
}

impl Study {
    /// A study of `count` images with `rows` rows.
    pub(crate) fn new(uid: &str, count: usize, rows: u16) -> Self {
        Self {
            uid: uid.to_owned(),
            images: (1..=count).map(|index| image(uid, index, rows)).collect(),
        }
    }

    /// As the body of one STOW request, with its media type.
    pub(crate) fn body(&self) -> (&'static str, Vec<u8>) {
        related(&self.images)
    }
}

/// Image `index` of the study `uid`.
pub(crate) fn image(uid: &str, index: usize, rows: u16) -> Image {
    let mut object = phantom(index as u64 % DIFFERENT, rows);
    let own = format!("{uid}.{index}");
    for (tag, value) in [
        (tags::STUDY_INSTANCE_UID, uid.to_owned()),
        (tags::SERIES_INSTANCE_UID, format!("{uid}.0")),
        (tags::SOP_INSTANCE_UID, own.clone()),
        (tags::PATIENT_ID, uid.rsplit('.').next().unwrap_or_default().to_owned()),
    ] {
        let vr = if tag == tags::PATIENT_ID { VR::LO } else { VR::UI };
        object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
    }
    object.update_meta(|meta| meta.media_storage_sop_instance_uid.clone_from(&own));
    let mut bytes = Vec::new();
    object.write_all(&mut bytes).expect("memory takes it");
    Image {
        uid: own,
        bytes: bytes.into(),
    }
}

/// Images as the parts of one STOW body, with its media type.
pub(crate) fn related(images: &[Image]) -> (&'static str, Vec<u8>) {
    let mut body = Vec::new();
    for image in images {
        body.extend_from_slice(b"--limit\r\nContent-Type: application/dicom\r\n\r\n");
        body.extend_from_slice(&image.bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--limit--\r\n");
    ("multipart/related; type=\"application/dicom\"; boundary=limit", body)
}

type Object = FileDicomObject<InMemDicomObject>;

/// Rendered once for each seed and size.
fn phantom(seed: u64, rows: u16) -> Object {
    static KEPT: OnceLock<Mutex<BTreeMap<(u64, u16), Object>>> = OnceLock::new();
    let mut kept = KEPT.get_or_init(Mutex::default).lock().unwrap();
    let render = || to_dicom(&Recipe::new(seed, rows, rows / 4 * 3).render(), 9, seed as u32, 0);
    kept.entry((seed, rows))
        .or_insert_with(|| render().expect("the phantom fills its own rows and columns"))
        .clone()
}

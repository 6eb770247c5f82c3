//! For tests of the workflow and of its doors: small real DICOM files, and an engine that does as it is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use dicom_core::value::PixelFragmentSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

/// The value of an element of such a file.
pub(crate) type DicomValue = dicom_core::value::Value<InMemDicomObject>;

use super::{Chosen, Explaining, Score, Scoring, Workflow, WorkflowSettings};
use crate::fault::{Fault, FaultKind};
use crate::finding::{InstanceResult, ModelReference, Outcome, StudyRule};
use crate::image::heatmap::{Explanation, Picture};
use crate::inference::{Explained, Priority};
use crate::peer::Destinations;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// A DICOM file with this identity and some bytes of content.
pub(crate) fn dicom(study: &str, sop: &str, content: &str) -> Bytes {
    written(object(study, sop, content), uids::EXPLICIT_VR_LITTLE_ENDIAN)
}

/// A DICOM file with these elements beside or instead of those that every one has, and these pixels.
pub(crate) fn image(
    study: &str,
    sop: &str,
    elements: &[(Tag, VR, PrimitiveValue)],
    pixels: impl Into<Option<DicomValue>>,
    transfer_syntax: &str,
) -> Bytes {
    let mut object = object(study, sop, "image");
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1_u16),
        (tags::ROWS, 2),
        (tags::COLUMNS, 2),
        (tags::BITS_ALLOCATED, 8),
        (tags::BITS_STORED, 8),
        (tags::HIGH_BIT, 7),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }
    let grey = PrimitiveValue::from("MONOCHROME2");
    object.put(DataElement::new(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, grey));
    for (tag, vr, value) in elements {
        object.put(DataElement::new(*tag, *vr, value.clone()));
    }
    if let Some(pixels) = pixels.into() {
        object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, pixels));
    }
    written(object, transfer_syntax)
}

/// A DICOM file whose pixels nothing here can decode: video.
pub(crate) fn video(study: &str, sop: &str) -> Bytes {
    let mut object = object(study, sop, "video");
    let fragments = PixelFragmentSequence::new_fragments(vec![vec![0, 0, 1, 0xB3]]);
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, fragments));
    written(object, uids::MPEG2MPML)
}

fn object(study: &str, sop: &str, content: &str) -> InMemDicomObject {
    let mut object = InMemDicomObject::new_empty();
    let class = uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION;
    for (tag, vr, value) in [
        (tags::SOP_CLASS_UID, VR::UI, class),
        (tags::SOP_INSTANCE_UID, VR::UI, sop),
        (tags::MODALITY, VR::CS, "DX"),
        (tags::PATIENT_NAME, VR::PN, "Canary^Patient"),
        (tags::STUDY_DESCRIPTION, VR::LO, content),
        (tags::STUDY_INSTANCE_UID, VR::UI, study),
        (tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3"),
    ] {
        object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
    }
    object
}

fn written(object: InMemDicomObject, transfer_syntax: &str) -> Bytes {
    let meta = FileMetaTableBuilder::new().transfer_syntax(transfer_syntax);
    let mut bytes = Vec::new();
    object.with_meta(meta).unwrap().write_all(&mut bytes).unwrap();
    bytes.into()
}

/// What a [`Rehearsed`] engine does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Answers with a score.
    Score,
    /// Refuses, as for an object without an image.
    Refuse,
    /// Refuses, as for an image that takes more memory to decode than there is.
    TooLarge,
    /// Fails.
    Fail,
    /// Says that it has too much to do.
    Overload,
    /// Panics.
    Panic,
    /// Never answers.
    Hang,
    /// Answers after this many milliseconds.
    Slow(u64),
}

/// An engine that plays its acts in order, and the last of them for ever.
#[derive(Clone)]
pub(crate) struct Rehearsed {
    acts: Arc<Mutex<Vec<Act>>>,
    /// How many times it was asked.
    pub(crate) asked: Arc<AtomicUsize>,
}

impl Rehearsed {
    pub(crate) fn new(acts: &[Act]) -> Self {
        Self {
            acts: Arc::new(Mutex::new(acts.iter().rev().copied().collect())),
            asked: Arc::default(),
        }
    }

    /// A workflow with this engine and without destinations.
    pub(crate) fn workflow(&self, store: &Store, settings: WorkflowSettings) -> Workflow {
        let metrics = Metrics::new().unwrap();
        Workflow::new(
            store.clone(),
            Arc::new(self.clone()),
            Destinations::default(),
            metrics,
            settings,
        )
    }

    fn next(&self) -> Act {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut acts = self.acts.lock().unwrap();
        if acts.len() > 1 {
            acts.pop().unwrap()
        } else {
            acts[0]
        }
    }
}

/// A small picture.
pub(crate) fn explained() -> Explained {
    Explained {
        picture: Picture {
            rows: 8,
            columns: 8,
            values: vec![100; 8 * 8 * 3],
        },
        explanation: Explanation::ActivationMap,
    }
}

impl Score for Rehearsed {
    fn model(&self) -> Option<Chosen> {
        Some(Chosen {
            model: ModelReference {
                name: "rehearsed".to_owned(),
                version: 1,
                digest: "d1".to_owned(),
                provider: "none".to_owned(),
                notice: String::new(),
            },
            rule: StudyRule::default(),
            questions: Vec::new(),
        })
    }

    fn explain<'a>(&'a self, _: Bytes, _: &'a ModelReference, _: &'a str) -> Explaining<'a> {
        Box::pin(async move { Ok(explained()) })
    }

    fn score<'a>(&'a self, _: Bytes, _: &'a ModelReference, _: Priority) -> Scoring<'a> {
        Box::pin(async move {
            let unscored =
                |kind, code| InstanceResult::unscored(&Fault::new(kind, code, "as rehearsed"), None);
            match self.next() {
                Act::Refuse => return unscored(FaultKind::Refused, "no-pixel-data"),
                Act::TooLarge => return unscored(FaultKind::Refused, "decode-memory"),
                Act::Fail => return unscored(FaultKind::Internal, "engine"),
                Act::Overload => return unscored(FaultKind::Overloaded, "overloaded"),
                Act::Panic => panic!("as rehearsed"),
                Act::Hang => std::future::pending::<()>().await,
                Act::Slow(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
                Act::Score => {}
            }
            InstanceResult {
                view: None,
                outcome: Outcome::Scored,
                reason: None,
                ..unscored(FaultKind::Internal, "none")
            }
        })
    }
}

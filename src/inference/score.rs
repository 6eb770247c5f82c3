//! One image on one thread: parsed, checked, decoded, preprocessed, run and interpreted.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::gates::Gates;
use super::request::ImageBytes;
use super::served::ServedModel;
use super::workers::Turn;
use super::{DecodeMemory, Taken};
use crate::dicom::{Attributes, Instance, inflated_memory};
use crate::fault::{Fault, FaultKind};
use crate::finding::{
    DistributionCheck, Finding, InstanceResult, IntendedUseCheck, NotAScore, Outcome, QualityCheck, Reason,
    Timings, interpret,
};
use crate::image::decode::{DecodeError, decode_halved, decode_picture_until, memory, picture_memory};
use crate::image::preprocess::Preprocessing;
use crate::image::{Cancel, Quality, StoredImage, Tensor};
use crate::model::ModelManifest;
use crate::runtime::{Device, Prediction};
use crate::telemetry::metrics::{Metrics, Observed};

/// What is known of an image, whether it is scored or not.
#[derive(Clone, Default)]
pub(super) struct Seen {
    uid: Option<String>,
    view: Option<String>,
    check: Option<IntendedUseCheck>,
    quality: Option<QualityCheck>,
    pub(super) distribution: Option<DistributionCheck>,
    repairs: Vec<Reason>,
    /// What ran the network on it.
    pub(super) device: Option<Device>,
    pub(super) observed: Observed,
}

/// One image ready for a network.
pub(super) struct Prepared {
    pub(super) seen: Seen,
    pub(super) tensor: Tensor,
    pub(super) timings: Timings,
}

impl Prepared {
    /// It will not be scored after all.
    pub(super) fn unscored(self, fault: Fault) -> Unscored {
        Unscored {
            fault,
            seen: Box::new(self.seen),
        }
    }
}

/// An image that will not be scored, and what is known of it.
pub(super) struct Unscored {
    pub(super) fault: Fault,
    pub(super) seen: Box<Seen>,
}

impl From<Fault> for Unscored {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            seen: Box::default(),
        }
    }
}

/// Parses, decodes and preprocesses, in the memory that there is for that; the file's bytes and the pixels are freed as soon as the next
/// step has been done. Ends early when it is asked to stop.
pub(super) fn prepare(
    bytes: ImageBytes,
    contract: &Preprocessing,
    gates: &Gates,
    metrics: &Metrics,
    room: &DecodeMemory,
    turn: &Turn,
) -> Result<Prepared, Unscored> {
    let is_over = || turn.stop.asked();
    let cancel = Cancel::when(&is_over);
    let mut timings = Timings::default();
    let mut clock = Instant::now();
    let mut lap = || {
        let now = Instant::now();
        milliseconds(now - std::mem::replace(&mut clock, now))
    };
    let mut seen = Seen::default();
    let unscored = |fault: Fault, seen: &mut Seen| Unscored {
        fault,
        seen: Box::new(std::mem::take(seen)),
    };
    let image = match bytes {
        ImageBytes::Picture(bytes) => {
            seen.check = Some(IntendedUseCheck::NotChecked);
            picture(&bytes, room, turn).map_err(|fault| unscored(fault, &mut seen))?
        }
        ImageBytes::Dicom(bytes) => {
            let (instance, inflated) = parsed(bytes, room, turn)?;
            timings.parse = lap();
            seen.uid = Some(instance.uid.to_string());
            seen.repairs = instance.repairs.iter().map(Reason::from).collect();
            let attributes = Attributes::of(&instance);
            seen.observed.site = metrics.site(attributes.institution.as_deref());
            let met = gates.header(&attributes);
            seen.view = attributes.view_position.or(attributes.view_code);
            seen.check = Some(met.map_err(|fault| unscored(fault, &mut seen))?);
            decoded(&instance, inflated, contract, room, turn).map_err(|fault| unscored(fault, &mut seen))?
        }
    };
    timings.decode = lap();
    let (plane, placement) = contract
        .plane(&image.stored)
        .map_err(|error| unscored(error.into(), &mut seen))?;
    cancel
        .check()
        .map_err(|cancelled| unscored(DecodeError::from(cancelled).into(), &mut seen))?;
    let measured = Quality::of(&image.stored, &plane, &placement);
    seen.observed.quality = Some(measured);
    gates
        .pixels(measured, &mut seen.quality)
        .map_err(|fault| unscored(fault, &mut seen))?;
    let tensor = contract.tensor(&plane);
    timings.preprocess = lap();
    Ok(Prepared {
        seen,
        tensor,
        timings,
    })
}

/// The pixels of an image that passed every gate before. Ends early when it is asked to stop.
pub(super) fn pixels(
    bytes: ImageBytes,
    contract: &Preprocessing,
    room: &DecodeMemory,
    turn: &Turn,
) -> Result<Pixels, Fault> {
    match bytes {
        ImageBytes::Picture(bytes) => picture(&bytes, room, turn),
        ImageBytes::Dicom(bytes) => {
            let (instance, inflated) = parsed(bytes, room, turn)?;
            decoded(&instance, inflated, contract, room, turn)
        }
    }
}

/// Decoded pixels, with the memory that they lie in.
pub(super) struct Pixels {
    pub(super) stored: StoredImage,
    _memory: Option<Taken>,
}

fn picture(bytes: &[u8], room: &DecodeMemory, turn: &Turn) -> Result<Pixels, Fault> {
    let is_over = || turn.stop.asked();
    let taken = room.take(picture_memory(bytes)?, turn.patience(), is_over)?;
    Ok(Pixels {
        stored: decode_picture_until(bytes, Cancel::when(&is_over))?,
        _memory: Some(taken),
    })
}

/// A file as an instance, with the memory that it was inflated in.
fn parsed(bytes: Bytes, room: &DecodeMemory, turn: &Turn) -> Result<(Instance, Taken), Fault> {
    let inflated = room.take(inflated_memory(&bytes), turn.patience(), || turn.stop.asked())?;
    Ok((Instance::parse(bytes)?, inflated))
}

/// The pixels of an instance, which was inflated in `inflated`: then they lie there, and nothing is left to be decoded.
fn decoded(
    instance: &Instance,
    inflated: Taken,
    contract: &Preprocessing,
    room: &DecodeMemory,
    turn: &Turn,
) -> Result<Pixels, Fault> {
    let is_over = || turn.stop.asked();
    let mut held = Some(inflated);
    let stored = contract.decode_with(instance, |halve| {
        let bytes = memory(instance, halve);
        if bytes > 0 {
            // whoever waits holds none of it
            held = None;
            held = Some(room.take(bytes, turn.patience(), is_over)?);
        }
        decode_halved(instance, halve, Cancel::when(&is_over)).map_err(Fault::from)
    })?;
    Ok(Pixels {
        stored,
        _memory: held,
    })
}

/// The result of an image that was scored.
pub(super) fn result(
    model: &ServedModel,
    seen: Seen,
    timings: Timings,
    findings: Vec<Finding>,
) -> InstanceResult {
    InstanceResult {
        outcome: Outcome::Scored,
        reason: None,
        sop_instance_uid: seen.uid,
        view: seen.view,
        findings,
        model: Some(model.reference()),
        device: seen.device.map(|device| device.to_string()),
        intended_use: seen.check,
        quality: seen.quality,
        distribution: seen.distribution,
        repairs: seen.repairs,
        timings_ms: Some(timings),
    }
}

/// The result of an image that was not scored.
pub(super) fn unscored(model: &ServedModel, fault: &Fault, seen: Seen) -> InstanceResult {
    InstanceResult {
        view: seen.view,
        intended_use: seen.check,
        quality: seen.quality,
        distribution: seen.distribution,
        repairs: seen.repairs,
        model: Some(model.reference()),
        device: seen.device.map(|device| device.to_string()),
        ..InstanceResult::unscored(fault, seen.uid)
    }
}

/// What a model's prediction means; a number that is no score is a fault of the model.
pub(super) fn findings(manifest: &ModelManifest, prediction: &Prediction) -> Result<Vec<Finding>, Fault> {
    let mut findings = Vec::new();
    for (head, output) in manifest.heads.iter().zip(&prediction.heads) {
        let interpreted = interpret(head.task, &head.labels, &output.values);
        let no_score = |error: NotAScore| Fault::new(FaultKind::Internal, error.code(), error.to_string());
        findings.extend(interpreted.map_err(no_score)?);
    }
    Ok(findings)
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::image::preprocess::ReducedResolution;

    /// 53 columns and 37 rows of JPEG 2000, with two lower resolutions.
    fn file() -> Bytes {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decode");
        std::fs::read(data.join("jpeg2000-12u.dcm")).unwrap().into()
    }

    fn turn(time: Duration) -> Turn {
        Turn {
            worker: 0,
            waited: Duration::ZERO,
            stop: Arc::default(),
            deadline: Instant::now() + time,
        }
    }

    fn contract() -> Preprocessing {
        Preprocessing {
            crop_border: false,
            ..Preprocessing::grey(8, 8)
        }
    }

    #[test]
    fn who_finds_no_memory_in_time_hears_so_before_its_deadline() {
        let room = DecodeMemory::new(64 << 20, 2);
        let all = room.take(64 << 20, Instant::now(), || false).unwrap();
        let turn = turn(Duration::from_secs(2));
        let none = pixels(ImageBytes::Dicom(file()), &contract(), &room, &turn);
        assert_eq!(none.err().unwrap().code, "overloaded");
        assert!(Instant::now() < turn.deadline);
        drop(all);
        assert!(pixels(ImageBytes::Dicom(file()), &contract(), &room, &turn).is_ok());
    }

    #[test]
    fn memory_is_taken_for_the_resolution_that_is_decoded() {
        let instance = Instance::parse(file()).unwrap();
        let halved = memory(&instance, 2);
        assert!(halved < memory(&instance, 1));
        let room = DecodeMemory::new(halved, 1);
        let turn = turn(Duration::from_secs(10));
        let pixels = |contract: &Preprocessing| pixels(ImageBytes::Dicom(file()), contract, &room, &turn);
        assert_eq!(pixels(&contract()).err().unwrap().code, "decode-memory");
        let reduced = Preprocessing {
            reduced_resolution: Some(ReducedResolution { bound: 0.02 }),
            ..contract()
        };
        let decoded = pixels(&reduced).unwrap();
        assert_eq!((decoded.stored.rows, decoded.stored.columns), (10, 14));
        assert_eq!(room.free(), 0);
        drop(decoded);
        assert_eq!(room.free(), halved);
    }
}

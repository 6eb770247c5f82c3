//! One file becomes what the index keeps of it: facts, and the image as the contract makes it.
//!
//! Whatever is wrong with a file costs that file alone, a panic in a decoder included, and is a reason that quotes nothing of it.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::facts::Facts;
use crate::deidentify::Key;
use crate::dicom::{Attributes, Instance, InstanceError};
use crate::image::decode::{decode, decode_picture};
use crate::image::fingerprint::Fingerprint;
use crate::image::preprocess::Preprocessing;
use crate::image::{Plane, StoredImage};
use crate::train::data::cache::{Digest, digest, hex};

/// Why a file is no row of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// For the counts.
    pub code: String,
    /// For people.
    pub reason: String,
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A row.
    Image(Box<Facts>),
    /// No row.
    LeftOut(LeftOut),
    /// An image of a modality that was not asked for.
    OtherModality(String),
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) digest: Digest,
    pub(super) outcome: Outcome,
    /// The image as the contract makes it, if one was asked for.
    pub(super) plane: Option<Plane>,
}

/// How files are read.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) key: &'a Key,
    /// Modalities that become rows; DICOM without one does, too.
    pub(super) modalities: &'a BTreeSet<String>,
    pub(super) contract: Option<&'a Preprocessing>,
}

impl Reader<'_> {
    pub(super) fn read(&self, bytes: Bytes) -> Read {
        let digest = digest(&bytes);
        let read = catch_unwind(AssertUnwindSafe(|| self.look(bytes, &digest)));
        let (outcome, plane) = match read {
            Ok(Ok((facts, plane))) => (Outcome::Image(Box::new(facts)), plane),
            Ok(Err(outcome)) => (outcome, None),
            Err(_) => (
                left_out(
                    "panic",
                    "its decoder failed unexpectedly: this is a fault of osteon",
                ),
                None,
            ),
        };
        Read {
            digest,
            outcome,
            plane,
        }
    }

    fn look(&self, bytes: Bytes, digest: &Digest) -> Result<(Facts, Option<Plane>), Outcome> {
        if is_picture(&bytes) {
            let facts = Facts::of_picture(&hex(digest), self.key);
            let image = decode_picture(&bytes).map_err(|error| left_out(error.code(), &error.to_string()))?;
            return self.see(facts, &image, None);
        }
        let instance = Instance::parse(bytes).map_err(|error| match error {
            InstanceError::NotDicom | InstanceError::Empty => {
                left_out("no-image", "it is neither DICOM nor PNG nor JPEG")
            }
            // the message would show a UID of the file
            InstanceError::TransferSyntax(_) => {
                left_out("transfer-syntax", "its transfer syntax is not supported")
            }
            error => left_out("damaged", &error.to_string()),
        })?;
        if instance.pixels.is_none() {
            return Err(left_out(
                "no-pixels",
                "it has no Pixel Data: it is a report or a state, not an image",
            ));
        }
        let modality = Attributes::of(&instance).modality;
        if let Some(other) = modality.filter(|own| !self.modalities.contains(own)) {
            return Err(Outcome::OtherModality(other));
        }
        let facts = Facts::of_instance(&instance, self.key);
        let image = decode(&instance).map_err(|error| left_out(error.code(), &error.to_string()))?;
        self.see(facts, &image, Some(&instance))
    }

    /// What is seen in the pixels.
    fn see(
        &self,
        mut facts: Facts,
        image: &StoredImage,
        instance: Option<&Instance>,
    ) -> Result<(Facts, Option<Plane>), Outcome> {
        let constant = |error: &dyn std::fmt::Display| left_out("constant", &error.to_string());
        facts.size = [image.rows, image.columns];
        facts.burned_in = facts.burned_in.looked_at(image);
        facts.fingerprints = Fingerprint::all_of(image).map_err(|error| constant(&error))?;
        let Some(contract) = self.contract else {
            return Ok((facts, None));
        };
        let plane = match instance.filter(|_| contract.reduced_resolution.is_some()) {
            Some(instance) => {
                let reduced = contract.decode(instance);
                let reduced = reduced.map_err(|error| left_out(error.code(), &error.to_string()))?;
                contract.plane(&reduced)
            }
            None => contract.plane(image),
        };
        let (plane, _) = plane.map_err(|error| constant(&error))?;
        Ok((facts, Some(plane)))
    }
}

/// PNG or JPEG, by its first bytes.
pub(crate) fn is_picture(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG") || bytes.starts_with(b"\xFF\xD8\xFF")
}

pub(super) fn left_out(code: &str, reason: &str) -> Outcome {
    Outcome::LeftOut(LeftOut {
        code: code.to_owned(),
        reason: reason.to_owned(),
    })
}

//! The one way in: bytes become a durable instance of a study.
//!
//! Invariant: what [`Workflow::accept`] has returned `Ok` for survives a crash. The object is written before the row,
//! and both are synchronised. Whether an instance may be scored is not asked here: whatever is DICOM is kept, but for pixels
//! that nothing here can decode, which their sender is told at once.

use bytes::Bytes;

use super::Workflow;
use crate::dicom::attributes::is_urgent;
use crate::dicom::{Instance, InstanceUid, SeriesUid, StudyUid};
use crate::fault::{Fault, FaultKind};
use crate::image::decode::{DecodeError, is_supported};
use crate::store::{Accepted, NewInstance};

/// The bytes of one instance whose identity has been read and checked.
#[derive(Clone, Debug)]
pub struct Submission {
    bytes: Bytes,
    study: StudyUid,
    series: SeriesUid,
    instance: InstanceUid,
    class: String,
    transfer_syntax: String,
    urgent: bool,
}

impl Submission {
    /// Reads the identity of one DICOM file, off the async threads.
    ///
    /// # Errors
    /// A [`Fault`] that says why the bytes are not an instance.
    pub async fn read(bytes: Bytes) -> Result<Self, Fault> {
        let reading = tokio::task::spawn_blocking(move || {
            let instance = Instance::parse(bytes.clone())?;
            if instance.pixels.is_some() && !is_supported(&instance.transfer_syntax) {
                return Err(DecodeError::TransferSyntax(instance.transfer_syntax).into());
            }
            let urgent = is_urgent(&instance);
            let Instance {
                study,
                series,
                uid,
                class,
                transfer_syntax,
                ..
            } = instance;
            Ok(Self {
                bytes,
                study,
                series,
                instance: uid,
                class,
                transfer_syntax,
                urgent,
            })
        });
        reading.await.unwrap_or_else(|_| {
            Err(Fault::new(
                FaultKind::Invalid,
                "damaged",
                "the DICOM file is damaged: its structure could not be followed",
            ))
        })
    }

    /// The study it belongs to.
    #[must_use]
    pub fn study(&self) -> &StudyUid {
        &self.study
    }

    /// Its SOP Instance UID.
    #[must_use]
    pub fn instance(&self) -> &InstanceUid {
        &self.instance
    }

    /// Its SOP Class UID; empty where the file does not say.
    #[must_use]
    pub fn class(&self) -> &str {
        &self.class
    }
}

impl Workflow {
    /// Keeps an instance; when this returns, it may be acknowledged to its sender.
    ///
    /// # Errors
    /// A [`Fault`] of the store; then nothing was accepted, and the sender should send it again.
    pub async fn accept(&self, submission: &Submission) -> Result<Accepted, Fault> {
        let object = self.store.put_object(submission.bytes.clone()).await?;
        let instance = NewInstance {
            uid: submission.instance.clone(),
            study: submission.study.clone(),
            series: submission.series.clone(),
            class: submission.class.clone(),
            transfer_syntax: submission.transfer_syntax.clone(),
            object,
            urgent: submission.urgent,
            bytes: i64::try_from(submission.bytes.len()).unwrap_or(i64::MAX),
        };
        let accepted = self.store.accept(&instance).await?;
        if accepted != Accepted::Identical {
            self.arrival.notify_one();
        }
        Ok(accepted)
    }
}

//! The one way in: bytes become a durable instance of a study.
//!
//! Invariant: what [`Workflow::accept`] has returned `Ok` for survives a crash. The object is written before the row,
//! and both are synchronised. Whether an instance may be scored is not asked here: whatever is DICOM is kept, but for pixels
//! that nothing here can decode, which their sender is told at once.

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Workflow, completeness};
use crate::dicom::attributes::{is_urgent, study_instances};
use crate::dicom::record::Record;
use crate::dicom::{Instance, InstanceUid, SeriesUid, StudyUid, is_deflated};
use crate::failpoint;
use crate::fault::{Fault, FaultKind};
use crate::image::decode::{DecodeError, is_supported};
use crate::store::{Accepted, NewInstance, Snapshot, StoreError, Stored};

/// The place for files whose data set is deflated: however few bytes one has, it may take 512 MiB while it is read.
static INFLATING: Semaphore = Semaphore::const_new(1);

/// A place to read a file in, to be held for as long as it is read; nothing where it needs none.
pub(super) async fn place_to_read(file: &[u8]) -> Option<SemaphorePermit<'static>> {
    if is_deflated(file) {
        INFLATING.acquire().await.ok()
    } else {
        None
    }
}

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
    expected: Option<i64>,
    irregular: bool,
    record: Record,
}

impl Submission {
    /// Reads the identity of one DICOM file, and what it is found by, off the async threads.
    ///
    /// # Errors
    /// A [`Fault`] that says why the bytes are not an instance.
    pub async fn read(bytes: Bytes) -> Result<Self, Fault> {
        let place = place_to_read(&bytes).await;
        let reading = tokio::task::spawn_blocking(move || {
            // for as long as it is read, whether or not anybody waits for it
            let _place = place;
            let instance = Instance::parse(bytes.clone())?;
            if instance.pixels.is_some() && !is_supported(&instance.transfer_syntax) {
                return Err(DecodeError::TransferSyntax(instance.transfer_syntax).into());
            }
            let (urgent, expected) = (is_urgent(&instance), study_instances(&instance));
            let record = Record::of(&instance);
            let irregular = instance.class.is_empty() || !instance.repairs.is_empty();
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
                expected,
                irregular,
                record,
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

    /// The same from a sender that calls it urgent, whatever its header says.
    #[must_use]
    pub fn urgent(self) -> Self {
        Self { urgent: true, ..self }
    }

    /// The study it belongs to.
    #[must_use]
    pub fn study(&self) -> &StudyUid {
        &self.study
    }

    /// The series it belongs to.
    #[must_use]
    pub fn series(&self) -> &SeriesUid {
        &self.series
    }

    /// Whether its form is not what the standard asks for: it was repaired to be read, or does not say of which class it is.
    #[must_use]
    pub fn is_irregular(&self) -> bool {
        self.irregular
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
        loop {
            failpoint::reach("accept.before-object")
                .await
                .map_err(StoreError::from)?;
            let (object, stored) = self.store.put_object(submission.bytes.clone()).await?;
            failpoint::reach("accept.after-object")
                .await
                .map_err(StoreError::from)?;
            let instance = NewInstance {
                uid: submission.instance.clone(),
                study: submission.study.clone(),
                series: submission.series.clone(),
                class: submission.class.clone(),
                transfer_syntax: submission.transfer_syntax.clone(),
                object,
                urgent: submission.urgent,
                expected: submission.expected,
                bytes: i64::try_from(submission.bytes.len()).unwrap_or(i64::MAX),
            };
            if failpoint::is_off("accept.no-fsync-order") {
                return Ok(self.accept_carelessly(instance, submission.record.clone()));
            }
            if let Some(accepted) = self.record(&instance, &submission.record, stored).await? {
                failpoint::reach("accept.after-commit")
                    .await
                    .map_err(StoreError::from)?;
                if matches!(accepted, Accepted::New | Accepted::Replaced) {
                    self.arrival.notify_one();
                }
                return Ok(accepted);
            }
            // it was there, nobody needed it until this moment, and the sweeper was faster
        }
    }

    async fn record(
        &self,
        instance: &NewInstance,
        record: &Record,
        stored: Stored,
    ) -> Result<Option<Accepted>, StoreError> {
        let patience = |snapshot: &Snapshot| completeness::wait(snapshot, &self.settings.patience);
        self.store.accept(instance, record, stored, &patience).await
    }

    /// For the fault tests' control: what would be lost if an instance were acknowledged before its row is committed.
    fn accept_carelessly(&self, instance: NewInstance, record: Record) -> Accepted {
        let workflow = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            workflow.record(&instance, &record, Stored::Now).await
        });
        Accepted::New
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::workflow::fixture::dicom;

    #[tokio::test]
    async fn one_deflated_file_is_read_at_a_time_and_the_others_do_not_wait_for_it() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decode/deflated-8u.dcm");
        let deflated = Bytes::from(std::fs::read(path).unwrap());
        let all = INFLATING.acquire().await.unwrap();
        let waiting = timeout(Duration::from_secs(1), Submission::read(deflated.clone())).await;
        assert!(waiting.is_err(), "there is no place");
        assert!(Submission::read(dicom("1.2", "1.2.2", "plain")).await.is_ok());
        drop(all);
        assert!(Submission::read(deflated).await.is_ok());
    }
}

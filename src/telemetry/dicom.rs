//! The metrics of the DIMSE door.

use prometheus::{Error, IntCounterVec, IntGauge, Opts, Registry};

/// Handles to them; clones count together.
#[derive(Clone)]
pub struct Dicom {
    open: IntGauge,
    associations: IntCounterVec,
    instances: IntCounterVec,
}

/// An association that is open for as long as this is held.
pub struct OpenAssociation(IntGauge);

impl Drop for OpenAssociation {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Dicom {
    pub(super) fn new(registry: &Registry) -> Result<Self, Error> {
        let dicom = Self {
            open: IntGauge::new(
                "osteon_dicom_associations_open",
                "DICOM associations that are open",
            )?,
            associations: IntCounterVec::new(
                Opts::new(
                    "osteon_dicom_associations_total",
                    "DICOM associations that ended or were not accepted, by how",
                ),
                &["ended"],
            )?,
            instances: IntCounterVec::new(
                Opts::new(
                    "osteon_dicom_instances_total",
                    "Instances that were sent by C-STORE, by the status that their sender was told",
                ),
                &["status"],
            )?,
        };
        registry.register(Box::new(dicom.open.clone()))?;
        registry.register(Box::new(dicom.associations.clone()))?;
        registry.register(Box::new(dicom.instances.clone()))?;
        Ok(dicom)
    }

    /// An association was accepted; it counts as open until what is returned is dropped.
    #[must_use]
    pub fn association_open(&self) -> OpenAssociation {
        self.open.inc();
        OpenAssociation(self.open.clone())
    }

    /// An association ended or was not accepted; `ended` is one of a few words that say how.
    pub fn association(&self, ended: &str) {
        self.associations.with_label_values(&[ended]).inc();
    }

    /// A C-STORE was answered with `status`.
    pub fn instance(&self, status: u16) {
        let status = format!("{status:04X}");
        self.instances.with_label_values(&[status.as_str()]).inc();
    }
}

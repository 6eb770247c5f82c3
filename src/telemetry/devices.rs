//! The metrics of GPUs: what each ran, and what failed there.

use prometheus::{Error, IntCounterVec, Opts, Registry};

/// Handles to them; clones count together.
#[derive(Clone)]
pub struct Devices {
    images: IntCounterVec,
    failures: IntCounterVec,
}

impl Devices {
    pub(super) fn new(registry: &Registry) -> Result<Self, Error> {
        let counter = |name, help| IntCounterVec::new(Opts::new(name, help), &["device"]);
        let devices = Self {
            images: counter("osteon_device_images_total", "Images that a GPU ran")?,
            failures: counter(
                "osteon_device_failures_total",
                "Batches that failed on a GPU; their images were tried on another where there is one",
            )?,
        };
        registry.register(Box::new(devices.images.clone()))?;
        registry.register(Box::new(devices.failures.clone()))?;
        Ok(devices)
    }

    /// A device ran a batch of so many images.
    pub fn ran(&self, device: &str, images: usize) {
        self.images.with_label_values(&[device]).inc_by(images as u64);
    }

    /// A batch failed on a device.
    pub fn failed(&self, device: &str) {
        self.failures.with_label_values(&[device]).inc();
    }
}

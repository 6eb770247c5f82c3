//! The metrics of GPUs: what each ran, and what failed there.

use prometheus::{Error, IntCounterVec, Opts, Registry};

use super::metrics::Metrics;

/// Handles to them; clones count together.
#[derive(Clone)]
pub(super) struct Devices {
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
}

impl Metrics {
    /// A device ran a batch of so many images.
    pub fn device_ran(&self, device: &str, images: usize) {
        self.devices
            .images
            .with_label_values(&[device])
            .inc_by(images as u64);
    }

    /// A batch failed on a device.
    pub fn device_failed(&self, device: &str) {
        self.devices.failures.with_label_values(&[device]).inc();
    }
}

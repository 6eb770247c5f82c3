//! The metrics of GPUs: what each ran, and what failed there.

use prometheus::{Error, IntCounterVec, IntGaugeVec, Opts, Registry};

/// Handles to them; clones count together.
#[derive(Clone)]
pub struct Devices {
    images: IntCounterVec,
    failures: IntCounterVec,
    silent: IntGaugeVec,
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
            silent: IntGaugeVec::new(
                Opts::new(
                    "osteon_device_silent",
                    "1 while a GPU fails even on an image that the model was proven with",
                ),
                &["model", "device"],
            )?,
        };
        registry.register(Box::new(devices.silent.clone()))?;
        registry.register(Box::new(devices.images.clone()))?;
        registry.register(Box::new(devices.failures.clone()))?;
        Ok(devices)
    }

    /// A device ran a batch of so many images.
    pub fn ran(&self, device: &str, images: usize) {
        self.images.with_label_values(&[device]).inc_by(images as u64);
    }

    /// A device no longer runs a model, not even on an image that it was proven with; or it does again.
    pub fn silent(&self, model: &str, device: &str, silent: bool) {
        self.silent
            .with_label_values(&[model, device])
            .set(i64::from(silent));
    }

    /// A batch failed on a device.
    pub fn failed(&self, device: &str) {
        self.failures.with_label_values(&[device]).inc();
    }
}

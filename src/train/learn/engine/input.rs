//! A batch of images on its way to the device.

use tch::{Kind, TchError, Tensor};

use super::{EngineError, expect, on};
use crate::runtime::Device;

/// Images on the device of an engine, channels-last.
pub struct Input {
    /// `[batch, channels, rows, columns]`.
    pub(super) images: Tensor,
    pub(super) batch: usize,
}

impl Input {
    /// The same images, for another thread.
    pub(super) fn shared(&self) -> Self {
        Self {
            images: self.images.shallow_clone(),
            batch: self.batch,
        }
    }
}

/// Takes images to the device of an engine, from any thread: the batch to come travels while a step runs.
#[derive(Clone, Copy, Debug)]
pub struct Placer {
    /// Where to.
    pub device: Device,
    /// `[channels, rows, columns]` of one image.
    pub input: [usize; 3],
}

impl Placer {
    /// Takes `[batch, channels, rows, columns]` there.
    ///
    /// # Errors
    /// [`EngineError::Length`] for another number of values; [`EngineError::Torch`] where the device has no room.
    pub fn place(self, images: &[f32], batch: usize) -> Result<Input, EngineError> {
        let [channels, rows, columns] = self.input;
        expect("the batch", images.len(), batch * channels * rows * columns)?;
        let lying = interleaved(images, channels, rows * columns);
        let size = [batch, rows, columns, channels].map(|size| size as i64);
        let images = Tensor::f_from_slice(lying.as_deref().unwrap_or(images))?
            .f_view(size)?
            .f_permute([0, 3, 1, 2])?;
        Ok(Input {
            images: self.moved(images)?,
            batch,
        })
    }

    /// Through memory that the GPU reads by itself, so that nobody waits for the copy; libtorch keeps that memory until it is over.
    fn moved(self, images: Tensor) -> Result<Tensor, TchError> {
        match self.device {
            Device::Cpu => Ok(images),
            Device::Cuda(_) => {
                let device = on(self.device);
                images
                    .f_pin_memory(device)?
                    .f_internal_to_copy((Kind::Float, device), true)
            }
        }
    }
}

/// Each image with the channels of a pixel side by side; none where there is only one channel and nothing has to move.
fn interleaved(images: &[f32], channels: usize, pixels: usize) -> Option<Vec<f32>> {
    if channels < 2 {
        return None;
    }
    let mut lying = vec![0.0; images.len()];
    let both = images
        .chunks_exact(channels * pixels)
        .zip(lying.chunks_exact_mut(channels * pixels));
    for (image, lying) in both {
        for (channel, plane) in image.chunks_exact(pixels).enumerate() {
            for (value, pixel) in plane.iter().zip(lying.chunks_exact_mut(channels)) {
                pixel[channel] = *value;
            }
        }
    }
    Some(lying)
}

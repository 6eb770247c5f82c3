//! The place where a batch is gathered on its way to a device: memory that the device reads without help of the processor.
//!
//! An engine has two. One thread fills one, while another runs what is in the other; a full one goes to the device before the device
//! is free. Images lie in the memory of the smallest batch size that holds them, and move on to the next with the image that does
//! not fit any more.

use ort::Result;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, SessionOutputs};
use ort::value::Tensor as Value;

use super::Bucket;
use crate::image::Tensor;
use crate::runtime::{Device, RuntimeError};

/// Images that are run together next.
pub struct Staging {
    input: String,
    /// The numbers of one image.
    length: usize,
    /// One for each batch size, ascending.
    places: Vec<Place>,
    /// Which of them the images are in.
    at: usize,
    /// How many images are in it.
    images: usize,
    /// Whether the device has a copy of what is in it.
    sent: bool,
}

/// The memory of one batch size. Only memory of its own may be bound: binding a part of another's never returns where device and memory
/// are one (ort 2.0.0-rc.15).
struct Place {
    size: usize,
    memory: Value<f32>,
    binding: IoBinding,
    /// Rows from this one on are zero.
    used: usize,
}

impl Place {
    fn new(bucket: &Bucket, allocator: &Allocator, shape: [usize; 3]) -> Result<Self> {
        let [channels, rows, columns] = shape;
        let mut memory = Value::new(allocator, [bucket.size, channels, rows, columns])?;
        memory.try_extract_tensor_mut::<f32>()?.1.fill(0.0);
        let mut binding = bucket.session.create_binding()?;
        for output in bucket.session.outputs() {
            binding.bind_output_to_device(output.name(), &MemoryInfo::default())?;
        }
        Ok(Self {
            size: bucket.size,
            memory,
            binding,
            used: 0,
        })
    }

    fn rows(&mut self) -> Result<&mut [f32]> {
        Ok(self.memory.try_extract_tensor_mut::<f32>()?.1)
    }

    /// Copies the first rows to the device; those behind become zero, so that no image of an earlier batch is run again.
    fn bind(&mut self, input: &str, images: usize, length: usize) -> Result<()> {
        let rest = images * length..self.used * length;
        if let Some(rest) = self.rows()?.get_mut(rest) {
            rest.fill(0.0);
        }
        self.used = images;
        self.binding.bind_input(input, &self.memory)
    }
}

impl Staging {
    /// Memory for each of `buckets`, whose sessions compute on `device`; images are `[channels, rows, columns]`.
    pub(super) fn new(buckets: &[Bucket], device: Device, input: &str, shape: [usize; 3]) -> Result<Self> {
        let pinned = |index: u16| {
            let info = MemoryInfo::new(
                AllocationDevice::CUDA_PINNED,
                i32::from(index),
                AllocatorType::Device,
                MemoryType::CPUOutput,
            )?;
            let first = buckets.first().ok_or_else(nowhere)?;
            Allocator::new(&first.session, info)
        };
        let allocator = match device {
            Device::Cpu => Allocator::default(),
            // page-locked memory is the same for every GPU, and its number is that of the GPU or 0, by the version of ONNX Runtime
            Device::Cuda(index) => pinned(index).or_else(|_| pinned(0))?,
        };
        let places = buckets.iter().map(|bucket| Place::new(bucket, &allocator, shape));
        Ok(Self {
            input: input.to_owned(),
            length: shape.iter().product(),
            places: places.collect::<Result<_>>()?,
            at: 0,
            images: 0,
            sent: false,
        })
    }

    /// How many images it holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.places.last().map_or(0, |place| place.size)
    }

    /// How many images are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.images
    }

    /// Whether there is none in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.images == 0
    }

    /// Puts images behind those that are in it, in their order; gives for each whether it is in it.
    ///
    /// # Errors
    /// For an image: [`RuntimeError::Run`] where it has not the size of the model's input, or there is no room.
    pub fn extend<'a>(
        &mut self,
        images: impl ExactSizeIterator<Item = &'a Tensor>,
    ) -> Vec<std::result::Result<(), RuntimeError>> {
        // at once to where all of them fit
        let moved = self.move_on(self.images + images.len());
        let moved = moved.map_err(|error| RuntimeError::Run(error.to_string()));
        images
            .map(|image| moved.clone().and_then(|()| self.push(image)))
            .collect()
    }

    fn push(&mut self, image: &Tensor) -> std::result::Result<(), RuntimeError> {
        let (images, length) = (self.images, self.length);
        if image.values.len() != length {
            return Err(RuntimeError::Run(
                "an image has not the size of the model's input".to_owned(),
            ));
        }
        let failed = |error: ort::Error| RuntimeError::Run(error.to_string());
        let place = self.places.get_mut(self.at).ok_or_else(nowhere).map_err(failed)?;
        let row = place
            .rows()
            .map_err(failed)?
            .get_mut(images * length..(images + 1) * length)
            .ok_or_else(nowhere)
            .map_err(failed)?;
        row.copy_from_slice(&image.values);
        place.used = place.used.max(images + 1);
        self.images += 1;
        self.sent = false;
        Ok(())
    }

    /// Moves what is in it to the smallest batch size that holds so many images.
    fn move_on(&mut self, images: usize) -> Result<()> {
        let holds = |place: &Place| place.size >= images;
        let to = self.places.iter().position(holds).ok_or_else(nowhere)?;
        if to <= self.at {
            return Ok(());
        }
        let length = self.images * self.length;
        let (before, after) = self.places.split_at_mut(to);
        if let (Some(from), Some(into)) = (before.get_mut(self.at), after.first_mut()) {
            if let (Some(into), Some(from)) = (into.rows()?.get_mut(..length), from.rows()?.get(..length)) {
                into.copy_from_slice(from);
            }
            into.used = into.used.max(self.images);
        }
        (self.at, self.sent) = (to, false);
        Ok(())
    }

    /// Copies what is in it to the device, before its turn; what does not succeed is tried again when it is run.
    pub fn send(&mut self) {
        // an error shows when it is run
        let _ = self.bind();
    }

    fn bind(&mut self) -> Result<()> {
        if !self.sent {
            let place = self.places.get_mut(self.at).ok_or_else(nowhere)?;
            place.bind(&self.input, self.images, self.length)?;
            self.sent = true;
        }
        Ok(())
    }

    /// Takes as much of the device's memory as it ever will.
    pub(super) fn occupy(&mut self) -> Result<()> {
        let (input, length) = (&self.input, self.length);
        self.places
            .iter_mut()
            .try_for_each(|place| place.bind(input, 0, length))
    }

    /// Runs what is in it, and has `read` look at what came out.
    pub(super) fn run<T>(
        &mut self,
        buckets: &mut [Bucket],
        read: impl FnOnce(&SessionOutputs<'_>) -> T,
    ) -> Result<T> {
        self.bind()?;
        match (buckets.get_mut(self.at), self.places.get(self.at)) {
            (Some(bucket), Some(place)) => Ok(read(&bucket.session.run_binding(&place.binding)?)),
            _ => Err(nowhere()),
        }
    }

    /// Empties it; its copies on the device are gone.
    pub fn clear(&mut self) {
        for place in &mut self.places {
            place.binding.clear_inputs();
        }
        (self.at, self.images, self.sent) = (0, 0, false);
    }
}

fn nowhere() -> ort::Error {
    ort::Error::new("there is no room for so many images")
}

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
use crate::runtime::RuntimeError;
use crate::runtime::gpus::Gpu;

/// Images that are run together next.
pub struct Staging {
    gpu: Option<Gpu>,
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
    /// Memory for each of `buckets`, whose sessions compute on `gpu`, or on the CPU; images are `[channels, rows, columns]`.
    pub(super) fn new(buckets: &[Bucket], gpu: Option<Gpu>, input: &str, shape: [usize; 3]) -> Result<Self> {
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
        let allocator = match &gpu {
            None => Allocator::default(),
            // page-locked memory is the same for every GPU, and its number is that of the GPU or 0, by the version of ONNX Runtime
            Some(gpu) => pinned(gpu.index).or_else(|_| pinned(0))?,
        };
        let places = buckets.iter().map(|bucket| Place::new(bucket, &allocator, shape));
        Ok(Self {
            gpu,
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
            if let Some(gpu) = &self.gpu {
                gpu.enter().map_err(ort::Error::new)?;
            }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::{GoldenInput, Package};
    use crate::runtime::{Device, Engine, Runtime};

    fn lent() -> (Package, Engine, Staging) {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let package = Package::open(&models.join("spine-osteoporosis-phantom/1")).unwrap();
        let runtime = Runtime::open(None, Device::Cpu).unwrap().in_batches();
        let mut engine = Engine::load(&runtime, &package.model, &package.manifest).unwrap();
        let mut stagings = engine.lend_stagings();
        assert_eq!(stagings.len(), 2);
        (package, engine, stagings.remove(0))
    }

    fn put(staging: &mut Staging, images: &[Tensor]) {
        assert!(staging.extend(images.iter()).into_iter().all(|put| put.is_ok()));
    }

    #[test]
    fn images_move_on_to_the_size_that_holds_them_and_what_is_behind_them_is_zero() {
        let (package, mut engine, mut staging) = lent();
        let shape = package.manifest.preprocessing.input_shape();
        let images: Vec<Tensor> = (0..5)
            .map(|seed| GoldenInput::Noise { seed }.tensor(shape).unwrap())
            .collect();
        let rows = |staging: &mut Staging| {
            let at = staging.at;
            let length = staging.length;
            let rows = staging.places[at].rows().unwrap().chunks_exact(length);
            rows.map(<[f32]>::to_vec).collect::<Vec<_>>()
        };
        for (count, size) in [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8)] {
            put(&mut staging, &images[count - 1..count]);
            assert_eq!((staging.len(), staging.places[staging.at].size), (count, size));
        }
        staging.send();
        let found = rows(&mut staging);
        assert!(
            found[..5]
                .iter()
                .zip(&images)
                .all(|(row, image)| *row == image.values)
        );
        assert!(found[5..].iter().flatten().all(|value| *value == 0.0));
        assert_eq!(engine.run_staged(&mut staging).unwrap().len(), 5);
        assert!(staging.is_empty(), "what was run is gone");

        // all at once, and fewer than before in the same place
        put(&mut staging, &images[..4]);
        staging.send();
        staging.clear();
        put(&mut staging, &images[..3]);
        staging.send();
        let found = rows(&mut staging);
        assert!(found.len() == 4 && found[2] == images[2].values);
        assert!(
            found[3].iter().all(|value| *value == 0.0),
            "an image of an earlier batch"
        );
    }

    #[test]
    fn what_does_not_fit_is_said_for_each_image() {
        let (package, mut engine, mut staging) = lent();
        let shape = package.manifest.preprocessing.input_shape();
        let image = GoldenInput::Constant { value: 0.5 }.tensor(shape).unwrap();
        let odd = Tensor {
            shape,
            values: vec![0.0; 3],
        };
        let put = staging.extend([&image, &odd, &image].into_iter());
        assert_eq!(
            put.iter().map(Result::is_ok).collect::<Vec<_>>(),
            [true, false, true]
        );
        assert_eq!(engine.run_staged(&mut staging).unwrap().len(), 2);
        let many = vec![&image; staging.capacity() + 1];
        assert!(staging.extend(many.into_iter()).iter().all(Result::is_err));
        assert!(
            engine
                .run(&[&image])
                .unwrap_err()
                .to_string()
                .contains("was lent")
        );
    }
}

//! One batch size on a GPU: a session that only ever sees this shape, and page-locked memory from which images are copied.
//!
//! One session for all sizes would do the same and be far slower: cuDNN plans every convolution anew whenever the shape
//! differs from that of the run before (`docs/decisions/0008-one-session-for-each-batch-size.md`).

use ort::Result;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session, SessionOutputs};
use ort::value::Tensor as Value;

use crate::image::Tensor;

/// A batch size with all that runs it.
pub(super) struct Bucket {
    /// How many images it holds.
    pub(super) size: usize,
    /// Runs batches of exactly this size.
    pub(super) session: Session,
    input: Value<f32>,
    binding: IoBinding,
}

impl Bucket {
    /// Page-locked memory for `size` images of `[channels, rows, columns]` beside a session on the GPU with this index.
    pub(super) fn new(session: Session, index: u16, shape: [usize; 3], size: usize) -> Result<Self> {
        let pinned = MemoryInfo::new(
            AllocationDevice::CUDA_PINNED,
            i32::from(index),
            AllocatorType::Device,
            MemoryType::CPUOutput,
        )?;
        let [channels, rows, columns] = shape;
        let input = Value::new(
            &Allocator::new(&session, pinned)?,
            [size, channels, rows, columns],
        )?;
        let mut binding = session.create_binding()?;
        for output in session.outputs() {
            binding.bind_output_to_device(output.name(), &MemoryInfo::default())?;
        }
        Ok(Self {
            size,
            session,
            input,
            binding,
        })
    }

    /// Runs `batch`, at most as many images as the bucket holds; where it holds more, the rest is zero.
    pub(super) fn run(&mut self, name: &str, batch: &[&Tensor]) -> Result<SessionOutputs<'_>> {
        let (_, memory) = self.input.try_extract_tensor_mut::<f32>()?;
        let image = memory.len() / self.size;
        let mut places = memory.chunks_exact_mut(image);
        for (place, tensor) in places.by_ref().zip(batch) {
            if tensor.values.len() != image {
                return Err(ort::Error::new("an image has not the size of the model's input"));
            }
            place.copy_from_slice(&tensor.values);
        }
        for place in places {
            place.fill(0.0);
        }
        self.binding.bind_input(name, &self.input)?;
        self.session.run_binding(&self.binding)
    }
}

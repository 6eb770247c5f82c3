//! A network optimised once and its weights held once, whatever number of sessions runs it.
//!
//! ONNX Runtime optimises a network for each session anew, and each keeps a copy of the weights in the order that suits the
//! processor. Here the first session writes the optimised network into memory; all others are made of that, and are handed the same
//! weights. Measured with a ResNet-18 of 45 MB: 18 MB for each further session and not 58, made in 45 ms and not in 130.

use std::sync::Arc;

use ndarray::{Array1, s};
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{DynValue, Tensor};
use prost::Message;

use super::{Bucket, Engine, Runtime, Sessions, Staging, builder, convolution, failed_in, in_halves, share};
use crate::model::ModelManifest;
use crate::model::onnx_format::{DataType, ModelProto, TensorProto};
use crate::runtime::{Device, RuntimeError};

/// Smaller ones are shapes and scales, which optimisation looks at and which cost nothing.
const SHARED_FROM: usize = 1 << 10;

/// A network from which [engines](Engine) are made.
pub struct Network {
    runtime: Runtime,
    bytes: Vec<u8>,
    weights: Vec<(String, Arc<DynValue>)>,
    level: GraphOptimizationLevel,
    /// How many bits the numbers have that it computes with.
    bits: u8,
    /// Whether convolutions are replaced by our own.
    replaced: bool,
}

impl Network {
    /// Reads `model` for the runtime's device, to make engines of it. For the CPU it is optimised here, convolutions are
    /// replaced by our own, and its weights are taken out; where the system has no memory files, each engine optimises for itself.
    ///
    /// # Errors
    /// [`RuntimeError::Load`].
    pub fn new(runtime: &Runtime, model: &[u8]) -> Result<Self, RuntimeError> {
        Self::read(runtime, model, convolution::replaced)
    }

    /// The same, computed by ONNX Runtime alone.
    ///
    /// # Errors
    /// [`RuntimeError::Load`].
    pub fn by_onnx_runtime(runtime: &Runtime, model: &[u8]) -> Result<Self, RuntimeError> {
        Self::read(runtime, model, |_| None)
    }

    fn read(
        runtime: &Runtime,
        model: &[u8],
        replaced: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<Self, RuntimeError> {
        let alone = || Self {
            runtime: runtime.clone(),
            bytes: model.to_vec(),
            weights: Vec::new(),
            level: GraphOptimizationLevel::All,
            bits: 32,
            replaced: false,
        };
        if runtime.device != Device::Cpu {
            return Ok(alone());
        }
        let network = match optimised(runtime, model) {
            Ok(optimised) => {
                let ours = replaced(&optimised);
                let replaced = ours.is_some();
                let bytes = ours.unwrap_or(optimised);
                Self {
                    weights: weights(&bytes),
                    bytes,
                    level: GraphOptimizationLevel::Disable,
                    replaced,
                    ..alone()
                }
            }
            Err(Off::Model(error)) => return Err(RuntimeError::Load(error.to_string())),
            Err(Off::Memory(error)) => {
                tracing::debug!(%error, "network.not_shared");
                alone()
            }
        };
        Ok(network)
    }

    /// The same in 16-bit arithmetic.
    ///
    /// # Errors
    /// [`RuntimeError::Load`].
    pub fn in_halves(runtime: &Runtime, model: &[u8]) -> Result<Self, RuntimeError> {
        Ok(Self {
            runtime: runtime.clone(),
            bytes: in_halves(model).map_err(RuntimeError::Load)?,
            weights: Vec::new(),
            level: GraphOptimizationLevel::All,
            bits: 16,
            replaced: false,
        })
    }

    /// Whether some of its convolutions are our own.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.replaced
    }

    /// An engine of this network.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn engine(&self, manifest: &ModelManifest) -> Result<Engine, RuntimeError> {
        let sessions = if self.runtime.batch_sizes().len() > 1 {
            self.batches(manifest)?
        } else {
            Sessions::Cpu(self.session(None).map_err(|error| self.failed(&error))?)
        };
        Engine::new(&self.runtime, sessions, manifest, self.bits)
    }

    /// A session for each batch size, and two places to gather batches in.
    fn batches(&self, manifest: &ModelManifest) -> Result<Sessions, RuntimeError> {
        let Runtime {
            device, gpu_memory, ..
        } = self.runtime;
        let sizes = self.runtime.batch_sizes();
        let limits: Vec<Option<u64>> = match gpu_memory {
            None => vec![None; sizes.len()],
            Some(limit) => {
                let total = limit.saturating_mul(1 << 20);
                share::shares(total, self.bytes.len() as u64, sizes)
                    .map_err(|cause| RuntimeError::Memory {
                        device,
                        limit: gpu_memory,
                        cause,
                    })?
                    .into_iter()
                    .map(Some)
                    .collect()
            }
        };
        let failed = |error: ort::Error| self.failed(&error);
        let bucket = |(&size, limit): (&usize, Option<u64>)| -> ort::Result<Bucket> {
            Ok(Bucket {
                size,
                session: self.session(limit)?,
            })
        };
        let buckets: ort::Result<Vec<Bucket>> = sizes.iter().zip(limits).map(bucket).collect();
        let buckets = buckets.map_err(failed)?;
        let (input, shape) = (
            &manifest.preprocessing.tensor,
            manifest.preprocessing.input_shape(),
        );
        // where the network has no such input, the engine says so in better words
        let has_input = |bucket: &Bucket| bucket.session.inputs().iter().any(|one| one.name() == input);
        let mut stagings = Vec::new();
        if buckets.first().is_some_and(has_input) {
            for _ in 0..2 {
                let gpu = self
                    .runtime
                    .gpu()
                    .map_err(|cause| RuntimeError::Device { device, cause })?;
                stagings.push(Staging::new(&buckets, gpu, input, shape).map_err(failed)?);
            }
            // while one is run, the other is on the device already: what is proven has to fit beside it
            if let Some(other) = stagings.last_mut() {
                other.occupy().map_err(failed)?;
            }
        }
        Ok(Sessions::Batches { buckets, stagings })
    }

    /// What ONNX Runtime says while it loads.
    fn failed(&self, error: &ort::Error) -> RuntimeError {
        let device = self.runtime.device;
        match failed_in(device, self.runtime.gpu_memory, error) {
            RuntimeError::Run(cause) if device == Device::Cpu => RuntimeError::Load(cause),
            RuntimeError::Run(cause) => RuntimeError::Device { device, cause },
            memory => memory,
        }
    }

    fn session(&self, limit: Option<u64>) -> ort::Result<Session> {
        let mut builder = builder(&self.runtime, limit)?.with_optimization_level(self.level)?;
        for (name, value) in &self.weights {
            builder = builder.with_initializer(name, Arc::clone(value))?;
        }
        if self.replaced {
            builder = builder.with_operators(convolution::operators()?)?;
        }
        builder.commit_from_memory(&self.bytes)
    }
}

fn weights(model: &[u8]) -> Vec<(String, Arc<DynValue>)> {
    ModelProto::decode(model)
        .ok()
        .and_then(|model| model.graph)
        .map_or_else(Vec::new, |graph| graph.initializer)
        .iter()
        .filter_map(shared)
        .collect()
}

/// Why there is no optimised network.
enum Off {
    Model(ort::Error),
    Memory(std::io::Error),
}

/// The network as ONNX Runtime would run it, in its own format.
#[cfg(target_os = "linux")]
fn optimised(runtime: &Runtime, model: &[u8]) -> Result<Vec<u8>, Off> {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsRawFd;

    let memory = |error: rustix::io::Errno| Off::Memory(error.into());
    let file = rustix::fs::memfd_create("network", rustix::fs::MemfdFlags::CLOEXEC).map_err(memory)?;
    let mut file = File::from(file);
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let written = builder(runtime, None)
        // it warns that the result is for this processor only, as it is meant to be
        .and_then(|builder| Ok(builder.with_log_level(LogLevel::Error)?))
        .and_then(|builder| Ok(builder.with_optimization_level(GraphOptimizationLevel::All)?))
        .and_then(|builder| Ok(builder.with_optimized_model_path(path)?))
        .and_then(|mut builder| builder.commit_from_memory(model));
    drop(written.map_err(Off::Model)?);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(Off::Memory)?;
    Ok(bytes)
}

/// The network as ONNX Runtime would run it, in its own format.
#[cfg(not(target_os = "linux"))]
fn optimised(_runtime: &Runtime, _model: &[u8]) -> Result<Vec<u8>, Off> {
    Err(Off::Memory(std::io::ErrorKind::Unsupported.into()))
}

/// A weight worth sharing, as a value of ONNX Runtime.
fn shared(tensor: &TensorProto) -> Option<(String, Arc<DynValue>)> {
    if tensor.data_type != DataType::Float as i32 || tensor.raw_data.len() < SHARED_FROM {
        return None;
    }
    let shape: Vec<usize> = tensor
        .dims
        .iter()
        .map(|&size| usize::try_from(size).unwrap_or(0))
        .collect();
    let numbers = tensor.raw_data.as_chunks().0;
    let numbers = at_a_line(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)));
    let value = Tensor::from_array(numbers.into_shape_with_order(shape).ok()?).ok()?;
    Some((tensor.name.clone(), Arc::new(value.into_dyn())))
}

/// Numbers that begin where a cache line does, as ONNX Runtime's own do. Elsewhere every load of the widest vectors takes two lines, and a
/// ResNet-18 a seventh longer; and a large block of glibc's begins 16 bytes into one.
fn at_a_line(numbers: impl ExactSizeIterator<Item = f32>) -> Array1<f32> {
    const LINE: usize = 64;
    let most = LINE / size_of::<f32>();
    let mut room: Vec<f32> = Vec::with_capacity(most + numbers.len());
    let skipped = room.as_ptr().align_offset(LINE).min(most);
    room.resize(skipped, 0.0);
    room.extend(numbers);
    Array1::from_vec(room).slice_move(s![skipped..])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::golden::difference;
    use crate::model::{GoldenInput, Package};

    #[test]
    fn shared_weights_begin_where_a_cache_line_does() {
        // what makes values needs the library
        Runtime::open(None, Device::Cpu).unwrap();
        // of a small block, and of one that is the system's pages
        for columns in [1, 7, 64, 1_003] {
            let weight = TensorProto {
                dims: vec![300, columns],
                data_type: DataType::Float as i32,
                raw_data: (0..300 * columns)
                    .flat_map(|value| (value as f32).to_le_bytes())
                    .collect(),
                ..TensorProto::default()
            };
            let (_, value) = shared(&weight).unwrap();
            let (shape, numbers) = value.try_extract_tensor::<f32>().unwrap();
            assert_eq!(shape[..], [300, columns]);
            assert_eq!(numbers.as_ptr().addr() % 64, 0, "{columns} columns");
            assert_eq!((numbers[2], numbers.len() as i64), (2.0, 300 * columns));
        }
    }

    #[test]
    fn our_convolutions_answer_as_those_of_onnx_runtime() {
        let runtime = Runtime::open(None, Device::Cpu).unwrap();
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let package = Package::open(&models.join("spine-osteoporosis-phantom/1")).unwrap();
        let network = Network::new(&runtime, &package.model).unwrap();
        assert_eq!(network.replaced, osteon_convolution::block().is_some());
        let plain = Network::by_onnx_runtime(&runtime, &package.model).unwrap();
        let [mut ours, mut theirs] =
            [&network, &plain].map(|network| network.engine(&package.manifest).unwrap());
        let shape = package.manifest.preprocessing.input_shape();
        let images: Vec<_> = (0..5)
            .map(|seed| GoldenInput::Noise { seed }.tensor(shape).unwrap())
            .collect();
        let images: Vec<_> = images.iter().collect();
        let (ours, theirs) = (ours.run(&images).unwrap(), theirs.run(&images).unwrap());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            for (what, ours, theirs) in [
                ("logits", ours.proof(), theirs.proof()),
                ("probabilities", ours.values(), theirs.values()),
                (
                    "embedding",
                    ours.embedding.clone().unwrap(),
                    theirs.embedding.clone().unwrap(),
                ),
            ] {
                let off = difference(&ours, &theirs);
                assert!(off < 1e-4, "{what}: {off:e}");
            }
        }
        // other sums, or nothing was replaced
        assert_eq!(ours != theirs, network.replaced);
    }
}

//! ONNX Runtime behind plain types.
//!
//! The library is opened once a process, for the device of the first [`Runtime`]; an [`Engine`] is a network loaded onto it, owned by
//! whoever runs it: one session on the CPU, one for each batch size on a GPU. Telemetry is off.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::ep::cuda::ConvAlgorithmSearch;
use ort::ep::{ArenaExtendStrategy, CUDA};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::gpus::{self, Gpu};
use super::library::{CUDA_RUNTIME, CudaFolders, Located, cuda_folders, locate};
use super::{Device, Devices, RuntimeError, memory};

mod bucket;
mod convolution;
mod engine;
mod halves;
mod network;
mod outputs;
mod share;
mod staging;
mod stop;

use bucket::Bucket;
pub use engine::Engine;
use engine::Sessions;
pub use halves::in_halves;
pub use network::Network;
use share::Lack;
pub use staging::Staging;
pub use stop::Stop;

/// The opened ONNX Runtime library.
#[derive(Clone)]
pub struct Runtime {
    environment: Environment,
    library: PathBuf,
    /// Where it was found, in words.
    pub place: &'static str,
    /// What its engines compute on.
    pub device: Device,
    /// The most that an engine may take of a GPU's memory, in MiB.
    gpu_memory: Option<u64>,
    /// Whether the CPU computes as a GPU does, a session for each batch size.
    stands_in: bool,
}

static OPENED: OnceLock<Runtime> = OnceLock::new();
static OPENING: Mutex<()> = Mutex::new(());

impl Runtime {
    /// Opens ONNX Runtime; a process does so once, and later calls give the same library whatever path they ask for.
    ///
    /// # Errors
    /// [`RuntimeError::Missing`], [`RuntimeError::Unusable`] or [`RuntimeError::Cuda`], each with the command that mends it.
    pub fn open(asked: Option<&Path>, device: Device) -> Result<Self, RuntimeError> {
        let _one_at_a_time = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = OPENED.get() {
            return Ok(Self {
                device,
                ..runtime.clone()
            });
        }
        memory::return_large_blocks();
        let located = locate(asked, device).ok_or(RuntimeError::Missing)?;
        let runtime = Self {
            environment: environment(&located, device)?,
            library: located.path,
            place: located.place,
            device,
            gpu_memory: None,
            stands_in: false,
        };
        Ok(OPENED.get_or_init(|| runtime).clone())
    }

    /// The same for several devices: one for each, each of which is there.
    ///
    /// # Errors
    /// As [`Self::open`], or [`RuntimeError::Gpu`] where CUDA does not show what is asked for.
    pub fn open_on(asked: Option<&Path>, devices: &Devices) -> Result<Vec<Self>, RuntimeError> {
        let runtime = Self::open(asked, devices.first())?;
        let no_gpu = |cause| RuntimeError::Gpu {
            asked: devices.clone(),
            cause,
        };
        let there = match devices.first() {
            Device::Cpu => 0,
            Device::Cuda(_) => runtime.gpus().map_err(no_gpu)?,
        };
        let devices = match devices {
            Devices::AllGpus => (0..there).map(Device::Cuda).collect(),
            Devices::These(these) => these.clone(),
        };
        if let Some(missing) = devices.iter().find(|device| !device.is_among(there)) {
            let last = there - 1;
            return Err(no_gpu(format!(
                "there is no {missing}: the GPUs here are cuda:0 to cuda:{last}, counted within CUDA_VISIBLE_DEVICES where that is set"
            )));
        }
        Ok(devices
            .into_iter()
            .map(|device| Self {
                device,
                ..runtime.clone()
            })
            .collect())
    }

    /// How many GPUs CUDA shows to this process.
    fn gpus(&self) -> Result<u16, String> {
        gpus::count(&self.cuda()?)
    }

    /// CUDA's runtime: where it lies, or its name.
    fn cuda(&self) -> Result<PathBuf, String> {
        let folder = cuda_folders(&self.library)?.cuda.unwrap_or_default();
        Ok(folder.join(CUDA_RUNTIME))
    }

    /// The GPU that it computes on, if it does on one.
    fn gpu(&self) -> Result<Option<Gpu>, String> {
        match self.device {
            Device::Cuda(index) if !self.stands_in => Gpu::new(&self.cuda()?, index).map(Some),
            Device::Cuda(_) | Device::Cpu => Ok(None),
        }
    }

    /// The same, whose engines take at most so many MiB of a GPU's memory each; without a number, what they need.
    #[must_use]
    pub fn with_gpu_memory(self, mebibytes: Option<u64>) -> Self {
        Self {
            gpu_memory: mebibytes,
            ..self
        }
    }

    /// On the CPU: engines of a session for each batch size, as on a GPU, so that what is done with those can be tried without one.
    #[must_use]
    pub fn in_batches(self) -> Self {
        Self {
            stands_in: self.device == Device::Cpu,
            ..self
        }
    }

    /// The same under the name of another device: only in tests, where nothing but a name tells stand-ins apart.
    #[cfg(test)]
    pub(crate) fn standing_in_for(self, device: Device) -> Self {
        Self {
            device,
            stands_in: true,
            ..self
        }
    }

    /// The sizes in which its engines run batches, ascending.
    #[must_use]
    pub fn batch_sizes(&self) -> &'static [usize] {
        if self.stands_in {
            Device::Cuda(0).buckets()
        } else {
            self.device.buckets()
        }
    }
}

impl AsRef<[Self]> for Runtime {
    fn as_ref(&self) -> &[Self] {
        std::slice::from_ref(self)
    }
}

fn environment(located: &Located, device: Device) -> Result<Environment, RuntimeError> {
    let path = || located.path.display().to_string();
    let unusable = |cause: String| RuntimeError::Unusable { path: path(), cause };
    let no_cuda = |cause: String| RuntimeError::Cuda { path: path(), cause };
    if !located.path.is_file() {
        return Err(unusable("there is no such file".to_owned()));
    }
    let cuda = match device {
        Device::Cpu => None,
        Device::Cuda(_) => Some(cuda_folders(&located.path).map_err(no_cuda)?),
    };
    // the binding panics where a library lacks the API version it needs
    let environment = catch_unwind(AssertUnwindSafe(|| {
        let builder = ort::init_from(&located.path).map_err(|error| error.to_string())?;
        builder
            .with_name("osteon")
            .with_telemetry(false)
            .build()
            .map_err(|error| error.to_string())
    }))
    .unwrap_or_else(|_| Err("its version is too old: 1.23 or newer is needed".to_owned()))
    .map_err(unusable)?;
    // the part for GPUs is opened with the first session; what it needs has to be open by then
    if let Some(CudaFolders { cuda, cudnn }) = cuda {
        ort::ep::cuda::preload_dylibs(cuda.as_deref(), cudnn.as_deref())
            .map_err(|error| no_cuda(error.to_string()))?;
    }
    Ok(environment)
}

/// What an error of ONNX Runtime means where there may be no memory, or no more than `limit` MiB for a copy of the model.
fn failed_in(device: Device, limit: Option<u64>, error: &ort::Error) -> RuntimeError {
    let cause = error.to_string();
    match share::lack(&cause) {
        Some(Lack::Limit) => RuntimeError::Memory { device, limit, cause },
        Some(Lack::Memory) => RuntimeError::Memory {
            device,
            limit: None,
            cause,
        },
        None => RuntimeError::Run(cause),
    }
}

/// How sessions are made on the runtime's device; on a GPU, one may take `memory` bytes where that is given.
fn builder(runtime: &Runtime, memory: Option<u64>) -> ort::Result<SessionBuilder> {
    let builder = Session::builder(&runtime.environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_optimization_level(GraphOptimizationLevel::All)?;
    let (Device::Cuda(index), false) = (runtime.device, runtime.stands_in) else {
        // a plan of what is between is a second place for it, beside that of the first run: 12 MB a session of a DenseNet-121 at 320 x 320
        return Ok(builder.with_memory_pattern(false)?);
    };
    // The arena grows by what is asked for, not by powers of two, and the search for an algorithm asks cuDNN instead of trying
    // all with as much memory as there is: memory then stays where warming up left it. TensorFloat-32 would cost ten bits of
    // every product, which the goldens forbid.
    let mut cuda = CUDA::default()
        .with_device_id(i32::from(index))
        .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
        .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic)
        .with_tf32(false);
    if let Some(bytes) = memory.and_then(|bytes| usize::try_from(bytes).ok()) {
        cuda = cuda.with_memory_limit(bytes);
    }
    Ok(builder
        .with_execution_providers([cuda.build().error_on_failure()])?
        .with_disable_cpu_fallback()?)
}

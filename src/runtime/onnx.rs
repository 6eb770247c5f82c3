//! ONNX Runtime behind plain types.
//!
//! The library is opened once a process, for the device of the first [`Runtime`]; an [`Engine`] is a network loaded onto it, owned by
//! whoever runs it: one session on the CPU, one for each batch size on a GPU. Telemetry is off.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::ep::cuda::ConvAlgorithmSearch;
use ort::ep::{ArenaExtendStrategy, CUDA};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::TensorRef;

use super::library::{CudaFolders, Located, cuda_folders, locate};
use super::{Device, RuntimeError, memory};
use crate::image::Tensor;
use crate::image::heatmap::ActivationMap;
use crate::model::{ModelManifest, Outputs};

mod bucket;

use bucket::Bucket;

/// The opened ONNX Runtime library.
#[derive(Clone)]
pub struct Runtime {
    environment: Environment,
    /// Where it was found, in words.
    pub place: &'static str,
    /// What its engines compute on.
    pub device: Device,
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
            place: located.place,
            device,
        };
        Ok(OPENED.get_or_init(|| runtime).clone())
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

/// A loaded network.
pub struct Engine {
    sessions: Sessions,
    device: Device,
    input: String,
    outputs: Outputs,
    labels: usize,
}

/// What computes.
enum Sessions {
    /// One session for whatever batch.
    Cpu(Session),
    /// One for each batch size, ascending.
    Gpu(Vec<Bucket>),
}

/// What a network says about one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// What goldens are compared with, one number for each label: the logits where the model gives them, otherwise
    /// its scores.
    pub scores: Vec<f32>,
    /// After the manifest's activation, one for each label.
    pub probabilities: Vec<f32>,
    /// One for each label, where the model gives them.
    pub activation_maps: Vec<ActivationMap>,
}

impl Engine {
    /// Loads a network onto the runtime's device, and checks that it has the tensors that its manifest names. `threads` is how
    /// many compute on the CPU.
    ///
    /// # Errors
    /// [`RuntimeError::Load`], [`RuntimeError::Tensor`], or [`RuntimeError::Device`] where a part of the network would run
    /// elsewhere.
    pub fn load(
        runtime: &Runtime,
        model: &[u8],
        manifest: &ModelManifest,
        threads: usize,
    ) -> Result<Self, RuntimeError> {
        let device = runtime.device;
        let load = |error: ort::Error| match device {
            Device::Cpu => RuntimeError::Load(error.to_string()),
            Device::Cuda(_) => RuntimeError::Device {
                device,
                cause: error.to_string(),
            },
        };
        let session = || {
            builder(runtime, threads)
                .and_then(|mut builder| builder.commit_from_memory(model))
                .map_err(load)
        };
        let sessions = match device {
            Device::Cpu => Sessions::Cpu(session()?),
            Device::Cuda(index) => {
                let shape = manifest.preprocessing.input_shape();
                let bucket = |size: &usize| Bucket::new(session()?, index, shape, *size).map_err(load);
                Sessions::Gpu(device.buckets().iter().map(bucket).collect::<Result<_, _>>()?)
            }
        };
        memory::trim();

        let engine = Self {
            input: manifest.preprocessing.tensor.clone(),
            outputs: manifest.outputs.clone(),
            labels: manifest.labels.len(),
            device,
            sessions,
        };
        let session = match &engine.sessions {
            Sessions::Cpu(session) => Some(session),
            Sessions::Gpu(buckets) => buckets.first().map(|bucket| &bucket.session),
        };
        let (inputs, outputs) = session.map_or((&[][..], &[][..]), |session| {
            (session.inputs(), session.outputs())
        });
        Self::has("input", &engine.input, inputs)?;
        Self::has("output", &engine.outputs.scores, outputs)?;
        for name in [&engine.outputs.logits, &engine.outputs.activation_map]
            .into_iter()
            .flatten()
        {
            Self::has("output", name, outputs)?;
        }
        Ok(engine)
    }

    fn has(kind: &'static str, name: &str, outlets: &[ort::value::Outlet]) -> Result<(), RuntimeError> {
        if outlets.iter().any(|outlet| outlet.name() == name) {
            return Ok(());
        }
        let present = outlets
            .iter()
            .map(ort::value::Outlet::name)
            .collect::<Vec<_>>()
            .join(", ");
        Err(RuntimeError::Tensor {
            kind,
            name: name.to_owned(),
            present,
        })
    }

    /// Runs a batch of images of one shape; on a GPU, as many as fit its buckets at a time, so any number may be given.
    ///
    /// # Errors
    /// [`RuntimeError::Run`].
    pub fn run(&mut self, batch: &[&Tensor]) -> Result<Vec<Scores>, RuntimeError> {
        let failed = |error: ort::Error| RuntimeError::Run(error.to_string());
        let (named, labels) = (&self.outputs, self.labels);
        match &mut self.sessions {
            Sessions::Cpu(session) => {
                let Some([channels, rows, columns]) = batch.first().map(|tensor| tensor.shape) else {
                    return Ok(Vec::new());
                };
                let joined: Vec<f32>;
                let values: &[f32] = match batch {
                    [only] => &only.values,
                    several => {
                        joined = several
                            .iter()
                            .flat_map(|tensor| &tensor.values)
                            .copied()
                            .collect();
                        &joined
                    }
                };
                let input = TensorRef::from_array_view(([batch.len(), channels, rows, columns], values))
                    .map_err(failed)?;
                let outputs = session
                    .run(ort::inputs![self.input.as_str() => input])
                    .map_err(failed)?;
                interpret(&outputs, named, labels, batch.len())
            }
            Sessions::Gpu(buckets) => {
                let largest = buckets.last().map_or(1, |bucket| bucket.size);
                let mut scores = Vec::with_capacity(batch.len());
                for part in batch.chunks(largest) {
                    if let Some(bucket) = buckets.iter_mut().find(|bucket| bucket.size >= part.len()) {
                        let outputs = bucket.run(&self.input, part).map_err(failed)?;
                        scores.extend(interpret(&outputs, named, labels, part.len())?);
                    }
                }
                Ok(scores)
            }
        }
    }

    /// What runs the network. Nothing else can: on a GPU a session is only made if every node runs there.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }
}

/// How sessions are made on the runtime's device.
fn builder(runtime: &Runtime, threads: usize) -> ort::Result<SessionBuilder> {
    let builder = Session::builder(&runtime.environment)?
        .with_intra_threads(threads.max(1))?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_optimization_level(GraphOptimizationLevel::All)?;
    let Device::Cuda(index) = runtime.device else {
        return Ok(builder);
    };
    // The arena grows by what is asked for, not by powers of two, and the search for an algorithm asks cuDNN instead of trying
    // all with as much memory as there is: memory then stays where warming up left it. TensorFloat-32 would cost ten bits of
    // every product, which the goldens forbid.
    let cuda = CUDA::default()
        .with_device_id(i32::from(index))
        .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
        .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic)
        .with_tf32(false)
        .build()
        .error_on_failure();
    Ok(builder
        .with_execution_providers([cuda])?
        .with_disable_cpu_fallback()?)
}

/// The answers for the first `images` rows of the outputs; rows behind them only filled the batch up.
fn interpret(
    found: &ort::session::SessionOutputs<'_>,
    named: &Outputs,
    labels: usize,
    images: usize,
) -> Result<Vec<Scores>, RuntimeError> {
    let scores = tensor(found, &named.scores)?;
    if scores.values.len() < images * labels || scores.shape.get(1) != Some(&labels) {
        return Err(RuntimeError::Run(format!(
            "scores of shape {:?} for {images} images of {labels} labels",
            scores.shape
        )));
    }
    let optional = |name: &Option<String>| name.as_ref().map(|name| tensor(found, name)).transpose();
    let (logits, maps) = (optional(&named.logits)?, optional(&named.activation_map)?);
    Ok((0..images)
        .map(|index| {
            let own = index * labels..(index + 1) * labels;
            let scores = &scores.values[own.clone()];
            Scores {
                probabilities: named.activation.apply(scores),
                activation_maps: maps
                    .as_ref()
                    .map_or_else(Vec::new, |maps| maps.of_image(index, labels)),
                scores: logits
                    .as_ref()
                    .and_then(|logits| logits.values.get(own))
                    .unwrap_or(scores)
                    .to_vec(),
            }
        })
        .collect())
}

/// A copied output.
struct Output {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Output {
    /// The maps of one image of a `[batch, labels, rows, columns]` output.
    fn of_image(&self, image: usize, labels: usize) -> Vec<ActivationMap> {
        let [_, maps, rows, columns] = self.shape[..] else {
            return Vec::new();
        };
        if maps != labels {
            return Vec::new();
        }
        let size = rows * columns;
        (0..labels)
            .filter_map(|label| {
                let start = (image * labels + label) * size;
                let values = self.values.get(start..start + size)?.to_vec();
                Some(ActivationMap {
                    rows,
                    columns,
                    values,
                })
            })
            .collect()
    }
}

fn tensor(outputs: &ort::session::SessionOutputs<'_>, name: &str) -> Result<Output, RuntimeError> {
    let value = outputs
        .get(name)
        .ok_or_else(|| RuntimeError::Run(format!("no output named {name}")))?;
    let (shape, values) = value
        .try_extract_tensor::<f32>()
        .map_err(|error| RuntimeError::Run(error.to_string()))?;
    Ok(Output {
        shape: shape
            .iter()
            .map(|side| usize::try_from(*side).unwrap_or(0))
            .collect(),
        values: values.to_vec(),
    })
}

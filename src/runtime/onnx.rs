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
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session, SessionOutputs};
use ort::value::TensorRef;

use super::library::{CudaFolders, Located, cuda_folders, locate};
use super::{Device, HeadOutput, Prediction, RuntimeError, memory};
use crate::image::Tensor;
use crate::image::heatmap::ActivationMap;
use crate::model::{Head, ModelManifest};

mod bucket;
mod network;
mod stop;

use bucket::Bucket;
pub use network::Network;
pub use stop::Stop;

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
    heads: Vec<Head>,
    embedding: Option<String>,
}

/// What computes.
enum Sessions {
    /// One session for whatever batch.
    Cpu(Session),
    /// One for each batch size, ascending.
    Gpu(Vec<Bucket>),
}

impl Engine {
    /// Loads a network onto the runtime's device, and checks that it has the tensors that its manifest names. On the CPU it computes
    /// in the thread of its caller.
    ///
    /// # Errors
    /// [`RuntimeError::Load`], [`RuntimeError::Tensor`], or [`RuntimeError::Device`] where a part of the network would run
    /// elsewhere.
    pub fn load(runtime: &Runtime, model: &[u8], manifest: &ModelManifest) -> Result<Self, RuntimeError> {
        Network::new(runtime, model, 1)?.engine(manifest)
    }

    fn new(device: Device, sessions: Sessions, manifest: &ModelManifest) -> Result<Self, RuntimeError> {
        let engine = Self {
            input: manifest.preprocessing.tensor.clone(),
            heads: manifest.heads.clone(),
            embedding: manifest.embedding.clone(),
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
        let of_heads = engine.heads.iter().flat_map(|head| {
            [
                Some(&head.scores),
                head.logits.as_ref(),
                head.activation_map.as_ref(),
            ]
        });
        for name in of_heads.chain([engine.embedding.as_ref()]).flatten() {
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
    pub fn run(&mut self, batch: &[&Tensor]) -> Result<Vec<Prediction>, RuntimeError> {
        self.run_until(batch, &Stop::default())
    }

    /// The same, ending early when it is asked to stop; a batch on a GPU is over sooner than it could be stopped, and runs on.
    ///
    /// # Errors
    /// [`RuntimeError::Run`], [`RuntimeError::Stopped`].
    pub fn run_until(&mut self, batch: &[&Tensor], stop: &Stop) -> Result<Vec<Prediction>, RuntimeError> {
        let failed = |error: ort::Error| RuntimeError::Run(error.to_string());
        let (heads, embedding) = (&self.heads, self.embedding.as_deref());
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
                let Some(options) = stop.options().map_err(failed)? else {
                    return Err(RuntimeError::Stopped);
                };
                let outputs = session
                    .run_with_options(ort::inputs![self.input.as_str() => input], options)
                    .map_err(|error| {
                        if stop.asked() {
                            RuntimeError::Stopped
                        } else {
                            failed(error)
                        }
                    })?;
                predictions(&outputs, heads, embedding, batch.len())
            }
            Sessions::Gpu(buckets) => {
                let largest = buckets.last().map_or(1, |bucket| bucket.size);
                let mut predicted = Vec::with_capacity(batch.len());
                for part in batch.chunks(largest) {
                    if let Some(bucket) = buckets.iter_mut().find(|bucket| bucket.size >= part.len()) {
                        let outputs = bucket.run(&self.input, part).map_err(failed)?;
                        predicted.extend(predictions(&outputs, heads, embedding, part.len())?);
                    }
                }
                Ok(predicted)
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
fn builder(runtime: &Runtime) -> ort::Result<SessionBuilder> {
    let builder = Session::builder(&runtime.environment)?
        .with_intra_threads(1)?
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
fn predictions(
    found: &SessionOutputs<'_>,
    heads: &[Head],
    embedding: Option<&str>,
    images: usize,
) -> Result<Vec<Prediction>, RuntimeError> {
    let optional = |name: Option<&str>| name.map(|name| Output::of(found, name)).transpose();
    let features = optional(embedding)?;
    let heads: Vec<_> = heads
        .iter()
        .map(|head| {
            let scores = Output::of(found, &head.scores)?;
            scores.must_have(&head.scores, images, head.width())?;
            let logits = optional(head.logits.as_deref())?;
            if let (Some(logits), Some(name)) = (&logits, &head.logits) {
                logits.must_have(name, images, head.width())?;
            }
            let maps = optional(head.activation_map.as_deref())?;
            Ok((head, scores, logits, maps))
        })
        .collect::<Result<_, RuntimeError>>()?;
    Ok((0..images)
        .map(|image| Prediction {
            heads: heads
                .iter()
                .map(|(head, scores, logits, maps)| {
                    let scores = scores.row(image).to_vec();
                    HeadOutput {
                        values: head.activation.apply(&scores),
                        logits: logits.as_ref().map(|logits| logits.row(image).to_vec()),
                        activation_maps: maps
                            .as_ref()
                            .map_or_else(Vec::new, |maps| maps.maps_of(image, head.labels.len())),
                        scores,
                    }
                })
                .collect(),
            embedding: features.as_ref().map(|features| features.row(image).to_vec()),
        })
        .collect())
}

/// An output tensor, borrowed from ONNX Runtime.
struct Output<'a> {
    shape: Vec<usize>,
    values: &'a [f32],
}

impl<'a> Output<'a> {
    fn of(found: &'a SessionOutputs<'_>, name: &str) -> Result<Self, RuntimeError> {
        let value = found
            .get(name)
            .ok_or_else(|| RuntimeError::Run(format!("no output named {name}")))?;
        let (shape, values) = value
            .try_extract_tensor::<f32>()
            .map_err(|error| RuntimeError::Run(error.to_string()))?;
        Ok(Self {
            shape: shape
                .iter()
                .map(|side| usize::try_from(*side).unwrap_or(0))
                .collect(),
            values,
        })
    }

    fn must_have(&self, name: &str, images: usize, width: usize) -> Result<(), RuntimeError> {
        match self.shape[..] {
            [rows, columns] if rows >= images && columns == width => Ok(()),
            _ => Err(RuntimeError::Run(format!(
                "{name} has the shape {:?} for {images} images of {width} numbers",
                self.shape
            ))),
        }
    }

    /// The numbers of one image.
    fn row(&self, image: usize) -> &'a [f32] {
        let width: usize = self.shape.iter().skip(1).product();
        self.values
            .get(image * width..(image + 1) * width)
            .unwrap_or_default()
    }

    /// The maps of one image of a `[batch, labels, rows, columns]` output.
    fn maps_of(&self, image: usize, labels: usize) -> Vec<ActivationMap> {
        match self.shape[..] {
            [_, maps, rows, columns] if maps == labels && rows * columns > 0 => self
                .row(image)
                .chunks_exact(rows * columns)
                .map(|values| ActivationMap {
                    rows,
                    columns,
                    values: values.to_vec(),
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

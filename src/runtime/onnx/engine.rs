//! A network with all that runs it, owned by whoever runs it.

use ort::session::Session;
use ort::value::TensorRef;

use super::outputs::predictions;
use super::{Bucket, Network, Runtime, Staging, Stop, failed_in};
use crate::image::Tensor;
use crate::model::{Head, ModelManifest};
use crate::runtime::{Device, Prediction, RuntimeError};

/// A loaded network.
pub struct Engine {
    sessions: Sessions,
    device: Device,
    gpu_memory: Option<u64>,
    bits: u8,
    input: String,
    heads: Vec<Head>,
    embedding: Option<String>,
}

/// What computes.
pub(super) enum Sessions {
    /// One session for whatever batch.
    Cpu(Session),
    /// One for each batch size, ascending.
    Batches {
        buckets: Vec<Bucket>,
        /// Two, until they are lent: one that is run while the other is filled.
        stagings: Vec<Staging>,
    },
}

impl Engine {
    /// Loads a network onto the runtime's device, and checks that it has the tensors that its manifest names. On the CPU it computes
    /// in the thread of its caller.
    ///
    /// # Errors
    /// [`RuntimeError::Load`], [`RuntimeError::Tensor`], [`RuntimeError::Memory`], or [`RuntimeError::Device`] where a part of the
    /// network would run elsewhere.
    pub fn load(runtime: &Runtime, model: &[u8], manifest: &ModelManifest) -> Result<Self, RuntimeError> {
        Network::new(runtime, model)?.engine(manifest)
    }

    pub(super) fn new(
        runtime: &Runtime,
        sessions: Sessions,
        manifest: &ModelManifest,
        bits: u8,
    ) -> Result<Self, RuntimeError> {
        let engine = Self {
            input: manifest.preprocessing.tensor.clone(),
            heads: manifest.heads.clone(),
            embedding: manifest.embedding.clone(),
            device: runtime.device,
            gpu_memory: runtime.gpu_memory,
            bits,
            sessions,
        };
        let session = match &engine.sessions {
            Sessions::Cpu(session) => Some(session),
            Sessions::Batches { buckets, .. } => buckets.first().map(|bucket| &bucket.session),
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
    /// [`RuntimeError::Run`], [`RuntimeError::Memory`].
    pub fn run(&mut self, batch: &[&Tensor]) -> Result<Vec<Prediction>, RuntimeError> {
        self.run_until(batch, &Stop::default())
    }

    /// The same, ending early when it is asked to stop; a batch on a GPU is over sooner than it could be stopped, and runs on.
    ///
    /// # Errors
    /// [`RuntimeError::Run`], [`RuntimeError::Memory`], [`RuntimeError::Stopped`].
    pub fn run_until(&mut self, batch: &[&Tensor], stop: &Stop) -> Result<Vec<Prediction>, RuntimeError> {
        let (heads, embedding) = (&self.heads, self.embedding.as_deref());
        let (device, gpu_memory) = (self.device, self.gpu_memory);
        let failed = |error: ort::Error| failed_in(device, gpu_memory, &error);
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
            Sessions::Batches { buckets, stagings } => {
                let staging = stagings.first_mut().ok_or_else(lent)?;
                let mut predicted = Vec::with_capacity(batch.len());
                for part in batch.chunks(staging.capacity()) {
                    staging.clear();
                    staging
                        .extend(part.iter().copied())
                        .into_iter()
                        .collect::<Result<(), _>>()?;
                    let found = staging.run(buckets, |outputs| {
                        predictions(outputs, heads, embedding, part.len())
                    });
                    predicted.extend(found.map_err(failed)??);
                }
                Ok(predicted)
            }
        }
    }

    /// Hands out the two places in which batches are gathered, for whoever fills one while the engine runs the other. From then on the
    /// engine runs only what is in them. An engine that takes any batch as it comes has none.
    pub fn lend_stagings(&mut self) -> Vec<Staging> {
        let Sessions::Batches { stagings, .. } = &mut self.sessions else {
            return Vec::new();
        };
        stagings.iter_mut().for_each(Staging::clear);
        std::mem::take(stagings)
    }

    /// Runs what was gathered in one of its own stagings, and empties it.
    ///
    /// # Errors
    /// [`RuntimeError::Run`], [`RuntimeError::Memory`].
    pub fn run_staged(&mut self, staging: &mut Staging) -> Result<Vec<Prediction>, RuntimeError> {
        let Sessions::Batches { buckets, .. } = &mut self.sessions else {
            return Err(lent());
        };
        let images = staging.len();
        let (heads, embedding) = (&self.heads, self.embedding.as_deref());
        let ran = staging.run(buckets, |outputs| predictions(outputs, heads, embedding, images));
        staging.clear();
        ran.map_err(|error| failed_in(self.device, self.gpu_memory, &error))?
    }

    /// The sizes in which it runs batches, ascending; an engine that takes any batch as it comes runs one image at a time.
    #[must_use]
    pub fn batch_sizes(&self) -> Vec<usize> {
        match &self.sessions {
            Sessions::Cpu(_) => vec![1],
            Sessions::Batches { buckets, .. } => buckets.iter().map(|bucket| bucket.size).collect(),
        }
    }

    /// How many bits the numbers have that it computes with: 32, or 16.
    #[must_use]
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether it runs batches that are gathered beforehand.
    #[must_use]
    pub fn runs_batches(&self) -> bool {
        matches!(self.sessions, Sessions::Batches { .. })
    }

    /// What runs the network. Nothing else can: on a GPU a session is only made if every node runs there.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }
}

/// The engine's own places for batches are with somebody else.
fn lent() -> RuntimeError {
    RuntimeError::Run("the memory for its input was lent to another thread".to_owned())
}

//! ONNX Runtime behind plain types.
//!
//! One [`Runtime`] a process; an [`Engine`] is a session with threads of its own, owned by whoever runs it. Telemetry is off.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;

use super::library::{Located, locate};
use super::{RuntimeError, memory};
use crate::image::Tensor;
use crate::image::heatmap::ActivationMap;
use crate::model::{ModelManifest, Outputs};

/// The opened ONNX Runtime library.
#[derive(Clone)]
pub struct Runtime {
    environment: Environment,
    /// Where it was found, in words.
    pub place: &'static str,
}

static OPENED: OnceLock<Runtime> = OnceLock::new();
static OPENING: Mutex<()> = Mutex::new(());

impl Runtime {
    /// Opens ONNX Runtime; a process does so once, and later calls give the same runtime whatever they ask for.
    ///
    /// # Errors
    /// [`RuntimeError::Missing`] or [`RuntimeError::Unusable`], each with the command that mends it.
    pub fn open(asked: Option<&Path>) -> Result<Self, RuntimeError> {
        let _one_at_a_time = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = OPENED.get() {
            return Ok(runtime.clone());
        }
        memory::return_large_blocks();
        let located = locate(asked).ok_or(RuntimeError::Missing)?;
        let runtime = Self {
            environment: environment(&located)?,
            place: located.place,
        };
        Ok(OPENED.get_or_init(|| runtime).clone())
    }
}

fn environment(located: &Located) -> Result<Environment, RuntimeError> {
    let unusable = |cause: String| RuntimeError::Unusable {
        path: located.path.display().to_string(),
        cause,
    };
    if !located.path.is_file() {
        return Err(unusable("there is no such file".to_owned()));
    }
    // the binding panics where a library lacks the API version it needs
    catch_unwind(AssertUnwindSafe(|| {
        let builder = ort::init_from(&located.path).map_err(|error| error.to_string())?;
        builder
            .with_name("osteon")
            .with_telemetry(false)
            .build()
            .map_err(|error| error.to_string())
    }))
    .unwrap_or_else(|_| Err("its version is too old: 1.17 or newer is needed".to_owned()))
    .map_err(unusable)
}

/// A loaded network.
pub struct Engine {
    session: Session,
    input: String,
    outputs: Outputs,
    labels: usize,
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
    /// Loads a network that computes with `threads` threads, and checks that it has the tensors that its manifest names.
    ///
    /// # Errors
    /// [`RuntimeError::Load`] or [`RuntimeError::Tensor`].
    pub fn load(
        runtime: &Runtime,
        model: &[u8],
        manifest: &ModelManifest,
        threads: usize,
    ) -> Result<Self, RuntimeError> {
        let load = |error: &dyn std::fmt::Display| RuntimeError::Load(error.to_string());
        let session = Session::builder(&runtime.environment)
            .map_err(|error| load(&error))?
            .with_intra_threads(threads.max(1))
            .map_err(|error| load(&error))?
            .with_inter_threads(1)
            .map_err(|error| load(&error))?
            .with_intra_op_spinning(false)
            .map_err(|error| load(&error))?
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(|error| load(&error))?
            .commit_from_memory(model)
            .map_err(|error| load(&error))?;
        memory::trim();

        let engine = Self {
            input: manifest.preprocessing.tensor.clone(),
            outputs: manifest.outputs.clone(),
            labels: manifest.labels.len(),
            session,
        };
        Self::has("input", &engine.input, engine.session.inputs())?;
        let outputs = engine.session.outputs();
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

    /// Runs a batch of images of one shape.
    ///
    /// # Errors
    /// [`RuntimeError::Run`].
    pub fn run(&mut self, batch: &[&Tensor]) -> Result<Vec<Scores>, RuntimeError> {
        let failed = |error: &dyn std::fmt::Display| RuntimeError::Run(error.to_string());
        let Some(first) = batch.first() else {
            return Ok(Vec::new());
        };
        let [a, b, c] = first.shape;
        let joined: Vec<f32>;
        let values: &[f32] = if batch.len() == 1 {
            &first.values
        } else {
            joined = batch
                .iter()
                .flat_map(|tensor| tensor.values.iter().copied())
                .collect();
            &joined
        };
        let input =
            TensorRef::from_array_view(([batch.len(), a, b, c], values)).map_err(|error| failed(&error))?;
        let outputs = self
            .session
            .run(ort::inputs![self.input.as_str() => input])
            .map_err(|error| failed(&error))?;

        let scores = tensor(&outputs, &self.outputs.scores)?;
        if scores.values.len() != batch.len() * self.labels {
            return Err(RuntimeError::Run(format!(
                "{} scores for {} images of {} labels",
                scores.values.len(),
                batch.len(),
                self.labels
            )));
        }
        let logits = self
            .outputs
            .logits
            .as_ref()
            .map(|name| tensor(&outputs, name))
            .transpose()?;
        let maps = self
            .outputs
            .activation_map
            .as_ref()
            .map(|name| tensor(&outputs, name))
            .transpose()?;
        Ok((0..batch.len())
            .map(|index| {
                let own = index * self.labels..(index + 1) * self.labels;
                let scores = &scores.values[own.clone()];
                Scores {
                    probabilities: self.outputs.activation.apply(scores),
                    activation_maps: maps
                        .as_ref()
                        .map_or_else(Vec::new, |maps| maps.of_image(index, self.labels)),
                    scores: logits
                        .as_ref()
                        .and_then(|logits| logits.values.get(own))
                        .unwrap_or(scores)
                        .to_vec(),
                }
            })
            .collect())
    }

    /// The execution provider that runs the network.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        // sessions are built without any other provider, so nothing else can run
        "CPU"
    }
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

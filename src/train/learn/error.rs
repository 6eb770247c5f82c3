//! Why a training stopped without a result.

use super::super::data::SamplesError;
use super::super::data::cache::CacheError;
use super::super::network::{GraphError, WeightsError};
use super::checkpoint::CheckpointError;
use super::engine::EngineError;
use super::recipe::RecipeError;
use super::start::StartError;

/// Why a training stopped without a result.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The recipe cannot be followed.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The images or labels cannot be used.
    #[error("{part} images: {source}")]
    Samples {
        /// Training or validation.
        part: &'static str,
        /// What is wrong.
        source: SamplesError,
    },
    /// Labels that contradict themselves.
    #[error("{part} image {index}: {problem}")]
    Labels {
        /// Training or validation.
        part: &'static str,
        /// Its place.
        index: usize,
        /// What is wrong.
        problem: String,
    },
    /// An image that cannot be read from the cache any more.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A patient on both sides.
    #[error("patient `{patient}` has images in training and in validation; split by patient")]
    Leak {
        /// The pseudonym.
        patient: String,
    },
    /// Preprocessing makes tensors of another size than the network takes.
    #[error("the preprocessing makes tensors of {found:?}; the network takes {needed:?}")]
    Input {
        /// What it makes.
        found: [usize; 3],
        /// What the network takes.
        needed: [usize; 3],
    },
    /// Nothing can be measured on the validation images, so no epoch is better than another.
    #[error(
        "no label has both classes, or two numbers, among the validation images: hold out more patients, or find more"
    )]
    NothingToValidate,
    /// Weights were given to a training that must start without.
    #[error("the regime is scratch, which starts from random weights: leave the weights out, or choose full")]
    NotFromScratch,
    /// The loss, or the gradient, is infinite or not a number.
    #[error(
        "{what} is {value} in epoch {epoch}, step {step}, at a learning rate of {learning_rate:.2e}; lower the peak rate or look for values that are not numbers in the images. The checkpoint before it, if there was one, is whole"
    )]
    Diverged {
        /// Such as `the loss`.
        what: &'static str,
        /// How large it is.
        value: f64,
        /// From 1.
        epoch: usize,
        /// From 1, in the epoch.
        step: usize,
        /// At that step.
        learning_rate: f64,
    },
    /// The thread pool cannot be made.
    #[error("cannot start the augmentation threads: {0}")]
    Threads(String),
    /// The checkpoint cannot be written or used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The weights to start from cannot be had.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A step could not be taken, as by a device without room.
    #[error(
        "epoch {epoch}, step {step}: {source}. The training stopped there; the checkpoint before it, if there was one, is whole: --resume goes on, on the same devices or on others. More devices have smaller shares of a batch"
    )]
    Stopped {
        /// What happened, with the device.
        source: EngineError,
        /// From 1.
        epoch: usize,
        /// From 1, in the epoch.
        step: usize,
    },
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The graph is no network.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Weights to start from that do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

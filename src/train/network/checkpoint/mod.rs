//! Weights from elsewhere: the tensors of a safetensors file or of a PyTorch file, under the names that they have there.
//!
//! Nothing of a file is executed, and no more memory is asked for than the file's own length justifies: a PyTorch file is a
//! program for a small stack machine, of which only what describes tensors is understood.

mod numbers;
pub(super) mod pickle;
mod safetensors;
mod state;
mod torch;

pub(super) use safetensors::{Entry, entries};

use super::weights::TensorF32;

/// The tensors of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// How the file is written.
    pub format: Format,
    /// By name; in the order of the file, except that safetensors keeps none: there by name, numbers by their value.
    pub tensors: Vec<(String, TensorF32)>,
    /// Tensors of whole numbers, such as counters of batches, which no parameter is made of.
    pub whole: Vec<String>,
    /// The key under which the tensors were found, where they are not alone in the file.
    pub within: Option<String>,
}

/// How a file of weights is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Header and numbers.
    Safetensors,
    /// A ZIP archive with a pickle, which `torch.save` writes since version 1.6.
    TorchZip,
    /// Pickles behind one another, which it wrote before.
    TorchLegacy,
}

/// Why a file holds no weights that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a file of weights: {0}")]
pub struct CheckpointError(String);

impl CheckpointError {
    fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }
}

impl Checkpoint {
    /// Reads a file, whose format shows in its first bytes. 16-bit and 64-bit numbers become 32-bit ones.
    pub fn read(bytes: &[u8]) -> Result<Self, CheckpointError> {
        if bytes.starts_with(b"PK\x03\x04") {
            torch::read_zip(bytes)
        } else if bytes.starts_with(&torch::LEGACY_START) {
            torch::read_legacy(bytes)
        } else {
            safetensors::read(bytes)
        }
    }

    /// Brings the tensors into the order in which `names` has them; what it does not have comes last.
    pub fn arrange<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        let places: std::collections::BTreeMap<&str, usize> = names
            .into_iter()
            .enumerate()
            .map(|(place, name)| (name, place))
            .collect();
        self.tensors
            .sort_by_key(|(name, _)| places.get(name.as_str()).copied().unwrap_or(usize::MAX));
    }
}

#[cfg(test)]
mod tests;

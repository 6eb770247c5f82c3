//! A training under way, on disk: whatever decides the steps to come.
//!
//! `checkpoint.json` names the file with the numbers and its digest, and replaces the one before it in one step; the numbers are
//! there before, and those of the checkpoint before go after. So a kill at any moment, or a full disk, leaves one whole checkpoint,
//! and a training that goes on from it takes the very steps that it would have taken: the weights are the same bit for bit.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::durable;
use super::super::network::{TensorF32, Weights};
use super::progress::EpochReport;
use crate::model::package::sha256;

const MANIFEST: &str = "checkpoint.json";
/// Before the names of the tensors that are the best epoch's weights.
const BEST: &str = "best/";
/// Before the names of all others.
const STATE: &str = "state/";

/// Where a training stands, apart from its large tensors. Numbers that are compared or added to are kept as their bits, because not
/// every decimal comes back to the same one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// SHA-256 of recipe and images: which training this is.
    pub training: String,
    /// The epoch that goes on, from 0.
    pub epoch: usize,
    /// Its steps so far.
    pub step: usize,
    /// Images of those.
    pub images: usize,
    /// Bits of the sum of their losses.
    pub loss_bits: u64,
    /// Steps in the optimizer's memory.
    pub optimizer_steps: i32,
    /// States in the running means.
    pub mean_steps: f32,
    /// Words that dropout has drawn.
    pub drawn: String,
    /// Every whole epoch.
    pub history: Vec<EpochReport>,
    /// The place of the best, and the bits of its mean measure.
    pub best: Option<(usize, u64)>,
}

/// A training under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Where it stands.
    pub standing: Standing,
    /// Parameters, statistics, memories, by name.
    pub state: Vec<(String, Vec<f32>)>,
    /// The best epoch's weights.
    pub best: Option<Weights>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    file: String,
    sha256: String,
    standing: Standing,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Most often a full disk.
    #[error(
        "the checkpoint cannot be written: {source}; the training stopped there. The checkpoint before it, if there was one, is whole: make room and go on with --resume, to the same numbers"
    )]
    Write {
        /// What the system said.
        source: io::Error,
    },
    /// A checkpoint that is there and cannot be read.
    #[error("{file} cannot be read: {cause}")]
    Read {
        /// The file.
        file: String,
        /// What is wrong.
        cause: String,
    },
    /// A checkpoint of another recipe or other images.
    #[error(
        "the checkpoint belongs to another training: recipe, labels or images have changed since it was made. Go on with those that it was made with, or start anew in another folder"
    )]
    Other,
}

/// Where the checkpoints of one training are kept.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    /// The folder.
    pub folder: PathBuf,
    /// How much time may pass, and so be lost, between two; one is made after every epoch in any case.
    pub every: Duration,
}

impl Checkpoints {
    /// Where the newest stands, if there is one.
    pub fn standing(&self) -> Result<Option<Standing>, CheckpointError> {
        Ok(self.manifest()?.map(|manifest| manifest.standing))
    }

    /// The newest, if there is one.
    pub fn load(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        let Some(manifest) = self.manifest()? else {
            return Ok(None);
        };
        let bytes = self.read(&manifest.file)?;
        if sha256(&bytes) != manifest.sha256 {
            return Err(unreadable(
                &manifest.file,
                "its digest is another than when it was written".to_owned(),
            ));
        }
        let tensors =
            Weights::from_bytes(&bytes).map_err(|error| unreadable(&manifest.file, error.to_string()))?;
        let (mut state, mut best) = (Vec::new(), Weights::default());
        for (name, tensor) in tensors.tensors {
            if let Some(name) = name.strip_prefix(BEST) {
                best.tensors.insert(name.to_owned(), tensor);
            } else if let Some(name) = name.strip_prefix(STATE) {
                state.push((name.to_owned(), tensor.values));
            }
        }
        Ok(Some(Checkpoint {
            best: manifest.standing.best.is_some().then_some(best),
            standing: manifest.standing,
            state,
        }))
    }

    /// Puts `checkpoint` in the place of the one before.
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let failed = |source| CheckpointError::Write { source };
        let standing = &checkpoint.standing;
        let mut tensors = Weights::default();
        for (name, values) in &checkpoint.state {
            let tensor = TensorF32 {
                shape: vec![values.len()],
                values: values.clone(),
            };
            tensors.tensors.insert(format!("{STATE}{name}"), tensor);
        }
        for (name, tensor) in checkpoint.best.iter().flat_map(|best| &best.tensors) {
            tensors.tensors.insert(format!("{BEST}{name}"), tensor.clone());
        }
        let bytes = tensors
            .to_bytes()
            .map_err(|error| failed(io::Error::other(error)))?;
        let manifest = Manifest {
            file: format!("checkpoint-{}-{}.safetensors", standing.epoch, standing.step),
            sha256: sha256(&bytes),
            standing: standing.clone(),
        };
        let text = serde_json::to_vec_pretty(&manifest).map_err(|error| failed(error.into()))?;
        durable::write(&self.folder.join(&manifest.file), &bytes).map_err(failed)?;
        durable::write(&self.folder.join(MANIFEST), &text).map_err(failed)?;
        self.remove_all_but(Some(&manifest.file));
        Ok(())
    }

    /// Removes what is no longer needed, once the training is finished.
    pub fn clear(&self) {
        let _ = std::fs::remove_file(self.folder.join(MANIFEST));
        self.remove_all_but(None);
    }

    fn manifest(&self) -> Result<Option<Manifest>, CheckpointError> {
        if !self.folder.join(MANIFEST).exists() {
            return Ok(None);
        }
        let manifest = serde_json::from_slice(&self.read(MANIFEST)?);
        manifest
            .map(Some)
            .map_err(|error| unreadable(MANIFEST, error.to_string()))
    }

    fn read(&self, file: &str) -> Result<Vec<u8>, CheckpointError> {
        std::fs::read(self.folder.join(file)).map_err(|error| unreadable(file, error.to_string()))
    }

    /// Numbers of other checkpoints, and what a kill left half written.
    fn remove_all_but(&self, file: Option<&str>) {
        let stale = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let numbers = name.trim_start_matches('.').starts_with("checkpoint-");
            numbers && Some(name.as_ref()) != file
        };
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if stale(&entry.path()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

fn unreadable(file: &str, cause: String) -> CheckpointError {
    CheckpointError::Read {
        file: file.to_owned(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(epoch: usize) -> Checkpoint {
        let mut best = Weights::default();
        let tensor = TensorF32 {
            shape: vec![1, 2],
            values: vec![0.1, f32::MIN_POSITIVE],
        };
        best.tensors.insert("head.weight".to_owned(), tensor);
        Checkpoint {
            standing: Standing {
                training: "abc".to_owned(),
                epoch,
                step: 3,
                images: 24,
                loss_bits: 0.1_f64.to_bits(),
                optimizer_steps: 7,
                mean_steps: 7.0,
                drawn: u128::MAX.to_string(),
                history: Vec::new(),
                best: Some((0, (1.0_f64 / 3.0).to_bits())),
            },
            state: vec![("parameters".to_owned(), vec![1.0, -0.0, 1e-40])],
            best: Some(best),
        }
    }

    #[test]
    fn a_checkpoint_comes_back_as_it_was_and_replaces_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Checkpoints {
            folder: folder.path().to_owned(),
            every: Duration::ZERO,
        };
        assert_eq!(kept.load().unwrap(), None);
        kept.save(&checkpoint(0)).unwrap();
        kept.save(&checkpoint(1)).unwrap();
        assert_eq!(kept.load().unwrap(), Some(checkpoint(1)));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        kept.clear();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_kill_leaves_half_written_is_never_read() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Checkpoints {
            folder: folder.path().to_owned(),
            every: Duration::ZERO,
        };
        kept.save(&checkpoint(0)).unwrap();
        // killed between the numbers and the manifest, and in the middle of each
        std::fs::write(folder.path().join("checkpoint-1-3.safetensors"), "half").unwrap();
        std::fs::write(folder.path().join(".checkpoint.json.partial"), "{").unwrap();
        assert_eq!(kept.load().unwrap(), Some(checkpoint(0)));
        // a bit that fell over is found
        let file = folder.path().join("checkpoint-0-3.safetensors");
        let mut bytes = std::fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let error = kept.load().unwrap_err().to_string();
        assert!(
            error.contains("checkpoint-0-3.safetensors") && error.contains("digest"),
            "{error}"
        );
    }

    #[test]
    fn a_checkpoint_that_cannot_be_written_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Checkpoints {
            folder: folder.path().to_owned(),
            every: Duration::ZERO,
        };
        kept.save(&checkpoint(0)).unwrap();
        // a folder of that name fails the write as a full disk does
        std::fs::create_dir(folder.path().join(".checkpoint-1-3.safetensors.partial")).unwrap();
        let error = kept.save(&checkpoint(1)).unwrap_err().to_string();
        assert!(error.contains("--resume"), "{error}");
        assert_eq!(kept.load().unwrap(), Some(checkpoint(0)));
    }
}

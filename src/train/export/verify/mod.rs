//! The gates that a package passes before it may be served, and the proof that the gates can fail.
//!
//! Each gate gives a figure or a reason. The self-tests break the package on purpose, in memory, and pass only if the gates before
//! them notice. A package from elsewhere may not hold what a gate looks at: such a gate is skipped and says what it would need. What
//! `osteon-train` made holds all of it but the statistics of an embedding that it may not have, or fails.

mod contract;
mod features;
mod network;
mod pictures;
mod self_test;
mod test_set;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::model::{ModelManifest, Package};
use crate::runtime::proof::Off;
use crate::runtime::{Engine, Runtime};
use crate::train::export::lineage::PROGRAM;
pub use test_set::{bounds, made_of, test_set};

/// What one gate found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// What it looks at.
    pub name: String,
    /// The figure that it found, or why there is none.
    pub result: Result<String, Unmet>,
}

/// Why a gate was not passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// The package is not what it says.
    Fails(String),
    /// The package does not hold what the gate looks at, and this would be it.
    Lacks(String),
}

impl fmt::Display for Unmet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fails(reason) | Self::Lacks(reason) => formatter.write_str(reason),
        }
    }
}

impl From<String> for Unmet {
    fn from(reason: String) -> Self {
        Self::Fails(reason)
    }
}

impl From<Off> for Unmet {
    fn from(off: Off) -> Self {
        Self::Fails(off.reason)
    }
}

impl Gate {
    /// Whether the package must not be served.
    #[must_use]
    pub fn fails(&self) -> bool {
        matches!(self.result, Err(Unmet::Fails(_)))
    }
}

/// Runs every gate that needs no data set on the package in `folder`; `radiographs` are DICOM files for the one that needs images of
/// the usual size, beside the golden cases.
#[must_use]
pub fn verify(folder: &Path, radiographs: &[PathBuf], runtime: &Runtime) -> Vec<Gate> {
    let package = match Package::open(folder) {
        Ok(package) => package,
        Err(error) => {
            return vec![Gate {
                name: STRUCTURE.to_owned(),
                result: Err(Unmet::Fails(error.to_string())),
            }];
        }
    };
    let own = is_own(&package.manifest);
    let plain = |name: &str, result| Gate {
        name: name.to_owned(),
        result,
    };
    let gate = |name: &str, result: Result<String, Unmet>| Gate {
        name: name.to_owned(),
        result: match result {
            Err(Unmet::Lacks(reason)) if own => Err(Unmet::Fails(reason)),
            result => result,
        },
    };
    vec![
        gate(STRUCTURE, network::structure(&package)),
        gate("golden cases reproduced", network::parity(&package, runtime)),
        gate("dynamic batch", network::dynamic_batch(&package, runtime)),
        gate(
            "DICOM to score, both polarities",
            pictures::polarity(&package, runtime),
        ),
        gate(
            "lower resolutions of JPEG 2000",
            pictures::reduced_resolution(&package, radiographs, runtime),
        ),
        gate(
            "contract inside the file",
            contract::contract(&package, &package.manifest),
        ),
        // an ensemble has none, nor has a package whose images were gone
        plain(
            "statistics of the embedding",
            features::statistics(&package, runtime),
        ),
        gate("latency on one thread", network::latency(&package, runtime)),
        gate(
            "a corrupted weight is caught",
            self_test::corrupted_weight(&package, runtime),
        ),
        gate("swapped labels are caught", self_test::swapped_labels(&package)),
        gate(
            "a left-out inversion is caught",
            self_test::left_out_inversion(&package, runtime),
        ),
    ]
}

/// Whether `osteon-train` made the package.
fn is_own(manifest: &ModelManifest) -> bool {
    let program = manifest.lineage.get(PROGRAM);
    program.is_some_and(|program| program.starts_with("osteon-train "))
}

const STRUCTURE: &str = "structure and digests";

fn engine(package: &Package, runtime: &Runtime) -> Result<Engine, String> {
    Engine::load(runtime, &package.model, &package.manifest).map_err(|error| error.to_string())
}

/// What is not a number is infinitely far away.
fn distance(a: f32, b: f32) -> f32 {
    let distance = (a - b).abs();
    if distance.is_nan() {
        f32::INFINITY
    } else {
        distance
    }
}

//! Every image of a test set through ONNX Runtime and through the trainer's network: the gate that needs images and the run.
//!
//! Its self-tests are a network that sees nothing and answers in another order.

use std::collections::BTreeMap;

use super::self_test::{blind, caught};
use super::{Gate, Unmet};
use crate::model::Package;
use crate::runtime::{Prediction, Runtime};
use crate::train::assess::agreement::{Bounds, Pairs};
use crate::train::export::answering::Answering;
use crate::train::export::comparison::{Comparison, Judged, judge, some};
use crate::train::export::lineage::{VIEWS, WEIGHTS, lineage};
use crate::train::export::reduced;
use crate::train::export::served::Served;
use crate::train::run::RunFolder;

/// An export of 32-bit floats may move an area, or R squared, by this much.
const AREA: f64 = 1e-4;
/// The calibration error of any export may rise by this much.
const CALIBRATION: f64 = 0.01;

/// The networks that `package` was made of.
///
/// # Errors
/// A sentence, where `runs` are others.
pub fn made_of(package: &Package, runs: &[RunFolder]) -> Result<Answering, String> {
    let told = &package.manifest.lineage;
    let answering = Answering::read(runs, told.contains_key(VIEWS))?;
    let weights = |lineage: &BTreeMap<String, String>| -> Vec<(String, String)> {
        lineage
            .iter()
            .filter(|(what, _)| what.ends_with(WEIGHTS))
            .map(|(what, digest)| (what.clone(), digest.clone()))
            .collect()
    };
    let (found, expected) = (weights(&lineage(&answering)?), weights(told));
    if found == expected {
        return Ok(answering);
    }
    Err(if expected.is_empty() {
        "the package's lineage names no weights: it was not exported by osteon-train, so there is no trained network to compare it with"
            .to_owned()
    } else {
        format!(
            "the package was made of {} other networks than --run names: give the runs that were exported, in their order",
            expected.len()
        )
    })
}

/// What an export with the precision of `package` may cost.
#[must_use]
pub fn bounds(package: &Package) -> Bounds {
    let exact = Bounds {
        value: Some(package.goldens.tolerance),
        area: AREA,
        not_inferior: false,
        calibration: CALIBRATION,
    };
    let reduced = package.manifest.reduced_precision.as_ref();
    reduced.map_or(exact, reduced::bounds)
}

/// The gates of a comparison that has seen the whole test set.
#[must_use]
pub fn test_set(package: &Package, comparison: &Comparison<'_>, runtime: &Runtime) -> Vec<Gate> {
    let bounds = bounds(package);
    let gate = |name: String, result: Result<String, Unmet>| Gate { name, result };
    let judged = match judge(&comparison.pairs, &package.manifest.heads, &bounds) {
        Ok(judged) => judged,
        Err(reason) => return vec![gate("test set".to_owned(), Err(Unmet::Fails(reason)))],
    };
    // a broken network has to be noticed by what it says, not by how few images it was tried on
    let noticed_by = Bounds {
        not_inferior: false,
        ..bounds
    };
    let mut gates: Vec<Gate> = judged
        .into_iter()
        .map(|(label, result)| gate(format!("test set, {label}"), result.map_err(Unmet::Fails)))
        .collect();
    gates.push(gate(
        "a blind network is caught by the test set".to_owned(),
        blinded(package, comparison, &noticed_by, runtime),
    ));
    gates.push(gate(
        "swapped answers are caught by the test set".to_owned(),
        swapped(package, &comparison.pairs, &noticed_by),
    ));
    gates
}

/// A network whose first layer is lost, on some of the images.
fn blinded(
    package: &Package,
    comparison: &Comparison<'_>,
    bounds: &Bounds,
    runtime: &Runtime,
) -> Result<String, Unmet> {
    let blind = blind(package)?;
    let (places, images): (Vec<usize>, Vec<_>) = comparison.kept.iter().cloned().unzip();
    let answers = Served::load(runtime, &blind.model, &blind.manifest)?.answer(&images)?;
    let mut pairs = some(&comparison.pairs, &places);
    pairs.exported = answers.iter().map(Prediction::values).collect();
    noticed(&judge(&pairs, &package.manifest.heads, bounds)?)
}

fn swapped(package: &Package, pairs: &Pairs, bounds: &Bounds) -> Result<String, Unmet> {
    let mut pairs = pairs.clone();
    for row in &mut pairs.exported {
        match row.as_mut_slice() {
            [only] => *only = 1.0 - *only,
            several => several.reverse(),
        }
    }
    noticed(&judge(&pairs, &package.manifest.heads, bounds)?)
}

/// Whether one question at least was not within the bounds.
fn noticed(judged: &Judged) -> Result<String, Unmet> {
    let count = judged.len();
    let failed = judged.iter().filter(|(_, result)| result.is_err()).count();
    caught(if failed > 0 {
        Err(Unmet::Fails(format!("{failed} of {count} questions are off")))
    } else {
        Ok(String::new())
    })
}

//! Whether the package knows an image that is unlike those of its training.

use super::{Unmet, engine};
use crate::model::{GoldenInput, Package};
use crate::runtime::Runtime;
use crate::runtime::proof::golden_inputs;

/// Statistics of the embedding are there, and the golden radiographs lie within their limit; how far away noise is, is said.
pub(super) fn statistics(package: &Package, runtime: &Runtime) -> Result<String, Unmet> {
    if package.manifest.embedding.is_none() {
        return Err(Unmet::Lacks(
            "the manifest names no embedding, so that images unlike those of the training are scored: export a network with the output embedding"
                .to_owned(),
        ));
    }
    let Some(known) = &package.distribution else {
        return Err(Unmet::Lacks(
            "the manifest names no distribution, so that images unlike those of the training are scored: osteon-train export writes embedding.json, docs/input-gates.md says how else it is made"
                .to_owned(),
        ));
    };
    let inputs = golden_inputs(package, |image| image)?;
    let mut engine = engine(package, runtime)?;
    let (mut radiographs, mut noise) = (Vec::new(), Vec::new());
    for (case, input) in package.goldens.cases.iter().zip(&inputs) {
        let answers = engine.run(&[input]).map_err(|error| error.to_string())?;
        let features = answers.first().and_then(|answer| answer.embedding.as_deref());
        let away = known
            .distance(features.unwrap_or_default())
            .map_err(|error| format!("golden case {}: {error}", case.name))?;
        match case.input {
            GoldenInput::Dicom { .. } if away > known.limit => {
                return Err(Unmet::Fails(format!(
                    "golden case {} is {away:.2} away, and {:.2} is the limit: the model would refuse it, so it is no image that the model is for, or the statistics are another network's",
                    case.name, known.limit
                )));
            }
            GoldenInput::Dicom { .. } => radiographs.push(away),
            GoldenInput::Noise { .. } => noise.push(away),
            GoldenInput::Constant { .. } => {}
        }
    }
    if radiographs.is_empty() {
        return Err(Unmet::Lacks(
            "no golden case is a DICOM file that the statistics could be tried on: import with --image, or export with --golden"
                .to_owned(),
        ));
    }
    let most = |distances: &[f64]| distances.iter().copied().fold(0.0, f64::max);
    let mut figure = format!(
        "{} golden radiographs at most {:.2} away of {:.2}",
        radiographs.len(),
        most(&radiographs),
        known.limit
    );
    if let Some(nearest) = noise.iter().copied().reduce(f64::min) {
        figure = format!("{figure}, noise {nearest:.2}");
    }
    Ok(format!("{figure}; {}", known.origin))
}

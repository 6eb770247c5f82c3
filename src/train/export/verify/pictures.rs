//! The way of a DICOM file to its score: polarity, and lower resolutions.

use std::path::PathBuf;

use super::{Unmet, distance, engine};
use crate::dicom::Instance;
use crate::image::decode::decode;
use crate::image::preprocess::ReducedResolution;
use crate::image::reduce::low_band;
use crate::model::{GoldenInput, Package};
use crate::runtime::Runtime;
use crate::runtime::proof::{golden_inputs, reproduce};
use crate::train::export::polarity::other_polarity;

/// The same picture as the other photometric interpretation must score alike.
pub(super) fn polarity(package: &Package, runtime: &Runtime) -> Result<String, Unmet> {
    let files = package
        .goldens
        .cases
        .iter()
        .filter(|case| matches!(case.input, GoldenInput::Dicom { .. }))
        .count();
    if files == 0 {
        return Err(Unmet::Lacks(
            "no golden case is a DICOM file, so that nothing shows that files are decoded as in training: import with --image, or export with --golden"
                .to_owned(),
        ));
    }
    let mut engine = engine(package, runtime)?;
    let inverted = golden_inputs(package, other_polarity)?;
    let worst = reproduce(package, &inverted, &mut engine)?;
    Ok(format!(
        "{files} files and their inverted copies, at most {worst:.1e} off"
    ))
}

/// What it does to the scores that JPEG 2000 is decoded at a lower resolution, if the contract allows it. Images in other
/// transfer syntaxes are brought to what JPEG 2000 would hold of them.
pub(super) fn reduced_resolution(
    package: &Package,
    radiographs: &[PathBuf],
    runtime: &Runtime,
) -> Result<String, Unmet> {
    let contract = &package.manifest.preprocessing;
    let Some(ReducedResolution { bound }) = contract.reduced_resolution else {
        return Ok("not allowed by the contract: decoded whole".to_owned());
    };
    let goldens = package.goldens.cases.iter().filter_map(|case| match &case.input {
        GoldenInput::Dicom { file } => Some(package.file(file).map_err(|error| error.to_string())),
        _ => None,
    });
    let given = radiographs.iter().enumerate().map(|(index, path)| {
        std::fs::read(path).map_err(|error| format!("radiograph {} cannot be read: {error}", index + 1))
    });
    let mut engine = engine(package, runtime)?;
    let (mut count, mut worst, mut most) = (0, 0.0_f32, 0);
    for bytes in goldens.chain(given) {
        let instance = Instance::parse(bytes?.into()).map_err(|error| error.to_string())?;
        let whole = decode(&instance).map_err(|error| error.to_string())?;
        let reduced = contract
            .decode(&instance)
            .and_then(|image| {
                if image.rows < whole.rows {
                    return Ok(image);
                }
                contract.at_lowest_resolution([whole.rows, whole.columns], |halve| {
                    Ok((low_band(&whole, halve), halve))
                })
            })
            .map_err(|error| error.to_string())?;
        if reduced.rows == whole.rows {
            continue;
        }
        most = most.max((whole.rows / reduced.rows).ilog2());
        let [whole, reduced] = [whole, reduced].map(|image| {
            let (tensor, _) = contract.apply(&image).map_err(|error| error.to_string())?;
            let scores = engine.run(&[&tensor]).map_err(|error| error.to_string())?;
            scores
                .into_iter()
                .next()
                .map(|prediction| prediction.values())
                .ok_or_else(|| "the network gave no answer".to_owned())
        });
        for (a, b) in whole?.iter().zip(reduced?) {
            worst = worst.max(distance(*a, b));
        }
        count += 1;
    }
    if count == 0 {
        return Err(Unmet::Fails(
            "no golden case is large enough to be decoded at a lower resolution, which the contract allows: name radiographs with --images"
                .to_owned(),
        ));
    }
    let figure =
        format!("{count} radiographs, halved up to {most} times: at most {worst:.1e} off (allowed {bound})");
    if worst <= bound {
        Ok(figure)
    } else {
        Err(Unmet::Fails(figure))
    }
}

//! The proof that the gates can fail: the package broken on purpose, in memory.

use prost::Message;

use super::contract::contract;
use super::network::parity;
use super::{Unmet, engine};
use crate::image::StoredImage;
use crate::model::Package;
use crate::model::onnx_format::{DataType, GraphProto, ModelProto, TensorProto};
use crate::runtime::Runtime;
use crate::runtime::proof::{golden_inputs, reproduce};

/// Of the weights of the first layer one in so many is lost: some of each channel, as channels may be dead.
const LOST: usize = 40;
/// Where rounding has room, a loss has to be larger to be told from it.
const LOST_OF_REDUCED: usize = 8;

/// A gate that must not pass.
pub(super) fn caught(result: Result<String, Unmet>) -> Result<String, Unmet> {
    match result {
        Ok(_) => Err(Unmet::Fails("the gates did not notice".to_owned())),
        Err(Unmet::Fails(reason)) => Ok(reason.split(':').next().unwrap_or_default().to_owned()),
        Err(lacking) => Err(lacking),
    }
}

pub(super) fn corrupted_weight(package: &Package, runtime: &Runtime) -> Result<String, Unmet> {
    let every = match package.manifest.reduced_precision {
        None => LOST,
        Some(_) => LOST_OF_REDUCED,
    };
    caught(parity(&damaged(package, every)?, runtime))
}

/// The package with a network that lost the first layer altogether.
pub(super) fn blind(package: &Package) -> Result<Package, Unmet> {
    damaged(package, 1)
}

/// The package with a network that lost one in `every` of the first layer's weights, on which every answer depends.
fn damaged(package: &Package, every: usize) -> Result<Package, Unmet> {
    let mut model = ModelProto::decode(package.model.as_slice()).map_err(|error| error.to_string())?;
    let weights = model.graph.as_mut().and_then(first_weights);
    let weights = weights.ok_or_else(|| {
        Unmet::Lacks(
            "no weights stand by themselves in the ONNX file, so that none can be damaged".to_owned(),
        )
    })?;
    weights
        .float_data
        .iter_mut()
        .step_by(every)
        .for_each(|value| *value = 0.0);
    let bytes = width(weights);
    weights
        .raw_data
        .chunks_mut(bytes)
        .step_by(every)
        .for_each(|value| value.fill(0));
    Ok(Package {
        model: model.encode_to_vec(),
        ..package.clone()
    })
}

/// Bytes of one number.
fn width(tensor: &TensorProto) -> usize {
    match DataType::try_from(tensor.data_type) {
        Ok(DataType::Int8) => 1,
        Ok(DataType::Float16) => 2,
        _ => 4,
    }
}

/// The weights that are read first, of those that are more than one number.
fn first_weights(graph: &mut GraphProto) -> Option<&mut TensorProto> {
    let kinds = [DataType::Float, DataType::Float16, DataType::Int8].map(|kind| kind as i32);
    let several = |tensor: &TensorProto| {
        kinds.contains(&tensor.data_type)
            && tensor.raw_data.len() / width(tensor) + tensor.float_data.len() > 1
    };
    let name = graph.node.iter().flat_map(|node| &node.input).find(|input| {
        graph
            .initializer
            .iter()
            .any(|tensor| tensor.name == **input && several(tensor))
    })?;
    graph.initializer.iter_mut().find(|tensor| tensor.name == *name)
}

pub(super) fn swapped_labels(package: &Package) -> Result<String, Unmet> {
    let mut manifest = package.manifest.clone();
    if let Some(head) = manifest.heads.iter_mut().find(|head| head.labels.len() > 1) {
        head.labels.swap(0, 1);
    } else if let [one, other, ..] = manifest.heads.as_mut_slice() {
        std::mem::swap(&mut one.labels, &mut other.labels);
    } else {
        return Ok("there is only one label".to_owned());
    }
    caught(contract(package, &manifest))
}

pub(super) fn left_out_inversion(package: &Package, runtime: &Runtime) -> Result<String, Unmet> {
    let without = |mut image: StoredImage| {
        image.transform.inverted = false;
        image
    };
    let inputs = golden_inputs(package, without)?;
    if inputs == golden_inputs(package, |image| image)? {
        return Err(Unmet::Lacks(
            "no golden case is MONOCHROME1, so that a left-out inversion could not be noticed: give one image of each polarity, with --golden or --image"
                .to_owned(),
        ));
    }
    let worst = reproduce(package, &inputs, &mut engine(package, runtime)?);
    caught(worst.map(|worst| worst.to_string()).map_err(Unmet::from))
}

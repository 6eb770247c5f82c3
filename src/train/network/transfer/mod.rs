//! Weights of one network put into another: what fits, by name or in order, with a report of all of it.
//!
//! Nothing is guessed: a tensor is taken only as it is, in another shape of the same numbers in the same order, or, where it
//! reads the image, summed over the colours to one channel or spread over three. What is not taken starts at random, and the
//! report says why.

mod adapt;
mod names;
mod order;
mod report;

use serde::{Deserialize, Serialize};

use adapt::Fitting;
pub use report::{How, LeftOut, Random, Report, Taken};

use super::checkpoint::Checkpoint;
use super::graph::{Graph, Part};
use super::layer::Role;
use super::shape::GraphError;
use super::weights::Weights;

/// How tensors and parameters find one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matching {
    /// By name, also by the names of other packages for the same network.
    #[default]
    Names,
    /// From the image on, layer by layer, as long as the shapes agree: for low-level weights of another architecture.
    Order,
}

/// What to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// How tensors and parameters find one another.
    pub matching: Matching,
    /// The last stage to fill; 0 is the stem alone. None fills all that fits, the head too.
    pub stages: Option<usize>,
}

impl Selection {
    fn wants(self, part: Part) -> bool {
        match (self.stages, part) {
            (None, _) | (Some(_), Part::Stem) => true,
            (Some(last), Part::Stage(stage)) => stage <= last,
            (Some(_), Part::Head) => false,
        }
    }
}

/// Why no weights could be taken.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// Not one tensor fits.
    #[error(
        "none of the {tensors} tensors, such as `{example}`, fits a parameter, such as `{expected}`; {advice}"
    )]
    Nothing {
        /// How many the file has.
        tensors: usize,
        /// The first of them.
        example: String,
        /// The first parameter.
        expected: String,
        /// What may help.
        advice: &'static str,
    },
    /// The graph itself is wrong.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// A parameter that could be filled.
struct Target {
    name: String,
    part: Part,
    shape: Vec<usize>,
    /// Whether its layer reads the image, so that the shape holds the image's channels.
    reads_image: bool,
    /// The place of its layer in the graph.
    node: usize,
}

/// Fills `weights`, which fit `graph`, from `source` as far as possible.
pub fn transfer(
    graph: &Graph,
    weights: &mut Weights,
    source: &Checkpoint,
    selection: Selection,
) -> Result<Report, TransferError> {
    let targets = targets(graph)?;
    let found = match selection.matching {
        Matching::Names => names::pair(&graph.name, &targets, source),
        Matching::Order => order::pair(&targets, source),
    };
    let mut report = Report {
        prefix: found.prefix,
        within: source.within.clone(),
        ..Report::default()
    };
    let mut used: Vec<Option<String>> = vec![None; source.tensors.len()];
    for target in &targets {
        let parameter = target.name.clone();
        let place = found.places.get(&parameter).copied();
        let why = match place.map(|place| &source.tensors[place]) {
            _ if !selection.wants(target.part) => format!("{} is not among the chosen stages", target.part),
            None => found.nothing.to_owned(),
            Some((tensor, numbers)) => match adapt::adapt(numbers, &target.fitting()) {
                Ok((values, how)) => {
                    if let Some(own) = weights.tensors.get_mut(&parameter) {
                        own.values = values;
                    }
                    if let Some(used) = place.and_then(|place| used.get_mut(place)) {
                        *used = Some(parameter.clone());
                    }
                    let tensor = tensor.clone();
                    report.taken.push(Taken {
                        parameter,
                        tensor,
                        how,
                    });
                    continue;
                }
                Err(why) => format!("{tensor}: {why}"),
            },
        };
        report.random.push(Random { parameter, why });
    }
    let wanted: Vec<&usize> = found.places.values().collect();
    for (place, (tensor, numbers)) in source.tensors.iter().enumerate() {
        if used[place].is_none() {
            report.left_out.push(LeftOut {
                tensor: tensor.clone(),
                shape: numbers.shape.clone(),
                why: if wanted.contains(&&place) {
                    "does not fit or was not chosen".to_owned()
                } else {
                    "the network has no parameter for it".to_owned()
                },
            });
        }
    }
    report.whole = source.whole.len();
    if report.taken.is_empty() {
        let first = |name: Option<&String>| name.cloned().unwrap_or_default();
        return Err(TransferError::Nothing {
            tensors: source.tensors.len(),
            example: first(source.tensors.first().map(|(name, _)| name)),
            expected: first(targets.first().map(|target| &target.name)),
            advice: match selection.matching {
                Matching::Names => "for low-level weights of another architecture, match them in order",
                Matching::Order => "the first layers differ already",
            },
        });
    }
    Ok(report)
}

/// Parameters that training changes, and running statistics; calibration's constants are not taken over.
fn targets(graph: &Graph) -> Result<Vec<Target>, GraphError> {
    let shapes = graph.shapes()?;
    let mut targets = Vec::new();
    for (place, node) in graph.nodes.iter().enumerate() {
        for parameter in node.layer.parameters(&shapes.inputs(node)) {
            if parameter.role == Role::Constant {
                continue;
            }
            targets.push(Target {
                name: format!("{}.{}", node.name, parameter.suffix),
                part: node.part,
                shape: parameter.shape,
                reads_image: node.inputs.iter().any(|input| input.0 == 0),
                node: place,
            });
        }
    }
    Ok(targets)
}

impl Target {
    fn fitting(&self) -> Fitting<'_> {
        Fitting {
            shape: &self.shape,
            reads_image: self.reads_image,
        }
    }
}

#[cfg(test)]
mod tests;

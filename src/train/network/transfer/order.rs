//! Tensors and parameters by their order: the layers of both networks side by side from the image on, until two differ.

use std::collections::{BTreeMap, BTreeSet};

use super::super::checkpoint::Checkpoint;
use super::super::families::{FAMILIES, Family, Published};
use super::super::graph::Part;
use super::names::{Pairs, own_name};
use super::{Target, adapt};

/// The tensors of one layer, by the ends of their names.
type Layer<'a> = Vec<(&'a str, usize)>;

/// Pairs layers as long as every parameter of the network's has a tensor that fits.
pub(super) fn pair(targets: &[Target], source: &Checkpoint) -> Pairs {
    let mut pairs = Pairs {
        nothing: "the layers are not alike this far from the image",
        ..Pairs::default()
    };
    let wanted = targets.chunk_by(|left, right| left.node == right.node);
    for (own, found) in wanted.zip(layers(source)) {
        let mut places = BTreeMap::new();
        for target in own {
            let end = ending(&target.name);
            let place = found
                .iter()
                .find(|(suffix, _)| *suffix == end)
                .map(|(_, place)| *place);
            let fitting =
                place.filter(|place| adapt::fits(&source.tensors[*place].1, &target.fitting()).is_ok());
            let Some(place) = fitting.filter(|_| target.part != Part::Head) else {
                return pairs;
            };
            places.insert(target.name.clone(), place);
        }
        pairs.places.extend(places);
    }
    pairs
}

/// The layers of a file in the order in which they run, where it is a network known here, or else in the file's order.
fn layers(source: &Checkpoint) -> Vec<Layer<'_>> {
    let mut places: Vec<usize> = (0..source.tensors.len()).collect();
    if let Some((family, order)) = recognised(source) {
        let order: BTreeMap<&String, usize> = order.iter().zip(0..).collect();
        places.sort_by_key(|place| {
            let name = own_name(family.name, &source.tensors[*place].0);
            order.get(&name).copied().unwrap_or(usize::MAX)
        });
    }
    let mut layers: Vec<(&str, Layer<'_>)> = Vec::new();
    for place in places {
        let name = source.tensors[place].0.as_str();
        let end = ending(name);
        let layer = &name[..name.len() - end.len()];
        match layers.last_mut() {
            Some((own, tensors)) if *own == layer => tensors.push((end, place)),
            _ => layers.push((layer, vec![(end, place)])),
        }
    }
    layers.into_iter().map(|(_, tensors)| tensors).collect()
}

/// The published network whose parameters the file has under their names, and the order of these.
fn recognised(source: &Checkpoint) -> Option<(&'static Family, Vec<String>)> {
    FAMILIES.iter().find_map(|family| {
        let graph = Published::default().graph(family, "image", 1).ok()?;
        let targets = super::targets(&graph).ok()?;
        let order: Vec<String> = targets.into_iter().map(|target| target.name).collect();
        let names: BTreeSet<String> = source
            .tensors
            .iter()
            .map(|(name, _)| own_name(family.name, name))
            .collect();
        order
            .iter()
            .all(|name| names.contains(name))
            .then_some((*family, order))
    })
}

fn ending(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

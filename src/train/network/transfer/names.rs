//! Tensors and parameters by name: the network's own, another package's for the same network, or either with something
//! before it, as a wrapper puts there.

use std::collections::BTreeMap;

use super::super::checkpoint::Checkpoint;
use super::super::families::FAMILIES;
use super::super::head::LABEL_MAP;
use super::{Target, adapt};

/// Which tensor belongs to which parameter.
#[derive(Default)]
pub(super) struct Pairs {
    /// Places of tensors in the file by parameter.
    pub(super) places: BTreeMap<String, usize>,
    /// What stands before every name in the file.
    pub(super) prefix: String,
    /// What is said of a parameter without a tensor.
    pub(super) nothing: &'static str,
}

/// Beginnings of names that are tried, the most frequent ones.
const PREFIXES: usize = 64;

/// Tries the beginnings that most names have in common, and keeps the one by which most parameters are filled.
pub(super) fn pair(network: &str, targets: &[Target], source: &Checkpoint) -> Pairs {
    let needed: BTreeMap<&str, &Target> = targets
        .iter()
        .map(|target| (target.name.as_str(), target))
        .collect();
    let mut prefixes: BTreeMap<&str, usize> = BTreeMap::from([("", source.tensors.len())]);
    for (name, _) in &source.tensors {
        for (dot, _) in name.match_indices('.').take(3) {
            *prefixes.entry(&name[..=dot]).or_default() += 1;
        }
    }
    let mut prefixes: Vec<(usize, &str)> = prefixes
        .into_iter()
        .map(|(prefix, count)| (count, prefix))
        .collect();
    prefixes.sort_by_key(|(count, prefix)| (std::cmp::Reverse(*count), prefix.len()));
    let mut best = (0, Pairs::default());
    for (_, prefix) in prefixes.into_iter().take(PREFIXES) {
        let mut places = BTreeMap::new();
        for (place, (name, _)) in source.tensors.iter().enumerate() {
            if let Some(name) = name.strip_prefix(prefix) {
                let name = own_name(network, name);
                if needed.contains_key(name.as_str()) {
                    places.insert(name, place);
                }
            }
        }
        let fits = |(name, place): (&String, &usize)| {
            let tensor = &source.tensors[*place].1;
            needed
                .get(name.as_str())
                .is_some_and(|target| adapt::fits(tensor, &target.fitting()).is_ok())
        };
        let filled = places.iter().filter(|pair| fits(*pair)).count();
        if filled > best.0 {
            let (prefix, nothing) = (prefix.to_owned(), "the file has nothing of its name");
            best = (
                filled,
                Pairs {
                    places,
                    prefix,
                    nothing,
                },
            );
        }
    }
    best.1
}

/// What this program calls what `name` is in the network's own package or in another one.
pub(super) fn own_name(network: &str, name: &str) -> String {
    let Some(family) = FAMILIES.iter().find(|family| family.name == network) else {
        return name.to_owned();
    };
    let name = (family.elsewhere)(name).unwrap_or_else(|| name.to_owned());
    match name.strip_prefix(family.classifier) {
        Some(end) if end.starts_with('.') => format!("{LABEL_MAP}{end}"),
        _ => name,
    }
}

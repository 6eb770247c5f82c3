//! Which versions of a model are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde::Deserialize;

/// Which versions of a model are served, where no pin names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Versions {
    /// The newest that proves itself.
    #[default]
    Latest,
    /// Every one that proves itself.
    All,
}

impl FromStr for Versions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "latest" => Ok(Self::Latest),
            "all" => Ok(Self::All),
            _ => Err("the choices are latest and all".to_owned()),
        }
    }
}

/// Which versions are wanted of each model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) versions: Versions,
    pub(super) pins: BTreeMap<String, BTreeSet<u32>>,
}

impl Wanted {
    /// Whether a version may be served at all.
    pub(super) fn allows(&self, model: &str, version: u32) -> bool {
        self.pins.get(model).is_none_or(|pins| pins.contains(&version))
    }

    /// Whether one version is enough.
    pub(super) fn one_of(&self, model: &str) -> bool {
        self.versions == Versions::Latest && !self.pins.contains_key(model)
    }
}

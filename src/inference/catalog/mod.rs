//! Which models are served, and what became of every package of the models folder.
//!
//! [`Catalog`] is what requests read: a snapshot that is exchanged whole. The repository behind it looks at the folder, and has the
//! shelf decide what to prove and what to let go.

mod fingerprint;
mod repository;
mod shelf;
mod state;
mod study_model;
#[cfg(test)]
mod tests;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use fingerprint::Aside;
pub use repository::RepositorySettings;
pub(super) use repository::{Patience, Repository};
pub use state::{Indexed, Rejected, State};
pub use study_model::{Basis, StudyModel};
pub use versions::Versions;

use super::batcher::{Silent, Unable};
use super::served::ServedModel;
use crate::fault::{Fault, FaultKind};
use crate::finding::ModelReference;
use crate::runtime::device_names;

/// How models are run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Threads that decode images and, without a GPU, run networks.
    pub cores: usize,
    /// On GPUs: copies of each model on each of them, each with sessions of its own.
    pub instances: usize,
    /// Images that may wait for one model.
    pub queue: usize,
    /// How long an image may wait and run.
    pub deadline: Duration,
    /// The most bytes that all images together may take while they are decoded.
    pub decode_memory: usize,
}

/// Served models by name and version.
type Served = BTreeMap<String, BTreeMap<u32, Arc<ServedModel>>>;

#[derive(Clone, Default)]
struct Contents {
    /// Whether every package was looked at once.
    loaded: bool,
    /// Why the folder cannot be looked at.
    fault: Option<String>,
    /// Folders that are no packages, and since when.
    aside: Vec<(Aside, SystemTime)>,
    models: Served,
    packages: Vec<Indexed>,
    /// Once the server was ready: the models that have served and were not taken away on purpose. A new one that fails makes those wait
    /// for nothing.
    waited_for: Option<BTreeSet<String>>,
    study_model: Option<StudyModel>,
}

impl Contents {
    /// Whether a model is waited for, and does not serve.
    fn lacks(&self, model: &str) -> bool {
        let waited_for = self.waited_for.as_ref();
        !self.models.contains_key(model) && waited_for.is_none_or(|served| served.contains(model))
    }

    /// Why a model that has packages, or had, has none that serves. For one that was taken away on purpose, or that is still arriving,
    /// nobody waits.
    fn missing(&self) -> Option<String> {
        let unserved = || {
            self.packages
                .iter()
                .rev()
                .filter(|package| self.lacks(&package.name))
        };
        if let Some(package) = unserved().find(|package| package.state == State::Failed) {
            let reason = package.reason.as_deref().unwrap_or_default();
            let again = match package.again_after {
                Some(_) => "; that may pass, and it is tried again",
                None => "",
            };
            return Some(format!("{} is not served: {reason}{again}", package.place()));
        }
        let comes =
            |name: &str| unserved().any(|package| package.name == name && package.state != State::Idle);
        if let Some(package) = unserved().find(|package| !comes(&package.name)) {
            return Some(format!(
                "{} is not served: its pin names no version that is there",
                package.name
            ));
        }
        let known = |name: &str| self.packages.iter().any(|package| package.name == name);
        let off = |aside: &Aside| aside.unreadable && self.lacks(&aside.model) && !known(&aside.model);
        if let Some((aside, _)) = self.aside.iter().find(|(aside, _)| off(aside)) {
            return Some(format!("{} is not served: {}", aside.place(), aside.reason));
        }
        let served = self.waited_for.iter().flatten();
        served
            .filter(|name| self.lacks(name) && !known(name))
            .map(|name| {
                format!(
                    "{name} is not served: it served, and is gone from the models folder; put it back, or unload it (POST /v2/repository/models/{name}/unload) if it is not to come back"
                )
            })
            .next()
    }

    fn not_ready(&self) -> Option<String> {
        if !self.loaded {
            return Some("the models are being loaded and proven".to_owned());
        }
        if let Some(reason) = self.missing() {
            return Some(reason);
        }
        if self.models.is_empty() {
            let reason = "there is no model: put a package into <models>/<name>/<version>/, or load one that was unloaded";
            let aside = self.aside.first();
            let aside = aside.map(|(aside, _)| format!("{}: {}", aside.place(), aside.reason));
            return Some(self.fault.clone().or(aside).unwrap_or_else(|| reason.to_owned()));
        }
        self.silent().next().map(|(model, silent)| {
            let why = match silent.unable {
                Unable::Memory => "has no memory left to run it",
                Unable::Failed => "fails on an image that the model was proven with",
            };
            let devices = device_names(&silent.devices);
            format!(
                "{} does not answer: {devices} {why}; the log has the cause",
                model.place()
            )
        })
    }

    /// The models of which no device answers.
    fn silent(&self) -> impl Iterator<Item = (&Arc<ServedModel>, Silent)> {
        let models = self.models.values().flat_map(BTreeMap::values);
        models.filter_map(|model| Some((model, model.silent()?)))
    }
}

/// Every served model by name and version.
#[derive(Default)]
pub struct Catalog {
    contents: RwLock<Contents>,
}

impl Catalog {
    /// A version of a model; the newest that is served where none is named.
    ///
    /// # Errors
    /// `not-ready` while there is no model at all, `unknown-model` and `unknown-version` otherwise. The caller's text is not
    /// repeated.
    pub fn find(&self, name: &str, version: Option<u32>) -> Result<Arc<ServedModel>, Fault> {
        let unknown = |code, what: &str, known: Vec<String>| {
            let message = format!("there is no such {what}: this server has {}", known.join(", "));
            Fault::new(FaultKind::NotFound, code, message)
        };
        let found = self.read(|contents| match contents.models.get(name) {
            Some(versions) => {
                let found = match version {
                    None => versions.values().next_back(),
                    Some(version) => versions.get(&version),
                };
                found
                    .cloned()
                    .ok_or_else(|| Some(versions.keys().map(u32::to_string).collect::<Vec<_>>()))
            }
            None => Err(None),
        });
        found.map_err(|versions| {
            if let Some(known) = versions {
                return unknown("unknown-version", "version", known);
            }
            let known: Vec<String> = self.read(|contents| contents.models.keys().cloned().collect());
            match self.not_ready() {
                Some(reason) if known.is_empty() => Fault::new(FaultKind::Unavailable, "not-ready", reason),
                _ => unknown("unknown-model", "model", known),
            }
        })
    }

    /// The package that a result names, as long as it is the one that is served under its name and version.
    ///
    /// # Errors
    /// As [`Self::find`], and `another-model` where its version was replaced by another package.
    pub fn package(&self, model: &ModelReference) -> Result<Arc<ServedModel>, Fault> {
        let served = self.find(&model.name, Some(model.version))?;
        if served.digest == model.digest {
            return Ok(served);
        }
        let message = "the package of this model and version was replaced by another one";
        Err(Fault::new(FaultKind::NotFound, "another-model", message))
    }

    /// Whether the last look found packages of a model, or it serves.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.read(|contents| {
            let found = |package: &Indexed| package.name == name;
            contents.models.contains_key(name) || contents.packages.iter().any(found)
        })
    }

    /// Every package that was found, and what became of it.
    #[must_use]
    pub fn index(&self) -> Vec<Indexed> {
        self.read(|contents| contents.packages.clone())
    }

    /// Every served version of every model, by name and version.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<ServedModel>> {
        self.read(|contents| {
            contents
                .models
                .values()
                .flat_map(|versions| versions.values().cloned())
                .collect()
        })
    }

    /// The served versions of one model, the oldest first.
    #[must_use]
    pub fn versions(&self, name: &str) -> Vec<Arc<ServedModel>> {
        self.read(|contents| {
            let versions = contents.models.get(name).into_iter();
            versions.flat_map(|versions| versions.values().cloned()).collect()
        })
    }

    /// The packages that did not prove themselves.
    #[must_use]
    pub fn rejected(&self) -> Vec<Rejected> {
        self.read(|contents| {
            let folder = contents.fault.iter().map(|reason| Rejected {
                package: "*".to_owned(),
                stage: None,
                reason: reason.clone(),
                since: None,
            });
            folder
                .chain(contents.aside.iter().map(|(aside, since)| aside.rejected(*since)))
                .chain(contents.packages.iter().filter_map(Indexed::rejected))
                .collect()
        })
    }

    /// The model that scores stored studies, whether it is served or not.
    #[must_use]
    pub fn study_model(&self) -> Option<StudyModel> {
        self.read(|contents| contents.study_model.clone())
    }

    /// Why requests cannot be served yet, or at all; `None` when every model that has packages has one that serves and answers, and
    /// there is one. A new version that fails takes nothing away while an older one serves, nor does a new model once the server was ready.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        self.read(Contents::not_ready)
    }

    /// Why only a new process is likely to help: the devices of a model, all of them, have not answered for a while.
    #[must_use]
    pub fn lost(&self) -> Option<String> {
        self.read(|contents| {
            let (model, silent) = contents.silent().find(|(_, silent)| silent.is_lost)?;
            let devices = device_names(&silent.devices);
            Some(format!(
                "{} has had no device that answers for a while ({devices}): the server has to be started anew",
                model.place()
            ))
        })
    }

    fn read<T>(&self, look: impl FnOnce(&Contents) -> T) -> T {
        look(&self.contents.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a model into the place of its version.
    #[cfg(test)]
    pub(super) fn put(&self, served: ServedModel) {
        let mut contents = self.read(Contents::clone);
        let manifest = &served.manifest;
        let versions = contents.models.entry(manifest.name.clone()).or_default();
        versions.insert(manifest.version, Arc::new(served));
        self.exchange(contents);
    }

    fn exchange(&self, contents: Contents) {
        let old = {
            let mut place = self.contents.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *place, contents)
        };
        // freeing sessions takes its time: not under the lock
        drop(old);
    }
}

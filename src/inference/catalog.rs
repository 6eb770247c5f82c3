//! Which models are served: every package of the models folder that proved itself, and why the others are not.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::instance::Instances;
use crate::fault::{Fault, FaultKind};
use crate::finding::ModelReference;
use crate::model::{ModelManifest, Package};
use crate::runtime::proof::prove;
use crate::runtime::{Device, Runtime};

/// A model that proved itself and runs.
pub struct ServedModel {
    /// Its manifest.
    pub manifest: ModelManifest,
    /// Its package's digest.
    pub digest: String,
    /// What runs it.
    pub device: Device,
    /// Its threads.
    pub instances: Instances,
    /// How long opening, loading and proof took.
    pub proven_in: Duration,
}

impl ServedModel {
    /// How answers name it.
    #[must_use]
    pub fn reference(&self) -> ModelReference {
        ModelReference {
            name: self.manifest.name.clone(),
            version: self.manifest.version,
            digest: self.digest.clone(),
            provider: self.device.provider().to_owned(),
            notice: self.manifest.notice.clone(),
        }
    }
}

/// A package that is not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// `<name>/<version>` under the models folder.
    pub package: String,
    /// What was off.
    pub reason: String,
}

/// A package of the models folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Indexed {
    /// The model's name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// What became of it.
    pub state: State,
    /// Why it is not served, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether a package is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is.
    Ready,
    /// It is not: it failed its proof, or was not asked for.
    Unavailable,
}

/// How models are run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Copies of each model, each with an engine of its own.
    pub instances: usize,
    /// Threads of each engine.
    pub threads: usize,
    /// Images that may wait for one model.
    pub queue: usize,
    /// How long an image may wait and run.
    pub deadline: Duration,
}

#[derive(Default)]
struct Contents {
    loaded: bool,
    models: BTreeMap<String, BTreeMap<u32, Arc<ServedModel>>>,
    rejected: Vec<Rejected>,
    unloaded: BTreeMap<String, BTreeMap<u32, Arc<ServedModel>>>,
}

/// Every served model by name and version.
#[derive(Default)]
pub struct Catalog {
    contents: RwLock<Contents>,
}

impl Catalog {
    /// Loads and proves every package under `models`. Blocks; until it is done the catalog is not ready.
    pub fn load(&self, models: &Path, runtime: &Runtime, settings: Settings) {
        let mut contents = Contents {
            loaded: true,
            ..Contents::default()
        };
        match Package::folders(models) {
            Ok(folders) => {
                for folder in folders {
                    match serve(&folder, runtime, settings) {
                        Ok(model) => {
                            tracing::info!(
                                model = model.manifest.name,
                                version = model.manifest.version,
                                digest = model.digest,
                                device = %model.device,
                                proven_in_ms = model.proven_in.as_millis() as u64,
                                "model.ready"
                            );
                            contents
                                .models
                                .entry(model.manifest.name.clone())
                                .or_default()
                                .insert(model.manifest.version, Arc::new(model));
                        }
                        Err(reason) => {
                            let package = place(&folder);
                            tracing::error!(package, reason, "model.rejected");
                            contents.rejected.push(Rejected { package, reason });
                        }
                    }
                }
            }
            Err(error) => contents.rejected.push(Rejected {
                package: "*".to_owned(),
                reason: error.to_string(),
            }),
        }
        *self.contents.write().unwrap_or_else(PoisonError::into_inner) = contents;
    }

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
        let versions = self.read(|contents| contents.models.get(name).cloned());
        let Some(versions) = versions else {
            let known = self.read(|contents| contents.models.keys().cloned().collect::<Vec<_>>());
            return Err(match self.not_ready() {
                Some(reason) if known.is_empty() => Fault::new(FaultKind::Unavailable, "not-ready", reason),
                _ => unknown("unknown-model", "model", known),
            });
        };
        let found = match version {
            None => versions.values().next_back(),
            Some(version) => versions.get(&version),
        };
        found.cloned().ok_or_else(|| {
            let known = versions.keys().map(u32::to_string).collect();
            unknown("unknown-version", "version", known)
        })
    }

    /// Every package that was found, and what became of it.
    #[must_use]
    pub fn index(&self) -> Vec<Indexed> {
        let mut index: Vec<Indexed> = self
            .all()
            .iter()
            .map(|model| Indexed {
                name: model.manifest.name.clone(),
                version: model.manifest.version,
                state: State::Ready,
                reason: None,
            })
            .collect();
        index.extend(self.rejected().into_iter().filter_map(|rejected| {
            let (name, version) = rejected.package.split_once('/')?;
            Some(Indexed {
                name: name.to_owned(),
                version: version.parse().ok()?,
                state: State::Unavailable,
                reason: Some(rejected.reason.clone()),
            })
        }));
        index.extend(self.read(|contents| {
            contents
                .unloaded
                .values()
                .flat_map(BTreeMap::values)
                .map(|model| Indexed {
                    name: model.manifest.name.clone(),
                    version: model.manifest.version,
                    state: State::Unavailable,
                    reason: Some("unloaded".to_owned()),
                })
                .collect::<Vec<_>>()
        }));
        index
    }

    /// STAND-IN for the lifecycle that is written elsewhere: moves a model in or out of what is served.
    pub(super) fn shift(&self, name: &str, serve: bool) -> Result<(), Fault> {
        let mut guard = self.contents.write().unwrap_or_else(PoisonError::into_inner);
        let contents = &mut *guard;
        let (from, to) = if serve {
            (&mut contents.unloaded, &mut contents.models)
        } else {
            (&mut contents.models, &mut contents.unloaded)
        };
        match from.remove(name) {
            Some(versions) => {
                to.insert(name.to_owned(), versions);
                Ok(())
            }
            None if to.contains_key(name) => Ok(()),
            None => Err(Fault::new(
                FaultKind::NotFound,
                "unknown-model",
                "there is no such model",
            )),
        }
    }

    /// The newest version of every model, by name.
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

    /// The packages that are not served.
    #[must_use]
    pub fn rejected(&self) -> Vec<Rejected> {
        self.read(|contents| contents.rejected.clone())
    }

    /// Why requests cannot be served yet, or at all; `None` when every package proved itself and there is one.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        self.read(|contents| {
            if !contents.loaded {
                return Some("the models are being loaded and proven".to_owned());
            }
            if let Some(rejected) = contents.rejected.first() {
                return Some(format!("{} is not served: {}", rejected.package, rejected.reason));
            }
            contents.models.is_empty().then(|| {
                "there is no model: put a package into <models>/<name>/<version>/ and start again".to_owned()
            })
        })
    }

    fn read<T>(&self, look: impl FnOnce(&Contents) -> T) -> T {
        look(&self.contents.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn serve(folder: &Path, runtime: &Runtime, settings: Settings) -> Result<ServedModel, String> {
    let started = Instant::now();
    let package = Package::open(folder).map_err(|error| error.to_string())?;
    let engines = prove(&package, runtime, settings.instances, settings.threads)?;
    let instances = Instances::start(engines, settings.queue, settings.deadline)
        .map_err(|error| format!("its threads cannot be started: {error}"))?;
    Ok(ServedModel {
        manifest: package.manifest,
        digest: package.digest,
        device: runtime.device,
        instances,
        proven_in: started.elapsed(),
    })
}

fn place(folder: &Path) -> String {
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name)
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    format!("{}/{}", name(folder.parent()), name(Some(folder)))
}

//! The models folder: looked at, proven from, and watched. One look at a time; requests never wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::fingerprint::look;
use super::shelf::{Candidate, Shelf};
use super::state::{Rejected, State};
use super::study_model::StudyModel;
use super::versions::{Versions, Wanted};
use super::{Catalog, Contents, Settings};
use crate::fault::{Fault, FaultKind};
use crate::inference::served::ServedModel;
use crate::model::package::UNDESCRIBED;
use crate::model::{Package, Policy, Stage};
use crate::runtime::Runtime;
use crate::runtime::proof::{Unproven, prove_on};
use crate::telemetry::metrics::Metrics;

/// Which packages are served.
#[derive(Clone, Debug, Default)]
pub struct RepositorySettings {
    /// The folder, with `<name>/<version>/` in it.
    pub models: PathBuf,
    /// Which versions, where no pin names them.
    pub versions: Versions,
    /// The versions of some models.
    pub pins: BTreeMap<String, BTreeSet<u32>>,
    /// What a package has to be.
    pub policy: Policy,
    /// The model that scores stored studies, where it is named.
    pub study_model: Option<String>,
}

impl From<&Path> for RepositorySettings {
    fn from(models: &Path) -> Self {
        Self {
            models: models.to_owned(),
            ..Self::default()
        }
    }
}

impl From<&PathBuf> for RepositorySettings {
    fn from(models: &PathBuf) -> Self {
        models.as_path().into()
    }
}

/// Looks at the models folder and fills the catalog.
pub(in crate::inference) struct Repository {
    settings: RepositorySettings,
    run: Settings,
    /// One for each device.
    runtimes: Vec<Runtime>,
    metrics: Metrics,
    catalog: Arc<Catalog>,
    inside: Mutex<Inside>,
}

struct Inside {
    shelf: Shelf<Arc<ServedModel>>,
    fault: Option<String>,
    /// Networks that are no packages, and what is wrong with them.
    undescribed: Vec<Rejected>,
    loaded: bool,
    /// Models of which a version has served.
    served: BTreeSet<String>,
    was_ready: bool,
    study_model: Option<StudyModel>,
}

/// Whether what is new is tried at once, or when the next look finds it the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::inference) enum Patience {
    AtOnce,
    SecondLook,
}

impl Repository {
    pub(in crate::inference) fn new(
        settings: RepositorySettings,
        run: Settings,
        runtimes: Vec<Runtime>,
        metrics: Metrics,
        catalog: Arc<Catalog>,
    ) -> Self {
        let wanted = Wanted {
            versions: settings.versions,
            pins: settings.pins.clone(),
        };
        Self {
            settings,
            run,
            runtimes,
            metrics,
            catalog,
            inside: Mutex::new(Inside {
                shelf: Shelf::new(wanted),
                fault: None,
                undescribed: Vec::new(),
                loaded: false,
                served: BTreeSet::new(),
                was_ready: false,
                study_model: None,
            }),
        }
    }

    /// One look: what is new is proven, what is gone is let go. Blocks.
    pub(in crate::inference) fn look(&self, patience: Patience) {
        let mut inside = self.inside();
        self.see(&mut inside, patience);
        for model in inside.shelf.models() {
            self.settle(&mut inside, &model);
        }
        inside.loaded = true;
        self.show(&mut inside);
    }

    /// Loads a model that was unloaded, or tries again what failed. Blocks.
    ///
    /// # Errors
    /// `unknown-model`, or `model-failed` with the reason of its newest version.
    pub(in crate::inference) fn load(&self, model: &str) -> Result<(), Fault> {
        let mut inside = self.inside();
        self.see(&mut inside, Patience::SecondLook);
        if !inside.shelf.ask(model) {
            return Err(unknown());
        }
        self.settle(&mut inside, model);
        let mut packages = inside.shelf.index();
        packages.retain(|package| package.name == model && package.state != State::Idle);
        let failed = |what: String| Err(Fault::new(FaultKind::Unavailable, "model-failed", what));
        match packages.pop() {
            None => failed(format!(
                "no version of {model} that is there is wanted: its pin names others"
            )),
            Some(newest) if newest.state == State::Failed => {
                let reason = newest.reason.as_deref().unwrap_or_default();
                failed(format!("{} did not prove itself: {reason}", newest.place()))
            }
            Some(_) => Ok(()),
        }
    }

    /// Takes a model away until it is loaded again, whatever is copied into its folder; what it is answering it answers.
    ///
    /// # Errors
    /// `unknown-model`.
    pub(in crate::inference) fn unload(&self, model: &str) -> Result<(), Fault> {
        let mut inside = self.inside();
        if !inside.shelf.unload(model) {
            return Err(unknown());
        }
        tracing::info!(model, "model.unloaded");
        self.settle(&mut inside, model);
        Ok(())
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        // a panic while the lock was held leaves at worst a package that is tried again
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self, inside: &mut Inside, patience: Patience) {
        let fault = match look(&self.settings.models) {
            // a share that is gone looks like an empty folder: what is proven serves on
            Ok(found) if found.is_empty() && !inside.shelf.serving().is_empty() => Some(
                "the models folder is empty; what was loaded from it serves on: is its share gone?"
                    .to_owned(),
            ),
            Ok(found) => {
                inside
                    .shelf
                    .see(found, patience == Patience::AtOnce, SystemTime::now());
                None
            }
            Err(error) => Some(error.to_string()),
        };
        if fault.is_none() {
            self.see_undescribed(inside);
        }
        if fault != inside.fault {
            if let Some(reason) = &fault {
                tracing::error!(reason, "models.unreadable");
            }
            inside.fault = fault;
        }
    }

    /// What lies there as for another server is said once: nobody would know why it is not served.
    fn see_undescribed(&self, inside: &mut Inside) {
        let models = &self.settings.models;
        // the folder was read a moment ago
        let folders = Package::undescribed(models).unwrap_or_default();
        let seen = folders.iter().map(|folder| {
            let place = folder.strip_prefix(models).unwrap_or(folder);
            place.display().to_string()
        });
        let before: Vec<Rejected> = std::mem::take(&mut inside.undescribed);
        for package in seen {
            let known = before.iter().find(|known| known.package == package);
            let rejected = known.cloned().unwrap_or_else(|| {
                tracing::warn!(package, reason = UNDESCRIBED, "model.undescribed");
                Rejected {
                    package,
                    stage: Some(Stage::Digest),
                    reason: UNDESCRIBED.to_owned(),
                    since: Some(SystemTime::now()),
                }
            });
            inside.undescribed.push(rejected);
        }
    }

    /// Proves what is new of a model, until it is known what serves; what is seen of it is exchanged after each proof.
    fn settle(&self, inside: &mut Inside, model: &str) {
        while let Some(candidate) = inside.shelf.next(model, SystemTime::now()) {
            self.show(inside);
            let known = inside.shelf.serving_of(&candidate);
            let result = self.prove(&candidate, known);
            let failed = result.as_ref().err().cloned();
            let again = inside.shelf.tried(&candidate, result, SystemTime::now());
            if let Some(unproven) = failed {
                self.rejected(&candidate, &unproven, again);
            }
        }
        self.show(inside);
    }

    fn prove(
        &self,
        candidate: &Candidate,
        known: Option<Arc<ServedModel>>,
    ) -> Result<Arc<ServedModel>, Unproven> {
        let Candidate {
            model,
            version,
            folder,
            ..
        } = candidate;
        let started = Instant::now();
        let opened = Package::open_under(folder, &self.settings.policy).map_err(Unproven::from);
        let served = opened.and_then(|package| match known {
            // only its dates changed
            Some(known) if known.digest == package.digest => Ok(known),
            _ => catch_unwind(AssertUnwindSafe(|| {
                serve(package, &self.runtimes, self.run, started, &self.metrics)
            }))
            .unwrap_or_else(|_| Err(broken()))
            .map(Arc::new),
        });
        if let Ok(served) = &served {
            self.metrics.model_loaded(model, "ready", "");
            tracing::info!(
                model,
                version,
                digest = served.digest,
                device = served.device(),
                bits = served.bits,
                difference = served.difference,
                proven_in_ms = served.proven_in.as_millis() as u64,
                "model.ready"
            );
        }
        served
    }

    /// Says why a package did not prove itself, and after how long it is tried again, if it is.
    fn rejected(&self, candidate: &Candidate, unproven: &Unproven, again: Option<Duration>) {
        let Candidate { model, version, .. } = candidate;
        let Unproven { stage, reason, .. } = unproven;
        if let Some(rest) = again {
            self.metrics.model_loaded(model, "postponed", stage.name());
            tracing::warn!(model, version, %stage, reason, again_in_s = rest.as_secs(), "model.postponed");
        } else {
            self.metrics.model_loaded(model, "failed", stage.name());
            tracing::error!(model, version, %stage, reason, "model.rejected");
        }
    }

    /// Which model scores stored studies, said where it is another than before.
    fn choose(&self, inside: &mut Inside) {
        let named = self.settings.study_model.as_deref();
        let before = inside.study_model.take();
        let chosen = StudyModel::choose(named, &inside.shelf.models(), before.as_ref());
        if chosen != before
            && let Some(chosen) = &chosen
        {
            if let Some(reason) = chosen.doubt() {
                tracing::warn!(model = chosen.name, reason, "models.study_model");
            } else {
                tracing::info!(model = chosen.name, "models.study_model");
            }
        }
        inside.study_model = chosen;
    }

    /// Exchanges what requests see.
    fn show(&self, inside: &mut Inside) {
        self.choose(inside);
        let models = inside.shelf.serving();
        let known = inside.shelf.models();
        inside.served.extend(models.keys().cloned());
        inside.served.retain(|name| known.contains(name));
        let contents = Contents {
            loaded: inside.loaded,
            fault: inside.fault.clone(),
            undescribed: inside.undescribed.clone(),
            models,
            packages: inside.shelf.index(),
            waited_for: inside.was_ready.then(|| inside.served.clone()),
            study_model: inside.study_model.clone(),
        };
        inside.was_ready |= contents.not_ready().is_none();
        let states: Vec<(String, u32, &'static str)> = contents
            .packages
            .iter()
            .map(|package| (package.name.clone(), package.version, package.state.name()))
            .collect();
        let served = contents.models.values().map(BTreeMap::len).sum();
        self.metrics.models(served, &states, &State::ALL.map(State::name));
        self.catalog.exchange(contents);
    }
}

fn broken() -> Unproven {
    Unproven {
        stage: Stage::Goldens,
        reason: "the proof itself failed; the server's log has the cause".to_owned(),
        may_pass: false,
    }
}

fn unknown() -> Fault {
    Fault::new(
        FaultKind::NotFound,
        "unknown-model",
        "the models folder has no such model: put a package into <models>/<name>/<version>/",
    )
}

/// Proves a package on each device that will serve it, and makes it one that can be asked.
fn serve(
    package: Package,
    runtimes: &[Runtime],
    settings: Settings,
    started: Instant,
    metrics: &Metrics,
) -> Result<ServedModel, Unproven> {
    // on the CPU each worker has an engine of its own
    let count = |runtime: &Runtime| {
        if runtime.batch_sizes().len() > 1 {
            settings.instances
        } else {
            settings.cores
        }
    };
    let proven = prove_on(&package, runtimes, count)?;
    ServedModel::new(package, proven, settings.queue, started.elapsed(), metrics).map_err(|reason| Unproven {
        stage: Stage::Swap,
        reason,
        // the system has no thread to give just now
        may_pass: true,
    })
}

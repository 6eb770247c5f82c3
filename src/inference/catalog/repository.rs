//! The models folder: looked at, proven from, and watched.
//!
//! One proof at a time, and whoever may need one has the [turn](Repository::turn). What is known of the packages has a lock of its own, which
//! is never held while a file is read or a model proven: neither scores nor the unloading of a model wait for either.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::fingerprint::{Aside, look};
use super::shelf::{Candidate, Shelf};
use super::state::State;
use super::study_model::StudyModel;
use super::versions::{Versions, Wanted};
use super::{Catalog, Contents, Settings};
use crate::fault::{Fault, FaultKind};
use crate::inference::served::ServedModel;
use crate::model::{Package, Policy, Stage};
use crate::runtime::Runtime;
use crate::runtime::proof::{Unproven, at_once, prove_on};
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
    /// Held by whoever looks at the folder and proves what is new.
    turn: Mutex<()>,
    inside: Mutex<Inside>,
}

struct Inside {
    shelf: Shelf<Arc<ServedModel>>,
    fault: Option<String>,
    /// Folders that are no packages, and since when.
    aside: Vec<(Aside, SystemTime)>,
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
            turn: Mutex::new(()),
            inside: Mutex::new(Inside {
                shelf: Shelf::new(wanted),
                fault: None,
                aside: Vec::new(),
                loaded: false,
                served: BTreeSet::new(),
                was_ready: false,
                study_model: None,
            }),
        }
    }

    /// One look: what is new is proven, what is gone is let go. Blocks.
    pub(in crate::inference) fn look(&self, patience: Patience) {
        let _turn = self.turn();
        self.see(patience);
        let models = self.inside().shelf.models();
        for model in models {
            self.settle(&model);
        }
        let mut inside = self.inside();
        inside.loaded = true;
        self.show(&mut inside);
    }

    /// Loads a model that was unloaded, or tries again what failed. Blocks, where there is such a model, until it is known what serves.
    ///
    /// # Errors
    /// `unknown-model`, or `model-failed` with the reason of its newest version: unavailable where it may pass.
    pub(in crate::inference) fn load(&self, model: &str) -> Result<(), Fault> {
        // who asks for what is not there waits for nobody's proof
        if !self.catalog.knows(model) && !self.has_folder(model) {
            return Err(unknown());
        }
        let _turn = self.turn();
        self.see(Patience::SecondLook);
        if !self.inside().shelf.ask(model) {
            return Err(unknown());
        }
        self.settle(model);
        let mut packages = self.inside().shelf.index();
        packages.retain(|package| package.name == model && package.state != State::Idle);
        let failed = |kind, what: String| Err(Fault::new(kind, "model-failed", what));
        match packages.pop() {
            None => failed(
                FaultKind::Invalid,
                format!("no version of {model} that is there is wanted: its pin names others"),
            ),
            Some(newest) if newest.state == State::Failed => {
                // what may pass is worth another request; what does not is not
                let kind = newest
                    .again_after
                    .map_or(FaultKind::Invalid, |_| FaultKind::Unavailable);
                let reason = newest.reason.as_deref().unwrap_or_default();
                failed(kind, format!("{} did not prove itself: {reason}", newest.place()))
            }
            Some(_) => Ok(()),
        }
    }

    /// Takes a model away at once, until it is loaded again, whatever is copied into its folder; what it is answering it answers. For one
    /// whose packages are gone nobody waits any more.
    ///
    /// # Errors
    /// `unknown-model`.
    pub(in crate::inference) fn unload(&self, model: &str) -> Result<(), Fault> {
        let mut inside = self.inside();
        if !inside.shelf.unload(model) && !inside.served.remove(model) {
            return Err(unknown());
        }
        tracing::info!(model, "model.unloaded");
        // of a model that is unloaded nothing is tried: it is let go
        let tried = inside.shelf.next(model, SystemTime::now());
        debug_assert_eq!(tried, None);
        self.show(&mut inside);
        Ok(())
    }

    /// Whether the models folder has a folder of this name; the name is a caller's, and may hold anything.
    fn has_folder(&self, model: &str) -> bool {
        let is_a_name = Path::new(model).file_name() == Some(model.as_ref());
        is_a_name && self.settings.models.join(model).is_dir()
    }

    /// The right to look at the folder and to prove, for one at a time.
    fn turn(&self) -> MutexGuard<'_, ()> {
        // a panic meanwhile leaves nothing half done that counts
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        // a panic while the lock was held leaves at worst a package that is tried again
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self, patience: Patience) {
        let seen = look(&self.settings.models);
        let mut inside = self.inside();
        let inside = &mut *inside;
        let fault = match seen {
            // a share that is gone looks like an empty folder: what is proven serves on
            Ok(look)
                if look.packages.is_empty()
                    && !look.aside.iter().any(|aside| aside.unreadable)
                    && !inside.shelf.serving().is_empty() =>
            {
                Some(
                    "the models folder is empty; what was loaded from it serves on: is its share gone?"
                        .to_owned(),
                )
            }
            Ok(look) => {
                inside
                    .shelf
                    .see(&look, patience == Patience::AtOnce, SystemTime::now());
                inside.set_aside(look.aside);
                None
            }
            Err(error) => Some(format!("the models folder cannot be read: {error}")),
        };
        if fault != inside.fault {
            if let Some(reason) = &fault {
                // where it is on this machine is for the log alone
                let folder = self.settings.models.display();
                tracing::error!(%folder, reason, "models.unreadable");
            }
            inside.fault = fault;
        }
    }

    /// Proves what is new of a model, until it is known what serves; what is seen of it is exchanged after each proof. For whoever has the
    /// turn.
    fn settle(&self, model: &str) {
        let mut inside = self.inside();
        while let Some(candidate) = inside.shelf.next(model, SystemTime::now()) {
            self.show(&mut inside);
            let known = inside.shelf.serving_of(&candidate);
            drop(inside);
            let result = self.prove(&candidate, known);
            let failed = result.as_ref().err().cloned();
            inside = self.inside();
            // nothing is shown in between: it may have been unloaded meanwhile
            let again = inside.shelf.tried(&candidate, result, SystemTime::now());
            if let Some(unproven) = failed {
                self.rejected(&candidate, &unproven, again);
            }
        }
        self.show(&mut inside);
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
                // whoever waits for a score keeps most of the cores; at a start nobody should
                let serving = self.inside().loaded && !self.catalog.all().is_empty();
                let at_once = at_once(serving);
                serve(package, &self.runtimes, self.run, at_once, started, &self.metrics)
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
        // what is gone without having been unloaded is missed
        let unloaded = |name: &String| !known.contains(name) && inside.shelf.is_unloaded(name);
        inside.served.retain(|name| !unloaded(name));
        let contents = Contents {
            loaded: inside.loaded,
            fault: inside.fault.clone(),
            aside: inside.aside.clone(),
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

impl Inside {
    /// What cannot be tried is said once: nobody would know why it is not served.
    fn set_aside(&mut self, aside: Vec<Aside>) {
        let before = std::mem::take(&mut self.aside);
        for aside in aside {
            let known = before.iter().find(|(known, _)| *known == aside);
            let since = known.map_or_else(SystemTime::now, |(_, since)| *since);
            let (package, reason) = (aside.place(), aside.reason.as_str());
            match known {
                Some(_) => {}
                None if aside.unreadable => tracing::error!(package, reason, "model.unreadable"),
                None => tracing::warn!(package, reason, "model.undescribed"),
            }
            self.aside.push((aside, since));
        }
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
    at_once: usize,
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
    let proven = prove_on(&package, runtimes, count, at_once)?;
    ServedModel::new(package, proven, settings.queue, started.elapsed(), metrics).map_err(|reason| Unproven {
        stage: Stage::Swap,
        reason,
        // the system has no thread to give just now
        may_pass: true,
    })
}

#[cfg(test)]
mod tests;

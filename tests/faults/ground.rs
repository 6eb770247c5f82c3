//! What the tests stand on: a folder, models, a PostgreSQL for all of them, and fresh ground for each.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Options;
use crate::stage::postgres::Postgres;
use crate::stage::server::Settings;
use crate::tiny::Tiny;

/// The model that all studies are scored with.
pub(crate) const MODEL: &str = "tiny";

/// The database of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// What all tests share.
pub(crate) struct Stage {
    pub(crate) options: Options,
    folder: tempfile::TempDir,
    pub(crate) models: PathBuf,
    postgres: OnceLock<Result<Postgres, String>>,
    grounds: AtomicU64,
}

impl Stage {
    /// Makes the folder and the models.
    pub(crate) fn set(options: Options) -> Result<Self, String> {
        if options.engine != crate::Engines::Sqlite && !options.without.iter().any(|name| name == "postgres")
        {
            // said before the first test runs, not after minutes
            crate::stage::postgres::programs()?;
        }
        let folder = tempfile::Builder::new()
            .prefix("osteon-faults-")
            .tempdir()
            .map_err(|error| format!("no temporary folder: {error}"))?;
        // PostgreSQL runs as another user and has to pass through
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))
            .map_err(|error| error.to_string())?;
        let models = folder.path().join("models");
        fs::create_dir_all(&models).map_err(|error| error.to_string())?;
        Tiny::new(MODEL, 1).publish(&models);
        Ok(Self {
            options,
            folder,
            models,
            postgres: OnceLock::new(),
            grounds: AtomicU64::new(0),
        })
    }

    pub(crate) fn quick(&self) -> bool {
        self.options.quick
    }

    pub(crate) fn without(&self, what: &str) -> bool {
        self.options.without.iter().any(|name| name == what)
    }

    /// Fresh ground for one test.
    pub(crate) fn ground(&self, fault: &str, engine: Engine) -> Result<Ground, String> {
        let number = self.grounds.fetch_add(1, Ordering::Relaxed) + 1;
        let folder = self.folder.path().join(format!("{fault}-{number}"));
        let data = folder.join("data");
        fs::create_dir_all(&data).map_err(|error| error.to_string())?;
        let database = match engine {
            Engine::Sqlite => format!("sqlite:{}", data.join("osteon.sqlite").display()),
            Engine::Postgres => self.postgres()?.database(&format!("faults_{number}"))?,
        };
        Ok(Ground {
            run: number,
            folder,
            data,
            models: self.models.clone(),
            database,
        })
    }

    /// The PostgreSQL that most tests share.
    fn postgres(&self) -> Result<&Postgres, String> {
        let started = self
            .postgres
            .get_or_init(|| Postgres::start(&self.folder.path().join("postgres"), &[]));
        started.as_ref().map_err(String::clone)
    }

    /// Takes everything away, or keeps it where something failed and that was asked for.
    pub(crate) fn strike(self, failures: bool) {
        // PostgreSQL stops before its folder goes
        drop(self.postgres);
        if failures && self.options.keep {
            println!("kept: {}", self.folder.keep().display());
        }
    }
}

/// What one test has for itself.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    /// Tells its studies from others.
    pub(crate) run: u64,
    pub(crate) folder: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) models: PathBuf,
    pub(crate) database: String,
}

impl Ground {
    /// A server that is not started yet.
    pub(crate) fn settings(&self, name: &str) -> Settings {
        Settings {
            database: self.database.clone(),
            ..Settings::new(name, &self.folder, &self.models, &self.data)
        }
    }

    /// Models of its own instead of those of all tests.
    pub(crate) fn own_models(&mut self) -> Result<&Path, String> {
        self.models = self.folder.join("models");
        fs::create_dir_all(&self.models).map_err(|error| error.to_string())?;
        Ok(&self.models)
    }
}

//! Where a measurement takes place: folders, databases and models of its own.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, anyhow};
use tempfile::TempDir;

use crate::stage::postgres::Postgres;
use crate::stage::server::Settings;
use crate::tiny::Tiny;

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engine {
    /// A file.
    Sqlite,
    /// A server of one's own, made for this run.
    Postgres,
}

impl Engine {
    /// Its name in the tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// Everything that is removed at the end.
pub(crate) struct Ground {
    /// Declared first: it stops before its folder is removed.
    postgres: OnceLock<Postgres>,
    folder: TempDir,
    models: PathBuf,
    places: AtomicUsize,
}

/// An empty place for servers.
pub(crate) struct Place {
    /// What all servers there have in common.
    pub(crate) settings: Settings,
    /// The database, as this program opens it.
    pub(crate) url: String,
    /// The process of PostgreSQL, where it is used.
    pub(crate) postgres: Option<u32>,
}

impl Ground {
    /// Below `folder`, or where temporary files go.
    pub(crate) fn new(folder: Option<&Path>) -> Result<Self> {
        let folder = folder.map_or_else(tempfile::tempdir, tempfile::tempdir_in)?;
        let models = folder.path().join("models");
        std::fs::create_dir(&models)?;
        Tiny::new("tiny", 1).publish(&models);
        // whoever runs PostgreSQL for root must be able to pass
        let passable = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(folder.path(), passable)?;
        Ok(Self {
            postgres: OnceLock::new(),
            folder,
            models,
            places: AtomicUsize::new(0),
        })
    }

    fn postgres(&self) -> Result<&Postgres> {
        if self.postgres.get().is_none() {
            let made =
                Postgres::start(&self.folder.path().join("postgres"), &[]).map_err(|error| anyhow!(error))?;
            let _ = self.postgres.set(made);
        }
        self.postgres.get().ok_or_else(|| anyhow!("PostgreSQL is gone"))
    }

    /// A new place; its servers take a study for complete at once.
    pub(crate) fn place(&self, engine: Engine) -> Result<Place> {
        let number = self.places.fetch_add(1, Ordering::Relaxed);
        let data = self.folder.path().join(format!("place-{number}"));
        std::fs::create_dir(&data)?;
        let mut settings = Settings::new("server-1", &data, &self.models, &data);
        settings.quiet_seconds = 0.0;
        settings.lease_seconds = 60.0;
        let mut place = Place {
            url: format!("sqlite://{}", data.join("osteon.sqlite").display()),
            settings,
            postgres: None,
        };
        if engine == Engine::Postgres {
            let postgres = self.postgres()?;
            place.url = postgres
                .database(&format!("place_{number}"))
                .map_err(|error| anyhow!(error))?;
            place.settings.database.clone_from(&place.url);
            let pid = std::fs::read_to_string(self.folder.path().join("postgres/data/postmaster.pid"))?;
            place.postgres = pid.lines().next().and_then(|line| line.trim().parse().ok());
        }
        Ok(place)
    }
}

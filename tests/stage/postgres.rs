//! A real PostgreSQL of one's own: made by `initdb`, started and stopped by `pg_ctl`, on a free port, its socket in a temporary folder.
//!
//! It synchronises its files as in production. It refuses to run as root, so root runs it as `nobody`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::server::free_port;

/// The user and group `nobody` and `nogroup` everywhere.
const NOBODY: u32 = 65_534;

/// Where the programs of PostgreSQL are.
///
/// # Errors
/// What to install.
pub(crate) fn programs() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"));
    std::env::split_paths(&path)
        .chain(debian)
        .filter_map(|folder| fs::canonicalize(folder.join("initdb")).ok())
        .filter_map(|initdb| Some(initdb.parent()?.to_owned()))
        .find(|folder| ["pg_ctl", "createdb", "postgres"].iter().all(|name| folder.join(name).is_file()))
        .ok_or_else(|| {
            "initdb, pg_ctl and createdb are not there: install PostgreSQL's server (Debian: apt-get install postgresql), \
             or say --without postgres"
                .to_owned()
        })
}

/// A cluster; dropping it stops it.
pub(crate) struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    pub(crate) port: u16,
    environment: Vec<(String, String)>,
}

impl Postgres {
    /// Makes and starts a cluster in `folder`, with these variables in its environment.
    pub(crate) fn start(folder: &Path, environment: &[(String, String)]) -> Result<Self, String> {
        let postgres = Self {
            programs: programs()?,
            folder: folder.to_owned(),
            port: free_port(),
            environment: environment.to_vec(),
        };
        let open = |error: std::io::Error| format!("{} cannot be made: {error}", folder.display());
        fs::create_dir_all(folder).map_err(open)?;
        if rustix::process::getuid().is_root() {
            std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).map_err(open)?;
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(open)?;
        let mut initdb = postgres.command("initdb");
        // the empty cluster may be lost; what is written into it later may not
        initdb.args(["-U", "osteon", "-A", "trust", "-E", "UTF8", "--no-sync", "-D"]);
        finish(initdb.arg(postgres.data()))?;
        postgres.up()?;
        Ok(postgres)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .current_dir(&self.folder)
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        if rustix::process::getuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Starts it again, and waits until it takes connections.
    pub(crate) fn up(&self) -> Result<(), String> {
        let options = format!(
            "-k {} -h 127.0.0.1 -p {} -c fsync=on -c synchronous_commit=on -c max_connections=200 -c logging_collector=off",
            self.folder.display(),
            self.port
        );
        let mut command = self.command("pg_ctl");
        command.args(["start", "-w", "-t", "60", "-D"]).arg(self.data());
        command.arg("-l").arg(self.folder.join("postgres.log"));
        command.arg("-o").arg(options);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        // the server lives on and would hold the pipes
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().map_err(|error| error.to_string())?;
        if status.success() {
            return Ok(());
        }
        let log = fs::read_to_string(self.folder.join("postgres.log")).unwrap_or_default();
        Err(format!(
            "PostgreSQL did not start: {}",
            log.lines().last().unwrap_or_default()
        ))
    }

    /// Stops it: `immediate` is as if the machine were lost, `fast` is in order.
    pub(crate) fn down(&self, mode: &str) -> Result<(), String> {
        let mut command = self.command("pg_ctl");
        command.args(["stop", "-w", "-t", "60", "-m", mode, "-D"]);
        finish(command.arg(self.data()))
    }

    /// Makes an empty database, and says how it is reached.
    pub(crate) fn database(&self, name: &str) -> Result<String, String> {
        let mut command = self.command("createdb");
        command.args([
            "-h",
            "127.0.0.1",
            "-U",
            "osteon",
            "-p",
            &self.port.to_string(),
            name,
        ]);
        finish(&mut command)?;
        Ok(format!("postgres://osteon@127.0.0.1:{}/{name}", self.port))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.down("immediate");
    }
}

fn finish(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

//! `osteon serve` as a process of its own, on a port of its own, which can be killed, stopped, held and looked at.
//!
//! Invariant: the address belongs to the [`Settings`] and not to the process, so that senders find the next process where they
//! found the last one. Ports lie below those that the system gives to outgoing connections, so that none of them takes it meanwhile.

use std::fs::{self, File, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

/// How a server is started.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What its log is called.
    pub(crate) name: String,
    /// Where its log is.
    pub(crate) folder: PathBuf,
    pub(crate) models: PathBuf,
    pub(crate) data: PathBuf,
    /// `sqlite:PATH` or `postgres://...`
    pub(crate) database: String,
    /// `file:DIR` or `s3://...`
    pub(crate) objects: String,
    pub(crate) role: &'static str,
    pub(crate) quiet_seconds: f64,
    pub(crate) lease_seconds: f64,
    pub(crate) max_attempts: u32,
    pub(crate) grace_seconds: u32,
    /// In the syntax of `FAILPOINTS`; empty for none.
    pub(crate) failpoints: String,
    pub(crate) environment: Vec<(String, String)>,
    /// Further arguments.
    pub(crate) arguments: Vec<String>,
    /// A program that the server is started through, with its arguments; it must become the server (exec).
    pub(crate) through: Vec<String>,
    pub(crate) listen: SocketAddr,
}

impl Settings {
    /// SQLite and files in `data`, short times, nothing armed.
    pub(crate) fn new(name: &str, folder: &Path, models: &Path, data: &Path) -> Self {
        Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            models: models.to_owned(),
            data: data.to_owned(),
            database: format!("sqlite:{}", data.join("osteon.sqlite").display()),
            objects: format!("file:{}", data.join("objects").display()),
            role: "all",
            quiet_seconds: 0.2,
            lease_seconds: 2.0,
            max_attempts: 5,
            grace_seconds: 25,
            failpoints: String::new(),
            environment: Vec::new(),
            arguments: Vec::new(),
            through: Vec::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], free_port())),
        }
    }

    /// Another server on the same database and objects.
    pub(crate) fn beside(&self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], free_port())),
            ..self.clone()
        }
    }

    /// The same with these failpoints.
    pub(crate) fn armed(&self, failpoints: impl Into<String>) -> Self {
        Self {
            failpoints: failpoints.into(),
            ..self.clone()
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    fn command(&self) -> Command {
        let osteon = env!("CARGO_BIN_EXE_osteon").to_owned();
        let words: Vec<String> = self.through.iter().cloned().chain([osteon]).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("serve");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OSTEON_") && name != "OSTEON_CACHE") {
            command.env_remove(name);
        }
        command
            .arg("--listen")
            .arg(self.listen.to_string())
            .arg("--models")
            .arg(&self.models)
            .arg("--data")
            .arg(&self.data)
            .args(&self.arguments)
            .env("OSTEON_DATABASE", &self.database)
            .env("OSTEON_OBJECTS", &self.objects)
            .env("OSTEON_ROLE", self.role)
            .env("OSTEON_QUIET_SECONDS", self.quiet_seconds.to_string())
            .env("OSTEON_LEASE_SECONDS", self.lease_seconds.to_string())
            .env("OSTEON_MAX_ATTEMPTS", self.max_attempts.to_string())
            .env("OSTEON_GRACE_SECONDS", self.grace_seconds.to_string())
            .env("FAILPOINTS", &self.failpoints)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A running server; dropping it kills it.
pub(crate) struct Osteon {
    pub(crate) settings: Settings,
    pub(crate) started: Instant,
    child: Child,
}

impl Osteon {
    /// Starts the process and does not wait for it.
    pub(crate) fn spawn(settings: &Settings) -> Result<Self, String> {
        let log = append(&settings.log())?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        let child = settings
            .command()
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("osteon cannot be started: {error}"))?;
        Ok(Self {
            settings: settings.clone(),
            started: Instant::now(),
            child,
        })
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(settings: &Settings) -> Result<Self, String> {
        let mut server = Self::spawn(settings)?;
        server.ready(Duration::from_secs(30)).await?;
        Ok(server)
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&mut self, within: Duration) -> Result<Duration, String> {
        let began = Instant::now();
        while began.elapsed() < within {
            if let Some(status) = self.exited() {
                return Err(format!("{} ended with {status}: {}", self.settings.name, self.last_words()));
            }
            if ready(&self.settings.url()).await == Some(200) {
                return Ok(began.elapsed());
            }
            sleep(Duration::from_millis(15)).await;
        }
        Err(format!(
            "{} was not ready within {} s: {}",
            self.settings.name,
            within.as_secs(),
            self.last_words()
        ))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self, within: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.exited() {
                return Some(status);
            }
            if began.elapsed() > within {
                return None;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid() as i32) {
            let _ = kill_process(pid, signal);
        }
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) -> Option<ExitStatus> {
        let _ = self.child.kill();
        self.child.wait().ok()
    }

    /// Resident memory in MiB.
    pub(crate) fn memory_mib(&self) -> Option<f64> {
        memory_mib(self.pid())
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(self.settings.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(4)..].join(" | ")
    }
}

impl Drop for Osteon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether a process died of SIGKILL.
pub(crate) fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(9)
}

/// Resident memory of a process in MiB.
pub(crate) fn memory_mib(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

/// The status of `/health/ready`; `None` where nobody answers.
pub(crate) async fn ready(url: &str) -> Option<u16> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(1))
        .build()
        .ok()?;
    let answer = client.get(format!("{url}/health/ready")).send().await.ok()?;
    Some(answer.status().as_u16())
}

/// One figure of `/metrics`: the sum over its labels. `None` where it is not there.
pub(crate) async fn metric(url: &str, name: &str) -> Option<f64> {
    let text = reqwest::get(format!("{url}/metrics")).await.ok()?.text().await.ok()?;
    let values: Vec<f64> = text
        .lines()
        .filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

fn append(path: &Path) -> Result<File, String> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

/// A port that nobody listens on, below the system's own range, and given out once.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 18_000;
    const COUNT: u16 = 12_000;
    // harnesses side by side begin at different places
    let own = (std::process::id() % u32::from(COUNT)) as u16;
    loop {
        let port = FIRST + (own + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

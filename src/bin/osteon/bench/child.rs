//! A server of the measurement's own: `osteon serve` as a process beside it, so that its figures are the server's alone.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, bail};

use super::Arguments;
use super::client::{Connection, Target, said};
use super::settings::Settings;

/// A running server; dropping it ends the process and takes its folder away.
pub(super) struct OwnServer {
    // before the folder, which it writes to
    _process: Process,
    // held, because a server whose words nobody can take ends
    _said: BufReader<ChildStdout>,
    _folder: Folder,
    pub(super) target: Target,
}

impl OwnServer {
    /// Starts a server on a free port of the loopback interface, and waits until its models are proven.
    ///
    /// # Errors
    /// What the server said, where it does not start or is not ready.
    pub(super) async fn start(given: &Arguments, settings: Option<Settings>) -> anyhow::Result<Self> {
        let folder = Folder::new().context("a folder for the server cannot be made")?;
        let log = folder.0.join("log");
        let program =
            std::env::current_exe().context("this program cannot be found, to be started once more")?;
        let mut command = Command::new(program);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.0.join("data"))
            // it speaks of the installation's server; the flags say all that this one needs
            .env_remove("OSTEON_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log)?);
        if let Some(models) = &given.models {
            command.arg("--models").arg(models);
        }
        if let Some(device) = &given.device {
            command.arg("--device").arg(device.to_string());
        }
        if let Some(library) = &given.onnxruntime {
            command.arg("--onnxruntime").arg(library);
        }
        if let Some(settings) = settings {
            let Settings {
                cores,
                instances,
                queue,
            } = settings;
            let flags = [
                ("--cores", Some(cores)),
                ("--instances", instances),
                ("--queue", queue),
            ];
            for (flag, value) in flags {
                if let Some(value) = value {
                    command.arg(flag).arg(value.to_string());
                }
            }
        }
        let mut process = Process(command.spawn().context("a server cannot be started")?);
        let stdout = process
            .0
            .stdout
            .take()
            .context("a server cannot be listened to")?;
        let (target, said) = tokio::task::spawn_blocking(move || address(BufReader::new(stdout))).await??;
        let Some(target) = target else {
            bail!("the server did not start: {}", last_words(&log));
        };
        let (status, body) = Connection::new(target.clone().into())
            .get("/health/ready")
            .await?;
        if !status.is_success() {
            bail!("the server is not ready: {}", not_ready(status, &body));
        }
        Ok(Self {
            _process: process,
            _said: said,
            _folder: folder,
            target,
        })
    }
}

/// Where the server listens: it says so when its models are loaded, or ends without.
fn address(mut said: BufReader<ChildStdout>) -> std::io::Result<(Option<Target>, BufReader<ChildStdout>)> {
    let mut line = String::new();
    while said.read_line(&mut line)? > 0 {
        if let Some(target) = line.split_whitespace().find_map(|word| word.parse().ok()) {
            return Ok((Some(target), said));
        }
        line.clear();
    }
    Ok((None, said))
}

fn not_ready(status: hyper::StatusCode, body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    value["reason"]
        .as_str()
        .map_or_else(|| said(status, body), str::to_owned)
}

fn last_words(log: &Path) -> String {
    let log = std::fs::read(log).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let last = log.lines().rev().find(|line| !line.trim().is_empty());
    last.map_or("it said nothing", |line| line.trim_start_matches("osteon: "))
        .to_owned()
}

/// A process that ends with its owner. There is nothing in the server's folder that anyone will read, so nothing waits.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // one that has ended already is what is wanted
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder of its own among the system's temporary ones, while it is needed.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "osteon-bench-{}-{}",
            std::process::id(),
            MADE.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        // one that is there already is someone else's
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // what cannot be removed stays among the temporary files, and harms nobody there
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

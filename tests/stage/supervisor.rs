//! What keeps a server running, as Kubernetes or systemd would: it starts it again whenever it ends.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::server::{Osteon, Settings};

/// How often a server ended, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends {
    /// SIGKILL, from here or from a failpoint.
    pub(crate) killed: u32,
    /// Any other signal: an abort, a fault of memory.
    pub(crate) crashed: u32,
    /// An exit status of its own.
    pub(crate) exited: u32,
}

#[derive(Default)]
struct Shared {
    pid: Option<u32>,
    ends: Ends,
}

/// A server that is started again; dropping it ends both.
pub(crate) struct Supervised {
    pub(crate) settings: Settings,
    shared: Arc<Mutex<Shared>>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Supervised {
    /// Starts the server for the first time.
    pub(crate) fn start(settings: &Settings) -> Self {
        let (shared, stop) = (Arc::<Mutex<Shared>>::default(), CancellationToken::new());
        let task = tokio::spawn(supervise(settings.clone(), Arc::clone(&shared), stop.clone()));
        Self {
            settings: settings.clone(),
            shared,
            stop,
            task: Some(task),
        }
    }

    /// Waits until it answers that it is ready.
    pub(crate) async fn ready(&self, within: Duration) -> Result<Duration, String> {
        let began = Instant::now();
        while began.elapsed() < within {
            if super::server::ready(&self.settings.url()).await == Some(200) {
                return Ok(began.elapsed());
            }
            sleep(Duration::from_millis(25)).await;
        }
        Err(format!("{} was not ready within {within:?}", self.settings.name))
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.shared.lock().unwrap().pid
    }

    pub(crate) fn ends(&self) -> Ends {
        self.shared.lock().unwrap().ends.clone()
    }

    /// Sends a signal to whatever process runs now; `false` where none does.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid as i32));
        pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
    }

    /// Ends the server for good.
    pub(crate) async fn stop(mut self) -> Ends {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
        self.ends()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn supervise(settings: Settings, shared: Arc<Mutex<Shared>>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let mut server = match Osteon::spawn(&settings) {
            Ok(server) => server,
            Err(error) => {
                eprintln!("{error}");
                sleep(Duration::from_millis(500)).await;
                continue;
            }
        };
        shared.lock().unwrap().pid = Some(server.pid());
        let status = loop {
            if stop.is_cancelled() {
                server.kill();
                return;
            }
            if let Some(status) = server.exited() {
                break status;
            }
            sleep(Duration::from_millis(10)).await;
        };
        {
            let mut shared = shared.lock().unwrap();
            shared.pid = None;
            count(&mut shared.ends, status);
        }
        if status.signal().is_none() {
            // it said no by itself: not so fast
            sleep(Duration::from_millis(200)).await;
        }
    }
}

fn count(ends: &mut Ends, status: ExitStatus) {
    match status.signal() {
        Some(9) => ends.killed += 1,
        Some(_) => ends.crashed += 1,
        None => ends.exited += 1,
    }
}

//! The root of the server: every handle is built here, once, and started and stopped in order.
//!
//! Start: ONNX Runtime, store, listener, models. Stop: readiness turns false and nothing more is claimed; a little later the listener
//! closes, answers under way are finished, the workers put back what they hold; when the grace period is over, what is left is cut off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::dimse;
use crate::failpoint;
use crate::http::connections::Bounds;
use crate::http::{self, App, Limits, Outgoing};
use crate::inference::{Inference, RepositorySettings, Settings};
use crate::intake::Intake;
use crate::model::{Policy, TrustedKeys};
use crate::runtime::Runtime;
use crate::store::{Store, StoreError, StoreSettings};
use crate::telemetry::metrics::Metrics;
use crate::workflow::{Role, Workflow};

/// A server that runs.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it takes DICOM associations, if it does.
    pub dicom: Option<SocketAddr>,
    /// Its models.
    pub inference: Inference,
    /// Cancel it to stop the server.
    pub stopping: CancellationToken,
    loading: Option<JoinHandle<()>>,
    grace: Duration,
    serving: JoinHandle<()>,
    associations: JoinHandle<()>,
    workers: JoinHandle<()>,
}

/// Which packages are served; keys that cannot be read stop the start, for without them the wrong ones would be.
fn repository(config: &Config) -> anyhow::Result<RepositorySettings> {
    let trusted = config
        .trusted_keys
        .as_deref()
        .map(|place| TrustedKeys::read(place).map_err(anyhow::Error::msg))
        .transpose()?
        .unwrap_or_default();
    Ok(RepositorySettings {
        models: config.models.clone(),
        versions: config.versions,
        pins: config.pins.clone(),
        study_model: config.study_model.clone(),
        policy: Policy {
            trusted,
            require_signature: config.require_signature,
            allow_control_flow: config.allow_control_flow,
        },
    })
}

/// ONNX Runtime on each device that models are to run on; a door needs none.
async fn runtimes(config: &Config) -> anyhow::Result<Option<Vec<Runtime>>> {
    if !config.role.works() {
        return Ok(None);
    }
    let (asked, devices) = (config.onnxruntime.clone(), config.device.clone());
    let opened = tokio::task::spawn_blocking(move || Runtime::open_on(asked.as_deref(), &devices));
    let limited = |runtime: Runtime| runtime.with_gpu_memory(config.gpu_memory_mib);
    Ok(Some(opened.await??.into_iter().map(limited).collect()))
}

/// Looks at the models folder until the server stops; a look that takes longer than the time between two is never doubled.
async fn watch(inference: Inference, every: Duration, stopping: CancellationToken) {
    while stopping
        .run_until_cancelled(tokio::time::sleep(every))
        .await
        .is_some()
    {
        let inference = inference.clone();
        let look = tokio::task::spawn_blocking(move || inference.look());
        if look.await.is_err() {
            tracing::error!("models.look_failed");
        }
    }
}

/// Cancels `closing` a little after `stopping`, so that a balancer sees first that the server is not ready.
async fn close_later(stopping: CancellationToken, linger: Duration, closing: CancellationToken) {
    stopping.cancelled().await;
    tokio::time::sleep(linger).await;
    closing.cancel();
}

async fn listen(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{address} cannot be listened on: choose another with {flag}"))
}

/// The port for DICOM associations, where there is to be one.
async fn listen_to_dicom(address: Option<SocketAddr>, role: Role) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else {
        return Ok(None);
    };
    if !role.takes_studies() {
        tracing::warn!("dimse.off: a worker takes no DICOM associations");
        return Ok(None);
    }
    listen(address, "--dicom-listen").await.map(Some)
}

impl Server {
    /// Starts to listen; the models load and prove themselves in the background.
    ///
    /// # Errors
    /// A sentence for whoever starts the server: the library, the folder or the address that is missing or taken.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        failpoint::start();
        let runtimes = runtimes(&config).await?;
        let store = Store::open(&config.store)
            .await
            .map_err(|error| explain(error, &config.store))?;
        let repository = repository(&config)?;
        let metrics = Metrics::new()?.with_sites(config.sites);
        let settings = Settings {
            cores: config.cores,
            instances: config.instances,
            queue: config.queue,
            deadline: config.deadline,
            decode_memory: config.decode_memory_bytes,
        };
        let inference = Inference::new(settings, metrics.clone()).context("threads cannot be started")?;
        let stopping = CancellationToken::new();
        let workflow = Workflow::new(
            store.clone(),
            Arc::new(inference.clone()),
            config.destinations,
            metrics.clone(),
            config.workflow,
        );

        let listener = listen(config.listen, "--listen").await?;
        let address = listener.local_addr()?;
        let dicom_listener = listen_to_dicom(config.dicom_listen, config.role).await?;
        let dicom = dicom_listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let limits = Limits {
            body_bytes: config.body_bytes,
            // a study of hundreds of images in one request; they are read and stored one by one
            stow_bytes: config.body_bytes.saturating_mul(64),
        };
        let intake = Intake::new(config.body_memory_bytes, config.deadline);
        let door = dimse::Door {
            workflow: workflow.clone(),
            intake: intake.clone(),
            metrics: metrics.clone(),
            settings: Arc::new(config.dimse),
        };
        let app = App {
            inference: inference.clone(),
            store,
            workflow: workflow.clone(),
            metrics,
            limits,
            intake,
            outgoing: Outgoing {
                room: Intake::new(config.body_memory_bytes, config.deadline),
                decoded: Intake::new(config.body_memory_bytes, config.deadline),
                decoders: Arc::new(Semaphore::new(config.cores)),
                memory: inference.decode_memory(),
            },
            public_url: config.public_url,
            cors: config.cors,
            proxies: config.proxies,
            role: config.role,
            stopping: stopping.clone(),
        };
        let closing = CancellationToken::new();
        tokio::spawn(close_later(stopping.clone(), config.linger, closing.clone()));
        let drain = config.workflow.drain;
        let associations = match dicom_listener {
            Some(listener) => tokio::spawn(dimse::run(door, listener, closing.clone(), drain)),
            None => tokio::spawn(closing.clone().cancelled_owned()),
        };
        let serving = tokio::spawn(http::connections::serve(
            listener,
            http::router(app),
            Bounds::default(),
            closing,
        ));

        let loading = runtimes.map(|runtimes| {
            let inference = inference.clone();
            tokio::task::spawn_blocking(move || inference.load(repository, runtimes))
        });
        if let Some(every) = config.watch.filter(|_| config.role.works()) {
            tokio::spawn(watch(inference.clone(), every, stopping.clone()));
        }
        let workers = if config.role.works() {
            tokio::spawn(workflow.run(stopping.clone()))
        } else {
            tokio::spawn(stopping.clone().cancelled_owned())
        };
        Ok(Self {
            address,
            dicom,
            inference,
            stopping,
            loading,
            grace: config.grace,
            serving,
            associations,
            workers,
        })
    }

    /// Waits until every package was loaded and proven, or rejected; a door has none.
    ///
    /// # Errors
    /// Where loading itself failed.
    pub async fn loaded(&mut self) -> anyhow::Result<()> {
        match &mut self.loading {
            Some(loading) => loading.await.context("the models could not be loaded"),
            None => Ok(()),
        }
    }

    /// Waits until the server was stopped and everything under way has ended, or its grace period is over.
    ///
    /// # Errors
    /// Where the listener failed.
    pub async fn stopped(mut self) -> anyhow::Result<()> {
        let stopping = self.stopping.clone();
        let over = async {
            stopping.cancelled().await;
            tokio::time::sleep(self.grace).await;
        };
        let ended = async {
            let served = (&mut self.serving).await.context("the HTTP door failed");
            self.stopping.cancel();
            (&mut self.associations).await.context("the DICOM door failed")?;
            (&mut self.workers).await.context("a worker failed")?;
            served
        };
        tokio::select! {
            ended = ended => ended,
            () = over => {
                tracing::warn!("server.grace_over: what still ran was cut off; nothing that was acknowledged is lost");
                Ok(())
            }
        }
    }
}

/// Which part of the store it was.
fn explain(error: StoreError, settings: &StoreSettings) -> anyhow::Error {
    let (database, objects) = (&settings.database, &settings.objects);
    anyhow::Error::new(error).context(format!(
        "the store cannot be used (database {database}, objects {objects})"
    ))
}

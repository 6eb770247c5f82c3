//! Configuration, resolved once: a flag wins over its environment variable, that over the TOML file, that over the
//! default. Only [`crate::app`] and the program read it; every module has its own settings beside its code.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::dimse;
use crate::http::{CorsOrigins, Proxies};
use crate::inference::Versions;
use crate::peer::{Destinations, Use};
use crate::runtime::Devices;
use crate::store::{KeysError, OWN_ARCHIVE, ObjectKeys, StoreSettings};
use crate::telemetry::{LogFormat, Sites};
use crate::workflow::{Patience, Role, WorkflowSettings};

mod given;
#[cfg(test)]
mod tests;

pub use given::{Given, Pin, Places};

/// Each association may hold as much as the longest PDU, and has a task of its own.
const MOST_ASSOCIATIONS: usize = 1000;

/// What holds.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address to listen on; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Folder of models.
    pub models: PathBuf,
    /// Which versions are served, where no pin names them.
    pub versions: Versions,
    /// The versions of some models.
    pub pins: BTreeMap<String, BTreeSet<u32>>,
    /// The model that scores stored studies, where it is named.
    pub study_model: Option<String>,
    /// Time between two looks at the models folder, if there is more than one.
    pub watch: Option<Duration>,
    /// Public keys of those who may sign packages.
    pub trusted_keys: Option<PathBuf>,
    /// Whether packages must be signed.
    pub require_signature: bool,
    /// Whether networks with loops and branches are served.
    pub allow_control_flow: bool,
    /// Where rows and images are kept.
    pub store: StoreSettings,
    /// What this server does.
    pub role: Role,
    /// The ONNX Runtime library, if it is not to be searched for.
    pub onnxruntime: Option<PathBuf>,
    /// What the models run on.
    pub device: Devices,
    /// The most that a copy of a model may take of a GPU's memory, in MiB.
    pub gpu_memory_mib: Option<u64>,
    /// Threads that decode images and, without a GPU, run networks; at least 1.
    pub cores: usize,
    /// Copies of each model on each GPU, at least 1.
    pub instances: usize,
    /// Images that may wait for one model.
    pub queue: usize,
    /// How long an image may wait and run.
    pub deadline: Duration,
    /// Largest image in a request, in bytes.
    pub body_bytes: usize,
    /// Memory for all bodies together, in bytes.
    pub body_memory_bytes: usize,
    /// Memory for all images together while they are decoded, in bytes.
    pub decode_memory_bytes: usize,
    /// Address for DICOM associations, if any are taken; port 0 takes any free one.
    pub dicom_listen: Option<SocketAddr>,
    /// What peers call, and who may.
    pub dimse: dimse::Settings,
    /// Where clients find this server, without a slash at its end.
    pub public_url: Option<String>,
    /// Whose web pages may use DICOMweb from a browser.
    pub cors: Option<CorsOrigins>,
    /// Reverse proxies before the server.
    pub proxies: Proxies,
    /// How studies become results and results arrive.
    pub workflow: WorkflowSettings,
    /// Where results are sent.
    pub destinations: Destinations,
    /// How long a stopping server still takes connections.
    pub linger: Duration,
    /// Within which time it is gone.
    pub grace: Duration,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Names for the sites that images come from.
    pub sites: Sites,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read: {source}")]
    Read {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the configuration file {path} is not valid: {source}")]
    Parse {
        /// Its path.
        path: PathBuf,
        /// Line, column and what was expected.
        source: Box<toml::de::Error>,
    },
    /// A value is out of its range.
    #[error("{0}")]
    Range(&'static str),
    /// A time is none.
    #[error("{0} must be a number that is not negative")]
    Seconds(&'static str),
    /// The keys of the images cannot be used.
    #[error("object-keys: {0}")]
    Keys(#[from] KeysError),
}

impl Config {
    /// Resolves what was given on the command line and in the environment with the file, if there is one.
    ///
    /// # Errors
    /// [`ConfigError`], which names the file or the setting.
    pub fn resolve(given: Given, file: Option<&Path>) -> Result<Self, ConfigError> {
        let file = file.map(read).transpose()?.unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let grace = seconds(given.grace_seconds.or(file.grace_seconds), 25.0, "grace-seconds")?;
        let linger = seconds(
            given.linger_seconds.or(file.linger_seconds),
            1.0,
            "linger-seconds",
        )?
        .min(grace);
        let workflow = workflow(&given, &file, grace.saturating_sub(linger))?;
        let destinations = given
            .destinations
            .clone()
            .or(file.destinations.clone())
            .unwrap_or_default();
        if destinations.named(OWN_ARCHIVE).is_some() {
            return Err(ConfigError::Range(
                "no destination may be named osteon: that is this server's own store",
            ));
        }
        let store = store(&given, &file, &destinations)?;
        let dimse = dimse(&given, &file, workflow.instance_limit);
        let config = Self {
            listen: given
                .listen
                .or(file.listen)
                .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080))),
            models: given.models.or(file.models).unwrap_or_else(|| "models".into()),
            versions: given.versions.or(file.versions).unwrap_or_default(),
            pins: {
                let given = given.pin.into_iter().map(|pin| (pin.name, pin.versions));
                file.pins.into_iter().chain(given).collect()
            },
            study_model: given.study_model.or(file.study_model),
            watch: match given.watch_seconds.or(file.watch_seconds).unwrap_or(5) {
                0 => None,
                seconds => Some(Duration::from_secs(seconds)),
            },
            trusted_keys: given.trusted_keys.or(file.trusted_keys),
            require_signature: given.require_signature || file.require_signature,
            allow_control_flow: given.allow_control_flow || file.allow_control_flow,
            store,
            role: given.role.or(file.role).unwrap_or_default(),
            onnxruntime: given.onnxruntime.or(file.onnxruntime),
            device: given.device.or(file.device).unwrap_or_default(),
            gpu_memory_mib: given.gpu_memory_mib.or(file.gpu_memory_mib),
            cores: given.cores.or(file.cores).unwrap_or(cores),
            instances: given.instances.or(file.instances).unwrap_or(1),
            queue: given.queue.or(file.queue).unwrap_or(256),
            deadline: Duration::from_secs(given.deadline_seconds.or(file.deadline_seconds).unwrap_or(30)),
            body_bytes: workflow.instance_limit,
            body_memory_bytes: given
                .body_memory_mib
                .or(file.body_memory_mib)
                .unwrap_or(256)
                .saturating_mul(1 << 20),
            decode_memory_bytes: given
                .decode_memory_mib
                .or(file.decode_memory_mib)
                .unwrap_or(1024)
                .saturating_mul(1 << 20),
            dicom_listen: given.dicom_listen.or(file.dicom_listen),
            dimse,
            public_url: given
                .public_url
                .or(file.public_url)
                .map(|url| url.trim_end_matches('/').to_owned()),
            cors: given.cors_origins.or(file.cors_origins),
            proxies: Proxies {
                trusted: given.trusted_proxies.or(file.trusted_proxies).unwrap_or_default(),
                header: given
                    .forwarded_header
                    .or(file.forwarded_header)
                    .unwrap_or_default(),
            },
            workflow,
            destinations,
            linger,
            grace,
            log_format: given.log_format.or(file.log_format).unwrap_or_default(),
            sites: given.sites.or(file.sites).unwrap_or_default(),
        };
        config.check()?;
        Ok(config)
    }

    /// What the types cannot.
    fn check(&self) -> Result<(), ConfigError> {
        if self.require_signature && self.trusted_keys.is_none() {
            return Err(ConfigError::Range(
                "require-signature needs trusted-keys: without a public key no signature can be checked",
            ));
        }
        if self.cores == 0
            || self.instances == 0
            || self.queue == 0
            || !(1..=MOST_ASSOCIATIONS).contains(&self.dimse.associations)
        {
            return Err(ConfigError::Range(
                "cores, instances, queue and dicom-associations must be at least 1, and dicom-associations at most 1000",
            ));
        }
        if self.gpu_memory_mib == Some(0) {
            return Err(ConfigError::Range(
                "gpu-memory-mib must be at least 1: leave it out for no limit",
            ));
        }
        if self
            .public_url
            .as_ref()
            .is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://"))
        {
            return Err(ConfigError::Range(
                "public-url must begin with http:// or https://, such as https://osteon.example",
            ));
        }
        let sizes = [self.body_bytes, self.body_memory_bytes, self.decode_memory_bytes];
        if self.deadline.is_zero() || sizes.contains(&0) {
            return Err(ConfigError::Range(
                "deadline-seconds, body-limit-mib, body-memory-mib and decode-memory-mib must be at least 1",
            ));
        }
        Ok(())
    }
}

fn seconds(given: Option<f64>, default: f64, name: &'static str) -> Result<Duration, ConfigError> {
    Duration::try_from_secs_f64(given.unwrap_or(default)).map_err(|_| ConfigError::Seconds(name))
}

fn dimse(given: &Given, file: &Given, body_bytes: usize) -> dimse::Settings {
    let title = given.dicom_ae_title.clone().or(file.dicom_ae_title.clone());
    let callers = given.dicom_callers.clone().or(file.dicom_callers.clone());
    dimse::Settings {
        ae_title: title.unwrap_or_default(),
        callers: callers.unwrap_or_default(),
        associations: given.dicom_associations.or(file.dicom_associations).unwrap_or(32),
        body_bytes,
        times: dimse::Times::default(),
    }
}

fn body_bytes(given: &Given, file: &Given) -> usize {
    let mib = given.body_limit_mib.or(file.body_limit_mib).unwrap_or(256);
    mib.saturating_mul(1 << 20)
}

/// `left` is the time that a stopping server has for what runs.
fn workflow(given: &Given, file: &Given, left: Duration) -> Result<WorkflowSettings, ConfigError> {
    let defaults = WorkflowSettings::default();
    let days = given.keep_images_days.or(file.keep_images_days);
    let days = days.map(|days| seconds(Some(days * 86_400.0), 0.0, "keep-images-days"));
    let settings = WorkflowSettings {
        patience: Patience {
            quiet: seconds(given.quiet_seconds.or(file.quiet_seconds), 2.0, "quiet-seconds")?,
            overdue: seconds(
                given.overdue_seconds.or(file.overdue_seconds),
                300.0,
                "overdue-seconds",
            )?,
        },
        lease: seconds(given.lease_seconds.or(file.lease_seconds), 60.0, "lease-seconds")?,
        max_attempts: given
            .max_attempts
            .or(file.max_attempts)
            .unwrap_or(defaults.max_attempts),
        workers: given.analyses.or(file.analyses).unwrap_or(defaults.workers),
        delivery_attempts: given
            .delivery_attempts
            .or(file.delivery_attempts)
            .unwrap_or(defaults.delivery_attempts),
        fetch_attempts: given
            .fetch_attempts
            .or(file.fetch_attempts)
            .unwrap_or(defaults.fetch_attempts),
        instance_limit: body_bytes(given, file),
        // what is put back must be written before the time is over
        drain: left.mul_f64(0.8),
        keep_images: days.transpose()?,
        ..defaults
    };
    if settings.max_attempts == 0
        || settings.delivery_attempts == 0
        || settings.fetch_attempts == 0
        || settings.workers == 0
        || settings.lease.is_zero()
    {
        return Err(ConfigError::Range(
            "max-attempts, delivery-attempts, fetch-attempts, analyses and lease-seconds must be more than 0",
        ));
    }
    Ok(settings)
}

fn store(given: &Given, file: &Given, destinations: &Destinations) -> Result<StoreSettings, ConfigError> {
    let data = given
        .data
        .clone()
        .or(file.data.clone())
        .unwrap_or_else(|| "data".into());
    let defaults = StoreSettings::in_folder(&data);
    let keys = given.object_keys.as_ref().or(file.object_keys.as_ref());
    Ok(StoreSettings {
        database: given
            .database
            .clone()
            .or(file.database.clone())
            .unwrap_or(defaults.database),
        objects: given
            .objects
            .clone()
            .or(file.objects.clone())
            .unwrap_or(defaults.objects),
        keys: keys.map(|path| ObjectKeys::read(path)).transpose()?,
        destinations: destinations
            .used_for(Use::Results)
            .map(|one| one.name.clone())
            .collect(),
    })
}

fn read(path: &Path) -> Result<Given, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|source| ConfigError::Parse {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

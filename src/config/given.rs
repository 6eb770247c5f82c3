//! What can be set, in the form in which people write it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

use super::{Config, ConfigError};
use crate::dicom::AeTitle;
use crate::dimse::Callers;
use crate::http::{CorsOrigins, ForwardedHeader, TrustedProxies};
use crate::inference::Versions;
use crate::peer::Destinations;
use crate::runtime::Devices;
use crate::store::{DatabasePlace, ObjectPlace, StoreSettings};
use crate::telemetry::{LogFormat, Sites};
use crate::workflow::Role;

/// What can be set, as it was given: each field is a flag, an environment variable and a key of the TOML file.
#[derive(Clone, Debug, Default, PartialEq, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Given {
    /// Address to listen on [default: 127.0.0.1:8080]
    #[arg(long, env = "OSTEON_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<SocketAddr>,
    /// Folder of models, NAME/VERSION/ [default: models]
    #[arg(long, env = "OSTEON_MODELS", value_name = "DIR")]
    pub models: Option<PathBuf>,
    /// Which versions of a model are served: latest (the newest that proves itself) or all [default: latest]
    #[arg(long, env = "OSTEON_VERSIONS", value_name = "WHICH")]
    pub versions: Option<Versions>,
    /// Serve these versions of a model and no others; may be given for several models
    #[arg(long, env = "OSTEON_PIN", value_name = "NAME=1,3", value_delimiter = ' ')]
    #[serde(skip)]
    pub pin: Vec<Pin>,
    /// The same in the file: a table of lists of versions
    #[arg(skip)]
    #[serde(default)]
    pub pins: BTreeMap<String, BTreeSet<u32>>,
    /// The model that scores stored studies; without it the only one there is, or the first by name
    #[arg(long, env = "OSTEON_STUDY_MODEL", value_name = "NAME")]
    pub study_model: Option<String>,
    /// Seconds between two looks at the models folder; 0 looks only once [default: 5]
    #[arg(long, env = "OSTEON_WATCH_SECONDS", value_name = "SECONDS")]
    pub watch_seconds: Option<u64>,
    /// Public keys, as `minisign -G` writes them: a signed package must be signed by one of them
    #[arg(long, env = "OSTEON_TRUSTED_KEYS", value_name = "FILE_OR_DIR")]
    pub trusted_keys: Option<PathBuf>,
    /// Refuse packages that are not signed
    #[arg(long, env = "OSTEON_REQUIRE_SIGNATURE")]
    #[serde(default)]
    pub require_signature: bool,
    /// Serve networks with loops and branches, which may run without end
    #[arg(long, env = "OSTEON_ALLOW_CONTROL_FLOW")]
    #[serde(default)]
    pub allow_control_flow: bool,
    /// Folder for the database and the images that were sent [default: data]
    #[arg(long, env = "OSTEON_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where the rows are kept.
    #[arg(
        long,
        env = "OSTEON_DATABASE",
        value_name = "URL",
        hide_env_values = true,
        help = "The database: sqlite:PATH for one server, postgres://USER:PASSWORD@HOST:PORT/NAME for any number \
                [default: sqlite:DATA/osteon.sqlite]"
    )]
    #[serde(default, deserialize_with = "parsed")]
    pub database: Option<DatabasePlace>,
    /// Where the images are kept, in a folder or in a bucket.
    #[arg(
        long,
        env = "OSTEON_OBJECTS",
        value_name = "URL",
        help = "Where the images are kept: file:DIR or s3://BUCKET/PREFIX, with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION \
                and AWS_ENDPOINT_URL in the environment [default: file:DATA/objects]"
    )]
    #[serde(default, deserialize_with = "parsed")]
    pub objects: Option<ObjectPlace>,
    /// Encrypt the images with the first of the keys in this file: 64 hexadecimal digits a line; the others can still be read
    #[arg(long, env = "OSTEON_OBJECT_KEYS", value_name = "FILE")]
    pub object_keys: Option<PathBuf>,
    /// Days after which the images of a finished study are removed; its result and events stay [default: never]
    #[arg(long, env = "OSTEON_KEEP_IMAGES_DAYS", value_name = "DAYS")]
    pub keep_images_days: Option<f64>,
    /// What this server does: door (takes studies in), worker (scores them, and answers score requests) or all [default: all]
    #[arg(long, env = "OSTEON_ROLE", value_name = "ROLE")]
    pub role: Option<Role>,
    /// The ONNX Runtime shared library [default: searched for]
    #[arg(long, env = "OSTEON_ONNXRUNTIME", value_name = "FILE")]
    pub onnxruntime: Option<PathBuf>,
    /// What the models run on: cpu, cuda (the first GPU), cuda:1 and so on, cuda:0,cuda:1 (several), cuda:all [default: cpu]
    #[arg(long, env = "OSTEON_DEVICE", value_name = "DEVICE")]
    pub device: Option<Devices>,
    /// On a GPU: the most memory that one copy of a model may take of it, in MiB [default: what it needs]
    #[arg(long, env = "OSTEON_GPU_MEMORY_MIB", value_name = "MIB")]
    pub gpu_memory_mib: Option<u64>,
    /// Cores that decode images and, without a GPU, run networks, one image each; every core holds a copy of each model
    /// [default: all]
    #[arg(long, env = "OSTEON_CORES", value_name = "N")]
    pub cores: Option<usize>,
    /// On a GPU: copies of each model on each GPU, which compute side by side [default: 1]
    #[arg(long, env = "OSTEON_INSTANCES", value_name = "N")]
    pub instances: Option<usize>,
    /// Images that may wait for a model before callers are told to come back; one client gets three quarters of the places
    /// [default: 256]
    #[arg(long, env = "OSTEON_QUEUE", value_name = "N")]
    pub queue: Option<usize>,
    /// Seconds that an image may wait and run [default: 30]
    #[arg(long, env = "OSTEON_DEADLINE_SECONDS", value_name = "SECONDS")]
    pub deadline_seconds: Option<u64>,
    /// Largest image in a request, in MiB [default: 256]
    #[arg(long, env = "OSTEON_BODY_LIMIT_MIB", value_name = "MIB")]
    pub body_limit_mib: Option<usize>,
    /// Memory for the bodies of all requests together, in MiB; who does not fit waits before sending [default: 256]
    #[arg(long, env = "OSTEON_BODY_MEMORY_MIB", value_name = "MIB")]
    pub body_memory_mib: Option<usize>,
    /// Memory for all images together while they are decoded, in MiB; who does not fit waits, and an image that needs more alone is
    /// refused [default: 1024]
    #[arg(long, env = "OSTEON_DECODE_MEMORY_MIB", value_name = "MIB")]
    pub decode_memory_mib: Option<usize>,
    /// Address for DICOM associations, C-ECHO and C-STORE, such as 0.0.0.0:11112 [default: none are taken]
    #[arg(long, env = "OSTEON_DICOM_LISTEN", value_name = "HOST:PORT")]
    pub dicom_listen: Option<SocketAddr>,
    /// The application entity title that peers call [default: OSTEON]
    #[arg(long, env = "OSTEON_DICOM_AE_TITLE", value_name = "TITLE")]
    pub dicom_ae_title: Option<AeTitle>,
    /// Associations that may be open at a time [default: 32]
    #[arg(long, env = "OSTEON_DICOM_ASSOCIATIONS", value_name = "N")]
    pub dicom_associations: Option<usize>,
    /// In the file only, `[[dicom-callers]]`: the application entities that may call, and from where; without any, those of
    /// this machine.
    #[arg(skip)]
    pub dicom_callers: Option<Callers>,
    /// Where clients find this server, for the URLs in its answers, such as <https://osteon.example>
    /// [default: the host that a request names]
    #[arg(long, env = "OSTEON_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// Whose web pages may use DICOMweb from a browser: origins such as <https://viewer.example> with commas between them, or *
    /// [default: none]
    #[arg(long, env = "OSTEON_CORS_ORIGINS", value_name = "ORIGINS")]
    pub cors_origins: Option<CorsOrigins>,
    /// Reverse proxies whose word for a client's address is taken: addresses and networks such as 10.0.0.0/8 with commas between them;
    /// without them all clients behind a proxy count as one [default: none]
    #[arg(long, env = "OSTEON_TRUSTED_PROXIES", value_name = "NETWORKS")]
    pub trusted_proxies: Option<TrustedProxies>,
    /// The header in which these proxies say it: x-forwarded-for or forwarded [default: x-forwarded-for]
    #[arg(long, env = "OSTEON_FORWARDED_HEADER", value_name = "HEADER")]
    pub forwarded_header: Option<ForwardedHeader>,
    /// Seconds without a new image after which a study counts as complete [default: 2]
    #[arg(long, env = "OSTEON_QUIET_SECONDS", value_name = "SECONDS")]
    pub quiet_seconds: Option<f64>,
    /// The same for a study of which fewer images came than its sender or an order had said [default: 300]
    #[arg(long, env = "OSTEON_OVERDUE_SECONDS", value_name = "SECONDS")]
    pub overdue_seconds: Option<f64>,
    /// Studies that are analysed at the same time [default: 2]
    #[arg(long, env = "OSTEON_ANALYSES", value_name = "N")]
    pub analyses: Option<usize>,
    /// Seconds without progress after which another worker takes an analysis over [default: 60]
    #[arg(long, env = "OSTEON_LEASE_SECONDS", value_name = "SECONDS")]
    pub lease_seconds: Option<f64>,
    /// How often an analysis is tried before the study counts as failed [default: 5]
    #[arg(long, env = "OSTEON_MAX_ATTEMPTS", value_name = "N")]
    pub max_attempts: Option<u32>,
    /// How often a result is sent to a destination before that is given up; the waits grow to ten minutes [default: 12]
    #[arg(long, env = "OSTEON_DELIVERY_ATTEMPTS", value_name = "N")]
    pub delivery_attempts: Option<u32>,
    /// How often it is tried to fetch a study from a peer before that is given up; the waits grow to ten minutes [default: 10]
    #[arg(long, env = "OSTEON_FETCH_ATTEMPTS", value_name = "N")]
    pub fetch_attempts: Option<u32>,
    /// Seconds that a stopping server still takes connections, so that a balancer sees that it is not ready [default: 1]
    #[arg(long, env = "OSTEON_LINGER_SECONDS", value_name = "SECONDS")]
    pub linger_seconds: Option<f64>,
    /// Seconds within which a stopping server is gone: requests are answered, analyses ended or put back [default: 25]
    #[arg(long, env = "OSTEON_GRACE_SECONDS", value_name = "SECONDS")]
    pub grace_seconds: Option<f64>,
    /// How log lines look: text or json [default: text]
    #[arg(long, env = "OSTEON_LOG_FORMAT", value_parser = log_format, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// In the file only, `[sites]`: short names for values of Institution Name (0008,0080), by which the metrics tell images
    /// apart; every other institution counts as `other`.
    #[arg(skip)]
    pub sites: Option<Sites>,
    /// In the file only, `[[destinations]]`: archives and webhooks that every result is sent to, and archives that studies are
    /// fetched from.
    #[arg(skip)]
    pub destinations: Option<Destinations>,
}

/// What a command that looks at the store needs to find it: the same settings as the server's.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Places {
    /// Folder for the database and the images that were sent [default: data]
    #[arg(long, env = "OSTEON_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where the rows are kept.
    #[arg(
        long,
        env = "OSTEON_DATABASE",
        value_name = "URL",
        hide_env_values = true,
        help = "The database [default: sqlite:DATA/osteon.sqlite]"
    )]
    pub database: Option<DatabasePlace>,
    /// Where the images are kept.
    #[arg(
        long,
        env = "OSTEON_OBJECTS",
        value_name = "URL",
        help = "Where the images are kept [default: file:DATA/objects]"
    )]
    pub objects: Option<ObjectPlace>,
    /// The keys of the images, if they are encrypted
    #[arg(long, env = "OSTEON_OBJECT_KEYS", value_name = "FILE")]
    pub object_keys: Option<PathBuf>,
    /// A TOML file with the server's settings
    #[arg(long, env = "OSTEON_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Places {
    /// The store that a server with these settings has.
    ///
    /// # Errors
    /// [`ConfigError`], which names the file or the setting.
    pub fn resolve(self) -> Result<StoreSettings, ConfigError> {
        let given = Given {
            data: self.data,
            database: self.database,
            objects: self.objects,
            object_keys: self.object_keys,
            ..Given::default()
        };
        Config::resolve(given, self.config.as_deref()).map(|config| config.store)
    }
}

/// The versions of one model that are served, as `NAME=1,3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    pub(super) name: String,
    pub(super) versions: BTreeSet<u32>,
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let versions = |list: &str| {
            list.split(',')
                .map(|version| version.parse().ok().filter(|version| *version > 0))
                .collect::<Option<BTreeSet<u32>>>()
        };
        text.split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .and_then(|(name, list)| {
                Some(Self {
                    name: name.to_owned(),
                    versions: versions(list)?,
                })
            })
            .ok_or_else(|| "it must be a model and its versions, such as spine=1,3".to_owned())
    }
}

/// A value of the file that has the form of its flag.
fn parsed<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: FromStr<Err: std::fmt::Display>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom))
        .transpose()
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("the formats are text and json".to_owned()),
    }
}

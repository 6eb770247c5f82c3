//! Logs and metrics. Neither ever holds patient data: no names, no UIDs, no header values.

#[cfg(feature = "serve")]
mod devices;
#[cfg(feature = "serve")]
mod dicom;
#[cfg(feature = "serve")]
pub mod metrics;
#[cfg(feature = "serve")]
mod process;
#[cfg(feature = "serve")]
mod quantities;
mod sites;
#[cfg(feature = "serve")]
mod work;

use std::io::IsTerminal;

pub use sites::{Site, Sites};
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Libraries that would write what they read in headers into their log lines: of them only errors are logged, whatever is asked for.
const TALKATIVE: [&str; 5] = [
    "dicom_encoding",
    "dicom_json",
    "dicom_object",
    "dicom_parser",
    "dicom_ul",
];

/// Starts logging to standard error; `OSTEON_LOG` chooses what, in the form `info,osteon=debug`.
pub fn start_logging(format: LogFormat) {
    let mut filter =
        EnvFilter::try_from_env("OSTEON_LOG").unwrap_or_else(|_| EnvFilter::new("warn,osteon=info"));
    for library in TALKATIVE {
        if let Ok(errors) = format!("{library}=error").parse() {
            filter = filter.add_directive(errors);
        }
    }
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // a second start, as in tests, keeps the first
    let _ = match format {
        LogFormat::Text => subscriber.with_target(false).try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
}

//! What the services that read have in common: where clients find them, and how much may be read at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::Extension;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use tokio::sync::Semaphore;

use crate::fault::{Fault, FaultKind};
use crate::http::Intake;
use crate::inference::DecodeMemory;

/// How long memory for decoding is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What searching and retrieving need beside the store.
#[derive(Clone)]
pub struct Service {
    /// The URL of the DICOMweb service as clients see it; without it the request's Host is used.
    pub public_url: Option<String>,
    /// Room for the objects that are on their way out.
    pub outgoing: Intake,
    /// Room for what is made of them: frames that were decoded, data sets that were inflated. Whoever has some never waits for that of
    /// objects.
    pub decoded: Intake,
    /// Places for those that decode pixels.
    pub decoders: Arc<Semaphore>,
    /// The memory that they decode in.
    pub memory: DecodeMemory,
}

/// The service, as handlers get it.
pub(super) type Shared = Extension<Arc<Service>>;

impl Service {
    /// The URL of this service.
    pub(super) fn base(&self, headers: &HeaderMap) -> String {
        base(self.public_url.as_deref(), headers)
    }

    /// Runs what decodes pixels and may take so many bytes for it, off the async threads, when there is a place and memory for it.
    ///
    /// # Errors
    /// What `work` says, `decode-memory` where it may take more than there is, `overloaded` where it was not there in time, or `codec`
    /// where it panicked.
    pub(super) async fn decode<T, E>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, Fault>
    where
        T: Send + 'static,
        E: Into<Fault> + Send + 'static,
    {
        let _place = self.decoders.acquire().await;
        let memory = self.memory.clone();
        let until = Instant::now() + PATIENCE;
        let decode = move || {
            let _taken = memory.take(bytes, until, || false)?;
            work().map_err(Into::into)
        };
        match tokio::task::spawn_blocking(decode).await {
            Ok(result) => result,
            Err(_) => Err(Fault::new(
                FaultKind::Internal,
                "codec",
                "the pixels could not be decoded: the server's log has the cause",
            )),
        }
    }
}

/// The URL of the DICOMweb service: as configured, as the request's Host says, or relative to the host.
pub(super) fn base(public_url: Option<&str>, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
    match (public_url, host) {
        (Some(url), _) => url.trim_end_matches('/').to_owned(),
        (None, Some(host)) if !host.is_empty() && host.bytes().all(plain) => {
            format!("http://{host}/dicom-web")
        }
        _ => "/dicom-web".to_owned(),
    }
}

/// What is said where `fuzzymatching` was asked for (PS3.18 section 8.3.4.2).
pub(super) const LITERAL_ONLY: &str =
    "The fuzzymatching parameter is not supported. Only literal matching has been performed.";

/// Adds a warning (RFC 7234 section 5.5, as PS3.18 words them) to an answer of the service at `base`.
pub(super) fn warn(response: &mut Response, base: &str, text: &str) {
    if let Ok(warning) = HeaderValue::from_str(&format!("299 {base}: \"{text}\"")) {
        response.headers_mut().append(header::WARNING, warning);
    }
}

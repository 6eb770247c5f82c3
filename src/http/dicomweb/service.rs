//! What the services that read have in common: where clients find them, and how much may be read at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::Extension;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::fault::{Fault, FaultKind};
use crate::http::Intake;
use crate::inference::{DecodeMemory, Taken};

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

    /// Runs what decodes pixels and may take so many bytes for it, off the async threads, when there is a place and memory for it; not at all,
    /// when nobody waits for it any more.
    ///
    /// # Errors
    /// As [`Self::decode_counted`].
    pub(super) async fn decode<T, E>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, Fault>
    where
        T: Send + 'static,
        E: Into<Fault> + Send + 'static,
    {
        Ok(self.decode_counted(bytes, work).await?.0)
    }

    /// The same, beside the memory that it was done in, for what lies there still.
    ///
    /// # Errors
    /// What `work` says, `decode-memory` where it may take more than there is, `overloaded` where it was not there in time, or `codec`
    /// where it panicked.
    pub(super) async fn decode_counted<T, E>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<(T, Taken), Fault>
    where
        T: Send + 'static,
        E: Into<Fault> + Send + 'static,
    {
        let gone = CancellationToken::new();
        let _waits = gone.clone().drop_guard();
        let place = Arc::clone(&self.decoders).acquire_owned().await;
        let memory = self.memory.clone();
        let until = Instant::now() + PATIENCE;
        let decode = move || {
            // a thread has its place for as long as it works, also when nobody waits for it any more
            let _place = place;
            let taken = memory.take(bytes, until, || gone.is_cancelled())?;
            Ok((work().map_err(Into::into)?, taken))
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Whoever hangs up wants no picture any more: its place is free as soon as its thread is, and nothing is decoded.
    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_is_decoded_for_who_has_hung_up() {
        let memory = DecodeMemory::new(100, 1).for_others();
        let service = Arc::new(Service {
            public_url: None,
            outgoing: Intake::new(1 << 20, Duration::from_secs(1)),
            decoded: Intake::new(1 << 20, Duration::from_secs(1)),
            decoders: Arc::new(Semaphore::new(1)),
            memory: memory.clone(),
        });
        let large = memory.take(100, Instant::now(), || false).unwrap();
        let is_done = Arc::new(AtomicBool::new(false));
        let (asked, done) = (Arc::clone(&service), Arc::clone(&is_done));
        let viewer = tokio::spawn(async move {
            let work = move || {
                done.store(true, Ordering::SeqCst);
                Ok::<_, Fault>(())
            };
            asked.decode(1, work).await
        });
        while memory.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        viewer.abort();
        let began = Instant::now();
        // nothing else is there to wait for
        let place = service.decoders.acquire().await;
        assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
        assert_eq!(
            memory.waiting(),
            0,
            "the place is free while its thread still waits"
        );
        drop((place, large));
        service.decode(100, || Ok::<_, Fault>(())).await.unwrap();
        assert!(!is_done.load(Ordering::SeqCst));
    }
}

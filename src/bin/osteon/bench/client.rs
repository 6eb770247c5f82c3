//! A kept HTTP/1.1 connection to a server, and the few questions that a measurement asks.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

/// Longer than a server's deadline; a request that takes this long is an error of its own.
const PATIENCE: Duration = Duration::from_mins(2);
/// The largest answer that is read. A score has a few hundred bytes, the metrics some tens of thousands.
const ANSWER: usize = 16 << 20;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// For the connection, always with a port.
    address: String,
    /// As the URL names it, for the header.
    host: String,
    /// What stands before every path, without a slash at its end.
    base: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is no URL of a server, such as http://127.0.0.1:8080");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        if uri.scheme_str() == Some("https") {
            return Err("only http:// can be measured: name the server behind the proxy".to_owned());
        }
        let (Some("http"), Some(host), None) = (uri.scheme_str(), uri.host(), uri.query()) else {
            return Err(wrong());
        };
        let port = uri.port_u16();
        Ok(Self {
            address: format!("{host}:{}", port.unwrap_or(80)),
            host: port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
            base: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

/// One connection; it is opened when it is needed, and again after a failure.
pub(super) struct Connection {
    target: Arc<Target>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    pub(super) fn new(target: Arc<Target>) -> Self {
        Self { target, sender: None }
    }

    /// Sends a DICOM file and reads the whole answer.
    ///
    /// # Errors
    /// Where there is no answer; an answer with any status is one.
    pub(super) async fn post(&mut self, path: &str, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        self.ask(Method::POST, path, body).await
    }

    /// Reads what stands at a path.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub(super) async fn get(&mut self, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        let asked = tokio::time::timeout(PATIENCE, self.exchange(method, path, body)).await;
        let answer = asked
            .unwrap_or_else(|_| Err(anyhow!("there was no answer within {} s", PATIENCE.as_secs())))
            .with_context(|| format!("http://{}{}{path}", self.target.host, self.target.base));
        if answer.is_err() {
            // what stands half-way in it is of no use to the next request
            self.sender = None;
        }
        answer
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.target.base))
            .header(header::HOST, &self.target.host)
            .header(header::CONTENT_TYPE, "application/dicom")
            .body(Full::new(body))?;
        let sender = self.sender().await?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER)
            .collect()
            .await
            .map_err(|error| anyhow!("the answer broke off: {error}"))?;
        Ok((status, body.to_bytes()))
    }

    /// The open connection, or a new one.
    async fn sender(&mut self) -> anyhow::Result<&mut SendRequest<Full<Bytes>>> {
        let kept = match self.sender.take() {
            // a server that ends a connection after an answer has said so by now
            Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
            None => None,
        };
        let sender = match kept {
            Some(sender) => sender,
            None => open(&self.target).await?,
        };
        Ok(self.sender.insert(sender))
    }
}

async fn open(target: &Target) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(&target.address)
        .await
        .context("the server cannot be reached")?;
    // a request's last packet is not to wait for the answer to its first
    stream.set_nodelay(true)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    // its end is seen by whoever sends on it
    tokio::spawn(connection);
    sender.ready().await?;
    Ok(sender)
}

/// A model, as the server lists it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) version: u32,
    pub(super) device: String,
}

/// The model that was asked for, or the server's first.
///
/// # Errors
/// A sentence: no server, no such model, or not an osteon.
pub(super) async fn model(connection: &mut Connection, asked: Option<&str>) -> anyhow::Result<Model> {
    #[derive(Deserialize)]
    struct Models {
        models: Vec<Model>,
    }
    let (status, body) = connection.get("/v1/models").await?;
    let listed: Models = match serde_json::from_slice(&body) {
        Ok(listed) if status.is_success() => listed,
        _ => bail!("what answers there ({status}) is no osteon server: it lists no models"),
    };
    let mut names: Vec<String> = listed.models.iter().map(|model| model.name.clone()).collect();
    names.dedup();
    let name = asked.or(names.first().map(String::as_str));
    // versions are listed the oldest first, and the newest answers
    let mut models = listed.models.into_iter().rev();
    let found = models.find(|model| Some(model.name.as_str()) == name);
    match (found, asked) {
        (Some(model), _) => Ok(model),
        (None, Some(name)) if !names.is_empty() => {
            bail!("there is no model {name}: the server has {}", names.join(", "))
        }
        _ => bail!("the server serves no model: its /health/ready says why"),
    }
}

/// What the server's process has used so far; a server need not say it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<f64>,
    /// The largest that it was since the server's start.
    pub(super) peak_bytes: Option<f64>,
}

/// Asks `/metrics`; one that is missing or odd leaves the figures open, for the rest of a measurement needs none of them.
pub(super) async fn usage(connection: &mut Connection) -> Usage {
    match connection.get("/metrics").await {
        Ok((StatusCode::OK, body)) => parse(&String::from_utf8_lossy(&body)),
        _ => Usage::default(),
    }
}

fn parse(text: &str) -> Usage {
    let value = |name: &str| {
        text.lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .find_map(|value| value.split_whitespace().next()?.parse::<f64>().ok())
            .filter(|value| value.is_finite())
    };
    Usage {
        cpu_seconds: value("process_cpu_seconds_total"),
        resident_bytes: value("process_resident_memory_bytes"),
        peak_bytes: value("osteon_resident_memory_peak_bytes"),
    }
}

/// Why an image has no score, by the server's own words.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
pub(super) struct Reason {
    /// For machines, such as `overloaded`.
    pub(super) code: String,
    pub(super) message: String,
}

/// The reason in an answer that is no score, where it is an osteon's.
pub(super) fn reason(body: &[u8]) -> Option<Reason> {
    #[derive(Deserialize)]
    struct Answer {
        reason: Reason,
    }
    serde_json::from_slice(body)
        .ok()
        .map(|answer: Answer| answer.reason)
}

/// The same as a sentence: `code: message`, or what can be said without a reason.
pub(super) fn said(status: StatusCode, body: &[u8]) -> String {
    reason(body).map_or_else(
        || format!("the answer was {status}"),
        |Reason { code, message }| format!("{code}: {message}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_a_port_and_a_path() {
        let target: Target = "http://example.org/osteon/".parse().unwrap();
        assert_eq!(target.address, "example.org:80");
        assert_eq!(target.host, "example.org");
        assert_eq!(target.base, "/osteon");
        let target: Target = "http://[::1]:8080".parse().unwrap();
        assert_eq!(target.address, "[::1]:8080");
        assert_eq!(target.base, "");
        for wrong in [
            "",
            "127.0.0.1:8080",
            "ftp://a",
            "http://",
            "http://a/?b",
            "https://a",
        ] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_process_metrics_are_found_among_others() {
        let text = "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 12.5\n\
                    process_cpu_seconds_total_more 1\nprocess_resident_memory_bytes 1e6 1700000000\n\
                    osteon_resident_memory_peak_bytes 2e6\n";
        let usage = parse(text);
        assert_eq!(usage.cpu_seconds, Some(12.5));
        assert_eq!((usage.resident_bytes, usage.peak_bytes), (Some(1e6), Some(2e6)));
        assert_eq!(parse("process_cpu_seconds_total NaN\n<html>"), Usage::default());
    }

    #[test]
    fn an_answer_without_a_reason_still_has_its_status() {
        let body = br#"{"reason": {"code": "overloaded", "message": "come back"}}"#;
        assert_eq!(
            said(StatusCode::SERVICE_UNAVAILABLE, body),
            "overloaded: come back"
        );
        assert_eq!(
            said(StatusCode::BAD_GATEWAY, b"<html>"),
            "the answer was 502 Bad Gateway"
        );
    }
}

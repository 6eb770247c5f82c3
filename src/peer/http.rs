//! Requests to a peer over HTTP: signed, with an end, and never elsewhere than where the configuration says.
//!
//! Connections are kept and used again, for a study may be hundreds of requests; the roots of trust are read once.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, IntoUrl, RequestBuilder};

use super::{Destination, PeerError};

/// A connection that nobody has used for so long is closed from here: most servers close it a second later or more, and a request that
/// meets its end would fail.
const LONGEST_IDLE: Duration = Duration::from_secs(4);

/// What all peers are reached with; it keeps the connections of each apart.
static CLIENT: OnceLock<Client> = OnceLock::new();

/// The way to one peer.
pub(super) struct Http {
    client: &'static Client,
    secret: Secret,
    timeout: Duration,
}

/// How a request says who sends it.
#[derive(Clone, PartialEq, Eq)]
enum Secret {
    None,
    Bearer(String),
    Basic(String, String),
}

impl Http {
    /// The way to `peer`. What the requests are signed with is read as it is now: tokens change while a server runs.
    pub(super) async fn to(peer: &Destination) -> Result<Self, PeerError> {
        Ok(Self {
            client: client()?,
            secret: Secret::of(peer).await?,
            timeout: peer.timeout(),
        })
    }

    pub(super) fn get(&self, url: impl IntoUrl) -> RequestBuilder {
        self.prepared(self.client.get(url))
    }

    pub(super) fn post(&self, url: impl IntoUrl) -> RequestBuilder {
        self.prepared(self.client.post(url))
    }

    fn prepared(&self, request: RequestBuilder) -> RequestBuilder {
        let request = request.timeout(self.timeout);
        match &self.secret {
            Secret::None => request,
            Secret::Bearer(token) => request.bearer_auth(token),
            Secret::Basic(user, password) => request.basic_auth(user, Some(password)),
        }
    }
}

impl Secret {
    async fn of(peer: &Destination) -> Result<Self, PeerError> {
        if let Some(file) = &peer.bearer_token_file {
            return Ok(Self::Bearer(read(file).await?));
        }
        match (&peer.user, &peer.password_file) {
            (Some(user), Some(file)) => Ok(Self::Basic(user.clone(), read(file).await?)),
            _ => Ok(Self::None),
        }
    }
}

/// The client, which follows no redirect.
fn client() -> Result<&'static Client, PeerError> {
    if let Some(client) = CLIENT.get() {
        return Ok(client);
    }
    let client = Client::builder()
        .redirect(Policy::none())
        .pool_idle_timeout(LONGEST_IDLE)
        .user_agent(concat!("osteon/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|_| PeerError::passing("unreachable", "no connection could be prepared"))?;
    Ok(CLIENT.get_or_init(|| client))
}

async fn read(file: &Path) -> Result<String, PeerError> {
    let file = file.to_owned();
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(file)).await;
    let text = read.ok().and_then(Result::ok).unwrap_or_default();
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() || secret.chars().any(char::is_control) {
        return Err(PeerError::passing(
            "no-credentials",
            "the file with the token or password of this peer cannot be read, or does not hold one line",
        ));
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Kind;
    use crate::peer::fixture::destination;

    #[tokio::test]
    async fn secrets_are_read_anew_and_must_be_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let mut peer = destination("archive", Kind::Stow, "http://h".to_owned());
        peer.bearer_token_file = Some(file.clone());
        let missing = Secret::of(&peer).await.err().unwrap();
        assert_eq!((missing.code, missing.retry), ("no-credentials", true));
        assert!(!missing.message.contains("token\""));
        for (text, token) in [
            ("one\n", Some("one")),
            ("two", Some("two")),
            ("a\nb", None),
            ("\n", None),
        ] {
            std::fs::write(&file, text).unwrap();
            let read = Secret::of(&peer).await.ok();
            assert!(
                read == token.map(|token| Secret::Bearer(token.to_owned())),
                "{text:?}"
            );
        }
    }
}

//! Who sends a request, as far as fairness between clients has to know.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;

use super::App;

/// The client's address; where proxies are trusted, the one that they name ([`super::proxies`]).
pub(super) struct Caller(pub(super) Arc<str>);

impl FromRequestParts<App> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let client = peer.map(|ConnectInfo(peer)| app.proxies.client(peer.ip(), &parts.headers));
        Ok(Self(
            client.map_or_else(|| "".into(), |client| client.to_string().into()),
        ))
    }
}

//! Who sends a request, as far as fairness between clients has to know.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;

/// The client's address; a proxy before the server makes all of its clients one.
pub(super) struct Caller(pub(super) Arc<str>);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self(address.map_or_else(
            || "".into(),
            |ConnectInfo(address)| address.ip().to_string().into(),
        )))
    }
}

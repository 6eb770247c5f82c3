//! DICOMweb (PS3.18): one file for each service, and what they have in common.

mod accept;
mod capabilities;
mod form;
mod parts;
mod qido;
mod service;
pub mod stow;
mod stow_answer;
mod wado;
pub mod workitems;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, FromRef};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, Version, header};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{Predicate, SizeAbove};

use crate::store::Store;
pub use service::Service;

/// The routes of the services that read, and of what the service says of itself.
pub fn routes<S>(service: Service) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Store: FromRef<S>,
{
    qido::routes()
        .merge(wado::routes())
        .merge(capabilities::routes())
        .layer(Extension(Arc::new(service)))
        .layer(compression())
}

/// Text is sent compressed to those who take it; pixels are not text, and what is compressed already grows.
fn compression() -> CompressionLayer<impl Predicate> {
    let is_text = |_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions| {
        let content = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        content.is_some_and(|content| {
            content.starts_with(b"application/dicom+json")
                || content.starts_with(b"application/json")
                || content.starts_with(b"multipart/related; type=\"application/dicom+xml\"")
        })
    };
    CompressionLayer::new()
        .gzip(true)
        .compress_when(SizeAbove::new(LEAST_COMPRESSED).and(is_text))
}

/// Below this many bytes a compressed answer is not smaller.
const LEAST_COMPRESSED: u64 = 512;

#[cfg(test)]
pub(super) mod fixture;
#[cfg(test)]
mod stow_tests;

//! DICOMweb (PS3.18): one file for each service, and what they have in common.

mod accept;
mod form;
mod parts;
mod qido;
mod service;
pub mod stow;
mod stow_answer;
mod wado;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, FromRef};

use crate::store::Store;
pub use service::Service;

/// The routes of the services that read.
pub fn routes<S>(service: Service) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Store: FromRef<S>,
{
    qido::routes()
        .merge(wado::routes())
        .layer(Extension(Arc::new(service)))
}

#[cfg(test)]
pub(super) mod fixture;
#[cfg(test)]
mod stow_tests;

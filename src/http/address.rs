//! Which model a path names: `.../models/{model}`, or a version of it, `.../models/{model}/versions/{version}`.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::Deserialize;

use super::App;
use super::error::HttpError;
use crate::fault::{Fault, FaultKind};
use crate::inference::ServedModel;

/// The model that a path names.
#[derive(Debug, Deserialize)]
pub(super) struct Address {
    pub(super) model: String,
    #[serde(default)]
    version: Option<String>,
}

impl<S: Sync + Send> FromRequestParts<S> for Address {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let path = Path::from_request_parts(parts, state).await;
        path.map(|Path(address)| address)
            .map_err(|_| Fault::new(FaultKind::Invalid, "path", "the path is not UTF-8").into())
    }
}

impl Address {
    /// The version, if the path names one.
    ///
    /// # Errors
    /// `unknown-version` for what cannot be one.
    pub(super) fn version(&self) -> Result<Option<u32>, Fault> {
        self.version.as_deref().map(str::parse).transpose().map_err(|_| {
            let message = "a version is a whole number from 1 on";
            Fault::new(FaultKind::NotFound, "unknown-version", message)
        })
    }

    /// The served model at this address: the newest version where the path names none.
    ///
    /// # Errors
    /// As [`Self::version`] and [`Catalog::find`](crate::inference::Catalog::find).
    pub(super) fn find(&self, app: &App) -> Result<Arc<ServedModel>, Fault> {
        app.inference.catalog().find(&self.model, self.version()?)
    }

    /// The version that the path names, or all that are served.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(super) fn find_all(&self, app: &App) -> Result<Vec<Arc<ServedModel>>, Fault> {
        let found = self.find(app)?;
        if self.version.is_some() {
            return Ok(vec![found]);
        }
        Ok(app.inference.catalog().versions(&self.model))
    }
}

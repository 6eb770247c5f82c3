//! A stored result as FHIR R4.

use serde_json::Value;

use super::objects::identity;
use super::sources::{self, Sources};
use crate::fault::{Fault, FaultKind};
use crate::report::{ReportError, fhir_bundle};
use crate::store::{ResultRow, Store, StoreError};

/// Why there is no Bundle.
#[derive(Debug)]
pub(super) enum NoBundle {
    Store(StoreError),
    /// Neither an image nor an object of the result can be read.
    Gone,
    Report(ReportError),
}

impl From<NoBundle> for Fault {
    fn from(error: NoBundle) -> Self {
        match error {
            NoBundle::Store(error) => error.into(),
            NoBundle::Gone => {
                let message =
                    "neither the images of the study nor what was made of them can be read any more";
                Self::new(FaultKind::NotFound, "image-removed", message)
            }
            NoBundle::Report(error) => Self::new(FaultKind::Internal, "fhir", error.to_string()),
        }
    }
}

/// The Bundle of a result. Patient and study are those of the images or, where these were removed, those of the report that was kept.
///
/// # Errors
/// A [`Fault`] of the store, or `image-removed`.
pub async fn fhir(store: &Store, row: &ResultRow) -> Result<Value, Fault> {
    Ok(bundle(store, row).await?)
}

pub(super) async fn bundle(store: &Store, row: &ResultRow) -> Result<Value, NoBundle> {
    let sources = match Sources::of(store, row).await.map_err(NoBundle::Store)? {
        Some(sources) => sources,
        None => of_what_was_made(store, row).await?,
    };
    fhir_bundle(&row.body, &identity(row), &sources.images, &sources.header).map_err(NoBundle::Report)
}

async fn of_what_was_made(store: &Store, row: &ResultRow) -> Result<Sources, NoBundle> {
    let made = store.made_for(&row.study, &row.key).await;
    for object in made.map_err(NoBundle::Store)? {
        match sources::read(store, &object.instance.object).await {
            Ok(Some(instance)) => {
                return Ok(Sources {
                    images: Vec::new(),
                    header: instance.header,
                });
            }
            Ok(None) | Err(StoreError::Damaged) => {}
            Err(error) => return Err(NoBundle::Store(error)),
        }
    }
    Err(NoBundle::Gone)
}

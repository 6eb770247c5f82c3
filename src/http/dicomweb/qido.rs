//! QIDO-RS (PS3.18 section 10.6): studies, series and instances by what is known of them.
//!
//! Invariants: no object is read; an answer has at most [`MOST_RESULTS`], and says so where there are more.

mod answer;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, FromRef, Path, Query as Parameters, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;

use super::accept::Accept;
use super::form::Form;
use super::service::{LITERAL_ONLY, Service, Shared, warn};
use crate::dicom::query::Query;
use crate::dicom::record::Level;
use crate::dicom::{SeriesUid, StudyUid};
use crate::fault::{Fault, FaultKind};
use crate::http::error::HttpError;
use crate::store::{Search, Store};

/// The most results of one answer.
const MOST_RESULTS: u32 = 1000;

/// The routes of this service.
pub(super) fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Store: FromRef<S>,
{
    let of = |level| {
        get(
            move |State(store): State<Store>,
                  Extension(service): Shared,
                  Path(place): Path<Place>,
                  Parameters(parameters): Parameters<Vec<(String, String)>>,
                  headers: HeaderMap| async move {
                let request = Request {
                    store,
                    service,
                    parameters,
                    headers,
                };
                request.search(level, &place).await.map_err(HttpError)
            },
        )
    };
    Router::new()
        .route("/dicom-web/studies", of(Level::Study))
        .route("/dicom-web/series", of(Level::Series))
        .route("/dicom-web/studies/{study}/series", of(Level::Series))
        .route("/dicom-web/instances", of(Level::Instance))
        .route("/dicom-web/studies/{study}/instances", of(Level::Instance))
        .route(
            "/dicom-web/studies/{study}/series/{series}/instances",
            of(Level::Instance),
        )
}

/// Where a request looks.
#[derive(Deserialize)]
struct Place {
    study: Option<String>,
    series: Option<String>,
}

struct Request {
    store: Store,
    service: Arc<Service>,
    parameters: Vec<(String, String)>,
    headers: HeaderMap,
}

impl Request {
    async fn search(&self, level: Level, place: &Place) -> Result<Response, Fault> {
        let parameters = self
            .parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let form = Form::wanted(&Accept::of(&self.headers, wanted(&self.parameters))?)?;
        let query = Query::read(level, parameters)
            .map_err(|error| Fault::new(FaultKind::Invalid, "query", error.to_string()))?;
        let uid = |error: crate::dicom::InvalidUid| Fault::new(FaultKind::Invalid, "uid", error.to_string());
        let study = place
            .study
            .as_deref()
            .map(StudyUid::parse)
            .transpose()
            .map_err(uid)?;
        let series = place
            .series
            .as_deref()
            .map(SeriesUid::parse)
            .transpose()
            .map_err(uid)?;
        let search = Search {
            level,
            study: study.as_ref(),
            series: series.as_ref(),
            query: &query,
        };
        let limit = query.limit.unwrap_or(MOST_RESULTS).min(MOST_RESULTS);
        // one more than are shown tells whether there are more
        let mut found = self.store.search(&search, limit + 1).await?;
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let base = self.service.base(&self.headers);
        let results = found
            .into_iter()
            .map(|found| answer::result(found, &search, &base));
        let results = results.collect::<Result<Vec<_>, Fault>>()?;
        let mut response = form.all(results.into_iter());
        if query.fuzzy {
            warn(&mut response, &base, LITERAL_ONLY);
        }
        if more && query.limit.is_none_or(|wanted| wanted > MOST_RESULTS) {
            let text = "The number of results exceeded the maximum supported by the server. Additional results can be requested.";
            warn(&mut response, &base, text);
        }
        Ok(response)
    }
}

/// The parameter `accept` of a request.
pub(super) fn wanted(parameters: &[(String, String)]) -> Option<&str> {
    let accept = parameters.iter().find(|(name, _)| name == "accept");
    accept.map(|(_, value)| value.as_str())
}

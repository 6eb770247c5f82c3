//! What the service has (PS3.18 section 8.9), for those who ask the service itself: `OPTIONS` or `GET /dicom-web`.

use axum::Router;
use axum::extract::Extension;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::accept::{Accept, takes};
use super::service::Shared;
use crate::http::error::HttpError;

const WADL: &str = "application/vnd.sun.wadl+xml";
const DOCUMENT: &str = include_str!("capabilities.xml");

/// The route of this document.
pub(super) fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new().route("/dicom-web", get(capabilities).options(capabilities))
}

async fn capabilities(Extension(service): Shared, headers: HeaderMap) -> Result<Response, HttpError> {
    let accept = Accept::of(&headers, None)?;
    accept.choose(WADL, |range| {
        let xml = takes(range, WADL) || takes(range, "application/xml") || takes(range, "text/xml");
        xml.then_some(())
    })?;
    let document = DOCUMENT.replace("{base}", &service.base(&headers));
    Ok(([(header::CONTENT_TYPE, WADL)], document).into_response())
}

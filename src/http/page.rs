//! `GET /`: one page to try a radiograph and see what arrived. It works without any other host.

use axum::http::header;
use axum::response::{Html, IntoResponse};

const PAGE: &str = include_str!("page.html");

/// The page; nothing in it may come from elsewhere.
pub(super) async fn index() -> impl IntoResponse {
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src 'self' blob:; connect-src 'self'";
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE))
}

//! Cross-origin requests (the Fetch standard): which web pages may use the server from a browser.
//!
//! Invariant: none may unless it was configured, and credentials are never asked for: a page can see nothing that its user could not
//! fetch without logging in.

use std::str::FromStr;

use axum::http::{HeaderName, HeaderValue, Method, header};
use serde::Deserialize;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

/// The origins whose pages may use the server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum CorsOrigins {
    /// Every page.
    Any,
    /// Pages of these origins, such as `https://viewer.example`.
    These(Vec<HeaderValue>),
}

impl FromStr for CorsOrigins {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let right =
            "the origins must be * or such as https://viewer.example, with commas between them and no path";
        let origins = text.split(',').map(|origin| {
            let origin = origin.trim();
            let host = origin
                .strip_prefix("https://")
                .or_else(|| origin.strip_prefix("http://"));
            let host = host.filter(|host| !host.is_empty() && !host.contains(['/', '*', ' ']));
            host.and_then(|_| HeaderValue::from_str(origin).ok())
        });
        origins.collect::<Option<_>>().map(Self::These).ok_or(right)
    }
}

impl TryFrom<String> for CorsOrigins {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl CorsOrigins {
    /// The layer that answers for these origins.
    pub(super) fn layer(&self) -> CorsLayer {
        let origin = match self {
            Self::Any => Any.into(),
            Self::These(origins) => AllowOrigin::list(origins.clone()),
        };
        CorsLayer::new()
            .allow_origin(origin)
            .allow_methods([
                Method::GET,
                Method::POST,
                Method::PUT,
                Method::DELETE,
                Method::HEAD,
            ])
            .allow_headers([header::ACCEPT, header::CONTENT_TYPE, header::AUTHORIZATION])
            .expose_headers([
                header::LOCATION,
                header::WARNING,
                header::RETRY_AFTER,
                HeaderName::from_static("content-location"),
            ])
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::Request;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    /// What a page of `origin` may read, by the header that says so.
    async fn allowed(origins: &str, origin: &str) -> Option<String> {
        let origins: CorsOrigins = origins.parse().unwrap();
        let router: Router = Router::new().route("/", get(async || "")).layer(origins.layer());
        let request = Request::options("/")
            .header(header::ORIGIN, origin)
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET");
        let response = router
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert!(
            !response
                .headers()
                .contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS)
        );
        let allowed = response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        allowed.map(|origin| origin.to_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn only_pages_of_the_origins_may_read() {
        let viewer = "https://viewer.example";
        assert_eq!(allowed(viewer, viewer).await.as_deref(), Some(viewer));
        assert_eq!(allowed(viewer, "https://elsewhere.example").await, None);
        assert_eq!(
            allowed("*", "https://elsewhere.example").await.as_deref(),
            Some("*")
        );
    }

    #[test]
    fn origins_are_read_and_what_is_none_is_refused() {
        assert_eq!("*".parse(), Ok(CorsOrigins::Any));
        let two: CorsOrigins = "https://a.example, http://localhost:3000".parse().unwrap();
        assert_eq!(
            two,
            CorsOrigins::These(vec![
                HeaderValue::from_static("https://a.example"),
                HeaderValue::from_static("http://localhost:3000")
            ])
        );
        for wrong in [
            "",
            "a.example",
            "https://",
            "https://a.example/",
            "https://*.example",
            "https://a,b",
            "null",
        ] {
            assert!(wrong.parse::<CorsOrigins>().is_err(), "{wrong}");
        }
    }
}

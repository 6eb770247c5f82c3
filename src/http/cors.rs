//! Cross-origin requests (the Fetch standard): which web pages may use the server from a browser.
//!
//! Invariant: none may unless it was configured, and credentials are never asked for: a page can see nothing that its user could not
//! fetch without logging in.

use std::str::FromStr;
use std::task::{Context, Poll};

use axum::http::{HeaderName, HeaderValue, Method, Request, Response, header};
use futures_util::future::Either;
use serde::Deserialize;
use tower::{Layer, Service};
use tower_http::cors::{AllowOrigin, Any, Cors, CorsLayer, ResponseFuture};

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
    pub(super) fn layer(&self) -> PreflightLayer {
        let origin = match self {
            Self::Any => Any.into(),
            Self::These(origins) => AllowOrigin::list(origins.clone()),
        };
        let layer = CorsLayer::new()
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
            ]);
        PreflightLayer(layer)
    }
}

/// Cross-origin requests as the Fetch standard has them. By itself `CorsLayer` answers every OPTIONS request, also one that asks what a
/// service can do.
#[derive(Clone)]
pub(super) struct PreflightLayer(CorsLayer);

impl<S: Clone> Layer<S> for PreflightLayer {
    type Service = Preflight<S>;

    fn layer(&self, inner: S) -> Preflight<S> {
        Preflight {
            cors: self.0.layer(inner.clone()),
            inner,
        }
    }
}

/// A service whose OPTIONS requests are its own unless they are preflights.
#[derive(Clone)]
pub(super) struct Preflight<S> {
    cors: Cors<S>,
    inner: S,
}

impl<S, Asked, Answered> Service<Request<Asked>> for Preflight<S>
where
    S: Service<Request<Asked>, Response = Response<Answered>>,
    Answered: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<ResponseFuture<S::Future>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        match self.cors.poll_ready(context) {
            Poll::Ready(Ok(())) => self.inner.poll_ready(context),
            other => other,
        }
    }

    fn call(&mut self, request: Request<Asked>) -> Self::Future {
        let headers = request.headers();
        if request.method() == Method::OPTIONS && !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        {
            Either::Right(self.inner.call(request))
        } else {
            Either::Left(self.cors.call(request))
        }
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

    #[tokio::test]
    async fn options_that_are_no_preflight_are_the_services_own() {
        let origins: CorsOrigins = "*".parse().unwrap();
        let own = get(async || "").options(async || "what there is");
        let router: Router = Router::new().route("/", own).layer(origins.layer());
        for (preflight, wanted) in [(false, "what there is"), (true, "")] {
            let mut request = Request::options("/").header(header::ORIGIN, "https://viewer.example");
            if preflight {
                request = request.header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET");
            }
            let request = request.body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
            assert_eq!(body, wanted);
        }
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

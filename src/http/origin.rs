//! Which web pages may make a browser change something here, or listen: those of this server, and those that were configured.
//!
//! Invariant: a request that changes something or opens a `WebSocket`, and that a browser sends for a page of another origin, reaches no
//! handler. A browser sends some such requests without asking first (the Fetch standard's simple requests, and every `WebSocket`), so the
//! rules for reading answers ([`super::cors`]) do not keep them out. What is no browser says no origin and is not concerned. The rules are
//! those of `CrossOriginProtection` in Go's `net/http`.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::json;

use super::cors::CorsOrigins;
use super::error::with_status;

/// What a browser says of how a page and the address it asks for belong together; a page cannot change it.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The origins whose pages may do more than read.
#[derive(Clone, Debug, Default)]
pub(super) struct Trusted {
    /// Where clients find this server, if it is not the host that they name.
    pub(super) public_url: Option<String>,
    /// Those that were configured.
    pub(super) origins: Option<CorsOrigins>,
}

/// The layer.
pub(super) async fn guard(State(trusted): State<Trusted>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let only_reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
        && !headers.contains_key(header::UPGRADE);
    if only_reads || trusted.trusts(headers) {
        return next.run(request).await;
    }
    let message = "a web page of another origin may not do this: name its origin in --cors-origins";
    let reason = json!({ "outcome": "refused", "reason": { "code": "origin", "message": message } });
    with_status(StatusCode::FORBIDDEN, Json(reason))
}

impl Trusted {
    /// Whether a request comes from no browser, from a page of this server, or from one that was configured.
    fn trusts(&self, headers: &HeaderMap) -> bool {
        let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let origin = text(header::ORIGIN);
        match text(FETCH_SITE) {
            Some("same-origin" | "none") => return true,
            // older browsers, and pages without TLS, do not say
            None => {
                let Some(origin) = origin else { return true };
                if host(origin).is_some() && host(origin) == text(header::HOST) {
                    return true;
                }
            }
            Some(_) => {}
        }
        origin.is_some_and(|origin| self.is_named(origin))
    }

    fn is_named(&self, origin: &str) -> bool {
        let public = self.public_url.as_deref().is_some_and(|url| {
            // `https://host/path`, of which an origin is the beginning
            url.strip_prefix(origin)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        let configured = match &self.origins {
            Some(CorsOrigins::Any) => true,
            Some(CorsOrigins::These(origins)) => origins.iter().any(|known| known == origin),
            None => false,
        };
        public && !origin.is_empty() || configured
    }
}

/// The host of an origin, and its port if it has one.
fn host(origin: &str) -> Option<&str> {
    origin.split_once("://").map(|(_, host)| host)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::any;
    use tower::ServiceExt as _;

    use super::*;

    async fn status(method: Method, headers: &[(&str, &str)]) -> u16 {
        let trusted = Trusted {
            public_url: Some("https://osteon.example/ai".to_owned()),
            origins: "https://viewer.example".parse().ok(),
        };
        let router: Router = Router::new()
            .route("/", any(async || ""))
            .layer(axum::middleware::from_fn_with_state(trusted, guard));
        let mut request = Request::builder().method(method).uri("/");
        request = request.header(header::HOST, "10.0.0.1:8080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = router.oneshot(request.body(Body::empty()).unwrap()).await;
        response.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn pages_of_other_origins_change_nothing_and_do_not_listen() {
        let foreign = ("origin", "https://elsewhere.example");
        let upgrade = ("upgrade", "websocket");
        for headers in [
            &[foreign][..],
            &[("origin", "null")],
            &[("origin", "")],
            &[("origin", "http://10.0.0.1:3000")],
            &[("origin", "https://osteon.exam")],
            &[("origin", "https://viewer.example:8443")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "cross-site"), foreign],
            &[("sec-fetch-site", "same-site"), foreign],
            // not even where it calls itself by this server's name
            &[
                ("sec-fetch-site", "cross-site"),
                ("origin", "http://10.0.0.1:8080"),
            ],
        ] {
            for method in [Method::POST, Method::PUT, Method::DELETE] {
                assert_eq!(status(method.clone(), headers).await, 403, "{method} {headers:?}");
            }
            let listening = [headers, &[upgrade]].concat();
            assert_eq!(status(Method::GET, &listening).await, 403, "{listening:?}");
            // what a page cannot read, it may ask for; a preflight is answered by the rules for that
            for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
                assert_eq!(status(method, headers).await, 200, "{headers:?}");
            }
        }
    }

    #[tokio::test]
    async fn own_pages_configured_ones_and_other_programs_are_not_concerned() {
        for headers in [
            &[][..],
            &[("origin", "http://10.0.0.1:8080")],
            &[("origin", "https://osteon.example")],
            &[("origin", "https://viewer.example")],
            &[
                ("origin", "https://viewer.example"),
                ("sec-fetch-site", "cross-site"),
            ],
            // behind a proxy that names another host
            &[
                ("origin", "https://proxy.example"),
                ("sec-fetch-site", "same-origin"),
            ],
            &[("sec-fetch-site", "none")],
        ] {
            assert_eq!(status(Method::POST, headers).await, 200, "{headers:?}");
            let listening = [headers, &[("upgrade", "websocket")]].concat();
            assert_eq!(status(Method::GET, &listening).await, 200, "{listening:?}");
        }
    }
}

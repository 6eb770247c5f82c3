//! The HTTP doors: every route and every layer, in order.
//!
//! Handlers are thin: they read the request, call `inference` or `workflow`, and give back what those say. No
//! handler reaches a model or writes to the store by itself.

mod address;
mod arrival;
pub mod body;
mod buffer;
mod caller;
pub mod connections;
mod cors;
pub mod dicomweb;
pub mod error;
mod form;
mod heatmap;
mod inference_protocol;
mod models;
mod origin;
mod page;
mod probe;
mod proxies;
mod score;
mod studies;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

use crate::fault::{Fault, FaultKind};
use crate::inference::{DecodeMemory, Inference};
use crate::intake::Intake;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::workflow::{Role, Workflow};
pub use cors::CorsOrigins;
use dicomweb::Service;
use dicomweb::stow::StowSettings;
use dicomweb::workitems::WorklistSettings;
use error::HttpError;
pub use proxies::{ForwardedHeader, Proxies, TrustedProxies};

/// What the handlers need; clones share it.
#[derive(Clone)]
pub struct App {
    /// The models.
    pub inference: Inference,
    /// What is stored.
    pub store: Store,
    /// The way of a study from arrival to result.
    pub workflow: Workflow,
    /// The counters.
    pub metrics: Metrics,
    /// How much a request may bring.
    pub limits: Limits,
    /// Room for bodies.
    pub intake: Intake,
    /// What is on its way out, and who decodes pixels for it.
    pub outgoing: Outgoing,
    /// Where clients find this server, if it is not the host that they name.
    pub public_url: Option<String>,
    /// Whose web pages may use DICOMweb from a browser.
    pub cors: Option<CorsOrigins>,
    /// Who says whose request it is.
    pub proxies: Proxies,
    /// What this server does.
    pub role: Role,
    /// Cancelled when the server is asked to stop.
    pub stopping: CancellationToken,
}

impl App {
    /// Why requests cannot be served: a model did not prove itself or does not answer, or the server is about to stop.
    fn not_ready(&self) -> Option<String> {
        if self.stopping.is_cancelled() {
            return Some("the server is stopping".to_owned());
        }
        // a door has no models to wait for
        self.role
            .works()
            .then(|| self.inference.catalog().not_ready())
            .flatten()
    }

    /// Why only a new process is likely to help.
    fn lost(&self) -> Option<String> {
        self.inference.catalog().lost()
    }
}

/// How much a request may bring.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one image.
    pub body_bytes: usize,
    /// Bytes of one STOW request with all of its instances.
    pub stow_bytes: usize,
}

/// How much may be retrieved at once.
#[derive(Clone)]
pub struct Outgoing {
    /// Room for the objects that are read.
    pub room: Intake,
    /// Room for what is decoded of them.
    pub decoded: Intake,
    /// Places for those that decode pixels.
    pub decoders: Arc<Semaphore>,
    /// The memory that they decode in.
    pub memory: DecodeMemory,
}

/// Every route.
pub fn router(app: App) -> Router {
    let public_url = app.public_url.as_ref().map(|url| format!("{url}/dicom-web"));
    let stow = StowSettings {
        instance_limit: app.limits.body_bytes,
        request_limit: app.limits.stow_bytes,
        public_url: public_url.clone(),
        intake: app.intake.clone(),
        proxies: app.proxies.clone(),
    };
    let worklist = WorklistSettings {
        public_url: public_url.clone(),
        intake: app.intake.clone(),
        outgoing: app.outgoing.room.clone(),
        stopping: app.stopping.clone(),
    };
    let arrivals = |stow| arrivals(stow).merge(dicomweb::workitems::routes(worklist));
    let service = Service {
        public_url,
        outgoing: app.outgoing.room.clone(),
        decoded: app.outgoing.decoded.clone(),
        decoders: Arc::clone(&app.outgoing.decoders),
        memory: app.outgoing.memory.clone(),
    };
    let trusted = origin::Trusted {
        public_url: app.public_url.clone(),
        origins: app.cors.clone(),
    };
    let (scores, arrivals) = if app.role == Role::All {
        (scores(), arrivals(stow))
    } else if app.role.works() {
        // what is read at these places is here, too
        let arrivals = ARRIVALS.into_iter();
        let arrivals = arrivals.fold(Router::new(), |router, path| {
            router.route(path, post(another_role))
        });
        (scores(), arrivals.merge(elsewhere(ORDERS)))
    } else {
        (elsewhere(SCORES), arrivals(stow))
    };
    let mut arrivals = arrivals.merge(dicomweb::routes(service));
    if let Some(origins) = &app.cors {
        arrivals = arrivals.layer(origins.layer());
    }
    Router::new()
        .route("/", get(page::index))
        .merge(scores)
        .merge(arrivals)
        .merge(studies::routes())
        .route("/health/live", get(probe::live))
        .route("/health/ready", get(probe::ready))
        .route("/metrics", get(probe::metrics))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(
            ServiceBuilder::new()
                .layer(CatchPanicLayer::custom(panicked))
                .layer(axum::middleware::from_fn_with_state(app.clone(), observe))
                .layer(axum::middleware::from_fn_with_state(trusted, origin::guard)),
        )
        .with_state(app)
}

/// Where [`scores`] and [`arrivals`] are, for a server that does not have them.
const SCORES: [&str; 5] = [
    "/v1/models",
    "/v1/models/{*path}",
    "/v1/studies/{study}/instances/{instance}/heatmap",
    "/v2",
    "/v2/{*path}",
];
const ARRIVALS: [&str; 3] = ["/dicom-web/studies", "/dicom-web/studies/{study}", "/v1/studies"];
/// Where orders are, that a server without [`arrivals`] does not have at all.
const ORDERS: [&str; 3] = [
    "/dicom-web/workitems",
    "/dicom-web/workitems/{*path}",
    "/ws/{*path}",
];

/// What needs models.
fn scores() -> Router<App> {
    Router::new()
        .route("/v1/models", get(models::list))
        .nest("/v1/models/{model}", of_model())
        .nest("/v1/models/{model}/versions/{version}", of_model())
        .route(
            "/v1/studies/{study}/instances/{instance}/heatmap",
            get(heatmap::stored),
        )
        .nest("/v2", inference_protocol::routes())
}

/// What a model answers, its newest version or one that is named.
fn of_model() -> Router<App> {
    Router::new()
        .route("/", get(models::one))
        .route("/score", post(score::score))
        .route("/heatmap", post(heatmap::sent))
}

/// What takes studies and orders in.
fn arrivals(stow: StowSettings) -> Router<App> {
    dicomweb::stow::routes(stow).route("/v1/studies", post(arrival::arrive))
}

/// What another server of the same store does.
fn elsewhere(paths: impl IntoIterator<Item = &'static str>) -> Router<App> {
    paths.into_iter().fold(Router::new(), |router, path| {
        router.route(path, any(another_role))
    })
}

async fn another_role() -> HttpError {
    HttpError(Fault::new(
        FaultKind::Unavailable,
        "role",
        "this server has another role: studies and workitems go to a door, requests for scores to a worker",
    ))
}

async fn unknown_route() -> HttpError {
    HttpError(Fault::new(
        FaultKind::NotFound,
        "unknown-route",
        "there is nothing here: GET / shows what there is",
    ))
}

async fn wrong_method() -> Response {
    let fault = Fault::new(FaultKind::Invalid, "method", "this address takes another method");
    let mut response = HttpError(fault).into_response();
    *response.status_mut() = axum::http::StatusCode::METHOD_NOT_ALLOWED;
    response
}

/// Counts and logs every answer by its route's pattern: paths hold UIDs.
async fn observe(
    State(app): State<App>,
    matched: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let route = matched.as_ref().map_or("(none)", MatchedPath::as_str).to_owned();
    let started = std::time::Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    app.metrics.answered(known(&method), &route, status);
    tracing::debug!(
        method = known(&method),
        route,
        status,
        milliseconds = started.elapsed().as_millis() as u64,
        "http.answered"
    );
    response
}

/// The method as a metric's label: a sender may call one whatever it likes.
fn known(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::DELETE
        | Method::OPTIONS
        | Method::PATCH => method.as_str(),
        _ => "other",
    }
}

/// A panic in a handler is an error of the server and nothing more; its words may hold anything and stay out.
fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    let fault = Fault::new(
        FaultKind::Internal,
        "panic",
        "the server made a mistake; its log has the cause",
    );
    HttpError(fault).into_response()
}

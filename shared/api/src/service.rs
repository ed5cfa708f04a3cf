//! A function's operations as a router: routing, refusals, panics and deadline in one place.

use crate::dialect::{Dialect, RequestHead};
use crate::document;
use crate::endpoint::{Endpoint, Rules};
use crate::guard::Authenticate;
use crate::refusal::{Refusal, code};
use crate::reply::json_response;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodRouter;
use http::{HeaderName, HeaderValue, Method, header};
use serde_json::Value;
use std::any::Any;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use switchyard_core::Invocation;
use tower_http::catch_panic::CatchPanicLayer;

/// The id that a client quotes when it reports a fault.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers of every response.
const SECURITY: [(HeaderName, &str); 5] = [
    (header::STRICT_TRANSPORT_SECURITY, "max-age=15552000; includeSubDomains"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "SAMEORIGIN"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// A function's operations, and the shape of its errors.
pub struct Api<S> {
    name: &'static str,
    tag: &'static str,
    dialect: Dialect,
    endpoints: Vec<Endpoint<S>>,
}

impl<S: Authenticate> Api<S> {
    /// An API without operations; `name` is the function's, `tag` the workflow's in the document.
    pub fn new(name: &'static str, tag: &'static str, dialect: Dialect) -> Self {
        Self { name, tag, dialect, endpoints: Vec::new() }
    }

    /// Adds operations.
    #[must_use]
    pub fn with(mut self, endpoints: impl IntoIterator<Item = Endpoint<S>>) -> Self {
        self.endpoints.extend(endpoints);
        self
    }

    /// The function's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Method and path of every operation.
    pub fn routes(&self) -> Vec<(Method, &'static str)> {
        self.endpoints.iter().map(|endpoint| (endpoint.method.clone(), endpoint.rules.path)).collect()
    }

    /// The operations as OpenAPI 3.1. Takes some milliseconds; a program calls it, never a function's start.
    pub fn document(&self) -> Value {
        let operations: Vec<(&Method, &Rules)> =
            self.endpoints.iter().map(|endpoint| (&endpoint.method, &endpoint.rules)).collect();
        document::document(self.tag, self.dialect, &operations)
    }

    /// Serves the operations.
    ///
    /// # Panics
    /// Two operations with one method and path, or a path that axum cannot read. A test builds every router.
    pub fn into_router(self, state: S) -> Router {
        let dialect = self.dialect;
        let mut paths: BTreeMap<&str, (Vec<String>, MethodRouter<S>)> = BTreeMap::new();
        for endpoint in self.endpoints {
            let (methods, routes) = paths.entry(endpoint.rules.path).or_default();
            methods.push(endpoint.method.to_string());
            *routes = std::mem::take(routes).merge(endpoint.guarded(&state));
        }
        let mut router = Router::new();
        for (path, (methods, routes)) in paths {
            let allowed = methods.join(", ");
            router = router.route(path, routes.fallback(move || std::future::ready(method_not_allowed(&allowed))));
        }
        router
            .fallback(|| std::future::ready(Refusal::new(404, code::ROUTE_NOT_FOUND, "No such route")))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(from_fn_with_state(dialect, serve))
            .with_state(state)
    }
}

fn method_not_allowed(allowed: &str) -> Refusal {
    let refusal = Refusal::new(405, code::METHOD_NOT_ALLOWED, format!("Method not allowed; allowed: {allowed}"));
    match HeaderValue::from_str(allowed) {
        Ok(allowed) => refusal.with_header(header::ALLOW, allowed),
        Err(_) => refusal,
    }
}

/// The panic's message may quote data; the runtime's hook has logged where it happened.
fn panicked(_panic: Box<dyn Any + Send>) -> Response {
    Refusal::internal(&Panicked).into_response()
}

#[derive(Debug)]
struct Panicked;

impl std::fmt::Display for Panicked {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the handler panicked")
    }
}

impl std::error::Error for Panicked {}

/// The outermost layer: deadline, the refusal's body, headers of every response, one line in the log.
async fn serve(State(dialect): State<Dialect>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    // A client's own id would be taken for ours.
    request.headers_mut().remove(REQUEST_ID);
    let invocation = request.extensions().get::<Invocation>();
    let (request_id, deadline) = match invocation {
        Some(invocation) => (invocation.request_id.clone(), invocation.deadline),
        None => (String::new(), started + Duration::from_secs(30)),
    };
    let head = RequestHead { method: request.method().clone(), path: request.uri().path().to_owned(), request_id };
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let mut response = match tokio::time::timeout_at(deadline.into(), next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = "The request took too long; try again";
            Refusal::new(503, code::TIMEOUT, message).retry_after(Duration::from_secs(1)).into_response()
        }
    };
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        response = rendered(dialect, &refusal, &head);
    }
    let headers = response.headers_mut();
    for (name, value) in SECURITY {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(&head.request_id) {
        headers.insert(REQUEST_ID, id);
    }
    tracing::info!(
        method = head.method.as_str(),
        route = route.as_deref().unwrap_or("none"),
        status = response.status().as_u16(),
        duration_ms = started.elapsed().as_secs_f64() * 1e3,
        "request served"
    );
    response
}

fn rendered(dialect: Dialect, refusal: &Refusal, head: &RequestHead) -> Response {
    match (refusal.status().is_server_error(), refusal.cause()) {
        (true, Some(cause)) => tracing::error!(error = cause, code = refusal.code(), "the request failed"),
        (true, None) => tracing::error!(code = refusal.code(), "the request failed"),
        (false, _) => {}
    }
    let mut response = json_response(refusal.status(), &dialect.body(refusal, head));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(dialect.media_type()));
    for (name, value) in refusal.headers() {
        headers.insert(name, value.clone());
    }
    response
}

/// A request as the runtime glue hands it over, for tests of a router.
pub fn with_invocation(mut request: Request, invocation: Invocation) -> Request {
    request.extensions_mut().insert(invocation);
    request
}

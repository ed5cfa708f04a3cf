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
    ///
    /// # Errors
    /// The name of a schema that two types define in different ways.
    pub fn document(&self) -> Result<Value, String> {
        let operations: Vec<(&Method, &Rules)> =
            self.endpoints.iter().map(|endpoint| (&endpoint.method, &endpoint.rules)).collect();
        document::document(self.tag, self.dialect, &operations)
    }

    /// Serves the operations.
    ///
    /// # Panics
    /// Two operations with one method and path, or a path that axum cannot read. A test builds every router.
    pub fn into_router(self, state: S) -> Router {
        self.router(|endpoint| endpoint.guarded(&state)).with_state(state)
    }

    /// Builds the routes without what serves them, as a test that finds operations which cannot stand together.
    ///
    /// # Panics
    /// As [`Api::into_router`].
    pub fn check_routes(self) {
        drop(self.router(|endpoint| endpoint.handler));
    }

    fn router(self, routes_of: impl Fn(Endpoint<S>) -> MethodRouter<S>) -> Router<S> {
        let dialect = self.dialect;
        let mut paths: BTreeMap<&str, (Vec<String>, MethodRouter<S>)> = BTreeMap::new();
        for endpoint in self.endpoints {
            let (methods, routes) = paths.entry(endpoint.rules.path).or_default();
            methods.push(endpoint.method.to_string());
            *routes = std::mem::take(routes).merge(routes_of(endpoint));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authenticated, Json, JsonText, NoContent, OptionalJson, Page, PageQuery, Path, Query, Transient};
    use axum::body::Body;
    use http::StatusCode;
    use http::request::Parts;
    use http_body_util::BodyExt as _;
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};
    use serde_json::json;
    use switchyard_identity::{Access, Role};
    use tower::ServiceExt as _;

    #[derive(Clone)]
    struct State;

    impl Authenticate for State {
        type Caller = String;

        async fn authenticate(&self, parts: &Parts, _access: Access) -> Result<String, Refusal> {
            match parts.headers.get("x-name").and_then(|name| name.to_str().ok()) {
                Some(name) => Ok(name.to_owned()),
                None => Err(Refusal::unauthorized("Missing name")),
            }
        }
    }

    #[derive(Debug, Deserialize, JsonSchema, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        count: u8,
    }

    #[derive(Deserialize, JsonSchema)]
    struct Filter {
        kind: Option<String>,
    }

    async fn list_things(Query(filter): Query<Filter>, page: PageQuery) -> Json<Page<String>> {
        Json(Page { items: vec![filter.kind.unwrap_or_default(); page.limit.min(1)], next_cursor: None })
    }

    async fn create_thing(Json(thing): Json<Thing>) -> Json<Thing> {
        Json(thing)
    }

    async fn get_thing(Authenticated(name): Authenticated<String>, Path(id): Path<u64>) -> Json<String> {
        Json(format!("{name} {id}"))
    }

    async fn test_things() -> NoContent {
        NoContent
    }

    async fn copy_text(body: JsonText<Thing>) -> Json<String> {
        Json(body.text)
    }

    async fn panic_thing() -> Transient<NoContent> {
        panic!("canary")
    }

    async fn wait_thing(OptionalJson(_): OptionalJson<Filter>) -> NoContent {
        std::future::pending().await
    }

    fn api() -> Api<State> {
        Api::new("test", "Test", Dialect::Problem).with([
            Endpoint::get("/things", list_things),
            Endpoint::post("/things", create_thing).max_bytes(4 * 1024 * 1024),
            Endpoint::get("/things/{id}", get_thing).access(Access::Tenant(Role::Member, None)),
            Endpoint::post("/things/test", test_things),
            Endpoint::post("/text", copy_text).max_bytes(64),
            Endpoint::post("/panic", panic_thing),
            Endpoint::post("/wait", wait_thing),
        ])
    }

    async fn call(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (StatusCode, Response, Value) {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::from(body.to_owned())).unwrap();
        request.extensions_mut().insert(Invocation {
            request_id: "r-1".to_owned(),
            source_ip: "127.0.0.1".to_owned(),
            trace: None,
            deadline: Instant::now() + Duration::from_millis(300),
        });
        let (parts, body) = api().into_router(State).oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        (parts.status, Response::from_parts(parts, Body::from(bytes)), value)
    }

    const JSON: (&str, &str) = ("content-type", "application/json");

    #[tokio::test]
    async fn trap_3_a_panic_is_500_and_shows_nothing() {
        let (status, response, body) = call("POST", "/panic", &[], "").await;
        assert_eq!((status, &body["type"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("/problems/internal")));
        assert!(!body.to_string().contains("canary"));
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }

    #[tokio::test]
    async fn trap_4_a_wrong_method_is_405_with_allow_and_comes_before_401() {
        for (method, path, allow) in [
            ("DELETE", "/things", "GET, POST"),
            ("POST", "/things/7", "GET"),
            ("GET", "/things/test", "POST"),
            ("OPTIONS", "/things", "GET, POST"),
        ] {
            let (status, response, body) = call(method, path, &[], "").await;
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            let allowed: Vec<_> = response.headers().get_all("allow").iter().collect();
            assert_eq!(allowed, [allow], "{method} {path}");
            assert_eq!(body["type"], "/problems/method-not-allowed");
        }
        assert_eq!(call("GET", "/things/7", &[], "").await.0, StatusCode::UNAUTHORIZED);
    }

    #[test]
    fn trap_5_routes_that_cannot_stand_together_are_found_by_building_them() {
        api().check_routes();
        let twice = api().with([Endpoint::get("/things", test_things)]);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| twice.check_routes())).is_err());
        let two_names =
            api().with([Endpoint::get("/things/{name}/x", test_things), Endpoint::get("/things/{id}/x", test_things)]);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| two_names.check_routes())).is_err());
    }

    #[tokio::test]
    async fn trap_6_the_deadline_is_503_and_a_clients_request_id_is_not_ours() {
        let (status, response, body) = call("POST", "/wait", &[("x-request-id", "mine")], "").await;
        assert_eq!((status, &body["request_id"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("r-1")));
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["x-request-id"], "r-1");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    }

    #[tokio::test]
    async fn trap_7_a_body_has_its_operations_own_limit_and_media_type() {
        let large = format!(r#"{{"count": 1{}}}"#, " ".repeat(3 * 1024 * 1024));
        assert_eq!(call("POST", "/things", &[JSON], &large).await.0, StatusCode::OK, "beyond axum's own 2 MB");
        assert_eq!(call("POST", "/text", &[JSON], &" ".repeat(65)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(call("POST", "/things", &[], r#"{"count": 1}"#).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(call("POST", "/things", &[JSON], "{").await.0, StatusCode::BAD_REQUEST);
        let exact = r#"{ "count" :1.0e0 }"#;
        assert_eq!(call("POST", "/text", &[JSON], exact).await.2, exact, "byte for byte");
    }

    #[tokio::test]
    async fn trap_8_slashes_and_unknown_paths_are_404() {
        for path in ["/things/", "//", "/", "/Things", "/things/7/x"] {
            let (status, _, body) = call("GET", path, &[("x-name", "n")], "").await;
            assert_eq!((status, &body["type"]), (StatusCode::NOT_FOUND, &json!("/problems/route-not-found")), "{path}");
        }
        assert_eq!(call("GET", "/things/x", &[("x-name", "n")], "").await.2["type"], "/problems/not-found");
    }

    #[tokio::test]
    async fn what_an_operation_does_not_read_is_refused_by_name() {
        for (method, path, body, named) in [
            ("GET", "/things?bogus=1", "", "`bogus`; allowed: kind, limit, cursor"),
            ("GET", "/things?kind=a&kind=b", "", "`kind` must not be repeated"),
            ("GET", "/things?limit=0", "", "limit must be 1 to 200"),
            ("GET", "/things?cursor=%21", "", "cursor is not valid"),
            ("POST", "/things/test", r#"{"for": 1}"#, "`for`"),
            ("POST", "/things/test", "x", "takes no body"),
            ("POST", "/things", r#"{"count": 300}"#, "count: "),
        ] {
            let (status, _, answer) = call(method, path, &[JSON], body).await;
            let is_named = answer["detail"].as_str().is_some_and(|detail| detail.contains(named));
            assert!(status == StatusCode::BAD_REQUEST && is_named, "{method} {path}: {answer}");
        }
        assert_eq!(call("POST", "/things/test", &[], " {} ").await.0, StatusCode::NO_CONTENT);
    }

    #[test]
    fn the_document_says_what_the_handlers_types_say() {
        let document = api().document().unwrap();
        let operation = &document["paths"]["/things"]["get"];
        assert_eq!(operation["operationId"], "listThings");
        let names: Vec<_> = operation["parameters"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
        assert_eq!(names, ["kind", "limit", "cursor"]);
        assert_eq!(operation["parameters"][0]["schema"]["type"], "string", "a query has no null");
        let created = &document["paths"]["/things"]["post"];
        assert_eq!(
            created["requestBody"]["content"]["application/json"]["schema"]["properties"]["count"]["maximum"],
            255
        );
        assert!(created["responses"]["413"].is_object() && created["responses"]["415"].is_object());
        assert!(document["paths"]["/things/{id}"]["get"]["responses"]["403"].is_object());
    }
}

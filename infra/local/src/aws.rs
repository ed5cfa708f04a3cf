//! The AWS endpoint: DynamoDB, SQS, Secrets Manager, EventBridge, S3 and Lambda's Invoke on one port, for functions and
//! for `aws --endpoint-url`; and the host's own routes under `/_local`.

use crate::events::Events;
use crate::functions::Pool;
use crate::s3::S3;
use crate::schedule::Scheduled;
use crate::secrets::Secrets;
use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use switchyard_sqs::Sqs;

pub(crate) struct Aws {
    pub(crate) url: String,
    /// `host:port` of the DynamoDB engine's own listener.
    pub(crate) dynamo: String,
    pub(crate) sqs: Sqs,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) events: Events,
    pub(crate) s3: S3,
    pub(crate) pools: Vec<Arc<Pool>>,
    pub(crate) schedules: Vec<Scheduled>,
}

struct Shared {
    aws: Aws,
    /// Calls served, by `x-amz-target`.
    calls: Mutex<BTreeMap<String, u64>>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Aws {
    pub(crate) fn router(self) -> Router {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Router::new()
            .route("/_local/schedules/{name}", post(fire))
            .route("/_local/functions", get(functions))
            .route("/_local/calls", get(calls))
            .route("/_local/events", get(events))
            .route("/2015-03-31/functions/{name}/invocations", post(invoke))
            .route("/2015-03-31/functions/{name}/configuration", get(configuration))
            .fallback(handle)
            .layer(DefaultBodyLimit::max(16 * 1024 * 1024))
            .with_state(Arc::new(Shared { aws: self, calls: Mutex::default(), client }))
    }
}

/// Routes the calls of the JSON protocols by `x-amz-target`; calls without it are S3's.
async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    if !request.headers().contains_key("x-amz-target") {
        *shared.calls.lock().unwrap_or_else(PoisonError::into_inner).entry("S3".to_owned()).or_default() += 1;
        return shared.aws.s3.call(request).await;
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, 16 * 1024 * 1024).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let target =
        parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default().to_owned();
    *shared.calls.lock().unwrap_or_else(PoisonError::into_inner).entry(target.clone()).or_default() += 1;
    match target.split_once('.') {
        Some((service, _)) if service.starts_with("DynamoDB") => dynamo(&shared, parts.headers, body).await,
        Some(("AmazonSQS", _)) => shared.aws.sqs.handle(&target, &body, &shared.aws.url).await.map(Body::from),
        Some(("secretsmanager", action)) => answered(shared.aws.secrets.handle(action, &read(&body))),
        Some(("AWSEvents", action)) => answered(shared.aws.events.handle(action, &read(&body))),
        _ => {
            let answer =
                json!({"__type": "UnknownOperationException", "message": "this service is not served locally"});
            (StatusCode::BAD_REQUEST, Json(answer)).into_response()
        }
    }
}

fn read(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}

fn answered((status, answer): (u16, Value)) -> Response<Body> {
    (StatusCode::from_u16(status).unwrap_or_default(), Json(answer)).into_response()
}

/// Forwards a call to the DynamoDB engine.
async fn dynamo(shared: &Shared, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let mut request =
        http::Request::post(format!("http://{}/", shared.aws.dynamo)).body(Full::new(body)).unwrap_or_default();
    for (name, value) in headers.iter().filter(|(name, _)| *name != http::header::HOST) {
        request.headers_mut().append(name, value.clone());
    }
    match shared.client.request(request).await {
        Ok(response) => response.map(Body::new),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

/// `POST /2015-03-31/functions/<name>/invocations`, request-response.
async fn invoke(State(shared): State<Arc<Shared>>, Path(name): Path<String>, body: Bytes) -> Response<Body> {
    let Some(pool) = shared.aws.pools.iter().find(|pool| pool.spec.name == name) else {
        let answer = json!({"Type": "User", "Message": format!("Function not found: {name}")});
        return (StatusCode::NOT_FOUND, [("x-amzn-errortype", "ResourceNotFoundException")], Json(answer))
            .into_response();
    };
    let payload = if body.is_empty() { Bytes::from_static(b"{}") } else { body };
    match pool.invoke(payload).await {
        Ok(answer) => answer.into_response(),
        Err(error) => {
            let answer = json!({"errorMessage": error.to_string()});
            ([("x-amz-function-error", "Unhandled")], Json(answer)).into_response()
        }
    }
}

/// `GET /2015-03-31/functions/<name>/configuration`, as far as commands need it.
async fn configuration(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response<Body> {
    let Some(pool) = shared.aws.pools.iter().find(|pool| pool.spec.name == name) else { return unknown(&name) };
    let about = json!({
        "FunctionName": pool.spec.name,
        "Timeout": pool.spec.timeout_s,
        "MemorySize": pool.spec.memory_mb,
        "Environment": {"Variables": variables(pool)},
    });
    Json(about).into_response()
}

fn variables(pool: &Pool) -> Value {
    pool.variables().map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

fn unknown(name: &str) -> Response<Body> {
    let answer = json!({"Type": "User", "Message": format!("Function not found: {name}")});
    (StatusCode::NOT_FOUND, [("x-amzn-errortype", "ResourceNotFoundException")], Json(answer)).into_response()
}

/// `POST /_local/schedules/<name>`: fires a schedule now and returns its function's result.
async fn fire(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response<Body> {
    let known: Vec<_> = shared.aws.schedules.iter().map(|scheduled| scheduled.schedule.name.as_str()).collect();
    match shared.aws.schedules.iter().find(|scheduled| scheduled.schedule.name == name) {
        Some(scheduled) => match scheduled.fire().await {
            Ok(answer) => answer.into_response(),
            Err(error) => (StatusCode::BAD_GATEWAY, Json(json!({"error": error}))).into_response(),
        },
        None => (StatusCode::NOT_FOUND, Json(json!({"error": "no such schedule", "known": known}))).into_response(),
    }
}

/// `GET /_local/functions`: environment and process ids of every function, for running one in a
/// debugger or killing some.
async fn functions(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let about =
        |pool: &Arc<Pool>| (pool.spec.name.clone(), json!({"environment": variables(pool), "processes": pool.pids()}));
    Json(shared.aws.pools.iter().map(about).collect())
}

/// `GET /_local/calls`: how many calls of each kind have been served, to measure the cost of an event.
async fn calls(State(shared): State<Arc<Shared>>) -> Json<BTreeMap<String, u64>> {
    Json(shared.calls.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// `GET /_local/events`: the events on the buses, oldest first, as a rule's target receives them.
async fn events(State(shared): State<Arc<Shared>>) -> Json<Vec<Value>> {
    Json(shared.aws.events.list())
}

//! The Lambda Runtime API (2018-06-01). Each process has its own base path, which identifies its calls.

use crate::functions::Pool;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use bytes::Bytes;
use std::sync::{Arc, OnceLock};

/// All pools; set after the API listens.
pub(crate) type Pools = Arc<OnceLock<Vec<Arc<Pool>>>>;

pub(crate) fn router(pools: Pools) -> Router {
    Router::new()
        .route("/{worker}/2018-06-01/runtime/invocation/next", get(next))
        .route("/{worker}/2018-06-01/runtime/invocation/{request}/response", post(response))
        .route("/{worker}/2018-06-01/runtime/invocation/{request}/error", post(error))
        .route("/{worker}/2018-06-01/runtime/init/error", post(init_error))
        .layer(axum::extract::DefaultBodyLimit::max(7 * 1024 * 1024))
        .with_state(pools)
}

fn find(pools: &Pools, worker: &str) -> Option<Arc<crate::functions::Worker>> {
    pools.get()?.iter().find_map(|pool| pool.worker(worker))
}

async fn next(State(pools): State<Pools>, Path(worker): Path<String>) -> Response<Body> {
    let Some(worker) = find(&pools, &worker) else { return StatusCode::GONE.into_response() };
    let Some(invocation) = worker.next().await else { return StatusCode::GONE.into_response() };
    Response::builder()
        .header("content-type", "application/json")
        .header("lambda-runtime-aws-request-id", invocation.request_id)
        .header("lambda-runtime-deadline-ms", invocation.deadline_ms)
        .header("lambda-runtime-invoked-function-arn", invocation.function_arn)
        .header("lambda-runtime-trace-id", invocation.trace)
        .body(Body::from(invocation.payload))
        .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

async fn response(
    State(pools): State<Pools>,
    Path((worker, request)): Path<(String, String)>,
    body: Bytes,
) -> StatusCode {
    answer(&pools, &worker, &request, Ok(body))
}

async fn error(State(pools): State<Pools>, Path((worker, request)): Path<(String, String)>, body: Bytes) -> StatusCode {
    answer(&pools, &worker, &request, Err(String::from_utf8_lossy(&body).into_owned()))
}

async fn init_error() -> StatusCode {
    StatusCode::ACCEPTED
}

fn answer(pools: &Pools, worker: &str, request: &str, answer: Result<Bytes, String>) -> StatusCode {
    match find(pools, worker) {
        Some(worker) if worker.answer(request, answer) => StatusCode::ACCEPTED,
        _ => StatusCode::BAD_REQUEST,
    }
}

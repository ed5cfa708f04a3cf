//! The layer that every request to a third party passes: it applies faults and counts calls.

use crate::faults::{Fault, Faults};
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::{future, stream};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a request that times out hangs; longer than any client should wait.
const HANG: Duration = Duration::from_secs(60);

/// Beyond what any handler accepts.
const LARGEST_BODY: usize = 4 << 20;

/// Whether the caller will receive the response of a request that a handler carries out.
pub(crate) struct Answered(pub(crate) bool);

/// Marks a request with a response that will be lost.
#[derive(Clone)]
struct AnswerLost;

impl<S: Sync> FromRequestParts<S> for Answered {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<AnswerLost>().is_none()))
    }
}

/// How many calls each route has had, by outcome.
#[derive(Default)]
pub(crate) struct Calls(Mutex<BTreeMap<Call, u64>>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    service: String,
    route: String,
    method: String,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Answered(u16),
    Cut(&'static str),
}

impl Calls {
    #[cfg(test)]
    pub(crate) fn clear(&self) {
        self.counts().clear();
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Call, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
pub(crate) struct Traffic {
    pub(crate) faults: Arc<Faults>,
    pub(crate) calls: Arc<Calls>,
}

/// `/_sandbox/calls`.
pub(crate) fn routes(calls: Arc<Calls>) -> Router {
    Router::new().route("/_sandbox/calls", get(list).delete(clear)).with_state(calls)
}

/// `status` is a number, or the kind of fault that left the call without a response.
async fn list(State(calls): State<Arc<Calls>>) -> Json<Value> {
    let counts = calls.counts();
    let described = counts.iter().map(|(call, count)| {
        let status = match call.outcome {
            Outcome::Answered(status) => json!(status),
            Outcome::Cut(fault) => json!(fault),
        };
        json!({"service": call.service, "method": call.method, "route": call.route, "status": status, "count": count})
    });
    Json(json!({"total": counts.values().sum::<u64>(), "calls": described.collect::<Vec<_>>()}))
}

async fn clear(State(calls): State<Arc<Calls>>) -> StatusCode {
    calls.counts().clear();
    StatusCode::NO_CONTENT
}

/// Counts the request and applies a fault, if there is one; the sandbox's own routes are exempt.
pub(crate) async fn observe(State(traffic): State<Traffic>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let service = path.split('/').nth(1).unwrap_or_default().to_owned();
    if service.is_empty() || service == "_sandbox" {
        return next.run(request).await;
    }
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let method = request.method().as_str().to_owned();
    let mut content = String::new();
    if traffic.faults.look_inside(request.method(), &path) {
        (request, content) = read_content(request).await;
    }
    let fault = traffic.faults.draw(request.method(), &path, &content);
    let count = |outcome| {
        *traffic.calls.counts().entry(Call { service, route, method, outcome }).or_default() += 1;
    };

    let answer = match fault {
        None => next.run(request).await,
        Some(Fault::Status { status, retry_after, body }) => refuse(status, retry_after, body),
        Some(Fault::Delay(wait)) => carry_out(wait, request, next).await,
        Some(fault @ (Fault::Timeout | Fault::Reset | Fault::LostAnswer)) => {
            count(Outcome::Cut(fault.kind()));
            match fault {
                Fault::Timeout => pause(HANG).await,
                Fault::LostAnswer => drop(carry_out(Duration::ZERO, lose_answer(request), next).await),
                _ => {}
            }
            return cut();
        }
    };
    count(Outcome::Answered(answer.status().as_u16()));
    answer
}

/// The request's decoded query and its body as text, and the request as it was.
async fn read_content(request: Request) -> (Request, String) {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().replace('+', " ");
    let mut content = percent_decode_str(&query).decode_utf8_lossy().into_owned();
    // A body that ends early becomes an empty one, which the handler refuses.
    let body = to_bytes(body, LARGEST_BODY).await.unwrap_or_default();
    content.push('\n');
    content.push_str(&String::from_utf8_lossy(&body));
    (Request::from_parts(parts, Body::from(body)), content)
}

fn refuse(status: StatusCode, retry_after: Option<u64>, body: Option<Value>) -> Response {
    let body = body.unwrap_or_else(|| json!({"message": "the sandbox was told to fail this call"}));
    let mut answer = (status, Json(body)).into_response();
    if let Some(seconds) = retry_after {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

fn lose_answer(mut request: Request) -> Request {
    request.extensions_mut().insert(AnswerLost);
    request
}

/// Runs the request on a task of its own: a real service does not stop because its caller hung up.
async fn carry_out(wait: Duration, request: Request, next: Next) -> Response {
    let work = async move {
        pause(wait).await;
        next.run(request).await
    };
    tokio::spawn(work).await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// Closes the connection: a body that fails at once makes hyper give up before it has sent the head.
fn cut() -> Response {
    let broken = future::ready(Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionReset)));
    Response::new(Body::from_stream(stream::once(broken)))
}

#[expect(clippy::disallowed_methods, reason = "slowness is what was asked for, and this never runs in Lambda")]
async fn pause(wait: Duration) {
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}

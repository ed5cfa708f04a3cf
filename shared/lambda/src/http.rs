use crate::deadline::work_deadline;
use crate::logs::flush_metrics;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt as _, Response, service_fn};
use serde::Serialize;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use switchyard_core::Problem;
use tokio::time::Instant;

/// What an error answer says of the request it belongs to.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Path without the stage.
    pub path: String,
    /// Lambda's id of this invocation.
    pub request_id: String,
}

impl Origin {
    /// The reply for a problem of this request.
    pub fn problem(&self, problem: &Problem) -> Reply {
        let mut reply = Reply::json(problem.status, &problem.to_json(&self.path, &self.request_id));
        reply.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(Problem::MEDIA_TYPE));
        reply
    }
}

/// One request, free of the runtime's types.
#[derive(Debug)]
pub struct Call {
    /// Path and request id.
    pub origin: Origin,
    /// HTTP method.
    pub method: Method,
    /// The query string as sent, without its question mark.
    pub query: String,
    /// Headers as sent; a forwarded-for header proves nothing.
    pub headers: HeaderMap,
    /// The body, decoded when API Gateway had encoded it.
    pub body: Bytes,
    /// The peer's address as API Gateway saw it.
    pub source_ip: String,
    /// X-Ray trace header.
    pub trace: Option<String>,
    /// When work must have ended.
    pub deadline: Instant,
}

impl Call {
    /// A header's text.
    pub fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The query string's names and values, in their order.
    pub fn form(&self) -> impl Iterator<Item = (String, String)> {
        self.query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
    }

    /// Whether a header came that is no visible ASCII, so that [`Call::header`] does not know it.
    pub fn is_unreadable(&self, name: &header::HeaderName) -> bool {
        self.headers.get(name).is_some_and(|value| value.to_str().is_err())
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// One answer.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers beside the security ones, which are always sent.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
    /// Whether the same request may soon be answered otherwise, so that nobody should keep this answer.
    pub is_passing: bool,
}

impl Reply {
    /// A JSON answer.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        match (serde_json::to_string(body), StatusCode::from_u16(status)) {
            (Ok(body), Ok(status)) => Self { status, headers, body, is_passing: false },
            _ => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Self { status, headers, body: "{}".to_owned(), is_passing: true }
            }
        }
    }

    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::NO_CONTENT);
        Self { status, headers: HeaderMap::new(), body: String::new(), is_passing: false }
    }

    /// The same, as an answer of the moment.
    #[must_use]
    pub fn passing(self) -> Self {
        Self { is_passing: true, ..self }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// Serves API Gateway requests with `handle` until the environment is shut down.
///
/// A panic answers 500, and work that runs into the deadline 503; neither takes the process down.
///
/// # Errors
/// The Runtime API cannot be reached.
pub async fn run_http<H, F>(handle: H) -> Result<(), lambda_runtime::Error>
where
    H: Fn(Call) -> F + Sync,
    F: Future<Output = Reply> + Send,
{
    let (handle, cold) = (&handle, &AtomicBool::new(true));
    lambda_http::run(service_fn(move |request: Request| async move {
        let started = Instant::now();
        let cold_start = cold.swap(false, Ordering::Relaxed);
        let call = read(request);
        let method = call.method.clone();
        let reply = answer(handle, call).await;
        tracing::info!(
            method = method.as_str(),
            status = reply.status.as_u16(),
            duration_ms = started.elapsed().as_secs_f64() * 1e3,
            cold_start,
            "answered"
        );
        flush_metrics();
        write(reply)
    }))
    .await
}

async fn answer<H, F>(handle: &H, call: Call) -> Reply
where
    H: Fn(Call) -> F,
    F: Future<Output = Reply>,
{
    let origin = call.origin.clone();
    match tokio::time::timeout_at(call.deadline, AssertUnwindSafe(handle(call)).catch_unwind()).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(_)) => origin.problem(&Problem::internal()),
        Err(_) => {
            tracing::error!("the request ran into the deadline");
            origin.problem(&Problem::new(
                503,
                "timeout",
                "Service Unavailable",
                "the request took too long; send it again",
            ))
        }
    }
}

fn read(request: Request) -> Call {
    let context = request.lambda_context();
    let source_ip = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(gateway)) => gateway.http.source_ip.clone().unwrap_or_default(),
        _ => String::new(),
    };
    let path = request.raw_http_path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (parts, body) = request.into_parts();
    Call {
        origin: Origin { path, request_id: context.request_id },
        method: parts.method,
        query,
        headers: parts.headers,
        body: match body {
            Body::Text(text) => text.into(),
            Body::Binary(bytes) => bytes.into(),
            _ => Bytes::new(),
        },
        source_ip,
        trace: context.xray_trace_id,
        deadline: work_deadline(context.deadline),
    }
}

/// Headers that every answer carries.
const SECURITY: [(header::HeaderName, &str); 5] = [
    (header::STRICT_TRANSPORT_SECURITY, "max-age=15552000; includeSubDomains"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "SAMEORIGIN"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

fn write(reply: Reply) -> Result<Response<Body>, lambda_runtime::Error> {
    let mut response = Response::builder().status(reply.status).body(Body::Text(reply.body))?;
    for (name, value) in SECURITY {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().extend(reply.headers);
    Ok(response)
}

//! The API document of the whole platform: OpenAPI 3.1 as JSON and YAML, a page to read, and the list at `/`.
//!
//! `docs/openapi.json` is written by `cargo run --bin openapi` from the functions' own types; a test fails when it is
//! stale.

use crate::State;
use crate::page;
use axum::extract;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, header};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::sync::OnceLock;
use switchyard_api::{Endpoint, File, Json, Refusal, WithHeaders};
use switchyard_core::{Env, EnvError};

const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

pub(crate) fn endpoints() -> [Endpoint<State>; 7] {
    [
        Endpoint::get("/", get_service).summary("Get the service's version and endpoints").lenient(),
        Endpoint::get("/docs", get_docs_page).summary("Read the API document").lenient().refuses(OFF),
        Endpoint::get("/docs.json", get_docs).summary("Get the API document as JSON").lenient().refuses(OFF),
        Endpoint::get("/api/docs", get_docs_page_alias).summary("Read the API document").lenient().refuses(OFF),
        Endpoint::get("/api/docs-json", get_docs_alias).summary("Get the API document as JSON").lenient().refuses(OFF),
        Endpoint::get("/api/docs-yaml", get_docs_yaml).summary("Get the API document as YAML").lenient().refuses(OFF),
        Endpoint::get("/docs.yaml", get_docs_yaml_alias).summary("Get the API document as YAML").lenient().refuses(OFF),
    ]
}

const OFF: &[(u16, &str)] = &[(404, "Documents are switched off")];

/// The document in its forms, each made when it is first asked for.
pub(crate) struct Docs {
    is_on: bool,
    parsed: OnceLock<Value>,
    page: OnceLock<page::Page>,
    yaml: OnceLock<String>,
}

impl Docs {
    /// Reads `DOCS_ENABLED` (true or false, default true).
    ///
    /// # Errors
    /// The setting is wrong.
    pub(crate) fn from_env(env: &Env) -> Result<Self, EnvError> {
        let is_on = env.parsed("DOCS_ENABLED", true)?;
        Ok(Self { is_on, parsed: OnceLock::new(), page: OnceLock::new(), yaml: OnceLock::new() })
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.is_on { Ok(()) } else { Err(Refusal::not_found()) }
    }

    fn parsed(&self) -> Result<&Value, Refusal> {
        if self.parsed.get().is_none() {
            let value = serde_json::from_str(DOCUMENT).map_err(|error| Refusal::internal(&error))?;
            return Ok(self.parsed.get_or_init(|| value));
        }
        Ok(self.parsed.get_or_init(|| Value::Null))
    }
}

/// The platform, its version and its endpoints.
#[derive(JsonSchema, Serialize)]
struct Service {
    /// `switchyard`.
    service: &'static str,
    version: &'static str,
    /// Every endpoint, by path.
    endpoints: Vec<ApiEndpoint>,
}

/// One endpoint.
#[derive(JsonSchema, Serialize)]
struct ApiEndpoint {
    method: String,
    path: String,
    summary: String,
    /// The workflow it belongs to.
    workflow: String,
}

async fn get_service(extract::State(state): extract::State<State>) -> Result<Json<Service>, Refusal> {
    let mut endpoints = Vec::new();
    for (path, method, operation) in page::operations(state.0.docs.parsed()?) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        endpoints.push(ApiEndpoint {
            method: method.to_ascii_uppercase(),
            path: path.to_owned(),
            summary: text(&operation["summary"]),
            workflow: text(&operation["tags"][0]),
        });
    }
    Ok(Json(Service { service: "switchyard", version: env!("CARGO_PKG_VERSION"), endpoints }))
}

/// The document as it is embedded.
struct Document(&'static str);

impl IntoResponse for Document {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], self.0).into_response()
    }
}

impl switchyard_api::Reply for Document {
    fn describe(operation: &mut switchyard_api::Operation) {
        operation.json::<serde_json::Map<String, Value>>(200, "OpenAPI 3.1");
    }
}

async fn get_docs(extract::State(state): extract::State<State>) -> Result<Document, Refusal> {
    state.0.docs.check()?;
    Ok(Document(DOCUMENT))
}

async fn get_docs_alias(state: extract::State<State>) -> Result<Document, Refusal> {
    get_docs(state).await
}

async fn get_docs_yaml(extract::State(state): extract::State<State>) -> Result<File, Refusal> {
    let docs = &state.0.docs;
    docs.check()?;
    if docs.yaml.get().is_none() {
        let text = serde_yaml_ng::to_string(docs.parsed()?).map_err(|error| Refusal::internal(&error))?;
        docs.yaml.get_or_init(|| text);
    }
    let body = docs.yaml.get().cloned().unwrap_or_default();
    Ok(File { media_type: "application/yaml; charset=utf-8", name: None, body })
}

async fn get_docs_yaml_alias(state: extract::State<State>) -> Result<File, Refusal> {
    get_docs_yaml(state).await
}

async fn get_docs_page(extract::State(state): extract::State<State>) -> Result<WithHeaders<File>, Refusal> {
    let docs = &state.0.docs;
    docs.check()?;
    let document = docs.parsed()?;
    let page = docs.page.get_or_init(|| page::render(document));
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    if let Ok(policy) = HeaderValue::from_str(&page.policy) {
        headers.push((header::CONTENT_SECURITY_POLICY, policy));
    }
    let file = File { media_type: "text/html; charset=utf-8", name: None, body: page.html.clone() };
    Ok(WithHeaders(file, headers))
}

async fn get_docs_page_alias(state: extract::State<State>) -> Result<WithHeaders<File>, Refusal> {
    get_docs_page(state).await
}

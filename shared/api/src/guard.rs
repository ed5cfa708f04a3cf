//! What is checked before a handler: size, caller, shape, idempotency key, in this order.

use crate::body::bytes_of;
use crate::endpoint::Rules;
use crate::idempotency::{Keys, once};
use crate::operation::Argument;
use crate::query::pairs;
use crate::refusal::Refusal;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::Method;
use http::request::Parts;
use http_body_util::BodyExt as _;
use serde::de::IgnoredAny;
use std::collections::{BTreeMap, BTreeSet};
use switchyard_identity::Access;
use switchyard_work::idempotency::Idempotency;

/// What a function's state does for its operations.
pub trait Authenticate: Clone + Send + Sync + 'static {
    /// Who may call; handlers get it as [`Authenticated`].
    type Caller: Clone + Send + Sync + 'static;

    /// Finds out who calls, and whether `access` lets them.
    ///
    /// # Errors
    /// 401, 403, or a fault of what keeps the credentials.
    fn authenticate(&self, parts: &Parts, access: Access)
    -> impl Future<Output = Result<Self::Caller, Refusal>> + Send;

    /// Where idempotency keys are kept, and the name under which the caller's are; `None` where no operation takes keys.
    fn idempotency(&self, _caller: &Self::Caller) -> Option<(&Idempotency, String)> {
        None
    }
}

/// The caller, as the function's [`Authenticate`] identified it.
#[derive(Clone, Debug)]
pub struct Authenticated<C>(pub C);

#[derive(Clone)]
struct Known<C>(C);

/// An operation that has a caller argument but asks for no caller.
#[derive(Debug)]
struct NoCaller;

impl std::fmt::Display for NoCaller {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the operation's access asks for no caller")
    }
}

impl std::error::Error for NoCaller {}

impl<S: Sync, C: Clone + Send + Sync + 'static> FromRequestParts<S> for Authenticated<C> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let known = parts.extensions.get::<Known<C>>();
        known.map(|known| Self(known.0.clone())).ok_or_else(|| Refusal::internal(&NoCaller))
    }
}

impl<C> Argument for Authenticated<C> {}

/// One operation's checks.
#[derive(Clone)]
pub(crate) struct Guard<S> {
    pub(crate) state: S,
    pub(crate) rules: Rules,
}

pub(crate) async fn guard<S: Authenticate>(State(guard): State<Guard<S>>, request: Request, next: Next) -> Response {
    guard.serve(request, next).await.unwrap_or_else(|refusal| refusal.into_response())
}

impl<S: Authenticate> Guard<S> {
    async fn serve(&self, request: Request, next: Next) -> Result<Response, Refusal> {
        let (mut parts, body) = request.into_parts();
        let caller = match self.rules.access.needs_caller() {
            true => Some(self.state.authenticate(&parts, self.rules.access).await?),
            false => None,
        };
        let body = bytes_of(body).await?;
        if body.len() > self.rules.max_bytes {
            return Err(Refusal::too_large(self.rules.max_bytes));
        }
        if self.rules.is_strict {
            self.check_shape(&parts, &body)?;
        }
        let keys = match &caller {
            Some(caller) if self.rules.is_idempotent => self.state.idempotency(caller),
            _ => None,
        };
        let keys = keys.map(|(store, caller)| Keys { store, caller });
        if let Some(caller) = caller {
            parts.extensions.insert(Known(caller));
        }
        match keys {
            Some(keys) => once(&keys, parts, body, next).await,
            None => Ok(next.run(Request::from_parts(parts, Body::from(body))).await),
        }
    }

    /// Whether a request has no parameters and no body but those that its operation reads.
    fn check_shape(&self, parts: &Parts, body: &[u8]) -> Result<(), Refusal> {
        if parts.uri.query().is_some_and(|query| !query.is_empty()) {
            let allowed = &self.rules.shape().query;
            let mut seen = BTreeSet::new();
            for (name, _) in pairs(&parts.uri) {
                if !allowed.contains(&name) {
                    let allowed = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
                    return Err(Refusal::field(format!("Unknown query parameter `{name}`; allowed: {allowed}")));
                }
                if !seen.insert(name.clone()) {
                    return Err(Refusal::field(format!("Query parameter `{name}` must not be repeated")));
                }
            }
        }
        let reads_none = parts.method != Method::GET && !body.is_empty() && !self.rules.shape().has_body;
        if reads_none { check_empty(body) } else { Ok(()) }
    }
}

/// Whether a body says nothing: clients send `{}` to an operation that takes no body.
fn check_empty(body: &[u8]) -> Result<(), Refusal> {
    match serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(body) {
        Ok(fields) => match fields.keys().next() {
            None => Ok(()),
            Some(name) => Err(Refusal::field(format!("Unknown field `{name}`; the operation takes no body"))),
        },
        Err(_) => Err(Refusal::field("The operation takes no body")),
    }
}

/// The bytes of a response's body, which handlers always have in memory.
pub(crate) async fn response_bytes(body: Body) -> Result<bytes::Bytes, Refusal> {
    body.collect().await.map(http_body_util::Collected::to_bytes).map_err(|error| Refusal::internal(&error))
}

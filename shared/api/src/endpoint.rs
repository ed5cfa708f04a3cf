//! One operation of a function: where it is, who may call it, what serves it.

use crate::guard::{Authenticate, Guard, guard};
use crate::operation::{Describe, Operation};
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::Method;
use std::sync::{Arc, OnceLock};
use switchyard_identity::Access;

/// Largest body of an operation that does not say.
const MAX_BYTES: usize = 128 * 1024;

/// One operation. Its handler's name becomes the document's `operationId`: `create_rule` is `createRule`.
pub struct Endpoint<S> {
    pub(crate) method: Method,
    pub(crate) handler: MethodRouter<S>,
    pub(crate) rules: Rules,
}

/// What is checked of a request before its handler, and what the document says of the operation.
#[derive(Clone)]
pub(crate) struct Rules {
    pub(crate) path: &'static str,
    pub(crate) handler_name: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) access: Access,
    pub(crate) max_bytes: usize,
    pub(crate) is_strict: bool,
    pub(crate) is_idempotent: bool,
    pub(crate) refusals: &'static [(u16, &'static str)],
    describe: fn(&mut Operation),
    shape: Arc<OnceLock<Shape>>,
}

/// What the handler's types say of the request, worked out when it is first needed.
pub(crate) struct Shape {
    pub(crate) query: Vec<String>,
    pub(crate) has_body: bool,
}

impl Rules {
    pub(crate) fn describe(&self, operation: &mut Operation) {
        (self.describe)(operation);
    }

    pub(crate) fn shape(&self) -> &Shape {
        self.shape.get_or_init(|| {
            let mut operation = Operation::new();
            self.describe(&mut operation);
            Shape { query: operation.query_names(), has_body: operation.body.is_some() }
        })
    }
}

impl<S: Clone + Send + Sync + 'static> Endpoint<S> {
    fn new<H, M>(method: Method, filter: MethodFilter, path: &'static str, handler: H) -> Self
    where
        H: Handler<M, S> + Describe<M>,
        M: 'static,
    {
        let name = std::any::type_name::<H>();
        let rules = Rules {
            path,
            handler_name: name.rsplit("::").next().unwrap_or(name),
            summary: "",
            access: Access::Anyone,
            max_bytes: MAX_BYTES,
            is_strict: true,
            is_idempotent: false,
            refusals: &[],
            describe: H::describe,
            shape: Arc::new(OnceLock::new()),
        };
        Self { method, handler: on(filter, handler), rules }
    }

    /// `GET path`.
    pub fn get<H: Handler<M, S> + Describe<M>, M: 'static>(path: &'static str, handler: H) -> Self {
        Self::new(Method::GET, MethodFilter::GET, path, handler)
    }

    /// `POST path`.
    pub fn post<H: Handler<M, S> + Describe<M>, M: 'static>(path: &'static str, handler: H) -> Self {
        Self::new(Method::POST, MethodFilter::POST, path, handler)
    }

    /// `PUT path`.
    pub fn put<H: Handler<M, S> + Describe<M>, M: 'static>(path: &'static str, handler: H) -> Self {
        Self::new(Method::PUT, MethodFilter::PUT, path, handler)
    }

    /// `PATCH path`.
    pub fn patch<H: Handler<M, S> + Describe<M>, M: 'static>(path: &'static str, handler: H) -> Self {
        Self::new(Method::PATCH, MethodFilter::PATCH, path, handler)
    }

    /// `DELETE path`.
    pub fn delete<H: Handler<M, S> + Describe<M>, M: 'static>(path: &'static str, handler: H) -> Self {
        Self::new(Method::DELETE, MethodFilter::DELETE, path, handler)
    }

    /// One line for the document: verb and noun.
    #[must_use]
    pub fn summary(mut self, summary: &'static str) -> Self {
        self.rules.summary = summary;
        self
    }

    /// Who may call it; everybody by default.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.rules.access = access;
        self
    }

    /// Largest body in bytes; 128 KiB by default.
    #[must_use]
    pub fn max_bytes(mut self, max_bytes: usize) -> Self {
        self.rules.max_bytes = max_bytes;
        self
    }

    /// Takes query parameters and bodies that it does not read, as senders that we do not control may add some.
    #[must_use]
    pub fn lenient(mut self) -> Self {
        self.rules.is_strict = false;
        self
    }

    /// Takes effect once for each `Idempotency-Key` of a caller.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.rules.is_idempotent = true;
        self
    }

    /// Statuses that the handler refuses with beside those which its access and its types imply, and what each means.
    #[must_use]
    pub fn refuses(mut self, refusals: &'static [(u16, &'static str)]) -> Self {
        self.rules.refusals = refusals;
        self
    }

    /// The handler behind the checks that its rules ask for.
    pub(crate) fn guarded(self, state: &S) -> MethodRouter<S>
    where
        S: Authenticate,
    {
        let guarded = Guard { state: state.clone(), rules: self.rules };
        self.handler.layer(from_fn_with_state(guarded, guard::<S>))
    }
}

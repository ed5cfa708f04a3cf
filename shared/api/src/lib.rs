//! What an HTTP function is made of.
//!
//! A function is a list of [`Endpoint`]s, each one handler with its path, access and limits; its arguments and its
//! return type say what it reads and returns. The list has two readers: [`Api::into_router`] serves it, and
//! [`Api::document`] describes it as OpenAPI 3.1. Whatever is refused is a [`Refusal`], rendered in one place by the
//! API's [`Dialect`].

mod body;
mod condition;
mod dialect;
mod document;
mod endpoint;
mod guard;
pub mod health;
mod idempotency;
mod operation;
mod page;
mod path;
mod query;
mod refusal;
mod reply;
mod service;

pub use body::{Json, JsonText, OptionalJson, RawBody, json_text, parse_object};
pub use condition::{IfMatch, Versioned};
pub use dialect::{Dialect, RequestHead};
pub use document::merge;
pub use endpoint::Endpoint;
pub use guard::{Authenticate, Authenticated};
pub use idempotency::{IDEMPOTENCY_KEY, IdempotencyKey, MAX_IDEMPOTENCY_KEY, REPLAYED};
pub use operation::{Argument, Describe, Operation, Reply};
pub use page::{Cursor, Page, PageQuery, page_of};
pub use path::{Path, PathParameter, is_uuid};
pub use query::{Query, QueryPairs};
pub use refusal::{OrFault, Refusal, code};
pub use reply::{Accepted, Created, File, MultiStatus, NoContent, Transient, WithHeaders};
pub use service::Api;

//! What operators do with a running stack, below `/admin`: sign in, look at dead letters, manage operators. And the API
//! document of the whole platform.

mod access;
mod dead_letters;
mod document;
mod operators;
mod page;

pub use access::State;
use switchyard_api::{Api, Dialect};

/// Every operation of this function.
pub fn api() -> Api<State> {
    Api::new("ops-api", "Operations", Dialect::Problem)
        .with(document::endpoints())
        .with(dead_letters::endpoints())
        .with(operators::endpoints())
}

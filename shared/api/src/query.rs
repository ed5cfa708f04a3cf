//! What handlers read from the query string.

use crate::body::invalid_field;
use crate::operation::{Argument, Operation};
use crate::refusal::Refusal;
use axum::extract::FromRequestParts;
use http::Uri;
use http::request::Parts;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// The query's names and values, decoded, in their order.
pub(crate) fn pairs(uri: &Uri) -> impl Iterator<Item = (String, String)> + '_ {
    form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
}

/// The query's parameters as `T`'s fields; the message of a refusal names the parameter.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let query = parts.uri.query().unwrap_or_default();
        let reader = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(reader).map(Self).map_err(|error| {
            let path = error.path().to_string();
            invalid_field(&path, &error.into_inner().to_string())
        })
    }
}

impl<T: JsonSchema> Argument for Query<T> {
    fn describe(operation: &mut Operation) {
        operation.query::<T>();
    }
}

/// The query's names and values as they came, for a contract with rules of its own; `T` says which there are.
#[derive(Debug)]
pub struct QueryPairs<T> {
    /// Names and values, decoded, in their order.
    pub pairs: Vec<(String, String)>,
    schema: std::marker::PhantomData<fn() -> T>,
}

impl<S: Sync, T> FromRequestParts<S> for QueryPairs<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        Ok(Self { pairs: pairs(&parts.uri).collect(), schema: std::marker::PhantomData })
    }
}

impl<T: JsonSchema> Argument for QueryPairs<T> {
    fn describe(operation: &mut Operation) {
        operation.query::<T>();
    }
}

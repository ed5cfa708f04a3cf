//! What handlers read from the path.

use crate::operation::{Argument, Operation};
use crate::refusal::{Refusal, code};
use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use serde_json::{Value, json};

/// A value that stands in a path.
pub trait PathParameter: Sized {
    /// Reads the text; `None` means that nothing has such an id, which is 404.
    fn parse(text: &str) -> Option<Self>;

    /// Schema of the text.
    fn schema() -> Value;

    /// The message of the 404.
    fn not_found() -> &'static str {
        "Not found"
    }
}

impl PathParameter for String {
    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn schema() -> Value {
        json!({"type": "string"})
    }
}

impl PathParameter for u64 {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn schema() -> Value {
        json!({"type": "integer", "minimum": 0})
    }
}

/// Whether `text` is 8-4-4-4-12 hexadecimal digits: a UUID of any version.
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The parameters in the path's braces, in their order.
#[derive(Debug)]
pub struct Path<T>(pub T);

fn read<T: PathParameter>(text: Option<&str>) -> Result<T, Refusal> {
    text.and_then(T::parse).ok_or_else(|| Refusal::new(404, code::NOT_FOUND, T::not_found()))
}

async fn params<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<RawPathParams, Refusal> {
    // Paths hold no escapes here, so that nothing is left to be decoded wrongly.
    RawPathParams::from_request_parts(parts, state).await.map_err(|_| Refusal::not_found())
}

impl<S: Send + Sync, T: PathParameter> FromRequestParts<S> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let params = params(parts, state).await?;
        read(params.iter().next().map(|(_, text)| text)).map(Self)
    }
}

impl<S: Send + Sync, T: PathParameter, U: PathParameter> FromRequestParts<S> for Path<(T, U)> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let params = params(parts, state).await?;
        let mut texts = params.iter().map(|(_, text)| text);
        Ok(Self((read(texts.next())?, read(texts.next())?)))
    }
}

impl<T: PathParameter> Argument for Path<T> {
    fn describe(operation: &mut Operation) {
        operation.path_schemas.push(T::schema());
    }
}

impl<T: PathParameter, U: PathParameter> Argument for Path<(T, U)> {
    fn describe(operation: &mut Operation) {
        operation.path_schemas.extend([T::schema(), U::schema()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_told_by_their_shape() {
        let id = "01A210BC-32BC-736D-87B8-23CAACB4657E";
        assert!(is_uuid(id) && is_uuid(&id.to_lowercase()));
        assert!(!is_uuid("01a210bc") && !is_uuid(&id.replace('-', "x")));
    }
}

//! What handlers read from the body.

use crate::operation::{Argument, Operation};
use crate::refusal::{Refusal, code};
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::marker::PhantomData;

/// The whole body. Lambda has it in memory before the function runs, so this never waits.
pub(crate) async fn bytes_of(body: Body) -> Result<Bytes, Refusal> {
    match body.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => Err(Refusal::internal(&error)),
    }
}

/// The body as text, if it says that it is JSON.
///
/// # Errors
/// 415 for another media type, 400 for bytes that are not UTF-8.
pub fn json_text(headers: &HeaderMap, body: Bytes) -> Result<String, Refusal> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::new(415, code::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json"));
    }
    String::from_utf8(body.into()).map_err(|_| malformed())
}

fn malformed() -> Refusal {
    Refusal::new(400, code::MALFORMED_JSON, "Malformed JSON")
}

/// The fields of a JSON object; the message of a refusal names the field.
///
/// # Errors
/// 400.
pub fn parse_object<T: DeserializeOwned>(text: &str) -> Result<T, Refusal> {
    // That it is not JSON, or no object, has a message of its own.
    let whole: &RawValue = serde_json::from_str(text).map_err(|_| malformed())?;
    if !whole.get().starts_with('{') {
        return Err(Refusal::field("body must be an object"));
    }
    let mut reader = serde_json::Deserializer::from_str(whole.get());
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        invalid_field(&path, &error.into_inner().to_string())
    })
}

/// 400 for what serde says of the field at `path`.
pub(crate) fn invalid_field(path: &str, reason: &str) -> Refusal {
    // Clients send objects, not text: a position within the text would not help them.
    let reason = reason.rsplit_once(" at line ").map_or(reason, |(reason, _)| reason);
    let variants = reason.strip_prefix("unknown variant ").and_then(|rest| rest.split_once("expected "));
    match (path, variants) {
        (".", _) => Refusal::field(reason),
        (path, Some((_, variants))) => {
            let variants = variants.trim_start_matches("one of ").replace('`', "").replace(" or ", ", ");
            Refusal::field(format!("{path} must be one of {variants}"))
        }
        (path, None) => Refusal::field(format!("{path}: {reason}")),
    }
}

/// A JSON object with `T`'s fields; what `T` does not know is refused if `T` denies unknown fields. As a reply: 200.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        parse_object(&json_text(&parts.headers, bytes_of(body).await?)?).map(Self)
    }
}

impl<T: JsonSchema> Argument for Json<T> {
    fn describe(operation: &mut Operation) {
        let schema = operation.input::<T>();
        operation.body("application/json", true, schema);
    }
}

/// As [`Json`], where an empty body is an object without fields.
#[derive(Debug)]
pub struct OptionalJson<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for OptionalJson<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let body = bytes_of(body).await?;
        if body.is_empty() {
            return parse_object("{}").map(Self);
        }
        parse_object(&json_text(&parts.headers, body)?).map(Self)
    }
}

impl<T: JsonSchema> Argument for OptionalJson<T> {
    fn describe(operation: &mut Operation) {
        let schema = operation.input::<T>();
        operation.body("application/json", false, schema);
    }
}

/// The JSON text as it was sent, for what is stored or compared byte for byte; `T` is its schema.
#[derive(Debug)]
pub struct JsonText<T> {
    /// The text.
    pub text: String,
    schema: PhantomData<fn() -> T>,
}

impl<S: Sync, T> FromRequest<S> for JsonText<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        Ok(Self { text: json_text(&parts.headers, bytes_of(body).await?)?, schema: PhantomData })
    }
}

impl<T: JsonSchema> Argument for JsonText<T> {
    fn describe(operation: &mut Operation) {
        let schema = operation.input::<T>();
        operation.body("application/json", true, schema);
    }
}

/// The bytes as they were sent, for a body whose signature covers them; `T` is the schema of what they say.
#[derive(Debug)]
pub struct RawBody<T> {
    /// The bytes.
    pub bytes: Bytes,
    schema: PhantomData<fn() -> T>,
}

impl<S: Sync, T> FromRequest<S> for RawBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refusal> {
        Ok(Self { bytes: bytes_of(request.into_body()).await?, schema: PhantomData })
    }
}

impl<T: JsonSchema> Argument for RawBody<T> {
    fn describe(operation: &mut Operation) {
        let schema = operation.input::<T>();
        operation.body("application/json", true, schema);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only reading it matters")]
    struct Body {
        count: u8,
    }

    #[test]
    fn a_refusal_names_the_field() {
        let text = |body: &str| parse_object::<Body>(body).unwrap_err().text();
        assert_eq!(text(r#"{"count": 256}"#), "count: invalid value: integer `256`, expected u8");
        assert_eq!(text("{}"), "missing field `count`");
        assert_eq!(text("[]"), "body must be an object");
        assert_eq!(text("{"), "Malformed JSON");
        assert!(text(r#"{"count": 1, "x": 2}"#).contains("unknown field `x`"));
        let variant = "unknown variant `lost`, expected one of `a`, `b` at line 1 column 2";
        assert_eq!(invalid_field("kind", variant).text(), "kind must be one of a, b");
    }
}

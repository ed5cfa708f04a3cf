//! Reads requests as the service this one replaces does: exact types, every issue reported, in the fields' order.

use crate::State;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http_body_util::BodyExt as _;
use schemars::JsonSchema;
use serde_json::{Map, Value, json};
use switchyard_api::{Argument, Operation, QueryPairs, Refusal, code, is_uuid};
use switchyard_core::Timestamp;

/// Largest body accepted, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Longest name, id or receipt, in characters.
pub(crate) const MAX_NAME: usize = 255;

/// Longest token, in characters.
pub(crate) const MAX_TEXT: usize = 8_192;

/// Longest address, in characters; every delivery keeps its own.
pub(crate) const MAX_URL: usize = 2_048;

/// A request that is read field by field. Its schema says the same to the document.
pub(crate) trait Read: JsonSchema + Sized {
    /// Reads every field; issues are noted in `fields`.
    fn read(fields: &mut Fields, state: &State) -> Self;
}

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

/// A JSON body that may be left out.
pub(crate) struct OptionalBody<T>(pub(crate) T);

/// The query string. A name that stands twice is an array, as it is in the service this one replaces.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: Read> FromRequest<State> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &State) -> Result<Self, Refusal> {
        read(Fields::of_body(json_body(request).await?)?, state).map(Self)
    }
}

impl<T: Read> FromRequest<State> for OptionalBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &State) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let bytes = bytes_of(body).await?;
        let fields = match bytes.is_empty() {
            true => Fields::default(),
            false => Fields::of_body(parse(&parts.headers, &bytes)?)?,
        };
        read(fields, state).map(Self)
    }
}

impl<T: Read + Send> FromRequestParts<State> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Refusal> {
        let query = QueryPairs::<T>::from_request_parts(parts, state).await?;
        read(Fields::of_query(query.pairs), state).map(Self)
    }
}

fn read<T: Read>(mut fields: Fields, state: &State) -> Result<T, Refusal> {
    let value = T::read(&mut fields, state);
    fields.finish().map(|()| value)
}

impl<T: JsonSchema> Argument for Body<T> {
    fn describe(operation: &mut Operation) {
        let schema = operation.input::<T>();
        operation.body("application/json", true, schema);
    }
}

impl<T: JsonSchema> Argument for OptionalBody<T> {
    fn describe(operation: &mut Operation) {
        let schema = operation.input::<T>();
        operation.body("application/json", false, schema);
    }
}

impl<T: JsonSchema> Argument for Query<T> {
    fn describe(operation: &mut Operation) {
        operation.query::<T>();
        operation.refuse(400, "A parameter is not valid");
    }
}

/// A request's fields, and what is wrong with those read so far.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    values: Map<String, Value>,
    issues: Vec<Value>,
}

impl Fields {
    fn of_body(body: Option<Value>) -> Result<Self, Refusal> {
        match body {
            Some(Value::Object(values)) => Ok(Self { values, issues: Vec::new() }),
            other => Err(invalid(vec![wrong_type("object", other.as_ref(), None)])),
        }
    }

    /// The refusal of a request without `name`.
    pub(crate) fn missing(name: &'static str) -> Refusal {
        invalid(vec![wrong_type("string", None, Some(name))])
    }

    fn of_query(pairs: Vec<(String, String)>) -> Self {
        let mut values = Map::new();
        for (name, value) in pairs {
            match values.get_mut(&name) {
                None => drop(values.insert(name, value.into())),
                Some(Value::Array(known)) => known.push(value.into()),
                Some(known) => *known = json!([known, value]),
            }
        }
        Self { values, issues: Vec::new() }
    }

    /// A string of 1 to `max` characters.
    pub(crate) fn string(&mut self, name: &'static str, max: usize) -> String {
        let text = self.any_string(name, "string");
        if let Some(text) = &text {
            self.check_length(name, text, max);
        }
        text.unwrap_or_default()
    }

    /// A string of exactly `length` UTF-16 units.
    pub(crate) fn string_of(&mut self, name: &'static str, length: usize) -> String {
        let text = self.any_string(name, "string");
        if let Some(text) = &text {
            let units = text.encode_utf16().count();
            let message = format!("String must contain exactly {length} character(s)");
            let mut issue = json!({"type": "string", "inclusive": true, "exact": true, "message": message});
            if units != length {
                let (code, bound) = if units < length { ("too_small", "minimum") } else { ("too_big", "maximum") };
                issue["code"] = code.into();
                issue[bound] = length.into();
                self.issue(name, issue);
            }
            self.check_content(name, text);
        }
        text.unwrap_or_default()
    }

    /// One of `options`.
    pub(crate) fn one_of(&mut self, name: &'static str, options: &[&str]) -> String {
        let listed = options.iter().map(|option| format!("'{option}'")).collect::<Vec<_>>().join(" | ");
        let text = self.any_string(name, &listed);
        if let Some(text) = text.as_ref().filter(|text| !options.contains(&text.as_str())) {
            let message = format!("Invalid enum value. Expected {listed}, received '{text}'");
            let issue = json!({"received": text, "code": "invalid_enum_value", "options": options, "message": message});
            self.issue(name, issue);
        }
        text.unwrap_or_default()
    }

    /// 8-4-4-4-12 hexadecimal digits, in lower case whatever they came in.
    pub(crate) fn uuid(&mut self, name: &'static str) -> String {
        let text = self.any_string(name, "string");
        if text.as_ref().is_some_and(|text| !is_uuid(text)) {
            let issue = json!({"validation": "uuid", "code": "invalid_string", "message": "Invalid uuid"});
            self.issue(name, issue);
        }
        text.unwrap_or_default().to_ascii_lowercase()
    }

    /// A number from `least` to `most`, if the field came; `None` for `null`.
    pub(crate) fn number(&mut self, name: &'static str, least: u64, most: u64) -> Option<Option<u64>> {
        let value = self.values.get(name)?;
        let number = value.as_u64().filter(|number| (least..=most).contains(number));
        if number.is_none() && !value.is_null() {
            self.custom(name, &format!("Expected a whole number from {least} to {most}"));
        }
        Some(number)
    }

    /// A boolean, if the field came.
    pub(crate) fn boolean(&mut self, name: &'static str) -> Option<bool> {
        let value = self.values.get(name)?;
        if !value.is_boolean() {
            self.issues.push(wrong_type("boolean", self.values.get(name), Some(name)));
        }
        self.values.get(name)?.as_bool()
    }

    /// An instant in ISO 8601, such as `2026-01-05T10:00:00Z`.
    pub(crate) fn instant(&mut self, name: &'static str) -> Timestamp {
        let text = self.any_string(name, "string");
        let instant = text.as_deref().map(str::parse);
        if let Some(Err(_)) = instant {
            self.custom(name, "Expected a time such as 2026-01-05T10:00:00Z");
        }
        instant.and_then(Result::ok).unwrap_or_default()
    }

    /// The field as it came, if it came.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    fn issue(&mut self, name: &str, mut issue: Value) {
        issue["path"] = json!([name]);
        self.issues.push(issue);
    }

    /// Notes an issue about `name`.
    pub(crate) fn custom(&mut self, name: &str, message: &str) {
        self.issue(name, json!({"code": "custom", "message": message}));
    }

    /// # Errors
    /// 400 with every issue, if there are any.
    fn finish(self) -> Result<(), Refusal> {
        if self.issues.is_empty() { Ok(()) } else { Err(invalid(self.issues)) }
    }

    fn check_length(&mut self, name: &str, text: &str, max: usize) {
        let issue = |code: &str, bound: &str, limit: usize, words: &str| {
            let message = format!("String must contain at {words} {limit} character(s)");
            let mut issue = json!({"code": code, "type": "string", "inclusive": true, "exact": false});
            issue[bound] = limit.into();
            issue["message"] = message.into();
            issue
        };
        if text.is_empty() {
            self.issue(name, issue("too_small", "minimum", 1, "least"));
        } else if text.chars().count() > max {
            self.issue(name, issue("too_big", "maximum", max, "most"));
        }
        self.check_content(name, text);
    }

    fn check_content(&mut self, name: &str, text: &str) {
        if text.contains('\0') {
            self.custom(name, "String must not contain U+0000");
        }
    }

    fn any_string(&mut self, name: &'static str, expected: &str) -> Option<String> {
        match self.values.get(name) {
            Some(Value::String(text)) => Some(text.clone()),
            other => {
                self.issues.push(wrong_type(expected, other, Some(name)));
                None
            }
        }
    }
}

/// The refusal of a request whose `name` is not valid.
pub(crate) fn invalid_field(name: &str, message: &str) -> Refusal {
    invalid(vec![json!({"code": "custom", "message": message, "path": [name]})])
}

/// The body as JSON, or `None` when there is none at all.
///
/// # Errors
/// 400 for malformed JSON, 415 for another media type.
pub(crate) async fn json_body(request: Request) -> Result<Option<Value>, Refusal> {
    let (parts, body) = request.into_parts();
    parse(&parts.headers, &bytes_of(body).await?)
}

async fn bytes_of(body: axum::body::Body) -> Result<axum::body::Bytes, Refusal> {
    body.collect().await.map(|collected| collected.to_bytes()).map_err(|error| Refusal::internal(&error))
}

fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Option<Value>, Refusal> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" if body.is_empty() => {
            let message = "Body cannot be empty when content-type is set to 'application/json'";
            Err(Refusal::new(400, code::EMPTY_BODY, message))
        }
        "application/json" => serde_json::from_slice(body).map(Some).map_err(|error| {
            let message = format!("Body is not valid JSON: line {}, column {}", error.line(), error.column());
            Refusal::new(400, code::MALFORMED_JSON, message)
        }),
        "" if body.is_empty() => Ok(None),
        "text/plain" => Ok(Some(String::from_utf8_lossy(body).into())),
        _ => {
            let message = format!("Unsupported Media Type: {media_type}");
            Err(Refusal::new(415, code::UNSUPPORTED_MEDIA_TYPE, message))
        }
    }
}

/// 400 with `issues`.
fn invalid(issues: Vec<Value>) -> Refusal {
    Refusal::new(400, code::VALIDATION_FAILED, "").with_details(issues.into())
}

fn wrong_type(expected: &str, found: Option<&Value>, name: Option<&str>) -> Value {
    let received = match found {
        None => "undefined",
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "boolean",
        Some(Value::Number(_)) => "number",
        Some(Value::String(_)) => "string",
        Some(Value::Array(_)) => "array",
        Some(Value::Object(_)) => "object",
    };
    let message = match found {
        None => "Required".to_owned(),
        Some(_) => format!("Expected {expected}, received {received}"),
    };
    let path: Vec<_> = name.into_iter().collect();
    json!({"code": "invalid_type", "expected": expected, "received": received, "path": path, "message": message})
}

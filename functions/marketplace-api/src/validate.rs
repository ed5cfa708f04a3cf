//! Reading requests as the service this one replaces does: exact types, every issue reported, in the fields' order.

use http::header;
use serde_json::{Map, Value, json};
use switchyard_core::Timestamp;
use switchyard_lambda::{Call, Reply};

/// Largest body taken.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Longest name, id or receipt, in characters.
pub const MAX_NAME: usize = 255;

/// Longest token, in characters.
pub const MAX_TEXT: usize = 8_192;

/// Longest address, in characters; every delivery keeps its own.
pub const MAX_URL: usize = 2_048;

/// The reply to a request that cannot be read.
pub type Refusal = Box<Reply>;

/// A request's fields, and what is wrong with those read so far.
#[derive(Debug)]
pub struct Fields {
    values: Map<String, Value>,
    issues: Vec<Value>,
}

impl Fields {
    /// The fields of a JSON body.
    ///
    /// # Errors
    /// The reply for a body that is no JSON object.
    pub fn body(call: &Call) -> Result<Self, Refusal> {
        match json_body(call)? {
            Some(Value::Object(values)) => Ok(Self { values, issues: Vec::new() }),
            other => Err(invalid(&[wrong_type("object", other.as_ref(), None)])),
        }
    }

    /// The fields of a JSON body that may be left out.
    ///
    /// # Errors
    /// As [`Fields::body`].
    pub fn optional_body(call: &Call) -> Result<Self, Refusal> {
        if call.body.is_empty() { Ok(Self { values: Map::new(), issues: Vec::new() }) } else { Self::body(call) }
    }

    /// The fields of the query string. A name that stands twice is an array, as it is there.
    pub fn query(call: &Call) -> Self {
        let mut values = Map::new();
        for (name, value) in call.form() {
            match values.get_mut(&name) {
                None => drop(values.insert(name, value.into())),
                Some(Value::Array(known)) => known.push(value.into()),
                Some(known) => *known = json!([known, value]),
            }
        }
        Self { values, issues: Vec::new() }
    }

    /// A string of 1 to `max` characters.
    pub fn string(&mut self, name: &'static str, max: usize) -> String {
        let text = self.any_string(name, "string");
        if let Some(text) = &text {
            self.check_length(name, text, max);
        }
        text.unwrap_or_default()
    }

    /// A string of exactly `length` UTF-16 units.
    pub fn string_of(&mut self, name: &'static str, length: usize) -> String {
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
    pub fn one_of(&mut self, name: &'static str, options: &[&str]) -> String {
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
    pub fn uuid(&mut self, name: &'static str) -> String {
        let text = self.any_string(name, "string");
        if text.as_ref().is_some_and(|text| !is_uuid(text)) {
            let issue = json!({"validation": "uuid", "code": "invalid_string", "message": "Invalid uuid"});
            self.issue(name, issue);
        }
        text.unwrap_or_default().to_ascii_lowercase()
    }

    /// A number from `least` to `most`, if the field came; `None` for `null`.
    pub fn number(&mut self, name: &'static str, least: u64, most: u64) -> Option<Option<u64>> {
        let value = self.values.get(name)?;
        let number = value.as_u64().filter(|number| (least..=most).contains(number));
        if number.is_none() && !value.is_null() {
            self.custom(name, &format!("Expected a whole number from {least} to {most}"));
        }
        Some(number)
    }

    /// A boolean, if the field came.
    pub fn boolean(&mut self, name: &'static str) -> Option<bool> {
        let value = self.values.get(name)?;
        if !value.is_boolean() {
            self.issues.push(wrong_type("boolean", self.values.get(name), Some(name)));
        }
        self.values.get(name)?.as_bool()
    }

    /// An instant in ISO 8601, such as `2026-01-05T10:00:00Z`.
    pub fn instant(&mut self, name: &'static str) -> Timestamp {
        let text = self.any_string(name, "string");
        let instant = text.as_deref().map(str::parse);
        if let Some(Err(_)) = instant {
            self.custom(name, "Expected a time such as 2026-01-05T10:00:00Z");
        }
        instant.and_then(Result::ok).unwrap_or_default()
    }

    /// The field as it came, if it came.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// Notes an issue about `name`.
    pub fn issue(&mut self, name: &str, mut issue: Value) {
        issue["path"] = json!([name]);
        self.issues.push(issue);
    }

    /// Notes an issue about `name` in words of our own.
    pub fn custom(&mut self, name: &str, message: &str) {
        self.issue(name, json!({"code": "custom", "message": message}));
    }

    /// # Errors
    /// The reply that lists every issue, if there are any.
    pub fn finish(self) -> Result<(), Refusal> {
        if self.issues.is_empty() { Ok(()) } else { Err(invalid(&self.issues)) }
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

/// The reply to a request whose `name` is not what it should be.
pub fn about(name: &str, message: &str) -> Reply {
    *invalid(&[json!({"code": "custom", "message": message, "path": [name]})])
}

/// The body as JSON, or `None` when there is none at all.
///
/// # Errors
/// The reply for a body that is too large, malformed, or not JSON by its media type.
pub fn json_body(call: &Call) -> Result<Option<Value>, Refusal> {
    if call.body.len() > MAX_BODY_BYTES {
        let message = "Request body is too large";
        return Err(refuse(
            413,
            &json!({"statusCode": 413, "code": "FST_ERR_CTP_BODY_TOO_LARGE", "error": "Payload Too Large",
                    "message": message}),
        ));
    }
    let media_type = call.header(header::CONTENT_TYPE).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" if call.body.is_empty() => {
            let message = "Body cannot be empty when content-type is set to 'application/json'";
            Err(refuse(
                400,
                &json!({"statusCode": 400, "code": "FST_ERR_CTP_EMPTY_JSON_BODY", "error": "Bad Request",
                        "message": message}),
            ))
        }
        "application/json" => serde_json::from_slice(&call.body).map(Some).map_err(|error| {
            let message = format!("Body is not valid JSON: line {}, column {}", error.line(), error.column());
            refuse(400, &json!({"statusCode": 400, "error": "Bad Request", "message": message}))
        }),
        "" if call.body.is_empty() => Ok(None),
        "text/plain" => Ok(Some(String::from_utf8_lossy(&call.body).into())),
        _ => Err(refuse(
            415,
            &json!({"statusCode": 415, "code": "FST_ERR_CTP_INVALID_MEDIA_TYPE", "error": "Unsupported Media Type",
                    "message": format!("Unsupported Media Type: {media_type}")}),
        )),
    }
}

fn refuse(status: u16, body: &Value) -> Refusal {
    Box::new(Reply::json(status, body))
}

/// 400 with `issues`.
fn invalid(issues: &[Value]) -> Refusal {
    refuse(400, &json!({"error": "Validation error", "details": issues}))
}

/// Whether `text` is written like a UUID, of whatever version.
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
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

//! How a refusal is written: each API keeps the shape that its clients know.

use crate::refusal::{Refusal, code};
use http::Method;
use schemars::{Schema, json_schema};
use serde_json::{Value, json};

/// The request that a refusal belongs to.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// HTTP method.
    pub method: Method,
    /// Path without the stage.
    pub path: String,
    /// Lambda's id of the invocation.
    pub request_id: String,
}

/// The shape of an API's errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// RFC 9457 `application/problem+json`, with `request_id`.
    Problem,
    /// `{"error": …}`, as ALIS reads it (spec adt §2).
    Alis,
    /// `{"error": …, "message": …}`, and Fastify's shape for bodies and routes (spec marketplace §2).
    Marketplace,
    /// `{"statusCode", "error", "message", "code", "requestId"}` (spec signals §2).
    Signals,
}

impl Dialect {
    /// Media type of an error's body.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Problem => "application/problem+json",
            Self::Alis | Self::Marketplace | Self::Signals => "application/json; charset=utf-8",
        }
    }

    /// The body of `refusal`.
    pub fn body(self, refusal: &Refusal, head: &RequestHead) -> Value {
        match self {
            Self::Problem => problem(refusal, head),
            Self::Alis => alis(refusal),
            Self::Marketplace => marketplace(refusal, head),
            Self::Signals => signals(refusal, head),
        }
    }

    /// Schema of an error's body, and the name it has in the document.
    pub fn schema(self) -> (&'static str, Schema) {
        match self {
            Self::Problem => ("Problem", problem_schema()),
            Self::Alis => ("AdtError", alis_schema()),
            Self::Marketplace => ("MarketplaceError", marketplace_schema()),
            Self::Signals => ("SignalsError", signals_schema()),
        }
    }
}

fn reason(refusal: &Refusal) -> &'static str {
    refusal.status().canonical_reason().unwrap_or("Error")
}

fn problem(refusal: &Refusal, head: &RequestHead) -> Value {
    let mut body = json!({
        "type": format!("/problems/{}", refusal.code().replace('_', "-")),
        "title": reason(refusal),
        "status": refusal.status().as_u16(),
        "detail": refusal.text(),
        "instance": head.path,
        "request_id": head.request_id,
    });
    if let Some(messages) = refusal.message().as_array() {
        body["errors"] = json!(messages);
    }
    body
}

fn problem_schema() -> Schema {
    json_schema!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "instance", "request_id"],
        "properties": {
            "type": {"type": "string", "description": "`/problems/<code>`"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "instance": {"type": "string"},
            "request_id": {"type": "string"},
            "errors": {"type": "array", "items": {"type": "string"}},
        },
    })
}

fn alis(refusal: &Refusal) -> Value {
    let mut body = json!({"error": reason(refusal)});
    match (refusal.code(), refusal.details()) {
        (code::BODY_TOO_LARGE, Some(limit)) => body["limit"] = limit.clone(),
        (code::VALIDATION_FAILED | code::MALFORMED_JSON, details) => {
            body["error"] = "Invalid payload".into();
            body["details"] = details.unwrap_or_else(|| refusal.message()).clone();
        }
        _ => {}
    }
    body
}

fn alis_schema() -> Schema {
    json_schema!({
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {"type": "string"},
            "details": {"description": "What is wrong with the payload, field by field"},
            "limit": {"type": "integer", "description": "Largest body, in bytes"},
        },
    })
}

fn marketplace(refusal: &Refusal, head: &RequestHead) -> Value {
    let (status, message) = (refusal.status().as_u16(), refusal.text());
    let fastify = |code: Option<&str>, message: String| {
        let mut body = json!({"statusCode": status, "error": reason(refusal), "message": message});
        if let Some(code) = code {
            body["code"] = code.into();
        }
        body
    };
    let words = |error: &str, message: &str| json!({"error": error, "message": message});
    match refusal.code() {
        code::ROUTE_NOT_FOUND => fastify(None, format!("Route {}:{} not found", head.method, head.path)),
        code::METHOD_NOT_ALLOWED => fastify(None, message),
        code::BODY_TOO_LARGE => fastify(Some("FST_ERR_CTP_BODY_TOO_LARGE"), "Request body is too large".to_owned()),
        code::UNSUPPORTED_MEDIA_TYPE => fastify(Some("FST_ERR_CTP_INVALID_MEDIA_TYPE"), message),
        code::EMPTY_BODY => fastify(Some("FST_ERR_CTP_EMPTY_JSON_BODY"), message),
        code::MALFORMED_JSON => fastify(None, message),
        code::VALIDATION_FAILED => match refusal.details() {
            Some(issues) => json!({"error": "Validation error", "details": issues}),
            None => {
                let issues: Vec<_> = refusal.message().as_array().into_iter().flatten().collect();
                let issue = |text: &&Value| json!({"code": "custom", "message": text, "path": []});
                json!({"error": "Validation error", "details": issues.iter().map(issue).collect::<Vec<_>>()})
            }
        },
        code::IDEMPOTENCY_KEY_INVALID => words("invalid_idempotency_key", &message),
        code::IDEMPOTENCY_KEY_REUSED => words("idempotency_key_reused", &message),
        code::IDEMPOTENCY_KEY_IN_USE => words("idempotency_key_in_use", &message),
        code::INTERNAL => words("internal_server_error", &message),
        code::UNAVAILABLE | code::TIMEOUT => words("service_unavailable", &message),
        // The service that this one replaces says of missing things only what is missing.
        code::NOT_FOUND => json!({"error": message}),
        code if message.is_empty() => json!({"error": code}),
        code => words(code, &message),
    }
}

fn marketplace_schema() -> Schema {
    json_schema!({
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {"type": "string"},
            "message": {"type": "string"},
            "statusCode": {"type": "integer"},
            "code": {"type": "string"},
            "details": {"type": "array", "items": {"type": "object", "required": ["code", "message", "path"]}},
        },
    })
}

fn signals(refusal: &Refusal, head: &RequestHead) -> Value {
    let (code, message) = match refusal.code() {
        code::ROUTE_NOT_FOUND => (code::NOT_FOUND, format!("Cannot {} {}", head.method, head.path).into()),
        code => (code, refusal.message().clone()),
    };
    let mut body = json!({
        "statusCode": refusal.status().as_u16(),
        "error": reason(refusal),
        "message": message,
        "code": code,
        "requestId": head.request_id,
    });
    if let Some(details) = refusal.details().filter(|details| details.is_array()) {
        body["details"] = details.clone();
    }
    body
}

fn signals_schema() -> Schema {
    json_schema!({
        "type": "object",
        "required": ["statusCode", "error", "message", "code", "requestId"],
        "properties": {
            "statusCode": {"type": "integer"},
            "error": {"type": "string"},
            "message": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
            "code": {"type": "string"},
            "requestId": {"type": "string"},
            "details": {"type": "array", "items": {"type": "object"}},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> RequestHead {
        RequestHead { method: Method::GET, path: "/x".into(), request_id: "r-1".into() }
    }

    #[test]
    fn an_unknown_route_is_said_in_each_dialects_words() {
        let refusal = Refusal::new(404, code::ROUTE_NOT_FOUND, "No such route");
        let body = |dialect: Dialect| dialect.body(&refusal, &head());
        assert_eq!(body(Dialect::Problem)["type"], "/problems/route-not-found");
        assert_eq!(body(Dialect::Alis), json!({"error": "Not Found"}));
        let message = "Route GET:/x not found";
        assert_eq!(body(Dialect::Marketplace), json!({"statusCode": 404, "error": "Not Found", "message": message}));
        assert_eq!(body(Dialect::Signals)["message"], "Cannot GET /x");
        assert_eq!(body(Dialect::Signals)["code"], "not_found");
    }

    #[test]
    fn a_fault_shows_nothing_of_its_cause() {
        let cause = std::io::Error::other("password=canary");
        for refusal in [Refusal::internal(&cause), Refusal::unavailable(&cause)] {
            for dialect in [Dialect::Problem, Dialect::Alis, Dialect::Marketplace, Dialect::Signals] {
                assert!(!dialect.body(&refusal, &head()).to_string().contains("canary"));
            }
            assert!(refusal.cause().is_some_and(|cause| cause.contains("canary")));
        }
    }
}

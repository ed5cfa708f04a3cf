//! The routes' documents: OpenAPI 3.1, made of the table of routes and the bodies' own types.

use crate::access::Who;
use crate::answer::Failure;
use crate::body::text_reply;
use crate::table::{DELETE, Does, POST, ROUTES, Route, SCOPES};
use serde_json::{Map, Value, json};
use std::sync::OnceLock;
use switchyard_core::{Env, EnvError};
use switchyard_lambda::Reply;
use switchyard_signals::Role;

/// The documents, unless they are switched off.
pub struct Docs {
    is_on: bool,
    document: OnceLock<Value>,
}

impl Docs {
    /// Reads `DOCS_ENABLED` (true or false, default true).
    ///
    /// # Errors
    /// The setting is wrong.
    pub fn from_env(env: &Env) -> Result<Self, EnvError> {
        Ok(Self { is_on: env.parsed("DOCS_ENABLED", true)?, document: OnceLock::new() })
    }

    /// As JSON.
    pub fn json(&self) -> Result<Reply, Failure> {
        Ok(Reply::json(200, self.document()?))
    }

    /// As YAML.
    pub fn yaml(&self) -> Result<Reply, Failure> {
        let text = serde_yaml_ng::to_string(self.document()?);
        let text = text.map_err(|error| Failure::unavailable(&error))?;
        Ok(text_reply("application/yaml; charset=utf-8", text))
    }

    /// As a page.
    pub fn page(&self) -> Result<Reply, Failure> {
        self.document()?;
        Ok(text_reply("text/html; charset=utf-8", PAGE.to_owned()))
    }

    fn document(&self) -> Result<&Value, Failure> {
        if self.is_on { Ok(self.document.get_or_init(document)) } else { Err(Failure::not_found()) }
    }
}

/// The page loads its viewer, whose digest it knows, from the network; without it, it leads to the document.
const PAGE: &str = r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Switchyard: signals</title>
<link rel="stylesheet" href="https://unpkg.com/swagger-ui-dist@5.35.0/swagger-ui.css"
  integrity="sha384-WlYgdmXYOOBWL5apwjDEZwN+U3HmXSSu5R6V5aGxEcf7z+KuRNwBhoxKVN1i3D5I" crossorigin="anonymous">
</head>
<body>
<div id="viewer">The document is <a href="/api/docs-json">here as JSON</a> and <a href="/api/docs-yaml">here as YAML</a>.</div>
<script src="https://unpkg.com/swagger-ui-dist@5.35.0/swagger-ui-bundle.js"
  integrity="sha384-gjRm0bEPMeTmMh5jT2cHccIwCUZSTd8YC+j0d0sXw0MdGEfScduGpSyF3ZSSLkX9" crossorigin="anonymous"></script>
<script>
  if (window.SwaggerUIBundle) SwaggerUIBundle({ url: "/api/docs-json", dom_id: "#viewer" });
</script>
</body>
</html>
"##;

fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Switchyard: signals",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Tenants' events, the rules that weigh them, the notifications that go out, and what was used.",
        },
        "tags": [{"name": "signals"}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "JWT": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "API Key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "schemas": {"Error": error_schema()},
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut parameters: Vec<_> = names_in(route.path)
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    parameters
        .extend(route.query.iter().map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}})));
    if route.who != Who::User && route.method == POST && !matches!(route.who, Who::Anyone) {
        let schema = json!({"type": "string", "maxLength": 255});
        parameters.push(json!({"name": "idempotency-key", "in": "header", "schema": schema}));
    }
    let mut responses = json!({route.status.to_string(): {"description": "Success"}});
    for (status, description) in refusals(route) {
        let schema = json!({"$ref": "#/components/schemas/Error"});
        let content = json!({"application/json": {"schema": schema, "example": example(status, description)}});
        responses[status.to_string()] = json!({"description": description, "content": content});
    }
    let mut operation = json!({
        "summary": route.summary,
        "description": who(route.who),
        "operationId": name(route.does),
        "tags": ["signals"],
        "security": security(route.who),
        "parameters": parameters,
        "responses": responses,
    });
    // An operation's id stands for one operation only.
    if route.method == DELETE {
        operation["operationId"] = format!("{}ByDelete", name(route.does)).into();
    }
    if let Some(body) = route.body {
        operation["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": body()}}});
    }
    operation
}

fn names_in(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn refusals(route: &Route) -> Vec<(u16, &'static str)> {
    let mut refusals = Vec::new();
    if route.body.is_some() || !route.query.is_empty() {
        refusals.push((400, "A field is not what it should be"));
    }
    if route.who != Who::Anyone {
        refusals.push((401, "No credential, or one that is not good"));
        refusals.push((403, "The credential may not do that"));
    }
    if route.path.contains('{') {
        refusals.push((404, "Not found"));
    }
    if matches!(route.who, Who::Producer) {
        refusals.push((429, "Hard limit reached"));
    }
    refusals
}

fn example(status: u16, message: &str) -> Value {
    let failure = Failure::new(status, "code", message);
    failure.body("01a210bc-32bc-736d-87b8-23caacb4657e")
}

fn name(does: Does) -> String {
    match does {
        Does::Open(op) => format!("{op:?}"),
        Does::Guarded(op) => format!("{op:?}"),
    }
}

fn error_schema() -> Value {
    json!({
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

fn security(who: Who) -> Value {
    match who {
        Who::Anyone => json!([]),
        Who::Producer => json!([{"API Key": []}]),
        Who::Role(_, Some(_)) => json!([{"JWT": []}, {"API Key": []}]),
        Who::User | Who::Role(_, None) | Who::AdminOrOperator | Who::Operator => json!([{"JWT": []}]),
    }
}

fn who(who: Who) -> String {
    let role = |role: Role| match role {
        Role::Member => "Any user of the tenant",
        Role::Admin => "An admin of the tenant",
        Role::Owner => "An owner of the tenant",
        Role::Operator => "An operator",
    };
    match who {
        Who::Anyone => "Anyone.".to_owned(),
        Who::Producer => format!("An API key with the scope {}.", SCOPES[0]),
        Who::User => "Whoever is logged in.".to_owned(),
        Who::Role(least, None) => format!("{}.", role(least)),
        Who::Role(least, Some(scope)) => format!("{}; or an API key with the scope {scope}.", role(least)),
        Who::AdminOrOperator => format!("{}; or {}, of all tenants'.", role(Role::Admin), role(Role::Operator)),
        Who::Operator => format!("{}.", role(Role::Operator)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_route_is_documented_with_its_security_and_an_id_of_its_own() {
        let document = document();
        let mut ids = BTreeSet::new();
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.method.to_ascii_lowercase()];
            assert_eq!(operation["summary"], route.summary);
            let id = operation["operationId"].as_str().unwrap();
            assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()) && ids.insert(id.to_owned()), "{operation}");
            assert_eq!(operation["security"] == json!([]), route.who == Who::Anyone, "{}", route.path);
        }
    }
}

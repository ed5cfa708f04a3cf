//! The operations as OpenAPI 3.1.

use crate::dialect::{Dialect, RequestHead};
use crate::endpoint::Rules;
use crate::idempotency;
use crate::operation::Operation;
use crate::refusal::Refusal;
use http::Method;
use serde_json::{Map, Value, json};
use switchyard_identity::Access;

/// One function's document, or the name of a schema that two types define in different ways.
pub(crate) fn document(tag: &str, dialect: Dialect, operations: &[(&Method, &Rules)]) -> Result<Value, String> {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    let (error_name, error_schema) = dialect.schema();
    schemas.insert(error_name.to_owned(), with_example(dialect, error_schema.to_value()));
    for (method, rules) in operations {
        let mut operation = Operation::new();
        rules.describe(&mut operation);
        let described = describe(tag, dialect, error_name, rules, &mut operation);
        for (name, schema) in operation.outputs.take_definitions(true) {
            insert(&mut schemas, name, schema)?;
        }
        let path = paths.entry(rules.path).or_insert_with(|| json!({}));
        path[method.as_str().to_ascii_lowercase()] = described;
    }
    Ok(json!({"paths": paths, "components": {"schemas": schemas}}))
}

/// Adds a schema; two types of one name would otherwise overwrite each other.
fn insert(schemas: &mut Map<String, Value>, name: String, schema: Value) -> Result<(), String> {
    if schemas.get(&name).is_some_and(|known| *known != schema) {
        return Err(name);
    }
    schemas.insert(name, schema);
    Ok(())
}

fn describe(tag: &str, dialect: Dialect, error_name: &str, rules: &Rules, operation: &mut Operation) -> Value {
    let braces = rules.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let path_schemas = std::mem::take(&mut operation.path_schemas);
    let mut parameters: Vec<Value> = braces
        .zip(path_schemas)
        .map(|(name, schema)| json!({"name": name, "in": "path", "required": true, "schema": schema}))
        .collect();
    if rules.is_idempotent {
        idempotency::describe(operation);
    }
    imply_refusals(rules, operation, !parameters.is_empty());
    parameters.append(&mut operation.parameters);
    let mut responses = Map::new();
    for (status, response) in &operation.responses {
        responses.insert(status.to_string(), response.clone());
    }
    for (status, meaning) in &operation.refusals {
        responses.entry(status.to_string()).or_insert_with(|| refusal(dialect, error_name, meaning));
    }
    let mut described = json!({
        "operationId": camel_case(rules.handler_name),
        "summary": rules.summary,
        "description": rules.access.description(),
        "tags": [tag],
        "security": security(rules.access),
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(body) = operation.body.take() {
        described["requestBody"] = body;
    }
    described
}

/// Refusals that follow from an operation's access and types.
fn imply_refusals(rules: &Rules, operation: &mut Operation, has_path_parameter: bool) {
    if rules.is_strict || operation.body.is_some() || !operation.parameters.is_empty() {
        operation.refuse(400, "A field or parameter is not valid");
    }
    if rules.access != Access::Anyone {
        operation.refuse(401, "The credential is missing or not valid");
    }
    if !matches!(rules.access, Access::Anyone | Access::Signature | Access::Basic | Access::Organization) {
        operation.refuse(403, "The credential does not allow this");
    }
    if has_path_parameter {
        operation.refuse(404, "Not found");
    }
    if operation.body.is_some() {
        operation.refuse(413, "The body is too large");
        operation.refuse(415, "The media type is not supported");
    }
    for (status, meaning) in rules.refusals {
        operation.refuse(*status, meaning);
    }
    operation.refuse(500, "Internal error");
    operation.refuse(503, "A dependency is unavailable, or the request took too long");
}

fn refusal(dialect: Dialect, error_name: &str, meaning: &str) -> Value {
    let media_type = dialect.media_type().split(';').next().unwrap_or_default();
    let schema = json!({"$ref": format!("#/components/schemas/{error_name}")});
    json!({"description": meaning, "content": {media_type: {"schema": schema}}})
}

/// A dialect's schema with one of its errors.
fn with_example(dialect: Dialect, mut schema: Value) -> Value {
    let head = RequestHead {
        method: Method::GET,
        path: "/path".to_owned(),
        request_id: "01a210bc-32bc-736d-87b8-23caacb4657e".to_owned(),
    };
    schema["examples"] = json!([dialect.body(&Refusal::not_found(), &head)]);
    schema
}

fn security(access: Access) -> Value {
    match access {
        Access::Anyone | Access::Signature => json!([]),
        Access::Basic => json!([{"Basic": []}]),
        Access::Organization => json!([{"ApiKey": []}, {"BearerKey": []}]),
        Access::ApiKey(_) => json!([{"ApiKey": []}]),
        Access::Tenant(_, Some(_)) => json!([{"Token": []}, {"ApiKey": []}]),
        Access::OperatorOrBasic => json!([{"Token": []}, {"Basic": []}]),
        Access::User | Access::Tenant(_, None) | Access::AdminOrOperator | Access::Operator => json!([{"Token": []}]),
    }
}

/// `create_rule` becomes `createRule`.
fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

/// One document of several functions' ones.
///
/// # Errors
/// The name of what two functions both define in different ways.
pub fn merge(title: &str, version: &str, tags: &[(&str, &str)], documents: Vec<Value>) -> Result<Value, String> {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for mut document in documents {
        let Value::Object(own_paths) = document["paths"].take() else { return Err("paths".to_owned()) };
        for (path, operations) in own_paths {
            if paths.insert(path.clone(), operations).is_some() {
                return Err(path);
            }
        }
        let Value::Object(own) = document["components"]["schemas"].take() else { return Err("schemas".to_owned()) };
        for (name, schema) in own {
            insert(&mut schemas, name, schema)?;
        }
    }
    let tags: Vec<_> =
        tags.iter().map(|(name, description)| json!({"name": name, "description": description})).collect();
    Ok(json!({
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "license": {"name": "MIT", "identifier": "MIT"}},
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "tags": tags,
        "paths": paths,
        "components": {
            "securitySchemes": {
                "Basic": {"type": "http", "scheme": "basic"},
                "Token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "BearerKey": {"type": "http", "scheme": "bearer", "description": "An API key as bearer token"},
                "ApiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "schemas": schemas,
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handler_names_become_operation_ids() {
        assert_eq!(camel_case("create_rule"), "createRule");
        assert_eq!(camel_case("list_dead_letters"), "listDeadLetters");
    }

    #[test]
    fn two_functions_may_not_define_one_name_in_two_ways() {
        let document = |schema: Value| json!({"paths": {}, "components": {"schemas": {"A": schema}}});
        let merged = |other: Value| merge("t", "1", &[], vec![document(json!({"type": "object"})), document(other)]);
        assert!(merged(json!({"type": "object"})).is_ok());
        assert_eq!(merged(json!({"type": "string"})).unwrap_err(), "A");
    }
}

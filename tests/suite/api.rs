//! Template, routers and document say the same; every operation is described.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use switchyard_local::Template;
use switchyard_tests::{document, root};

/// Method and path of every operation, by function.
fn served() -> BTreeMap<&'static str, BTreeSet<(String, &'static str)>> {
    let routes = |routes: Vec<(http::Method, &'static str)>| {
        let count = routes.len();
        let routes: BTreeSet<_> = routes.into_iter().map(|(method, path)| (method.to_string(), path)).collect();
        assert_eq!(routes.len(), count, "an operation stands twice");
        routes
    };
    BTreeMap::from([
        ("adt-webhook", routes(adt_webhook::api().routes())),
        ("marketplace-api", routes(marketplace_api::api().routes())),
        ("events-api", routes(events_api::api().routes())),
        ("ops-api", routes(ops_api::api().routes())),
    ])
}

#[test]
fn the_template_routes_exactly_what_the_functions_serve() {
    let template = Template::read(&root().join("template.yaml"), "").unwrap();
    let mut routed: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for route in template.routes().unwrap() {
        routed.entry(route.function).or_default().insert((route.method, route.path));
    }
    let served = served();
    assert_eq!(routed.keys().collect::<Vec<_>>(), served.keys().collect::<Vec<_>>());
    for (function, operations) in served {
        let routes = &routed[function];
        for (method, path) in &operations {
            let is_routed = routes.iter().any(|(routed, pattern)| match pattern.split_once("{proxy+}") {
                Some((prefix, _)) => routed == "ANY" && path.starts_with(prefix),
                None => routed == method && pattern == path,
            });
            assert!(is_routed, "{method} {path} of {function} has no route in template.yaml");
        }
        for (method, pattern) in routes.iter().filter(|(_, pattern)| !pattern.contains("{proxy+}")) {
            let is_served = operations.iter().any(|(served, path)| served == method && path == pattern);
            assert!(is_served, "template.yaml routes {method} {pattern} to {function}, which does not serve it");
        }
    }
}

#[test]
fn every_router_can_be_built() {
    adt_webhook::api().check_routes();
    marketplace_api::api().check_routes();
    events_api::api().check_routes();
    ops_api::api().check_routes();
}

#[test]
fn the_committed_document_is_fresh() {
    let committed = std::fs::read_to_string(document::path()).unwrap();
    let fresh = document::text().unwrap();
    assert!(committed == fresh, "docs/openapi.json is stale: run `cargo run --bin openapi`");
}

#[test]
fn every_operation_is_described() {
    let document = document::document().unwrap();
    let mut ids = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let what = format!("{method} {path}");
            let id = operation["operationId"].as_str().unwrap();
            assert!(is_verb_noun(id), "{what}: {id} starts with a verb and names a thing");
            assert!(ids.insert(id.to_owned()), "{what}: {id} stands twice");
            let summary = operation["summary"].as_str().unwrap();
            assert!(VERBS.contains(&summary.split(' ').next().unwrap().to_lowercase().as_str()), "{what}: {summary}");
            assert!(!summary.ends_with('.') && summary.contains(' '), "{what}: {summary}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{what} succeeds with something");
            for (status, response) in responses {
                let has_schema = response["content"]
                    .as_object()
                    .is_some_and(|content| content.values().all(|content| content["schema"].is_object()));
                assert!(has_schema || status == "204", "{what}: {status} has a schema");
            }
            let braces = path.matches('{').count();
            let parameters = operation["parameters"].as_array().unwrap();
            assert_eq!(parameters.iter().filter(|parameter| parameter["in"] == "path").count(), braces, "{what}");
        }
    }
    assert!(!document.to_string().contains("\"null\"],\"in\""));
}

/// Verbs that names and summaries start with.
const VERBS: [&str; 36] = [
    "activate",
    "archive",
    "change",
    "create",
    "delete",
    "disable",
    "enable",
    "evaluate",
    "export",
    "get",
    "import",
    "list",
    "pause",
    "reactivate",
    "read",
    "receive",
    "recover",
    "redrive",
    "register",
    "replace",
    "replay",
    "resend",
    "resume",
    "retry",
    "revoke",
    "rotate",
    "send",
    "suspend",
    "test",
    "update",
    "validate",
    "verify",
    "sign",
    "open",
    "close",
    "cancel",
];

fn is_verb_noun(id: &str) -> bool {
    let is_plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_plain && VERBS.iter().any(|verb| id.strip_prefix(verb).is_some_and(|noun| noun.starts_with(char::is_uppercase)))
}

#[test]
fn references_lead_to_schemas() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = document::document().unwrap();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

//! The platform's own routes, and the functions' answers to their sample events.

use super::client;
use serde_json::{Value, json};
use switchyard_tests::root;

#[tokio::test]
async fn health_tells_of_the_platform_and_deep_health_of_each_dependency() {
    let (client, _) = client();
    if client.stack().is_deployed {
        println!("skipped: the emulator answers /health itself; the sample events stand for it there");
        return;
    }
    let health = client.get("/health").await.unwrap();
    assert_eq!((health.status, &health.body["status"]), (200, &json!("ok")));
    assert!(
        health.body["timestamp"].is_string() && health.body["uptime"].is_number() && health.body["version"].is_string()
    );
    let deps = client.get("/health/deps").await.unwrap();
    let all = json!({"status": "ok", "alis": "ok", "database": "ok", "redis": "ok", "queue": "ok"});
    assert_eq!((deps.status, deps.body), (200, all));
    let orders = client.get("/health/orders").await.unwrap();
    let all = json!({"status": "ok", "orders": "ok", "callbacks": "ok", "orderQueue": "ok", "callbackQueue": "ok"});
    assert_eq!((orders.status, orders.body), (200, all));
}

#[tokio::test]
async fn unknown_and_odd_paths_are_404() {
    let (client, _) = client();
    assert_eq!(client.get("/nowhere").await.unwrap().status, 404);
    if client.stack().is_deployed {
        println!(
            "skipped: the emulator's gateway drops trailing slashes; the function's own paths are tested in shared/lambda"
        );
        return;
    }
    for path in [
        "/docs/",
        "/api/",
        "/api/health/",
        "/api/rules/a%2Fb",
        "/api/health%3Fx",
        "/api/rules/a%5C..%5Cb",
        "/API/health",
    ] {
        assert_eq!(client.get(path).await.unwrap().status, 404, "{path}");
    }
}

#[tokio::test]
async fn the_document_is_served_in_each_form_and_loads_nothing_from_elsewhere() {
    let (client, _) = client();
    let document = client.get("/docs.json").await.unwrap();
    assert_eq!((document.status, &document.body["openapi"]), (200, &json!("3.1.0")));
    assert_eq!(client.get("/api/docs-json").await.unwrap().body, document.body);
    for path in ["/docs.yaml", "/api/docs-yaml"] {
        let yaml = client.get(path).await.unwrap();
        assert_eq!(
            (yaml.status, yaml.headers["content-type"].to_str().unwrap()),
            (200, "application/yaml; charset=utf-8")
        );
    }
    for path in ["/docs", "/api/docs"] {
        let page = client.send("GET", path, &[], String::new()).await.unwrap();
        assert_eq!((page.status, page.headers["content-type"].to_str().unwrap()), (200, "text/html; charset=utf-8"));
        assert!(page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    }
    let service = client.get("/").await.unwrap().body;
    assert_eq!(service["service"], "switchyard");
    let endpoints = service["endpoints"].as_array().unwrap();
    assert!(endpoints.iter().any(|one| one["path"] == "/webhook/alis" && one["workflow"] == "ADT"), "{service}");
}

/// Status that each sample event of `adt-webhook` must answer with.
const WEBHOOK_SAMPLES: [(&str, u16); 11] = [
    ("forged-forwarded-for", 403),
    ("health", 200),
    ("health-deps", 200),
    ("ignored", 202),
    ("invalid-payload", 400),
    ("malformed-json", 400),
    ("method-not-allowed", 405),
    ("queued", 202),
    ("queued-base64", 202),
    ("test-event", 202),
    ("unauthorized", 401),
];

fn sample(function: &str, case: &str) -> Value {
    let path = root().join("events").join(function).join(format!("{case}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn samples(function: &str) -> Vec<String> {
    let files = std::fs::read_dir(root().join("events").join(function)).unwrap();
    let mut names: Vec<_> =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Status that each sample event of `marketplace-api` must answer with.
const MARKETPLACE_SAMPLES: &[(&str, u16)] = &[
    ("event-unknown", 404),
    ("health", 200),
    ("import-unknown-store", 404),
    ("inbound-etsy-forged", 401),
    ("inbound-shopify-forged", 401),
    ("list-webhooks", 200),
    ("malformed-json", 400),
    ("mock-rate-limited", 429),
    ("mock-success", 200),
    ("mock-unauthorized", 401),
    ("orders-unknown-store", 404),
    ("register-invalid", 400),
    ("register-store", 200),
    ("register-webhook", 200),
    ("register-webhook-invalid", 400),
    ("retry-unknown-store", 404),
    ("sync-status-unknown-store", 404),
    ("unsupported-media-type", 415),
];

#[tokio::test]
async fn v06_every_sample_of_the_http_functions_answers_as_it_should() {
    let (client, _) = client();
    for (function, expected) in [("adt-webhook", &WEBHOOK_SAMPLES[..]), ("marketplace-api", MARKETPLACE_SAMPLES)] {
        let cases: Vec<_> = expected.iter().map(|(case, _)| (*case).to_owned()).collect();
        assert_eq!(samples(function), cases, "each sample of {function} has its expected status");
        for (case, status) in expected {
            let answer = client.invoke(function, &sample(function, case)).await.unwrap();
            // What was queued before is a duplicate now.
            let accepted = [*status, if *status == 202 { 200 } else { *status }];
            let got = answer.body["statusCode"].as_u64().unwrap_or_default();
            assert!(accepted.iter().any(|status| u64::from(*status) == got), "{function} {case}: {}", answer.body);
        }
    }
}

#[tokio::test]
async fn samples_of_the_consumers_report_exactly_the_records_that_failed() {
    let (client, _) = client();
    for (function, case, failed) in [
        ("adt-consumer", "empty-batch", json!([])),
        ("adt-consumer", "malformed-record", json!(["m2"])),
        ("adt-consumer", "unknown-event", json!(["m1"])),
        ("callback-consumer", "empty-batch", json!([])),
        ("callback-consumer", "event-without-endpoints", json!([])),
        ("callback-consumer", "malformed-record", json!(["m2"])),
        ("callback-consumer", "unknown-delivery", json!([])),
        ("order-consumer", "empty-batch", json!([])),
        ("order-consumer", "malformed-record", json!(["m2"])),
        ("order-consumer", "unknown-store", json!([])),
    ] {
        let answer = client.invoke(function, &sample(function, case)).await.unwrap();
        let ids: Vec<_> = answer.body["batchItemFailures"]
            .as_array()
            .unwrap_or_else(|| panic!("{case}: {}", answer.body))
            .iter()
            .map(|failure| failure["itemIdentifier"].clone())
            .collect();
        assert_eq!(json!(ids), failed, "{case}");
    }
}

#[tokio::test]
async fn each_sweep_returns_the_counts_of_its_own_workflow() {
    let (client, _) = client();
    for (workflow, count) in
        [("adt", "resent"), ("orders", "scannedStores"), ("callbacks", "scanned"), ("signals", "scanned")]
    {
        let function = format!("{workflow}-sweep");
        let answer = client.invoke(&function, &sample(&function, "scheduled")).await.unwrap().body;
        assert!(answer[workflow][count].is_number(), "{function}: {answer}");
        let others = answer.as_object().unwrap().keys().filter(|key| !["archived", workflow].contains(&key.as_str()));
        assert_eq!(others.count(), 0, "{function} sweeps one workflow: {answer}");
    }
}

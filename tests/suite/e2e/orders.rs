//! Stores, orders and the mock marketplace over HTTP, by the vectors of their contract.

use super::client;
use serde_json::{Value, json};
use switchyard_tests::client::{Answer, Client, unique};

/// A store of this test's own.
struct Store {
    client: Client,
    registration: Value,
    token: String,
}

impl Store {
    async fn new() -> Self {
        let (client, _) = client();
        let registration = registration();
        let answer = client.post("/stores/register", &registration).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        let token = answer.body["syncToken"].as_str().unwrap().to_owned();
        Self { client, registration, token }
    }

    async fn import(&self, receipt: &str) -> Value {
        let answer = self.try_import(&self.token, receipt).await;
        assert_eq!(answer.status, 200, "{receipt}: {}", answer.body);
        answer.body
    }

    async fn try_import(&self, token: &str, receipt: &str) -> Answer {
        self.client.post("/orders/import", &json!({"syncToken": token, "receipt": receipt})).await.unwrap()
    }

    async fn status(&self) -> Value {
        let answer = self.client.get(&format!("/stores/sync-status?syncToken={}", self.token)).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }
}

fn registration() -> Value {
    let number = format!("{}-{}", unique(), switchyard_core::random::below(u64::MAX));
    json!({
        "organizationId": format!("org-{number}"),
        "marketplace": "etsy",
        "externalStoreId": "ext-100",
        "storeName": "My Etsy Store",
        "accessToken": "token-v1",
        "currency": "USD",
    })
}

fn with(mut body: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

/// `path code` of every issue.
fn issues(answer: &Answer) -> Vec<String> {
    assert_eq!((answer.status, &answer.body["error"]), (400, &json!("Validation error")), "{}", answer.body);
    let issue = |issue: &Value| {
        let path = issue["path"][0].as_str().unwrap_or("-");
        format!("{path} {}", issue["code"].as_str().unwrap())
    };
    answer.body["details"].as_array().unwrap().iter().map(issue).collect()
}

#[tokio::test]
async fn v01_a_second_registration_changes_name_token_and_currency_and_keeps_the_ids() {
    let store = Store::new().await;
    let first = store.client.post("/stores/register", &store.registration).await.unwrap();
    let second = with(store.registration.clone(), json!({"storeName": "B", "accessToken": "t2", "currency": "EUR"}));
    let second = store.client.post("/stores/register", &second).await.unwrap();
    assert_eq!((second.status, &second.body), (200, &first.body));
    // The new currency is what imports now say.
    assert_eq!(store.import("order-101").await["currency"], "EUR");
}

#[tokio::test]
async fn v02_v03_every_issue_is_reported_in_the_fields_order() {
    let (client, _) = client();
    let bad = with(registration(), json!({"currency": "US", "organizationId": "", "marketplace": "ebay"}));
    let answer = client.post("/stores/register", &bad).await.unwrap();
    let wanted = ["organizationId too_small", "marketplace invalid_enum_value", "currency too_small"];
    assert_eq!(issues(&answer), wanted);
    assert_eq!(
        answer.body["details"][1],
        json!({
            "received": "ebay", "code": "invalid_enum_value", "options": ["etsy", "shopify", "amazon"],
            "path": ["marketplace"],
            "message": "Invalid enum value. Expected 'etsy' | 'shopify' | 'amazon', received 'ebay'",
        })
    );
    assert_eq!(
        answer.body["details"][2],
        json!({
            "code": "too_small", "minimum": 3, "type": "string", "inclusive": true, "exact": true,
            "message": "String must contain exactly 3 character(s)", "path": ["currency"],
        })
    );
    let answer = client.post("/stores/register", &json!({})).await.unwrap();
    let fields = ["organizationId", "marketplace", "externalStoreId", "storeName", "accessToken", "currency"];
    assert_eq!(issues(&answer), fields.map(|field| format!("{field} invalid_type")));
    assert!(answer.body["details"].as_array().unwrap().iter().all(|issue| issue["message"] == "Required"));
}

#[tokio::test]
async fn v04_any_three_units_are_a_currency_and_unknown_keys_are_dropped() {
    let (client, _) = client();
    let body = with(registration(), json!({"currency": "usd", "extra": 1}));
    let token = client.post("/stores/register", &body).await.unwrap().body["syncToken"].clone();
    let answer = client.post("/orders/import", &json!({"syncToken": token, "receipt": "order-101"})).await.unwrap();
    assert_eq!(answer.body["currency"], "usd");
}

#[tokio::test]
async fn v05_bodies_that_are_no_object_are_refused_as_such() {
    let (client, _) = client();
    let json_type = [("content-type", "application/json")];
    for (headers, body, status, found) in [
        (&json_type[..], "[]", 400, json!("Expected object, received array")),
        (&json_type[..], "null", 400, json!("Expected object, received null")),
        (&[("content-type", "text/plain")][..], "{}", 400, json!("Expected object, received string")),
        (&[][..], "", 400, json!("Required")),
    ] {
        let answer = client.send("POST", "/stores/register", headers, body.to_owned()).await.unwrap();
        assert_eq!((answer.status, &answer.body["details"][0]["message"]), (status, &found), "{}", answer.body);
        assert_eq!(answer.body["details"][0]["path"], json!([]));
    }
    let empty = client.send("POST", "/stores/register", &json_type, String::new()).await.unwrap();
    assert_eq!((empty.status, &empty.body["code"]), (400, &json!("FST_ERR_CTP_EMPTY_JSON_BODY")));
    let broken = client.send("POST", "/stores/register", &json_type, "{".to_owned()).await.unwrap();
    assert_eq!((broken.status, &broken.body["error"]), (400, &json!("Bad Request")));
    let xml = client.send("POST", "/stores/register", &[("content-type", "application/xml")], "<a/>".to_owned()).await;
    let xml = xml.unwrap();
    assert_eq!((xml.status, &xml.body["message"]), (415, &json!("Unsupported Media Type: application/xml")));
    let large = client.send("POST", "/stores/register", &json_type, " ".repeat(1024 * 1024 + 1)).await.unwrap();
    assert_eq!(large.status, 413);
}

#[tokio::test]
async fn v06_v07_twelve_first_registrations_at_once_make_one_store() {
    let (client, _) = client();
    let body = registration();
    let calls = (0..12).map(|_| client.post("/stores/register", &body));
    let answers: Vec<_> = futures_util::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body), "{answers:?}");
    for name in ["storeId", "syncToken"] {
        let id = answers[0].body[name].as_str().unwrap();
        assert_eq!(&id[14..15], "7", "{id} is a UUID v7");
        assert!(["8", "9", "a", "b"].contains(&&id[19..20]), "{id}");
    }
}

#[tokio::test]
async fn v08_v09_v10_v11_an_import_is_answered_alike_every_time() {
    let store = Store::new().await;
    let success = store.import("order-101").await;
    assert_eq!(success["success"], true);
    assert_eq!((&success["amount"], &success["currency"]), (&json!(741), &json!("USD")));
    assert_eq!(success["orderId"], "e89662f3-1d12cc5e6-2b9c328d9-3a2598bcc-00048aefeebf");
    let after_first = store.status().await;
    assert_eq!(store.import("order-101").await, success);
    assert_eq!(store.status().await, after_first, "a replay changes nothing");
    for (receipt, error) in [("order-102", "invalid_receipt"), ("RL15", "rate_limited")] {
        for _ in 0..2 {
            assert_eq!(store.import(receipt).await, json!({"success": false, "error": error}));
        }
    }
    let page = store.client.get(&format!("/orders?syncToken={}", store.token)).await.unwrap().body;
    let rows: Vec<_> = page["orders"].as_array().unwrap().iter().map(|row| &row["receipt"]).collect();
    assert_eq!(rows, ["RL15", "order-102", "order-101"], "newest first");
    assert_eq!((&page["orders"][0]["attempt"], &page["orders"][1]["attempt"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn v12_v13_tokens_and_receipts_are_checked() {
    let store = Store::new().await;
    assert_eq!(issues(&store.try_import("nope", "order-101").await), ["syncToken invalid_string"]);
    let nil = store.try_import("00000000-0000-0000-0000-000000000000", "order-101").await;
    assert_eq!((nil.status, nil.body), (404, json!({"error": "Store not found"})));
    assert_eq!(store.try_import(&store.token.to_uppercase(), "order-101").await.status, 200);
    assert_eq!(issues(&store.try_import(&store.token, "").await), ["receipt too_small"]);
    assert_eq!(issues(&store.try_import(&store.token, &"7".repeat(256)).await), ["receipt too_big"]);
    assert_eq!(store.import(&"🛒".repeat(254)).await["success"], false, "255 characters of four bytes each fit");
    assert_eq!(issues(&store.try_import(&store.token, "a\0b").await), ["receipt custom"]);
}

#[tokio::test]
async fn v14_o3_twelve_imports_of_one_receipt_at_once_are_answered_alike() {
    let store = Store::new().await;
    let calls = (0..12).map(|_| store.import("race-1"));
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer["success"] == true), "{answers:?}");
    assert_eq!(store.status().await["importedOrders"], 1);
}

#[tokio::test]
async fn v18_v19_v20_v21_the_status_follows_every_import() {
    let status = async |receipts: &[&str]| {
        let store = Store::new().await;
        for receipt in receipts {
            store.import(receipt).await;
        }
        let status = store.status().await;
        assert_eq!(status["lastSyncAt"].is_null(), receipts.is_empty());
        (status["syncStatus"].clone(), status["importedOrders"].clone(), status["rateLimitedCount"].clone())
    };
    for (receipts, wanted) in [
        (&[][..], ("pending", 0, 0)),
        (&["order-101"], ("success", 1, 0)),
        (&["order-101", "order-102", "order-115"], ("partial", 1, 1)),
        (&["RL15"], ("partial", 0, 1)),
        (&["a1", "RL33"], ("partial", 1, 1)),
        (&["bad2"], ("failed", 0, 0)),
        (&["bad2", "RL15"], ("partial", 0, 1)),
    ] {
        assert_eq!(status(receipts).await, (json!(wanted.0), json!(wanted.1), json!(wanted.2)), "{receipts:?}");
    }
}

#[tokio::test]
async fn v22_only_the_newest_twenty_decide() {
    let store = Store::new().await;
    store.import("bad2").await;
    for number in 0..19 {
        store.import(&format!("good-{number}-1")).await;
    }
    assert_eq!(store.status().await["syncStatus"], "partial");
    store.import("good-19-1").await;
    assert_eq!(store.status().await["syncStatus"], "success");
}

#[tokio::test]
async fn v23_the_token_is_wanted_once() {
    let (client, _) = client();
    let twice = client.get("/stores/sync-status?syncToken=a&syncToken=b").await.unwrap();
    assert_eq!(twice.body["details"][0]["message"], "Expected string, received array");
    let never = client.get("/stores/sync-status").await.unwrap();
    assert_eq!(never.body["details"][0]["message"], "Required");
    let store = Store::new().await;
    let bearer = format!("Bearer {}", store.token);
    let answer = store.client.send("GET", "/stores/sync-status", &[("authorization", &bearer)], String::new()).await;
    assert_eq!(answer.unwrap().status, 200, "a token in a header stays out of access logs");
}

#[tokio::test]
async fn v24_v25_the_mock_marketplace_checks_in_order() {
    let (client, _) = client();
    let right = "Basic ZXRzeV91c2VyOmV0c3lfcGFzcw==";
    for (marketplace, authorization, body, status, wanted) in [
        ("walmart", "", json!({"receipt": "test1"}), 400, json!({"error": "Invalid marketplace"})),
        ("ETSY", right, json!({"receipt": "test1"}), 400, json!({"error": "Invalid marketplace"})),
        ("etsy", "", json!({}), 400, json!({"error": "receipt is required"})),
        ("etsy", "", Value::Null, 400, json!({"error": "receipt is required"})),
        ("etsy", "", json!({"receipt": "test1"}), 401, json!({"error": "Unauthorized"})),
        ("etsy", "Basic ZXRzeV91c2VyOm5v", json!({"receipt": "test1"}), 401, json!({"error": "Unauthorized"})),
        ("etsy", &right.replace('B', "b"), json!({"receipt": "test1"}), 401, json!({"error": "Unauthorized"})),
        ("etsy", right, json!({"receipt": "test24"}), 429, json!({"error": "rate_limited"})),
        ("etsy", right, json!({"receipt": "test2"}), 200, json!({"status": false})),
    ] {
        let headers = [("content-type", "application/json"), ("authorization", authorization)];
        let path = format!("/mock/{marketplace}/validate");
        let answer = client.send("POST", &path, &headers, body.to_string()).await.unwrap();
        assert_eq!((answer.status, &answer.body), (status, &wanted), "{marketplace} {body}");
    }
    let headers = [("content-type", "application/json"), ("authorization", right)];
    let body = json!({"receipt": "test1", "currency": "EUR"}).to_string();
    let answer = client.send("POST", "/mock/etsy/validate", &headers, body).await.unwrap();
    assert_eq!((&answer.body["status"], &answer.body["amount"]), (&json!(true), &json!(507)));
    assert_eq!((&answer.body["currency"], answer.body["importedAtUTC"].is_string()), (&json!("EUR"), true));
}

#[tokio::test]
async fn v42_names_with_delimiters_stay_apart() {
    let (client, _) = client();
    let number = switchyard_core::random::below(u64::MAX);
    let first = with(registration(), json!({"organizationId": format!("{number}a#b"), "externalStoreId": "c"}));
    let second = with(registration(), json!({"organizationId": format!("{number}a"), "externalStoreId": "b#c"}));
    let first = client.post("/stores/register", &first).await.unwrap().body;
    assert_ne!(first, client.post("/stores/register", &second).await.unwrap().body);
}

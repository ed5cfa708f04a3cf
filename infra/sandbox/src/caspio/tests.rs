//! Caspio's REST API as a client sees it: clauses, versions, refusals.

use crate::testing::Client;
use serde_json::{Value, json};

const V3: &str = "/caspio/integrations/rest/v3/tables/Residents_API/records";
const V2: &str = "/caspio/rest/v2/tables/Residents_API/rows";

fn with(path: &str, params: &[(&str, &str)]) -> String {
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let pairs: Vec<_> = params.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    format!("{path}?{}", pairs.join("&"))
}

fn where_(clause: &str) -> String {
    with(V3, &[("q.where", clause)])
}

async fn column(client: &Client, path: &str, name: &str) -> Vec<Value> {
    let rows = client.get(path).await.unwrap().json["Result"].clone();
    rows.as_array().unwrap().iter().map(|row| row[name].clone()).collect()
}

#[tokio::test]
async fn rows_are_inserted_found_updated_and_deleted() {
    let (sandbox, client) = Client::start().await;
    let row = json!({"companyKey": "harborpoint", "alisResidentId": 5001, "room": "12", "leaveReason": null});
    let inserted = client.post(V3, &row).await.unwrap();
    assert_eq!((inserted.status, inserted.json.clone()), (201, Value::Null));
    assert_eq!(inserted.header("location"), Some(format!("{V3}?q.where=PK_ID%3D1").as_str()));
    let shown =
        client.post(&format!("{V2}?response=rows"), &json!({"companyKey": "o'hara", "room": "14 B"})).await.unwrap();
    assert_eq!((shown.status, &shown.json["Result"][0]["PK_ID"]), (201, &json!(2)));

    let clause = where_("companyKey='harborpoint' AND alisResidentId=5001");
    let found = client.get(&clause).await.unwrap().json;
    assert_eq!(found["Result"].as_array().unwrap().len(), 1);
    assert_eq!((&found["Result"][0]["room"], &found["Result"][0]["bed"]), (&json!("12"), &Value::Null));
    assert_eq!(column(&client, &where_("companyKey='o''hara'"), "PK_ID").await, [json!(2)]);

    let updated = client.call("PUT", &clause, Some(&json!({"room": "10"}))).await.unwrap();
    assert_eq!((updated.status, updated.json), (200, json!({"RecordsAffected": 1})));
    assert_eq!(column(&client, &clause, "room").await, [json!("10")]);
    let none = client.call("PUT", &where_("PK_ID=99"), Some(&json!({"room": "1"}))).await.unwrap();
    assert_eq!(none.json, json!({"RecordsAffected": 0}));
    let deleted = client.call("DELETE", &where_("PK_ID=2"), None).await.unwrap();
    assert_eq!(deleted.json, json!({"RecordsAffected": 1}));

    let ledger = sandbox.ledger();
    let operations: Vec<_> = ledger.iter().map(|entry| json!(entry.effect.operation)).collect();
    assert_eq!(operations, ["insert", "insert", "update", "delete"]);
    let update = &ledger[2].effect;
    assert_eq!((&update.key, update.answered), (&json!(1), true));
    assert_eq!((&update.record["companyKey"], &update.record["room"]), (&json!("harborpoint"), &json!("10")));
    assert_eq!(Value::Object(update.request.clone()), json!({"room": "10"}));
}

#[tokio::test]
async fn reads_select_order_and_page() {
    let (_, client) = Client::start().await;
    for (room, bed) in [("12", "B"), ("10", "A"), ("12", "A"), ("11", "A")] {
        client.post(V3, &json!({"room": room, "bed": bed})).await.unwrap();
    }
    let ids = async |params: &[(&str, &str)]| column(&client, &with(V3, params), "PK_ID").await;
    assert_eq!(ids(&[("q.orderBy", "room DESC, bed")]).await, [3, 1, 4, 2].map(|id| json!(id)));
    assert_eq!(ids(&[("q.limit", "2")]).await, [1, 2].map(|id| json!(id)));
    assert_eq!(ids(&[("q.pageNumber", "2"), ("q.pageSize", "3")]).await, [json!(4)]);
    assert_eq!(ids(&[("q.orderBy", "PK_ID DESC"), ("q.pageNumber", "1"), ("q.pageSize", "1")]).await, [json!(4)]);
    let selected = client.get(&with(V3, &[("q.select", "room,bed"), ("q.limit", "1")])).await.unwrap();
    assert_eq!(selected.json, json!({"Result": [{"room": "12", "bed": "B"}]}));
    for (name, value) in [("q.limit", "1001"), ("q.pageSize", "0"), ("q.pageNumber", "x"), ("q.orderBy", "room UP")] {
        let refused = client.get(&with(V3, &[(name, value)])).await.unwrap();
        assert_eq!((refused.status, &refused.json["Code"]), (400, &json!("IncorrectQueryParameter")), "{name}");
    }
}

#[tokio::test]
async fn what_caspio_refuses_is_refused_and_no_effect() {
    let (sandbox, client) = Client::start().await;
    client.post(V3, &json!({"room": "12"})).await.unwrap();
    let room = json!({"room": "10"});
    let (one, bad_clause) = (where_("PK_ID=1"), where_("{\"companyKey\":1}"));
    for (method, path, body, status, code) in [
        ("POST", V3, json!([room]), 400, "IncorrectBodyParameter"),
        ("POST", V3, json!("room"), 400, "IncorrectBodyParameter"),
        ("POST", V3, json!({}), 400, "IncorrectBodyParameter"),
        ("POST", V3, json!({"room": ["10"]}), 400, "IncorrectBodyParameter"),
        ("POST", V3, json!({"PK_ID": 7, "room": "10"}), 400, "AlterReadOnlyData"),
        ("POST", V3, json!({"room": "10", "wing": "W", "floor": 1}), 400, "FieldNotFound"),
        ("PUT", V3, room.clone(), 400, "IncorrectQueryParameter"),
        ("PUT", &bad_clause, room.clone(), 400, "IncorrectQueryParameter"),
        ("PUT", &one, json!([room]), 400, "IncorrectBodyParameter"),
        ("PUT", &one, json!({"PK_ID": 7}), 400, "AlterReadOnlyData"),
        ("PUT", &where_("wing='W'"), room.clone(), 400, "FieldNotFound"),
        ("DELETE", V3, Value::Null, 400, "IncorrectQueryParameter"),
        ("POST", &V3.replace("Residents_API", "Nothing"), room.clone(), 404, "TableNotFound"),
        ("GET", &where_(&format!("room='{}'", "x".repeat(2047))), Value::Null, 414, "UriTooLong"),
    ] {
        let refused = client.call(method, path, Some(&body)).await.unwrap();
        assert_eq!((refused.status, &refused.json["Code"]), (status, &json!(code)), "{method} {path} {body}");
    }
    let refused = client.post(V3, &json!({"wing": "W", "floor": 1})).await.unwrap().json;
    let message = refused["Message"].as_str().unwrap();
    assert!(message.contains("'wing'") && message.contains("'floor'"), "{message}");
    assert_eq!(sandbox.ledger().len(), 1);
}

#[tokio::test]
async fn only_a_live_token_opens_the_tables() {
    let (_, client) = Client::start().await;
    let refused = client.token("wrong").await;
    assert_eq!((refused.status, refused.json), (400, json!({"error": "invalid_client"})));
    for header in ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic eDp5\r\n"] {
        assert_eq!(client.raw("GET", V3, header, "").await.unwrap().status, 401, "{header}");
    }
    assert_eq!(client.get(V3).await.unwrap().status, 200);
    client.call("DELETE", "/_sandbox/caspio/tokens", None).await.unwrap();
    assert_eq!(client.get(V3).await.unwrap().status, 401);
}

#[tokio::test]
async fn other_tables_take_any_column() {
    let (_, client) = Client::start().await;
    let path = V3.replace("Residents_API", "CarePatientTable_API");
    client.post(&path, &json!({"PatientNumber": "5001", "On_Prem": true})).await.unwrap();
    let found = client.get(&with(&path, &[("q.where", "PatientNumber=5001 AND On_Prem=true")])).await.unwrap().json;
    assert_eq!(found, json!({"Result": [{"PK_ID": 1, "PatientNumber": "5001", "On_Prem": true}]}));
    let rooms = V3.replace("Residents_API", "CommunityTable_API");
    let room = with(&rooms, &[("q.where", "CommunityID='77' AND RoomNumber='14 B'"), ("q.select", "CUID")]);
    assert_eq!(column(&client, &room, "CUID").await, [json!(902)]);
}

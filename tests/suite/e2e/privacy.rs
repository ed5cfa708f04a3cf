//! Nothing personal may reach a log line, whatever goes wrong.

use super::client;
use serde_json::json;
use std::time::Duration;
use switchyard_tests::client::{unique, webhook};

const CANARY: &str = "Canaryperson";

#[tokio::test]
async fn canary_values_never_reach_a_log_line() {
    let (client, company) = client();
    let Some(logs) = client.stack().logs.clone() else {
        println!("skipped: the logs of a deployed stack are not here");
        return;
    };
    let resident = 1_650_000 + unique();
    let facts = json!({
        "firstName": CANARY, "lastName": CANARY, "dateOfBirth": "1941-02-03", "ssn": CANARY,
        "rooms": [{"room": CANARY, "isPrimary": true}], "status": CANARY,
    });
    client.sandbox("PUT", &format!("/_sandbox/alis/residents/{resident}"), Some(&facts)).await.unwrap();
    let soon = Duration::from_secs(20);
    let data = |more: &str| json!({"NotificationData": {"ResidentId": resident, "Note": CANARY, "Case": more}});
    client.webhook(&webhook(&company, "ok", data("ok"))).await.unwrap();
    client.wait_for_status(&company, "residents.move_in", "ok", "processed", soon).await.unwrap();
    // Refused, malformed, failing and parked events carry the canary too.
    client.webhook(&json!({"CompanyKey": company, "NotificationData": CANARY})).await.unwrap();
    client.webhook_bytes(format!("{{\"CompanyKey\":\"{CANARY}").into_bytes()).await.unwrap();
    client.webhook_as(Some(&format!("Basic {CANARY}")), "{}").await.unwrap();
    let nobody = json!({"NotificationData": {"Name": CANARY}});
    client.webhook(&webhook(&company, "parked", nobody)).await.unwrap();
    client.wait_for_status(&company, "residents.move_in", "parked", "failed", soon).await.unwrap();
    let refusal = json!({
        "path": "/caspio/integrations/rest/v3/tables/Residents_API/records", "contains": company, "kind": "status",
        "status": 400, "body": {"Code": "SqlServerError", "Message": CANARY}, "count": 1,
    });
    client.sandbox("POST", "/_sandbox/faults", Some(&refusal)).await.unwrap();
    client.webhook(&webhook(&company, "refused", data("refused"))).await.unwrap();
    client.wait_for_status(&company, "residents.move_in", "refused", "failed", soon).await.unwrap();

    // A page instead of JSON, naming somebody.
    let page = json!({
        "path": format!("/alis/v1/integration/residents/{resident}/basicInfo"), "kind": "status", "status": 200,
        "body": CANARY, "count": 1,
    });
    client.sandbox("POST", "/_sandbox/faults", Some(&page)).await.unwrap();
    client.webhook(&webhook(&company, "page", data("page"))).await.unwrap();
    client.wait_for_status(&company, "residents.move_in", "page", "processed", soon).await.unwrap();

    let lines = logs.kept();
    assert!(lines.iter().any(|(_, line)| line.contains("event parked")), "the functions' lines are kept");
    let leaked: Vec<_> = lines.iter().filter(|(_, line)| line.contains(CANARY)).collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    for issue in client.rows(&company, "I#").await.unwrap() {
        assert!(!issue.to_string().contains(CANARY), "{issue}");
    }
}

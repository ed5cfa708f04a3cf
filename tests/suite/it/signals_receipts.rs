//! What providers report of notifications sent, and the list of addresses that it fills.

use super::signals_world::{APP_SECRET, World, bot_config, rule, sent_by};
use serde_json::{Value, json};
use switchyard_core::Secret;
use switchyard_notify::Channel;
use switchyard_notify::receipts::ses::{Fate, MailReport};
use switchyard_signals::configs::{self, NewConfig};
use switchyard_signals::receipts::{self, Reported};
use switchyard_signals::tenants::{self, TenantEdit};
use switchyard_signals::usage;

impl World {
    async fn config(&self, channel: Channel, config: Value) {
        let new = NewConfig { channel, ..bot_config(config) };
        let made = configs::create(&self.configs, &"cli".into(), &self.tenant.id, &new).await.unwrap();
        assert!(matches!(made, configs::ConfigWrite::Config(..)), "{made:?}");
    }

    /// The event's only delivery.
    async fn delivery(&self, event: &str) -> Value {
        self.deliveries(event).await.remove(0)
    }

    /// WhatsApp's report of a message, signed.
    async fn whatsapp_reports(&self, id: &str, status: &str) -> Reported {
        let change = json!({"value": {"statuses": [{"id": id, "status": status, "timestamp": "1767607200"}]}});
        let body = json!({"entry": [{"changes": [change]}]}).to_string();
        let signature =
            format!("sha256={}", switchyard_identity::api_key::digest(&body, &Secret::new(APP_SECRET.into())));
        receipts::whatsapp_report(&self.receipts, Some(&signature), body.as_bytes()).await.unwrap()
    }
}

#[tokio::test]
async fn whatsapps_reports_move_a_delivery_on_and_never_back() {
    let world = World::new().await;
    let config = json!({"phoneNumberId": "1001", "accessToken": "EAAG0000000000000000"});
    world.config(Channel::Whatsapp, config).await;
    world.rule(rule("t", json!({"when": true, "actions": sent_by("whatsapp", "15551234567")}))).await;
    let event = world.event("t", json!({})).await;
    world.work().await;
    let sent = world.delivery(&event).await;
    assert_eq!(sent["status"], "sent", "{sent}");
    let id = sent["providerId"].as_str().unwrap();
    let forged = receipts::whatsapp_report(&world.receipts, Some("sha256=00"), b"{}").await.unwrap();
    assert_eq!(forged, Reported::Refused);
    // Read comes before delivered, and what comes late or again changes nothing.
    for status in ["read", "delivered", "failed", "sent"] {
        assert_eq!(world.whatsapp_reports(id, status).await, Reported::Taken);
        let row = world.delivery(&event).await;
        assert_eq!((&row["status"], row["readAt"].is_string()), (&json!("delivered"), true), "{status}: {row}");
    }
    assert_eq!(world.whatsapp_reports("wamid.nobody", "read").await, Reported::Taken);
    let query = |token: &str| {
        [("hub.mode", "subscribe"), ("hub.verify_token", token), ("hub.challenge", "42")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let challenged = receipts::whatsapp_challenge(&world.receipts, &query("ours")).await.unwrap();
    assert_eq!(challenged.as_deref(), Some("42"));
    assert_eq!(receipts::whatsapp_challenge(&world.receipts, &query("theirs")).await.unwrap(), None);
}

#[tokio::test]
async fn an_address_that_bounced_is_not_written_to_until_it_is_taken_off_the_list() {
    let world = World::new().await;
    let metadata = json!({"sesIdentities": ["acme.test"]}).to_string();
    let edit = TenantEdit { metadata: Some(Some(metadata)), ..TenantEdit::default() };
    tenants::change(&world.tenants, &"cli".into(), &world.tenant.id, &edit).await.unwrap().unwrap();
    world
        .config(Channel::Email, json!({"transport": "ses", "from": "a@acme.test", "ses": {"region": "us-east-1"}}))
        .await;
    world.rule(rule("t", json!({"when": true, "actions": sent_by("email", "gone@example.com")}))).await;
    let first = world.event("t", json!({})).await;
    world.work().await;
    let sent = world.delivery(&first).await;
    assert_eq!(sent["status"], "sent", "{sent}");
    let report = |fate| MailReport {
        fate,
        delivery_id: None,
        message_id: sent["providerId"].as_str().unwrap().to_owned(),
        at: None,
        recipients: vec!["gone@example.com".to_owned()],
    };
    receipts::mail_report(&world.receipts, &report(Fate::Bounced { permanent: true })).await.unwrap();
    receipts::mail_report(&world.receipts, &report(Fate::Delivered)).await.unwrap();
    assert_eq!(world.delivery(&first).await["status"], "bounced");
    let second = world.event("t", json!({})).await;
    world.work().await;
    assert_eq!(world.delivery(&second).await["status"], "suppressed");
    let used = json!(usage(&world.tenants, &world.tenant, Some("2026-01")).await.unwrap());
    assert_eq!((&used["notificationsSent"], &used["notificationsFailed"]), (&json!(1), &json!(1)));
    let listed = receipts::suppressions(&world.receipts, &world.tenant.id).await.unwrap();
    assert_eq!((&*listed[0].address, &*listed[0].reason), ("gone@example.com", "bounced"));
    let id = listed[0].id.as_str();
    assert!(!receipts::unsuppress(&world.receipts, &"cli".into(), &"another".into(), &id.into()).await.unwrap());
    assert!(receipts::unsuppress(&world.receipts, &"cli".into(), &world.tenant.id, &id.into()).await.unwrap());
    let third = world.event("t", json!({})).await;
    world.work().await;
    assert_eq!(world.delivery(&third).await["status"], "sent");
}

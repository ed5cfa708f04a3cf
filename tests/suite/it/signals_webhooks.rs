//! A tenant's webhook that fails is left alone, and at last not called any more.

use super::signals_world::{World, rule};
use serde_json::{Value, json};
use switchyard_notify::Channel;
use switchyard_signals::configs::{self, ConfigWrite, NewConfig};
use switchyard_signals::{ConfigId, ConfigStatus, dead_letters, deliveries};
use switchyard_work::dead_letters::{Filter, Scope};

const DAY: u64 = 86_400;

impl World {
    /// With a webhook config, and a rule that calls it; the config's id.
    async fn with_hook() -> (Self, String) {
        let world = Self::new().await;
        let config = json!({"url": format!("{}/hook", world.base), "secret": format!("whsec_{}", "A".repeat(44))});
        let channel = Channel::Webhook;
        let name = "hook".to_owned();
        let new = NewConfig { name, channel, config, is_default: true, allow_override: true, status: None };
        let made = configs::create(&world.configs, &"cli".into(), &world.tenant.id, &new).await.unwrap();
        let ConfigWrite::Config(made, ..) = made else { panic!("{made:?}") };
        world.rule(rule("t", json!({"when": true, "actions": [{"type": "notify", "channel": "webhook"}]}))).await;
        (world, made.id.clone())
    }

    async fn hook(&self, id: &str) -> Value {
        json!(configs::config(&self.configs, &self.tenant.id, &id.into()).await.unwrap().unwrap().0)
    }

    fn hits(&self) -> usize {
        self.bot.got("hook").len()
    }

    /// One event after another, a second apart.
    async fn post(&self, events: usize) {
        for _ in 0..events {
            self.event("t", json!({})).await;
            self.work().await;
            self.pass(1);
        }
    }

    /// Lets time go by until every delivery's next attempt is due, and makes it.
    async fn later(&self, seconds: u64) {
        self.pass(seconds);
        self.run_sweep().await;
        self.work().await;
    }
}

#[tokio::test]
async fn five_failures_open_the_circuit_and_one_request_goes_ahead_to_see() {
    let (world, id) = World::with_hook().await;
    world.bot.says("hook", 500, Value::Null);
    world.post(7).await;
    assert_eq!(world.hits(), 5, "the circuit is open");
    world.later(400).await;
    assert_eq!(world.hits(), 6, "one request finds that it still fails");
    world.bot.recovers("hook");
    world.later(700).await;
    assert_eq!(world.hits(), 13, "one goes ahead, and the others follow");
    assert_eq!(world.usage().await["notificationsSent"], 7);
    assert_eq!(world.hook(&id).await["status"], "active");
}

#[tokio::test]
async fn what_is_told_of_an_event_that_is_gone_is_not_sent_again() {
    let (world, _) = World::with_hook().await;
    world.bot.says("hook", 410, Value::Null);
    world.post(1).await;
    let letter = dead_letters::list(&world.queues, Scope::All, &Filter::default(), None, 9).await.unwrap().0.remove(0);
    let rows = world.rows().await;
    let (pk, sk) = rows.iter().find(|(pk, _)| pk.starts_with("E#")).unwrap();
    let key = json!({"pk": {"S": pk}, "sk": {"S": sk}});
    world.client.aws("DynamoDB_20120810.DeleteItem", &json!({"TableName": world.table, "Key": key})).await.unwrap();
    let config = ConfigId::from(configs::list(&world.configs, &world.tenant.id).await.unwrap()[0].id.clone());
    configs::set_status(&world.configs, &"cli".into(), &world.tenant.id, &config, ConfigStatus::Active, None)
        .await
        .unwrap();
    let hits = world.hits();
    let id = letter.delivery_id.as_deref().unwrap();
    deliveries::retry(&world.queues, &"cli".into(), &world.tenant.id, &id.into()).await.unwrap().unwrap();
    world.work().await;
    assert_eq!(world.hits(), hits);
    let ended = json!(deliveries::delivery(&world.tenants, &world.tenant.id, &id.into()).await.unwrap().unwrap());
    assert_eq!((&ended["status"], &ended["lastError"]), (&json!("failed"), &json!("event_gone")));
}

#[tokio::test]
async fn a_webhook_that_only_failed_for_five_days_puts_its_config_in_error() {
    let (world, id) = World::with_hook().await;
    world.bot.says("hook", 503, Value::Null);
    world.post(1).await;
    for _ in 0..5 {
        world.pass(DAY);
        world.post(1).await;
    }
    let config = world.hook(&id).await;
    assert_eq!((&config["status"], &config["reason"]), (&json!("error"), &json!("only_failures")), "{config}");
    let letters = dead_letters::list(&world.queues, Scope::All, &Filter::default(), None, 9).await.unwrap();
    let last = letters.0.iter().find(|letter| letter.error_code == "http_503").unwrap();
    let retry = async || {
        let id = last.delivery_id.as_deref().unwrap();
        deliveries::retry(&world.queues, &"cli".into(), &world.tenant.id, &id.into()).await.unwrap().unwrap();
        world.work().await;
    };
    let hits = world.hits();
    retry().await;
    assert_eq!(world.hits(), hits, "nothing is sent with it");

    let enabled = configs::set_status(
        &world.configs,
        &"cli".into(),
        &world.tenant.id,
        &id.as_str().into(),
        ConfigStatus::Active,
        None,
    )
    .await;
    assert!(matches!(enabled.unwrap(), ConfigWrite::Config(..)));
    retry().await;
    assert_eq!(world.hits(), hits + 1);
    assert_eq!(world.hook(&id).await["status"], "active", "it begins with a clean record");
}

//! Replacing the data key: what every domain keeps sealed is sealed anew, and the old key is needed no longer.

use super::{aws, env, operator_bus, queue, table};
use serde_json::{Value, json};
use switchyard_callbacks::{CallbacksDeps, NewEndpoint, manage};
use switchyard_core::Env;
use switchyard_io::reseal::{SealedColumn, Tally, check, reseal};
use switchyard_io::vault::Vault;
use switchyard_io::{Aws, Secrets, Table};
use switchyard_notify::Channel;
use switchyard_orders::{Marketplace, OrdersDeps, Registration, register};
use switchyard_signals::configs::{self, ConfigDeps, NewConfig};
use switchyard_tests::client::{Client, unique};
use switchyard_work::idempotency::{Begun, Idempotency};

/// A table, by its setting, and its sealed columns.
const TABLES: [(&str, &[SealedColumn]); 3] = [
    ("ORDERS_TABLE", switchyard_orders::SEALED),
    ("CALLBACKS_TABLE", switchyard_callbacks::SEALED),
    ("SIGNALS_TABLE", switchyard_signals::SEALED),
];

/// Tables and data keys of this test's own.
struct Sealed {
    aws: Aws,
    client: Client,
    secret: String,
    env: Env,
}

impl Sealed {
    async fn new() -> Self {
        let (aws, client) = aws().await;
        let name = format!("it-data-keys-{}", unique());
        for of in ["OrdersTable", "CallbacksTable", "SignalsTable"] {
            table(&client, of, &format!("{name}-{of}")).await;
        }
        let request = json!({"Name": name, "SecretString": json!({"current": "k1", "k1": "first"}).to_string()});
        client.aws("secretsmanager.CreateSecret", &request).await.unwrap();
        let env = env(vec![
            ("ORDERS_TABLE", format!("{name}-OrdersTable")),
            ("CALLBACKS_TABLE", format!("{name}-CallbacksTable")),
            ("SIGNALS_TABLE", format!("{name}-SignalsTable")),
            ("CALLBACK_QUEUE_URL", queue(&client, &name).await),
            ("MARKETPLACE_SECRET", "MarketplaceSecret".to_owned()),
            ("DATA_KEY_SECRET", name.clone()),
            operator_bus(),
        ]);
        Self { aws, client, secret: name, env }
    }

    async fn set_keys(&self, keys: Value) {
        let request = json!({"SecretId": self.secret, "SecretString": keys.to_string()});
        self.client.aws("secretsmanager.PutSecretValue", &request).await.unwrap();
    }

    /// Clients of a process that has fetched no key yet.
    async fn aws(&self) -> Aws {
        Aws::at(&self.client.stack().aws).await
    }

    async fn vault(&self) -> Vault {
        Vault::from_env(&Secrets::new(&self.aws().await), &self.env).unwrap()
    }

    fn table(&self, setting: &str) -> Table {
        Table::from_env(&self.aws, &self.env, setting).unwrap()
    }

    async fn check(&self) -> Vec<Tally> {
        let mut tallies = Vec::new();
        for (setting, columns) in TABLES {
            tallies.push(check(&self.table(setting), &self.vault().await, columns).await.unwrap());
        }
        tallies
    }

    async fn reseal(&self) -> Vec<Tally> {
        let mut tallies = Vec::new();
        for (setting, columns) in TABLES {
            tallies.push(reseal(&self.table(setting), &self.vault().await, columns).await.unwrap());
        }
        tallies
    }

    /// One of each: a store's token, a kept answer, a webhook's secrets, a config's secrets. Returns the webhook's secret.
    async fn fill(&self) -> String {
        let orders = OrdersDeps::from_env(&self.aws, &self.env).unwrap();
        let store = Registration {
            organization_id: "org".into(),
            marketplace: Marketplace::Etsy,
            external_store_id: "ext".into(),
            store_name: "S".into(),
            access_token: "token".into(),
            currency: "USD".into(),
        };
        register(&orders, &store).await.unwrap();
        let answers = Idempotency::from_env(&self.aws, &self.env, "ORDERS_TABLE").unwrap();
        let Begun::First(running) = answers.begin("me", "key", "request").await.unwrap() else { panic!("the first") };
        answers.finish(running, 200, "an answer", None).await.unwrap();

        let callbacks = CallbacksDeps::from_env(&self.aws, &self.env).unwrap();
        let new = NewEndpoint {
            organization_id: "org".into(),
            event: "sync.failed".into(),
            target_url: "https://example.com/".into(),
        };
        manage::register(&callbacks, &new).await.unwrap();
        let endpoint = manage::list(&callbacks, &"org".into()).await.unwrap().remove(0);
        // The secret before is kept and signs for another hour.
        let endpoint =
            manage::rotate(&callbacks, &endpoint, std::time::Duration::from_secs(3600)).await.unwrap().unwrap();

        let signals = ConfigDeps::from_env(&self.aws, &self.env).unwrap();
        let config = NewConfig {
            name: "n".into(),
            channel: Channel::Telegram,
            config: json!({"botToken": "42:sandbox-bot-token-of-switchyard-acme-x", "destination": "1001"}),
            is_default: true,
            allow_override: true,
            status: None,
        };
        let written = configs::create(&signals, &"cli".into(), &"tenant".into(), &config).await.unwrap();
        assert!(matches!(written, configs::ConfigWrite::Config(..)), "{written:?}");
        manage::secret(&callbacks, &endpoint).await.unwrap().expose().clone()
    }
}

fn under(tallies: &[Tally], key: &str) -> u64 {
    tallies.iter().filter_map(|tally| tally.by_key.get(key)).sum()
}

#[tokio::test]
async fn a_replaced_data_key_can_be_removed_once_everything_is_sealed_anew() {
    let world = Sealed::new().await;
    let secret = world.fill().await;
    let before = world.check().await;
    assert_eq!(before.iter().map(|tally| tally.by_key["k1"]).collect::<Vec<_>>(), [2, 2, 1], "{before:?}");

    // Without the old key nothing opens, and the check says so.
    world.set_keys(json!({"current": "k2", "k2": "second"})).await;
    for tally in world.check().await {
        assert!(tally.unopened > 0 && !tally.needs_only("k2"), "{tally:?}");
    }
    let refused = world.reseal().await;
    assert_eq!((under(&refused, "k1"), under(&refused, "k2")), (5, 0), "what does not open stays as it is");

    world.set_keys(json!({"current": "k2", "k2": "second", "k1": "first"})).await;
    for tally in world.check().await {
        assert!(tally.unopened == 0 && !tally.needs_only("k2"), "{tally:?}");
    }
    // Two operators at once: each value is sealed anew by one of them.
    let (one, other) = tokio::join!(world.reseal(), world.reseal());
    let resealed: u64 = one.iter().chain(&other).map(|tally| tally.resealed).sum();
    assert_eq!(resealed, 5, "{one:?} {other:?}");
    let again = world.reseal().await;
    assert!(again.iter().all(|tally| tally.resealed == 0 && tally.needs_only("k2")), "{again:?}");

    world.set_keys(json!({"current": "k2", "k2": "second"})).await;
    let after = world.check().await;
    assert_eq!((under(&after, "k1"), under(&after, "k2")), (0, 5));
    assert!(after.iter().all(|tally| tally.needs_only("k2")), "{after:?}");

    let aws = world.aws().await;
    let answers = Idempotency::from_env(&aws, &world.env, "ORDERS_TABLE").unwrap();
    let kept = answers.begin("me", "key", "request").await.unwrap();
    assert!(matches!(&kept, Begun::Answered { body, .. } if body == "an answer"), "{kept:?}");
    let callbacks = CallbacksDeps::from_env(&aws, &world.env).unwrap();
    let endpoint = manage::list(&callbacks, &"org".into()).await.unwrap().remove(0);
    assert_eq!(*manage::secret(&callbacks, &endpoint).await.unwrap().expose(), secret);
    let signals = ConfigDeps::from_env(&aws, &world.env).unwrap();
    let shown = configs::list(&signals, &"tenant".into()).await.unwrap();
    assert!(shown[0].config.to_string().contains("***"), "{:?}", shown[0]);
}

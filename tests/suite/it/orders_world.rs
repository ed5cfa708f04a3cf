//! Stores with their receipts against real tables and queues, with a clock of the test's own, and the live marketplaces on
//! the wire.

use super::{aws, data_key, env, operator_bus, queue, table, take};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switchyard_core::Owner;
use switchyard_core::{Clock, Timestamp};
use switchyard_orders::{
    Counts, Imported, Marketplace, Registration, StoreId, SyncDeps, SyncToken, Synced, import, orders, register, sweep,
    sync, sync_status,
};
use switchyard_sandbox::Sandbox;
use switchyard_tests::client::{Client, unique};
use tokio::time::Instant;

/// Tables, queues and a clock that no other test and no function touches.
pub(super) struct World {
    pub(super) client: Client,
    pub(super) deps: SyncDeps,
    pub(super) now: Arc<Mutex<Timestamp>>,
    pub(super) jobs: String,
    pub(super) callbacks: String,
    pub(super) organization: String,
}

impl World {
    /// The mock marketplace, unless `settings` say otherwise.
    pub(super) async fn new(settings: &[(&'static str, &str)]) -> Self {
        let (aws, client) = aws().await;
        let name = format!("it-orders-{}", unique());
        let (jobs, callbacks) =
            (queue(&client, &format!("{name}-jobs")).await, queue(&client, &format!("{name}-callbacks")).await);
        table(&client, "OrdersTable", &name).await;
        // The first of a name counts.
        let mut pairs: Vec<_> = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        pairs.extend([
            ("ORDERS_TABLE", name.clone()),
            ("ORDER_QUEUE_URL", jobs.clone()),
            ("CALLBACK_QUEUE_URL", callbacks.clone()),
            ("MARKETPLACE_SECRET", "MarketplaceSecret".to_owned()),
            data_key(),
            operator_bus(),
        ]);
        pairs.extend(Sandbox::settings(&client.stack().sandbox));
        let now = Arc::new(Mutex::new("2026-01-05T10:00:00Z".parse::<Timestamp>().unwrap()));
        let clock = now.clone();
        let clock = Clock::from_fn(move || *clock.lock().unwrap());
        let deps = SyncDeps::from_env(&aws, &env(pairs)).unwrap().with_clock(clock);
        Self { client, deps, now, jobs, callbacks, organization: name }
    }

    /// A world whose Etsy is the sandbox's.
    pub(super) async fn live() -> Self {
        Self::new(&[("ADAPTER_ETSY", "live"), ("ADAPTER_SHOPIFY", "live"), ("ADAPTER_AMAZON", "live")]).await
    }

    pub(super) async fn store(&self) -> Store<'_> {
        self.store_on(Marketplace::Etsy, "token").await
    }

    pub(super) async fn store_on(&self, marketplace: Marketplace, token: &str) -> Store<'_> {
        let registration = Registration {
            organization_id: self.organization.as_str().into(),
            marketplace,
            external_store_id: format!("ext-{}", unique()).into(),
            store_name: "S".into(),
            access_token: token.into(),
            currency: "USD".into(),
        };
        let ids = register(self.deps.orders(), &registration).await.unwrap();
        Store { world: self, id: ids.store_id, token: ids.sync_token, registration }
    }

    pub(super) fn pass(&self, minutes: i64) {
        let mut now = self.now.lock().unwrap();
        *now += Duration::from_secs(u64::try_from(minutes).unwrap() * 60);
    }

    pub(super) async fn sweep(&self) -> (u64, u64) {
        let swept = sweep(&self.deps, Instant::now() + Duration::from_secs(60)).await.unwrap();
        (swept.scanned_stores, swept.enqueued_jobs)
    }

    /// Events sent to the callbacks since the last look, oldest first: name and payload.
    pub(super) async fn events(&self) -> Vec<(String, Value)> {
        let messages = take(&self.client, &self.callbacks).await;
        let event = |message: Value| {
            let payload: Value = serde_json::from_str(message["body"]["payload"].as_str().unwrap()).unwrap();
            (message["body"]["event"].as_str().unwrap().to_owned(), payload)
        };
        messages.into_iter().map(event).collect()
    }

    /// Jobs queued since the last look, by store.
    pub(super) async fn jobs(&self) -> Vec<String> {
        let stores: Vec<_> =
            take(&self.client, &self.jobs).await.iter().map(|job| job["body"]["storeId"].clone()).collect();
        stores.into_iter().map(|store| store.as_str().unwrap().to_owned()).collect()
    }

    /// A rule of the sandbox's, removed by [`World::end_fault`].
    pub(super) async fn fault(&self, rule: Value) -> Value {
        let answer = self.client.sandbox("POST", "/_sandbox/faults", Some(&rule)).await.unwrap();
        answer["id"].clone()
    }

    pub(super) async fn end_fault(&self, id: &Value) {
        self.client.sandbox("DELETE", &format!("/_sandbox/faults/{id}"), None).await.unwrap();
    }

    pub(super) async fn hits(&self, id: &Value) -> u64 {
        let rules = self.client.sandbox("GET", "/_sandbox/faults", None).await.unwrap();
        let rule = rules["faults"].as_array().unwrap().iter().find(|rule| rule["id"] == *id).unwrap().clone();
        rule["hits"].as_u64().unwrap()
    }
}

pub(super) struct Store<'a> {
    pub(super) world: &'a World,
    pub(super) id: StoreId,
    pub(super) token: SyncToken,
    pub(super) registration: Registration,
}

impl Store<'_> {
    pub(super) async fn import(&self, receipt: &str) -> Value {
        match import(self.world.deps.orders(), &self.token, &receipt.into(), |_| true).await.unwrap() {
            Imported::Answer(outcome) | Imported::NotYet(outcome) => json!(outcome),
            Imported::UnknownStore => panic!("the store is known"),
        }
    }

    pub(super) async fn status(&self) -> Value {
        json!(sync_status(self.world.deps.orders(), &self.token, |_| true).await.unwrap().unwrap())
    }

    pub(super) async fn log(&self, receipt: &str) -> Value {
        let page = orders(self.world.deps.orders(), &self.token, None, None, 100, |_| true).await.unwrap().unwrap();
        let page = json!(page);
        page["orders"].as_array().unwrap().iter().find(|row| row["receipt"] == receipt).unwrap().clone()
    }

    pub(super) async fn sync(&self) -> Synced {
        self.sync_as("m", 1, Duration::from_secs(600)).await
    }

    pub(super) async fn sync_as(&self, message: &str, attempt: u32, time: Duration) -> Synced {
        let owner = Owner { message_id: message.into(), attempt };
        sync(&self.world.deps, &self.job(), &owner, Instant::now() + time).await.unwrap()
    }

    pub(super) fn job(&self) -> String {
        json!({"v": 1, "id": "1", "kind": "orders.sync", "tenant": self.id, "body": {"storeId": self.id}}).to_string()
    }
}

pub(super) fn counts(processed: u32, success: u32, failed: u32, limited: u32) -> Synced {
    Synced::Done(Counts {
        processed_count: processed,
        success_count: success,
        failed_count: failed,
        rate_limited_count: limited,
    })
}

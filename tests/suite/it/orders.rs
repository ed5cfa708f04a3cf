//! The sync of orders against real tables and queues, with a clock of the test's own, and the live marketplaces on the
//! wire.

use super::{aws, data_key, env, operator_bus, queue, table, take};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switchyard_core::Owner;
use switchyard_core::{Clock, Timestamp};
use switchyard_orders::{
    Counts, Imported, Marketplace, Registration, Retried, SyncDeps, Synced, import, orders, register, retry, sweep,
    sync, sync_status,
};
use switchyard_sandbox::Sandbox;
use switchyard_tests::client::{Client, unique, wait_until};
use tokio::time::Instant;

/// Tables, queues and a clock that no other test and no function touches.
struct World {
    client: Client,
    deps: SyncDeps,
    now: Arc<Mutex<Timestamp>>,
    jobs: String,
    callbacks: String,
    organization: String,
}

impl World {
    /// The mock marketplace, unless `settings` say otherwise.
    async fn new(settings: &[(&'static str, &str)]) -> Self {
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
    async fn live() -> Self {
        Self::new(&[("ADAPTER_ETSY", "live"), ("ADAPTER_SHOPIFY", "live"), ("ADAPTER_AMAZON", "live")]).await
    }

    async fn store(&self) -> Store<'_> {
        self.store_on(Marketplace::Etsy, "token").await
    }

    async fn store_on(&self, marketplace: Marketplace, token: &str) -> Store<'_> {
        let registration = Registration {
            organization_id: self.organization.clone(),
            marketplace,
            external_store_id: format!("ext-{}", unique()),
            store_name: "S".into(),
            access_token: token.into(),
            currency: "USD".into(),
        };
        let ids = register(self.deps.orders(), &registration).await.unwrap();
        Store { world: self, id: ids.store_id, token: ids.sync_token, registration }
    }

    fn pass(&self, minutes: i64) {
        let mut now = self.now.lock().unwrap();
        *now += Duration::from_secs(u64::try_from(minutes).unwrap() * 60);
    }

    async fn sweep(&self) -> (u64, u64) {
        let swept = sweep(&self.deps, Instant::now() + Duration::from_secs(60)).await.unwrap();
        (swept.scanned_stores, swept.enqueued_jobs)
    }

    /// Events sent to the callbacks since the last look, oldest first: name and payload.
    async fn events(&self) -> Vec<(String, Value)> {
        let messages = take(&self.client, &self.callbacks).await;
        let event = |message: Value| {
            let payload: Value = serde_json::from_str(message["body"]["payload"].as_str().unwrap()).unwrap();
            (message["body"]["event"].as_str().unwrap().to_owned(), payload)
        };
        messages.into_iter().map(event).collect()
    }

    /// Jobs queued since the last look, by store.
    async fn jobs(&self) -> Vec<String> {
        let stores: Vec<_> =
            take(&self.client, &self.jobs).await.iter().map(|job| job["body"]["storeId"].clone()).collect();
        stores.into_iter().map(|store| store.as_str().unwrap().to_owned()).collect()
    }

    /// A rule of the sandbox's, removed by [`World::end_fault`].
    async fn fault(&self, rule: Value) -> Value {
        let answer = self.client.sandbox("POST", "/_sandbox/faults", Some(&rule)).await.unwrap();
        answer["id"].clone()
    }

    async fn end_fault(&self, id: &Value) {
        self.client.sandbox("DELETE", &format!("/_sandbox/faults/{id}"), None).await.unwrap();
    }

    async fn hits(&self, id: &Value) -> u64 {
        let rules = self.client.sandbox("GET", "/_sandbox/faults", None).await.unwrap();
        let rule = rules["faults"].as_array().unwrap().iter().find(|rule| rule["id"] == *id).unwrap().clone();
        rule["hits"].as_u64().unwrap()
    }
}

struct Store<'a> {
    world: &'a World,
    id: String,
    token: String,
    registration: Registration,
}

impl Store<'_> {
    async fn import(&self, receipt: &str) -> Value {
        match import(self.world.deps.orders(), &self.token, receipt, |_| true).await.unwrap() {
            Imported::Answer(outcome) | Imported::NotYet(outcome) => json!(outcome),
            Imported::UnknownStore => panic!("the store is known"),
        }
    }

    async fn status(&self) -> Value {
        json!(sync_status(self.world.deps.orders(), &self.token, |_| true).await.unwrap().unwrap())
    }

    async fn log(&self, receipt: &str) -> Value {
        let page = orders(self.world.deps.orders(), &self.token, None, None, 100, |_| true).await.unwrap().unwrap();
        let page = json!(page);
        page["orders"].as_array().unwrap().iter().find(|row| row["receipt"] == receipt).unwrap().clone()
    }

    async fn sync(&self) -> Synced {
        self.sync_as("m", 1, Duration::from_secs(600)).await
    }

    async fn sync_as(&self, message: &str, attempt: u32, time: Duration) -> Synced {
        let owner = Owner { message_id: message.into(), attempt };
        sync(&self.world.deps, &self.job(), &owner, Instant::now() + time).await.unwrap()
    }

    fn job(&self) -> String {
        json!({"v": 1, "id": "1", "kind": "orders.sync", "tenant": self.id, "body": {"storeId": self.id}}).to_string()
    }
}

fn counts(processed: u32, success: u32, failed: u32, limited: u32) -> Synced {
    Synced::Done(Counts {
        processed_count: processed,
        success_count: success,
        failed_count: failed,
        rate_limited_count: limited,
    })
}

#[tokio::test]
async fn v28_bad_rows_do_not_keep_newer_ones_waiting() {
    let world = World::new(&[("ADAPTER_ETSY", "live"), ("SYNC_CHUNK_SIZE", "3")]).await;
    let store = world.store().await;
    for receipt in ["x2", "y2", "z2"] {
        store.import(receipt).await;
    }
    let shop = format!("/etsy/v3/application/shops/{}/receipts/", store.registration.external_store_id);
    let down = world.fault(json!({"path": format!("{shop}good1"), "kind": "status", "status": 503})).await;
    assert_eq!(store.import("good1").await, json!({"success": false, "error": "marketplace_unavailable"}));
    world.end_fault(&down).await;
    world.pass(6);
    let watched = world.fault(json!({"path": shop, "kind": "delay", "delay_ms": 1})).await;
    assert_eq!(store.sync().await, counts(4, 1, 3, 0));
    assert_eq!(world.hits(&watched).await, 4);
    assert_eq!(store.log("good1").await["status"], "success");
    world.end_fault(&watched).await;
}

#[tokio::test]
async fn v29_a_store_that_is_being_synced_is_left_alone() {
    let world = World::new(&[]).await;
    let store = world.store().await;
    store.import("k2").await;
    // Another worker has it for another five minutes.
    let stolen = json!({
        "TableName": world.organization,
        "Item": {
            "pk": {"S": format!("LOCK#sync-store:{}", store.id)}, "sk": {"S": "L"}, "owner": {"S": "other"},
            "attempt": {"N": "1"}, "fence": {"N": "7"}, "expires_ms": {"N": "1767607500000"},
        },
    });
    world.client.aws("DynamoDB_20120810.PutItem", &stolen).await.unwrap();
    assert_eq!(store.sync().await, Synced::AlreadyRunning);
    let key = json!({"pk": stolen["Item"]["pk"], "sk": stolen["Item"]["sk"]});
    let request = json!({"TableName": world.organization, "Key": key});
    let lease = world.client.aws("DynamoDB_20120810.GetItem", &request).await.unwrap();
    assert_eq!(lease["Item"], stolen["Item"], "the lease is still the other's");
    assert_eq!(world.events().await, []);
    // O6: the same message's next delivery takes over at once, another's message when the lease has ended.
    assert_eq!(store.sync_as("other", 2, Duration::from_secs(600)).await, counts(1, 0, 1, 0));
    world.client.aws("DynamoDB_20120810.PutItem", &stolen).await.unwrap();
    world.pass(16);
    assert_ne!(store.sync().await, Synced::AlreadyRunning);
}

#[tokio::test]
async fn v30_due_rows_are_asked_about_again_and_the_outcome_announced() {
    let world = World::live().await;
    let store = world.store().await;
    let shop = format!("/etsy/v3/application/shops/{}/receipts/", store.registration.external_store_id);
    let teapot = world.fault(json!({"path": format!("{shop}k1"), "kind": "status", "status": 418})).await;
    let refused = json!({"success": false, "error": "Marketplace API error: I'm a teapot"});
    assert_eq!((store.import("k1").await, store.import("k1").await), (refused.clone(), refused));
    store.import("m2").await;
    world.end_fault(&teapot).await;
    assert_eq!(store.sync().await, counts(2, 1, 1, 0));
    assert_eq!(
        (store.log("k1").await["status"].clone(), store.log("m2").await["status"].clone()),
        (json!("success"), json!("failed"))
    );
    assert_eq!(store.import("k1").await["success"], true, "a row that the sync mended replays as a success");
    let status = store.status().await;
    assert_eq!((&status["syncStatus"], &status["importedOrders"]), (&json!("partial"), &json!(1)));
    let events = world.events().await;
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["sync.started", "sync.completed"]);
    let (_, done) = &events[1];
    assert_eq!(done["data"]["storeId"], store.id.as_str());
    let numbers =
        ["processedCount", "successCount", "failedCount", "rateLimitedCount"].map(|name| done["data"][name].clone());
    assert_eq!(json!(numbers), json!([2, 1, 1, 0]));
    assert_eq!((&done["organizationId"], &done["storeId"]), (&json!(world.organization), &json!(store.id)));
    // Nothing is due now, and the first run is over: not a word.
    assert_eq!(store.sync().await, Synced::NothingDue);
    assert_eq!(world.events().await, []);
}

#[tokio::test]
async fn v31_a_sync_without_any_success_says_that_it_failed() {
    let world = World::new(&[]).await;
    let store = world.store().await;
    store.import("a2").await;
    store.import("b2").await;
    assert_eq!(store.sync().await, counts(2, 0, 2, 0));
    assert_eq!(world.events().await.last().unwrap().0, "sync.failed");
    // The first repetition was at once, the next waits.
    assert_eq!(store.sync().await, Synced::NothingDue);
    world.pass(6);
    assert_eq!(store.sync().await, counts(2, 0, 2, 0));
}

#[tokio::test]
async fn v32_each_due_store_is_queued_once_and_no_other_is_read() {
    let world = World::new(&[]).await;
    let registered = join_all((0..210).map(|_| world.store())).await;
    // Ten have nothing left to do.
    for store in &registered[..10] {
        store.import("order-101").await;
    }
    assert_eq!(world.sweep().await, (200, 200));
    assert_eq!(world.sweep().await, (0, 0), "before any job ends");
    let mut jobs = world.jobs().await;
    jobs.sort();
    let mut wanted: Vec<_> = registered[10..].iter().map(|store| store.id.clone()).collect();
    wanted.sort();
    assert_eq!(jobs, wanted);
    // A job that ended makes room for the next, a minute later.
    assert_eq!(registered[10].sync().await, counts(0, 0, 0, 0), "the first run announces itself");
    assert_eq!(world.sweep().await, (0, 0));
    world.pass(1);
    assert_eq!(world.sweep().await, (1, 1));
    // A job that never ended does not keep its store out indefinitely.
    world.pass(15);
    assert_eq!(world.sweep().await.1, 200);
}

#[tokio::test]
async fn v33_a_limited_row_in_a_healthy_store_is_still_retried() {
    let world = World::live().await;
    let store = world.store().await;
    let shop = format!("/etsy/v3/application/shops/{}/receipts/", store.registration.external_store_id);
    let limit =
        world.fault(json!({"path": format!("{shop}late1"), "kind": "status", "status": 429, "retry_after": 900})).await;
    assert_eq!(store.import("late1").await["error"], "rate_limited");
    world.end_fault(&limit).await;
    for number in 0..20 {
        store.import(&format!("n{number}-1")).await;
    }
    assert_eq!(store.status().await["syncStatus"], "success");
    assert_eq!(store.log("late1").await["nextRetryAt"], "2026-01-05T10:15:00.000Z", "the marketplace's own wish");
    // The first look is early and finds out when to come back.
    world.pass(6);
    world.sweep().await;
    store.sync().await;
    world.pass(8);
    assert_eq!(world.sweep().await, (0, 0));
    world.pass(2);
    assert_eq!(world.sweep().await, (1, 1));
    assert_eq!(store.sync().await, counts(1, 1, 0, 0));
    assert_eq!(store.status().await["rateLimitedCount"], 0);
    world.pass(60);
    assert_eq!(world.sweep().await, (0, 0), "there is nothing left to do");
}

#[tokio::test]
async fn v09_v14_v16_a_live_marketplace_is_asked_once_and_its_silence_is_no_loss() {
    let world = World::live().await;
    let store = world.store().await;
    let shop = format!("/etsy/v3/application/shops/{}/receipts/", store.registration.external_store_id);
    let watched = world.fault(json!({"path": format!("{shop}race-1"), "kind": "delay", "delay_ms": 100})).await;
    let answers = join_all((0..12).map(|_| store.import("race-1"))).await;
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer["success"] == true), "{answers:?}");
    assert_eq!(world.hits(&watched).await, 1);
    assert_eq!(store.status().await["importedOrders"], 1);
    world.end_fault(&watched).await;

    let down = world.fault(json!({"path": shop, "kind": "reset"})).await;
    assert_eq!(store.import("race-1").await, answers[0], "an import that was made needs no marketplace");
    let silent = json!({"success": false, "error": "marketplace_unavailable"});
    assert_eq!(store.import("gone-1").await, silent);
    assert_eq!(store.log("gone-1").await["status"], "pending");
    world.end_fault(&down).await;
    assert_eq!(store.import("gone-1").await, silent, "only the sync asks again");
    world.pass(6);
    assert_eq!(store.sync().await, counts(1, 1, 0, 0));
    assert_eq!(store.import("gone-1").await["success"], true);
}

#[tokio::test]
async fn v15_refused_credentials_pause_the_store_until_its_token_changes() {
    let world = World::live().await;
    let store = world.store_on(Marketplace::Etsy, "expired").await;
    let refused = json!({"success": false, "error": "Authentication failed"});
    assert_eq!((store.import("a-1").await, store.import("a-1").await), (refused.clone(), refused));
    let told = world.client.operator_events("store.auth_failed").await.unwrap();
    let told: Vec<_> = told.iter().filter(|detail| detail["storeId"] == store.id).collect();
    assert_eq!((told.len(), &told[0]["marketplace"]), (1, &json!("etsy")));
    world.pass(10);
    assert_eq!(world.sweep().await, (0, 0), "asking again would only be refused again");
    let renewed = Registration { access_token: "good".into(), ..store.registration.clone() };
    register(world.deps.orders(), &renewed).await.unwrap();
    assert_eq!(world.sweep().await, (1, 1));
    assert_eq!(store.sync().await, counts(1, 1, 0, 0));
}

#[tokio::test]
async fn a_token_that_is_replaced_while_the_old_one_is_refused_is_tried() {
    let world = World::live().await;
    let store = world.store_on(Marketplace::Etsy, "expired").await;
    let path = format!("/etsy/v3/application/shops/{}/*", store.registration.external_store_id);
    let slow = world.fault(json!({"path": path, "kind": "delay", "delay_ms": 500})).await;
    let renewed = Registration { access_token: "good".into(), ..store.registration.clone() };
    let (answer, _) = tokio::join!(store.import("a-1"), async {
        wait_until(Duration::from_secs(10), async || Ok(world.hits(&slow).await > 0)).await.unwrap();
        register(world.deps.orders(), &renewed).await.unwrap();
    });
    world.end_fault(&slow).await;
    assert_eq!(answer["error"], "Authentication failed");
    world.pass(10);
    assert_eq!(world.sweep().await, (1, 1), "the new token was never refused");
    assert_eq!(store.sync().await, counts(1, 1, 0, 0));
}

#[tokio::test]
async fn v17_amounts_are_rounded_once_and_zero_survives() {
    let world = World::live().await;
    for marketplace in Marketplace::ALL {
        let store = world.store_on(marketplace, "token").await;
        for (thousandths, amount) in [(0, json!(0)), (12_345, json!(12.35))] {
            let receipt = format!("{}{}1", unique(), thousandths);
            let path = format!("/_sandbox/marketplaces/orders/{receipt}");
            world.client.sandbox("PUT", &path, Some(&json!({"thousandths": thousandths}))).await.unwrap();
            let first = store.import(&receipt).await;
            assert_eq!((&first["success"], &first["amount"]), (&json!(true), &amount), "{marketplace}");
            assert_eq!(store.import(&receipt).await, first);
        }
        assert_eq!(store.import("no-such-order-2").await["error"], "invalid_receipt", "{marketplace}");
    }
}

#[tokio::test]
async fn receipts_that_were_given_up_are_tried_again_when_asked() {
    let world = World::live().await;
    let store = world.store().await;
    let gone = format!("/etsy/v3/application/shops/{}/receipts/gone*", store.registration.external_store_id);
    let gone = world.fault(json!({"path": gone, "kind": "status", "status": 404})).await;
    for receipt in ["gone-a1", "gone-b1"] {
        assert_eq!(store.import(receipt).await["error"], "invalid_receipt");
    }
    store.import("c-1").await;
    for _ in 0..8 {
        world.pass(61);
        assert_eq!(store.sync().await, counts(2, 0, 2, 0));
    }
    world.pass(61);
    assert_eq!(store.sync().await, Synced::NothingDue);
    assert!(store.log("gone-a1").await["retryExhausted"].as_bool().unwrap());
    world.end_fault(&gone).await;
    let orders = world.deps.orders();
    let retry = async |receipt| switchyard_orders::retry(orders, &store.token, receipt, |_| true).await.unwrap();
    assert_eq!(retry(Some("never-seen")).await, Retried::UnknownReceipt);
    let one = |count| Retried::Reopened { count, has_more: false };
    assert_eq!(retry(Some("c-1")).await, one(0), "what is imported stays imported");
    assert_eq!(retry(Some("gone-a1")).await, one(1));
    assert_eq!(retry(None).await, one(1));
    assert_eq!(retry(None).await, one(0));
    assert_eq!(world.sweep().await, (1, 1));
    world.pass(1);
    assert_eq!(store.sync().await, counts(2, 2, 0, 0));
    assert_eq!(store.status().await["importedOrders"], 3);
}

#[tokio::test]
async fn an_ended_token_is_replaced_once_by_many_at_once() {
    let world = World::live().await;
    for marketplace in [Marketplace::Etsy, Marketplace::Amazon] {
        let refresh = format!("refresh-{}", unique());
        for (token, expires) in [("expired", None), ("good", Some("2026-01-05T10:00:30Z"))] {
            let refresh = format!("{refresh}-{token}");
            let credential = json!({"accessToken": token, "refreshToken": refresh, "expiresAt": expires}).to_string();
            let store = world.store_on(marketplace, &credential).await;
            let receipts: Vec<_> = (0..6).map(|number| format!("r{number}-1")).collect();
            let answers = join_all(receipts.iter().map(|receipt| store.import(receipt))).await;
            assert!(answers.iter().all(|answer| answer["success"] == true), "{marketplace} {token}: {answers:?}");
        }
    }
}

#[tokio::test]
async fn a_token_registered_while_another_is_fetched_stays() {
    let world = World::live().await;
    let refresh = format!("refresh-{}", unique());
    let credential = json!({"accessToken": "expired", "refreshToken": refresh}).to_string();
    let store = world.store_on(Marketplace::Etsy, &credential).await;
    let slow = json!({"path": "/etsy/token", "contains": refresh, "kind": "delay", "delay_ms": 500});
    let slow = world.fault(slow).await;
    let renewed = Registration { access_token: "expired-too".into(), ..store.registration.clone() };
    let (answer, _) = tokio::join!(store.import("a-1"), async {
        wait_until(Duration::from_secs(10), async || Ok(world.hits(&slow).await > 0)).await.unwrap();
        register(world.deps.orders(), &renewed).await.unwrap();
    });
    world.end_fault(&slow).await;
    assert_eq!(answer["error"], "Authentication failed", "it was asked with the token that the store has now");
    world.pass(10);
    assert_eq!(world.sweep().await, (0, 0), "and waits for another");
}

#[tokio::test]
async fn a_store_whose_new_token_is_refused_too_spends_no_more_of_them() {
    let world = World::live().await;
    let refresh = format!("refresh-{}", unique());
    let credential = json!({"accessToken": "expired", "refreshToken": refresh}).to_string();
    let store = world.store_on(Marketplace::Etsy, &credential).await;
    let shop = format!("/etsy/v3/application/shops/{}/*", store.registration.external_store_id);
    let refused = world.fault(json!({"path": shop, "kind": "status", "status": 403})).await;
    let spent = world.fault(json!({"path": "/etsy/token", "contains": refresh, "kind": "delay", "delay_ms": 0})).await;
    assert_eq!(store.import("a-1").await["error"], "Authentication failed");
    assert_eq!(world.hits(&spent).await, 1);
    world.pass(10);
    assert_eq!(world.sweep().await, (0, 0));
    let told = world.client.operator_events("store.auth_failed").await.unwrap();
    assert_eq!(told.iter().filter(|detail| detail["storeId"] == store.id).count(), 1);
    // Somebody set the marketplace right, and asks for another try.
    world.end_fault(&refused).await;
    let retried = retry(world.deps.orders(), &store.token, None, |_| true).await.unwrap();
    assert_eq!(retried, Retried::Reopened { count: 0, has_more: false });
    assert_eq!(world.sweep().await, (1, 1));
    assert_eq!(store.sync().await, counts(1, 1, 0, 0));
    world.end_fault(&spent).await;
}

#[tokio::test]
async fn a_limit_of_the_account_keeps_the_other_rows_for_later() {
    let world = World::live().await;
    let store = world.store().await;
    let shop = format!("/etsy/v3/application/shops/{}/*", store.registration.external_store_id);
    let down = world.fault(json!({"path": shop, "kind": "status", "status": 500})).await;
    for number in 0..15 {
        assert_eq!(store.import(&format!("r{number}-1")).await["error"], "marketplace_unavailable");
    }
    world.end_fault(&down).await;
    world.pass(6);
    let limit = json!({"path": shop, "kind": "status", "status": 429, "retry_after": 3600});
    let limit = world.fault(limit).await;
    world.sweep().await;
    let Synced::Done(done) = store.sync().await else { panic!("there was something to do") };
    let asked = world.hits(&limit).await;
    assert!(asked <= 4 && u64::from(done.rate_limited_count) == asked, "{asked} of 15 were asked: {done:?}");
    world.end_fault(&limit).await;
    world.pass(59);
    assert_eq!((world.sweep().await, world.jobs().await.len()), ((0, 0), 1), "an hour was asked for");
    world.pass(2);
    assert_eq!(world.sweep().await, (1, 1));
    assert_eq!(store.sync().await, counts(15, 15, 0, 0));
}

#[tokio::test]
async fn a_wish_beyond_all_time_waits_for_a_day() {
    let world = World::live().await;
    let store = world.store().await;
    let shop = format!("/etsy/v3/application/shops/{}/*", store.registration.external_store_id);
    let limit = json!({"path": shop, "kind": "status", "status": 429, "retry_after": u64::MAX});
    let limit = world.fault(limit).await;
    assert_eq!(store.import("a-1").await["error"], "rate_limited");
    world.end_fault(&limit).await;
    assert_eq!(store.log("a-1").await["nextRetryAt"], "2026-01-06T10:00:00.000Z");
}

#[tokio::test]
async fn what_shopify_does_not_say_is_no_refusal() {
    let world = World::live().await;
    let store = world.store_on(Marketplace::Shopify, "token").await;
    let path = format!("/shopify/{}/*", store.registration.external_store_id);
    for (number, body) in [json!("maintenance"), json!({}), json!({"data": null})].into_iter().enumerate() {
        let odd = world.fault(json!({"path": path, "kind": "status", "status": 200, "body": body})).await;
        assert_eq!(store.import(&format!("{number}1")).await["error"], "marketplace_unavailable", "{body}");
        world.end_fault(&odd).await;
    }
    let bucket = json!({"requestedQueryCost": 101, "throttleStatus": {"currentlyAvailable": 1, "restoreRate": 0.01}});
    let body = json!({"errors": [{"extensions": {"code": "THROTTLED"}}], "extensions": {"cost": bucket}});
    let throttled = world.fault(json!({"path": path, "kind": "status", "status": 200, "body": body})).await;
    assert_eq!(store.import("91").await["error"], "rate_limited");
    world.end_fault(&throttled).await;
    assert_eq!(store.log("91").await["nextRetryAt"], "2026-01-05T12:46:40.000Z");
}

#[tokio::test]
async fn a_job_that_runs_out_of_time_goes_on_as_another_message() {
    let world = World::new(&[]).await;
    let store = world.store().await;
    store.import("a2").await;
    assert_eq!(store.sync_as("m", 1, Duration::from_secs(5)).await, Synced::Continued(Counts::default()));
    let job = take(&world.client, &world.jobs).await.remove(0);
    let owner = Owner { message_id: "n".into(), attempt: 1 };
    let later = Instant::now() + Duration::from_secs(600);
    assert_eq!(sync(&world.deps, &job.to_string(), &owner, later).await.unwrap(), counts(1, 0, 1, 0));
    let names: Vec<_> = world.events().await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["sync.started", "sync.failed"], "one start and one end");
}

#[tokio::test]
async fn a_store_whose_token_no_longer_opens_is_mended_by_registering_it_again() {
    let world = World::live().await;
    let store = world.store().await;
    let lose = json!({
        "TableName": world.organization,
        "Key": {"pk": {"S": format!("S#{}", store.id)}, "sk": {"S": "META"}},
        "UpdateExpression": "SET access_token = :lost",
        "ExpressionAttributeValues": {":lost": {"S": "k0.AAAA"}},
    });
    world.client.aws("DynamoDB_20120810.UpdateItem", &lose).await.unwrap();
    assert_eq!(store.import("1").await["error"], "marketplace_unavailable");
    let ids = register(world.deps.orders(), &store.registration).await.unwrap();
    assert_eq!((&ids.store_id, &ids.sync_token), (&store.id, &store.token));
    assert_eq!(store.import("3").await["success"], true);
}

#[tokio::test]
async fn an_event_whose_send_failed_is_sent_by_the_sweep() {
    let world = World::new(&[("CALLBACK_QUEUE_URL", "http://127.0.0.1:9/000000000000/nowhere")]).await;
    let store = world.store().await;
    assert_eq!(store.sync().await, counts(0, 0, 0, 0));
    let (aws, _) = aws().await;
    let mended = SyncDeps::from_env(
        &aws,
        &env(vec![
            ("ORDERS_TABLE", world.organization.clone()),
            data_key(),
            operator_bus(),
            ("ORDER_QUEUE_URL", world.jobs.clone()),
            ("CALLBACK_QUEUE_URL", world.callbacks.clone()),
        ]),
    );
    let now = world.now.clone();
    let mended = mended.unwrap().with_clock(Clock::from_fn(move || *now.lock().unwrap()));
    world.pass(3);
    let swept = sweep(&mended, Instant::now() + Duration::from_secs(60)).await.unwrap();
    assert_eq!(swept.resent_events, 2);
    let names: Vec<_> = world.events().await.into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"sync.started".to_owned()) && names.contains(&"sync.completed".to_owned()), "{names:?}");
    let swept = sweep(&mended, Instant::now() + Duration::from_secs(60)).await.unwrap();
    assert_eq!(swept.resent_events, 0);
}

//! The sync of orders: which receipts it asks about, when, and what it announces.

use super::orders_world::{World, counts};
use super::{aws, data_key, env, operator_bus, take};
use futures_util::future::join_all;
use serde_json::json;
use std::time::Duration;
use switchyard_core::Clock;
use switchyard_core::Owner;
use switchyard_orders::{Counts, ReceiptId, Retried, SyncDeps, Synced, sweep, sync};
use tokio::time::Instant;

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
    let mut wanted: Vec<_> = registered[10..].iter().map(|store| store.id.to_string()).collect();
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
    let retry = async |receipt: Option<&str>| {
        let receipt = receipt.map(ReceiptId::from);
        switchyard_orders::retry(orders, &store.token, receipt.as_ref(), |_| true).await.unwrap()
    };
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

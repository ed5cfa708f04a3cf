//! Live marketplaces: their credentials, refusals and amounts.

use super::orders_world::{World, counts};
use futures_util::future::join_all;
use serde_json::json;
use std::time::Duration;
use switchyard_orders::{Marketplace, Registration, Retried, register, retry};
use switchyard_tests::client::{unique, wait_until};

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
    let told: Vec<_> = told.iter().filter(|detail| detail["storeId"] == store.id.as_str()).collect();
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
    assert_eq!(told.iter().filter(|detail| detail["storeId"] == store.id.as_str()).count(), 1);
    // Somebody set the marketplace right, and asks for another try.
    world.end_fault(&refused).await;
    let retried = retry(world.deps.orders(), &store.token, None, |_| true).await.unwrap();
    assert_eq!(retried, Retried::Reopened { count: 0, has_more: false });
    assert_eq!(world.sweep().await, (1, 1));
    assert_eq!(store.sync().await, counts(1, 1, 0, 0));
    world.end_fault(&spent).await;
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

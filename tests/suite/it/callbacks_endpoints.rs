//! Endpoints: how they are registered and disabled, their circuits and their paces.

use super::callbacks_world::{ORGANIZATION, World, endpoint_key, new_endpoint};
use super::take;
use serde_json::{Value, json};
use switchyard_callbacks::manage::{self, Registered, Settings};

#[tokio::test]
async fn v40_the_same_address_is_the_same_endpoint_byte_for_byte() {
    let world = World::new().await;
    let (one, again) = (world.endpoint("a").await, world.endpoint("a").await);
    assert_eq!(json!(one.summary())["id"], json!(again.summary())["id"]);
    assert_ne!(json!(one.summary())["id"], json!(world.endpoint("a/").await.summary())["id"]);
    for target in ["ftp://h/x", "http://", "nonsense", "http://user:pass@127.0.0.1:4000/x", "http://10.0.0.1/x"] {
        assert!(manage::refuse_target(&world.callbacks, target).is_some(), "{target}");
    }
    for target in ["http://127.0.0.1:4000/webhook", "https://example.com/x"] {
        assert_eq!(manage::refuse_target(&world.callbacks, target), None, "{target}");
    }
}

#[tokio::test]
async fn an_open_circuit_saves_requests_and_ends_with_the_policy() {
    let world = World::new().await;
    let endpoint = world.endpoint("bad").await;
    world.answer("bad", 500, None);
    let mut events = Vec::new();
    for _ in 0..12 {
        events.push(world.publish().await);
        world.work().await;
        world.pass(1);
    }
    assert_eq!(world.hits("bad"), 5, "five failures open the circuit");
    let last = events.last().unwrap();
    let waiting = world.event(last).await;
    assert_eq!((&waiting["status"], &waiting["attempt"]), (&json!("pending"), &json!(0)), "no attempt was used up");
    // Healed: one request goes ahead, and its success lets all others through.
    world.answer("bad", 200, None);
    world.pass(40);
    for event in &events[5..] {
        world.attempt(event, &endpoint, 0).await;
    }
    assert_eq!(world.hits("bad"), 12);
    // Broken for good: what waits is given up when its policy's time is over.
    world.answer("bad", 500, None);
    for _ in 0..6 {
        events.push(world.publish().await);
        world.work().await;
        world.pass(1);
    }
    let last = events.last().unwrap();
    world.pass(14);
    assert_eq!(world.event(last).await["status"], "pending");
    let request = json!({
        "TableName": world.queue.rsplit('/').next().unwrap(),
        "Key": endpoint_key(&format!("{}/bad", world.base)),
        "UpdateExpression": "SET open_until = :u",
        "ExpressionAttributeValues": {":u": {"N": "1900000000000"}},
    });
    world.client.aws("DynamoDB_20120810.UpdateItem", &request).await.unwrap();
    world.pass(360);
    world.attempt(last, &endpoint, 0).await;
    let ended = world.event(last).await;
    assert_eq!((&ended["status"], &ended["lastError"]), (&json!("failed"), &json!("circuit_open")));
}

#[tokio::test]
async fn failures_of_one_moment_leave_the_circuit_closed_when_a_success_follows() {
    let world = World::new().await;
    world.endpoint("flaky").await;
    for _ in 0..3 {
        world.answer("flaky", 500, None);
        for _ in 0..6 {
            world.publish().await;
            world.work().await;
        }
        world.answer("flaky", 200, None);
        world.publish().await;
        world.work().await;
        world.pass(2);
    }
    assert_eq!(world.hits("flaky"), 21, "no request was held back");
}

#[tokio::test]
async fn one_request_at_a_time_tries_an_open_circuit_however_long_it_takes() {
    let world = World::new().await;
    let endpoint = world.endpoint("bad").await;
    let settings = Settings { timeout_ms: Some(Some(30_000)), ..Settings::default() };
    manage::change(&world.callbacks, &endpoint, &settings).await.unwrap().unwrap();
    world.answer("bad", 500, None);
    for _ in 0..5 {
        world.publish().await;
        world.work().await;
        world.pass(1);
    }
    let (probe, waiting) = (world.publish().await, world.publish().await);
    let message = take(&world.client, &world.queue).await.into_iter().find(|message| message["id"] == *probe).unwrap();
    world.pass(31);
    world.answer("bad", 0, None);
    world.die_after_the_post(&message, "probe", "bad").await;
    world.answer("bad", 200, None);
    world.pass(30);
    world.attempt(&waiting, &endpoint, 0).await;
    assert_eq!(world.hits("bad"), 6, "the first may still be under way");
    world.pass(6);
    world.attempt(&waiting, &endpoint, 0).await;
    assert_eq!(world.event(&waiting).await["status"], "success");
}

#[tokio::test]
async fn a_pace_is_kept_where_its_steps_are_no_whole_milliseconds() {
    let world = World::new().await;
    let endpoint = world.endpoint("fast").await;
    let settings = Settings { rate_per_second: Some(Some(600)), ..Settings::default() };
    manage::change(&world.callbacks, &endpoint, &settings).await.unwrap().unwrap();
    let mut waits = Vec::new();
    for _ in 0..4 {
        let event = world.publish().await;
        world.work().await;
        waits.push(world.event(&event).await["nextRetryAt"].clone());
    }
    let times = ["2026-01-05T10:00:00.001Z", "2026-01-05T10:00:00.003Z", "2026-01-05T10:00:00.004Z"];
    assert_eq!(waits[0], Value::Null);
    assert_eq!(waits[1..], times);
}

#[tokio::test]
async fn a_pace_is_kept_and_waiting_for_it_is_no_attempt() {
    let world = World::new().await;
    let endpoint = world.endpoint("slow").await;
    let settings = Settings { rate_per_second: Some(Some(2)), ..Settings::default() };
    manage::change(&world.callbacks, &endpoint, &settings).await.unwrap().unwrap();
    let events = [world.publish().await, world.publish().await, world.publish().await];
    world.work().await;
    assert_eq!(world.hits("slow"), 1);
    let mut waits = Vec::new();
    for event in &events {
        let status = world.event(event).await;
        if status["status"] == "pending" {
            assert_eq!(status["attempt"], 0);
            waits.push(status["nextRetryAt"].clone());
        }
    }
    waits.sort_by_key(Value::to_string);
    assert_eq!(waits, ["2026-01-05T10:00:00.500Z", "2026-01-05T10:00:01.000Z"]);
    world.pass(1);
    for event in &events {
        world.attempt(event, &endpoint, 0).await;
    }
    assert_eq!(world.hits("slow"), 3, "the place that was reserved is used");
}

#[tokio::test]
async fn an_endpoint_that_only_failed_for_five_days_is_switched_off() {
    let world = World::new().await;
    let endpoint = world.endpoint("bad").await;
    world.answer("bad", 500, None);
    world.publish().await;
    world.work().await;
    for (percent, hours) in [(50, 60), (70, 24), (90, 24)] {
        world.pass(hours * 3600);
        world.publish().await;
        world.work().await;
        let told = world.told("endpoint.failing", &endpoint).await;
        assert_eq!(told.last().map(|detail| &detail["percent"]), Some(&json!(percent)), "{told:?}");
    }
    assert_eq!(world.told("endpoint.failing", &endpoint).await.len(), 3);
    world.pass(12 * 3600);
    let event = world.publish().await;
    world.work().await;
    let id = json!(endpoint.summary())["id"].as_str().unwrap().to_owned();
    let known = manage::endpoint(&world.callbacks, &id.into()).await.unwrap().unwrap();
    assert_eq!(json!(known.details())["disabledReason"], "only_failures");
    world.pass(60);
    world.attempt(&event, &endpoint, 1).await;
    assert_eq!(world.event(&event).await["deliveries"][0]["status"], "skipped");
}

#[tokio::test]
async fn an_address_registered_anew_is_another_endpoint() {
    let world = World::new().await;
    let old = world.endpoint("a").await;
    let event = world.publish().await;
    manage::remove(&world.callbacks, &old).await.unwrap();
    let new = world.endpoint("a").await;
    assert_ne!(json!(old.summary())["id"], json!(new.summary())["id"]);
    world.work().await;
    let status = world.event(&event).await;
    assert_eq!((&status["deliveries"][0]["status"], &status["status"]), (&json!("skipped"), &json!("success")));
    assert_eq!((&status["lastError"], world.hits("a")), (&json!("endpoint_removed"), 0));
    // Who still holds the old one changes and removes nothing of the new.
    assert!(manage::change(&world.callbacks, &old, &Settings::default()).await.unwrap().is_none());
    manage::remove(&world.callbacks, &old).await.unwrap();
    assert_eq!(manage::list(&world.callbacks, &ORGANIZATION.into()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_organization_has_fifty_endpoints_for_an_event_and_no_more() {
    let world = World::new().await;
    for number in 0..40 {
        world.endpoint(&number.to_string()).await;
    }
    let register = async |name: &str| {
        let target = format!("{}/{name}", world.base);
        manage::register(&world.callbacks, &new_endpoint(&target)).await.unwrap()
    };
    // However many come at once.
    let names: Vec<_> = (40..55).map(|number: u32| number.to_string()).collect();
    let registered = futures_util::future::join_all(names.iter().map(|name| register(name))).await;
    assert_eq!(registered.iter().filter(|one| matches!(one, Registered::TooMany)).count(), 5);
    let gone = manage::list(&world.callbacks, &ORGANIZATION.into()).await.unwrap().remove(0);
    manage::remove(&world.callbacks, &gone).await.unwrap();
    assert!(matches!(register("in-its-place").await, Registered::Endpoint(_)));
    assert!(matches!(register("one-more").await, Registered::TooMany));
    assert!(matches!(register("in-its-place").await, Registered::Endpoint(_)), "it is known");
    let event = world.publish().await;
    world.work().await;
    let status = world.event(&event).await;
    let hits = world.receivers.got.lock().unwrap().len();
    assert_eq!((&status["status"], i64::try_from(hits)), (&json!("success"), Ok(manage::MAX_ENDPOINTS)));
}

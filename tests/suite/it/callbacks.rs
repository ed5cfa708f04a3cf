//! Deliveries: how they are attempted, signed, retried, given up and sent again.

use super::callbacks_world::{ORGANIZATION, World, endpoint_key};
use super::take;
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_callbacks::manage::{self, Settings};
use switchyard_callbacks::{EventId, RetryPolicy, process, sweep};
use switchyard_core::Owner;
use switchyard_core::{Clock, Timestamp, signature};
use tokio::time::Instant;

#[tokio::test]
async fn v34_only_the_endpoint_that_failed_is_tried_again() {
    let world = World::new().await;
    let (_good, bad) = (world.endpoint("good").await, world.endpoint("bad").await);
    world.answer("bad", 500, None);
    let event = world.publish().await;
    world.work().await;
    let status = world.event(&event).await;
    assert_eq!((&status["status"], &status["attempt"]), (&json!("pending"), &json!(1)));
    assert_eq!(status["nextRetryAt"], "2026-01-05T10:01:00.000Z");
    world.pass(60);
    world.attempt(&event, &bad, 1).await;
    assert_eq!(world.event(&event).await["nextRetryAt"], "2026-01-05T10:06:00.000Z");
    world.pass(300);
    world.attempt(&event, &bad, 2).await;
    let status = world.event(&event).await;
    assert_eq!((world.hits("good"), world.hits("bad")), (1, 3));
    assert_eq!((&status["status"], &status["attempt"]), (&json!("failed"), &json!(3)));
    assert_eq!((&status["lastError"], &status["nextRetryAt"]), (&json!("500 Internal Server Error"), &Value::Null));
    assert_eq!(status["attempts"].as_array().unwrap().len(), 4);
    assert_eq!(status["attempts"][0]["response"], "the answer");
    // A message that is out of date does nothing.
    world.attempt(&event, &bad, 2).await;
    assert_eq!(world.hits("bad"), 3);
    let told = world.told("delivery.exhausted", &bad).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["eventId"], &told[0]["reason"]), (&json!(event), &json!("500 Internal Server Error")));
}

#[tokio::test]
async fn v35_any_2xx_is_taken_redirects_are_not_followed_and_410_is_for_good() {
    let world = World::new().await;
    for (name, status) in [("empty", 204), ("moved", 302), ("gone", 410)] {
        world.endpoint(name).await;
        world.answer(name, status, None);
    }
    let event = world.publish().await;
    world.work().await;
    let status = world.event(&event).await;
    let of = |name: &str| {
        let deliveries = status["deliveries"].as_array().unwrap();
        let found = deliveries.iter().find(|row| row["targetUrl"].as_str().unwrap().ends_with(name)).unwrap();
        (found["status"].clone(), found["lastStatusCode"].clone())
    };
    assert_eq!(of("empty"), (json!("success"), json!(204)));
    assert_eq!(of("moved"), (json!("pending"), json!(302)));
    assert_eq!(of("gone"), (json!("failed"), json!(410)));
    assert_eq!(world.hits("elsewhere"), 0);
    let list = manage::list(&world.callbacks, &ORGANIZATION.into()).await.unwrap();
    let gone = list
        .iter()
        .find(|endpoint| json!(endpoint.summary())["targetUrl"].as_str().unwrap().ends_with("gone"))
        .unwrap();
    assert_eq!(
        (&json!(gone.details())["isActive"], &json!(gone.details())["disabledReason"]),
        (&json!(false), &json!("gone"))
    );
    let told = world.told("endpoint.disabled", gone).await;
    assert_eq!((told.len(), &told[0]["reason"], &told[0]["organizationId"]), (1, &json!("gone"), &json!(ORGANIZATION)));
}

#[tokio::test]
async fn v36_an_event_that_nobody_wants_is_done() {
    let world = World::new().await;
    let event = world.publish().await;
    world.work().await;
    let status = world.event(&event).await;
    assert_eq!((&status["status"], &status["deliveries"]), (&json!("success"), &json!([])));
}

#[tokio::test]
async fn v41_an_address_that_resolves_inside_gets_no_connection() {
    // Registered while this machine was allowed, delivered after it no longer is.
    let world = World::with(&[("WEBHOOK_ALLOW_HTTP", "true")]).await;
    for host in ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"] {
        let target = world.base.replace("127.0.0.1", host);
        let endpoint = world.endpoint_at(&target).await;
        let event = manage::test(&world.callbacks, &endpoint).await.unwrap();
        world.work().await;
        assert_eq!(world.event(event.as_str()).await["lastError"], "blocked_address", "{host}");
        manage::remove(&world.callbacks, &endpoint).await.unwrap();
    }
    assert_eq!(world.receivers.got.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn every_attempt_sends_the_same_bytes_signed_for_that_attempt() {
    let world = World::with(&[
        ("WEBHOOK_ALLOW_HTTP", "true"),
        ("WEBHOOK_ALLOW_CIDRS", "127.0.0.0/8"),
        ("WEBHOOK_SECRET", "demo-secret"),
    ])
    .await;
    let endpoint = world.endpoint("a").await;
    world.answer("a", 500, None);
    let event = world.publish().await;
    world.work().await;
    let old = manage::secret(&world.callbacks, &endpoint).await.unwrap();
    let rotated = manage::rotate(&world.callbacks, &endpoint, Duration::from_secs(120)).await.unwrap().unwrap();
    let new = manage::secret(&world.callbacks, &rotated).await.unwrap();
    world.pass(60);
    world.attempt(&event, &endpoint, 1).await;
    world.pass(300);
    world.attempt(&event, &endpoint, 2).await;
    let got = world.receivers.got.lock().unwrap().clone();
    let start = "2026-01-05T10:00:00Z".parse::<Timestamp>().unwrap();
    for (number, (got, seconds)) in got.iter().zip([0, 60, 360]).enumerate() {
        let header = |name: &str| got.headers[name].to_str().unwrap();
        assert_eq!(got.body, r#"{"b":1,"a":2}"#);
        assert_eq!((header("webhook-id"), header("x-event-id")), (event.as_str(), event.as_str()));
        assert!(header("user-agent").starts_with("switchyard/"));
        let now = start + Duration::from_secs(seconds);
        let fits = |secret: &str| {
            signature::verify(secret, &event, header("webhook-timestamp"), header("webhook-signature"), &got.body, now)
        };
        // The old secret signs until its grace is over, the new one from its making on.
        assert_eq!(fits(old.expose()).is_ok(), number < 2, "attempt {number}");
        assert_eq!(fits(new.expose()).is_ok(), number > 0, "attempt {number}");
        assert_eq!(header("x-webhook-signature"), signature::legacy("demo-secret", &got.body));
    }
    assert_eq!(got.len(), 3);
}

#[tokio::test]
async fn a_wish_for_patience_is_honoured() {
    let world = World::new().await;
    world.endpoint("a").await;
    world.answer("a", 429, Some("600"));
    let event = world.publish().await;
    world.work().await;
    assert_eq!(world.event(&event).await["nextRetryAt"], "2026-01-05T10:10:00.000Z");
}

#[tokio::test]
async fn a_worker_that_died_is_followed_by_its_messages_next_receive() {
    let world = World::new().await;
    world.endpoint("a").await;
    let event = world.publish().await;
    let message = take(&world.client, &world.queue).await.remove(0);
    world.answer("a", 0, None);
    world.die_after_the_post(&message, "dead", "a").await;
    assert_eq!(world.event(&event).await["attempts"], json!([]), "nothing was written down");
    world.answer("a", 200, None);
    let other = Owner { message_id: "other".into(), attempt: 1 };
    assert!(process(&world.deps, &message.to_string(), &other).await.is_err(), "the lease holds");
    world.process_as(&message, "dead", 2).await;
    let status = world.event(&event).await;
    assert_eq!((&status["status"], &status["attempt"]), (&json!("success"), &json!(1)));
    let ids: Vec<_> = world.receivers.got.lock().unwrap().iter().map(|got| got.headers["webhook-id"].clone()).collect();
    assert_eq!(ids, [event.as_str(), event.as_str()], "the receiver can tell");
}

#[tokio::test]
async fn a_secret_that_no_longer_opens_keeps_no_other_from_signing() {
    let world = World::new().await;
    let endpoint = world.endpoint("a").await;
    let lose = json!({
        "TableName": world.queue.rsplit('/').next().unwrap(),
        "Key": endpoint_key(&format!("{}/a", world.base)),
        "UpdateExpression": "SET secrets[0].secret = :lost",
        "ExpressionAttributeValues": {":lost": {"S": "k0.AAAA"}},
    });
    world.client.aws("DynamoDB_20120810.UpdateItem", &lose).await.unwrap();
    let event = world.publish().await;
    world.work().await;
    assert_eq!(world.hits("a"), 0, "nothing is sent that cannot be signed");
    let status = world.event(&event).await;
    assert_eq!((&status["status"], &status["lastError"]), (&json!("failed"), &json!("secret_unreadable")));
    manage::rotate(&world.callbacks, &endpoint, Duration::from_secs(600)).await.unwrap().unwrap();
    let second = world.publish().await;
    world.work().await;
    assert_eq!(world.event(&second).await["status"], "success");
    assert_eq!(manage::resend(&world.callbacks, &event.as_str().into(), None).await.unwrap(), 1);
    world.work().await;
    assert_eq!(world.event(&event).await["status"], "success");
}

#[tokio::test]
async fn what_failed_is_resent_and_recovered_on_demand() {
    let world = World::new().await;
    let endpoint = world.endpoint("a").await;
    let settings = Settings { retry_policy: Some(RetryPolicy::Custom(vec![1])), ..Settings::default() };
    manage::change(&world.callbacks, &endpoint, &settings).await.unwrap().unwrap();
    world.answer("a", 500, None);
    let since = Clock::system().now();
    let mut events = Vec::new();
    for _ in 0..3 {
        let event = world.publish().await;
        world.work().await;
        world.pass(2);
        world.attempt(&event, &endpoint, 1).await;
        assert_eq!(world.event(&event).await["status"], "failed");
        events.push(event);
    }
    world.answer("a", 200, None);
    // The circuit is open by now; its owner switches the endpoint on again.
    let on = Settings { is_active: Some(true), ..Settings::default() };
    let endpoint = manage::change(&world.callbacks, &endpoint, &on).await.unwrap().unwrap();
    assert_eq!(manage::resend(&world.callbacks, &events[0].as_str().into(), None).await.unwrap(), 1);
    world.work().await;
    let status = world.event(&events[0]).await;
    assert_eq!((&status["status"], &status["attempts"][2]["trigger"]), (&json!("success"), &json!("manual")));
    let until = Clock::system().now() + Duration::from_secs(60);
    let earlier = since - Duration::from_secs(60);
    assert_eq!(manage::count_failed(&world.callbacks, &endpoint, earlier, since).await.unwrap(), 0);
    assert_eq!(manage::count_failed(&world.callbacks, &endpoint, since, until).await.unwrap(), 2);
    manage::recover(&world.callbacks, &endpoint, since, until).await.unwrap();
    world.work().await;
    for event in &events {
        assert_eq!(world.event(event).await["status"], "success");
    }
    let page = manage::deliveries(&world.callbacks, &endpoint, None, None).await.unwrap();
    let order: Vec<_> =
        json!(page)["deliveries"].as_array().unwrap().iter().map(|row| row["eventId"].clone()).collect();
    let newest_first: Vec<_> = events.iter().rev().map(|event| json!(event)).collect();
    assert_eq!(order, newest_first);
}

#[tokio::test]
async fn what_waits_longer_than_a_message_can_is_sent_by_the_sweep_on_time() {
    let world = World::new().await;
    world.endpoint("a").await;
    world.answer("a", 503, Some("3600"));
    let event = world.publish().await;
    world.work().await;
    assert_eq!(world.event(&event).await["nextRetryAt"], "2026-01-05T11:00:00.000Z");
    let run = async || sweep(&world.callbacks, Instant::now() + Duration::from_secs(60)).await.unwrap().enqueued_jobs;
    world.pass(3599);
    assert_eq!(run().await, 0);
    world.answer("a", 200, None);
    world.pass(1);
    assert_eq!(run().await, 1);
    world.work().await;
    assert_eq!(world.event(&event).await["status"], "success");
}

#[tokio::test]
async fn long_rows_are_listed_counted_and_recovered_to_the_last() {
    let world = World::new().await;
    let endpoint = world.endpoint(&format!("bad?{}", "x".repeat(9_000))).await;
    let mut events = Vec::new();
    for _ in 0..130 {
        events.push(manage::test(&world.callbacks, &endpoint).await.unwrap().to_string());
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page =
            manage::deliveries(&world.callbacks, &endpoint, None, cursor.map(EventId::from).as_ref()).await.unwrap();
        seen.extend(
            json!(page)["deliveries"].as_array().unwrap().iter().map(|row| row["eventId"].as_str().unwrap().to_owned()),
        );
        match json!(page)["cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    seen.reverse();
    assert_eq!(seen, events);
}

#[tokio::test]
async fn what_was_lost_on_the_way_is_sent_by_the_sweep() {
    let world = World::new().await;
    world.endpoint("a").await;
    let event = world.publish().await;
    assert_eq!(take(&world.client, &world.queue).await.len(), 1, "the message, lost");
    let run = async || sweep(&world.callbacks, Instant::now() + Duration::from_secs(60)).await.unwrap().enqueued_jobs;
    assert_eq!(run().await, 0);
    world.pass(121);
    assert_eq!(run().await, 1);
    assert_eq!(run().await, 0, "put off");
    world.work().await;
    assert_eq!(world.event(&event).await["status"], "success");
    world.pass(3600);
    assert_eq!(run().await, 0, "nothing is due any more");
}

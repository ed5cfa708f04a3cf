//! What signals could not do: kept, seen by whose it is, and sent again once.

use super::signals_world::{World, rule, telegram};
use super::{env, operator_bus, owner, queue, take};
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_core::Owner;
use switchyard_signals::deliveries::{self, DeliveryFilter, RetryOutcome};
use switchyard_signals::{DeliveryStatus, QueueDeps, archive, dead_letters, deliver, process};
use switchyard_work::dead_letters::{Archiver, Filter, Scope};
use tokio::time::Instant;

impl World {
    fn own(&self) -> Scope<'_> {
        Scope::Tenant(self.tenant.id.as_str())
    }

    async fn letters(&self, scope: Scope<'_>) -> Vec<Value> {
        let wanted = Filter::default();
        let letters = dead_letters::list(&self.queues, scope, &wanted, None, 200).await.unwrap().0;
        letters.iter().map(|letter| json!(letter)).collect()
    }

    async fn redrive(&self, letter: &Value) -> RetryOutcome {
        let id = letter["id"].as_str().unwrap();
        dead_letters::redrive(&self.queues, &"cli".into(), self.own(), &id.into()).await.unwrap().unwrap()
    }

    async fn in_full(&self, id: &str) -> Value {
        json!(deliveries::delivery(&self.tenants, &self.tenant.id, &id.into()).await.unwrap().unwrap())
    }

    /// An event whose notification Telegram refuses for good.
    async fn refused(&self) -> Value {
        self.bot.says("1", 403, json!({"ok": false, "error_code": 403, "description": "bot was blocked by the user"}));
        // A chat takes one message a second.
        self.pass(2);
        let event = self.event("t", json!({})).await;
        self.work().await;
        self.deliveries(&event).await.remove(0)
    }

    /// The message of an event that is nowhere.
    fn ghost(&self, event: &str) -> String {
        let body = json!({"eventId": event, "type": "t", "attempt": 0});
        json!({"v": 1, "id": event, "kind": "signals.event", "tenant": self.tenant.id, "body": body}).to_string()
    }
}

fn sends_again(retried: RetryOutcome) -> bool {
    retried == RetryOutcome::Enqueued
}

#[tokio::test]
async fn v40_a_message_that_cannot_succeed_is_kept_and_sent_again_once() {
    let world = World::new().await;
    let event = "019b2a3c-7c00-7a11-8b22-0c0ffee00001";
    process(&world.rules, &world.ghost(event), &owner()).await.unwrap();
    let letter = world.letters(world.own()).await.remove(0);
    assert_eq!((&letter["queue"], &letter["eventId"]), (&json!("rules"), &json!(event)), "{letter}");
    assert_eq!((&letter["errorCode"], &letter["redrivenAt"]), (&json!("unknown_event"), &Value::Null));
    let id = letter["id"].as_str().unwrap();
    let full = json!(dead_letters::get(&world.queues, world.own(), &id.into()).await.unwrap().unwrap());
    assert_eq!(full["body"]["body"]["eventId"], event);
    let another = dead_letters::get(&world.queues, Scope::Tenant("another"), &id.into()).await.unwrap();
    assert!(another.is_none());

    assert!(sends_again(world.redrive(&letter).await));
    assert_eq!(take(&world.client, &world.rules_queue).await, [full["body"].clone()]);
    assert!(!sends_again(world.redrive(&letter).await));
    assert!(world.letters(world.own()).await[0]["redrivenAt"].is_string());
    assert!(dead_letters::delete(&world.queues, &"cli".into(), world.own(), &id.into()).await.unwrap());
    assert!(!dead_letters::delete(&world.queues, &"cli".into(), world.own(), &id.into()).await.unwrap());
    assert_eq!(world.run_sweep().await, 0);
}

#[tokio::test]
async fn a_notification_that_was_given_up_can_be_begun_again() {
    let world = World::with_bot().await;
    world.rule(rule("t", json!({"when": true, "actions": telegram("hi")}))).await;
    let row = world.refused().await;
    let id = row["id"].as_str().unwrap();
    assert_eq!((&row["status"], &row["attempts"]), (&json!("failed"), &json!(1)), "{row}");
    let letter = world.letters(world.own()).await.remove(0);
    assert_eq!((&letter["deliveryId"], &letter["errorCode"]), (&row["id"], &row["lastError"]), "{letter}");

    world.pass(90_000);
    world.bot.recovers("1");
    let retry =
        async || deliveries::retry(&world.queues, &"cli".into(), &world.tenant.id, &id.into()).await.unwrap().unwrap();
    assert!(sends_again(retry().await), "however old it is");
    assert!(!sends_again(retry().await), "it is under way");
    assert!(!sends_again(world.redrive(&letter).await), "its letter was dealt with by that");
    world.work().await;
    let full = world.in_full(id).await;
    assert_eq!((&full["status"], &full["attempts"]), (&json!("sent"), &json!(1)), "{full}");
    let outcomes: Vec<_> = full["history"].as_array().unwrap().iter().map(|tried| &tried["outcome"]).collect();
    assert_eq!(outcomes, [&letter["errorCode"], &json!("sent")]);
    assert!(!sends_again(retry().await), "it was sent");
    assert_eq!(world.bot.got("1").len(), 1);
    assert_eq!(world.usage().await["notificationsSent"], 1);
    let unknown = deliveries::retry(&world.queues, &"cli".into(), &"another".into(), &id.into()).await.unwrap();
    assert_eq!(unknown, None);
}

#[tokio::test]
async fn a_notification_that_fails_again_leaves_another_letter() {
    let world = World::with_bot().await;
    world.rule(rule("t", json!({"when": true, "actions": telegram("hi")}))).await;
    world.refused().await;
    let first = world.letters(world.own()).await.remove(0);
    world.pass(2);
    assert!(sends_again(world.redrive(&first).await));
    world.work().await;
    assert!(!sends_again(world.redrive(&first).await));
    let letters = world.letters(world.own()).await;
    assert_eq!(letters.len(), 2);
    world.bot.recovers("1");
    world.pass(2);
    let second = letters.iter().find(|letter| letter["redrivenAt"].is_null()).unwrap();
    assert!(sends_again(world.redrive(second).await));
    world.work().await;
    assert_eq!(world.bot.got("1").len(), 1);
}

/// One dead-letter queue of a world's own; the other one is not there.
struct Dlqs {
    archiver: Archiver,
    queue: String,
}

impl Dlqs {
    async fn new(world: &World, name: &str) -> Self {
        let queue = queue(&world.client, &format!("{}-dlq", world.tenant.id)).await;
        let other = if name == "rules" { "notify" } else { "rules" };
        let dlqs = format!("{other}={queue}-none,{name}={queue}");
        let env = env(vec![("SIGNALS_TABLE", world.table.clone()), ("DLQS", dlqs), operator_bus()]);
        Self { archiver: Archiver::from_env(&world.aws, &env, "SIGNALS_TABLE", "signals").unwrap(), queue }
    }

    /// A message dies, and is moved.
    async fn bury(&self, world: &World, message: &str) {
        let request = json!({"QueueUrl": self.queue, "MessageBody": message});
        world.client.aws("AmazonSQS.SendMessage", &request).await.unwrap();
        let moved = archive(&self.archiver, &world.queues, Instant::now() + Duration::from_secs(20)).await;
        assert!(moved.is_err(), "the other queue could not be read, and this one was all the same");
        assert!(take(&world.client, &self.queue).await.is_empty());
    }
}

#[tokio::test]
async fn what_died_of_a_passing_fault_is_swept_a_few_times_and_then_waits() {
    let world = World::with_bot().await;
    world.rule(rule("t", json!({"when": true, "actions": telegram("hi")}))).await;
    let dlqs = Dlqs::new(&world, "rules").await;
    world.event("t", json!({})).await;
    let message = take(&world.client, &world.rules_queue).await.remove(0).to_string();
    let mut swept = 0;
    for _ in 0..10 {
        dlqs.bury(&world, &message).await;
        world.pass(10_000);
        swept += world.run_sweep().await;
        take(&world.client, &world.rules_queue).await;
    }
    assert_eq!(swept, 5, "then it waits for somebody's word");
    let letters = world.letters(world.own()).await;
    assert_eq!((letters.len(), &letters[0]["errorCode"]), (10, &json!("receives_exhausted")));
    assert!(sends_again(world.redrive(&letters[0]).await));
    world.work().await;
    assert_eq!(world.bot.got("1"), ["hi"]);
}

#[tokio::test]
async fn a_message_that_is_out_of_date_takes_nothing_away() {
    let world = World::with_bot().await;
    world.rule(rule("t", json!({"when": true, "actions": telegram("hi")}))).await;
    let dlqs = Dlqs::new(&world, "notify").await;
    world.bot.says("1", 500, json!({"ok": false, "error_code": 500, "description": "sorry"}));
    let event = world.event("t", json!({})).await;
    let message = take(&world.client, &world.rules_queue).await.remove(0).to_string();
    process(&world.rules, &message, &owner()).await.unwrap();
    let job = take(&world.client, &world.notify_queue).await.remove(0).to_string();
    deliver(&world.notify, &job, &owner()).await.unwrap();
    assert_eq!(world.deliveries(&event).await[0]["status"], "retry_wait");
    for _ in 0..9 {
        dlqs.bury(&world, &job).await;
    }
    world.bot.recovers("1");
    world.pass(10_000);
    assert!(world.run_sweep().await > 0, "its next attempt is due");
    world.work().await;
    assert_eq!(world.deliveries(&event).await[0]["status"], "sent");
    let letter = world.letters(world.own()).await.remove(0);
    assert!(!sends_again(world.redrive(&letter).await), "there is nothing to be done any more");
}

#[tokio::test]
async fn a_notification_that_is_stuck_has_its_day_again_when_it_is_sent_again() {
    let world = World::with_bot().await;
    world.rule(rule("t", json!({"when": true, "actions": telegram("hi")}))).await;
    let event = world.event("t", json!({})).await;
    let message = take(&world.client, &world.rules_queue).await.remove(0).to_string();
    process(&world.rules, &message, &owner()).await.unwrap();
    let mut job = take(&world.client, &world.notify_queue).await.remove(0);
    job["body"]["attempts"] = json!(0);
    job["kind"] = json!("signals.other");
    let once = Owner { message_id: "one".to_owned(), attempt: 1 };
    for _ in 0..2 {
        deliver(&world.notify, &job.to_string(), &once).await.unwrap();
    }
    let letters = world.letters(world.own()).await;
    assert_eq!(letters.len(), 1, "a message is kept once");
    assert_eq!((&letters[0]["errorCode"], &letters[0]["kind"]), (&json!("malformed_message"), &json!("message")));
    world.pass(90_000);
    assert_eq!(world.run_sweep().await, 0, "it waits for somebody's word");
    assert!(sends_again(world.redrive(&letters[0]).await));
    world.work().await;
    assert_eq!(world.deliveries(&event).await[0]["status"], "sent", "however old it is");
    assert!(!sends_again(world.redrive(&letters[0]).await));
}

#[tokio::test]
async fn what_is_not_of_our_form_is_nobodys_and_is_kept_too() {
    let world = World::new().await;
    let dlqs = Dlqs::new(&world, "notify").await;
    for body in ["not ours", r#"{"tenant":"t","body":{"eventId":""}}"#, &"x".repeat(200_000)] {
        dlqs.bury(&world, body).await;
    }
    assert!(world.letters(world.own()).await.is_empty());
    let letters = world.letters(Scope::All).await;
    assert!(letters.len() == 3 && letters.iter().all(|letter| letter["tenantId"].is_null()), "{letters:?}");
    // Pages of all partitions as one.
    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let wanted = Filter::default();
        let page = dead_letters::list(&world.queues, Scope::All, &wanted, cursor.as_deref(), 2).await.unwrap();
        ids.extend(page.0.iter().map(|letter| json!(letter.id)));
        cursor = page.1;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(ids, letters.iter().map(|letter| letter["id"].clone()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_digest_that_cannot_be_closed_is_no_longer_due() {
    let world = World::with_bot().await;
    let digest = json!({"when": true, "digest": {"window": "1m"}, "actions": telegram("{{ count }}")});
    world.rule(rule("t", digest)).await;
    world.event("t", json!({})).await;
    world.work().await;
    world.pass(61);
    assert_eq!(world.run_sweep().await, 1);
    let mut message = take(&world.client, &world.rules_queue).await.remove(0);
    let good = message.clone();
    message["v"] = json!(9);
    process(&world.rules, &message.to_string(), &owner()).await.unwrap();
    assert_eq!(world.letters(world.own()).await[0]["errorCode"], "malformed_message");
    world.pass(10_000);
    assert_eq!(world.run_sweep().await, 0);
    process(&world.rules, &good.to_string(), &owner()).await.unwrap();
    world.work().await;
    assert_eq!(world.bot.got("1"), ["1"]);
}

#[tokio::test]
async fn a_fallback_that_was_started_is_not_started_again() {
    let world = World::with_bot().await;
    let to = (10..20).map(|chat| chat.to_string()).collect::<Vec<_>>();
    let fallback = json!([{"type": "notify", "channel": "telegram", "to": to, "text": "instead"}]);
    let action = json!([{"type": "notify", "channel": "telegram", "text": "hi", "fallback": fallback}]);
    world.rule(rule("t", json!({"when": true, "actions": action}))).await;
    world.refused().await;
    let letter = world.letters(world.own()).await.remove(0);
    world.pass(2);
    assert!(sends_again(world.redrive(&letter).await));
    world.work().await;
    world.pass(1_000);
    world.run_sweep().await;
    world.work().await;
    for chat in 10..20 {
        assert_eq!(world.bot.got(&chat.to_string()), ["instead"], "{chat}");
    }
    assert_eq!(world.letters(world.own()).await.len(), 2);
}

#[tokio::test]
async fn a_letter_that_could_not_be_sent_is_sent_by_the_sweep() {
    let world = World::new().await;
    process(&world.rules, &world.ghost("019b2a3c-7c00-7a11-8b22-0c0ffee00001"), &owner()).await.unwrap();
    let letter = world.letters(world.own()).await.remove(0);
    let nowhere = format!("{}-none", world.rules_queue);
    let env = env(vec![
        ("SIGNALS_TABLE", world.table.clone()),
        ("RULES_QUEUE_URL", nowhere.clone()),
        ("NOTIFY_QUEUE_URL", nowhere),
    ]);
    let cut_off = QueueDeps::from_env(&world.aws, &env).unwrap().with_clock(world.clock());
    let id = letter["id"].as_str().unwrap();
    let retried = dead_letters::redrive(&cut_off, &"cli".into(), world.own(), &id.into()).await.unwrap();
    assert_eq!(retried, Some(RetryOutcome::Enqueued));
    assert_eq!(world.run_sweep().await, 0);
    world.pass(121);
    assert_eq!(world.run_sweep().await, 1);
    assert_eq!(take(&world.client, &world.rules_queue).await.len(), 1);
    world.pass(10_000);
    assert_eq!(world.run_sweep().await, 0);
}

#[tokio::test]
async fn several_are_sent_again_at_once() {
    let world = World::with_bot().await;
    world.rule(rule("t", json!({"when": true, "actions": telegram("hi")}))).await;
    for _ in 0..3 {
        world.refused().await;
    }
    world.pass(60);
    process(&world.rules, &world.ghost("019b2a3c-7c00-7a11-8b22-0c0ffee00001"), &owner()).await.unwrap();
    world.bot.recovers("1");
    let reason = "unknown_event".to_owned();
    let redrive = async |wanted: Filter, most: usize| {
        let deadline = Instant::now() + Duration::from_secs(60);
        dead_letters::redrive_all(&world.queues, &"cli".into(), world.own(), &wanted, None, most, deadline)
            .await
            .unwrap()
            .0
    };
    let open = || Filter { queue: Some("notify".to_owned()), is_open: true, ..Filter::default() };
    assert_eq!(redrive(Filter { error_code: Some(reason), ..open() }, 10).await, 0);
    assert_eq!(redrive(Filter { is_given_up: Some(false), ..open() }, 10).await, 0, "messages alone");
    let before = *world.now.lock().unwrap() - Duration::from_secs(3_600);
    assert_eq!(redrive(Filter { older_than: Some(before), ..open() }, 10).await, 0);
    assert_eq!(redrive(open(), 2).await, 2);
    assert_eq!(redrive(open(), 10).await, 1);
    assert_eq!(redrive(open(), 10).await, 0);
    assert_eq!(take(&world.client, &world.notify_queue).await.len(), 3);
}

#[tokio::test]
async fn deliveries_are_listed_by_state_in_pages() {
    let world = World::with_bot().await;
    world.rule(rule("t", json!({"when": true, "actions": telegram("hi")}))).await;
    let mut failed = Vec::new();
    for _ in 0..3 {
        failed.push(world.refused().await["id"].clone());
        world.pass(1);
    }
    world.bot.recovers("1");
    let sent = world.event("t", json!({})).await;
    world.work().await;
    let sent = world.deliveries(&sent).await.remove(0)["id"].clone();
    failed.reverse();
    let pages = async |status: Option<DeliveryStatus>| {
        let (mut ids, mut cursor) = (Vec::new(), None);
        loop {
            let wanted = DeliveryFilter { rule_id: None, status };
            let tenant = &world.tenant.id;
            let page = deliveries::list(&world.tenants, tenant, &wanted, cursor.as_deref(), 2).await.unwrap();
            assert!(page.0.len() <= 2);
            ids.extend(page.0.iter().map(|view| json!(view)["id"].clone()));
            match page.1 {
                Some(next) => cursor = Some(next),
                None => return ids,
            }
        }
    };
    assert_eq!(pages(Some(DeliveryStatus::Failed)).await, failed);
    assert_eq!(pages(Some(DeliveryStatus::Expired)).await, Vec::<Value>::new());
    let all: Vec<_> = std::iter::once(sent).chain(failed).collect();
    assert_eq!(pages(None).await, all);
    let wanted = DeliveryFilter { rule_id: Some("another".into()), status: None };
    assert!(deliveries::list(&world.tenants, &world.tenant.id, &wanted, None, 2).await.unwrap().0.is_empty());
    assert!(
        deliveries::list(&world.tenants, &"another".into(), &DeliveryFilter::default(), None, 2)
            .await
            .unwrap()
            .0
            .is_empty()
    );
}

//! Notifications: how they are composed, sent, rescheduled and given up.

use super::signals_world::{World, rule, telegram};
use super::{owner, take};
use serde_json::{Value, json};
use switchyard_core::Owner;
use switchyard_core::Timestamp;
use switchyard_signals::configs;
use switchyard_signals::dead_letters;
use switchyard_signals::events::{self};
use switchyard_signals::tenants::{self, TenantEdit};
use switchyard_signals::{ConfigStatus, SignalsError, TenantStatus, deliver, process};
use switchyard_tests::client::unique;
use switchyard_work::dead_letters::{Filter, Scope};

#[tokio::test]
async fn v31_the_same_message_again_sends_and_counts_nothing_more() {
    let world = World::with_bot().await;
    world.rule(rule("user.*", json!({"when": true, "actions": telegram("Hi {{ payload.name }}")}))).await;
    let event = world.event("user.signup", json!({"name": "Ann"})).await;
    let message = take(&world.client, &world.rules_queue).await.remove(0).to_string();
    for _ in 0..3 {
        process(&world.rules, &message, &owner()).await.unwrap();
    }
    world.work().await;
    process(&world.rules, &message, &owner()).await.unwrap();
    world.work().await;
    assert_eq!(world.bot.got("1"), ["Hi Ann"]);
    let used = world.usage().await;
    assert_eq!((&used["notificationsSent"], &used["rulesMatched"]), (&json!(1), &json!(1)));
    assert_eq!(used["byChannel"], json!({"telegram": 1}));
    let deliveries = world.deliveries(&event).await;
    assert_eq!((deliveries.len(), &deliveries[0]["status"]), (1, &json!("sent")));
    assert_eq!(deliveries[0]["attempts"], 1);
}

#[tokio::test]
async fn v32_one_action_without_a_config_fails_alone() {
    let world = World::with_bot().await;
    let channels = ["telegram", "whatsapp", "telegram"];
    for (number, channel) in channels.into_iter().enumerate() {
        let action = json!([{"type": "notify", "channel": channel, "text": format!("rule {number}")}]);
        world.rule(rule("*", json!({"when": true, "actions": action}))).await;
    }
    let event = world.event("x", json!({})).await;
    world.work().await;
    world.pass(5);
    world.work().await;
    let deliveries = world.deliveries(&event).await;
    let of = |channel: &str| {
        let found: Vec<_> = deliveries.iter().filter(|row| row["channel"] == channel).collect();
        found.iter().map(|row| (row["status"].clone(), row["lastError"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(of("whatsapp"), [(json!("failed"), json!("no_active_config"))]);
    assert_eq!(deliveries.len(), 3);
    let used = world.usage().await;
    assert_eq!((&used["notificationsFailed"], &used["rulesMatched"]), (&json!(1), &json!(3)));
}

#[tokio::test]
async fn v33_a_bots_limit_holds_the_whole_bot() {
    let world = World::with_bot().await;
    let two = json!([{"type": "notify", "channel": "telegram", "to": ["1", "2"], "text": "x"}]);
    world.rule(rule("*", json!({"when": true, "actions": two}))).await;
    let limited =
        json!({"ok": false, "error_code": 429, "description": "Too Many Requests", "parameters": {"retry_after": 35}});
    world.bot.says("1", 429, limited.clone());
    world.bot.says("2", 429, limited);
    let event = world.event("x", json!({})).await;
    world.work().await;
    let deliveries = world.deliveries(&event).await;
    for row in &deliveries {
        let next: Timestamp = row["nextAttemptAt"].as_str().unwrap().parse().unwrap();
        assert!(next >= "2026-01-05T10:00:35Z".parse().unwrap(), "{row}");
    }
    assert!(deliveries.iter().any(|row| row["status"] == "retry_wait"), "{deliveries:?}");
    world.bot.recovers("1");
    world.bot.recovers("2");
    for _ in 0..4 {
        world.pass(300);
        world.run_sweep().await;
        world.work().await;
    }
    assert_eq!((world.bot.got("1").len(), world.bot.got("2").len()), (1, 1));
    assert_eq!(world.usage().await["notificationsSent"], 2);
}

#[tokio::test]
async fn v34_v36_what_is_hopeless_is_given_up_and_its_fallback_sent() {
    let world = World::with_bot().await;
    let fallback = json!([{"type": "notify", "channel": "telegram", "to": ["2"], "text": "instead"}]);
    let action = json!([{"type": "notify", "channel": "telegram", "text": "first", "fallback": fallback}]);
    world.rule(rule("*", json!({"when": true, "actions": action}))).await;
    let blocked = json!({"ok": false, "error_code": 403, "description": "Forbidden: bot was blocked by the user"});
    world.bot.says("1", 403, blocked);
    let event = world.event("x", json!({})).await;
    world.work().await;
    let mut statuses: Vec<_> =
        world.deliveries(&event).await.iter().map(|row| row["status"].as_str().unwrap().to_owned()).collect();
    statuses.sort();
    assert_eq!(statuses, ["failed", "sent"]);
    assert_eq!(world.bot.got("2"), ["instead"]);
    // A token that is refused puts the config out of use, until somebody mends it.
    world.bot.says("1", 401, json!({"ok": false, "error_code": 401, "description": "Unauthorized"}));
    world.pass(5);
    world.event("x", json!({})).await;
    world.work().await;
    let configs = json!(configs::list(&world.configs, &world.tenant.id).await.unwrap());
    assert_eq!(configs[0]["status"], "error");
    assert!(configs[0]["config"]["botToken"].as_str().unwrap().starts_with("***"), "{}", configs[0]);
}

#[tokio::test]
async fn a_fallback_has_its_own_fallback_and_no_depth_makes_it_large() {
    let world = World::with_bot().await;
    let to = |chats: Vec<String>, fallback: Option<Value>| {
        let mut action = json!({"type": "notify", "channel": "telegram", "to": chats, "text": "x".repeat(2_000)});
        if let Some(fallback) = fallback {
            action["fallback"] = json!([fallback]);
        }
        action
    };
    let chat = |chat: &str| vec![chat.to_owned()];
    let chain = to(chat("1"), Some(to(chat("2"), Some(to(chat("3"), None)))));
    world.rule(rule("chain", json!({"when": true, "actions": [chain]}))).await;
    let many = || (100..120).map(|number| number.to_string()).collect::<Vec<_>>();
    let wide = to(many(), Some(to(many(), Some(to(many(), Some(to(many(), None)))))));
    world.rule(rule("wide", json!({"when": true, "actions": [wide]}))).await;

    let blocked = json!({"ok": false, "error_code": 403, "description": "Forbidden: bot was blocked by the user"});
    world.bot.says("1", 403, blocked.clone());
    world.bot.says("2", 403, blocked);
    let event = world.event("chain", json!({})).await;
    world.work().await;
    assert_eq!(world.bot.got("3").len(), 1);
    let mut found: Vec<_> = world.deliveries(&event).await.iter().map(|row| row["action"].clone()).collect();
    found.sort_by_key(Value::to_string);
    assert_eq!(found, [json!("0"), json!("0.fallback.0"), json!("0.fallback.0.fallback.0")]);

    // Of 160,000 messages, those that would be too many to keep are not: what they stand in for is sent all the same.
    let event = world.event("wide", json!({})).await;
    world.work().await;
    assert_eq!(world.deliveries(&event).await.len(), 20);
    // A bot's pace lets some through at once.
    assert!(many().iter().any(|chat| !world.bot.got(chat).is_empty()));
    world.pass(2);
    for chat in many() {
        world.bot.says(
            &chat,
            403,
            json!({"ok": false, "error_code": 403, "description": "Forbidden: bot was blocked"}),
        );
    }
    let event = world.event("wide", json!({})).await;
    world.work().await;
    let rows = world.deliveries(&event).await;
    let cut = rows.iter().find(|row| row["action"] == "0.fallback.0").unwrap();
    assert_eq!(cut["lastError"], "too_large", "{cut}");
}

#[tokio::test]
async fn the_messages_of_an_event_take_so_much_room_and_no_more() {
    let world = World::with_bot().await;
    let chats: Vec<_> = (100..120).map(|chat| chat.to_string()).collect();
    let action = json!({"type": "notify", "channel": "telegram", "to": chats, "text": "{{ payload.text }}"});
    let mut large = rule("t", json!({"when": true, "actions": vec![action; 10]}));
    large["priority"] = json!(1);
    let large = world.rule(large).await;
    let small = world.rule(rule("t", json!({"when": true, "actions": telegram("hi")}))).await;
    let event = world.event("t", json!({"text": "x".repeat(30_000)})).await;
    world.work().await;
    let events = world.event_deps();
    let shown = events::event(&events, &world.tenant, &event.as_str().into()).await.unwrap().unwrap();
    let shown: Value = json!(shown);
    assert_eq!(shown["outcomes"][&large]["outcome"], "too_many", "200 messages of 30 kB");
    assert_eq!(shown["outcomes"][&small]["outcome"], "fired");
    assert_eq!(shown["deliveries"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_composed_while_a_config_is_in_error_can_be_begun_again() {
    let world = World::with_bot().await;
    world.rule(rule("t", json!({"when": true, "actions": telegram("hi")}))).await;
    world.bot.says("1", 401, json!({"ok": false, "error_code": 401, "description": "Unauthorized"}));
    for _ in 0..2 {
        world.event("t", json!({})).await;
        world.work().await;
        world.pass(5);
    }
    let wanted = Filter::default();
    let letters = dead_letters::list(&world.queues, Scope::All, &wanted, None, 9).await.unwrap().0;
    let mut reasons: Vec<_> = letters.iter().map(|letter| letter.error_code.as_str()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["no_active_config", "telegram_401"]);
    world.bot.recovers("1");
    let config = configs::list(&world.configs, &world.tenant.id).await.unwrap()[0].id.clone();
    configs::set_status(
        &world.configs,
        &"cli".into(),
        &world.tenant.id,
        &config.as_str().into(),
        ConfigStatus::Active,
        None,
    )
    .await
    .unwrap();
    for letter in letters {
        world.pass(5);
        let id = letter.id.as_str();
        dead_letters::redrive(&world.queues, &"cli".into(), Scope::All, &id.into()).await.unwrap().unwrap();
        world.work().await;
    }
    assert_eq!(world.bot.got("1"), ["hi", "hi"]);
}

#[tokio::test]
async fn an_owners_metadata_leaves_the_operators_as_they_are() {
    let world = World::new().await;
    let edit = async |edit: TenantEdit| tenants::change(&world.tenants, &"x".into(), &world.tenant.id, &edit).await;
    let identities = |known: &[&str]| TenantEdit {
        ses_identities: Some(known.iter().map(|one| (*one).to_owned()).collect()),
        ..TenantEdit::default()
    };
    let own = |own: Value| TenantEdit { own_metadata: own.as_object().cloned(), ..TenantEdit::default() };
    edit(identities(&["acme.test"])).await.unwrap();
    let kept = edit(own(json!({"mine": 1}))).await.unwrap().unwrap();
    assert_eq!(kept.metadata.as_deref(), Some(r#"{"mine":1,"sesIdentities":["acme.test"]}"#));
    // Whatever order they come in, what the operator took away stays away.
    for round in 0..10 {
        edit(identities(&["acme.test"])).await.unwrap();
        let (one, other) = tokio::join!(edit(own(json!({"mine": round}))), edit(identities(&[])));
        assert!(one.is_ok() && other.is_ok());
        let left = tenants::tenant(&world.tenants, &world.tenant.id).await.unwrap().unwrap();
        assert_eq!(left.metadata, Some(format!(r#"{{"mine":{round},"sesIdentities":[]}}"#)));
    }
    let taken = edit(own(json!({"sesIdentities": ["evil.test"]}))).await.unwrap_err();
    assert!(matches!(taken, SignalsError::Refused { field: "metadata.sesIdentities", .. }), "{taken}");
    assert!(edit(identities(&["*"])).await.is_err() && edit(identities(&["x.test "])).await.is_err());
}

#[tokio::test]
async fn what_never_reached_its_queue_is_sent_by_the_sweep() {
    let world = World::with_bot().await;
    world.rule(rule("*", json!({"when": true, "actions": telegram("x")}))).await;
    world.event("x", json!({})).await;
    take(&world.client, &world.rules_queue).await;
    assert_eq!(world.run_sweep().await, 0, "it may be under way");
    world.pass(121);
    assert_eq!(world.run_sweep().await, 1);
    let message = take(&world.client, &world.rules_queue).await.remove(0).to_string();
    process(&world.rules, &message, &owner()).await.unwrap();
    take(&world.client, &world.notify_queue).await;
    world.pass(121);
    assert_eq!(world.run_sweep().await, 1);
    world.work().await;
    assert_eq!(world.bot.got("1"), ["x"]);
    world.pass(3_600);
    assert_eq!(world.run_sweep().await, 0);
}

#[tokio::test]
async fn a_tenant_suspended_meanwhile_is_told_nothing() {
    let world = World::with_bot().await;
    world.rule(rule("*", json!({"when": true, "actions": telegram("x")}))).await;
    world.event("x", json!({})).await;
    let suspended = TenantEdit { status: Some(TenantStatus::Suspended), ..TenantEdit::default() };
    tenants::change(&world.tenants, &"cli".into(), &world.tenant.id, &suspended).await.unwrap().unwrap();
    world.work().await;
    assert_eq!(world.bot.got("1").len(), 0);
    world.pass(3_600);
    assert_eq!(world.run_sweep().await, 0, "it is done with");
}

#[tokio::test]
async fn a_tenant_that_is_deleted_stays_so_whoever_comes_second() {
    let world = World::new().await;
    let set = async |status| {
        let edit = TenantEdit { status: Some(status), ..TenantEdit::default() };
        tenants::change(&world.tenants, &"cli".into(), &world.tenant.id, &edit).await
    };
    let (activated, deleted) = tokio::join!(set(TenantStatus::Active), set(TenantStatus::Deleted));
    assert!(matches!(activated, Ok(Some(_)) | Err(SignalsError::TenantDeleted)), "{activated:?}");
    assert_eq!(deleted.unwrap().unwrap().status, TenantStatus::Deleted);
    for status in [TenantStatus::Active, TenantStatus::Suspended] {
        assert!(matches!(set(status).await, Err(SignalsError::TenantDeleted)));
    }
    assert!(set(TenantStatus::Deleted).await.is_ok(), "as often as one likes");
}

#[tokio::test]
async fn what_was_worked_out_for_a_tenant_suspended_since_is_not_sent() {
    let world = World::with_bot().await;
    let fallback = json!([{"type": "notify", "channel": "telegram", "to": ["2"], "text": "instead"}]);
    let action = json!([{"type": "notify", "channel": "telegram", "text": "first", "fallback": fallback}]);
    world.rule(rule("*", json!({"when": true, "actions": action}))).await;
    let event = world.event("x", json!({})).await;
    let message = take(&world.client, &world.rules_queue).await.remove(0).to_string();
    process(&world.rules, &message, &owner()).await.unwrap();
    let suspended = TenantEdit { status: Some(TenantStatus::Suspended), ..TenantEdit::default() };
    tenants::change(&world.tenants, &"cli".into(), &world.tenant.id, &suspended).await.unwrap().unwrap();
    world.work().await;
    let deliveries = world.deliveries(&event).await;
    assert_eq!((deliveries.len(), &deliveries[0]["lastError"]), (1, &json!("tenant_suspended")));
    assert_eq!(world.bot.total(), 0);
}

#[tokio::test]
async fn a_message_that_comes_before_its_time_does_nothing() {
    let world = World::with_bot().await;
    world.rule(rule("*", json!({"when": true, "actions": telegram("x")}))).await;
    world.bot.says("1", 500, json!({"ok": false, "error_code": 500, "description": "x"}));
    let event = world.event("x", json!({})).await;
    world.work().await;
    world.bot.recovers("1");
    let id = world.deliveries(&event).await[0]["id"].clone();
    let again = json!({
        "v": 1, "id": id, "kind": "signals.delivery", "tenant": world.tenant.id,
        "body": {"eventId": event, "deliveryId": id, "attempts": 1},
    });
    let deliver_again = async || {
        let owner = Owner { message_id: format!("again-{}", unique()), attempt: 1 };
        deliver(&world.notify, &again.to_string(), &owner).await.unwrap();
    };
    deliver_again().await;
    assert_eq!(world.bot.got("1").len(), 0, "five seconds are to pass");
    world.pass(10);
    deliver_again().await;
    assert_eq!(world.bot.got("1").len(), 1);
}

#[tokio::test]
async fn what_is_older_than_a_day_is_of_no_use_to_anybody() {
    let world = World::with_bot().await;
    world.rule(rule("*", json!({"when": true, "actions": telegram("x")}))).await;
    let event = world.event("x", json!({})).await;
    let message = take(&world.client, &world.rules_queue).await.remove(0).to_string();
    process(&world.rules, &message, &owner()).await.unwrap();
    world.pass(86_401);
    world.work().await;
    assert_eq!(world.deliveries(&event).await[0]["status"], "expired");
    assert_eq!(world.bot.got("1").len(), 0);
}

#[tokio::test]
async fn what_no_row_can_hold_fails_alone() {
    let world = World::with_bot().await;
    let to: Vec<_> = (1..=20).map(|chat| chat.to_string()).collect();
    let long = json!([{"type": "notify", "channel": "telegram", "to": to}]);
    let action = json!([{"type": "notify", "channel": "telegram", "fallback": long}]);
    world.rule(rule("*", json!({"when": true, "actions": action}))).await;
    world.rule(rule("*", json!({"when": true, "actions": telegram("short")}))).await;
    let event = world.event("x", json!({"text": "x".repeat(50_000)})).await;
    world.work().await;
    let mut statuses: Vec<_> = world
        .deliveries(&event)
        .await
        .iter()
        .map(|row| row["lastError"].as_str().unwrap_or("sent").to_owned())
        .collect();
    statuses.sort();
    assert_eq!(statuses, ["sent", "too_large"]);
}

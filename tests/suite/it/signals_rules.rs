//! Rules: how events are evaluated by them, and how they are changed, paused, tried and replayed.

use super::signals_world::{World, rule, sent_by, telegram};
use super::{aws, env, owner, take};
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_core::Clock;
use switchyard_signals::configs;
use switchyard_signals::dead_letters;
use switchyard_signals::events::{self, EventDeps, EventFilter};
use switchyard_signals::rules::{self, RuleWrite};
use switchyard_signals::trials::{self, TrialDeps, TrialOutcome};
use switchyard_signals::{
    Accepted, ConfigId, DeliveryStatus, NewEvent, RuleId, RuleStatus, RulesDeps, deliveries, process, send, store_event,
};
use switchyard_tests::client::poll;
use switchyard_work::dead_letters::{Filter, Scope};

#[tokio::test]
async fn v29_v30_a_threshold_fires_once_and_a_cooldown_keeps_quiet() {
    let world = World::with_bot().await;
    let text = "{{ count }} of {{ payload.userId }}, {{ suppressed }} quiet";
    let definition = json!({
        "when": true,
        "threshold": {"count": 5, "window": "10m", "by": ["payload.userId"]},
        "cooldown": {"for": "1h", "by": ["payload.userId"]},
        "actions": telegram(text),
    });
    world.rule(rule("login.failed", definition)).await;
    for minute in 0..10 {
        world.event("login.failed", json!({"userId": "u"})).await;
        if minute == 4 {
            world.event("login.failed", json!({"userId": "other"})).await;
        }
        world.work().await;
        let wanted = usize::from(minute >= 4);
        assert_eq!(world.bot.got("1").len(), wanted, "minute {minute}");
        world.pass(60);
    }
    assert_eq!(world.bot.got("1"), ["5 of u, 0 quiet"]);
    world.pass(3_600);
    for _ in 0..5 {
        world.event("login.failed", json!({"userId": "u"})).await;
    }
    world.work().await;
    assert_eq!(world.bot.got("1")[1..], ["5 of u, 1 quiet"]);
}

#[tokio::test]
async fn a_trial_is_one_attempt_and_leaves_no_letter() {
    let world = World::with_bot().await;
    world.bot.says("1", 500, json!({"ok": false, "error_code": 500, "description": "sorry"}));
    let env = env(vec![("SIGNALS_TABLE", world.table.clone()), ("NOTIFY_QUEUE_URL", world.notify_queue.clone())]);
    let trials = TrialDeps::from_env(&world.aws, &env).unwrap();
    let config = ConfigId::from(configs::list(&world.configs, &world.tenant.id).await.unwrap()[0].id.clone());
    let failed = deliveries::DeliveryFilter { rule_id: None, status: Some(DeliveryStatus::Failed) };
    let is_over = async || {
        world.work().await;
        let (found, _) = deliveries::list(&world.tenants, &world.tenant.id, &failed, None, 1).await?;
        Ok(!found.is_empty())
    };
    let worked = poll(Duration::from_secs(20), Duration::from_millis(20), is_over);
    let (tried, worked) = tokio::join!(trials::send_test(&trials, &world.tenant.id, &config, None), worked);
    worked.unwrap();
    let TrialOutcome::Outcome(answer) = tried.unwrap() else { panic!("there is such a config") };
    assert_eq!(json!(answer), json!({"ok": false, "error": "telegram_500"}));
    world.pass(10_000);
    assert_eq!(world.run_sweep().await, 0, "nobody asked for more");
    let wanted = Filter::default();
    assert!(dead_letters::list(&world.queues, Scope::All, &wanted, None, 9).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn v38_the_version_in_force_is_the_one_that_fires() {
    let world = World::with_bot().await;
    let document = |text: &str| rule("*", json!({"when": true, "actions": telegram(text)}));
    let id = RuleId::from(world.rule(document("one")).await);
    let replaced =
        rules::replace(&world.tenants, &"cli".into(), &world.tenant.id, &id, &document("two").to_string(), Some(1))
            .await;
    assert!(matches!(replaced.unwrap(), RuleWrite::Rule(..)));
    let stale =
        rules::replace(&world.tenants, &"cli".into(), &world.tenant.id, &id, &document("x").to_string(), Some(1)).await;
    assert!(matches!(stale.unwrap(), RuleWrite::Stale));
    let event = world.event("x", json!({})).await;
    world.work().await;
    assert_eq!(
        (world.bot.got("1"), &world.deliveries(&event).await[0]["ruleVersion"]),
        (vec!["two".into()], &json!(2))
    );
    rules::activate(&world.tenants, &"cli".into(), &world.tenant.id, &id, 1, None).await.unwrap();
    // Processes act on a change within seconds; another one knows it at once.
    let other = World { rules: fresh(&world).await, ..world };
    other.pass(5);
    other.event("x", json!({})).await;
    other.work().await;
    assert_eq!(other.bot.got("1"), ["two", "one"]);
    assert_eq!(rules::versions(&other.tenants, &other.tenant.id, &id, None, 10).await.unwrap().0.len(), 2);
}

#[tokio::test]
async fn a_rule_is_paused_until_it_is_resumed_whatever_its_document_says() {
    let world = World::with_bot().await;
    let (tenants, tenant) = (&world.tenants, &world.tenant.id);
    let mut document = rule("*", json!({"when": true, "actions": telegram("{{payload.n}}")}));
    document["status"] = "paused".into();
    let id = RuleId::from(world.rule(document.clone()).await);
    document.as_object_mut().unwrap().remove("status");
    let replaced = rules::replace(tenants, &"cli".into(), tenant, &id, &document.to_string(), None).await.unwrap();
    assert!(matches!(&replaced, RuleWrite::Rule(rule, 2, _) if rule.text("status") == Some("paused")), "{replaced:?}");
    document["status"] = "paused".into();
    rules::replace(tenants, &"cli".into(), tenant, &id, &document.to_string(), Some(2)).await.unwrap();
    world.event("x", json!({"n": 1})).await;
    world.work().await;
    rules::set_status(tenants, &"cli".into(), tenant, &id, RuleStatus::Active, None).await.unwrap();
    let world = World { rules: fresh(&world).await, ..world };
    world.pass(5);
    world.event("x", json!({"n": 2})).await;
    world.work().await;
    assert_eq!(world.bot.got("1"), ["2"]);
}

#[tokio::test]
async fn a_replay_is_listed_when_it_was_asked_for_and_weighed_as_of_the_first_receipt() {
    let world = World::with_bot().await;
    let text = "{{payload.n}} of {{receivedAt}}";
    world.rule(rule("*", json!({"when": true, "actions": telegram(text)}))).await;
    let first = world.event("x", json!({"n": 1})).await;
    world.work().await;
    let events = world.event_deps();
    let copy =
        events::replay(&events, &"cli".into(), &world.tenant, &first.as_str().into(), true).await.unwrap().unwrap();
    // A chat is written to once a second.
    world.pass(5);
    world.work().await;
    assert_eq!(world.bot.got("1"), ["1 of 2026-01-05T10:00:00.000Z"; 2]);
    // The first one's id is of today, its receipt of another day; a copy is of today in every way.
    let listed = events::events(&events, &world.tenant, &EventFilter::default(), 10).await.unwrap();
    let listed: Vec<Value> = listed.events.iter().map(|event| json!(event)).collect();
    let [listed] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!((&listed["id"], &listed["replayOf"]), (&json!(copy), &json!(first)));
    assert_eq!(listed["receivedAt"], "2026-01-05T10:00:00.000Z");
}

impl World {
    pub(super) fn event_deps(&self) -> EventDeps {
        let env = env(vec![("SIGNALS_TABLE", self.table.clone()), ("RULES_QUEUE_URL", self.rules_queue.clone())]);
        EventDeps::from_env(&self.aws, &env).unwrap()
    }
}

/// Another process's view of the same rules.
async fn fresh(world: &World) -> RulesDeps {
    let (aws, _) = aws().await;
    let env = env(vec![("SIGNALS_TABLE", world.table.clone()), ("NOTIFY_QUEUE_URL", world.notify_queue.clone())]);
    let now = world.now.clone();
    RulesDeps::from_env(&aws, &env).unwrap().with_clock(Clock::from_fn(move || *now.lock().unwrap()))
}

#[tokio::test]
async fn a_digest_gathers_and_is_sent_when_its_time_is_over() {
    let world = World::with_bot().await;
    let text = "{{ count }}:{% for event in events %} {{ event.payload.n }}{% endfor %}";
    world.rule(rule("*", json!({"when": true, "digest": {"window": "5m"}, "actions": telegram(text)}))).await;
    for number in 1..=3 {
        world.event("x", json!({"n": number})).await;
        world.pass(1);
    }
    world.work().await;
    assert_eq!(world.bot.got("1").len(), 0);
    world.pass(300);
    assert_eq!(world.run_sweep().await, 1);
    world.work().await;
    assert_eq!(world.bot.got("1"), ["3: 1 2 3"]);
    world.pass(600);
    world.run_sweep().await;
    world.work().await;
    assert_eq!(world.bot.got("1").len(), 1, "once");
}

#[tokio::test]
async fn each_event_of_a_batch_is_told_of_once_and_what_is_not_told_of_is_swept() {
    let world = World::new().await;
    let (mut ids, mut unsent) = (Vec::new(), Vec::new());
    for _ in 0..24 {
        let new = NewEvent::parse(r#"{"type":"x","payload":{}}"#).unwrap();
        let (Accepted::New { id, .. }, Some(owed)) =
            store_event(&world.ingest, &world.tenant, &new, None, None, None).await.unwrap()
        else {
            panic!("it is taken")
        };
        ids.push(id);
        unsent.push(owed);
    }
    let told = async || {
        let mut told: Vec<String> = Vec::new();
        for message in take(&world.client, &world.rules_queue).await {
            process(&world.rules, &message.to_string(), &owner()).await.unwrap();
            told.push(message["body"]["eventId"].as_str().unwrap().to_owned());
        }
        told.sort_unstable();
        told
    };
    drop(unsent.pop());
    assert!(told().await.is_empty());
    send(&world.ingest, &unsent).await;
    assert_eq!(told().await, ids[..23]);
    world.pass(180);
    assert_eq!(world.run_sweep().await, 1);
    assert_eq!(told().await, ids[23..]);
}

#[tokio::test]
async fn a_rule_that_says_something_wrong_is_refused_as_a_whole() {
    let world = World::new().await;
    let wrong = json!({
        "name": "x",
        "eventType": "x",
        "definition": {"conditions": {"greaterThan": {"amount": 1000}}, "actions": [{"type": "notify", "channel": "email"}]},
    });
    match rules::create(&world.tenants, &"cli".into(), &world.tenant.id, &wrong.to_string()).await.unwrap() {
        RuleWrite::Invalid(issues) => assert_eq!(issues[0].pointer, "/definition/conditions/greaterThan"),
        other => panic!("{other:?}"),
    }
    let named = rule("*", json!({"when": true, "actions": [{"type": "notify", "channel": "email", "config": "none"}]}));
    match rules::create(&world.tenants, &"cli".into(), &world.tenant.id, &named.to_string()).await.unwrap() {
        RuleWrite::Invalid(issues) => assert_eq!(issues[0].pointer, "/definition/actions/0/config"),
        other => panic!("{other:?}"),
    }
    assert_eq!(rules::list(&world.tenants, &world.tenant.id).await.unwrap().len(), 0);
}

#[tokio::test]
async fn patterns_of_one_tenant_take_so_much_memory_and_no_more() {
    let world = World::new().await;
    let patterns = |count: usize| {
        let leaf = json!({"path": "payload.a", "op": "matches", "value": "\\w{1,5}$"});
        let groups: Vec<_> = vec![leaf; count].chunks(50).map(|group| json!({"any": group})).collect();
        rule("t", json!({"when": {"any": groups}, "actions": sent_by("slack", "x")}))
    };
    let write = async |document: &Value| {
        rules::create(&world.tenants, &"cli".into(), &world.tenant.id, &document.to_string()).await.unwrap()
    };
    let refused_at = |written: RuleWrite| match written {
        RuleWrite::Invalid(issues) => issues[0].pointer.clone(),
        other => panic!("{other:?}"),
    };
    let first = RuleId::from(world.rule(patterns(28)).await);
    let mut second = patterns(10);
    assert_eq!(refused_at(write(&second).await), "/definition/when/any/0/any/4/value");
    second["status"] = "paused".into();
    let id = RuleId::from(world.rule(second.clone()).await);
    let actor = "cli".into();
    let resume = || rules::set_status(&world.tenants, &actor, &world.tenant.id, &id, RuleStatus::Active, None);
    refused_at(resume().await.unwrap());
    // A rule that is replaced makes room for itself, and one that is paused for others.
    let again =
        rules::replace(&world.tenants, &"cli".into(), &world.tenant.id, &first, &patterns(29).to_string(), None).await;
    assert!(matches!(again.unwrap(), RuleWrite::Rule(..)));
    rules::set_status(&world.tenants, &"cli".into(), &world.tenant.id, &first, RuleStatus::Paused, None).await.unwrap();
    assert!(matches!(resume().await.unwrap(), RuleWrite::Rule(..)));
    assert_eq!(refused_at(write(&patterns(33)).await), "/definition/when/any/0/any/32/value", "one rule alone");
}

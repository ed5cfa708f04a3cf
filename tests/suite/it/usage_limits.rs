//! Limits: how a rate and a monthly limit are held to, announced and changed.

use super::usage_world::{Said, World, limits};
use super::{owner, take};
use futures_util::future::join_all;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use switchyard_signals::rules::{self, RuleWrite};
use switchyard_signals::tenants::{self, TenantEdit};
use switchyard_signals::{QueueDeps, RulesDeps, SignalsError, deliveries, process, sweep};
use tokio::time::Instant;

#[tokio::test]
async fn a_flood_at_the_limit_costs_no_writes_and_is_counted_when_the_store_is_asked_again() {
    let world = World::new(limits(None, Some(0), 1)).await;
    for _ in 0..100 {
        assert_eq!(world.post(None).await, Said::Full);
    }
    assert_eq!(world.usage().await["eventsRejected"], 1);
    world.pass(6);
    assert_eq!(world.post(None).await, Said::Full);
    assert_eq!(world.usage().await["eventsRejected"], 101);
}

#[tokio::test]
async fn what_was_refused_is_counted_when_the_next_is_taken() {
    let world = World::new(limits(None, Some(1), 1)).await;
    assert_eq!(world.post(None).await, Said::Taken);
    for _ in 0..4 {
        assert_eq!(world.post(None).await, Said::Full);
    }
    let raised = world.change(limits(None, Some(9), 1)).await;
    world.pass(6);
    let process = world.process();
    assert_eq!(
        world.post_as(&process, &raised, None, "x").await.unwrap(),
        Said::Taken,
        "another process knows nothing of it"
    );
    assert_eq!(world.usage().await["eventsRejected"], 1);
    assert_eq!(world.post(None).await, Said::Taken);
    assert_eq!(world.usage().await["eventsRejected"], 4);
}

#[tokio::test]
async fn a_rate_is_held_to_over_all_processes_and_repetitions_pass_it() {
    let rate = |rate| TenantEdit { rate_per_second: Some(rate), ..limits(None, Some(10), 1) };
    let world = World::new(rate(Some(5))).await;
    assert_eq!(world.post(Some("k")).await, Said::Taken);
    world.pass(1);
    let processes: Vec<_> = (0..4).map(|_| world.process()).collect();
    let flood = async || {
        let posts = (0..20).map(|number| world.post_as(&processes[number % 4], &world.tenant, None, "x"));
        let said: Vec<_> = join_all(posts).await.into_iter().map(Result::unwrap).collect();
        [Said::Taken, Said::TooFast, Said::Full].map(|kind| said.iter().filter(|said| **said == kind).count())
    };
    assert_eq!(flood().await, [5, 15, 0]);
    assert_eq!((world.post(Some("k")).await, world.post(Some("new")).await), (Said::Replayed, Said::TooFast));
    let used = world.usage().await;
    assert_eq!((&used["eventsIngested"], &used["duplicates"]), (&json!(6), &json!(1)));
    assert!(used["eventsRejected"].as_u64().unwrap() > 0, "{used}");
    world.pass(1);
    assert_eq!(flood().await, [4, 15, 1], "the month's limit holds as well");
    for wrong in [0, 1_001] {
        let refused =
            tenants::change(&world.tenants, &"cli".into(), &world.tenant.id, &rate(Some(wrong))).await.unwrap_err();
        assert!(matches!(refused, SignalsError::Refused { field: "ratePerSecond", .. }), "{refused}");
    }
    let free = world.change(rate(None)).await;
    assert_eq!(world.post_as(&world.process(), &free, None, "x").await.unwrap(), Said::Full);
}

#[tokio::test]
async fn v14_each_limit_is_told_of_once_a_month_by_an_event_that_is_not_counted() {
    let world = World::new(limits(Some(2), Some(5), 1)).await;
    for _ in 0..2 {
        world.post(None).await;
    }
    assert_eq!(world.told().await, [""; 0]);
    world.post(None).await;
    assert_eq!(world.told().await, ["soft_limit_reached"]);
    world.post(None).await;
    assert_eq!(world.told().await, ["80_percent"]);
    let other = world.process();
    for _ in 0..3 {
        world.post_as(&other, &world.tenant, None, "x").await.unwrap();
    }
    assert_eq!(world.told().await, ["hard_limit_reached"]);
    assert_eq!(world.usage().await["eventsIngested"], 5);
    world.pass(31 * 86_400);
    for _ in 0..5 {
        world.post(None).await;
    }
    assert_eq!(world.told().await, ["80_percent", "hard_limit_reached", "soft_limit_reached"], "another month");
}

#[tokio::test]
async fn many_at_once_cross_a_limit_once() {
    let world = World::new(limits(Some(0), Some(20), 1)).await;
    let processes: Vec<_> = (0..4).map(|_| world.process()).collect();
    let posts = (0..40).map(|number| world.post_as(&processes[number % 4], &world.tenant, None, "x"));
    let said: Vec<_> = join_all(posts).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(said.iter().filter(|said| **said == Said::Warned).count(), 20);
    assert_eq!(world.told().await, ["80_percent", "hard_limit_reached", "soft_limit_reached"]);
}

#[tokio::test]
async fn with_several_shards_their_sum_tells() {
    let world = World::new(limits(Some(3), None, 4)).await;
    for _ in 0..4 {
        world.post_as(&world.process(), &world.tenant, None, "x").await.unwrap();
    }
    assert_eq!(world.told().await, ["soft_limit_reached"]);
}

#[tokio::test]
async fn a_crossing_that_was_never_sent_is_sent_by_the_sweep_and_run_through_the_rules() {
    let world = World::new(limits(Some(0), None, 1)).await;
    let action =
        json!([{"type": "notify", "channel": "email", "to": ["a@example.com"], "text": "{{ payload.limit }}"}]);
    let definition = json!({"schema": 2, "when": true, "actions": action});
    let rule = json!({"name": "Limits", "eventType": "signalops.usage.soft_limit_reached", "definition": definition});
    let made = rules::create(&world.tenants, &"cli".into(), &world.tenant.id, &rule.to_string()).await.unwrap();
    assert!(matches!(made, RuleWrite::Rule(..)), "{made:?}");
    world.post(None).await;
    assert_eq!(take(&world.client, &world.queue).await.len(), 2);
    world.pass(121);
    let swept = QueueDeps::from_env(&world.aws, &world.env()).unwrap().with_clock(world.clock());
    assert_eq!(sweep(&swept, Instant::now() + Duration::from_secs(60)).await.unwrap().enqueued, 2);
    let rules = RulesDeps::from_env(&world.aws, &world.env()).unwrap().with_clock(world.clock());
    let mut found = Vec::new();
    for message in take(&world.client, &world.queue).await {
        process(&rules, &message.to_string(), &owner()).await.unwrap();
        let event = message["id"].as_str().unwrap();
        let rows = deliveries::of_event(&world.tenants, &world.tenant.id, &event.into()).await.unwrap();
        found.extend(rows.iter().map(|row| json!(row)));
    }
    assert_eq!((found.len(), &found[0]["lastError"]), (1, &json!("no_active_config")));
}

/// Posts from several processes, which know the tenant as it was, for as long as `work` takes; returns how many were taken.
async fn accepted_during(world: &World, work: impl Future<Output = ()>) -> usize {
    let is_over = AtomicBool::new(false);
    let posts = join_all((0..6).map(async |_| {
        let (mut taken, mut process) = (0, world.process());
        while !is_over.load(Ordering::Relaxed) {
            match world.post_as(&process, &world.tenant, None, "x").await {
                Ok(Said::Taken | Said::Warned) => taken += 1,
                // It would not ask again for a while.
                Ok(_) => process = world.process(),
                // Its answer is to come again.
                Err(SignalsError::Contended { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        taken
    }));
    let work = async {
        work.await;
        is_over.store(true, Ordering::Relaxed);
    };
    let (taken, ()) = tokio::join!(posts, work);
    taken.into_iter().sum()
}

#[tokio::test]
async fn a_limit_stays_exact_while_it_and_the_shards_are_changed() {
    const LIMIT: u64 = 80;
    let world = World::new(limits(None, Some(LIMIT), 1)).await;
    let set = async |hard: u64, shards: u32| drop(world.change(limits(None, Some(hard), shards)).await);
    let mut taken = accepted_during(&world, async {
        // The limit is reached somewhere on the way.
        for shards in [8, 2, 8, 1, 64, 3] {
            set(LIMIT, shards).await;
        }
    })
    .await;
    assert_eq!(world.usage().await["eventsIngested"], taken);
    taken += accepted_during(&world, async {
        set(LIMIT - 10, 8).await;
        set(LIMIT + 20, 2).await;
        set(LIMIT + 20, 8).await;
    })
    .await;
    // Anyone who still knows one shard is told of the others.
    for _ in 0..2 * LIMIT {
        let said = world.post_as(&world.process(), &world.tenant, None, "x").await.unwrap();
        taken += usize::from(said == Said::Taken);
    }
    assert_eq!((taken, &world.usage().await["eventsIngested"]), (100, &json!(100)));
    set(50, 4).await;
    assert_eq!(world.post_as(&world.process(), &world.tenant, None, "x").await.unwrap(), Said::Full);
    set(103, 64).await;
    let posts = (0..40).map(async |_| world.post_as(&world.process(), &world.tenant, None, "x").await.unwrap());
    let more = join_all(posts).await.into_iter().filter(|said| *said == Said::Taken).count();
    assert_eq!((more, &world.usage().await["eventsIngested"]), (3, &json!(103)));
}

#[tokio::test]
async fn posts_are_held_off_a_limit_that_is_being_changed_and_not_for_ever() {
    let world = World::new(limits(None, Some(10), 1)).await;
    world.post(None).await;
    let until = world.now.lock().unwrap().as_millisecond() + 5_000;
    let request = json!({
        "TableName": world.table,
        "Key": {"pk": {"S": format!("U#{}#202601#0", world.tenant.id)}, "sk": {"S": "C"}},
        "UpdateExpression": "SET held_until = :until",
        "ExpressionAttributeValues": {":until": {"N": until.to_string()}},
    });
    world.client.aws("DynamoDB_20120810.UpdateItem", &request).await.unwrap();
    let held = world.post_as(&world.ingest, &world.tenant, None, "x").await.unwrap_err();
    assert!(matches!(held, SignalsError::Contended { .. }), "{held}");
    // Anyone who held them off is gone.
    world.pass(6);
    assert_eq!(world.post(None).await, Said::Taken);
    world.client.aws("DynamoDB_20120810.UpdateItem", &request).await.unwrap();
    world.change(limits(None, Some(3), 2)).await;
    assert_eq!((world.post(None).await, world.post(None).await), (Said::Taken, Said::Full));
}

#[tokio::test]
async fn a_limit_that_is_changed_at_the_end_of_a_month_holds_in_the_next() {
    let world = World::at("2026-01-31T23:59:50Z".parse().unwrap(), limits(None, Some(100), 1)).await;
    let changed = world.change(limits(None, Some(5), 4)).await;
    world.pass(20);
    let mut taken = 0;
    for number in 0..20 {
        // Some processes know of the change, others do not.
        let known = if number % 2 == 0 { &world.tenant } else { &changed };
        let said = world.post_as(&world.process(), known, None, "x").await.unwrap();
        taken += u32::from(said == Said::Taken);
    }
    assert_eq!(taken, 5);
}

#[tokio::test]
async fn a_soft_limit_beyond_the_hard_one_is_refused() {
    let world = World::new(TenantEdit::default()).await;
    let edit = limits(Some(3), Some(2), 1);
    let refused = tenants::change(&world.tenants, &"cli".into(), &world.tenant.id, &edit).await.unwrap_err();
    assert!(matches!(refused, SignalsError::Refused { field: "monthlySoftLimit", .. }), "{refused}");
}

//! What is counted, held to limits, exported and put right, against a real table and queue, with a clock of the test's own.

use super::{aws, env, owner, queue, table, take};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switchyard_core::{Clock, Env, Timestamp};
use switchyard_io::Aws;
use switchyard_signals::rules::{self, RuleWrite};
use switchyard_signals::tenants::{self, TenantDeps, TenantEdit};
use switchyard_signals::{
    Accepted, ExportFormat, IngestDeps, NewEvent, QueueDeps, RulesDeps, SignalsError, Tenant, accept, deliveries,
    export, process, reconcile, sweep, usage, usage_between,
};
use switchyard_tests::client::{Client, unique};
use switchyard_tests::stack::Stack;
use tokio::time::Instant;

pub(super) struct World {
    pub(super) aws: Aws,
    pub(super) client: Client,
    pub(super) table: String,
    pub(super) queue: String,
    pub(super) now: Arc<Mutex<Timestamp>>,
    pub(super) ingest: IngestDeps,
    pub(super) tenants: TenantDeps,
    pub(super) tenant: Tenant,
}

/// What a test says of a post.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Taken,
    Warned,
    Replayed,
    Mismatch,
    Full,
    TooFast,
}

pub(super) fn limits(soft: Option<u64>, hard: Option<u64>, shards: u32) -> TenantEdit {
    TenantEdit {
        monthly_soft_limit: Some(soft),
        monthly_hard_limit: Some(hard),
        usage_shards: Some(shards),
        ..TenantEdit::default()
    }
}

impl World {
    pub(super) async fn new(edit: TenantEdit) -> Self {
        Self::at("2026-01-05T10:00:00Z".parse().unwrap(), edit).await
    }

    async fn at(now: Timestamp, edit: TenantEdit) -> Self {
        let (aws, client) = aws().await;
        let table_name = format!("it-usage-{}", unique());
        table(&client, "SignalsTable", &table_name).await;
        let queue = queue(&client, &table_name).await;
        let now = Arc::new(Mutex::new(now));
        let settings = Self::settings(&table_name, &queue);
        let clock = Self::clock_of(&now);
        let tenants = TenantDeps::from_env(&aws, &settings).unwrap().with_clock(clock.clone());
        let tenant = tenants::create(&tenants, "cli", "acme", "Acme", &edit, None).await.unwrap().unwrap();
        let ingest = IngestDeps::from_env(&aws, &settings).unwrap().with_clock(clock);
        Self { aws, client, table: table_name, queue, now, ingest, tenants, tenant }
    }

    fn settings(table: &str, queue: &str) -> Env {
        env(vec![
            ("SIGNALS_TABLE", table.to_owned()),
            ("RULES_QUEUE_URL", queue.to_owned()),
            ("NOTIFY_QUEUE_URL", queue.to_owned()),
            ("API_KEY_SECRET", "ApiKeySecret".to_owned()),
        ])
    }

    fn clock_of(now: &Arc<Mutex<Timestamp>>) -> Clock {
        let now = now.clone();
        Clock::from_fn(move || *now.lock().unwrap())
    }

    pub(super) fn env(&self) -> Env {
        Self::settings(&self.table, &self.queue)
    }

    pub(super) fn clock(&self) -> Clock {
        Self::clock_of(&self.now)
    }

    /// Another process, which knows nothing yet.
    pub(super) fn process(&self) -> IngestDeps {
        IngestDeps::from_env(&self.aws, &self.env()).unwrap().with_clock(self.clock())
    }

    pub(super) fn pass(&self, seconds: u64) {
        *self.now.lock().unwrap() += Duration::from_secs(seconds);
    }

    async fn post(&self, key: Option<&str>) -> Said {
        self.post_as(&self.ingest, &self.tenant, key, "x").await.unwrap()
    }

    pub(super) async fn post_as(
        &self,
        ingest: &IngestDeps,
        tenant: &Tenant,
        key: Option<&str>,
        kind: &str,
    ) -> Result<Said, SignalsError> {
        let event = NewEvent::parse(&json!({"type": kind, "payload": {}}).to_string()).unwrap();
        Ok(match accept(ingest, tenant, &event, key, None).await? {
            Accepted::New { is_beyond_soft_limit: false, .. } => Said::Taken,
            Accepted::New { .. } => Said::Warned,
            Accepted::Replayed { .. } => Said::Replayed,
            Accepted::Mismatch => Said::Mismatch,
            Accepted::HardLimit { .. } => Said::Full,
            Accepted::RateLimited => Said::TooFast,
            Accepted::Suspended => panic!("suspended"),
        })
    }

    pub(super) async fn change(&self, edit: TenantEdit) -> Tenant {
        tenants::change(&self.tenants, "cli", &self.tenant.id, &edit).await.unwrap().unwrap()
    }

    pub(super) async fn usage(&self) -> Value {
        let tenant = tenants::tenant(&self.tenants, &self.tenant.id).await.unwrap().unwrap();
        json!(usage(&self.tenants, &tenant, None).await.unwrap())
    }

    /// The types of the platform's own events whose messages wait, in no order.
    async fn told(&self) -> Vec<String> {
        let mut told = Vec::new();
        for message in take(&self.client, &self.queue).await {
            let kind = self.event(message["id"].as_str().unwrap()).await["kind"]["S"].as_str().unwrap().to_owned();
            if let Some(name) = kind.strip_prefix("signalops.usage.") {
                told.push(name.to_owned());
            }
        }
        told.sort();
        told
    }

    /// An event's row, wherever it is.
    async fn event(&self, id: &str) -> Value {
        let rows = self.client.aws("DynamoDB_20120810.Scan", &json!({"TableName": self.table})).await.unwrap();
        let rows = rows["Items"].as_array().unwrap();
        rows.iter().find(|row| row["sk"]["S"] == id).unwrap_or_else(|| panic!("{id} is not there")).clone()
    }
}

#[tokio::test]
async fn v14_what_is_not_taken_is_counted_apart() {
    let world = World::new(limits(Some(2), Some(4), 1)).await;
    let mut said = Vec::new();
    for number in 1..=5 {
        said.push(world.post(Some(&number.to_string())).await);
    }
    assert_eq!(said, [Said::Taken, Said::Taken, Said::Warned, Said::Warned, Said::Full]);
    assert_eq!((world.post(Some("1")).await, world.post(Some("2")).await), (Said::Replayed, Said::Replayed));
    let other = world.post_as(&world.ingest, &world.tenant, Some("1"), "y").await.unwrap();
    assert_eq!(other, Said::Mismatch);
    let used = world.usage().await;
    assert_eq!((&used["eventsIngested"], &used["duplicates"]), (&json!(4), &json!(2)));
    assert_eq!(used["eventsRejected"], 2);
}

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
        let refused = tenants::change(&world.tenants, "cli", &world.tenant.id, &rate(Some(wrong))).await.unwrap_err();
        assert!(matches!(refused, SignalsError::Refused { field: "ratePerSecond", .. }), "{refused}");
    }
    let free = world.change(rate(None)).await;
    assert_eq!(world.post_as(&world.process(), &free, None, "x").await.unwrap(), Said::Full);
}

#[tokio::test]
async fn months_are_shown_side_by_side() {
    let world = World::new(TenantEdit::default()).await;
    world.post(None).await;
    world.pass(31 * 86_400);
    world.post(None).await;
    world.post(None).await;
    let months = usage_between(&world.tenants, &world.tenant, "2025-12", "2026-02").await.unwrap();
    let counts: Vec<_> = months.iter().map(|month| month.events_ingested).collect();
    assert_eq!(counts, [0, 1, 2]);
    let refused = usage_between(&world.tenants, &world.tenant, "2026-02", "2025-12").await.unwrap_err();
    assert!(matches!(refused, SignalsError::Refused { field: "from", .. }), "{refused}");
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
    let made = rules::create(&world.tenants, "cli", &world.tenant.id, &rule.to_string()).await.unwrap();
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
        let rows = deliveries::of_event(&world.tenants, &world.tenant.id, event).await.unwrap();
        found.extend(rows.iter().map(|row| json!(row)));
    }
    assert_eq!((found.len(), &found[0]["lastError"]), (1, &json!("no_active_config")));
}

#[tokio::test]
async fn hours_add_up_to_the_month_and_are_exported_once_over() {
    let world = World::new(limits(None, None, 3)).await;
    for events in [3, 0, 5] {
        for _ in 0..events {
            world.post(None).await;
        }
        // The same key at the same time: all but one are taken back.
        join_all((0..6).map(|_| world.post(Some(if events == 3 { "k1" } else { "k2" })))).await;
        world.change(limits(None, None, if events == 3 { 5 } else { 2 })).await;
        world.pass(3_600);
    }
    let month = async || {
        let tenant = tenants::tenant(&world.tenants, &world.tenant.id).await.unwrap().unwrap();
        export(&world.tenants, &tenant, "2026-01", ExportFormat::Csv).await.unwrap().body
    };
    let quantities = |body: String| {
        let lines = body.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
        let of = |line: &String| line.split(' ').nth(4).unwrap().parse::<u64>().unwrap();
        lines.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(quantities(month().await), [4, 1], "the last hour has just ended");
    world.pass(300);
    let quantities = quantities(month().await);
    assert_eq!(quantities, [4, 1, 5]);
    assert_eq!(world.usage().await["eventsIngested"], quantities.iter().sum::<u64>());
}

/// Posts from several processes, which know the tenant as it was, for as long as `work` takes; returns how many were taken.
async fn meanwhile(world: &World, work: impl Future<Output = ()>) -> usize {
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
    let mut taken = meanwhile(&world, async {
        // The limit is reached somewhere on the way.
        for shards in [8, 2, 8, 1, 64, 3] {
            set(LIMIT, shards).await;
        }
    })
    .await;
    assert_eq!(world.usage().await["eventsIngested"], taken);
    taken += meanwhile(&world, async {
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

impl World {
    /// A world of now: an event's id tells the time of the machine's clock.
    pub(super) async fn of_today(edit: TenantEdit) -> Self {
        Self::at(Clock::system().now(), edit).await
    }

    pub(super) fn month(&self) -> String {
        self.now.lock().unwrap().to_string()[..7].to_owned()
    }

    /// Changes what is counted, on a shard that counted something.
    async fn miscount(&self, month: &str, hour: &str, amount: i64) {
        let key = |shard| {
            let pk = format!("U#{}#{}#{shard}", self.tenant.id, month.replace('-', ""));
            json!({"pk": {"S": pk}, "sk": {"S": "C"}})
        };
        let request = json!({"TableName": self.table, "Key": key(0), "ConsistentRead": true});
        let first = self.client.aws("DynamoDB_20120810.GetItem", &request).await.unwrap();
        let is_empty = ["0", ""].contains(&first["Item"][hour]["N"].as_str().unwrap_or_default());
        let key = key(u8::from(is_empty));
        let request = json!({
            "TableName": self.table, "Key": key,
            "UpdateExpression": format!("ADD events_ingested :n, {hour} :n"),
            "ExpressionAttributeValues": {":n": {"N": amount.to_string()}},
        });
        self.client.aws("DynamoDB_20120810.UpdateItem", &request).await.unwrap();
    }

    async fn used_in(&self, month: &str) -> u64 {
        let tenant = tenants::tenant(&self.tenants, &self.tenant.id).await.unwrap().unwrap();
        usage(&self.tenants, &tenant, Some(month)).await.unwrap().events_ingested
    }

    pub(super) async fn reconciled(&self, month: &str) -> Vec<(u64, u64)> {
        let corrections = reconcile(&self.tenants, &self.tenant, Some(month), "somebody").await.unwrap();
        corrections.iter().map(|correction| (correction.counted, correction.kept)).collect()
    }

    /// Who corrected what, of the audit.
    async fn audited(&self) -> Vec<(String, String)> {
        let rows = self.client.aws("DynamoDB_20120810.Scan", &json!({"TableName": self.table})).await.unwrap();
        let of = |row: &Value, name: &str| row[name]["S"].as_str().unwrap_or_default().to_owned();
        let rows = rows["Items"].as_array().unwrap().iter().filter(|row| of(row, "action") == "usage.reconcile");
        rows.map(|row| (of(row, "actor"), of(row, "after"))).collect()
    }
}

#[tokio::test]
async fn counters_that_drifted_are_put_right_by_the_events_that_are_kept() {
    let world = World::of_today(limits(Some(0), Some(10), 2)).await;
    let (month, start) = (world.month(), *world.now.lock().unwrap());
    let hour: String = start.to_string().chars().filter(char::is_ascii_digit).skip(6).take(4).collect();
    for _ in 0..4 {
        world.post(None).await;
    }
    world.miscount(&month, &format!("h{hour}"), 3).await;
    assert_eq!(world.reconciled(&month).await, [], "the hour is not over");
    world.pass(3 * 3_600);
    assert_eq!(world.used_in(&month).await, 7);
    assert_eq!(world.reconciled(&month).await, [(7, 4)], "the event that tells of the limit is none of them");
    assert_eq!((world.used_in(&month).await, world.reconciled(&month).await), (4, vec![]));
    world.miscount(&month, &format!("h{hour}"), -1).await;
    assert_eq!((world.reconciled(&month).await, world.used_in(&month).await), (vec![(3, 4)], 4));
    let audited = world.audited().await;
    assert_eq!(audited.len(), 2);
    assert!(audited.iter().all(|(actor, after)| actor == "somebody" && after.contains("\"events\":4")), "{audited:?}");
    let tenant = tenants::tenant(&world.tenants, &world.tenant.id).await.unwrap().unwrap();
    let csv = export(&world.tenants, &tenant, &month, ExportFormat::Csv).await.unwrap().body;
    assert!(csv.contains(",events_ingested,4,"), "{csv}");
}

#[tokio::test]
async fn events_whose_time_is_up_are_no_drift() {
    let world = World::of_today(TenantEdit::default()).await;
    let month = world.month();
    world.post(None).await;
    let rows = world.client.aws("DynamoDB_20120810.Scan", &json!({"TableName": world.table})).await.unwrap();
    for row in rows["Items"].as_array().unwrap().iter().filter(|row| row["pk"]["S"].as_str().unwrap().starts_with("E#"))
    {
        let request = json!({"TableName": world.table, "Key": {"pk": row["pk"], "sk": row["sk"]}});
        world.client.aws("DynamoDB_20120810.DeleteItem", &request).await.unwrap();
    }
    world.pass(30 * 86_400);
    assert_eq!((world.reconciled(&month).await, world.used_in(&month).await), (vec![], 1));
}

#[tokio::test]
async fn each_night_the_sweep_puts_counters_right() {
    let world = World::of_today(limits(None, None, 1)).await;
    let (month, start) = (world.month(), *world.now.lock().unwrap());
    let hour: String = start.to_string().chars().filter(char::is_ascii_digit).skip(6).take(4).collect();
    world.post(None).await;
    world.miscount(&month, &format!("h{hour}"), 1).await;
    let swept = QueueDeps::from_env(&world.aws, &world.env()).unwrap().with_clock(world.clock());
    for _ in 0..2 {
        world.pass(28 * 3_600);
        sweep(&swept, Instant::now() + Duration::from_secs(60)).await.unwrap();
    }
    assert_eq!(world.used_in(&month).await, 1);
    let audited = world.audited().await;
    assert_eq!((audited.len(), audited[0].0.as_str()), (1, "nightly-reconcile"));
}

#[tokio::test]
async fn all_tenants_are_listed_page_by_page() {
    let world = World::new(TenantEdit::default()).await;
    for number in 0..10 {
        let made = tenants::create(&world.tenants, "cli", &format!("t{number}"), "T", &TenantEdit::default(), None)
            .await
            .unwrap();
        assert!(made.is_some());
    }
    let (mut slugs, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let (page, next) = tenants::list(&world.tenants, cursor.as_deref(), 3).await.unwrap();
        assert!(page.len() <= 3);
        slugs.extend(page.into_iter().map(|tenant| tenant.slug));
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    slugs.sort();
    assert_eq!(slugs, ["acme", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9"]);
    let refused = tenants::list(&world.tenants, Some("x"), 3).await.unwrap_err();
    assert!(matches!(refused, SignalsError::Refused { field: "cursor", .. }), "{refused}");
}

/// How an AWS endpoint before the real one treats requests for an operation that contain a text.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Fault {
    /// Does what the first asks for, and loses the answer.
    LosesAnswer,
    /// Refuses the first, since a transaction is in the way.
    Conflicts,
    /// Refuses them all.
    Fails,
}

#[derive(Clone)]
pub(super) struct Faulty {
    to: String,
    http: reqwest::Client,
    fault: Fault,
    operation: &'static str,
    text: &'static str,
    had: Arc<AtomicBool>,
}

impl Faulty {
    pub(super) async fn before(fault: Fault, operation: &'static str, text: &'static str) -> (Aws, Arc<AtomicBool>) {
        let had = Arc::new(AtomicBool::new(false));
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
        let to = Stack::shared().unwrap().aws.clone();
        let faulty = Self { to, http, fault, operation, text, had: had.clone() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(Self::pass).with_state(faulty);
        tokio::spawn(async move { axum::serve(listener, router).await });
        (Aws::at(&address).await, had)
    }

    async fn pass(State(faulty): State<Self>, headers: HeaderMap, body: String) -> (StatusCode, String) {
        let target = headers.get("x-amz-target").map(|target| target.to_str().unwrap().to_owned()).unwrap_or_default();
        let is_meant = target.ends_with(faulty.operation) && body.contains(faulty.text);
        let is_first = is_meant && !faulty.had.swap(true, Ordering::Relaxed);
        let lost = (StatusCode::INTERNAL_SERVER_ERROR, r#"{"__type":"InternalServerError"}"#.to_owned());
        match faulty.fault {
            Fault::Fails if is_meant => return lost,
            Fault::Conflicts if is_first => {
                return (StatusCode::BAD_REQUEST, r#"{"__type":"TransactionConflictException"}"#.to_owned());
            }
            _ => {}
        }
        let mut request = faulty.http.post(&faulty.to).body(body);
        for (name, value) in headers.iter().filter(|(name, _)| *name != "host" && *name != "content-length") {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        if is_first && faulty.fault == Fault::LosesAnswer {
            return lost;
        }
        (answer.status(), answer.text().await.unwrap())
    }
}

#[tokio::test]
async fn a_count_whose_answer_is_lost_or_that_meets_a_transaction_counts_once() {
    let world = World::new(limits(None, Some(3), 1)).await;
    for (fault, counted) in [(Fault::LosesAnswer, 1), (Fault::Conflicts, 2)] {
        let (aws, had) = Faulty::before(fault, "UpdateItem", "last_event").await;
        let ingest = IngestDeps::from_env(&aws, &world.env()).unwrap().with_clock(world.clock());
        assert_eq!(world.post_as(&ingest, &world.tenant, None, "x").await.unwrap(), Said::Taken);
        assert!(had.load(Ordering::Relaxed));
        assert_eq!(world.usage().await["eventsIngested"], counted);
    }
}

#[tokio::test]
async fn a_count_is_taken_back_once_though_that_answer_is_lost() {
    let world = World::new(limits(None, Some(100), 1)).await;
    for _ in 0..5 {
        world.post(None).await;
    }
    let (aws, has_lost) = Faulty::before(Fault::LosesAnswer, "TransactWriteItems", r#""N":"-1""#).await;
    let ingest = IngestDeps::from_env(&aws, &world.env()).unwrap().with_clock(world.clock());
    let said = join_all((0..6).map(|_| world.post_as(&ingest, &world.tenant, Some("k"), "x"))).await;
    assert_eq!(said.into_iter().filter(|said| *said.as_ref().unwrap() == Said::Taken).count(), 1);
    assert!(has_lost.load(Ordering::Relaxed), "none was taken back");
    assert_eq!(world.usage().await["eventsIngested"], 6);
}

#[tokio::test]
async fn a_soft_limit_beyond_the_hard_one_is_refused() {
    let world = World::new(TenantEdit::default()).await;
    let edit = limits(Some(3), Some(2), 1);
    let refused = tenants::change(&world.tenants, "cli", &world.tenant.id, &edit).await.unwrap_err();
    assert!(matches!(refused, SignalsError::Refused { field: "monthlySoftLimit", .. }), "{refused}");
}

//! Usage: what is counted, shown, exported and corrected.

use super::usage_world::{Fault, Faulty, Said, World, limits};
use futures_util::future::join_all;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;
use switchyard_signals::tenants::{self, TenantEdit};
use switchyard_signals::{ExportFormat, IngestDeps, QueueDeps, SignalsError, export, sweep, usage_between};
use tokio::time::Instant;

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
        let made =
            tenants::create(&world.tenants, &"cli".into(), &format!("t{number}"), "T", &TenantEdit::default(), None)
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

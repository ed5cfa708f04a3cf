//! The events of a batch, which are counted in one write as long as there is room for all of them.

use super::usage_world::{Fault, Faulty, Said, World, limits};
use futures_util::future::join_all;
use serde_json::json;
use std::sync::atomic::Ordering;
use switchyard_signals::tenants::TenantEdit;
use switchyard_signals::{Accepted, IngestDeps, NewEvent, release_reservations, reserve_events, store_event};

impl World {
    /// Keeps `count` events as one batch does; returns whether they were counted together, and the outcome of each.
    async fn batch(&self, ingest: &IngestDeps, count: u32) -> (bool, Vec<Accepted>) {
        let event = NewEvent::parse(r#"{"type":"x","payload":{}}"#).unwrap();
        let places = reserve_events(ingest, &self.tenant, count).await;
        let mut accepted = Vec::new();
        for _ in 0..count {
            accepted.extend(
                store_event(ingest, &self.tenant, &event, None, places.as_ref(), None).await.map(|kept| kept.0),
            );
        }
        let is_together = places.is_some();
        if let Some(places) = places {
            release_reservations(ingest, &self.tenant, places).await;
        }
        (is_together, accepted)
    }
}

fn taken(accepted: &[Accepted]) -> usize {
    accepted.iter().filter(|accepted| matches!(accepted, Accepted::New { .. })).count()
}

#[tokio::test]
async fn batches_at_once_and_single_posts_fill_a_limit_exactly() {
    for shards in [1, 8] {
        let world = World::new(limits(None, Some(250), shards)).await;
        let processes: Vec<_> = (0..6).map(|_| world.process()).collect();
        let batches = join_all(processes.iter().map(async |process| {
            let (mut together, mut count) = (0, 0);
            for _ in 0..5 {
                let (is_together, accepted) = world.batch(process, 10).await;
                together += u32::from(is_together);
                count += taken(&accepted);
            }
            (together, count)
        }));
        let posts = join_all((0..30).map(|_| world.post_as(&world.ingest, &world.tenant, None, "x")));
        let (batches, posts) = tokio::join!(batches, posts);
        let together: u32 = batches.iter().map(|(together, _)| together).sum();
        let in_batches: usize = batches.iter().map(|(_, count)| count).sum();
        let posted = posts.iter().filter(|said| matches!(said, Ok(Said::Taken))).count();
        assert_eq!(in_batches + posted, 250, "{shards} shards");
        assert!(together > 0, "{shards} shards");
        assert_eq!(world.usage().await["eventsIngested"], 250);
    }
}

#[tokio::test]
async fn a_batch_beyond_what_is_left_is_counted_one_by_one() {
    let world = World::new(limits(None, Some(12), 1)).await;
    let (together, _) = world.batch(&world.ingest, 10).await;
    assert!(together);
    let (together, accepted) = world.batch(&world.process(), 10).await;
    assert_eq!((together, taken(&accepted), &world.usage().await["eventsIngested"]), (false, 2, &json!(12)));
    let rated = TenantEdit { rate_per_second: Some(Some(5)), ..limits(None, Some(100), 1) };
    let tenant = world.change(rated).await;
    assert!(reserve_events(&world.process(), &tenant, 2).await.is_none(), "each asks the rate");
}

#[tokio::test]
async fn a_limit_that_was_lowered_meanwhile_holds_for_a_batch_that_does_not_know() {
    let world = World::new(limits(None, Some(100), 1)).await;
    world.batch(&world.ingest, 2).await;
    world.change(limits(None, Some(5), 1)).await;
    let (together, accepted) = world.batch(&world.process(), 10).await;
    assert_eq!((together, taken(&accepted)), (false, 3));
}

#[tokio::test]
async fn the_soft_limit_is_passed_by_one_event_of_a_batch() {
    let world = World::new(limits(Some(3), None, 1)).await;
    let (together, accepted) = world.batch(&world.ingest, 5).await;
    assert!(together);
    let beyond: Vec<_> =
        accepted.iter().map(|accepted| matches!(accepted, Accepted::New { is_beyond_soft_limit: true, .. })).collect();
    assert_eq!(beyond, [false, false, false, true, true]);
}

#[tokio::test]
async fn what_was_refused_is_counted_when_the_next_batch_is_counted_together() {
    let mut world = World::new(limits(None, Some(1), 1)).await;
    let (_, accepted) = world.batch(&world.ingest, 4).await;
    assert_eq!((taken(&accepted), &world.usage().await["eventsRejected"]), (1, &json!(1)));
    world.tenant = world.change(limits(None, Some(9), 1)).await;
    world.pass(6);
    let (together, _) = world.batch(&world.ingest, 4).await;
    assert_eq!((together, &world.usage().await["eventsRejected"]), (true, &json!(3)));
}

#[tokio::test]
async fn a_batch_whose_counts_answer_is_lost_counts_once() {
    let world = World::new(limits(None, Some(20), 1)).await;
    let (aws, has_lost) = Faulty::before(Fault::LosesAnswer, "TransactWriteItems", "events_ingested").await;
    let ingest = IngestDeps::from_env(&aws, &world.env()).unwrap().with_clock(world.clock());
    let (together, _) = world.batch(&ingest, 10).await;
    assert!(together && has_lost.load(Ordering::Relaxed));
    assert_eq!(world.usage().await["eventsIngested"], 10);
}

#[tokio::test]
async fn a_batch_that_cannot_be_counted_together_is_counted_one_by_one() {
    let world = World::new(limits(None, Some(20), 1)).await;
    let (aws, _) = Faulty::before(Fault::Fails, "TransactWriteItems", "events_ingested").await;
    let ingest = IngestDeps::from_env(&aws, &world.env()).unwrap().with_clock(world.clock());
    let (together, accepted) = world.batch(&ingest, 3).await;
    assert_eq!((together, taken(&accepted)), (false, 3));
    assert_eq!(world.usage().await["eventsIngested"], 3);
}

#[tokio::test]
async fn places_of_events_that_cannot_be_kept_are_given_back() {
    let world = World::new(limits(None, Some(20), 1)).await;
    world.batch(&world.ingest, 2).await;
    let (aws, _) = Faulty::before(Fault::Fails, "PutItem", "payload").await;
    let ingest = IngestDeps::from_env(&aws, &world.env()).unwrap().with_clock(world.clock());
    let (together, accepted) = world.batch(&ingest, 2).await;
    assert_eq!((together, taken(&accepted), &world.usage().await["eventsIngested"]), (true, 0, &json!(2)));
}

#[tokio::test]
async fn a_batch_over_the_hour_is_kept_in_the_hour_it_is_counted_in() {
    let world = World::of_today(TenantEdit::default()).await;
    let month = world.month();
    let event = NewEvent::parse(r#"{"type":"x","payload":{}}"#).unwrap();
    let places = reserve_events(&world.ingest, &world.tenant, 2).await;
    assert!(places.is_some());
    for _ in 0..2 {
        let kept = store_event(&world.ingest, &world.tenant, &event, None, places.as_ref(), None).await.unwrap();
        assert!(matches!(kept.0, Accepted::New { .. }));
        world.pass(3_600);
    }
    world.pass(2 * 3_600);
    assert_eq!(world.reconciled(&month).await, []);
}

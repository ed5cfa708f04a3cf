//! `Idempotency-Key` against a real table, with a clock of the test's own.

use super::{aws, data_key, env, table};
use futures_util::future::join_all;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switchyard_core::{Clock, Timestamp};
use switchyard_tests::client::unique;
use switchyard_work::idempotency::{Begun, CLAIM, Idempotency, KEPT, Running};

async fn keys() -> (Idempotency, Arc<Mutex<Timestamp>>) {
    let (aws, client) = aws().await;
    let name = format!("it-idempotency-{}", unique());
    table(&client, "OrdersTable", &name).await;
    let now = Arc::new(Mutex::new("2026-01-05T10:00:00Z".parse::<Timestamp>().unwrap()));
    let clock = now.clone();
    let keys = Idempotency::from_env(&aws, &env(vec![("ORDERS_TABLE", name), data_key()]), "ORDERS_TABLE").unwrap();
    (keys.with_clock(Clock::from_fn(move || *clock.lock().unwrap())), now)
}

async fn first(keys: &Idempotency, key: &str, request: &str) -> Running {
    match keys.begin("me", key, request).await.unwrap() {
        Begun::First(running) => running,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_is_given_again_for_a_day_to_its_own_caller_and_request() {
    let (keys, now) = keys().await;
    let running = first(&keys, "k", "r").await;
    assert!(matches!(keys.begin("me", "k", "r").await.unwrap(), Begun::InProgress));
    keys.finish(running, 202, "{\"a\":1}", Some("\"7\"")).await.unwrap();
    let Begun::Answered { status, body, etag } = keys.begin("me", "k", "r").await.unwrap() else { panic!("answered") };
    assert_eq!((status, body.as_str(), etag.as_deref()), (202, "{\"a\":1}", Some("\"7\"")));
    assert!(matches!(keys.begin("me", "k", "other").await.unwrap(), Begun::OtherRequest));
    assert!(matches!(keys.begin("you", "k", "other").await.unwrap(), Begun::First(_)), "keys are the caller's own");
    *now.lock().unwrap() += KEPT;
    first(&keys, "k", "other").await;
}

#[tokio::test]
async fn a_request_without_effect_frees_its_key_and_a_lost_one_in_time() {
    let (keys, now) = keys().await;
    keys.abandon(first(&keys, "k", "r").await).await.unwrap();
    let lost = first(&keys, "k", "mended").await;
    *now.lock().unwrap() += CLAIM + Duration::from_millis(1);
    assert!(matches!(keys.begin("me", "k", "third").await.unwrap(), Begun::OtherRequest));
    let successor = first(&keys, "k", "mended").await;
    // The one that was thought dead comes back: it answers nobody.
    keys.finish(lost, 200, "late", Some("\"1\"")).await.unwrap();
    assert!(matches!(keys.begin("me", "k", "mended").await.unwrap(), Begun::InProgress));
    keys.finish(successor, 200, "good", None).await.unwrap();
    let again = keys.begin("me", "k", "mended").await.unwrap();
    assert!(matches!(&again, Begun::Answered { body, etag: None, .. } if body == "good"), "{again:?}");
}

#[tokio::test]
async fn a_response_that_comes_late_is_kept_if_no_other_request_claimed_the_key() {
    let (keys, now) = keys().await;
    let slow = first(&keys, "k", "r").await;
    *now.lock().unwrap() += CLAIM + Duration::from_millis(1);
    keys.finish(slow, 200, "late", None).await.unwrap();
    let again = keys.begin("me", "k", "r").await.unwrap();
    assert!(matches!(&again, Begun::Answered { body, .. } if body == "late"), "{again:?}");
}

#[tokio::test]
async fn of_many_at_once_one_is_first() {
    let (keys, _) = keys().await;
    let begun = join_all((0..20).map(|_| keys.begin("me", "k", "r"))).await;
    let firsts = begun.iter().filter(|begun| matches!(begun, Ok(Begun::First(_)))).count();
    let waiting = begun.iter().filter(|begun| matches!(begun, Ok(Begun::InProgress))).count();
    assert_eq!((firsts, waiting), (1, 19));
}

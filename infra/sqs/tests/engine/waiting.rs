//! Long polling.

use crate::World;
use std::time::{Duration, Instant};
use switchyard_sqs::{Error, NewMessage, Sqs};
use tokio::task::JoinHandle;

const LONG: Duration = Duration::from_secs(20);

fn wait_on(sqs: &Sqs, queue: &'static str, wait: Duration) -> JoinHandle<switchyard_sqs::Result<Vec<String>>> {
    let sqs = sqs.clone();
    tokio::spawn(async move { Ok(crate::bodies(&sqs.receive_wait(queue, 10, None, wait).await?)) })
}

/// Lets the tasks spawned so far run until they wait.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_send_wakes_a_waiting_receive() {
    let world = World::with_queue("q", &[]);
    let started = Instant::now();
    let waiting = wait_on(&world.sqs, "q", LONG);
    settle().await;
    world.sqs.send("q", NewMessage::new("x")).unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), ["x"]);
    assert!(started.elapsed() < LONG / 4);
}

#[tokio::test]
async fn waiting_ends_with_nothing() {
    let world = World::with_queue("q", &[]);
    let waiting = wait_on(&world.sqs, "q", Duration::from_millis(20));
    assert!(waiting.await.unwrap().unwrap().is_empty());
}

#[tokio::test]
async fn a_delay_that_ends_wakes_a_waiting_receive() {
    let sqs = Sqs::open(&switchyard_sqs::Location::Memory, switchyard_sqs::Clock::system()).unwrap();
    sqs.create_queue("q", &crate::map(&[("VisibilityTimeout", "1")]), Default::default()).unwrap();
    sqs.send("q", NewMessage { delay_s: Some(1), ..NewMessage::new("x") }).unwrap();
    let started = Instant::now();
    assert_eq!(sqs.receive_wait("q", 1, None, LONG).await.unwrap().len(), 1);
    assert_eq!(sqs.receive_wait("q", 1, None, LONG).await.unwrap().len(), 1); // its visibility timeout is over
    assert!((Duration::from_millis(1900)..LONG / 4).contains(&started.elapsed()));
}

#[tokio::test]
async fn a_delete_wakes_a_receive_that_waits_for_the_fifo_group() {
    let world = World::with_queue("q.fifo", &[]);
    world.send_to("q.fifo", "g", "1");
    let first = world.receive("q.fifo");
    world.send_to("q.fifo", "g", "2");
    let waiting = wait_on(&world.sqs, "q.fifo", LONG);
    settle().await;
    world.sqs.delete("q.fifo", &first[0].receipt_handle).unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), ["2"]);
}

#[tokio::test]
async fn each_message_goes_to_one_waiting_receive() {
    let world = World::with_queue("q", &[]);
    let waiting: Vec<_> = (0..5).map(|_| wait_on(&world.sqs, "q", LONG)).collect();
    settle().await;
    let mut sent: Vec<String> = (0..5).map(|n| n.to_string()).collect();
    for body in &sent {
        world.sqs.send("q", NewMessage::new(body)).unwrap();
        settle().await;
    }
    let mut received = Vec::new();
    for waiter in waiting {
        received.extend(waiter.await.unwrap().unwrap());
    }
    received.sort();
    sent.sort();
    assert_eq!(received, sent);
}

#[tokio::test]
async fn deleting_the_queue_ends_the_wait() {
    let world = World::with_queue("q", &[]);
    let waiting = wait_on(&world.sqs, "q", LONG);
    settle().await;
    world.sqs.delete_queue("q").unwrap();
    assert!(matches!(waiting.await.unwrap(), Err(Error::QueueDoesNotExist)));
}

//! Dead-letter queues: what moves there, and redriving it.

use crate::{World, bodies, grouped, map};
use std::time::Duration;
use switchyard_sqs::{Error, MoveTask, NewMessage, queue_arn};

/// Receives everything as often as it takes for `source` to bury it.
fn bury(world: &World, source: &str, max_receive_count: u32) {
    for _ in 0..max_receive_count {
        while !world.sqs.receive(source, 10, None).unwrap().is_empty() {}
        world.pass(30);
    }
    assert!(world.receive(source).is_empty());
}

/// The latest task from `dead`, once it is over.
async fn finished(world: &World, dead: &str) -> MoveTask {
    for _ in 0..10_000 {
        let task = world.sqs.move_tasks(&queue_arn(dead), 1).unwrap().remove(0);
        if task.status != "RUNNING" {
            return task;
        }
        tokio::task::yield_now().await;
    }
    panic!("the move task does not end");
}

#[test]
fn a_message_received_too_often_moves_and_stays_itself() {
    let world = World::new();
    let (source, dead) = world.create_pair("", 2);
    let sent = world.sqs.send(&source, NewMessage::new("poison")).unwrap();
    let sent_ms = world.now();
    bury(&world, &source, 2);
    assert_eq!(world.counts(&source), (0, 0, 0));
    let moved = world.receive(&dead).remove(0);
    assert_eq!((moved.id, moved.sent_ms, moved.receive_count), (sent.message_id, sent_ms, 3));
    assert_eq!(moved.dead_letter_source, Some(queue_arn(&source)));
}

#[test]
fn the_living_behind_many_dead_are_received_at_once() {
    let world = World::new();
    let (source, dead) = world.create_pair("", 1);
    for n in 0..25 {
        world.sqs.send(&source, NewMessage::new(n.to_string())).unwrap();
    }
    while !world.sqs.receive(&source, 10, None).unwrap().is_empty() {}
    world.pass(31);
    world.sqs.send(&source, NewMessage::new("alive")).unwrap();
    assert_eq!(world.bodies(&source), ["alive"]);
    assert_eq!(world.counts(&dead), (25, 0, 0));
}

#[test]
fn max_receive_count_may_be_text_and_each_queue_counts_for_itself() {
    let world = World::new();
    world.create("grave", &[]);
    let policy = |dead: &str| format!(r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":"1"}}"#, queue_arn(dead));
    world.create("dead", &[("RedrivePolicy", &policy("grave"))]);
    world.create("work", &[("RedrivePolicy", &policy("dead"))]);
    world.sqs.send("work", NewMessage::new("x")).unwrap();
    bury(&world, "work", 1);
    assert_eq!(world.receive("dead")[0].receive_count, 2); // not passed on to the grave unread
    world.pass(30);
    assert!(world.receive("dead").is_empty());
    assert_eq!(world.receive("grave")[0].dead_letter_source, Some(queue_arn("dead")));
}

#[test]
fn a_dead_letter_queue_must_be_of_the_same_kind() {
    let world = World::with_queue("dead", &[]);
    world.create("work.fifo", &[]);
    let refused = world.sqs.set_attributes("work.fifo", &map(&[("RedrivePolicy", &crate::redrive("dead", 1))]));
    assert!(matches!(refused, Err(Error::InvalidParameterValue(_))));
}

#[test]
fn burying_the_head_lets_its_fifo_group_go_on() {
    let world = World::new();
    let (source, dead) = world.create_pair(".fifo", 1);
    for body in ["1", "2"] {
        world.send_to(&source, "g", body);
    }
    assert_eq!(bodies(&world.sqs.receive(&source, 1, None).unwrap()), ["1"]);
    world.pass(30);
    assert_eq!(world.bodies(&source), ["2"]);
    let moved = world.receive(&dead).remove(0);
    assert_eq!((moved.body.as_str(), moved.group_id.as_deref(), moved.sent_ms), ("1", Some("g"), world.now()));
}

#[test]
fn burying_twice_is_no_duplicate() {
    let world = World::new();
    let (source, dead) = world.create_pair(".fifo", 1);
    world.create("other.fifo", &[("RedrivePolicy", &crate::redrive(&dead, 1))]);
    for queue in [source.as_str(), "other.fifo"] {
        world.send_to(queue, "g", "same");
        bury(&world, queue, 1);
    }
    assert_eq!(world.bodies(&dead), ["same", "same"]);
}

#[tokio::test]
async fn a_move_task_returns_each_message_to_its_source_as_a_new_one() {
    let world = World::new();
    let (source, dead) = world.create_pair("", 1);
    world.create("other", &[("RedrivePolicy", &crate::redrive(&dead, 1))]);
    let mut old_ids = Vec::new();
    for n in 0..230 {
        let queue = if n % 2 == 0 { source.as_str() } else { "other" };
        old_ids.push(world.sqs.send(queue, NewMessage::new(n.to_string())).unwrap().message_id);
    }
    bury(&world, &source, 1);
    bury(&world, "other", 1);
    world.sqs.start_move_task(&queue_arn(&dead), None, None).unwrap();
    let again = world.sqs.start_move_task(&queue_arn(&dead), None, None);
    assert!(matches!(again, Err(Error::UnsupportedOperation(_))));
    let task = finished(&world, &dead).await;
    assert_eq!((task.status.as_str(), task.moved, task.to_move), ("COMPLETED", 230, 230));
    assert_eq!(world.counts(&dead), (0, 0, 0));
    assert_eq!((world.counts(&source).0, world.counts("other").0), (115, 115));
    let received = world.receive(&source);
    assert!(received.iter().all(|message| !old_ids.contains(&message.id)));
    assert!(received.iter().all(|message| message.receive_count == 1 && message.dead_letter_source.is_none()));
}

#[tokio::test]
async fn a_fifo_move_keeps_the_order_and_bypasses_deduplication() {
    let world = World::new();
    let (source, dead) = world.create_pair(".fifo", 1);
    for n in 0..12 {
        world.send_to(&source, "g", &format!("{n:02}"));
    }
    bury(&world, &source, 2);
    // Looked at in the meantime, so that the head became visible later than the rest.
    world.sqs.receive(&dead, 1, None).unwrap();
    world.pass(30);
    world.sqs.start_move_task(&queue_arn(&dead), Some(&queue_arn(&source)), Some(500)).unwrap();
    assert_eq!(finished_slowly(&world, &dead).await.moved, 12);
    let mut seen = Vec::new();
    while let received = world.receive(&source)
        && !received.is_empty()
    {
        for message in received {
            world.sqs.delete(&source, &message.receipt_handle).unwrap();
            seen.push(message.body);
        }
    }
    assert_eq!(seen, (0..12).map(|n| format!("{n:02}")).collect::<Vec<_>>());
}

/// [`finished`] for a task with a rate, which waits between its batches.
async fn finished_slowly(world: &World, dead: &str) -> MoveTask {
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    while world.sqs.move_tasks(&queue_arn(dead), 1).unwrap()[0].status == "RUNNING" {
        pace.tick().await;
    }
    finished(world, dead).await
}

#[tokio::test]
async fn a_move_task_needs_a_dead_letter_queue_and_its_targets() {
    let world = World::new();
    let (source, dead) = world.create_pair("", 1);
    let start = |from: &str, to: Option<&str>, rate| {
        world.sqs.start_move_task(&queue_arn(from), to.map(queue_arn).as_deref(), rate).map_err(|error| error.code())
    };
    assert_eq!(start(&source, None, None), Err("InvalidParameterValue"));
    assert_eq!(start("missing", None, None), Err("ResourceNotFoundException"));
    assert_eq!(start(&dead, Some("missing"), None), Err("ResourceNotFoundException"));
    assert_eq!(start(&dead, None, Some(501)), Err("InvalidParameterValue"));
    assert!(matches!(world.sqs.move_tasks(&queue_arn("missing"), 1), Err(Error::ResourceNotFound(_))));

    world.sqs.send(&dead, NewMessage::new("sent here directly")).unwrap();
    start(&dead, None, None).unwrap();
    let task = finished(&world, &dead).await;
    assert_eq!((task.status.as_str(), task.failure.as_deref()), ("FAILED", Some("CouldNotDetermineMessageSource")));
    assert_eq!(world.counts(&dead), (1, 0, 0));
}

#[tokio::test]
async fn a_cancelled_move_task_stops() {
    let world = World::new();
    let (source, dead) = world.create_pair("", 1);
    for n in 0..3 {
        world.sqs.send(&source, NewMessage::new(n.to_string())).unwrap();
    }
    bury(&world, &source, 1);
    let handle = world.sqs.start_move_task(&queue_arn(&dead), None, Some(1)).unwrap();
    assert_eq!(world.sqs.cancel_move_task(&handle).unwrap(), 0); // before the runtime got to it
    assert_eq!(finished(&world, &dead).await.status, "CANCELLED");
    assert_eq!(world.counts(&dead), (3, 0, 0));
    assert!(matches!(world.sqs.cancel_move_task(&handle), Err(Error::UnsupportedOperation(_))));
    assert!(matches!(world.sqs.cancel_move_task("nonsense"), Err(Error::ResourceNotFound(_))));
}

#[test]
fn a_vanished_dead_letter_queue_takes_nothing() {
    let world = World::new();
    let (source, dead) = world.create_pair(".fifo", 1);
    world.sqs.send(&source, grouped("g", "x")).unwrap();
    world.sqs.delete_queue(&dead).unwrap();
    world.receive(&source);
    world.pass(30);
    assert_eq!(world.bodies(&source), ["x"]);
}

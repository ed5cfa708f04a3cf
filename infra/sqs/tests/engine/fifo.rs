//! FIFO queues: order within groups, and deduplication.

use crate::{World, bodies, grouped};
use switchyard_sqs::{Error, NewMessage};

const Q: &str = "q.fifo";

#[test]
fn a_batch_takes_several_of_a_group_in_order_and_locks_it() {
    let world = World::with_queue(Q, &[]);
    for body in ["a1", "a2", "a3"] {
        world.send_to(Q, "a", body);
    }
    let received = world.sqs.receive(Q, 2, None).unwrap();
    assert_eq!(bodies(&received), ["a1", "a2"]);
    assert!(received[0].sequence_number < received[1].sequence_number);
    assert!(world.receive(Q).is_empty());
    world.send_to(Q, "b", "b1");
    assert_eq!(world.bodies(Q), ["b1"]); // another group flows
    world.sqs.delete(Q, &received[0].receipt_handle).unwrap();
    assert!(world.receive(Q).is_empty());
    world.sqs.delete(Q, &received[1].receipt_handle).unwrap();
    assert_eq!(world.bodies(Q), ["a3"]);
}

#[test]
fn what_was_not_deleted_comes_again_in_order() {
    let world = World::with_queue(Q, &[]);
    for body in ["1", "2", "3"] {
        world.send_to(Q, "g", body);
    }
    let first = world.sqs.receive(Q, 2, Some(10)).unwrap();
    world.sqs.change_visibility(Q, &first[1].receipt_handle, 40).unwrap();
    world.pass(10);
    assert!(world.receive(Q).is_empty()); // "2" still holds the group
    world.sqs.change_visibility(Q, &first[1].receipt_handle, 0).unwrap();
    assert_eq!(world.bodies(Q), ["1", "2", "3"]);
}

#[test]
fn an_expired_handle_does_not_delete() {
    let world = World::with_queue(Q, &[]);
    world.send_to(Q, "g", "1");
    let old = world.receive(Q).remove(0).receipt_handle;
    world.pass(30);
    assert!(matches!(world.sqs.delete(Q, &old), Err(Error::InvalidParameterValue(_))));
    let new = world.receive(Q).remove(0).receipt_handle;
    assert!(matches!(world.sqs.delete(Q, &old), Err(Error::InvalidParameterValue(_))));
    world.sqs.delete(Q, &new).unwrap();
    world.sqs.delete(Q, &new).unwrap();
    assert_eq!(world.counts(Q), (0, 0, 0));
}

#[test]
fn duplicates_within_five_minutes_answer_like_the_first() {
    let world = World::with_queue(Q, &[]);
    let first = world.sqs.send(Q, grouped("g", "same")).unwrap();
    let received = world.receive(Q);
    world.sqs.delete(Q, &received[0].receipt_handle).unwrap(); // deleted, and still remembered
    world.pass(299);
    assert_eq!(world.sqs.send(Q, grouped("other", "same")).unwrap(), first);
    assert!(world.receive(Q).is_empty());
    world.pass(1);
    assert_ne!(world.sqs.send(Q, grouped("g", "same")).unwrap(), first);
    assert_eq!(world.bodies(Q), ["same"]);
}

#[test]
fn content_can_stand_in_for_the_deduplication_id() {
    let world = World::with_queue(Q, &[("ContentBasedDeduplication", "true")]);
    let message = |body: &str| NewMessage { group_id: Some("g".into()), ..NewMessage::new(body) };
    let first = world.sqs.send(Q, message("x")).unwrap();
    assert_eq!(world.sqs.send(Q, message("x")).unwrap(), first);
    world.sqs.send(Q, grouped("g", "y")).unwrap(); // its own id goes first
    world.sqs.send(Q, message("y")).unwrap();
    let received = world.receive(Q);
    assert_eq!(bodies(&received), ["x", "y", "y"]);
    let sha256 = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    assert_eq!(received[0].deduplication_id.as_deref(), Some(sha256));
}

#[test]
fn deduplication_can_be_per_group() {
    let world = World::with_queue(Q, &[("DeduplicationScope", "messageGroup")]);
    for group in ["a", "b", "a"] {
        world.send_to(Q, group, "same");
    }
    assert_eq!(world.bodies(Q), ["same", "same"]);
}

#[test]
fn the_queues_delay_holds_each_message_and_keeps_the_order() {
    let world = World::with_queue(Q, &[("DelaySeconds", "10")]);
    world.send_to(Q, "g", "1");
    world.pass(5);
    world.send_to(Q, "g", "2");
    assert_eq!(world.counts(Q), (0, 0, 2));
    world.pass(5);
    let first = world.receive(Q);
    assert_eq!(bodies(&first), ["1"]);
    world.sqs.delete(Q, &first[0].receipt_handle).unwrap();
    assert!(world.receive(Q).is_empty());
    world.pass(5);
    assert_eq!(world.bodies(Q), ["2"]);
}

#[test]
fn parameters_of_the_other_kind_are_refused() {
    let world = World::with_queue(Q, &[]);
    let code = |message: NewMessage| world.sqs.send(Q, message).map_or_else(|error| error.code(), |_| "");
    assert_eq!(code(NewMessage::new("x")), "MissingParameter");
    assert_eq!(code(NewMessage { group_id: Some("g".into()), ..NewMessage::new("x") }), "InvalidParameterValue");
    assert_eq!(code(NewMessage { delay_s: Some(1), ..grouped("g", "x") }), "InvalidParameterValue");
    assert_eq!(code(grouped("with space", "x")), "InvalidParameterValue");
    assert_eq!(code(grouped("g", &"x".repeat(129))), "InvalidParameterValue");
    assert_eq!(code(NewMessage { delay_s: Some(0), ..grouped("g", "x") }), "");
}

#[test]
fn an_expired_head_unlocks_its_group() {
    let world = World::with_queue(Q, &[("MessageRetentionPeriod", "60")]);
    world.send_to(Q, "g", "1");
    world.sqs.receive(Q, 1, Some(1000)).unwrap();
    world.pass(30);
    world.send_to(Q, "g", "2");
    assert!(world.receive(Q).is_empty());
    world.pass(30);
    assert_eq!(world.bodies(Q), ["2"]);
}

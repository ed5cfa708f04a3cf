//! Standard queues: visibility, delays, receipts and attributes.

use crate::{World, map};
use switchyard_sqs::{Error, MessageAttribute, NewMessage, TextMap};

#[test]
fn a_message_arrives_as_it_was_sent_with_its_system_attributes() {
    let world = World::with_queue("q", &[]);
    let binary =
        MessageAttribute { data_type: "Binary".into(), binary_value: Some(vec![0, 255]), ..Default::default() };
    let message = NewMessage {
        attributes: [("blob".to_owned(), binary)].into(),
        trace_header: Some("Root=1-2-3".into()),
        ..NewMessage::new("hello")
    };
    let sent = world.sqs.send("q", message.clone()).unwrap();
    let sent_at = world.now().to_string();
    world.pass(5);
    let received = world.receive("q").remove(0);
    assert_eq!(received.id, sent.message_id);
    assert_eq!(received.body, "hello");
    assert_eq!(received.attributes, message.attributes);
    let system = received.system_attributes();
    assert_eq!(system["SenderId"], "000000000000");
    assert_eq!(system["SentTimestamp"], sent_at);
    assert_eq!(system["ApproximateFirstReceiveTimestamp"], world.now().to_string());
    assert_eq!(system["ApproximateReceiveCount"], "1");
    assert_eq!(system["AWSTraceHeader"], "Root=1-2-3");
    assert!(!system.contains_key("SequenceNumber"));

    let first_received = system["ApproximateFirstReceiveTimestamp"].clone();
    world.pass(30);
    let again = world.receive("q").remove(0).system_attributes();
    assert_eq!(again["ApproximateReceiveCount"], "2");
    assert_eq!(again["ApproximateFirstReceiveTimestamp"], first_received);
}

#[test]
fn visibility_is_the_receives_own_or_the_queues() {
    let world = World::with_queue("q", &[("VisibilityTimeout", "20")]);
    world.sqs.send("q", NewMessage::new("a")).unwrap();
    assert_eq!(world.receive("q").len(), 1);
    world.pass(19);
    assert!(world.receive("q").is_empty());
    world.pass(1);
    assert_eq!(world.sqs.receive("q", 1, Some(5)).unwrap().len(), 1);
    world.pass(5);
    assert_eq!(world.sqs.receive("q", 1, Some(0)).unwrap().len(), 1);
    assert_eq!(world.receive("q").len(), 1);
    assert!(matches!(world.sqs.receive("q", 1, Some(43_201)), Err(Error::InvalidParameterValue(_))));
}

#[test]
fn visibility_can_be_changed_while_in_flight_only() {
    let world = World::with_queue("q", &[]);
    world.sqs.send("q", NewMessage::new("a")).unwrap();
    let handle = world.receive("q").remove(0).receipt_handle;
    world.sqs.change_visibility("q", &handle, 100).unwrap();
    world.pass(99);
    assert!(world.receive("q").is_empty());
    world.sqs.change_visibility("q", &handle, 0).unwrap();
    assert!(matches!(world.sqs.change_visibility("q", &handle, 10), Err(Error::MessageNotInflight)));
    let too_long = world.sqs.change_visibility("q", &handle, 43_201);
    assert!(matches!(too_long, Err(Error::InvalidParameterValue(_))));
    assert_eq!(world.receive("q").len(), 1);
}

#[test]
fn an_old_handle_extends_nothing_but_still_deletes() {
    let world = World::with_queue("q", &[]);
    world.sqs.send("q", NewMessage::new("a")).unwrap();
    let old = world.receive("q").remove(0).receipt_handle;
    world.pass(30);
    let new = world.receive("q").remove(0).receipt_handle;
    assert_ne!(old, new);
    assert!(matches!(world.sqs.change_visibility("q", &old, 0), Err(Error::InvalidParameterValue(_))));
    assert!(world.receive("q").is_empty());
    world.sqs.delete("q", &old).unwrap();
    world.sqs.delete("q", &new).unwrap(); // gone already, and no error
    assert!(matches!(world.sqs.change_visibility("q", &new, 1), Err(Error::InvalidParameterValue(_))));
    world.pass(60);
    assert!(world.receive("q").is_empty());
}

#[test]
fn handles_of_other_queues_and_unknown_ones_are_invalid() {
    let world = World::with_queue("q", &[]);
    world.create("other", &[]);
    world.sqs.send("q", NewMessage::new("a")).unwrap();
    let handle = world.receive("q").remove(0).receipt_handle;
    for (queue, handle) in [("other", handle.as_str()), ("q", "nonsense"), ("q", "")] {
        assert!(matches!(world.sqs.delete(queue, handle), Err(Error::ReceiptHandleIsInvalid)));
        assert!(matches!(world.sqs.change_visibility(queue, handle, 1), Err(Error::ReceiptHandleIsInvalid)));
    }
    world.sqs.delete_queue("q").unwrap();
    world.create("q", &[]);
    assert!(matches!(world.sqs.delete("q", &handle), Err(Error::ReceiptHandleIsInvalid)));
}

#[test]
fn a_message_waits_for_its_own_delay_or_the_queues() {
    let world = World::with_queue("q", &[("DelaySeconds", "10")]);
    world.sqs.send("q", NewMessage::new("queue's")).unwrap();
    world.sqs.send("q", NewMessage { delay_s: Some(0), ..NewMessage::new("none") }).unwrap();
    world.sqs.send("q", NewMessage { delay_s: Some(900), ..NewMessage::new("own") }).unwrap();
    assert_eq!(world.counts("q"), (1, 0, 2));
    assert_eq!(world.bodies("q"), ["none"]);
    world.pass(10);
    assert_eq!(world.bodies("q"), ["queue's"]);
    assert_eq!(world.counts("q"), (0, 2, 1));
    let too_long = world.sqs.send("q", NewMessage { delay_s: Some(901), ..NewMessage::new("x") });
    assert!(matches!(too_long, Err(Error::InvalidParameterValue(_))));
}

#[test]
fn messages_expire_wherever_they_are() {
    let world = World::with_queue("q", &[("MessageRetentionPeriod", "60")]);
    world.sqs.send("q", NewMessage::new("held")).unwrap();
    world.receive("q");
    world.pass(1);
    world.sqs.send("q", NewMessage::new("later")).unwrap();
    world.pass(59);
    assert_eq!(world.counts("q"), (1, 0, 0));
    world.pass(1);
    assert!(world.receive("q").is_empty());
    assert_eq!(world.counts("q"), (0, 0, 0));
}

#[test]
fn messages_that_cannot_be_sent_are_refused_one_by_one() {
    let world = World::with_queue("q", &[("MaximumMessageSize", "1024")]);
    let attribute = |data_type: &str, value: &str| {
        let value =
            MessageAttribute { data_type: data_type.into(), string_value: Some(value.into()), ..Default::default() };
        NewMessage { attributes: [("name".to_owned(), value)].into(), ..NewMessage::new("x") }
    };
    let sent = world
        .sqs
        .send_batch(
            "q",
            &[
                NewMessage::new("x".repeat(1024)),
                NewMessage::new("x".repeat(1025)),
                NewMessage::new(""),
                NewMessage::new("\u{0}"),
                NewMessage::new("tab\tand \u{1F600}"),
                attribute("Number", "x"),
                attribute("Text", "x"),
                attribute("String", &"x".repeat(1024)),
                NewMessage { deduplication_id: Some("d".into()), ..NewMessage::new("x") },
            ],
        )
        .unwrap();
    let codes: Vec<&str> = sent.iter().map(|sent| sent.as_ref().map_or_else(Error::code, |_| "")).collect();
    let invalid = "InvalidParameterValue";
    let expected = ["", invalid, "MissingParameter", "InvalidMessageContents", "", invalid, invalid, invalid, invalid];
    assert_eq!(codes, expected);
    assert_eq!(world.counts("q"), (2, 0, 0));
}

#[test]
fn creating_again_is_fine_with_equal_attributes_only() {
    let world = World::with_queue("q", &[("DelaySeconds", "5")]);
    let create = |name: &str, attributes: &[(&str, &str)]| {
        world.sqs.create_queue(name, &map(attributes), TextMap::new()).map_or_else(|error| error.code(), |()| "")
    };
    assert_eq!(create("q", &[("DelaySeconds", "5")]), "");
    assert_eq!(create("q", &[]), "");
    assert_eq!(create("q", &[("DelaySeconds", "6")]), "QueueAlreadyExists");
    assert_eq!(create("a", &[("DelaySeconds", "901")]), "InvalidAttributeValue");
    assert_eq!(create("a", &[("Colour", "red")]), "InvalidAttributeName");
    assert_eq!(create("a b", &[]), "InvalidParameterValue");
    assert_eq!(create("a.fifo", &[]), "InvalidParameterValue");
    assert_eq!(create("a", &[("FifoQueue", "true")]), "InvalidParameterValue");
    assert_eq!(create("a", &[("RedrivePolicy", &crate::redrive("missing", 1))]), "InvalidParameterValue");
    assert_eq!(create("a", &[("RedrivePolicy", "{}")]), "InvalidAttributeValue");
    assert_eq!(world.sqs.queues().unwrap(), ["q"]);
}

#[test]
fn purging_and_deleting_leave_other_queues_alone() {
    let world = World::with_queue("q", &[]);
    world.create("other", &[]);
    for queue in ["q", "other"] {
        world.sqs.send(queue, NewMessage::new(queue)).unwrap();
    }
    world.sqs.purge_queue("q").unwrap();
    assert_eq!(world.counts("q"), (0, 0, 0));
    world.sqs.delete_queue("q").unwrap();
    assert!(matches!(world.sqs.receive("q", 1, None), Err(Error::QueueDoesNotExist)));
    assert_eq!(world.bodies("other"), ["other"]);
}

#[test]
fn changed_attributes_hold_from_then_on() {
    let world = World::with_queue("q", &[]);
    world.sqs.set_attributes("q", &map(&[("VisibilityTimeout", "7"), ("Policy", "{}")])).unwrap();
    let attributes = world.sqs.attributes("q").unwrap();
    assert_eq!(attributes.visibility_timeout_s, 7);
    assert_eq!(attributes.inert["Policy"], "{}");
    let refused = world.sqs.set_attributes("q", &map(&[("DelaySeconds", "1"), ("VisibilityTimeout", "-1")]));
    assert!(matches!(refused, Err(Error::InvalidAttributeValue(_))));
    assert_eq!(world.sqs.attributes("q").unwrap(), attributes);
}

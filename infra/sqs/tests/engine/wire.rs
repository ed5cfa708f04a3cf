//! The AWS JSON protocol as SDKs speak it.

use crate::World;
use serde_json::{Value, json};
use switchyard_sqs::{MessageAttribute, md5_of_attributes, queue_arn, queue_name};

const BASE: &str = "http://localhost:4566";

impl World {
    /// A call that is answered.
    async fn call(&self, action: &str, body: Value) -> Value {
        let response = self.sqs.handle(&format!("AmazonSQS.{action}"), body.to_string().as_bytes(), BASE).await;
        let answer: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(response.status(), 200, "{action} {body}: {answer}");
        assert_eq!(response.headers()["content-type"], "application/x-amz-json-1.0");
        answer
    }

    /// A call that is refused: the `__type` and the code for the older protocol.
    async fn refused(&self, action: &str, body: Value) -> (String, String) {
        let response = self.sqs.handle(&format!("AmazonSQS.{action}"), body.to_string().as_bytes(), BASE).await;
        let answer: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(response.status(), 400, "{action} {body}: {answer}");
        assert!(answer["message"].is_string());
        let text = |value: &str| value.to_owned();
        (text(answer["__type"].as_str().unwrap()), text(response.headers()["x-amzn-query-error"].to_str().unwrap()))
    }
}

fn url(queue: &str) -> String {
    format!("{BASE}/000000000000/{queue}")
}

#[test]
fn names_are_the_last_part_of_urls_and_arns() {
    for text in ["q", "http://any.host:1/123/q", "http://any.host/123/q/", "arn:aws:sqs:eu-west-1:123:q"] {
        assert_eq!(queue_name(text), "q");
    }
}

#[test]
fn attribute_digests_are_the_services() {
    // The values that several independent SDKs and emulators test with.
    for (data_type, md5) in
        [("Number", "235c5c510d26fb653d073faed50ae77c"), ("Number.java.lang.Long", "2e2e4876d8e0bd6b8c2c8f556831c349")]
    {
        let timestamp = MessageAttribute {
            data_type: data_type.into(),
            string_value: Some("1493147359900".into()),
            ..Default::default()
        };
        assert_eq!(md5_of_attributes(&[("timestamp".to_owned(), timestamp)].into()).as_deref(), Some(md5));
    }
    assert_eq!(md5_of_attributes(&Default::default()), None);
}

#[tokio::test]
async fn a_message_goes_through_with_its_digests() {
    let world = World::new();
    let created = world.call("CreateQueue", json!({ "QueueName": "q", "tags": { "team": "a" } })).await;
    assert_eq!(created, json!({ "QueueUrl": url("q") }));
    let attributes = json!({
        "a": { "DataType": "String", "StringValue": "x" },
        "b": { "DataType": "Binary", "BinaryValue": "AQI=" },
        "n": { "DataType": "Number.int", "StringValue": "3" },
    });
    let sent = world
        .call(
            "SendMessage",
            json!({
                "QueueUrl": "https://elsewhere/1/q", "MessageBody": "hello", "MessageAttributes": attributes,
                "MessageSystemAttributes": { "AWSTraceHeader": { "DataType": "String", "StringValue": "Root=1" } },
            }),
        )
        .await;
    assert_eq!(sent["MD5OfMessageBody"], "5d41402abc4b2a76b9719d911017c592");
    assert_eq!(sent["MD5OfMessageAttributes"], "6e7d55fc0de7e8cb4842fbebea451db9");
    assert!(sent["MD5OfMessageSystemAttributes"].is_string());
    assert!(sent.get("SequenceNumber").is_none());

    let receive = json!({
        "QueueUrl": url("q"), "MaxNumberOfMessages": 10, "WaitTimeSeconds": 0, "VisibilityTimeout": 0,
        "AttributeNames": ["SentTimestamp"], "MessageSystemAttributeNames": ["AWSTraceHeader"],
        "MessageAttributeNames": ["All"], "ReceiveRequestAttemptId": "1",
    });
    let received = world.call("ReceiveMessage", receive).await;
    let message = &received["Messages"][0];
    assert_eq!(message["MessageId"], sent["MessageId"]);
    assert_eq!(message["Body"], "hello");
    assert_eq!(message["MD5OfBody"], sent["MD5OfMessageBody"]);
    assert_eq!(message["MessageAttributes"], attributes);
    assert_eq!(message["MD5OfMessageAttributes"], sent["MD5OfMessageAttributes"]);
    assert_eq!(message["Attributes"], json!({ "SentTimestamp": world.now().to_string(), "AWSTraceHeader": "Root=1" }));

    // Only what was asked for, and the digest of just that.
    let some = json!({ "QueueUrl": url("q"), "MessageAttributeNames": ["a.*"] });
    let message = &world.call("ReceiveMessage", some).await["Messages"][0];
    assert_eq!(message["MessageAttributes"], json!({ "a": attributes["a"] }));
    assert_ne!(message["MD5OfMessageAttributes"], sent["MD5OfMessageAttributes"]);
    assert!(message.get("Attributes").is_none());

    let handle = message["ReceiptHandle"].clone();
    let change = json!({ "QueueUrl": url("q"), "ReceiptHandle": handle, "VisibilityTimeout": 5 });
    world.call("ChangeMessageVisibility", change).await;
    world.call("DeleteMessage", json!({ "QueueUrl": url("q"), "ReceiptHandle": handle })).await;
    assert_eq!(world.call("ReceiveMessage", json!({ "QueueUrl": url("q") })).await, json!({}));
}

#[tokio::test]
async fn batches_answer_entry_by_entry() {
    let world = World::with_queue("q", &[]);
    let entries = json!([
        { "Id": "good", "MessageBody": "x" },
        { "Id": "bad", "MessageBody": "" },
    ]);
    let sent = world.call("SendMessageBatch", json!({ "QueueUrl": url("q"), "Entries": entries })).await;
    assert_eq!(sent["Successful"][0]["Id"], "good");
    assert!(sent["Successful"][0]["MD5OfMessageBody"].is_string());
    assert_eq!(sent["Failed"][0]["Id"], "bad");
    assert_eq!(sent["Failed"][0]["Code"], "MissingParameter");
    assert_eq!(sent["Failed"][0]["SenderFault"], true);

    let handle = world.receive("q").remove(0).receipt_handle;
    let changes = json!([
        { "Id": "1", "ReceiptHandle": handle, "VisibilityTimeout": 9 },
        { "Id": "2", "ReceiptHandle": "nonsense", "VisibilityTimeout": 9 },
    ]);
    let changed = world.call("ChangeMessageVisibilityBatch", json!({ "QueueUrl": url("q"), "Entries": changes })).await;
    assert_eq!(changed["Successful"], json!([{ "Id": "1" }]));
    assert_eq!(changed["Failed"][0]["Code"], "ReceiptHandleIsInvalid");
    let deletes = json!([{ "Id": "1", "ReceiptHandle": handle }]);
    let deleted = world.call("DeleteMessageBatch", json!({ "QueueUrl": url("q"), "Entries": deletes })).await;
    assert_eq!(deleted, json!({ "Successful": [{ "Id": "1" }] }));
    assert_eq!(world.counts("q"), (0, 0, 0));
}

#[tokio::test]
async fn errors_carry_both_protocols_codes() {
    let world = World::with_queue("q", &[]);
    let q = url("q");
    let entries = |ids: &[&str], body: &str| {
        let entries: Vec<Value> = ids.iter().map(|id| json!({ "Id": id, "MessageBody": body })).collect();
        json!({ "QueueUrl": q, "Entries": entries })
    };
    let eleven: Vec<String> = (0..11).map(|n| n.to_string()).collect();
    let eleven: Vec<&str> = eleven.iter().map(String::as_str).collect();
    let big = "x".repeat(250_000);
    let handle = |handle: &str| json!({ "QueueUrl": q, "ReceiptHandle": handle, "VisibilityTimeout": 0 });
    let cases = [
        (
            "DeleteQueue",
            json!({ "QueueUrl": url("no") }),
            "QueueDoesNotExist",
            "AWS.SimpleQueueService.NonExistentQueue",
        ),
        ("GetQueueUrl", json!({ "QueueName": "no" }), "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"),
        (
            "CreateQueue",
            json!({ "QueueName": "q", "Attributes": { "DelaySeconds": "1" } }),
            "QueueNameExists",
            "QueueAlreadyExists",
        ),
        (
            "SetQueueAttributes",
            json!({ "QueueUrl": q, "Attributes": { "DelaySeconds": "x" } }),
            "InvalidAttributeValue",
            "InvalidAttributeValue",
        ),
        ("SendMessage", json!({ "MessageBody": "x" }), "MissingRequiredParameterException", "MissingParameter"),
        (
            "SendMessage",
            json!({ "QueueUrl": q, "MessageBody": "\u{1}" }),
            "InvalidMessageContents",
            "InvalidMessageContents",
        ),
        (
            "ReceiveMessage",
            json!({ "QueueUrl": q, "MaxNumberOfMessages": 11 }),
            "InvalidParameterValueException",
            "InvalidParameterValue",
        ),
        (
            "ReceiveMessage",
            json!({ "QueueUrl": q, "WaitTimeSeconds": -1 }),
            "InvalidParameterValueException",
            "InvalidParameterValue",
        ),
        ("ChangeMessageVisibility", handle("x"), "ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid"),
        ("SendMessageBatch", entries(&[], ""), "EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest"),
        (
            "SendMessageBatch",
            entries(&eleven, "x"),
            "TooManyEntriesInBatchRequest",
            "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
        ),
        (
            "SendMessageBatch",
            entries(&["a", "a"], "x"),
            "BatchEntryIdsNotDistinct",
            "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
        ),
        (
            "SendMessageBatch",
            entries(&["a b"], "x"),
            "InvalidBatchEntryId",
            "AWS.SimpleQueueService.InvalidBatchEntryId",
        ),
        (
            "SendMessageBatch",
            entries(&["1", "2", "3", "4", "5"], &big),
            "BatchRequestTooLong",
            "AWS.SimpleQueueService.BatchRequestTooLong",
        ),
        (
            "CancelMessageMoveTask",
            json!({ "TaskHandle": "x" }),
            "ResourceNotFoundException",
            "ResourceNotFoundException",
        ),
        ("Dance", json!({}), "UnknownOperationException", "UnknownOperationException"),
        ("SendMessage", json!([]), "SerializationException", "SerializationException"),
    ];
    for (action, body, shape, code) in cases {
        let (kind, query) = world.refused(action, body).await;
        assert_eq!((kind.rsplit('#').next().unwrap(), query.as_str()), (shape, format!("{code};Sender").as_str()));
    }
}

#[tokio::test]
async fn a_visible_message_is_not_in_flight() {
    let world = World::with_queue("q", &[]);
    world.call("SendMessage", json!({ "QueueUrl": url("q"), "MessageBody": "x" })).await;
    let handle = world.receive("q").remove(0).receipt_handle;
    world.pass(30);
    let change = json!({ "QueueUrl": url("q"), "ReceiptHandle": handle, "VisibilityTimeout": 1 });
    let (kind, query) = world.refused("ChangeMessageVisibility", change).await;
    assert_eq!(kind, "com.amazonaws.sqs#MessageNotInflight");
    assert_eq!(query, "AWS.SimpleQueueService.MessageNotInflight;Sender");
}

#[tokio::test]
async fn attributes_are_all_or_those_named() {
    let world = World::with_queue("q.fifo", &[("ReceiveMessageWaitTimeSeconds", "3")]);
    world.pass(10);
    world.call("SetQueueAttributes", json!({ "QueueUrl": url("q.fifo"), "Attributes": { "DelaySeconds": "4" } })).await;
    let get = |names: Value| json!({ "QueueUrl": url("q.fifo"), "AttributeNames": names });
    let all = world.call("GetQueueAttributes", get(json!(["All"]))).await;
    let now = world.now() / 1000;
    let expected = json!({
        "QueueArn": queue_arn("q.fifo"),
        "ApproximateNumberOfMessages": "0",
        "ApproximateNumberOfMessagesNotVisible": "0",
        "ApproximateNumberOfMessagesDelayed": "0",
        "CreatedTimestamp": (now - 10).to_string(),
        "LastModifiedTimestamp": now.to_string(),
        "VisibilityTimeout": "30",
        "MaximumMessageSize": "262144",
        "MessageRetentionPeriod": "345600",
        "DelaySeconds": "4",
        "ReceiveMessageWaitTimeSeconds": "3",
        "FifoQueue": "true",
        "ContentBasedDeduplication": "false",
        "DeduplicationScope": "queue",
    });
    assert_eq!(all["Attributes"], expected);
    let one = world.call("GetQueueAttributes", get(json!(["DelaySeconds"]))).await;
    assert_eq!(one, json!({ "Attributes": { "DelaySeconds": "4" } }));
}

#[tokio::test]
async fn queues_are_listed_by_prefix_and_page() {
    let world = World::new();
    for name in ["a1", "a2", "a3", "b1"] {
        world.create(name, &[]);
    }
    let first = world.call("ListQueues", json!({ "QueueNamePrefix": "a", "MaxResults": 2 })).await;
    assert_eq!(first["QueueUrls"], json!([url("a1"), url("a2")]));
    let next = json!({ "QueueNamePrefix": "a", "MaxResults": 2, "NextToken": first["NextToken"] });
    assert_eq!(world.call("ListQueues", next).await, json!({ "QueueUrls": [url("a3")] }));
}

#[tokio::test]
async fn tags_come_and_go() {
    let world = World::with_queue("q", &[]);
    world.call("TagQueue", json!({ "QueueUrl": url("q"), "Tags": { "a": "1", "b": "2" } })).await;
    world.call("UntagQueue", json!({ "QueueUrl": url("q"), "TagKeys": ["a"] })).await;
    assert_eq!(world.call("ListQueueTags", json!({ "QueueUrl": url("q") })).await, json!({ "Tags": { "b": "2" } }));
}

#[tokio::test]
async fn move_tasks_show_their_progress() {
    let world = World::new();
    let (source, dead) = world.create_pair("", 1);
    let sources = world.call("ListDeadLetterSourceQueues", json!({ "QueueUrl": url(&dead) })).await;
    assert_eq!(sources, json!({ "queueUrls": [url(&source)] }));
    let start = json!({ "SourceArn": queue_arn(&dead), "MaxNumberOfMessagesPerSecond": 10 });
    let started = world.call("StartMessageMoveTask", start).await;
    let expected = json!({
        "TaskHandle": started["TaskHandle"], "Status": "RUNNING", "SourceArn": queue_arn(&dead),
        "MaxNumberOfMessagesPerSecond": 10, "ApproximateNumberOfMessagesMoved": 0,
        "ApproximateNumberOfMessagesToMove": 0, "StartedTimestamp": world.now(),
    });
    let list = || world.call("ListMessageMoveTasks", json!({ "SourceArn": queue_arn(&dead) }));
    assert_eq!(list().await["Results"], json!([expected]));
    let cancelled = world.call("CancelMessageMoveTask", json!({ "TaskHandle": started["TaskHandle"] })).await;
    assert_eq!(cancelled, json!({ "ApproximateNumberOfMessagesMoved": 0 }));
    assert_eq!(list().await["Results"][0]["Status"], "CANCELLED");
    world.call("PurgeQueue", json!({ "QueueUrl": url(&dead) })).await;
}

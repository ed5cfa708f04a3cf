//! The AWS JSON 1.0 protocol: one POST per call, the action in `X-Amz-Target`, errors named in the body for new SDKs
//! and in `x-amzn-query-error` for code written against the older query protocol.

use crate::engine::Queue;
use crate::new_id;
use crate::{
    Error, MAX_BATCH, Message, MessageAttributes, MoveTask, NewMessage, QueueCounts, Result, Sent, Sqs, TextMap,
    md5_of_attributes, md5_of_body, queue_name, queue_url,
};
use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::error::Error as _;
use std::time::Duration;

/// Bytes that one SendMessageBatch may hold.
const MAX_BATCH_BYTES: usize = 1_048_576;

impl Sqs {
    /// Returns one request of the AWS JSON 1.0 protocol.
    ///
    /// `target` is its `X-Amz-Target` header, such as `AmazonSQS.SendMessage`; queue URLs in the response start with
    /// `base_url`. Signatures are not checked. Every failure is a response too.
    pub async fn handle(&self, target: &str, body: &[u8], base_url: &str) -> Response<Bytes> {
        let action = target.strip_prefix("AmazonSQS.").unwrap_or(target);
        match self.dispatch(action, body, base_url).await {
            Ok(answer) => respond(StatusCode::OK, &answer, None),
            Err(error) => refuse(&error),
        }
    }

    async fn dispatch(&self, action: &str, body: &[u8], base_url: &str) -> Result<Value> {
        let mut request = Request(serde_json::from_slice(body).map_err(Error::Serialization)?);
        let request = &mut request;
        match action {
            "CreateQueue" => self.create(request, base_url),
            "DeleteQueue" => self.delete_queue(&request.queue()?).map(nothing),
            "PurgeQueue" => self.purge_queue(&request.queue()?).map(nothing),
            "ListQueues" => self.list(request, base_url),
            "ListDeadLetterSourceQueues" => self.list_sources(request, base_url),
            "GetQueueUrl" => {
                let name: String = request.required("QueueName")?;
                self.attributes(&name)?;
                Ok(json!({ "QueueUrl": queue_url(base_url, &name) }))
            }
            "GetQueueAttributes" => self.get_attributes(request),
            "SetQueueAttributes" => {
                let changes = request.required("Attributes")?;
                self.set_attributes(&request.queue()?, &changes).map(nothing)
            }
            "TagQueue" => {
                let new: TextMap = request.required("Tags")?;
                self.edit_tags(request, |tags| tags.extend(new))
            }
            "UntagQueue" => {
                let keys: Vec<String> = request.required("TagKeys")?;
                self.edit_tags(request, |tags| tags.retain(|key, _| !keys.contains(key)))
            }
            "ListQueueTags" => {
                let queue = request.queue()?;
                self.0.call(|engine, _| Ok(json!({ "Tags": engine.queue(&queue)?.tags })))
            }
            "SendMessage" => self.send_message(request),
            "SendMessageBatch" => self.send_messages(request),
            "ReceiveMessage" => self.receive_messages(request).await,
            "DeleteMessage" => {
                let handle: String = request.required("ReceiptHandle")?;
                self.delete(&request.queue()?, &handle).map(nothing)
            }
            "DeleteMessageBatch" => {
                let queue = request.queue()?;
                let entries = request.entries(|entry| entry.required::<String>("ReceiptHandle"))?;
                let handles: Vec<&str> = entries.iter().map(|(_, handle)| handle.as_str()).collect();
                Ok(batch_answer(&entries, self.delete_batch(&queue, &handles)?, |(), _| json!({})))
            }
            "ChangeMessageVisibility" => {
                let (handle, visibility_s) = request.visibility_change()?;
                self.change_visibility(&request.queue()?, &handle, visibility_s).map(nothing)
            }
            "ChangeMessageVisibilityBatch" => {
                let queue = request.queue()?;
                let entries = request.entries(Request::visibility_change)?;
                let changes: Vec<(&str, u32)> =
                    entries.iter().map(|(_, (handle, visibility_s))| (handle.as_str(), *visibility_s)).collect();
                Ok(batch_answer(&entries, self.change_visibility_batch(&queue, &changes)?, |(), _| json!({})))
            }
            "StartMessageMoveTask" => {
                let source: String = request.required("SourceArn")?;
                let destination: Option<String> = request.optional("DestinationArn")?;
                let rate = request.optional("MaxNumberOfMessagesPerSecond")?;
                let handle = self.start_move_task(&source, destination.as_deref(), rate)?;
                Ok(json!({ "TaskHandle": handle }))
            }
            "ListMessageMoveTasks" => {
                let source: String = request.required("SourceArn")?;
                let limit = request.within("MaxResults", 1, MAX_BATCH as u32)?.unwrap_or(1);
                let tasks = self.move_tasks(&source, limit as usize)?;
                Ok(json!({ "Results": tasks.iter().map(show_task).collect::<Vec<_>>() }))
            }
            "CancelMessageMoveTask" => {
                let handle: String = request.required("TaskHandle")?;
                Ok(json!({ "ApproximateNumberOfMessagesMoved": self.cancel_move_task(&handle)? }))
            }
            other => Err(Error::InvalidAction(other.to_owned())),
        }
    }

    fn create(&self, request: &mut Request, base_url: &str) -> Result<Value> {
        let name: String = request.required("QueueName")?;
        let attributes: TextMap = request.optional("Attributes")?.unwrap_or_default();
        let tags: TextMap = request.optional("tags")?.unwrap_or_default();
        self.create_queue(&name, &attributes, tags)?;
        Ok(json!({ "QueueUrl": queue_url(base_url, &name) }))
    }

    fn list(&self, request: &mut Request, base_url: &str) -> Result<Value> {
        let prefix: String = request.optional("QueueNamePrefix")?.unwrap_or_default();
        let mut names = self.queues()?;
        names.retain(|name| name.starts_with(&prefix));
        page(request, "QueueUrls", names, base_url)
    }

    fn list_sources(&self, request: &mut Request, base_url: &str) -> Result<Value> {
        let target = request.queue()?;
        let names = self.0.call(|engine, _| {
            let target = engine.queue(&target)?;
            Ok(engine.dead_letter_sources(&target).map(|queue| queue.name.clone()).collect())
        })?;
        page(request, "queueUrls", names, base_url)
    }

    fn get_attributes(&self, request: &mut Request) -> Result<Value> {
        let queue = request.queue()?;
        let wanted: Vec<String> = request.optional("AttributeNames")?.unwrap_or_default();
        let (queue, counts) = self.0.call(|engine, now| {
            let queue = engine.queue(&queue)?;
            let counts = engine.counts(&queue, now)?;
            Ok((queue, counts))
        })?;
        let mut shown = all_attributes(&queue, &counts);
        if !wanted.iter().any(|name| name == "All") {
            shown.retain(|name, _| wanted.contains(name));
        }
        Ok(json!({ "Attributes": shown }))
    }

    fn edit_tags(&self, request: &mut Request, edit: impl FnOnce(&mut TextMap)) -> Result<Value> {
        let queue = request.queue()?;
        self.0.call(|engine, _| {
            let mut tags = engine.queue(&queue)?.tags.clone();
            edit(&mut tags);
            engine.set_tags(&queue, tags).map(nothing)
        })
    }

    fn send_message(&self, request: &mut Request) -> Result<Value> {
        let queue = request.queue()?;
        let outgoing = request.outgoing()?;
        let sent = self.send_batch(&queue, std::slice::from_ref(&outgoing.message))?;
        Ok(show_sent(crate::only(sent)?, &outgoing))
    }

    fn send_messages(&self, request: &mut Request) -> Result<Value> {
        let queue = request.queue()?;
        let entries = request.entries(Request::outgoing)?;
        let sent = entries.iter().map(|(_, outgoing)| outgoing.message.size()).sum();
        if sent > MAX_BATCH_BYTES {
            return Err(Error::BatchRequestTooLong { limit: MAX_BATCH_BYTES, sent });
        }
        let messages: Vec<NewMessage> = entries.iter().map(|(_, outgoing)| outgoing.message.clone()).collect();
        Ok(batch_answer(&entries, self.send_batch(&queue, &messages)?, show_sent))
    }

    async fn receive_messages(&self, request: &mut Request) -> Result<Value> {
        let queue = request.queue()?;
        let max = request.within("MaxNumberOfMessages", 1, MAX_BATCH as u32)?.unwrap_or(1);
        let visibility_s = request.within("VisibilityTimeout", 0, 43_200)?;
        let wait_s = match request.within("WaitTimeSeconds", 0, 20)? {
            Some(wait_s) => wait_s,
            None => self.attributes(&queue)?.receive_wait_s,
        };
        // The first is the older name of the second.
        let mut system: Vec<String> = request.optional("AttributeNames")?.unwrap_or_default();
        system.extend(request.optional::<Vec<String>>("MessageSystemAttributeNames")?.unwrap_or_default());
        let own: Vec<String> = request.optional("MessageAttributeNames")?.unwrap_or_default();
        let wait = Duration::from_secs(wait_s.into());
        let messages = self.receive_wait(&queue, max as usize, visibility_s, wait).await?;
        // Without messages the member is left out, as the service does.
        let shown: Vec<Value> = messages.into_iter().map(|message| show_message(message, &system, &own)).collect();
        Ok(if shown.is_empty() { json!({}) } else { json!({ "Messages": shown }) })
    }
}

/// The members of a request, or of one entry of a batch, taken out one by one.
struct Request(Map<String, Value>);

/// A message to send, as in the API.
struct Outgoing {
    message: NewMessage,
    system: MessageAttributes,
}

impl Request {
    fn optional<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<Option<T>> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value)
                .map(Some)
                .map_err(|error| Error::InvalidParameterValue(format!("Invalid value for parameter {name}: {error}"))),
        }
    }

    fn required<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<T> {
        self.optional(name)?.ok_or(Error::MissingParameter(name))
    }

    fn within(&mut self, name: &'static str, least: u32, most: u32) -> Result<Option<u32>> {
        let Some(number) = self.optional::<i64>(name)? else { return Ok(None) };
        match u32::try_from(number) {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => {
                let reason = format!("Must be between {least} and {most}, if provided.");
                Err(Error::parameter(name, number, &reason))
            }
        }
    }

    /// Name of the queue it is for.
    fn queue(&mut self) -> Result<String> {
        Ok(queue_name(&self.required::<String>("QueueUrl")?).to_owned())
    }

    fn outgoing(&mut self) -> Result<Outgoing> {
        let system: MessageAttributes = self.optional("MessageSystemAttributes")?.unwrap_or_default();
        let message = NewMessage {
            body: self.required("MessageBody")?,
            delay_s: self.within("DelaySeconds", 0, 900)?,
            attributes: self.optional("MessageAttributes")?.unwrap_or_default(),
            trace_header: system.get("AWSTraceHeader").and_then(|header| header.string_value.clone()),
            group_id: self.optional("MessageGroupId")?,
            deduplication_id: self.optional("MessageDeduplicationId")?,
        };
        Ok(Outgoing { message, system })
    }

    fn visibility_change(&mut self) -> Result<(String, u32)> {
        let visibility_s = self.within("VisibilityTimeout", 0, 43_200)?;
        let visibility_s = visibility_s.ok_or(Error::MissingParameter("VisibilityTimeout"))?;
        Ok((self.required("ReceiptHandle")?, visibility_s))
    }

    /// The entries of a batch with their ids; `read` reads one.
    fn entries<T>(&mut self, read: impl Fn(&mut Request) -> Result<T>) -> Result<Vec<(String, T)>> {
        let entries: Vec<Map<String, Value>> = self.required("Entries")?;
        match entries.len() {
            0 => return Err(Error::EmptyBatchRequest),
            1..=MAX_BATCH => {}
            more => return Err(Error::TooManyEntriesInBatchRequest(more)),
        }
        let mut ids = BTreeSet::new();
        let mut entry = |members| {
            let mut entry = Request(members);
            let id: String = entry.required("Id")?;
            let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if !(1..=80).contains(&id.len()) || !id.chars().all(legal) {
                return Err(Error::InvalidBatchEntryId);
            }
            if !ids.insert(id.clone()) {
                return Err(Error::BatchEntryIdsNotDistinct(id));
            }
            Ok((id, read(&mut entry)?))
        };
        entries.into_iter().map(&mut entry).collect()
    }
}

fn nothing((): ()) -> Value {
    json!({})
}

fn respond(status: StatusCode, body: &Value, query_error: Option<&str>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-amz-json-1.0"));
    let mut set = |name: &'static str, value: &str| {
        header::HeaderValue::from_str(value).map(|value| headers.insert(name, value)).ok();
    };
    set("x-amzn-requestid", &new_id());
    if let Some(error) = query_error {
        set("x-amzn-query-error", error);
    }
    response
}

fn refuse(error: &Error) -> Response<Bytes> {
    let (status, side) = match error.is_callers_fault() {
        true => (StatusCode::BAD_REQUEST, "Sender"),
        false => (StatusCode::INTERNAL_SERVER_ERROR, "Receiver"),
    };
    // The caller is a developer on this machine, who may see the cause.
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    let body = json!({ "__type": error.shape(), "message": format!("{error}{cause}") });
    respond(status, &body, Some(&format!("{};{side}", error.code())))
}

/// Splits a batch's outcomes into `Successful` and `Failed`, each with its entry's id.
fn batch_answer<E, T>(entries: &[(String, E)], outcomes: Vec<Result<T>>, show: impl Fn(T, &E) -> Value) -> Value {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for ((id, entry), outcome) in entries.iter().zip(outcomes) {
        match outcome {
            Ok(outcome) => {
                let mut shown = show(outcome, entry);
                shown["Id"] = json!(id);
                successful.push(shown);
            }
            Err(error) => failed.push(json!({
                "Id": id, "SenderFault": error.is_callers_fault(), "Code": error.code(), "Message": error.to_string(),
            })),
        }
    }
    if failed.is_empty() {
        json!({ "Successful": successful })
    } else {
        json!({ "Successful": successful, "Failed": failed })
    }
}

/// One page of queue URLs; the token is the last name of the page before.
fn page(request: &mut Request, member: &str, mut names: Vec<String>, base_url: &str) -> Result<Value> {
    let most = request.within("MaxResults", 1, 1000)?.map_or(1000, |most| most as usize);
    if let Some(last) = request.optional::<String>("NextToken")? {
        names.retain(|name| *name > last);
    }
    let token = names.get(most - 1).filter(|_| names.len() > most).cloned();
    let urls: Vec<String> = names.iter().take(most).map(|name| queue_url(base_url, name)).collect();
    Ok(without_nulls(json!({ member: urls, "NextToken": token })))
}

fn all_attributes(queue: &Queue, counts: &QueueCounts) -> TextMap {
    let mut shown = queue.attributes.to_map();
    shown.extend([
        ("QueueArn".to_owned(), queue.arn()),
        ("CreatedTimestamp".to_owned(), (queue.created_ms / 1000).to_string()),
        ("LastModifiedTimestamp".to_owned(), (queue.modified_ms / 1000).to_string()),
        ("ApproximateNumberOfMessages".to_owned(), counts.visible.to_string()),
        ("ApproximateNumberOfMessagesNotVisible".to_owned(), counts.in_flight.to_string()),
        ("ApproximateNumberOfMessagesDelayed".to_owned(), counts.delayed.to_string()),
    ]);
    shown
}

fn show_sent(sent: Sent, outgoing: &Outgoing) -> Value {
    without_nulls(json!({
        "MessageId": sent.message_id,
        "SequenceNumber": sent.sequence_number,
        "MD5OfMessageBody": md5_of_body(&outgoing.message.body),
        "MD5OfMessageAttributes": md5_of_attributes(&outgoing.message.attributes),
        "MD5OfMessageSystemAttributes": md5_of_attributes(&outgoing.system),
    }))
}

fn show_message(message: Message, system: &[String], own: &[String]) -> Value {
    let mut shown = message.system_attributes();
    shown.retain(|name, _| system.iter().any(|wanted| wanted == "All" || wanted == name));
    let mut attributes = message.attributes;
    attributes.retain(|name, _| own.iter().any(|wanted| selects(wanted, name)));
    without_nulls(json!({
        "MessageId": message.id,
        "ReceiptHandle": message.receipt_handle,
        "MD5OfBody": md5_of_body(&message.body),
        "Body": message.body,
        "Attributes": (!shown.is_empty()).then_some(shown),
        "MD5OfMessageAttributes": md5_of_attributes(&attributes),
        "MessageAttributes": (!attributes.is_empty()).then_some(attributes),
    }))
}

/// Whether `wanted`, of `MessageAttributeNames`, selects the attribute `name`: all, a prefix, or one.
fn selects(wanted: &str, name: &str) -> bool {
    wanted == "All" || wanted.strip_suffix(".*").map_or(wanted == name, |prefix| name.starts_with(prefix))
}

fn show_task(task: &MoveTask) -> Value {
    without_nulls(json!({
        "TaskHandle": (task.status == "RUNNING").then_some(&task.handle), // of no use to anyone later
        "Status": task.status,
        "SourceArn": task.source_arn,
        "DestinationArn": task.destination_arn,
        "MaxNumberOfMessagesPerSecond": task.max_per_second,
        "ApproximateNumberOfMessagesMoved": task.moved,
        "ApproximateNumberOfMessagesToMove": task.to_move,
        "FailureReason": task.failure,
        "StartedTimestamp": task.started_ms,
    }))
}

fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(members) = &mut value {
        members.retain(|_, member| !member.is_null());
    }
    value
}

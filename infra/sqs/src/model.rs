//! Messages, their attributes, and the attributes of queues.

use crate::{ACCOUNT, Error, Result, queue_name};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Attributes of a queue, or tags, as the API takes them: text to text.
pub type TextMap = BTreeMap<String, String>;

/// A message's own attributes, by name.
pub type MessageAttributes = BTreeMap<String, MessageAttribute>;

/// One typed attribute of a message; the serialised form is the API's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MessageAttribute {
    /// `String`, `Number` or `Binary`, with an optional `.label` of the sender's.
    pub data_type: String,
    /// The value, of `String` and `Number`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    /// The value, of `Binary`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "base64_text")]
    pub binary_value: Option<Vec<u8>>,
}

impl MessageAttribute {
    /// The value's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        match (&self.string_value, &self.binary_value) {
            (Some(text), _) => text.as_bytes(),
            (None, Some(bytes)) => bytes,
            (None, None) => &[],
        }
    }

    fn check(&self, name: &str) -> Result<()> {
        let holds_one = match self.data_type.split('.').next() {
            Some("String") => self.string_value.as_ref().is_some_and(|text| !text.is_empty()),
            Some("Number") => self.string_value.as_ref().is_some_and(|text| text.parse::<f64>().is_ok()),
            Some("Binary") => self.binary_value.as_ref().is_some_and(|bytes| !bytes.is_empty()),
            _ => {
                return Err(Error::InvalidParameterValue(format!(
                    "The message attribute '{name}' has an invalid message attribute type, the set of supported type \
                     prefixes is Binary, Number, and String."
                )));
            }
        };
        holds_one.then_some(()).ok_or_else(|| {
            Error::InvalidParameterValue(format!(
                "The message attribute '{name}' must contain a non-empty value of type {}.",
                self.data_type
            ))
        })
    }
}

mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes.as_deref().unwrap_or_default()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| STANDARD.decode(text).map_err(D::Error::custom)).transpose()
    }
}

/// A message to send.
#[derive(Clone, Debug, Default)]
pub struct NewMessage {
    /// Any text of at least one character that XML 1.0 can carry.
    pub body: String,
    /// Seconds until it can be received, instead of the queue's own; not on FIFO queues.
    pub delay_s: Option<u32>,
    /// Attributes, at most ten.
    pub attributes: MessageAttributes,
    /// `AWSTraceHeader`.
    pub trace_header: Option<String>,
    /// `MessageGroupId`; required on FIFO queues.
    pub group_id: Option<String>,
    /// `MessageDeduplicationId`; FIFO queues only.
    pub deduplication_id: Option<String>,
}

impl NewMessage {
    /// A message with a body only.
    pub fn new(body: impl Into<String>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// What counts toward `MaximumMessageSize`: the body, and names, types and values of the attributes.
    pub(crate) fn size(&self) -> usize {
        let attribute =
            |(name, value): (&String, &MessageAttribute)| name.len() + value.data_type.len() + value.bytes().len();
        self.body.len() + self.attributes.iter().map(attribute).sum::<usize>()
    }

    pub(crate) fn check(&self, queue: &QueueAttributes) -> Result<()> {
        const WRONG_TYPE: &str = "The request include parameter that is not valid for this queue type";
        if self.body.is_empty() {
            return Err(Error::MissingParameter("MessageBody"));
        }
        let allowed =
            |c: char| !matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}');
        if !self.body.chars().all(allowed) {
            return Err(Error::InvalidMessageContents);
        }
        if self.size() > queue.maximum_message_bytes as usize {
            return Err(Error::InvalidParameterValue(format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {} bytes.",
                queue.maximum_message_bytes
            )));
        }
        if self.attributes.len() > 10 {
            let count = self.attributes.len();
            return Err(Error::InvalidParameterValue(format!(
                "Number of message attributes [{count}] exceeds the allowed maximum [10]."
            )));
        }
        self.attributes.iter().try_for_each(|(name, attribute)| attribute.check(name))?;
        for (name, value) in [("MessageGroupId", &self.group_id), ("MessageDeduplicationId", &self.deduplication_id)] {
            if value.as_ref().is_some_and(|id| !is_fifo_id(id)) {
                let reason =
                    format!("{name} can only include alphanumeric and punctuation characters. 1 to 128 in length.");
                return Err(Error::parameter(name, value.as_deref().unwrap_or_default(), &reason));
            }
        }
        match (queue.fifo, self) {
            (true, Self { delay_s: Some(delay), .. }) if *delay > 0 => {
                Err(Error::parameter("DelaySeconds", delay, WRONG_TYPE))
            }
            (true, Self { group_id: None, .. }) => Err(Error::MissingParameter("MessageGroupId")),
            (true, Self { deduplication_id: None, .. }) if !queue.content_based_deduplication => {
                Err(Error::InvalidParameterValue(
                    "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId \
                     provided explicitly"
                        .to_owned(),
                ))
            }
            (false, Self { deduplication_id: Some(id), .. }) => {
                Err(Error::parameter("MessageDeduplicationId", id, WRONG_TYPE))
            }
            (false, Self { delay_s: Some(delay @ 901..), .. }) => {
                Err(Error::parameter("DelaySeconds", delay, "DelaySeconds must be >= 0 and <= 900."))
            }
            _ => Ok(()),
        }
    }
}

fn is_fifo_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The result of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The message's id; of a duplicate, the first one's.
    pub message_id: String,
    /// Its place in a FIFO queue; of a duplicate, the first one's.
    pub sequence_number: Option<String>,
}

/// A message as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Given by the queue, the same on every receive.
    pub id: String,
    /// The receipt handle of this receive.
    pub receipt_handle: String,
    /// As sent.
    pub body: String,
    /// As sent.
    pub attributes: MessageAttributes,
    /// Epoch milliseconds.
    pub sent_ms: i64,
    /// Epoch milliseconds.
    pub first_received_ms: i64,
    /// Receives so far, this one and those in queues it was dead-lettered from included.
    pub receive_count: u32,
    /// FIFO queues only.
    pub sequence_number: Option<String>,
    /// As sent.
    pub group_id: Option<String>,
    /// As sent, or the body's SHA-256 under content-based deduplication.
    pub deduplication_id: Option<String>,
    /// `AWSTraceHeader`, as sent.
    pub trace_header: Option<String>,
    /// ARN of the queue this message was dead-lettered from.
    pub dead_letter_source: Option<String>,
}

impl Message {
    /// The system attributes by their API names, as ReceiveMessage and Lambda events show them.
    pub fn system_attributes(&self) -> BTreeMap<&'static str, String> {
        let always = [
            ("SenderId", ACCOUNT.to_owned()),
            ("SentTimestamp", self.sent_ms.to_string()),
            ("ApproximateReceiveCount", self.receive_count.to_string()),
            ("ApproximateFirstReceiveTimestamp", self.first_received_ms.to_string()),
        ];
        let sometimes = [
            ("SequenceNumber", &self.sequence_number),
            ("MessageGroupId", &self.group_id),
            ("MessageDeduplicationId", &self.deduplication_id),
            ("AWSTraceHeader", &self.trace_header),
            ("DeadLetterQueueSourceArn", &self.dead_letter_source),
        ];
        let present = sometimes.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        always.into_iter().chain(present).collect()
    }
}

/// How many messages a queue holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// `ApproximateNumberOfMessages`: neither delayed nor in flight.
    pub visible: u64,
    /// `ApproximateNumberOfMessagesNotVisible`: received, and neither deleted nor timed out.
    pub in_flight: u64,
    /// `ApproximateNumberOfMessagesDelayed`: never received, delay not over.
    pub delayed: u64,
}

/// The redrive policy: where messages go that were received too often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedrivePolicy {
    /// ARN of the dead-letter queue.
    pub dead_letter_target_arn: String,
    /// Receives after which a message is moved instead of handed out again.
    pub max_receive_count: u32,
}

impl RedrivePolicy {
    /// Parses the attribute's JSON; `maxReceiveCount` may be a number or a string.
    fn parse(text: &str) -> Option<Self> {
        let policy: Value = serde_json::from_str(text).ok()?;
        let count = &policy["maxReceiveCount"];
        let max_receive_count = count.as_u64().or_else(|| count.as_str()?.parse().ok())?;
        Some(Self {
            dead_letter_target_arn: policy["deadLetterTargetArn"].as_str()?.to_owned(),
            max_receive_count: u32::try_from(max_receive_count).ok().filter(|count| (1..=1000).contains(count))?,
        })
    }

    /// Name of the dead-letter queue.
    pub(crate) fn target(&self) -> &str {
        queue_name(&self.dead_letter_target_arn)
    }
}

/// A queue's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueAttributes {
    /// Whether it is a FIFO queue; its name then ends in `.fifo`.
    pub fifo: bool,
    /// Seconds a new message waits before it can be received.
    pub delay_s: u32,
    /// Seconds a received message stays hidden.
    pub visibility_timeout_s: u32,
    /// Seconds a message is kept.
    pub retention_s: u32,
    /// Bytes a message may have, attributes included.
    pub maximum_message_bytes: u32,
    /// Seconds that ReceiveMessage waits by default.
    pub receive_wait_s: u32,
    /// The redrive policy: where messages go that were received too often.
    pub redrive: Option<RedrivePolicy>,
    /// Whether a FIFO message without a deduplication id gets its body's SHA-256.
    pub content_based_deduplication: bool,
    /// Whether deduplication looks at each group by itself (`DeduplicationScope`).
    pub deduplicate_per_group: bool,
    /// Stored and returned, without effect here: `Policy`, `KmsMasterKeyId`, `RedriveAllowPolicy` and the like.
    pub inert: TextMap,
}

const INERT: [&str; 6] = [
    "FifoThroughputLimit",
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "Policy",
    "RedriveAllowPolicy",
    "SqsManagedSseEnabled",
];

impl QueueAttributes {
    /// The default attributes.
    pub fn new(fifo: bool) -> Self {
        Self {
            fifo,
            delay_s: 0,
            visibility_timeout_s: 30,
            retention_s: 4 * 24 * 3600,
            maximum_message_bytes: 256 * 1024,
            receive_wait_s: 0,
            redrive: None,
            content_based_deduplication: false,
            deduplicate_per_group: false,
            inert: TextMap::new(),
        }
    }

    /// These attributes with `changes` made.
    ///
    /// # Errors
    /// [`Error::InvalidAttributeName`] and [`Error::InvalidAttributeValue`].
    pub fn with(&self, changes: &TextMap) -> Result<Self> {
        let mut next = self.clone();
        changes.iter().try_for_each(|(name, value)| next.set(name, value))?;
        Ok(next)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let invalid = || Error::InvalidAttributeValue(name.to_owned());
        let number =
            |range: RangeInclusive<u32>| value.parse().ok().filter(|number| range.contains(number)).ok_or_else(invalid);
        let flag = || value.to_ascii_lowercase().parse::<bool>().map_err(|_| invalid());
        match name {
            "DelaySeconds" => self.delay_s = number(0..=900)?,
            "VisibilityTimeout" => self.visibility_timeout_s = number(0..=43_200)?,
            "MessageRetentionPeriod" => self.retention_s = number(60..=1_209_600)?,
            "MaximumMessageSize" => self.maximum_message_bytes = number(1024..=1_048_576)?,
            "ReceiveMessageWaitTimeSeconds" => self.receive_wait_s = number(0..=20)?,
            "RedrivePolicy" if value.is_empty() => self.redrive = None,
            "RedrivePolicy" => self.redrive = Some(RedrivePolicy::parse(value).ok_or_else(invalid)?),
            "FifoQueue" => (flag()? == self.fifo).then_some(()).ok_or_else(invalid)?,
            "ContentBasedDeduplication" if self.fifo => self.content_based_deduplication = flag()?,
            "DeduplicationScope" if self.fifo => {
                self.deduplicate_per_group = match value {
                    "messageGroup" => true,
                    "queue" => false,
                    _ => return Err(invalid()),
                }
            }
            "FifoThroughputLimit" if !self.fifo => return Err(Error::InvalidAttributeName(name.to_owned())),
            _ if INERT.contains(&name) && value.is_empty() => drop(self.inert.remove(name)),
            _ if INERT.contains(&name) => drop(self.inert.insert(name.to_owned(), value.to_owned())),
            _ => return Err(Error::InvalidAttributeName(name.to_owned())),
        }
        Ok(())
    }

    /// The attributes as the API shows them.
    pub fn to_map(&self) -> TextMap {
        let mut map = self.inert.clone();
        let mut set = |name: &str, value: String| map.insert(name.to_owned(), value);
        set("DelaySeconds", self.delay_s.to_string());
        set("VisibilityTimeout", self.visibility_timeout_s.to_string());
        set("MessageRetentionPeriod", self.retention_s.to_string());
        set("MaximumMessageSize", self.maximum_message_bytes.to_string());
        set("ReceiveMessageWaitTimeSeconds", self.receive_wait_s.to_string());
        if let Some(RedrivePolicy { dead_letter_target_arn, max_receive_count }) = &self.redrive {
            let policy = json!({ "deadLetterTargetArn": dead_letter_target_arn, "maxReceiveCount": max_receive_count });
            set("RedrivePolicy", policy.to_string());
        }
        if self.fifo {
            set("FifoQueue", "true".to_owned());
            set("ContentBasedDeduplication", self.content_based_deduplication.to_string());
            set("DeduplicationScope", if self.deduplicate_per_group { "messageGroup" } else { "queue" }.to_owned());
        }
        map
    }
}

/// A StartMessageMoveTask and its progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveTask {
    /// Names the task.
    pub handle: String,
    /// ARN of the dead-letter queue it empties.
    pub source_arn: String,
    /// ARN of the queue it fills; without, each message goes back where it came from.
    pub destination_arn: Option<String>,
    /// Messages per second at most.
    pub max_per_second: Option<u32>,
    /// `RUNNING`, `COMPLETED`, `CANCELLED` or `FAILED`.
    pub status: String,
    /// Why it failed.
    pub failure: Option<String>,
    /// Messages moved so far.
    pub moved: u64,
    /// Messages there were to move when it started.
    pub to_move: u64,
    /// Epoch milliseconds.
    pub started_ms: i64,
}

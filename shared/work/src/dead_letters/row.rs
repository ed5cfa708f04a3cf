//! The row of a dead letter.
//!
//! | Row | `pk` | `sk` | Lives |
//! |---|---|---|---|
//! | dead letter | `X#<tenant>`, `X#-` when the message names none | `<id>` | 90 days |

use crate::listing;
use crate::outbox::Due;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_core::{ActorId, Timestamp, hex_sha256, shard_of, uuid_of};
use switchyard_io::dlq::DeadMessage;
use switchyard_io::dynamo::{Changes, Item, Key};

const TTL: Duration = Duration::from_secs(90 * 86_400);

/// Partitions of the index `listed` that the dead letters of each state are spread over.
const LIST_SHARDS: u32 = 4;

/// Longest body that is kept whole, in bytes: a row holds 400 KB. Messages of the workflows have some hundred.
const MAX_BODY: usize = 300_000;

/// What stands for the tenant of a dead letter that names none.
const NO_TENANT: &str = "-";

/// What begins the partition of every dead letter.
const PREFIX: &str = "X#";

/// A message that failed, or a notification that was given up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    pk: String,
    sk: String,
    /// UUID v7 of the time when the message was sent first.
    pub id: String,
    /// The queue that the message came from, such as `adt`.
    pub queue: String,
    /// The group of a FIFO queue's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The tenant that the message names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The event that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// The delivery that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_id: Option<String>,
    /// Whether it is a notification that was given up, not a message that failed.
    pub is_given_up: bool,
    /// The message's body, cut at 300,000 bytes.
    pub body: String,
    /// Set when the body was cut: it cannot be redriven then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    is_cut: Option<bool>,
    /// Why it failed.
    pub error_code: String,
    /// Why it failed, for people.
    pub error_message: String,
    /// How often the message was received.
    pub receives: u32,
    /// When the message was sent first.
    pub first_sent_at: Timestamp,
    /// When the row was written.
    pub archived_at: Timestamp,
    /// When it was redriven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redriven_at: Option<Timestamp>,
    /// Who redrove it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redriven_by: Option<String>,
    expires_at: i64,
    by_id_pk: String,
    listed_pk: String,
    listed_sk: String,
    /// While its message is still to be sent again.
    #[serde(flatten)]
    due: Option<Due>,
}

/// What a message says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The tenant.
    pub tenant: Option<String>,
    /// The event.
    pub event_id: Option<String>,
    /// The delivery.
    pub delivery_id: Option<String>,
}

/// A dead letter to write.
#[derive(Clone, Debug)]
pub struct NewDeadLetter<'a> {
    /// UUID v7; the same for the same message, so that it is archived once.
    pub id: String,
    /// The queue's name.
    pub queue: &'a str,
    /// The group of a FIFO queue's message.
    pub group: Option<&'a str>,
    /// What the message says of itself.
    pub subject: Subject,
    /// Whether it is a notification that was given up.
    pub is_given_up: bool,
    /// The message's body.
    pub body: &'a str,
    /// Why it failed.
    pub error_code: &'a str,
    /// Why it failed, for people.
    pub error_message: &'a str,
    /// How often the message was received.
    pub receives: u32,
    /// When the message was sent first.
    pub first_sent_at: Timestamp,
}

impl<'a> NewDeadLetter<'a> {
    /// A message of a dead-letter queue.
    pub fn of_message(queue: &'a str, message: &'a DeadMessage, subject: Subject) -> Self {
        let sent = Timestamp::from_millisecond(message.sent_ms).unwrap_or_default();
        Self {
            id: uuid_of(sent, &message.id).to_string(),
            queue,
            group: message.group.as_deref(),
            subject,
            is_given_up: false,
            body: &message.body,
            error_code: "receives_exhausted",
            error_message: "the message was received too often without an end",
            receives: message.receives,
            first_sent_at: sent,
        }
    }
}

impl DeadLetter {
    /// The row, archived `now`.
    pub fn new(new: NewDeadLetter<'_>, now: Timestamp) -> Self {
        let Key { pk, sk } = key(new.subject.tenant.as_deref(), &new.id);
        Self {
            pk,
            sk,
            queue: new.queue.to_owned(),
            group: new.group.map(str::to_owned),
            tenant: new.subject.tenant,
            event_id: new.subject.event_id,
            delivery_id: new.subject.delivery_id,
            is_given_up: new.is_given_up,
            body: new.body[..new.body.floor_char_boundary(MAX_BODY)].to_owned(),
            is_cut: (new.body.len() > MAX_BODY).then_some(true),
            error_code: new.error_code.to_owned(),
            error_message: new.error_message.to_owned(),
            receives: new.receives,
            first_sent_at: new.first_sent_at,
            archived_at: now,
            redriven_at: None,
            redriven_by: None,
            expires_at: (now + TTL).as_second(),
            by_id_pk: new.id.clone(),
            listed_pk: list_partition(if new.is_given_up { GIVEN_UP } else { OPEN }, shard(&new.id)),
            listed_sk: listing::place(now, &new.id),
            id: new.id,
            due: None,
        }
    }

    /// The row's key.
    pub fn key(&self) -> Key {
        Key { pk: self.pk.clone(), sk: self.sk.clone() }
    }

    /// The row's place in the list of `scope`.
    pub fn place(&self, scope: Scope<'_>) -> String {
        match scope {
            Scope::Tenant(_) => self.id.clone(),
            Scope::All => self.listed_sk.clone(),
        }
    }
}

/// Marks the dead letter with an id as redriven, which happens once.
pub fn redriven(id: &str, actor: &ActorId, now: Timestamp) -> Changes {
    Changes::new()
        .set("redriven_at", now.to_string())
        .set("redriven_by", actor.as_str())
        .set("listed_pk", list_partition(CLOSED, shard(id)))
        .only_if("attribute_exists(#pk) AND attribute_not_exists(#redriven_at) AND attribute_not_exists(#is_cut)", [])
}

/// Whether a key is that of a dead letter.
pub fn is_dead_letter(key: &Key) -> bool {
    key.pk.starts_with(PREFIX)
}

/// The partition of a tenant's dead letters, or of those that name no tenant.
pub fn partition(tenant: Option<&str>) -> String {
    format!("{PREFIX}{}", tenant.unwrap_or(NO_TENANT))
}

/// The key of a dead letter.
pub fn key(tenant: Option<&str>, id: &str) -> Key {
    Key { pk: partition(tenant), sk: id.to_owned() }
}

/// States of dead letters in the index `listed`, so that open messages are counted without reading the others.
const OPEN: &str = "open";
const GIVEN_UP: &str = "given_up";
const CLOSED: &str = "closed";

/// The partitions of the index `listed` with the dead letters that a filter may fit.
pub(super) fn list_partitions(filter: &Filter) -> Vec<String> {
    let states = [
        (OPEN, filter.is_given_up != Some(true)),
        (GIVEN_UP, filter.is_given_up != Some(false)),
        (CLOSED, !filter.is_open),
    ];
    let states = states.into_iter().filter(|(_, may_fit)| *may_fit);
    states.flat_map(|(state, _)| (0..LIST_SHARDS).map(move |shard| list_partition(state, shard))).collect()
}

/// The partitions of the index `listed` that the dead letter with an id may be in.
pub(super) fn list_partitions_of(id: &str) -> [String; 3] {
    [OPEN, CLOSED, GIVEN_UP].map(|state| list_partition(state, shard(id)))
}

fn shard(id: &str) -> u32 {
    shard_of(&hex_sha256(&[id]), LIST_SHARDS)
}

fn list_partition(state: &str, shard: u32) -> String {
    listing::partition(&format!("dead#{state}"), &shard.to_string())
}

/// Which dead letters are listed; all of them by default.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those of this queue.
    pub queue: Option<String>,
    /// Only those with this error code.
    pub error_code: Option<String>,
    /// Only those archived before this time.
    pub older_than: Option<Timestamp>,
    /// Only those that were not redriven.
    pub is_open: bool,
    /// `true` for notifications that were given up only, `false` for messages only.
    pub is_given_up: Option<bool>,
}

impl Filter {
    /// Whether a row fits, by attributes that the index `listed` projects.
    pub(super) fn fits(&self, row: &Item) -> bool {
        let is = |attribute, expected: &Option<String>| {
            expected.as_deref().is_none_or(|expected| listing::text(row, attribute) == Some(expected))
        };
        let archived_at = || listing::text(row, "listed_sk").and_then(listing::time_of);
        let is_given_up = || row.get("is_given_up").and_then(|value| value.as_bool().ok().copied());
        is("queue", &self.queue)
            && is("error_code", &self.error_code)
            && self.older_than.is_none_or(|time| archived_at().is_some_and(|archived| archived < time))
            && !(self.is_open && row.contains_key("redriven_at"))
            && self.is_given_up.is_none_or(|expected| is_given_up() == Some(expected))
    }
}

/// Whose dead letters are listed.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// One tenant's.
    Tenant(&'a str),
    /// All of the table, including those that name no tenant.
    All,
}

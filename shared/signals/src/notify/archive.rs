//! Archiving the messages of signals that failed, and what follows for the row that sent them.
//!
//! A message that cannot succeed is archived by its consumer ([`archive_if_permanent`]). One that failed too often is moved out of
//! its dead-letter queue by the sweep ([`archive`]). A notification that is given up leaves a dead letter too, written in the same
//! transaction ([`given_up`]).

use crate::error::SignalsError;
use crate::notify::delivery::row::DeliveryRow;
use crate::notify::source_keys::{delivery_key, event_key};
use crate::queues::NOTIFY;
use crate::table::SignalsTable;
use jiff::Timestamp;
use serde::Deserialize;
use switchyard_core::{Classify as _, Clock, Disposition, Owner, Uuid, error_chain, made_at, metric, uuid_of};
use switchyard_io::dlq::DeadMessage;
use switchyard_io::dynamo::{Changes, IntoAttribute as _, Key, Update};
use switchyard_work::dead_letters::{Archiver, DeadLetter, NewDeadLetter, Subject};
use switchyard_work::outbox;
use tokio::time::Instant;

/// How often the sweep sends a row whose messages fail, before the row waits for a redrive.
const MAX_SWEEPS: u32 = 5;

/// What a message of either queue says of itself, as far as it can be read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Head {
    tenant: Option<String>,
    body: HeadBody,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct HeadBody {
    event_id: Option<String>,
    delivery_id: Option<String>,
    attempts: u32,
    rule: Option<String>,
    group: Option<String>,
}

impl Head {
    fn of(message: &str) -> Self {
        let Self { tenant, body } = serde_json::from_str(message).unwrap_or_default();
        let is_id = |id: &String| Uuid::parse_str(id).is_ok();
        let is_digest = |id: &String| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let event_id = body.event_id.filter(is_id);
        let delivery_id = body.delivery_id.filter(is_digest);
        Self {
            tenant: tenant.filter(is_id),
            body: HeadBody { event_id, delivery_id, rule: body.rule.filter(is_id), ..body },
        }
    }

    /// The row whose message this is.
    fn source(&self) -> Option<Source> {
        let tenant = self.tenant.as_deref()?;
        match &self.body {
            HeadBody { event_id: Some(event), delivery_id: Some(delivery), attempts, .. } => {
                Some(Source::Delivery(delivery_key(tenant, event, delivery), *attempts))
            }
            HeadBody { event_id: Some(event), .. } => Some(Source::Event(event_key(tenant, event))),
            HeadBody { rule: Some(rule), group: Some(group), .. } => {
                Some(Source::Digest { tenant: tenant.to_owned(), rule: rule.clone(), group: group.clone() })
            }
            HeadBody { .. } => None,
        }
    }

    fn subject(self) -> Subject {
        Subject { tenant: self.tenant, event_id: self.body.event_id, delivery_id: self.body.delivery_id }
    }
}

/// The row whose message failed.
#[derive(Clone, Debug)]
enum Source {
    Event(Key),
    /// With the attempts that were made when the message was sent.
    Delivery(Key, u32),
    Digest {
        tenant: String,
        rule: String,
        group: String,
    },
}

/// Archives a message whose outcome is a permanent error, and returns success; any other outcome is returned as it is.
pub(crate) async fn archive_if_permanent(
    store: &SignalsTable,
    clock: &Clock,
    queue: &str,
    (message, owner): (&str, &Owner),
    outcome: Result<(), SignalsError>,
) -> Result<(), SignalsError> {
    let error = match outcome {
        Err(error) if error.disposition() == Disposition::Permanent => error,
        outcome => return outcome,
    };
    let (now, head) = (clock.now(), Head::of(message));
    let dead = DeadMessage {
        id: owner.message_id.clone(),
        receives: owner.attempt,
        sent_ms: head.body.event_id.as_deref().and_then(made_at).unwrap_or(now).as_millisecond(),
        body: message.to_owned(),
        group: None,
    };
    let (source, text) = (head.source(), error.to_string());
    let new = NewDeadLetter::of_message(queue, &dead, head.subject());
    let new = NewDeadLetter { error_code: error.code(), error_message: &text, ..new };
    store.dead_letters().archive(&DeadLetter::new(new, now)).await?;
    stop_sweeping(store, source, 0).await?;
    metric::count("parked", 1);
    tracing::error!(error = error_chain(&error), reason = error.code(), "a message cannot succeed and was archived");
    Ok(())
}

/// The dead letter of a notification that is given up.
pub(crate) fn given_up(row: &DeliveryRow, message: &str, reason: &str, now: Timestamp) -> DeadLetter {
    let subject = Subject {
        tenant: Some(row.tenant.clone()),
        event_id: Some(row.event_id.clone()),
        delivery_id: Some(row.id.clone()),
    };
    let new = NewDeadLetter {
        id: uuid_of(now, &row.id).to_string(),
        queue: NOTIFY,
        group: None,
        subject,
        is_given_up: true,
        body: message,
        error_code: reason,
        error_message: "the notification was given up",
        receives: row.attempts + 1,
        first_sent_at: row.created_at,
    };
    DeadLetter::new(new, now)
}

/// Moves the messages of the dead-letter queues of events and notifications into rows, where tenants see theirs. Returns how many
/// were moved.
///
/// # Errors
/// The first fault of DynamoDB or SQS, after both queues were tried; what was not moved stays in its queue.
pub async fn archive(archiver: &Archiver, deps: &crate::QueueDeps, deadline: Instant) -> Result<u64, SignalsError> {
    let subject = |message: &DeadMessage| Head::of(&message.body).subject();
    let archived =
        async |letter: &DeadLetter| stop_sweeping(&deps.store, Head::of(&letter.body).source(), MAX_SWEEPS).await;
    archiver.run_with(deadline, subject, archived).await
}

/// Takes the unsent mark off the row whose message failed, if the sweep sent it `sweeps` times: it waits for a redrive then.
async fn stop_sweeping(store: &SignalsTable, source: Option<Source>, sweeps: u32) -> Result<(), SignalsError> {
    let settled = outbox::settled(Changes::new()).only_if("#due_count >= ?", [i64::from(sweeps).into_attribute()]);
    let (keys, settled) = match source {
        None => return Ok(()),
        Some(Source::Event(key)) => (vec![key], settled),
        // The delivery may have been attempted since the message was sent.
        Some(Source::Delivery(key, attempts)) => {
            (vec![key], settled.only_if("#attempts = ?", [i64::from(attempts).into_attribute()]))
        }
        Some(Source::Digest { tenant, rule, group }) => (store.due_of_digest(&tenant, &rule, &group).await?, settled),
    };
    for key in keys {
        let (Update::Applied(_) | Update::Refused(_)) = store.table().update(&key, settled.clone()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_of_another_form_have_no_source() {
        let (id, digest) = ("019b2a3c-7c00-7a11-8b22-0c0ffee00001", "a".repeat(64));
        let source = |tenant: &str, body: serde_json::Value| {
            Head::of(&json!({"tenant": tenant, "body": body}).to_string()).source()
        };
        assert!(matches!(source(id, json!({"eventId": id})), Some(Source::Event(_))));
        let delivery = source(id, json!({"eventId": id, "deliveryId": digest, "attempts": 3}));
        assert!(matches!(delivery, Some(Source::Delivery(_, 3))));
        let digested = source(id, json!({"rule": id, "group": "[\"u\"]"}));
        assert!(matches!(digested, Some(Source::Digest { .. })));
        for (tenant, event) in [("", id), (id, ""), (id, "../x"), ("x", id)] {
            assert!(source(tenant, json!({"eventId": event})).is_none(), "{tenant} {event}");
        }
        assert!(Head::of("not ours").source().is_none() && Head::of("{\"body\": 7}").source().is_none());
    }
}

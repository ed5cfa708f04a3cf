//! Keeping what could not be done.
//!
//! A message that cannot succeed is buried at once by whoever finds that out ([`or_bury`]). One that failed too often, or took its
//! worker down, is in its queue's dead-letter queue, which [`archive`] empties. A notification that is given up leaves a dead
//! letter too, written with its end ([`given_up`]).

use crate::error::SignalsError;
use crate::queues::{NOTIFY, RULES};
use crate::store::{About, DeadLetter, DeadLetterRow, DeliveryRow, Store};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;
use switchyard_core::Owner;
use switchyard_core::{Classify as _, Clock, Disposition, Env, EnvError, Uuid, error_chain, made_at, metric, uuid_of};
use switchyard_io::dlq::{Dead, Dlq, Dlqs};
use switchyard_io::operator::{Notice, Operator};
use switchyard_io::{Aws, Table};
use tokio::time::Instant;

/// Dead-letter queues that [`archive`] empties.
pub const ARCHIVED: [&str; 2] = [RULES, NOTIFY];

/// What died of a passing fault is due still, and sent by the sweep; after so many times it is left alone.
const SWEPT_IN_VAIN: u32 = 5;

/// For so long a message of a dead-letter queue is nobody else's.
const HIDDEN: Duration = Duration::from_secs(60);

/// What a message of either queue says of itself, as far as it can be read and is of our form.
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

    fn about(&self) -> Option<About> {
        let tenant = self.tenant.as_deref()?;
        match &self.body {
            HeadBody { event_id: Some(event), delivery_id: Some(delivery), attempts, .. } => {
                Some(About::delivery(tenant, event, delivery, *attempts))
            }
            HeadBody { event_id: Some(event), .. } => Some(About::event(tenant, event)),
            HeadBody { rule: Some(rule), group: Some(group), .. } => {
                Some(About::Digest { tenant: tenant.to_owned(), rule: rule.clone(), group: group.clone() })
            }
            HeadBody { .. } => None,
        }
    }

    fn letter<'a>(&'a self, queue: &'a str, message: &'a Dead) -> DeadLetter<'a> {
        let sent = Timestamp::from_millisecond(message.sent_ms).unwrap_or_default();
        DeadLetter {
            // The same for the same message, should it come again.
            id: uuid_of(sent, &message.id).to_string(),
            queue,
            tenant: self.tenant.as_deref(),
            event_id: self.body.event_id.as_deref(),
            delivery_id: self.body.delivery_id.as_deref(),
            is_given_up: false,
            body: &message.body,
            error_code: "receives_exhausted",
            error_message: "the message was received too often without an end",
            receives: message.receives,
            first_sent_at: sent,
        }
    }
}

/// Buries a message that cannot succeed, and says that it is dealt with; any other outcome stays.
pub(crate) async fn or_bury(
    store: &Store,
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
    let dead = Dead {
        id: owner.message_id.clone(),
        receives: owner.attempt,
        sent_ms: head.body.event_id.as_deref().and_then(made_at).unwrap_or(now).as_millisecond(),
        body: message.to_owned(),
    };
    let text = error.to_string();
    let letter = DeadLetter { error_code: error.code(), error_message: &text, ..head.letter(queue, &dead) };
    store.bury(&DeadLetterRow::new(letter, now), head.about().as_ref(), 0).await?;
    metric::count("parked", 1);
    tracing::error!(error = error_chain(&error), reason = error.code(), "a message cannot succeed and is kept");
    Ok(())
}

/// The dead letter of a notification that is given up.
pub(crate) fn given_up(row: &DeliveryRow, message: &str, reason: &str, now: Timestamp) -> DeadLetterRow {
    let letter = DeadLetter {
        id: uuid_of(now, &row.id).to_string(),
        queue: NOTIFY,
        tenant: Some(&row.tenant),
        event_id: Some(&row.event_id),
        delivery_id: Some(&row.id),
        is_given_up: true,
        body: message,
        error_code: reason,
        error_message: "the notification was given up",
        receives: row.attempts + 1,
        first_sent_at: row.created_at,
    };
    DeadLetterRow::new(letter, now)
}

/// What emptying dead-letter queues needs.
pub struct ArchiveDeps {
    store: Store,
    dlqs: Dlqs,
    operator: Operator,
    clock: Clock,
}

impl ArchiveDeps {
    /// Reads `SIGNALS_TABLE`, `DLQS` and `OPERATOR_BUS`.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            store: Store::new(Table::from_env(aws, env, "SIGNALS_TABLE")?),
            dlqs: Dlqs::from_env(aws, env)?,
            operator: Operator::from_env(aws, env)?,
            clock: Clock::system(),
        })
    }
}

/// Moves what is in the dead-letter queues of events and notifications into rows, where tenants can see what is theirs, and
/// tells the operator. A message is removed from its queue after its row is written; answers how many were moved.
///
/// # Errors
/// The first fault of DynamoDB's or SQS's, after both queues were tried; what was not moved stays where it is.
pub async fn archive(deps: &ArchiveDeps, deadline: Instant) -> Result<u64, SignalsError> {
    let (mut moved, mut first_fault) = (0, None);
    for dlq in ARCHIVED.iter().filter_map(|name| deps.dlqs.find(name)) {
        let mut found = 0;
        if let Err(error) = empty(deps, dlq, deadline, &mut found).await {
            tracing::warn!(service = dlq.name, error = error_chain(&error), "a dead-letter queue was not emptied");
            first_fault.get_or_insert(error);
        }
        if found > 0 {
            metric::count("parked", found);
            deps.operator.tell(Notice::DlqMessage, &json!({"queue": dlq.name, "archived": found})).await;
        }
        moved += found;
    }
    first_fault.map_or(Ok(moved), Err)
}

/// Moves one queue's messages; one that cannot be moved keeps no other waiting. `moved` counts.
async fn empty(deps: &ArchiveDeps, dlq: &Dlq, deadline: Instant, moved: &mut u64) -> Result<(), SignalsError> {
    let mut fault = Ok(());
    while Instant::now() < deadline {
        let taken = deps.dlqs.take(dlq, HIDDEN).await?;
        if taken.is_empty() {
            break;
        }
        for (dead, receipt) in taken {
            let head = Head::of(&dead.body);
            let row = DeadLetterRow::new(head.letter(&dlq.name, &dead), deps.clock.now());
            match deps.store.bury(&row, head.about().as_ref(), SWEPT_IN_VAIN).await {
                Ok(()) => {
                    deps.dlqs.remove(dlq, &receipt).await?;
                    *moved += 1;
                }
                Err(error) => fault = Err(error),
            }
        }
    }
    fault
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_of_our_form_is_about_nothing() {
        let (id, digest) = ("019b2a3c-7c00-7a11-8b22-0c0ffee00001", "a".repeat(64));
        let about = |tenant: &str, body: serde_json::Value| {
            Head::of(&json!({"tenant": tenant, "body": body}).to_string()).about()
        };
        assert!(matches!(about(id, json!({"eventId": id})), Some(About::Event(_))));
        let delivery = about(id, json!({"eventId": id, "deliveryId": digest, "attempts": 3}));
        assert!(matches!(delivery, Some(About::Delivery(_, 3))));
        let digested = about(id, json!({"rule": id, "group": "[\"u\"]"}));
        assert!(matches!(digested, Some(About::Digest { .. })));
        for (tenant, event) in [("", id), (id, ""), (id, "../x"), ("x", id)] {
            assert!(about(tenant, json!({"eventId": event})).is_none(), "{tenant} {event}");
        }
        assert!(Head::of("not ours").about().is_none() && Head::of("{\"body\": 7}").about().is_none());
    }
}

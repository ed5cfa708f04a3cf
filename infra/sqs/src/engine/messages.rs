//! Sending, receiving, deleting.

use super::{Engine, Queue, begin, expire, json, parse, refresh_group};
use crate::new_id;
use crate::{Error, Message, NewMessage, Result, Sent, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};

const DEDUPLICATION_MS: i64 = 5 * 60 * 1000;

impl Engine {
    /// Sends the valid messages, and returns the errors of the others.
    pub(crate) fn send(&mut self, queue: &Queue, messages: &[NewMessage], now: i64) -> Result<Vec<Result<Sent>>> {
        let tx = begin(&mut self.db)?;
        let send = |message: &NewMessage| {
            message.check(&queue.attributes)?;
            if queue.attributes.fifo {
                return send_once(&tx, queue, message, now);
            }
            let (message_id, _) = insert(&tx, queue, message, None, now)?;
            Ok(Sent { message_id, sequence_number: None })
        };
        let sent = messages.iter().map(|message| Error::per_entry(send(message))).collect::<Result<_>>()?;
        tx.commit()?;
        queue.arrivals.notify_waiters();
        Ok(sent)
    }

    /// Hands out up to `max` messages, hidden from then on for `visibility_s`.
    pub(crate) fn receive(&mut self, queue: &Queue, max: usize, visibility_s: u32, now: i64) -> Result<Vec<Message>> {
        let dead_letters = match &queue.attributes.redrive {
            Some(policy) => self.queue(policy.target()).ok().map(|target| (target, policy.max_receive_count)),
            None => None,
        };
        let tx = begin(&mut self.db)?;
        expire(&tx, queue, now)?;
        let mut received = Vec::new();
        let mut buried = false;
        loop {
            let available = available(&tx, queue, max, now)?;
            let found = available.len();
            let mut groups = Vec::new();
            for stored in available {
                groups.extend(stored.group_id.clone());
                match &dead_letters {
                    Some((target, max_receive_count)) if stored.receive_count >= *max_receive_count => {
                        transfer(&tx, &stored, target, &Purpose::DeadLetter { from: queue }, now)?;
                        buried = true;
                    }
                    _ => received.push(hand_out(&tx, queue, stored, visibility_s, now)?),
                }
            }
            groups.dedup();
            groups.iter().try_for_each(|group| refresh_group(&tx, queue, group))?;
            // After a round of dead letters only, the messages behind them are still received.
            if found == 0 || !received.is_empty() {
                break;
            }
        }
        tx.commit()?;
        if let (true, Some((target, _))) = (buried, dead_letters) {
            target.arrivals.notify_waiters();
        }
        Ok(received)
    }

    /// When the next message becomes available without another call.
    pub(crate) fn next_due_ms(&self, queue: &Queue, now: i64) -> Result<Option<i64>> {
        let statement = if queue.attributes.fifo {
            "SELECT MIN(next_ms) FROM fifo_group WHERE queue = ?1 AND next_ms > ?2"
        } else {
            "SELECT MIN(visible_ms) FROM message WHERE queue = ?1 AND visible_ms > ?2"
        };
        Ok(self.db.prepare_cached(statement)?.query_row(params![queue.id, now], |row| row.get(0))?)
    }

    pub(crate) fn delete(&mut self, queue: &Queue, handles: &[&str], now: i64) -> Result<Vec<Result<()>>> {
        let tx = begin(&mut self.db)?;
        let delete = |handle: &&str| {
            let Some(held) = held(&tx, queue, handle)? else { return Ok(()) };
            if queue.attributes.fifo && (held.received_since || held.visible_ms <= now) {
                return Err(Error::parameter("ReceiptHandle", handle, "The receipt handle has expired."));
            }
            tx.prepare_cached("DELETE FROM message WHERE seq = ?1")?.execute([held.seq])?;
            held.group_id.map_or(Ok(()), |group| refresh_group(&tx, queue, &group))
        };
        let deleted = handles.iter().map(|handle| Error::per_entry(delete(handle))).collect::<Result<_>>()?;
        tx.commit()?;
        if queue.attributes.fifo {
            queue.arrivals.notify_waiters(); // the next of the group may go
        }
        Ok(deleted)
    }

    /// Sets each message's visibility timeout, in seconds from `now`; 0 makes it visible.
    pub(crate) fn change_visibility(
        &mut self,
        queue: &Queue,
        changes: &[(&str, u32)],
        now: i64,
    ) -> Result<Vec<Result<()>>> {
        let tx = begin(&mut self.db)?;
        let change = |(handle, visibility_s): &(&str, u32)| {
            check_visibility(*visibility_s)?;
            let held = held(&tx, queue, handle)?.filter(|held| !held.received_since).ok_or_else(|| {
                let reason = "Message does not exist or is not available for visibility timeout change.";
                Error::parameter("ReceiptHandle", handle, reason)
            })?;
            if held.visible_ms <= now {
                return Err(Error::MessageNotInflight);
            }
            tx.prepare_cached("UPDATE message SET visible_ms = ?2 WHERE seq = ?1")?
                .execute(params![held.seq, now + i64::from(*visibility_s) * 1000])?;
            held.group_id.map_or(Ok(()), |group| refresh_group(&tx, queue, &group))
        };
        let changed = changes.iter().map(|entry| Error::per_entry(change(entry))).collect::<Result<_>>()?;
        tx.commit()?;
        queue.arrivals.notify_waiters();
        Ok(changed)
    }

    /// Makes every message in flight visible again.
    pub(crate) fn release_in_flight(&mut self, now: i64) -> Result<usize> {
        let tx = begin(&mut self.db)?;
        let mut released = 0;
        for queue in self.queues.values() {
            let groups = tx
                .prepare_cached(
                    "UPDATE message SET visible_ms = ?2 WHERE queue = ?1 AND visible_ms > ?2 AND receive_count > 0
                     RETURNING group_id",
                )?
                .query_map(params![queue.id, now], |row| row.get::<_, Option<String>>(0))?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            released += groups.len();
            groups.into_iter().flatten().try_for_each(|group| refresh_group(&tx, queue, &group))?;
            queue.arrivals.notify_waiters();
        }
        tx.commit()?;
        Ok(released)
    }
}

/// # Errors
/// More than twelve hours.
pub(crate) fn check_visibility(visibility_s: u32) -> Result<()> {
    let reason = "VisibilityTimeout must be >= 0 and <= 43200.";
    (visibility_s <= 43_200).then_some(()).ok_or_else(|| Error::parameter("VisibilityTimeout", visibility_s, reason))
}

/// Adds a message; returns its id and sequence.
fn insert(
    tx: &Transaction<'_>,
    queue: &Queue,
    message: &NewMessage,
    dedup_id: Option<&str>,
    now: i64,
) -> Result<(String, i64)> {
    let id = new_id();
    let delay_s = message.delay_s.filter(|_| !queue.attributes.fifo).unwrap_or(queue.attributes.delay_s);
    let visible_ms = now + i64::from(delay_s) * 1000;
    let attributes = (!message.attributes.is_empty()).then(|| json(&message.attributes)).transpose()?;
    tx.prepare_cached(
        "INSERT INTO message (queue, visible_ms, sent_ms, receive_count, prior_receives, group_id, dedup_id, id,
                              trace_header, attributes, body)
         VALUES (?1, ?2, ?3, 0, 0, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        queue.id,
        visible_ms,
        now,
        message.group_id,
        dedup_id,
        id,
        message.trace_header,
        attributes,
        message.body
    ])?;
    let seq = tx.last_insert_rowid();
    if let Some(group) = &message.group_id {
        join_group(tx, queue, group, seq, visible_ms)?;
    }
    Ok((id, seq))
}

/// Sends to a FIFO queue, unless the same was sent within the last five minutes.
fn send_once(tx: &Transaction<'_>, queue: &Queue, message: &NewMessage, now: i64) -> Result<Sent> {
    let dedup_id = message.deduplication_id.clone().unwrap_or_else(|| digest::sha256(&message.body));
    let scope = message.group_id.as_deref().filter(|_| queue.attributes.deduplicate_per_group).unwrap_or_default();
    tx.prepare_cached("DELETE FROM deduplication WHERE expires_ms <= ?1")?.execute([now])?;
    let first = tx
        .prepare_cached("SELECT message_id, seq FROM deduplication WHERE queue = ?1 AND scope = ?2 AND dedup_id = ?3")?
        .query_row(params![queue.id, scope, dedup_id], |row| {
            Ok(Sent { message_id: row.get(0)?, sequence_number: Some(sequence_number(row.get(1)?)) })
        })
        .optional()?;
    if let Some(first) = first {
        return Ok(first);
    }
    let (message_id, seq) = insert(tx, queue, message, Some(&dedup_id), now)?;
    tx.prepare_cached(
        "INSERT INTO deduplication (queue, scope, dedup_id, expires_ms, message_id, seq)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![queue.id, scope, dedup_id, now + DEDUPLICATION_MS, message_id, seq])?;
    Ok(Sent { message_id, sequence_number: Some(sequence_number(seq)) })
}

/// A message at the end of its group changes the group's row only if it is the first.
fn join_group(tx: &Transaction<'_>, queue: &Queue, group: &str, seq: i64, visible_ms: i64) -> Result<()> {
    if queue.attributes.fifo {
        tx.prepare_cached(
            "INSERT OR IGNORE INTO fifo_group (queue, group_id, head_seq, next_ms) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![queue.id, group, seq, visible_ms])?;
    }
    Ok(())
}

/// Twenty digits, like the real ones, so that they sort as text.
fn sequence_number(seq: i64) -> String {
    format!("{seq:020}")
}

/// A row of `message`.
pub(super) struct Stored {
    pub(super) seq: i64,
    pub(super) group_id: Option<String>,
    pub(super) source: Option<String>,
    receive_count: u32,
    prior_receives: u32,
    sent_ms: i64,
    first_received_ms: Option<i64>,
    dedup_id: Option<String>,
    id: String,
    trace_header: Option<String>,
    attributes: Option<String>,
    body: String,
}

const STORED: &str = "seq, group_id, source, receive_count, prior_receives, sent_ms, first_received_ms, dedup_id, id,
                      trace_header, attributes, body";

impl Stored {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            group_id: row.get(1)?,
            source: row.get(2)?,
            receive_count: row.get(3)?,
            prior_receives: row.get(4)?,
            sent_ms: row.get(5)?,
            first_received_ms: row.get(6)?,
            dedup_id: row.get(7)?,
            id: row.get(8)?,
            trace_header: row.get(9)?,
            attributes: row.get(10)?,
            body: row.get(11)?,
        })
    }
}

/// Up to `max` messages that may be handed out now: the longest available first, in order within FIFO groups.
pub(super) fn available(tx: &Transaction<'_>, queue: &Queue, max: usize, now: i64) -> Result<Vec<Stored>> {
    if !queue.attributes.fifo {
        return Ok(tx
            .prepare_cached(&format!(
                "SELECT {STORED} FROM message WHERE queue = ?1 AND visible_ms <= ?2 ORDER BY visible_ms, seq LIMIT ?3"
            ))?
            .query_map(params![queue.id, now, max], Stored::read)?
            .collect::<rusqlite::Result<_>>()?);
    }
    let groups = tx
        .prepare_cached(
            "SELECT group_id FROM fifo_group WHERE queue = ?1 AND next_ms <= ?2 ORDER BY next_ms, head_seq LIMIT ?3",
        )?
        .query_map(params![queue.id, now, max], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    let mut messages = Vec::new();
    // A delayed message blocks those behind it: a group's available messages end at the first delayed one.
    let mut statement = tx.prepare_cached(&format!(
        "SELECT {STORED}, visible_ms <= ?3 FROM message WHERE queue = ?1 AND group_id = ?2 ORDER BY seq LIMIT ?4"
    ))?;
    for group in groups {
        let mut rows = statement.query(params![queue.id, group, now, max - messages.len()])?;
        while let Some(row) = rows.next()?
            && row.get(12)?
        {
            messages.push(Stored::read(row)?);
        }
        if messages.len() == max {
            break;
        }
    }
    Ok(messages)
}

fn hand_out(tx: &Transaction<'_>, queue: &Queue, stored: Stored, visibility_s: u32, now: i64) -> Result<Message> {
    let receive_count = stored.receive_count + 1;
    let first_received_ms = stored.first_received_ms.unwrap_or(now);
    tx.prepare_cached("UPDATE message SET visible_ms = ?2, receive_count = ?3, first_received_ms = ?4 WHERE seq = ?1")?
        .execute(params![stored.seq, now + i64::from(visibility_s) * 1000, receive_count, first_received_ms])?;
    Ok(Message {
        id: stored.id,
        receipt_handle: Receipt { queue: queue.id, seq: stored.seq, receive_count }.to_handle(),
        body: stored.body,
        attributes: stored.attributes.map(|text| parse(&text)).transpose()?.unwrap_or_default(),
        sent_ms: stored.sent_ms,
        first_received_ms,
        receive_count: stored.prior_receives + receive_count,
        sequence_number: queue.attributes.fifo.then(|| sequence_number(stored.seq)),
        group_id: stored.group_id,
        deduplication_id: stored.dedup_id,
        trace_header: stored.trace_header,
        dead_letter_source: stored.source,
    })
}

/// Why a message moves to another queue.
pub(super) enum Purpose<'a> {
    /// A dead letter: the same message. On FIFO queues its retention restarts.
    DeadLetter { from: &'a Queue },
    /// A redrive: a new message.
    Redrive,
}

/// Moves a message to the end of `target`, without regard to deduplication.
pub(super) fn transfer(
    tx: &Transaction<'_>,
    stored: &Stored,
    target: &Queue,
    purpose: &Purpose<'_>,
    now: i64,
) -> Result<()> {
    let (id, sent_ms, first_received_ms, prior_receives, source) = match purpose {
        Purpose::DeadLetter { from } => (
            stored.id.clone(),
            if target.attributes.fifo { now } else { stored.sent_ms },
            stored.first_received_ms,
            stored.prior_receives + stored.receive_count,
            Some(from.arn()),
        ),
        Purpose::Redrive => (new_id(), now, None, 0, None),
    };
    tx.prepare_cached(
        "INSERT INTO message (queue, visible_ms, sent_ms, receive_count, prior_receives, first_received_ms, group_id,
                              dedup_id, id, source, trace_header, attributes, body)
         SELECT ?2, ?3, ?4, 0, ?5, ?6, group_id, dedup_id, ?7, ?8, trace_header, attributes, body
         FROM message WHERE seq = ?1",
    )?
    .execute(params![stored.seq, target.id, now, sent_ms, prior_receives, first_received_ms, id, source])?;
    if let Some(group) = &stored.group_id {
        join_group(tx, target, group, tx.last_insert_rowid(), now)?;
    }
    tx.prepare_cached("DELETE FROM message WHERE seq = ?1")?.execute([stored.seq])?;
    Ok(())
}

/// The content of a receipt handle: the message and the number of the receive, which makes each handle unique.
struct Receipt {
    queue: i64,
    seq: i64,
    receive_count: u32,
}

impl Receipt {
    fn to_handle(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}/{}/{}", self.queue, self.seq, self.receive_count))
    }

    fn parse(handle: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(handle).ok()?).ok()?;
        let mut parts = text.split('/');
        let receipt = Self {
            queue: parts.next()?.parse().ok()?,
            seq: parts.next()?.parse().ok()?,
            receive_count: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(receipt)
    }
}

/// The message that a receipt handle is for.
struct Held {
    seq: i64,
    visible_ms: i64,
    group_id: Option<String>,
    /// The message was handed out again, which outdates the handle.
    received_since: bool,
}

/// The message of `handle`; none when it was deleted.
fn held(tx: &Transaction<'_>, queue: &Queue, handle: &str) -> Result<Option<Held>> {
    let receipt =
        Receipt::parse(handle).filter(|receipt| receipt.queue == queue.id).ok_or(Error::ReceiptHandleIsInvalid)?;
    Ok(tx
        .prepare_cached("SELECT visible_ms, group_id, receive_count FROM message WHERE seq = ?1 AND queue = ?2")?
        .query_row(params![receipt.seq, queue.id], |row| {
            Ok(Held {
                seq: receipt.seq,
                visible_ms: row.get(0)?,
                group_id: row.get(1)?,
                received_since: row.get::<_, u32>(2)? != receipt.receive_count,
            })
        })
        .optional()?)
}

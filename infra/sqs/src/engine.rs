//! The queues over SQLite. Every statement is here and in the two files below; every method takes `now`.
//!
//! One connection writes, guarded by the mutex in [`crate::Sqs`]. Each call is one transaction, so a process killed at
//! any instant leaves either all of it or nothing. Deleting what is past its retention happens on the way, whenever a
//! queue is read.

mod messages;
mod moves;

pub(crate) use messages::check_visibility;

use crate::{Error, Location, QueueAttributes, QueueCounts, Result, TextMap, queue_arn};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Notify;

const SCHEMA: &str = include_str!("engine/schema.sql");
const SCHEMA_VERSION: i64 = 1;

pub(crate) struct Engine {
    db: Connection,
    /// A cache of the table `queue`, by name: every call reads one, few change one.
    queues: BTreeMap<String, Arc<Queue>>,
}

/// A queue as of its last change.
#[derive(Clone)]
pub(crate) struct Queue {
    id: i64,
    pub(crate) name: String,
    pub(crate) attributes: QueueAttributes,
    pub(crate) tags: TextMap,
    pub(crate) created_ms: i64,
    pub(crate) modified_ms: i64,
    /// Wakes waiting receives when a message may have become available.
    pub(crate) arrivals: Arc<Notify>,
}

impl Queue {
    pub(crate) fn arn(&self) -> String {
        queue_arn(&self.name)
    }
}

impl Engine {
    pub(crate) fn open(location: &Location) -> Result<Self> {
        let (path, db) = match location {
            Location::Memory => (PathBuf::from(":memory:"), Connection::open_in_memory()),
            Location::File(path) => (path.clone(), Connection::open(path)),
        };
        let db = db.and_then(prepare).map_err(|source| Error::Open { path, source })?;
        let mut engine = Self { db, queues: BTreeMap::new() };
        engine.migrate()?;
        engine.load_queues()?;
        engine.fail_interrupted_moves()?;
        Ok(engine)
    }

    fn migrate(&mut self) -> Result<()> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        match tx.pragma_query_value(None, "user_version", |row| row.get(0))? {
            SCHEMA_VERSION => Ok(()),
            0 => {
                tx.execute_batch(SCHEMA)?;
                tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
                Ok(tx.commit()?)
            }
            found => Err(Error::Schema { found, expected: SCHEMA_VERSION }),
        }
    }

    fn load_queues(&mut self) -> Result<()> {
        let mut statement = self.db.prepare("SELECT id, name, attributes, tags, created_ms, modified_ms FROM queue")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(1)?;
            let attributes = QueueAttributes::new(name.ends_with(".fifo")).with(&parse(&row.get::<_, String>(2)?)?)?;
            let queue = Queue {
                id: row.get(0)?,
                name: name.clone(),
                attributes,
                tags: parse(&row.get::<_, String>(3)?)?,
                created_ms: row.get(4)?,
                modified_ms: row.get(5)?,
                arrivals: Arc::default(),
            };
            self.queues.insert(name, Arc::new(queue));
        }
        Ok(())
    }

    pub(crate) fn queue(&self, name: &str) -> Result<Arc<Queue>> {
        self.queues.get(name).cloned().ok_or(Error::QueueDoesNotExist)
    }

    /// All queues, by name.
    pub(crate) fn queues(&self) -> impl Iterator<Item = &Arc<Queue>> {
        self.queues.values()
    }

    pub(crate) fn create_queue(&mut self, name: &str, changes: &TextMap, tags: TextMap, now: i64) -> Result<()> {
        if let Some(queue) = self.queues.get(name) {
            let same = queue.attributes.with(changes).is_ok_and(|attributes| attributes == queue.attributes);
            return same.then_some(()).ok_or(Error::QueueNameExists);
        }
        let fifo = check_name(name, changes)?;
        let attributes = QueueAttributes::new(fifo).with(changes)?;
        self.check_redrive(&attributes)?;
        self.db.execute(
            "INSERT INTO queue (name, attributes, tags, created_ms, modified_ms) VALUES (?1, ?2, ?3, ?4, ?4)",
            params![name, json(&attributes.to_map())?, json(&tags)?, now],
        )?;
        let queue = Queue {
            id: self.db.last_insert_rowid(),
            name: name.to_owned(),
            attributes,
            tags,
            created_ms: now,
            modified_ms: now,
            arrivals: Arc::default(),
        };
        self.queues.insert(name.to_owned(), Arc::new(queue));
        Ok(())
    }

    pub(crate) fn set_attributes(&mut self, name: &str, changes: &TextMap, now: i64) -> Result<()> {
        let queue = self.queue(name)?;
        let attributes = queue.attributes.with(changes)?;
        self.check_redrive(&attributes)?;
        self.replace(Queue { attributes, modified_ms: now, ..Queue::clone(&queue) })
    }

    pub(crate) fn set_tags(&mut self, name: &str, tags: TextMap) -> Result<()> {
        let queue = self.queue(name)?;
        self.replace(Queue { tags, ..Queue::clone(&queue) })
    }

    fn replace(&mut self, queue: Queue) -> Result<()> {
        self.db.execute(
            "UPDATE queue SET attributes = ?2, tags = ?3, modified_ms = ?4 WHERE id = ?1",
            params![queue.id, json(&queue.attributes.to_map())?, json(&queue.tags)?, queue.modified_ms],
        )?;
        self.queues.insert(queue.name.clone(), Arc::new(queue));
        Ok(())
    }

    /// A dead-letter queue must exist and be of the same kind.
    fn check_redrive(&self, attributes: &QueueAttributes) -> Result<()> {
        let Some(policy) = &attributes.redrive else { return Ok(()) };
        let reason = match self.queues.get(policy.target()) {
            None => "Dead letter target does not exist.",
            Some(target) if target.attributes.fifo != attributes.fifo => {
                "Dead-letter target must be the same type of queue as the source."
            }
            Some(_) => return Ok(()),
        };
        Err(Error::parameter("RedrivePolicy", &policy.dead_letter_target_arn, reason))
    }

    pub(crate) fn delete_queue(&mut self, name: &str) -> Result<()> {
        let queue = self.queue(name)?;
        let tx = begin(&mut self.db)?;
        purge(&tx, &queue)?;
        tx.execute("DELETE FROM deduplication WHERE queue = ?1", [queue.id])?;
        tx.execute("DELETE FROM queue WHERE id = ?1", [queue.id])?;
        tx.commit()?;
        self.queues.remove(name);
        queue.arrivals.notify_waiters(); // for them to find out
        Ok(())
    }

    /// Deletes every message; their deduplication ids stay.
    pub(crate) fn purge_queue(&mut self, name: &str) -> Result<()> {
        let queue = self.queue(name)?;
        let tx = begin(&mut self.db)?;
        purge(&tx, &queue)?;
        Ok(tx.commit()?)
    }

    pub(crate) fn counts(&mut self, queue: &Queue, now: i64) -> Result<QueueCounts> {
        let tx = begin(&mut self.db)?;
        expire(&tx, queue, now)?;
        let total: u64 =
            tx.prepare_cached("SELECT messages FROM queue WHERE id = ?1")?.query_row([queue.id], |row| row.get(0))?;
        let (in_flight, delayed): (u64, u64) = tx
            .prepare_cached(
                "SELECT COUNT(*) FILTER (WHERE receive_count > 0), COUNT(*) FILTER (WHERE receive_count = 0)
                 FROM message WHERE queue = ?1 AND visible_ms > ?2",
            )?
            .query_row(params![queue.id, now], |row| Ok((row.get(0)?, row.get(1)?)))?;
        tx.commit()?;
        Ok(QueueCounts { visible: total.saturating_sub(in_flight + delayed), in_flight, delayed })
    }
}

fn prepare(db: Connection) -> rusqlite::Result<Connection> {
    // Exclusive: two engines over one file would not see each other's queues. The lock dies with its process.
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // Survives a killed process without an fsync per commit; only a power failure may lose the last commits.
    db.pragma_update(None, "synchronous", "NORMAL")?;
    db.pragma_update(None, "cache_size", -32_768)?; // KiB, when negative
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

fn begin(db: &mut Connection) -> Result<Transaction<'_>> {
    Ok(db.transaction_with_behavior(TransactionBehavior::Immediate)?)
}

/// Whether the queue is FIFO, if `name` may be a queue's.
fn check_name(name: &str, attributes: &TextMap) -> Result<bool> {
    let fifo = attributes.get("FifoQueue").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let stem = if fifo { name.strip_suffix(".fifo").unwrap_or_default() } else { name };
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if stem.is_empty() || name.len() > 80 || !stem.chars().all(legal) {
        return Err(Error::InvalidParameterValue(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length. The name of a FIFO \
             queue, and no other, must end with .fifo suffix."
                .to_owned(),
        ));
    }
    Ok(fifo)
}

fn purge(tx: &Transaction<'_>, queue: &Queue) -> Result<()> {
    tx.execute("DELETE FROM message WHERE queue = ?1", [queue.id])?;
    tx.execute("DELETE FROM fifo_group WHERE queue = ?1", [queue.id])?;
    Ok(())
}

/// Deletes messages past their retention.
fn expire(tx: &Transaction<'_>, queue: &Queue, now: i64) -> Result<()> {
    let until = now - i64::from(queue.attributes.retention_s) * 1000;
    let groups = tx
        .prepare_cached("DELETE FROM message WHERE queue = ?1 AND sent_ms <= ?2 RETURNING group_id")?
        .query_map(params![queue.id, until], |row| row.get::<_, Option<String>>(0))?
        .collect::<rusqlite::Result<BTreeSet<_>>>()?;
    groups.into_iter().flatten().try_for_each(|group| refresh_group(tx, queue, &group))
}

/// Brings a FIFO group's row up to date after its messages changed.
///
/// A group is locked until none of its messages is in flight. Those in flight are among its first ten: a receive hands
/// out at most ten, from the head, and locks the group, and later arrivals line up behind. So ten rows are enough.
fn refresh_group(tx: &Transaction<'_>, queue: &Queue, group: &str) -> Result<()> {
    if !queue.attributes.fifo {
        return Ok(());
    }
    let first: Vec<(i64, i64, bool)> = tx
        .prepare_cached(
            "SELECT seq, visible_ms, receive_count > 0 FROM message WHERE queue = ?1 AND group_id = ?2
             ORDER BY seq LIMIT 10",
        )?
        .query_map(params![queue.id, group], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let head_seq = first.first().map(|(seq, ..)| *seq);
    // The head counts even when it was never received: it may be delayed.
    let blocking = first.iter().filter(|(seq, _, received)| *received || Some(*seq) == head_seq);
    let next_ms = blocking.map(|(_, visible_ms, _)| *visible_ms).max();
    match next_ms {
        Some(next_ms) => tx
            .prepare_cached(
                "INSERT INTO fifo_group (queue, group_id, head_seq, next_ms) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET head_seq = excluded.head_seq, next_ms = excluded.next_ms",
            )?
            .execute(params![queue.id, group, head_seq, next_ms])?,
        None => tx
            .prepare_cached("DELETE FROM fifo_group WHERE queue = ?1 AND group_id = ?2")?
            .execute(params![queue.id, group])?,
    };
    Ok(())
}

fn json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()).into())
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    let unreadable = rusqlite::types::Type::Text;
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, unreadable, error.into()).into())
}

//! Dead letters: messages that failed, kept in their workflow's own table for 90 days, listed, and redriven once.
//!
//! A message that cannot succeed is archived by the consumer that finds that out. One that failed too often is in its queue's
//! dead-letter queue; the workflow's sweep moves it here ([`Archiver`]). Operators see every workflow's
//! ([`DeadLetterQueues`]). A redriven row carries the unsent mark until its message is sent, so that the sweep sends what was not
//! sent at once.

mod archiver;
mod queues;
mod row;

pub use archiver::Archiver;
pub use queues::{DeadLetterQueue, DeadLetterQueues, MayShow, RedriveOutcome, Redriven};
pub use row::{DeadLetter, Filter, NewDeadLetter, Scope, Subject, is_dead_letter, key, partition, redriven};

use crate::listing::{self, ListError, Rows};
use crate::outbox::{self, Due, DueRow};
use futures_util::future::try_join_all;
use std::time::Duration;
use switchyard_core::{ActorId, Classify, Disposition, Timestamp, hex_sha256};
use switchyard_io::dynamo::{Changes, Create, DynamoError, Item, Key, Page, Transact, Update, Write};
use switchyard_io::{Queue, QueueError, Table};

/// Rows that are fetched at a time.
const FETCH_BATCH: usize = 25;

/// Pages that one count reads at most, each of 2,000 rows.
const MAX_COUNT_PAGES: usize = 5;

/// Rows that are read at a time to find a dead letter by its id, and how often at most.
const FIND_BATCH: i32 = 1_000;
const MAX_FIND_PAGES: usize = 50;

/// A dead letter could not be read, written or sent.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// DynamoDB.
    #[error("reading or writing dead letters")]
    Store(#[source] DynamoError),
    /// SQS.
    #[error("moving dead letters")]
    Queue(#[source] QueueError),
    /// The cursor is not one of an earlier page. Permanent.
    #[error("the cursor is not valid")]
    InvalidCursor,
}

impl Classify for DeadLetterError {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Store(source) => source.disposition(),
            Self::Queue(source) => source.disposition(),
            Self::InvalidCursor => Disposition::Permanent,
        }
    }
}

impl From<DynamoError> for DeadLetterError {
    fn from(source: DynamoError) -> Self {
        Self::Store(source)
    }
}

impl From<QueueError> for DeadLetterError {
    fn from(source: QueueError) -> Self {
        Self::Queue(source)
    }
}

impl From<ListError> for DeadLetterError {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Store(source) => Self::Store(source),
            ListError::InvalidCursor => Self::InvalidCursor,
        }
    }
}

/// The dead letters of one workflow.
#[derive(Clone)]
pub struct DeadLetters {
    table: Table,
    workflow: String,
}

impl DeadLetters {
    /// The dead letters in `table`, whose sweep goes by the name `workflow` in the index `due`.
    pub fn new(table: Table, workflow: &str) -> Self {
        Self { table, workflow: workflow.to_owned() }
    }

    /// Writes a dead letter. One that was written before stays as it is.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn archive(&self, letter: &DeadLetter) -> Result<(), DynamoError> {
        let (Create::Created | Create::Exists(_)) = self.table.create(letter).await?;
        Ok(())
    }

    /// The newest dead letters that fit, at most `limit` from `cursor` on, and the cursor of the next page. A page reads a bounded
    /// number of rows, so that it may hold fewer than there are and still have a cursor.
    ///
    /// # Errors
    /// DynamoDB could not be reached, or the cursor is not valid.
    pub async fn list(
        &self,
        scope: Scope<'_>,
        filter: &Filter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<DeadLetter>, Option<String>), DeadLetterError> {
        let fits = |row: &Item| filter.fits(row);
        let rows = match scope {
            Scope::Tenant(tenant) => Rows::Partition(partition(Some(tenant))),
            Scope::All => Rows::Listed(row::list_partitions(filter)),
        };
        let (items, next) = listing::page(&self.table, &rows, cursor, limit, &fits).await?;
        let letters = match scope {
            Scope::Tenant(_) => items.into_iter().map(|item| self.table.read(item)).collect::<Result<_, _>>()?,
            Scope::All => self.fetch(items).await?,
        };
        Ok((letters, next))
    }

    /// The number of dead letters that fit, at most `limit`, among the newest 10,000.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn count(&self, filter: &Filter, limit: usize) -> Result<usize, DeadLetterError> {
        let (rows, mut counted, mut cursor) = (Rows::Listed(row::list_partitions(filter)), 0, None::<String>);
        let fits = |row: &Item| filter.fits(row);
        for _ in 0..MAX_COUNT_PAGES {
            let (items, next) = listing::page(&self.table, &rows, cursor.as_deref(), limit - counted, &fits).await?;
            counted += items.len();
            cursor = next;
            if counted >= limit || cursor.is_none() {
                break;
            }
        }
        Ok(counted)
    }

    /// A dead letter by its id alone, of whatever tenant; `None` when there is none among the newest 50,000 of its partition of the
    /// index.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn find(&self, id: &str) -> Result<Option<DeadLetter>, DynamoError> {
        for hash in row::list_partitions_of(id) {
            let mut after = None;
            for _ in 0..MAX_FIND_PAGES {
                let (index, hash, limit) = (listing::INDEX, hash.clone(), FIND_BATCH);
                let page = Page { index, hash, range: None, newest_first: true, limit, after };
                let (items, more) = self.table.page(page).await?;
                if let Some(item) = items.into_iter().find(|item| listing::text(item, "sk") == Some(id)) {
                    return self.get(&self.table.read(item)?).await;
                }
                after = more;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(None)
    }

    /// The whole rows of rows of the index.
    async fn fetch(&self, items: Vec<Item>) -> Result<Vec<DeadLetter>, DynamoError> {
        let keys = items.into_iter().map(|item| self.table.read(item)).collect::<Result<Vec<Key>, _>>()?;
        let mut letters = Vec::new();
        for keys in keys.chunks(FETCH_BATCH) {
            letters.extend(try_join_all(keys.iter().map(|key| self.get(key))).await?.into_iter().flatten());
        }
        Ok(letters)
    }

    /// A dead letter by its key.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn get(&self, key: &Key) -> Result<Option<DeadLetter>, DynamoError> {
        self.table.get(key).await?.map(|item| self.table.read(item)).transpose()
    }

    /// Deletes a dead letter, with further writes in the same transaction; `false` when it was deleted before.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn delete(&self, letter: &DeadLetter, with: Vec<Write>) -> Result<bool, DynamoError> {
        let exists = Changes::new().only_if("attribute_exists(#pk)", []);
        let writes = [vec![Write::Delete(letter.key(), exists)], with].concat();
        Ok(matches!(self.table.transact(writes).await?, Transact::Done))
    }

    /// Marks a dead letter as redriven, with further writes in the same transaction; `false` when it was redriven before, or its body
    /// was too long to be kept whole. The sweep
    /// sends its message from `due_at` on, until [`Self::sent`] says that it was sent.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn redrive(
        &self,
        letter: &DeadLetter,
        actor: &ActorId,
        now: Timestamp,
        send_after: Duration,
        with: Vec<Write>,
    ) -> Result<bool, DynamoError> {
        let due = Due::at(&self.workflow, &hex_sha256(&[&letter.id]), (now + send_after).as_millisecond());
        let changes = outbox::marked(redriven(&letter.id, actor, now), due);
        let writes = [vec![Write::Update(letter.key(), changes)], with].concat();
        Ok(matches!(self.table.transact(writes).await?, Transact::Done))
    }

    /// Takes the unsent mark off: the message was sent.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn sent(&self, key: &Key) -> Result<(), DynamoError> {
        let changes = outbox::settled(Changes::new()).only_if("attribute_exists(#pk)", []);
        let (Update::Applied(_) | Update::Refused(_)) = self.table.update(key, changes).await?;
        Ok(())
    }

    /// Sends the message of a due dead letter to the queue it came from; `false` when another sweep does. For sweeps.
    ///
    /// # Errors
    /// DynamoDB or SQS could not be reached; the row is due again later.
    pub async fn send_due(&self, row: &DueRow, queue: &Queue, now: Timestamp) -> Result<bool, DeadLetterError> {
        let taken = outbox::put_off(&self.table, &row.key(), &row.due, now.as_millisecond()).await?;
        let Some(item) = taken else { return Ok(false) };
        let letter: DeadLetter = self.table.read(item)?;
        match &letter.group {
            // An id of its own: SQS drops a message with the id of one it has seen within five minutes.
            Some(group) => queue.send_fifo(&letter.body, group, &letter.id).await?,
            None => queue.send(&letter.body, Duration::ZERO).await?,
        }
        self.sent(&letter.key()).await?;
        Ok(true)
    }
}

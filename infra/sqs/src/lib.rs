//! Amazon SQS in a library: standard and FIFO queues over SQLite, for a local host and for tests.
//!
//! Start at [`Sqs`]. Programs in the same process use its typed methods; AWS SDKs and the `aws` command reach the same
//! queues through [`Sqs::handle`], which speaks the AWS JSON 1.0 protocol and leaves the HTTP server to the host.
//!
//! - `model`: what goes in and out
//! - `engine`: every SQL statement, and with them the semantics
//! - `wire`: requests to calls, results to responses
//! - `digest`: the MD5s that SDKs verify
//!
//! Unlike the service: no limit on messages in flight, `RedriveAllowPolicy` and access policies are stored but not
//! enforced, a standard queue never delivers twice or out of order without cause, and changes show at once.

mod digest;
mod engine;
mod error;
mod model;
mod wire;

pub use digest::{md5_of_attributes, md5_of_body};
pub use error::{Error, Result};
pub use model::{
    Message, MessageAttribute, MessageAttributes, MoveTask, NewMessage, QueueAttributes, QueueCounts, RedrivePolicy,
    Sent, TextMap,
};

use engine::{Engine, Queue};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Region of every ARN.
pub const REGION: &str = "us-east-1";
/// Account of every ARN and queue URL.
pub const ACCOUNT: &str = "000000000000";

/// The most messages that one receive, or one batch, may hold.
pub const MAX_BATCH: usize = 10;

/// ARN of the queue `name`.
pub fn queue_arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}

/// URL of the queue `name` on the server at `base_url`.
pub fn queue_url(base_url: &str, name: &str) -> String {
    format!("{}/{ACCOUNT}/{name}", base_url.trim_end_matches('/'))
}

/// Name of the queue with this URL or ARN; host, region and account are ignored.
pub fn queue_name(url_or_arn: &str) -> &str {
    url_or_arn.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default()
}

/// An identifier for messages, tasks and requests, as of SQS. It is unique, not secret.
#[expect(clippy::disallowed_methods, reason = "the engine stands by itself, without the workflows' own clock")]
pub(crate) fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Where the queues are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In memory, until the last [`Sqs`] is dropped.
    Memory,
    /// In this file, and two beside it. One process at a time can have it open.
    File(PathBuf),
}

/// Where the engine gets the time from, in epoch milliseconds.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// The machine's clock.
    #[expect(clippy::disallowed_methods, reason = "this is the clock everything else here takes")]
    pub fn system() -> Self {
        let since_epoch = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self::from_fn(move || i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX))
    }

    /// A clock that returns the result of `epoch_ms`, for tests.
    pub fn from_fn(epoch_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(epoch_ms))
    }

    fn now_ms(&self) -> i64 {
        (self.0)()
    }
}

/// A set of queues. Clones share it.
///
/// Methods that name a queue fail with [`Error::QueueDoesNotExist`] if it is not there; any may fail with
/// [`Error::Database`]. Calls take microseconds and run on the caller's thread; only those that wait are async.
#[derive(Clone)]
pub struct Sqs(Arc<Shared>);

struct Shared {
    engine: Mutex<Engine>,
    clock: Clock,
}

impl Shared {
    /// Runs `call` with the engine to itself and the time.
    fn call<T>(&self, call: impl FnOnce(&mut Engine, i64) -> Result<T>) -> Result<T> {
        // After a panic inside, the transaction was rolled back.
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        call(&mut engine, self.clock.now_ms())
    }
}

impl Sqs {
    /// Opens the queues at `location`, or starts with none.
    ///
    /// Messages that a former process had received stay in flight until their time is up, or until
    /// [`Sqs::release_in_flight`]; its move tasks count as failed.
    ///
    /// # Errors
    /// [`Error::Open`], also while another process has the file open; [`Error::Schema`].
    pub fn open(location: &Location, clock: Clock) -> Result<Self> {
        Ok(Self(Arc::new(Shared { engine: Mutex::new(Engine::open(location)?), clock })))
    }

    /// Creates a queue, FIFO if `attributes` say so and the name ends in `.fifo`. Does nothing if it is there already
    /// with these attributes. A dead-letter queue must be created before its source.
    ///
    /// # Errors
    /// [`Error::QueueNameExists`] with other attributes; [`Error::InvalidParameterValue`],
    /// [`Error::InvalidAttributeName`] and [`Error::InvalidAttributeValue`] for names and values that no queue can have.
    pub fn create_queue(&self, name: &str, attributes: &TextMap, tags: TextMap) -> Result<()> {
        self.0.call(|engine, now| engine.create_queue(name, attributes, tags, now))
    }

    /// Deletes a queue and its messages.
    pub fn delete_queue(&self, queue: &str) -> Result<()> {
        self.0.call(|engine, _| engine.delete_queue(queue))
    }

    /// Deletes a queue's messages.
    pub fn purge_queue(&self, queue: &str) -> Result<()> {
        self.0.call(|engine, _| engine.purge_queue(queue))
    }

    /// Names of all queues, sorted.
    pub fn queues(&self) -> Result<Vec<String>> {
        self.0.call(|engine, _| Ok(engine.queues().map(|queue| queue.name.clone()).collect()))
    }

    /// A queue's settings.
    pub fn attributes(&self, queue: &str) -> Result<QueueAttributes> {
        self.0.call(|engine, _| Ok(engine.queue(queue)?.attributes.clone()))
    }

    /// Changes some of a queue's settings, by their API names.
    ///
    /// # Errors
    /// [`Error::InvalidAttributeName`] and [`Error::InvalidAttributeValue`]; then nothing is changed.
    pub fn set_attributes(&self, queue: &str, changes: &TextMap) -> Result<()> {
        self.0.call(|engine, now| engine.set_attributes(queue, changes, now))
    }

    /// How many messages a queue holds.
    pub fn counts(&self, queue: &str) -> Result<QueueCounts> {
        self.0.call(|engine, now| {
            let queue = engine.queue(queue)?;
            engine.counts(&queue, now)
        })
    }

    /// Sends one message.
    ///
    /// # Errors
    /// [`Error::MissingParameter`], [`Error::InvalidParameterValue`], [`Error::InvalidMessageContents`].
    pub fn send(&self, queue: &str, message: NewMessage) -> Result<Sent> {
        only(self.send_batch(queue, &[message])?)
    }

    /// Sends messages in one transaction, which is several times faster than one by one. The inner errors concern single
    /// messages, the others are sent.
    pub fn send_batch(&self, queue: &str, messages: &[NewMessage]) -> Result<Vec<Result<Sent>>> {
        self.0.call(|engine, now| {
            let queue = engine.queue(queue)?;
            engine.send(&queue, messages, now)
        })
    }

    /// Receives up to `max` messages (at most ten) that are available now, and hides them for `visibility_s` seconds, or
    /// for the queue's own visibility timeout.
    ///
    /// # Errors
    /// [`Error::InvalidParameterValue`] for more than twelve hours.
    pub fn receive(&self, queue: &str, max: usize, visibility_s: Option<u32>) -> Result<Vec<Message>> {
        self.0.call(|engine, now| receive(engine, &*engine.queue(queue)?, max, visibility_s, now))
    }

    /// [`Sqs::receive`] that waits for the first message, up to `wait`; no messages after that. Dropping it while it
    /// waits loses nothing.
    ///
    /// # Errors
    /// As [`Sqs::receive`]; [`Error::QueueDoesNotExist`] also when the queue is deleted in the meantime.
    pub async fn receive_wait(
        &self,
        queue: &str,
        max: usize,
        visibility_s: Option<u32>,
        wait: Duration,
    ) -> Result<Vec<Message>> {
        let deadline = Instant::now() + wait;
        loop {
            let arrivals = self.0.call(|engine, _| Ok(Arc::clone(&engine.queue(queue)?.arrivals)))?;
            let mut arrival = pin!(arrivals.notified());
            arrival.as_mut().enable(); // before looking, so that nothing arrives unnoticed in between
            let (received, due_in) = self.0.call(|engine, now| {
                let queue = engine.queue(queue)?;
                let received = receive(engine, &queue, max, visibility_s, now)?;
                let due_in_ms = engine.next_due_ms(&queue, now)?.and_then(|due| u64::try_from(due - now).ok());
                Ok((received, due_in_ms.map(Duration::from_millis)))
            })?;
            if !received.is_empty() || Instant::now() >= deadline {
                return Ok(received);
            }
            let due = due_in.map_or(deadline, |due_in| deadline.min(Instant::now() + due_in));
            let _arrived_or_due = timeout_at(due, arrival).await;
        }
    }

    /// Deletes a received message, if it still exists.
    ///
    /// # Errors
    /// [`Error::ReceiptHandleIsInvalid`]; on FIFO queues [`Error::InvalidParameterValue`] once the visibility timeout is
    /// over.
    pub fn delete(&self, queue: &str, receipt_handle: &str) -> Result<()> {
        only(self.delete_batch(queue, &[receipt_handle])?)
    }

    /// Deletes received messages in one transaction; the inner errors are those of [`Sqs::delete`].
    pub fn delete_batch(&self, queue: &str, receipt_handles: &[&str]) -> Result<Vec<Result<()>>> {
        self.0.call(|engine, now| {
            let queue = engine.queue(queue)?;
            engine.delete(&queue, receipt_handles, now)
        })
    }

    /// Sets a received message's visibility timeout, in seconds from now; 0 makes it visible at once.
    ///
    /// # Errors
    /// [`Error::MessageNotInflight`] when its time is over, [`Error::InvalidParameterValue`] when it was deleted or
    /// received again since or for more than twelve hours, [`Error::ReceiptHandleIsInvalid`].
    pub fn change_visibility(&self, queue: &str, receipt_handle: &str, visibility_s: u32) -> Result<()> {
        only(self.change_visibility_batch(queue, &[(receipt_handle, visibility_s)])?)
    }

    /// [`Sqs::change_visibility`] for several in one transaction; the inner errors are those.
    pub fn change_visibility_batch(&self, queue: &str, changes: &[(&str, u32)]) -> Result<Vec<Result<()>>> {
        self.0.call(|engine, now| {
            let queue = engine.queue(queue)?;
            engine.change_visibility(&queue, changes, now)
        })
    }

    /// Makes every message in flight visible again, in all queues, and says how many. For the start of a host: the
    /// processes that received them have ended.
    pub fn release_in_flight(&self) -> Result<usize> {
        self.0.call(Engine::release_in_flight)
    }

    /// Starts to move the messages of a dead-letter queue to `destination_arn`, or back where each came from, as new
    /// messages. A background task does it, batch by batch; returns the task's handle.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`] without these queues, [`Error::InvalidParameterValue`] when the source is not a
    /// dead-letter queue, [`Error::UnsupportedOperation`] while another task empties it.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start_move_task(
        &self,
        source_arn: &str,
        destination_arn: Option<&str>,
        max_per_second: Option<u32>,
    ) -> Result<String> {
        let handle = self.0.call(|engine, now| engine.start_move(source_arn, destination_arn, max_per_second, now))?;
        tokio::spawn(run_move(Arc::downgrade(&self.0), handle.clone(), max_per_second));
        Ok(handle)
    }

    /// The latest move tasks from a queue, newest first.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`] without that queue.
    pub fn move_tasks(&self, source_arn: &str, limit: usize) -> Result<Vec<MoveTask>> {
        self.0.call(|engine, _| engine.moves(&*engine.move_source(source_arn)?, limit))
    }

    /// Stops a move task; returns how many messages it moved.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`] without that task, [`Error::UnsupportedOperation`] when it is over.
    pub fn cancel_move_task(&self, handle: &str) -> Result<u64> {
        self.0.call(|engine, _| engine.cancel_move(handle))
    }
}

fn receive(
    engine: &mut Engine,
    queue: &Queue,
    max: usize,
    visibility_s: Option<u32>,
    now: i64,
) -> Result<Vec<Message>> {
    let visibility_s = visibility_s.unwrap_or(queue.attributes.visibility_timeout_s);
    engine::check_visibility(visibility_s)?;
    engine.receive(queue, max.clamp(1, MAX_BATCH), visibility_s, now)
}

/// The outcome of a batch of one.
fn only<T>(outcomes: Vec<Result<T>>) -> Result<T> {
    outcomes.into_iter().next().unwrap_or(Err(Error::EmptyBatchRequest))
}

/// Runs a move task. It keeps no database open, and ends when the last [`Sqs`] is dropped.
async fn run_move(shared: Weak<Shared>, handle: String, max_per_second: Option<u32>) {
    const BATCH: u32 = 100;
    let batch = max_per_second.map_or(BATCH, |rate| rate.min(BATCH));
    let mut pace = max_per_second.map(|rate| tokio::time::interval(Duration::from_secs(batch.into()) / rate));
    loop {
        match &mut pace {
            Some(interval) => drop(interval.tick().await),
            None => tokio::task::yield_now().await,
        }
        let Some(shared) = shared.upgrade() else { return };
        match shared.call(|engine, now| engine.continue_move(&handle, batch as usize, now)) {
            Ok(task) if task.status == "RUNNING" => {}
            // After a failure of the database the task stays where it is until the next open.
            _ => return,
        }
    }
}

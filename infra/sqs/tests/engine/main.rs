//! The semantics of SQS, through the crate's public API. Time stands still unless a test moves it.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails like a test")]

mod dead_letters;
mod durability;
mod fifo;
mod model;
mod standard;
mod waiting;
mod wire;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use switchyard_sqs::{Clock, Location, Message, NewMessage, Sqs, TextMap, queue_arn};

/// Queues in memory, with a clock of their own.
struct World {
    sqs: Sqs,
    now: Arc<AtomicI64>,
}

impl World {
    fn new() -> Self {
        Self::at(&Location::Memory)
    }

    fn on_disk(path: &Path) -> Self {
        Self::at(&Location::File(path.to_owned()))
    }

    fn at(location: &Location) -> Self {
        let now = Arc::new(AtomicI64::new(1_800_000_000_000));
        let read = Arc::clone(&now);
        Self { sqs: Sqs::open(location, Clock::from_fn(move || read.load(Ordering::SeqCst))).unwrap(), now }
    }

    /// A world with one queue, FIFO if it is called so.
    fn with_queue(name: &str, attributes: &[(&str, &str)]) -> Self {
        let world = Self::new();
        world.create(name, attributes);
        world
    }

    fn create(&self, name: &str, attributes: &[(&str, &str)]) {
        let mut attributes = map(attributes);
        if name.ends_with(".fifo") {
            attributes.insert("FifoQueue".to_owned(), "true".to_owned());
        }
        self.sqs.create_queue(name, &attributes, TextMap::new()).unwrap();
    }

    /// A source and its dead-letter queue `<name>`, FIFO if `suffix` is `.fifo`.
    fn create_pair(&self, suffix: &str, max_receive_count: u32) -> (String, String) {
        let (source, dead) = (format!("work{suffix}"), format!("dead{suffix}"));
        self.create(&dead, &[]);
        self.create(&source, &[("RedrivePolicy", &redrive(&dead, max_receive_count))]);
        (source, dead)
    }

    fn pass(&self, seconds: i64) {
        self.now.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    fn now(&self) -> i64 {
        self.now.load(Ordering::SeqCst)
    }

    fn receive(&self, queue: &str) -> Vec<Message> {
        self.sqs.receive(queue, 10, None).unwrap()
    }

    fn bodies(&self, queue: &str) -> Vec<String> {
        bodies(&self.receive(queue))
    }

    /// Sends `body` to a group, with the body for deduplication id.
    fn send_to(&self, queue: &str, group: &str, body: &str) {
        self.sqs.send(queue, grouped(group, body)).unwrap();
    }

    /// (visible, in flight, delayed)
    fn counts(&self, queue: &str) -> (u64, u64, u64) {
        let counts = self.sqs.counts(queue).unwrap();
        (counts.visible, counts.in_flight, counts.delayed)
    }
}

fn redrive(dead: &str, max_receive_count: u32) -> String {
    format!(r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":{max_receive_count}}}"#, queue_arn(dead))
}

fn grouped(group: &str, body: &str) -> NewMessage {
    NewMessage { group_id: Some(group.to_owned()), deduplication_id: Some(body.to_owned()), ..NewMessage::new(body) }
}

fn bodies(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.body.clone()).collect()
}

fn map(pairs: &[(&str, &str)]) -> TextMap {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

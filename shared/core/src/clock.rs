//! The clock that every workflow takes, and the identifiers that sort by its time.

use crate::random;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, Mutex};
use uuid::{ContextV7, Uuid};

/// The only place that asks what time it is.
///
/// `process` functions read it once per message and pass `now` on, so that rules stay pure.
#[derive(Clone)]
pub struct Clock(Arc<Source>);

struct Source {
    read: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// Keeps identifiers of one millisecond in the order in which they were made.
    ids: Mutex<ContextV7>,
}

impl Clock {
    /// The machine's clock.
    #[expect(clippy::disallowed_methods, reason = "this is the clock everything else takes")]
    pub fn system() -> Self {
        Self::from_fn(Timestamp::now)
    }

    /// A clock that shows what `read` returns, for tests and replays.
    pub fn from_fn(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(Source { read: Box::new(read), ids: Mutex::new(ContextV7::new()) }))
    }

    /// The time, UTC.
    pub fn now(&self) -> Timestamp {
        (self.0.read)()
    }

    /// A new identifier (UUID v7) that sorts by this clock's time, to the millisecond, and after those it made before.
    pub fn new_id(&self) -> Uuid {
        let now = self.now();
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or_default();
        Uuid::new_v7(uuid::Timestamp::from_unix(&self.0.ids, seconds, nanos))
    }
}

/// A new identifier (UUID v7) of a time that was read before. Identifiers of one millisecond are in no order.
pub fn new_id_at(at: Timestamp) -> Uuid {
    let ms = u64::try_from(at.as_millisecond()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(ms, &random::bytes()).into_uuid()
}

/// A UUID v7 of a time, the same whenever it is asked for with the same text.
pub fn uuid_of(at: Timestamp, text: &str) -> Uuid {
    let (ms, digest) = (u64::try_from(at.as_millisecond()).unwrap_or_default(), Sha256::digest(text));
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
}

/// When an id was made; `None` when it is not a UUID v7.
pub fn made_at(id: &str) -> Option<Timestamp> {
    let (seconds, nanos) = Uuid::parse_str(id).ok()?.get_timestamp()?.to_unix();
    Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
}

/// ISO 8601 in UTC with milliseconds, `2026-02-03T04:05:06.000Z`: the one text form of an instant.
pub fn iso_millis(at: Timestamp) -> String {
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_print_with_three_decimals_and_z() {
        let at: Timestamp = "2026-02-03T04:05:06Z".parse().unwrap();
        assert_eq!(iso_millis(at), "2026-02-03T04:05:06.000Z");
    }

    #[test]
    fn identifiers_are_of_the_clocks_own_time_and_sort_by_their_making() {
        let at: Timestamp = "2026-02-03T04:05:06.789Z".parse().unwrap();
        let clock = Clock::from_fn(move || at);
        let ids: Vec<_> = (0..1_000).map(|_| clock.new_id().to_string()).collect();
        assert!(ids.is_sorted() && ids.first() != ids.get(1));
        assert!(ids.iter().all(|id| made_at(id) == Some(at)));
        assert_eq!(made_at(&new_id_at(at).to_string()), Some(at));
        assert_ne!(new_id_at(at), new_id_at(at));
    }
}

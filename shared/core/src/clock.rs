use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use uuid::Uuid;

/// The only place that asks what time it is.
///
/// `process` functions read it once per message and pass `now` on, so that rules stay pure.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's clock.
    #[expect(clippy::disallowed_methods, reason = "this is the clock everything else takes")]
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// A clock that reads whatever `read` answers, for tests and replays.
    pub fn from_fn(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The time, UTC.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }

    /// A new time-sorted identifier (UUID v7).
    pub fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// A UUID v7 of a time, the same whenever it is asked for with the same text.
pub fn uuid_of(at: Timestamp, text: &str) -> Uuid {
    let (ms, digest) = (u64::try_from(at.as_millisecond()).unwrap_or_default(), Sha256::digest(text));
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
}

/// When an id was made; `None` when it is no UUID v7.
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
}

//! The deadline of an invocation, and the machine's clock for log lines.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use switchyard_core::Timestamp;
use tokio::time::Instant;

/// The time before the invocation's deadline that is left for the response and for flushing logs.
const RESPONSE_MARGIN: Duration = Duration::from_millis(500);

/// When work must end, on the monotonic clock: the invocation's deadline less a margin.
pub(crate) fn work_deadline(deadline_epoch_ms: u64) -> Instant {
    let left = Duration::from_millis(deadline_epoch_ms.saturating_sub(epoch_ms()));
    Instant::now() + left.saturating_sub(RESPONSE_MARGIN)
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "deadlines and log lines are about the machine's own clock")]
pub(crate) fn epoch_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The instant of an epoch in milliseconds; 1970 when out of range.
pub(crate) fn timestamp(epoch_ms: u64) -> Timestamp {
    i64::try_from(epoch_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default()
}

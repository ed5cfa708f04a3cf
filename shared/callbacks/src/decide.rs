//! The rules, without I/O: when to retry, and how an event's deliveries are summarized.

use crate::model::{DeliveryStatus, RetryPolicy};
use std::time::Duration;
use switchyard_core::backoff::{at_least, spread};

const COMPAT_WAITS: [u32; 2] = [60, 300];

/// Waits between the ten attempts of Standard Webhooks v1.0.0: 75 h 35 min in all.
const STANDARD_WAITS: [u32; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// A longer `Retry-After` of a receiver is cut to this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3_600);

/// The share of a wait that jitter adds or takes; [`RetryPolicy::Compat`] has none.
const JITTER: f64 = 0.2;

/// The most waits of a custom policy.
pub const MAX_CUSTOM_WAITS: usize = 20;
/// The longest wait of a custom policy, in seconds.
pub const MAX_CUSTOM_WAIT_S: u32 = 3 * 86_400;

fn waits(policy: &RetryPolicy) -> &[u32] {
    match policy {
        RetryPolicy::Compat => &COMPAT_WAITS,
        RetryPolicy::Standard => &STANDARD_WAITS,
        RetryPolicy::Custom(waits) => waits,
    }
}

/// The wait after `made` attempts, or `None` when no attempt is left. `random` is 0.0 to 1.0; the receiver's `Retry-After`
/// can only make the wait longer.
pub(crate) fn next_wait(
    policy: &RetryPolicy,
    made: u32,
    retry_after: Option<Duration>,
    random: f64,
) -> Option<Duration> {
    let step = waits(policy).get(usize::try_from(made).ok()?.checked_sub(1)?)?;
    let jitter = if *policy == RetryPolicy::Compat { 0.0 } else { JITTER };
    let wait = spread(Duration::from_secs(u64::from(*step)), jitter, random);
    Some(at_least(wait, retry_after, MAX_RETRY_AFTER))
}

/// All waits of a policy together. A delivery never takes longer: an open circuit saves requests and adds no time.
pub(crate) fn total_wait(policy: &RetryPolicy) -> Duration {
    waits(policy).iter().map(|seconds| Duration::from_secs(u64::from(*seconds))).sum()
}

/// What an event's summary needs of one delivery.
#[derive(Clone, Debug)]
pub(crate) struct DeliverySummary {
    pub(crate) status: DeliveryStatus,
    pub(crate) attempts: u32,
    pub(crate) next_attempt_at: Option<i64>,
    pub(crate) last_error: Option<String>,
}

/// The state of an event, over all its deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventSummary {
    pub(crate) status: DeliveryStatus,
    pub(crate) attempt: u32,
    pub(crate) next_retry_at: Option<i64>,
    pub(crate) last_error: Option<String>,
}

/// An event succeeds when every delivery succeeded or was skipped; it fails when none is pending and one failed.
pub(crate) fn summarize(deliveries: &[DeliverySummary]) -> EventSummary {
    let any = |status| deliveries.iter().any(|delivery| delivery.status == status);
    let status = match () {
        () if any(DeliveryStatus::Pending) => DeliveryStatus::Pending,
        () if any(DeliveryStatus::Failed) => DeliveryStatus::Failed,
        () => DeliveryStatus::Success,
    };
    let errors: Vec<_> = deliveries.iter().filter_map(|delivery| delivery.last_error.as_deref()).take(3).collect();
    EventSummary {
        status,
        attempt: deliveries.iter().map(|delivery| delivery.attempts).max().unwrap_or(0),
        next_retry_at: deliveries.iter().filter_map(|delivery| delivery.next_attempt_at).min(),
        last_error: (!errors.is_empty()).then(|| errors.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v34_compat_tries_three_times() {
        let wait = |made| next_wait(&RetryPolicy::Compat, made, None, 0.3).map(|wait| wait.as_secs());
        assert_eq!([wait(1), wait(2), wait(3)], [Some(60), Some(300), None]);
        assert_eq!(total_wait(&RetryPolicy::Compat), Duration::from_secs(360));
    }

    #[test]
    fn the_standards_ten_attempts_span_75_hours_and_35_minutes() {
        assert_eq!(total_wait(&RetryPolicy::Standard), Duration::from_secs(75 * 3600 + 35 * 60 + 5));
        for made in 1..10 {
            let step = f64::from(STANDARD_WAITS[made as usize - 1]);
            for random in [0.0, 0.5, 1.0] {
                let wait = next_wait(&RetryPolicy::Standard, made, None, random).unwrap().as_secs_f64();
                assert!((0.79 * step..=1.21 * step).contains(&wait), "{made}: {wait}");
            }
        }
        assert_eq!(next_wait(&RetryPolicy::Standard, 10, None, 0.0), None);
    }

    #[test]
    fn a_wish_makes_waits_longer_up_to_a_day_and_never_shorter() {
        let wait = |wish| next_wait(&RetryPolicy::Compat, 1, Some(Duration::from_secs(wish)), 0.0).unwrap().as_secs();
        assert_eq!([wait(10), wait(120), wait(1_000_000)], [60, 120, 86_400]);
        assert_eq!(next_wait(&RetryPolicy::Compat, 3, Some(Duration::from_secs(9)), 0.0), None);
    }

    #[test]
    fn v36_an_event_is_as_its_deliveries_are() {
        use DeliveryStatus::{Failed, Pending, Skipped, Success};
        let part = |status| DeliverySummary { status, attempts: 1, next_attempt_at: None, last_error: None };
        for (parts, wanted) in [
            (vec![], Success),
            (vec![Success, Skipped], Success),
            (vec![Success, Failed], Failed),
            (vec![Failed, Pending], Pending),
        ] {
            let parts: Vec<_> = parts.into_iter().map(part).collect();
            assert_eq!(summarize(&parts).status, wanted);
        }
        let mut many: Vec<_> = (0..4).map(|_| part(Failed)).collect();
        for (number, part) in many.iter_mut().enumerate() {
            part.last_error = Some(format!("e{number}"));
        }
        assert_eq!(summarize(&many).last_error.as_deref(), Some("e0; e1; e2"));
    }
}

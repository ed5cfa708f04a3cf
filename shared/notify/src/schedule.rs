//! The retry schedule of deliveries.

use std::time::Duration;
use switchyard_core::backoff::{at_least, spread};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The waits after the first attempt, the second, and so on, without jitter.
pub const RETRY_WAITS: [Duration; 7] =
    [seconds(5), seconds(30), seconds(120), seconds(600), seconds(1_800), seconds(7_200), seconds(21_600)];

/// A delivery that is older is given up: its message is outdated.
pub const MAX_AGE: Duration = seconds(24 * 60 * 60);

/// The share of a wait that jitter adds or takes.
const JITTER: f64 = 0.2;

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextAttempt {
    /// Another attempt after this wait.
    Wait(Duration),
    /// No attempt: it would be later than [`MAX_AGE`].
    Expired,
    /// No attempt: all were made.
    Exhausted,
}

/// What follows attempt number `made` (from 1) of a delivery of this `age`. The provider's `retry_after` can only make the
/// schedule's wait longer. `random` is in `0.0..1.0`.
pub fn next(made: u32, retry_after: Option<Duration>, age: Duration, random: f64) -> NextAttempt {
    let Some(wait) = usize::try_from(made).ok().and_then(|made| RETRY_WAITS.get(made.checked_sub(1)?)) else {
        return NextAttempt::Exhausted;
    };
    let wait = at_least(spread(*wait, JITTER, random), retry_after, Duration::MAX);
    if age.saturating_add(wait) > MAX_AGE { NextAttempt::Expired } else { NextAttempt::Wait(wait) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_spread_by_a_fifth() {
        for (made, wait) in (1..).zip(RETRY_WAITS) {
            assert_eq!(next(made, None, Duration::ZERO, 0.0), NextAttempt::Wait(wait.mul_f64(0.8)));
            assert_eq!(next(made, None, Duration::ZERO, 0.5), NextAttempt::Wait(wait));
            let NextAttempt::Wait(longest) = next(made, None, Duration::ZERO, 1.0) else { panic!("{made}") };
            assert!(longest.abs_diff(wait.mul_f64(1.2)) < Duration::from_millis(1));
        }
        assert_eq!(next(8, None, Duration::ZERO, 0.5), NextAttempt::Exhausted);
        assert_eq!(next(0, None, Duration::ZERO, 0.5), NextAttempt::Exhausted);
    }

    #[test]
    fn v33_a_longer_retry_after_replaces_the_wait() {
        let retry_after = Some(Duration::from_secs(36));
        assert_eq!(next(1, retry_after, Duration::ZERO, 0.0), NextAttempt::Wait(Duration::from_secs(36)));
        assert_eq!(next(3, retry_after, Duration::ZERO, 0.5), NextAttempt::Wait(Duration::from_secs(120)));
    }

    #[test]
    fn an_attempt_that_would_be_too_late_is_not_made() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(next(7, None, 17 * hour, 0.5), NextAttempt::Wait(6 * hour));
        assert_eq!(next(7, None, 19 * hour, 0.5), NextAttempt::Expired);
        assert_eq!(next(1, Some(25 * hour), Duration::ZERO, 0.5), NextAttempt::Expired);
        assert_eq!(next(1, Some(Duration::MAX), hour, 0.5), NextAttempt::Expired);
    }
}

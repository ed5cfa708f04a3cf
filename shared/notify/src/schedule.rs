//! When a delivery is tried again.

use std::time::Duration;
use switchyard_core::backoff::{at_least, spread};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The waits after the first attempt, the second, and so on, before they are spread.
pub const WAITS: [Duration; 7] =
    [seconds(5), seconds(30), seconds(120), seconds(600), seconds(1_800), seconds(7_200), seconds(21_600)];

/// A delivery that is not through by then is of no use to anybody.
pub const MAX_AGE: Duration = seconds(24 * 60 * 60);

/// How far a wait is moved, either way.
const SPREAD: f64 = 0.2;

/// What follows an attempt that may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another attempt after this wait.
    Wait(Duration),
    /// None: it would come later than [`MAX_AGE`].
    Expired,
    /// None: all have been made.
    Exhausted,
}

/// What follows attempt number `made` (from 1) of a delivery that is `age` old. The provider's `retry_after` counts when it
/// is larger than the schedule's wait. `random` is in `0.0..1.0`.
pub fn next(made: u32, retry_after: Option<Duration>, age: Duration, random: f64) -> Next {
    let Some(wait) = usize::try_from(made).ok().and_then(|made| WAITS.get(made.checked_sub(1)?)) else {
        return Next::Exhausted;
    };
    let wait = at_least(spread(*wait, SPREAD, random), retry_after, Duration::MAX);
    if age.saturating_add(wait) > MAX_AGE { Next::Expired } else { Next::Wait(wait) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_spread_by_a_fifth() {
        for (made, wait) in (1..).zip(WAITS) {
            assert_eq!(next(made, None, Duration::ZERO, 0.0), Next::Wait(wait.mul_f64(0.8)));
            assert_eq!(next(made, None, Duration::ZERO, 0.5), Next::Wait(wait));
            let Next::Wait(longest) = next(made, None, Duration::ZERO, 1.0) else { panic!("{made}") };
            assert!(longest.abs_diff(wait.mul_f64(1.2)) < Duration::from_millis(1));
        }
        assert_eq!(next(8, None, Duration::ZERO, 0.5), Next::Exhausted);
        assert_eq!(next(0, None, Duration::ZERO, 0.5), Next::Exhausted);
    }

    #[test]
    fn v33_a_larger_wish_wins_and_is_never_shortened() {
        let wish = Some(Duration::from_secs(36));
        assert_eq!(next(1, wish, Duration::ZERO, 0.0), Next::Wait(Duration::from_secs(36)));
        assert_eq!(next(3, wish, Duration::ZERO, 0.5), Next::Wait(Duration::from_secs(120)));
    }

    #[test]
    fn what_would_come_too_late_is_not_tried() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(next(7, None, 17 * hour, 0.5), Next::Wait(6 * hour));
        assert_eq!(next(7, None, 19 * hour, 0.5), Next::Expired);
        assert_eq!(next(1, Some(25 * hour), Duration::ZERO, 0.5), Next::Expired);
        assert_eq!(next(1, Some(Duration::MAX), hour, 0.5), Next::Expired);
    }
}

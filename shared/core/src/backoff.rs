//! How long to wait before another attempt: exponential backoff, jitter, and the third party's `Retry-After`.
//!
//! Pure: callers pass the random number (0.0 to 1.0, see [`random::fraction`](crate::random::fraction)) and the time.

use crate::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use std::time::Duration;

/// Exponential backoff: the ceiling doubles with every attempt up to a cap, and the wait is drawn below the ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
}

impl Backoff {
    /// A first ceiling of `base`, and no ceiling above `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// The longest wait after a failure that `before` others preceded: `base`, doubled `before` times, at most the cap.
    /// Schedules that must be predictable use it as it is.
    pub fn ceiling(&self, before: u32) -> Duration {
        self.base.saturating_mul(2_u32.saturating_pow(before)).min(self.cap)
    }

    /// A wait with full jitter: `floor` and a random part of the ceiling, so that clients that were refused together
    /// do not come back together. `floor` is the third party's `Retry-After`, which must not be undercut.
    pub fn wait(&self, before: u32, floor: Option<Duration>, random: f64) -> Duration {
        floor.unwrap_or_default().saturating_add(self.ceiling(before).mul_f64(random.clamp(0.0, 1.0)))
    }
}

/// A wait that a schedule names, moved by up to `part` of itself either way: `part` 0.2 makes 10 s anything from 8 s to
/// 12 s.
pub fn spread(wait: Duration, part: f64, random: f64) -> Duration {
    wait.mul_f64(1.0 + part * (2.0 * random.clamp(0.0, 1.0) - 1.0))
}

/// A wait that respects the third party's `Retry-After`, as far as `cap`: the longer of the two.
pub fn at_least(wait: Duration, retry_after: Option<Duration>, cap: Duration) -> Duration {
    wait.max(retry_after.unwrap_or_default().min(cap))
}

/// The value of a `Retry-After` header (RFC 9110 §10.2.3), delta-seconds or HTTP-date, as a wait from `now` of at most
/// `cap`. `None` when it is neither, or a date that has passed.
pub fn retry_after(value: &str, now: Timestamp, cap: Duration) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a very long wait.
        return Some(value.parse().map_or(cap, Duration::from_secs).min(cap));
    }
    let wait = Duration::try_from(http_date(value, now)?.duration_since(now)).ok()?;
    Some(wait.min(cap)).filter(|wait| !wait.is_zero())
}

/// An HTTP-date in any of the three forms that RFC 9110 §5.6.7 asks recipients to read. The name of the weekday says
/// nothing that the date does not, and is not checked. `now` decides the century of a year with two digits.
pub fn http_date(text: &str, now: Timestamp) -> Option<Timestamp> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let (day, month, year, time) = match words.as_slice() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        [weekday, day, month, year, time, "GMT"] if weekday.ends_with(',') => (*day, *month, whole_year(year)?, *time),
        // Sunday, 06-Nov-94 08:49:37 GMT
        [weekday, date, time, "GMT"] if weekday.ends_with(',') => {
            let mut parts = date.split('-');
            let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
            if parts.next().is_some() {
                return None;
            }
            (day, month, short_year(year, now)?, *time)
        }
        // Sun Nov  6 08:49:37 1994
        [_, month, day, time, year] => (*day, *month, whole_year(year)?, *time),
        _ => return None,
    };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let mut parts = time.split(':').map(two_digits);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() {
        return None;
    }
    // A leap second is the end of its minute.
    let second = if second == 60 { 59 } else { second };
    let day = day.parse::<u8>().ok().filter(|_| day.len() <= 2)?;
    let (month, day) = (i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    let civil = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    Offset::UTC.to_timestamp(civil).ok()
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn two_digits(text: &str) -> Option<i8> {
    text.parse::<u8>().ok().filter(|_| text.len() == 2).and_then(|number| i8::try_from(number).ok())
}

fn whole_year(text: &str) -> Option<i16> {
    text.parse::<u16>().ok().filter(|_| text.len() == 4).and_then(|year| i16::try_from(year).ok())
}

/// A year with two digits that would lie more than 50 years ahead is the one a century before.
fn short_year(text: &str, now: Timestamp) -> Option<i16> {
    let (short, this_year) = (i16::from(two_digits(text)?), Offset::UTC.to_datetime(now).year());
    let year = this_year - this_year % 100 + short;
    Some(if year > this_year + 50 { year - 100 } else { year })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn now() -> Timestamp {
        "2026-01-05T10:00:00Z".parse().unwrap()
    }

    fn seconds(value: &str) -> Option<u64> {
        retry_after(value, now(), DAY).map(|wait| wait.as_secs())
    }

    #[test]
    fn ceilings_double_up_to_the_cap_and_never_overflow() {
        let backoff = Backoff::new(Duration::from_secs(15), Duration::from_secs(900));
        let ceilings = [0, 1, 2, 5, 6, 7, 31, 32, u32::MAX].map(|before| backoff.ceiling(before).as_secs());
        assert_eq!(ceilings, [15, 30, 60, 480, 900, 900, 900, 900, 900]);
        assert_eq!(Backoff::new(Duration::MAX, Duration::MAX).ceiling(9), Duration::MAX);
    }

    #[test]
    fn jitter_is_full_and_the_floor_is_never_undercut() {
        let backoff = Backoff::new(Duration::from_secs(8), Duration::from_secs(60));
        let floor = Some(Duration::from_secs(30));
        let wait = |before, floor, random| backoff.wait(before, floor, random).as_secs();
        assert_eq!([wait(1, None, 0.0), wait(1, None, 0.5), wait(1, None, 1.0)], [0, 8, 16]);
        assert_eq!([wait(1, floor, 0.0), wait(1, floor, 1.0), wait(9, floor, 1.0)], [30, 46, 90]);
        // A caller's mistake makes no negative wait, and no longer one.
        assert_eq!([wait(0, None, -3.0), wait(0, None, 7.0)], [0, 8]);
        assert_eq!(backoff.wait(0, Some(Duration::MAX), 1.0), Duration::MAX);
    }

    #[test]
    fn a_scheduled_wait_is_spread_either_way() {
        let wait = Duration::from_secs(100);
        for (random, lower, upper) in [(0.0, 79_999, 80_001), (0.5, 99_999, 100_001), (1.0, 119_999, 120_001)] {
            assert!((lower..=upper).contains(&spread(wait, 0.2, random).as_millis()), "{random}");
        }
        assert_eq!(spread(wait, 0.0, 0.3), wait);
    }

    #[test]
    fn the_longer_of_two_waits_counts_and_a_wish_has_a_cap() {
        let wait = |wish: u64| at_least(Duration::from_secs(60), Some(Duration::from_secs(wish)), DAY).as_secs();
        assert_eq!([wait(10), wait(120), wait(1_000_000)], [60, 120, 86_400]);
        assert_eq!(at_least(Duration::from_secs(60), None, DAY).as_secs(), 60);
    }

    #[test]
    fn retry_after_in_seconds_is_capped_and_never_overflows() {
        assert_eq!([seconds("0"), seconds(" 120 "), seconds("86401")], [Some(0), Some(120), Some(86_400)]);
        assert_eq!(seconds("18446744073709551615"), Some(86_400));
        assert_eq!(seconds("99999999999999999999999999"), Some(86_400));
        for wrong in ["", " ", "-5", "+5", "1.5", "1e3", "0x10", "soon", "12 s", "٣"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn retry_after_is_a_date_in_each_of_three_forms() {
        for date in ["Mon, 05 Jan 2026 10:02:00 GMT", "Monday, 05-Jan-26 10:02:00 GMT", "Mon Jan  5 10:02:00 2026"] {
            assert_eq!(seconds(date), Some(120), "{date}");
        }
        assert_eq!(seconds("Sun, 01 Jan 9999 00:00:00 GMT"), Some(86_400), "capped");
        assert_eq!(seconds("Mon, 05 Jan 2026 09:02:00 GMT"), None, "it has passed");
        assert_eq!(seconds("Mon, 05 Jan 2026 10:00:00 GMT"), None, "it is now");
        for wrong in [
            "Mon, 05 Jan 2026 10:02:00",
            "Mon, 05 Jan 2026 10:02:00 +0200",
            "Mon, 05 jan 2026 10:02:00 GMT",
            "Mon, 32 Jan 2026 10:02:00 GMT",
            "Tue, 30 Feb 2027 10:02:00 GMT",
            "Mon, 05 Jan 26 10:02:00 GMT",
            "Mon, 05 Jan 2026 24:02:00 GMT",
            "Mon, 05 Jan 2026 10:02 GMT",
            "Mon, 05 Jan 2026 10:02:00:00 GMT",
            "Monday, 05-Jan-2026-1 10:02:00 GMT",
            "Mon, -5 Jan 2026 10:02:00 GMT",
            "2026-01-05T10:02:00Z",
        ] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn years_with_two_digits_lie_at_most_fifty_years_ahead() {
        let year = |text: &str| http_date(text, now()).map(|at| Offset::UTC.to_datetime(at).year());
        assert_eq!(year("Sunday, 06-Nov-94 08:49:37 GMT"), Some(1994));
        assert_eq!(year("Sunday, 06-Nov-76 08:49:37 GMT"), Some(2076));
        assert_eq!(year("Sunday, 06-Nov-77 08:49:37 GMT"), Some(1977));
        let example: Timestamp = "1994-11-06T08:49:37Z".parse().unwrap();
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT", now()), Some(example));
        assert_eq!(http_date("Sat, 31 Dec 2016 23:59:60 GMT", now()).unwrap().to_string(), "2016-12-31T23:59:59Z");
    }
}

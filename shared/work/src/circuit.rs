//! The circuit breaker of an endpoint: its record, kept in five attributes of a row, and the changes to it.
//!
//! A healthy endpoint costs no write. Five failures in a row open the circuit, for longer each time; then one
//! request probes the endpoint. An endpoint that has only failed for five days is [`Failed::Dead`].

use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_core::backoff::Backoff;
use switchyard_io::dynamo::{Changes, IntoAttribute as _};

/// So many failures in a row open the circuit.
const OPENS_AFTER: i64 = 5;
/// Failures closer together than this are one: requests that run side by side fail together.
const MOMENT: Duration = Duration::from_secs(1);
/// How long it stays open, by its openings since the last success.
const OPEN_FOR: Backoff = Backoff::new(Duration::from_secs(30), Duration::from_secs(600));

/// An endpoint that has only failed for this long is dead.
pub const DEAD_AFTER: Duration = Duration::from_secs(120 * 3_600);

/// Shares of [`DEAD_AFTER`], in percent, after which the operator may be warned.
const WARNED_AT: [u32; 3] = [50, 70, 90];

/// A probe is given its request's time and this much, before another may be made.
const PROBE_MARGIN: Duration = Duration::from_secs(5);

/// The record of an endpoint; flatten it into a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circuit {
    /// Failures since the last success.
    #[serde(default)]
    failures: i64,
    /// Epoch milliseconds of the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failing_since: Option<i64>,
    /// How often it opened since the last success.
    #[serde(default)]
    openings: i64,
    /// Until then it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open_until: Option<i64>,
    /// The highest mark that the operators were told about since the last success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    warned_percent: Option<i64>,
}

/// Consequence of a failure that is written down.
#[derive(Clone, Debug)]
pub enum Failed {
    /// Nothing but failures for [`DEAD_AFTER`].
    Dead,
    /// The changes that open the circuit.
    Opens(Changes),
    /// Nothing.
    Noted,
}

impl Circuit {
    /// Until when it is open, epoch milliseconds, if it is.
    pub fn open_until(&self, now_ms: i64) -> Option<i64> {
        self.open_until.filter(|until| *until > now_ms)
    }

    /// When it was open and its time is up: until when the others wait for the one request that goes ahead, and the changes
    /// by which one gets to be that.
    pub fn probe(&self, now_ms: i64, timeout: Duration) -> Option<(i64, Changes)> {
        self.open_until?;
        let until = now_ms + millis(timeout + PROBE_MARGIN);
        Some((until, self.unchanged(Changes::new().set("open_until", until))))
    }

    /// The changes after a success, if any are needed.
    pub fn succeeded(&self) -> Option<Changes> {
        (self.failures > 0 || self.open_until.is_some()).then(|| clean(Changes::new()))
    }

    /// The changes after a failure. Those that were under way when the circuit opened say nothing new, and are not counted.
    pub fn failed(&self, now_ms: i64) -> Changes {
        self.unchanged(Changes::new().add("failures", 1).set_once("failing_since", now_ms))
    }

    /// What to do now that a failure is written down.
    pub fn after_failure(&self, now_ms: i64) -> Failed {
        let failing_for = self.failing_for(now_ms);
        if failing_for >= DEAD_AFTER {
            return Failed::Dead;
        }
        match open_for(self.failures, failing_for, self.openings) {
            Some(wait) => {
                let opened = Changes::new().set("open_until", now_ms + millis(wait)).add("openings", 1);
                Failed::Opens(self.unchanged(opened))
            }
            None => Failed::Noted,
        }
    }

    /// The mark, in percent of [`DEAD_AFTER`], that it has passed by only failing and that nobody was told of, and the changes
    /// that say it was told of.
    pub fn warning(&self, now_ms: i64) -> Option<(i64, Changes)> {
        let percent = mark(self.failing_for(now_ms)).filter(|percent| self.warned_percent < Some(*percent))?;
        let warned = Changes::new()
            .set("warned_percent", percent)
            .only_if("attribute_not_exists(#warned_percent) OR #warned_percent < ?", [percent.into_attribute()]);
        Some((percent, warned))
    }

    fn failing_for(&self, now_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(now_ms - self.failing_since.unwrap_or(now_ms)).unwrap_or_default())
    }

    /// `changes` for a circuit that is as it was read.
    fn unchanged(&self, changes: Changes) -> Changes {
        match self.open_until {
            Some(until) => changes.only_if("#open_until = ?", [until.into_attribute()]),
            None => changes.only_if("attribute_not_exists(#open_until)", []),
        }
    }
}

/// `changes` that wipe the record clean.
pub fn clean(changes: Changes) -> Changes {
    let changes = changes.set("failures", 0_i64).set("openings", 0_i64);
    changes.remove("failing_since").remove("open_until").remove("warned_percent")
}

/// How long the circuit is to stay open after `failures` in a row over `failing_for`, having been open `openings` times since
/// the last success; `None` while they are few, or all of one moment: requests that run side by side fail together, and
/// a success among them is heard a little later.
fn open_for(failures: i64, failing_for: Duration, openings: i64) -> Option<Duration> {
    let is_failing = failures >= OPENS_AFTER && failing_for >= MOMENT;
    let doublings = u32::try_from(openings).unwrap_or(u32::MAX);
    is_failing.then(|| OPEN_FOR.ceiling(doublings))
}

fn mark(failing_for: Duration) -> Option<i64> {
    WARNED_AT.into_iter().rfind(|percent| failing_for * 100 >= DEAD_AFTER * *percent).map(i64::from)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_five_failures_over_a_second_and_for_longer_each_time() {
        let open = |failures, millis, openings| {
            open_for(failures, Duration::from_millis(millis), openings).map(|wait| wait.as_secs())
        };
        assert_eq!([open(4, 5_000, 0), open(50, 999, 0), open(5, 1_000, 0)], [None, None, Some(30)]);
        assert_eq!([1, 4, 5, 500].map(|openings| open(6, 60_000, openings)), [60, 480, 600, 600].map(Some));
    }

    #[test]
    fn marks_lie_at_half_of_the_time_and_twice_more() {
        let hours = |hours: u64| mark(Duration::from_secs(hours * 3_600));
        assert_eq!(
            [59, 60, 83, 84, 107, 108, 119].map(hours),
            [None, Some(50), Some(50), Some(70), Some(70), Some(90), Some(90)]
        );
    }

    #[test]
    fn five_days_of_nothing_but_failures_are_the_end() {
        let circuit = Circuit { failures: 9, failing_since: Some(0), ..Circuit::default() };
        assert!(matches!(circuit.after_failure(millis(DEAD_AFTER)), Failed::Dead));
        assert!(matches!(circuit.after_failure(millis(DEAD_AFTER) - 1), Failed::Opens(_)));
        assert!(matches!(Circuit::default().after_failure(0), Failed::Noted));
    }

    #[test]
    fn a_healthy_endpoint_costs_no_write() {
        assert!(Circuit::default().succeeded().is_none() && Circuit::default().probe(0, MOMENT).is_none());
        let failed = Circuit { failures: 1, ..Circuit::default() };
        assert!(failed.succeeded().is_some());
    }
}

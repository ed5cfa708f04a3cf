//! Schedules: `rate(…)` and `cron(…)` expressions, fired on time or by hand.

use crate::functions::Pool;
use crate::logs::LogSink;
use crate::template::Schedule;
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use std::sync::Arc;
use std::time::Duration;

/// A schedule and the function it invokes.
#[derive(Clone)]
pub(crate) struct Scheduled {
    pub(crate) schedule: Schedule,
    times: Times,
    pub(crate) pool: Arc<Pool>,
}

impl Scheduled {
    pub(crate) fn new(schedule: Schedule, pool: Arc<Pool>) -> Result<Self> {
        Ok(Self { times: Times::parse(&schedule.expression, &schedule.zone)?, schedule, pool })
    }

    /// Invokes the function once, now.
    pub(crate) async fn fire(&self) -> Result<Bytes, String> {
        self.pool.invoke(Bytes::from_static(b"{}")).await.map_err(|error| error.to_string())
    }

    /// Fires until the task is aborted.
    pub(crate) async fn run(self, logs: LogSink) {
        let started = tokio::time::Instant::now();
        let mut fired = 0_u32;
        loop {
            match &self.times {
                // Multiples of the period since the start: a slow invocation delays no later one.
                Times::Every(period) => {
                    fired += 1;
                    tokio::time::sleep_until(started + *period * fired).await;
                }
                Times::At(cron) => match next(cron, Utc::now()) {
                    Some(at) => {
                        let wait = (at - Utc::now()).to_std().unwrap_or_default();
                        tokio::time::sleep_until(tokio::time::Instant::now() + wait).await;
                    }
                    None => return,
                },
            }
            if let Err(error) = self.fire().await {
                logs.host(&self.schedule.function, &format!("schedule {}: {error}", self.schedule.name));
            }
        }
    }
}

/// When a schedule fires.
#[derive(Clone)]
enum Times {
    Every(Duration),
    At(Box<Cron>),
}

impl Times {
    fn parse(expression: &str, zone: &str) -> Result<Self> {
        let Some(fields) = expression.trim().strip_prefix("cron(").and_then(|rest| rest.strip_suffix(')')) else {
            return rate(expression).map(Self::Every);
        };
        if !matches!(zone, "" | "UTC" | "Etc/UTC") {
            bail!("the schedule expression {expression} is in {zone}; here schedules are in UTC only");
        }
        cron(fields).map(Self::At).with_context(|| format!("reading the schedule expression {expression}"))
    }
}

/// The last value of each field.
const LAST: [u32; 6] = [59, 23, 31, 12, 7, 2199];

/// `5/10`, every ten from 5 on, in the parser's syntax: `5-59/10`.
fn with_ends(field: &str, last: u32) -> String {
    let part = |part: &str| match part.split_once('/') {
        Some((first, step)) if first.bytes().all(|byte| byte.is_ascii_digit()) => format!("{first}-{last}/{step}"),
        _ => part.to_owned(),
    };
    field.split(',').map(part).collect::<Vec<_>>().join(",")
}

/// EventBridge's six fields: minute, hour, day of month, month, day of week (1 is Sunday), year.
fn cron(fields: &str) -> Result<Box<Cron>> {
    let parts: Vec<_> = fields.split_whitespace().collect();
    let [_, _, day_of_month, _, day_of_week, _] = parts[..] else {
        bail!("expected six fields, found {}", parts.len())
    };
    if (day_of_month == "?") == (day_of_week == "?") {
        bail!("exactly one of day of month and day of week must be ?");
    }
    let parser =
        CronParser::builder().seconds(Seconds::Required).year(Year::Required).alternative_weekdays(true).build();
    let fields: Vec<_> = parts.iter().zip(LAST).map(|(field, last)| with_ends(field, last)).collect();
    Ok(Box::new(parser.parse(&format!("0 {}", fields.join(" ")))?))
}

/// The first time after `now`; `None` when the schedule has ended.
fn next(cron: &Cron, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    cron.find_next_occurrence(&now, false).ok()
}

/// `rate(5 minutes)` as a duration.
fn rate(expression: &str) -> Result<Duration> {
    let inner = expression.trim().strip_prefix("rate(").and_then(|rest| rest.strip_suffix(')'));
    let Some((count, unit)) = inner.and_then(|inner| inner.trim().split_once(' ')) else {
        bail!("the schedule expression {expression} is neither rate(<number> <unit>) nor cron(<six fields>)");
    };
    let seconds = match unit.trim().trim_end_matches('s') {
        "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        "day" => 86_400,
        _ => bail!("the schedule expression {expression} has an unknown unit"),
    };
    match count.trim().parse::<u64>() {
        Ok(count) if count > 0 => Ok(Duration::from_secs(count * seconds)),
        _ => bail!("the schedule expression {expression} has no positive number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_anything_else_is_refused() {
        assert_eq!(rate("rate(1 minute)").unwrap(), Duration::from_secs(60));
        assert_eq!(rate("rate(5 hours)").unwrap(), Duration::from_secs(18_000));
        for wrong in ["rate(0 minutes)", "rate(x minutes)", "rate(1 week)", ""] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    /// Examples of the service's own documentation among them (EventBridge Scheduler, schedule types, read 2026-11-24).
    #[test]
    fn cron_expressions_fire_when_they_say() {
        // A Monday.
        let now: DateTime<Utc> = "2026-01-05T10:00:00Z".parse().unwrap();
        for (expression, first) in [
            ("cron(0 10 * * ? *)", "2026-01-06T10:00:00Z"),
            ("cron(15 12 * * ? *)", "2026-01-05T12:15:00Z"),
            ("cron(0 18 ? * MON-FRI *)", "2026-01-05T18:00:00Z"),
            ("cron(0 8 1 * ? *)", "2026-02-01T08:00:00Z"),
            ("cron(0/15 * * * ? *)", "2026-01-05T10:15:00Z"),
            ("cron(0/5 8-17 ? * MON-FRI *)", "2026-01-05T10:05:00Z"),
            ("cron(0 9 ? * 2#1 *)", "2026-02-02T09:00:00Z"),
            ("cron(0 9 ? * 1 *)", "2026-01-11T09:00:00Z"),
            ("cron(0 9 ? * 7 *)", "2026-01-10T09:00:00Z"),
            ("cron(0 9 ? * SUN *)", "2026-01-11T09:00:00Z"),
            ("cron(0 0 L * ? *)", "2026-01-31T00:00:00Z"),
            ("cron(0 0 10W * ? *)", "2026-01-09T00:00:00Z"),
            ("cron(0 9 ? * 6L *)", "2026-01-30T09:00:00Z"),
            ("cron(30 9 1,15 JAN,MAR ? 2026-2027)", "2026-01-15T09:30:00Z"),
        ] {
            let Times::At(cron) = Times::parse(expression, "").unwrap() else { panic!("{expression} is a cron") };
            assert_eq!(next(&cron, now), Some(first.parse().unwrap()), "{expression}");
        }
        let Times::At(past) = Times::parse("cron(0 9 1 1 ? 2020)", "UTC").unwrap() else { panic!("a cron") };
        assert_eq!(next(&past, now), None);
    }

    #[test]
    fn what_cannot_be_served_is_refused_by_name() {
        for (expression, zone) in [
            ("cron(0 10 * * * *)", ""),
            ("cron(0 10 ? * ? *)", ""),
            ("cron(0 10 * * ?)", ""),
            ("cron(61 10 * * ? *)", ""),
            ("cron(0 10 * * ? *)", "Europe/Berlin"),
            ("at(2026-01-05T10:00:00)", ""),
        ] {
            let refused = Times::parse(expression, zone).err().map(|error| format!("{error:#}"));
            assert!(refused.as_ref().is_some_and(|text| text.contains(expression)), "{expression}: {refused:?}");
        }
    }
}

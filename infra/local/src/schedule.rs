//! Schedules: `rate(…)` expressions, fired on time or by hand.

use crate::functions::Pool;
use crate::logs::LogSink;
use crate::template::Schedule;
use anyhow::{Result, bail};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// A schedule and the function it invokes.
#[derive(Clone)]
pub(crate) struct Scheduled {
    pub(crate) schedule: Schedule,
    pub(crate) every: Duration,
    pub(crate) pool: Arc<Pool>,
}

impl Scheduled {
    pub(crate) fn new(schedule: Schedule, pool: Arc<Pool>) -> Result<Self> {
        Ok(Self { every: rate(&schedule.expression)?, schedule, pool })
    }

    /// Invokes the function once, now.
    pub(crate) async fn fire(&self) -> Result<Bytes, String> {
        self.pool.invoke(Bytes::from_static(b"{}")).await.map_err(|error| error.to_string())
    }

    /// Fires for ever; aborting the task stops it.
    pub(crate) async fn run(self, logs: LogSink) {
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick is at once; a schedule's first time is one period from now.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            if let Err(error) = self.fire().await {
                logs.host(&self.schedule.function, &format!("schedule {}: {error}", self.schedule.name));
            }
        }
    }
}

/// `rate(5 minutes)` as a duration.
fn rate(expression: &str) -> Result<Duration> {
    let inner = expression.trim().strip_prefix("rate(").and_then(|rest| rest.strip_suffix(')'));
    let Some((count, unit)) = inner.and_then(|inner| inner.trim().split_once(' ')) else {
        bail!("the schedule expression {expression} is not of the form rate(<number> <unit>)");
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
        for wrong in ["rate(0 minutes)", "rate(x minutes)", "rate(1 week)", "cron(0 1 * * ? *)", ""] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}

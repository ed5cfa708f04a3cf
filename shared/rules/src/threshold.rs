//! Thresholds: counts, sums and distinct values over a sliding window.

use crate::event::Event;
use crate::group;
use crate::issue::{Code, Report, child};
use crate::path::Path;
use crate::time::read_duration;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;
use switchyard_core::hex_sha256;

/// Up to this many events each one is stored, and the count is exact.
const MAX_EXACT: u32 = 200;
/// How far a sender's clock may be ahead of ours.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(300);
/// The parts of a window in which larger numbers of events are summed up.
const BUCKETS: i64 = 60;
/// The most events with a remembered outcome, where not every event is stored.
const MAX_REMEMBERED: usize = 64;
/// The fixed windows that stay open for late events.
const OPEN_WINDOWS: usize = 2;
/// The tolerance for rounding errors in sums.
const SUM_TOLERANCE: f64 = 1e-12;
/// The length of a value's digest.
const DIGEST_CHARS: usize = 12;

/// A threshold: a count, a sum or a number of distinct values within a time.
#[derive(Clone, Debug)]
pub struct Threshold {
    measure: Measure,
    window_ms: i64,
    by: Vec<Path>,
    is_tumbling: bool,
    fires_every_time: bool,
    uses_occurred_at: bool,
}

#[derive(Clone, Debug)]
enum Measure {
    Count(u32),
    Sum { path: Path, gte: f64 },
    Distinct { path: Path, gte: u32 },
}

/// An event's contribution, and its group.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The group, as stable text; part of the state's key.
    pub group: String,
    /// The event's time, milliseconds since 1970.
    pub at_ms: i64,
    amount: Amount,
}

#[derive(Clone, Debug, PartialEq)]
enum Amount {
    One,
    Number(f64),
    /// The digest of a distinct value.
    Value(String),
}

/// A group's state, stored between events. A new group starts with the default. After a change of the rule, the parts that
/// still apply are used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThresholdState {
    /// Times of the newest events, ascending.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hits: Vec<i64>,
    /// Starts of the window's parts, ascending, each with its sum.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    buckets: Vec<(i64, f64)>,
    /// Digests of values, each with the time of its newest event, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<(String, i64)>,
    /// The fixed windows, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    windows: Vec<Window>,
    /// Remembered events and their outcomes, newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    seen: Vec<(String, f64, bool)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Window {
    start: i64,
    total: f64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<String>,
    fired: bool,
}

/// Outcome of an event at a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// The value within the window. A count stops at the threshold.
    pub count: f64,
    /// Whether this event fires the rule.
    pub fired: bool,
}

impl Threshold {
    /// The contribution of `event`. `None` when a path of `by`, the summand or the value is absent, or when the summand is not
    /// a number: the event is not counted and does not fire.
    pub fn sample(&self, event: &Event<'_>) -> Option<Sample> {
        let amount = match &self.measure {
            Measure::Count(_) => Amount::One,
            Measure::Sum { path, .. } => Amount::Number(path.find(event)?.number()?.float()),
            Measure::Distinct { path, .. } => {
                let mut value = String::new();
                group::canonical(path.find(event)?, &mut value);
                let mut digest = hex_sha256(&[&value]);
                digest.truncate(DIGEST_CHARS);
                Amount::Value(digest)
            }
        };
        // An event in the future would expire all earlier ones.
        let latest = event.received_at.saturating_add(MAX_CLOCK_SKEW).unwrap_or(event.received_at);
        let at = if self.uses_occurred_at { event.occurred_at.min(latest) } else { event.received_at };
        Some(Sample { group: group::key(&self.by, event, true)?, at_ms: at.as_millisecond(), amount })
    }

    /// Whether the state forgets events. The caller must then claim each event, so that a late duplicate is not counted
    /// twice.
    pub fn needs_claim(&self) -> bool {
        !self.is_exact()
    }

    /// The window in milliseconds; a state may be deleted after twice this time.
    pub fn window_ms(&self) -> i64 {
        self.window_ms
    }

    fn is_exact(&self) -> bool {
        matches!(self.measure, Measure::Count(count) if count <= MAX_EXACT) && !self.is_tumbling
    }

    fn is_enough(&self, count: f64) -> bool {
        match self.measure {
            Measure::Count(enough) | Measure::Distinct { gte: enough, .. } => count >= f64::from(enough),
            Measure::Sum { gte, .. } => count >= gte - gte.abs() * SUM_TOLERANCE,
        }
    }

    /// Adds an event to its group. A remembered event changes nothing and returns its earlier outcome.
    pub fn step(&self, mut state: ThresholdState, event_id: &str, sample: &Sample) -> (ThresholdState, Counted) {
        if let Some((_, count, fired)) = state.seen.iter().rev().find(|(id, _, _)| id == event_id) {
            let outcome = Counted { count: *count, fired: *fired };
            return (state, outcome);
        }
        let outcome = if self.is_tumbling {
            self.tumble(&mut state.windows, sample)
        } else {
            let count = self.slide(&mut state, sample);
            Counted { count, fired: self.is_enough(count) }
        };
        if outcome.fired && !self.is_tumbling && !self.fires_every_time {
            state.hits.clear();
            state.buckets.clear();
            state.values.clear();
        }
        let remembered = match self.measure {
            Measure::Count(count) if self.is_exact() => usize::try_from(count).unwrap_or(MAX_REMEMBERED).max(16),
            _ => MAX_REMEMBERED,
        };
        state.seen.push((event_id.to_owned(), outcome.count, outcome.fired));
        drop_oldest(&mut state.seen, remembered);
        (state, outcome)
    }

    /// The value within the window that ends with this event.
    fn slide(&self, state: &mut ThresholdState, sample: &Sample) -> f64 {
        let end = sample.at_ms;
        let start = end.saturating_sub(self.window_ms);
        let is_within = |at: i64| start < at && at <= end;
        match (&self.measure, &sample.amount) {
            (Measure::Count(enough), _) if self.is_exact() => {
                let place = state.hits.partition_point(|at| *at <= end);
                state.hits.insert(place, end);
                let count = state.hits.iter().filter(|at| is_within(**at)).count();
                let enough = usize::try_from(*enough).unwrap_or(usize::MAX);
                drop_oldest(&mut state.hits, enough);
                #[expect(clippy::cast_precision_loss, reason = "at most 200")]
                return count.min(enough) as f64;
            }
            (Measure::Distinct { gte, .. }, Amount::Value(value)) => {
                let known = state.values.iter().position(|(other, _)| other == value);
                let newest = known.map_or(end, |place| state.values.remove(place).1.max(end));
                let others = state.values.iter().filter(|(_, at)| is_within(*at)).count();
                let place = state.values.partition_point(|(_, at)| *at <= newest);
                state.values.insert(place, (value.clone(), newest));
                let enough = usize::try_from(*gte).unwrap_or(usize::MAX);
                drop_oldest(&mut state.values, enough);
                #[expect(clippy::cast_precision_loss, reason = "at most 10000")]
                return (others + 1).min(enough) as f64;
            }
            _ => {}
        }
        let amount = if let Amount::Number(number) = sample.amount { number } else { 1.0 };
        let width = self.window_ms.saturating_add(BUCKETS - 1) / BUCKETS;
        let bucket = end.div_euclid(width) * width;
        match state.buckets.binary_search_by_key(&bucket, |(start, _)| *start) {
            Ok(place) => state.buckets[place].1 = bounded(state.buckets[place].1 + amount),
            Err(place) => state.buckets.insert(place, (bucket, amount)),
        }
        // A part that begins before the window is left out: at most a sixtieth of the window is missed.
        let total = state.buckets.iter().filter(|(at, _)| is_within(*at)).map(|(_, amount)| amount).sum();
        let newest = state.buckets.last().map_or(bucket, |(start, _)| *start);
        state.buckets.retain(|(start, _)| *start > newest.saturating_sub(self.window_ms));
        bounded(total)
    }

    /// The value within the fixed window of this event; each window fires once.
    fn tumble(&self, windows: &mut Vec<Window>, sample: &Sample) -> Counted {
        let start = sample.at_ms.div_euclid(self.window_ms) * self.window_ms;
        let place = windows.partition_point(|window| window.start < start);
        if windows.get(place).is_none_or(|window| window.start != start) {
            if place == 0 && windows.len() == OPEN_WINDOWS {
                return Counted { count: 0.0, fired: false };
            }
            windows.insert(place, Window { start, total: 0.0, values: Vec::new(), fired: false });
        }
        let window = &mut windows[place];
        match (&sample.amount, &self.measure) {
            (Amount::One, _) => window.total += 1.0,
            (Amount::Number(number), _) => window.total = bounded(window.total + number),
            (Amount::Value(value), Measure::Distinct { gte, .. }) => {
                if window.total < f64::from(*gte) && !window.values.contains(value) {
                    window.values.push(value.clone());
                    window.total += 1.0;
                }
            }
            (Amount::Value(_), _) => {}
        }
        let fired = !window.fired && self.is_enough(window.total);
        window.fired |= fired;
        let outcome = Counted { count: window.total, fired };
        drop_oldest(windows, OPEN_WINDOWS);
        outcome
    }

    pub(crate) fn read(value: &Value, at: &str, report: &mut Report) -> Option<Self> {
        let keys = ["count", "sum", "distinct", "gte", "window", "by", "mode", "refire", "clock"];
        let map = report.object(value, at, &keys)?;
        let field = |key: &str| map.get(key).map(|value| (value, child(at, key)));
        let measures: Vec<_> = ["count", "sum", "distinct"].into_iter().filter(|key| map.contains_key(*key)).collect();
        if measures.len() > 1 {
            report.issue(at, Code::BadValue, "expected one of count, sum and distinct");
        }
        let measure = match measures.first().copied() {
            None => {
                report.hinted(&child(at, "count"), Code::MissingKey, "count, sum or distinct is required", "count");
                None
            }
            Some("count") => {
                if let Some((_, at)) = field("gte") {
                    report.issue(&at, Code::UnknownKey, "count itself says how many");
                }
                let count = report.integer(&map["count"], &child(at, "count"), 1..=100_000);
                count.and_then(|count| u32::try_from(count).ok()).map(Measure::Count)
            }
            Some(key) => {
                let path = Path::read(&map[key], &child(at, key), false, report);
                let gte = report.required(map, at, "gte");
                let at = child(at, "gte");
                if key == "sum" {
                    let gte = gte.and_then(|gte| {
                        let found = gte.as_f64().filter(|gte| gte.is_finite());
                        if found.is_none() {
                            report.issue(&at, Code::ValueType, "expected a number");
                        }
                        found
                    });
                    path.zip(gte).map(|(path, gte)| Measure::Sum { path, gte })
                } else {
                    let gte = gte.and_then(|gte| report.integer(gte, &at, 1..=10_000));
                    let gte = gte.and_then(|gte| u32::try_from(gte).ok());
                    path.zip(gte).map(|(path, gte)| Measure::Distinct { path, gte })
                }
            }
        };
        let window = report.required(map, at, "window");
        let window = window.and_then(|value| read_duration(value, &child(at, "window"), ("1s", "30d"), report));
        let by = Path::read_by(map.get("by"), &child(at, "by"), report);
        let modes = [("sliding", false), ("tumbling", true)];
        let mode = field("mode").map(|(value, at)| report.choice(value, &at, &modes));
        let refires = [("once", false), ("every", true)];
        let refire = field("refire").map(|(value, at)| report.choice(value, &at, &refires));
        if mode == Some(Some(true)) && refire == Some(Some(true)) {
            report.issue(&child(at, "refire"), Code::BadValue, "a tumbling window fires once");
        }
        let clocks = [("receivedAt", false), ("occurredAt", true)];
        let clock = field("clock").map(|(value, at)| report.choice(value, &at, &clocks));
        Some(Self {
            measure: measure?,
            window_ms: window?,
            by: by?,
            is_tumbling: mode.unwrap_or(Some(false))?,
            fires_every_time: refire.unwrap_or(Some(false))?,
            uses_occurred_at: clock.unwrap_or(Some(false))?,
        })
    }
}

fn drop_oldest<T>(items: &mut Vec<T>, most: usize) {
    items.drain(..items.len().saturating_sub(most));
}

/// JSON has no infinity.
fn bounded(sum: f64) -> f64 {
    sum.clamp(f64::MIN, f64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::event;
    use serde_json::json;

    fn read(value: Value) -> Result<Threshold, Vec<(String, Code)>> {
        let mut report = Report::default();
        let found = Threshold::read(&value, "/t", &mut report);
        let issues: Vec<_> = report.issues.into_iter().map(|issue| (issue.pointer, issue.code)).collect();
        found.filter(|_| issues.is_empty()).ok_or(issues)
    }

    #[test]
    fn a_threshold_says_what_it_counts_and_for_how_long() {
        for (value, wanted) in [
            (json!({}), vec![("/t/count", Code::MissingKey), ("/t/window", Code::MissingKey)]),
            (
                json!({"count": 0, "window": "31d"}),
                vec![("/t/count", Code::BadValue), ("/t/window", Code::BadDuration)],
            ),
            (json!({"count": 1, "sum": "payload.a", "window": "1s"}), vec![("/t", Code::BadValue)]),
            (json!({"count": 1, "gte": 1, "window": "1s"}), vec![("/t/gte", Code::UnknownKey)]),
            (
                json!({"sum": "payload.a[*]", "window": "1s"}),
                vec![("/t/sum", Code::BadPath), ("/t/gte", Code::MissingKey)],
            ),
            (json!({"distinct": "payload.a", "gte": 10_001, "window": "1s"}), vec![("/t/gte", Code::BadValue)]),
            (
                json!({"count": 1, "window": "0s", "by": ["x"]}),
                vec![("/t/window", Code::BadDuration), ("/t/by/0", Code::BadPath)],
            ),
            (
                json!({"count": 1, "window": "1s", "mode": "tumbling", "refire": "every"}),
                vec![("/t/refire", Code::BadValue)],
            ),
            (json!({"count": 1, "window": "1s", "clock": "now"}), vec![("/t/clock", Code::BadValue)]),
        ] {
            let found = read(value.clone()).unwrap_err();
            let found: Vec<_> = found.iter().map(|(pointer, code)| (pointer.as_str(), *code)).collect();
            assert_eq!(found, wanted, "{value}");
        }
    }

    #[test]
    fn the_clock_may_be_the_senders() {
        let threshold = read(json!({"count": 1, "window": "1s", "clock": "occurredAt"})).unwrap();
        let payload = json!({});
        let event = Event { occurred_at: "1970-01-01T00:00:05Z".parse().unwrap(), ..event("x", &payload) };
        assert_eq!(threshold.sample(&event).unwrap().at_ms, 5_000);
    }

    #[test]
    fn decimals_that_add_up_to_the_threshold_reach_it() {
        let threshold = read(json!({"sum": "payload.a", "gte": 0.8, "window": "1m"})).unwrap();
        let sample = |amount| Sample { group: String::new(), at_ms: 0, amount: Amount::Number(amount) };
        let (state, first) = threshold.step(ThresholdState::default(), "a", &sample(0.7));
        let (_, second) = threshold.step(state, "b", &sample(0.1));
        assert_eq!((first.fired, second.fired), (false, true));
    }

    #[test]
    fn a_state_survives_storage_and_another_measure() {
        let count = read(json!({"count": 3, "window": "1m"})).unwrap();
        let sum = read(json!({"sum": "payload.a", "gte": 5, "window": "1m"})).unwrap();
        let sample = |amount| Sample { group: String::new(), at_ms: 7, amount };
        let (state, _) = count.step(ThresholdState::default(), "a", &sample(Amount::One));
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(text, r#"{"hits":[7],"seen":[["a",1.0,false]]}"#);
        let (_, counted) = sum.step(serde_json::from_str(&text).unwrap(), "b", &sample(Amount::Number(4.0)));
        assert_eq!(counted, Counted { count: 4.0, fired: false });
        let (state, _) = sum.step(ThresholdState::default(), "c", &sample(Amount::Number(f64::MAX)));
        let (state, _) = sum.step(state, "d", &sample(Amount::Number(f64::MAX)));
        assert!(serde_json::from_str::<ThresholdState>(&serde_json::to_string(&state).unwrap()).is_ok());
    }
}

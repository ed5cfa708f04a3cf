//! Cooldowns: how long a rule stays quiet after it fired.

use crate::event::Event;
use crate::group;
use crate::issue::{Report, child};
use crate::path::Path;
use crate::time::read_duration;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most remembered events: a duplicate of one changes nothing.
const MAX_REMEMBERED: usize = 64;

/// A cooldown: how long a group of a rule does not fire again.
#[derive(Clone, Debug)]
pub struct Cooldown {
    for_ms: i64,
    by: Vec<Path>,
}

/// A group's last firing. Stored for twice the cooldown, so that the next firing knows the number of suppressed ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CooldownState {
    /// The event that fired.
    fired_by: String,
    /// When the cooldown ends (exclusive), milliseconds since 1970.
    until_ms: i64,
    /// The number of suppressed firings that this firing reported.
    offered: u64,
    /// Firings suppressed since then.
    suppressed: u64,
    /// Other remembered events and their outcomes, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seen: Vec<(String, Cooled)>,
}

/// Outcome of an event at a cooldown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Cooled {
    /// The rule fires.
    Fires {
        /// Firings suppressed since the previous one.
        suppressed: u64,
    },
    /// The firing is suppressed.
    Suppressed,
}

impl CooldownState {
    /// When the cooldown ends, milliseconds since 1970.
    pub fn until_ms(&self) -> i64 {
        self.until_ms
    }

    /// The event that fired.
    pub fn fired_by(&self) -> &str {
        &self.fired_by
    }

    fn outcome_of(&self, event_id: &str) -> Option<Cooled> {
        if self.fired_by == event_id {
            return Some(Cooled::Fires { suppressed: self.offered });
        }
        self.seen.iter().rev().find(|(id, _)| id == event_id).map(|(_, outcome)| *outcome)
    }

    fn remember(&mut self, event_id: String, outcome: Cooled) {
        self.seen.push((event_id, outcome));
        self.seen.drain(..self.seen.len().saturating_sub(MAX_REMEMBERED));
    }
}

impl Cooldown {
    /// The group of `event`, as stable text; absent values count as null.
    pub fn group(&self, event: &Event<'_>) -> String {
        group::key(&self.by, event, false).unwrap_or_default()
    }

    /// The duration in milliseconds.
    pub fn for_ms(&self) -> i64 {
        self.for_ms
    }

    /// Suppresses an event if its group fired within the cooldown; suppressed events do not prolong it. A remembered event
    /// changes nothing and returns its earlier outcome.
    pub fn step(&self, state: Option<CooldownState>, event_id: &str, at_ms: i64) -> (CooldownState, Cooled) {
        let mut fired = CooldownState {
            fired_by: event_id.to_owned(),
            until_ms: at_ms.saturating_add(self.for_ms),
            offered: 0,
            suppressed: 0,
            seen: Vec::new(),
        };
        let Some(mut state) = state else { return (fired, Cooled::Fires { suppressed: 0 }) };
        if let Some(outcome) = state.outcome_of(event_id) {
            return (state, outcome);
        }
        if at_ms < state.until_ms {
            state.suppressed += 1;
            state.remember(event_id.to_owned(), Cooled::Suppressed);
            return (state, Cooled::Suppressed);
        }
        let before = Cooled::Fires { suppressed: state.offered };
        state.remember(state.fired_by.clone(), before);
        fired.offered = state.suppressed;
        fired.seen = state.seen;
        (fired, Cooled::Fires { suppressed: state.suppressed })
    }

    pub(crate) fn read(value: &Value, at: &str, report: &mut Report) -> Option<Self> {
        let map = report.object(value, at, &["for", "by"])?;
        let for_ms = report.required(map, at, "for");
        let for_ms = for_ms.and_then(|value| read_duration(value, &child(at, "for"), ("1s", "30d"), report));
        let by = Path::read_by(map.get("by"), &child(at, "by"), report);
        Some(Self { for_ms: for_ms?, by: by? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::event;
    use serde_json::json;

    fn cooldown(value: Value) -> Cooldown {
        Cooldown::read(&value, "", &mut Report::default()).unwrap()
    }

    #[test]
    fn quiet_is_of_fixed_length() {
        let cooldown = cooldown(json!({"for": "10s"}));
        let mut state = None;
        let mut outcomes = Vec::new();
        for (id, at) in [("a", 0), ("b", 5_000), ("c", 9_999), ("d", 10_000), ("e", 10_001)] {
            let (next, outcome) = cooldown.step(state, id, at);
            outcomes.push(outcome);
            state = Some(next);
        }
        let fires = |suppressed| Cooled::Fires { suppressed };
        assert_eq!(outcomes, [fires(0), Cooled::Suppressed, Cooled::Suppressed, fires(2), Cooled::Suppressed]);
    }

    #[test]
    fn a_repetition_changes_nothing() {
        let cooldown = cooldown(json!({"for": "10s"}));
        let (state, _) = cooldown.step(None, "a", 0);
        let (state, _) = cooldown.step(Some(state), "b", 1);
        for (id, at) in [("a", 0), ("b", 1), ("b", 60_000), ("a", 60_000)] {
            let (again, outcome) = cooldown.step(Some(state.clone()), id, at);
            assert_eq!(again, state, "{id} {at}");
            assert_eq!(outcome == Cooled::Suppressed, id == "b");
        }
    }

    #[test]
    fn absence_and_null_are_one_group() {
        let cooldown = cooldown(json!({"for": "1h", "by": ["payload.user"]}));
        let group = |payload: Value| cooldown.group(&event("x", &payload));
        assert_eq!(group(json!({})), group(json!({"user": null})));
        assert_ne!(group(json!({})), group(json!({"user": "null"})));
    }
}

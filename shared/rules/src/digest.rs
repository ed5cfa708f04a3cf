//! Digests: several firings gathered into one message.

use crate::event::Event;
use crate::group;
use crate::issue::{Report, child};
use crate::path::Path;
use crate::time::read_duration;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const DEFAULT_MAX: i64 = 100;
/// The most remembered events of closed windows.
const MAX_REMEMBERED: usize = 64;

/// A digest: several firings of a rule in one message.
#[derive(Clone, Debug)]
pub struct Digest {
    window_ms: i64,
    by: Vec<Path>,
    max: usize,
    lead: bool,
}

/// A group's state: its open window with the ids of events. A new group starts with the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DigestState {
    /// The open window, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    open: Option<Window>,
    /// Remembered events of closed windows and their outcomes, newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    seen: Vec<(String, Digested)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Window {
    opened_ms: i64,
    /// The event that was sent at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    lead: Option<String>,
    /// The events, in the order of receipt.
    entries: Vec<Entry>,
}

/// An event of a digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The event's id.
    pub event_id: String,
    /// When it was received, milliseconds since 1970.
    pub at_ms: i64,
}

/// Outcome of an event at a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Digested {
    /// The event is sent at once, by itself, and opened a window.
    Lead,
    /// The event opened a window, and waits in it.
    Opened,
    /// The event waits in the open window.
    Kept,
    /// The event filled the window.
    Filled,
}

/// A closed window: one message, or none without entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// When the window opened, milliseconds since 1970; identifies it within its group.
    pub opened_ms: i64,
    /// The events, oldest first.
    pub entries: Vec<Entry>,
}

/// Outcome of a digest's step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestStep {
    /// The state to store.
    pub state: DigestState,
    /// Outcome of the event.
    pub outcome: Digested,
    /// Windows that closed and are to be sent now, oldest first: one whose time was over, and one that is full.
    pub closed: Vec<Batch>,
}

impl DigestState {
    /// When the open window closes, milliseconds since 1970.
    pub fn closes_ms(&self, digest: &Digest) -> Option<i64> {
        self.open.as_ref().map(|window| window.opened_ms.saturating_add(digest.window_ms))
    }

    fn close(&mut self) -> Option<Batch> {
        let Window { opened_ms, lead, mut entries } = self.open.take()?;
        let outcome = |number| match number {
            0 if lead.is_none() => Digested::Opened,
            _ => Digested::Kept,
        };
        let kept = entries.iter().enumerate().map(|(number, entry)| (entry.event_id.clone(), outcome(number)));
        self.seen.extend(lead.iter().map(|id| (id.clone(), Digested::Lead)).chain(kept));
        self.seen.drain(..self.seen.len().saturating_sub(MAX_REMEMBERED));
        entries.sort_by_key(|entry| entry.at_ms);
        (!entries.is_empty()).then_some(Batch { opened_ms, entries })
    }

    fn outcome_of(&self, event_id: &str) -> Option<Digested> {
        let Some(window) = self.open.as_ref() else { return self.seen_before(event_id) };
        if window.lead.as_deref() == Some(event_id) {
            return Some(Digested::Lead);
        }
        match window.entries.iter().position(|entry| entry.event_id == event_id) {
            Some(0) if window.lead.is_none() => Some(Digested::Opened),
            Some(_) => Some(Digested::Kept),
            None => self.seen_before(event_id),
        }
    }

    fn seen_before(&self, event_id: &str) -> Option<Digested> {
        self.seen.iter().find(|(id, _)| id == event_id).map(|(_, outcome)| *outcome)
    }
}

impl Digest {
    /// The group of `event`, as stable text; absent values are null.
    pub fn group(&self, event: &Event<'_>) -> String {
        group::key(&self.by, event, false).unwrap_or_default()
    }

    /// Milliseconds.
    pub fn window_ms(&self) -> i64 {
        self.window_ms
    }

    /// Adds an event. The first opens a window, which closes after a fixed time or when it is full. A window whose time is
    /// over closes first. A remembered event changes nothing and returns its earlier outcome.
    pub fn step(&self, mut state: DigestState, event_id: &str, at_ms: i64) -> DigestStep {
        if let Some(outcome) = state.outcome_of(event_id) {
            return DigestStep { state, outcome, closed: Vec::new() };
        }
        let mut closed = Vec::new();
        closed.extend(self.close_due(&mut state, at_ms));
        let entry = Entry { event_id: event_id.to_owned(), at_ms };
        let outcome = match &mut state.open {
            Some(window) => {
                window.entries.push(entry);
                Digested::Kept
            }
            None if self.lead => {
                let lead = Some(entry.event_id);
                state.open = Some(Window { opened_ms: at_ms, lead, entries: Vec::new() });
                Digested::Lead
            }
            None => {
                state.open = Some(Window { opened_ms: at_ms, lead: None, entries: vec![entry] });
                Digested::Opened
            }
        };
        if state.open.as_ref().is_none_or(|window| window.entries.len() < self.max) {
            return DigestStep { state, outcome, closed };
        }
        closed.extend(state.close());
        if let Some(last) = state.seen.last_mut().filter(|(id, _)| id == event_id) {
            last.1 = Digested::Filled;
        }
        DigestStep { state, outcome: Digested::Filled, closed }
    }

    /// Closes the window if its time is over at `now_ms`; `None` when it is not, or when the window is empty.
    pub fn close_due(&self, state: &mut DigestState, now_ms: i64) -> Option<Batch> {
        if state.closes_ms(self).is_some_and(|closes| closes <= now_ms) { state.close() } else { None }
    }

    pub(crate) fn read(value: &Value, at: &str, report: &mut Report) -> Option<Self> {
        let map = report.object(value, at, &["window", "by", "max", "lead"])?;
        let window = report.required(map, at, "window");
        let window = window.and_then(|value| read_duration(value, &child(at, "window"), ("1m", "24h"), report));
        let by = Path::read_by(map.get("by"), &child(at, "by"), report);
        let max = map.get("max").map(|value| report.integer(value, &child(at, "max"), 1..=500));
        let lead = map.get("lead").map(|value| report.boolean(value, &child(at, "lead")));
        let max = usize::try_from(max.unwrap_or(Some(DEFAULT_MAX))?).ok()?;
        Some(Self { window_ms: window?, by: by?, max, lead: lead.unwrap_or(Some(false))? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn digest(value: Value) -> Digest {
        Digest::read(&value, "", &mut Report::default()).unwrap()
    }

    fn run(digest: &Digest, events: &[(&str, i64)]) -> (DigestState, Vec<Digested>, Vec<Vec<String>>) {
        let (mut state, mut outcomes, mut batches) = (DigestState::default(), Vec::new(), Vec::new());
        for (id, at) in events {
            let step = digest.step(state, id, *at);
            state = step.state;
            outcomes.push(step.outcome);
            batches.extend(step.closed.into_iter().map(ids));
        }
        (state, outcomes, batches)
    }

    fn ids(batch: Batch) -> Vec<String> {
        batch.entries.into_iter().map(|entry| entry.event_id).collect()
    }

    #[test]
    fn a_window_has_a_fixed_length_and_is_sent_oldest_first() {
        use Digested::{Kept, Opened};
        let digest = digest(json!({"window": "1m"}));
        let (mut state, outcomes, batches) = run(&digest, &[("a", 5_000), ("b", 50_000), ("c", 1_000), ("b", 50_000)]);
        assert_eq!((outcomes, batches), (vec![Opened, Kept, Kept, Kept], vec![]));
        assert_eq!(state.closes_ms(&digest), Some(65_000));
        assert_eq!(digest.close_due(&mut state, 64_999), None);
        assert_eq!(digest.close_due(&mut state, 65_000).map(ids), Some(vec!["c".into(), "a".into(), "b".into()]));
        assert_eq!(digest.close_due(&mut state, 99_999), None);
        assert_eq!(digest.step(state.clone(), "a", 70_000).outcome, Opened, "a repetition");
        assert_eq!(digest.step(state, "d", 70_000).outcome, Opened, "a new window");
    }

    #[test]
    fn a_full_window_closes_and_so_does_one_whose_timer_is_late() {
        use Digested::{Filled, Opened};
        let digest = digest(json!({"window": "1m", "max": 2}));
        let (state, outcomes, batches) = run(&digest, &[("a", 0), ("b", 1), ("c", 2), ("d", 90_000), ("e", 90_001)]);
        assert_eq!(outcomes, [Opened, Filled, Opened, Opened, Filled]);
        assert_eq!(batches, [vec!["a", "b"], vec!["c"], vec!["d", "e"]]);
        let again = digest.step(state.clone(), "e", 90_001);
        assert_eq!((again.outcome, again.closed, again.state), (Filled, vec![], state));
    }

    #[test]
    fn a_lead_goes_at_once_and_alone_leaves_no_digest() {
        use Digested::{Kept, Lead};
        let digest = digest(json!({"window": "1m", "lead": true, "max": 5}));
        let (mut state, outcomes, _) = run(&digest, &[("a", 0), ("b", 1), ("a", 0)]);
        assert_eq!(outcomes, [Lead, Kept, Lead]);
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<DigestState>(&text).unwrap(), state);
        assert_eq!(digest.close_due(&mut state, 60_000).map(ids), Some(vec!["b".into()]));
        let mut alone = digest.step(state, "c", 60_001).state;
        assert_eq!(digest.close_due(&mut alone, 120_001), None);
        assert_eq!(alone.closes_ms(&digest), None, "closed all the same");
    }

    #[test]
    fn one_at_a_time_is_sent_as_it_comes() {
        let digest = digest(json!({"window": "1m", "max": 1}));
        let (_, outcomes, batches) = run(&digest, &[("a", 0), ("b", 1)]);
        assert_eq!((outcomes, batches), (vec![Digested::Filled; 2], vec![vec!["a".to_owned()], vec!["b".to_owned()]]));
    }
}

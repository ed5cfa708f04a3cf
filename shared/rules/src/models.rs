//! Thresholds, cooldowns and digests, compared with simple models that store every event.

use crate::issue::Report;
use crate::testing::event;
use crate::{Cooldown, CooldownState, Cooled, Counted, Digest, DigestState, Threshold, ThresholdState};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// An event of a sequence: its id, its second and its value.
#[derive(Clone, Debug)]
struct Seen {
    id: String,
    second: i64,
    value: i64,
}

/// Events in the order of receipt, some of them duplicated shortly after.
fn sequence() -> impl Strategy<Value = Vec<Seen>> {
    let step = (prop_oneof![3 => 0..5_i64, 1 => 5..40_i64], 0..6_i64, prop::option::weighted(0.2, 1..4_usize));
    prop::collection::vec(step, 1..80).prop_map(|steps| {
        let (mut second, mut events) = (0, Vec::<Seen>::new());
        for (number, (gap, value, again)) in steps.into_iter().enumerate() {
            second += gap;
            events.push(Seen { id: number.to_string(), second, value });
            if let Some(event) = again.and_then(|back| events.len().checked_sub(back)).map(|at| events[at].clone()) {
                events.push(event);
            }
        }
        events
    })
}

fn threshold(value: &Value) -> Threshold {
    Threshold::read(value, "", &mut Report::default()).unwrap()
}

/// A threshold's outcome for each event of a sequence, with its state stored in between.
fn counted(threshold: &Threshold, events: &[Seen]) -> Vec<Counted> {
    let mut stored = "{}".to_owned();
    let count = |seen: &Seen| {
        let payload = json!({"v": seen.value});
        let event = event("x", &payload);
        let event = crate::Event { received_at: event.received_at + SignedDuration::from_secs(seen.second), ..event };
        let state: ThresholdState = serde_json::from_str(&stored).unwrap();
        let (state, counted) = threshold.step(state, &seen.id, &threshold.sample(&event).unwrap());
        stored = serde_json::to_string(&state).unwrap();
        counted
    };
    events.iter().map(count).collect()
}

/// The outcomes of the model: `measure` of all events within the window; a duplicate has the outcome of its event.
fn recounted(events: &[Seen], window: i64, once: bool, enough: f64, measure: impl Fn(&[&Seen]) -> f64) -> Vec<Counted> {
    let (mut live, mut outcomes) = (Vec::<&Seen>::new(), BTreeMap::<&str, Counted>::new());
    let count = |seen| {
        let seen: &Seen = seen;
        if let Some(outcome) = outcomes.get(seen.id.as_str()) {
            return *outcome;
        }
        live.push(seen);
        let within: Vec<_> = live.iter().copied().filter(|other| seen.second - window < other.second).collect();
        let count = measure(&within);
        let outcome = Counted { count: count.min(enough), fired: count >= enough };
        if outcome.fired && once {
            live.clear();
        }
        outcomes.insert(&seen.id, outcome);
        outcome
    };
    events.iter().map(count).collect()
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn float(number: usize) -> f64 {
    number as f64
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counting_is_exact(events in sequence(), count in 1..8_u32, window in 1..60_i64, once: bool) {
        let refire = if once { "once" } else { "every" };
        let threshold = threshold(&json!({"count": count, "window": format!("{window}s"), "refire": refire}));
        let wanted = recounted(&events, window, once, count.into(), |within| float(within.len()));
        prop_assert_eq!(counted(&threshold, &events), wanted);
    }

    #[test]
    fn distinct_values_are_exact(events in sequence(), gte in 1..6_u32, window in 1..60_i64, once: bool) {
        let refire = if once { "once" } else { "every" };
        let value = json!({"distinct": "payload.v", "gte": gte, "window": format!("{window}s"), "refire": refire});
        let distinct = |within: &[&Seen]| float(within.iter().map(|seen| seen.value).collect::<BTreeSet<_>>().len());
        let wanted = recounted(&events, window, once, gte.into(), distinct);
        prop_assert_eq!(counted(&threshold(&value), &events), wanted);
    }

    #[test]
    fn sums_miss_at_most_a_sixtieth_of_the_window(events in sequence(), window in 1..60_i64) {
        let value = json!({"sum": "payload.v", "gte": 1e9, "window": format!("{window}m"), "refire": "every"});
        let sum = |within: &[&Seen]| within.iter().map(|seen| float(usize::try_from(seen.value).unwrap())).sum();
        let counted = counted(&threshold(&value), &events);
        let most = recounted(&events, window * 60, false, 1e9, sum);
        let least = recounted(&events, window * 59, false, 1e9, sum);
        for ((counted, most), least) in counted.iter().zip(&most).zip(&least) {
            prop_assert!(least.count <= counted.count && counted.count <= most.count, "{} {} {}", least.count, counted.count, most.count);
        }
    }

    #[test]
    fn fixed_windows_fire_once_each(events in sequence(), count in 1..8_usize, window in 1..60_i64) {
        let value = json!({"count": count, "window": format!("{window}s"), "mode": "tumbling"});
        let (mut windows, mut outcomes) = (BTreeMap::<i64, usize>::new(), BTreeMap::new());
        let start: Timestamp = event("x", &json!(null)).received_at;
        let wanted: Vec<_> = events.iter().map(|seen| {
            *outcomes.entry(&seen.id).or_insert_with(|| {
                let total = windows.entry((start.as_second() + seen.second) / window).or_default();
                *total += 1;
                Counted { count: float(*total), fired: *total == count }
            })
        }).collect();
        prop_assert_eq!(counted(&threshold(&value), &events), wanted);
    }

    #[test]
    fn large_states_stay_small(seconds in prop::collection::vec(0..100_000_i64, 300), large: bool) {
        let count = if large { 100_000 } else { 200 };
        let threshold = threshold(&json!({"count": count, "window": "1h", "refire": "every"}));
        let events: Vec<_> = seconds.into_iter().enumerate()
            .map(|(number, second)| Seen { id: number.to_string(), second, value: 0 }).collect();
        let mut state = ThresholdState::default();
        for seen in &events {
            let payload = json!({});
            let event = event("x", &payload);
            let event = crate::Event { received_at: event.received_at + SignedDuration::from_secs(seen.second), ..event };
            state = threshold.step(state, &seen.id, &threshold.sample(&event).unwrap()).0;
        }
        let state = serde_json::to_value(&state).unwrap();
        let length = |key: &str| state[key].as_array().map_or(0, Vec::len);
        prop_assert!(length("hits") <= 200 && length("buckets") <= 60 && length("seen") <= 200);
        prop_assert_eq!(threshold.needs_claim(), large);
    }

    #[test]
    fn cooldowns_fire_when_the_model_does(events in sequence(), seconds in 1..60_i64) {
        let cooldown = Cooldown::read(&json!({"for": format!("{seconds}s")}), "", &mut Report::default()).unwrap();
        let (mut fired_at, mut suppressed, mut outcomes) = (None::<i64>, 0, BTreeMap::<&str, Cooled>::new());
        let mut state = None::<CooldownState>;
        for seen in &events {
            let wanted = *outcomes.entry(&seen.id).or_insert_with(|| {
                if fired_at.is_some_and(|at| seen.second < at + seconds) {
                    suppressed += 1;
                    return Cooled::Suppressed;
                }
                fired_at = Some(seen.second);
                Cooled::Fires { suppressed: std::mem::take(&mut suppressed) }
            });
            let (next, outcome) = cooldown.step(state, &seen.id, seen.second * 1_000);
            prop_assert_eq!(outcome, wanted);
            state = Some(next);
        }
    }

    #[test]
    fn digests_lose_nothing_and_send_nothing_twice(events in sequence(), max in 1..6_usize, lead: bool) {
        let value = json!({"window": "1m", "max": max, "lead": lead});
        let digest = Digest::read(&value, "", &mut Report::default()).unwrap();
        let (mut state, mut sent, mut windows) = (DigestState::default(), Vec::new(), Vec::new());
        let mut ids = BTreeSet::new();
        for seen in &events {
            ids.insert(seen.id.clone());
            let step = digest.step(state, &seen.id, seen.second * 1_000);
            if step.outcome == crate::Digested::Lead && !sent.contains(&seen.id) {
                sent.push(seen.id.clone());
            }
            windows.extend(step.closed);
            state = step.state;
        }
        windows.extend(digest.close_due(&mut state, i64::MAX));
        for window in &windows {
            prop_assert!((1..=max).contains(&window.entries.len()));
            prop_assert!(window.entries.is_sorted_by_key(|entry| entry.at_ms));
            prop_assert!(window.entries.iter().all(|entry| (0..60_000).contains(&(entry.at_ms - window.opened_ms))));
            sent.extend(window.entries.iter().map(|entry| entry.event_id.clone()));
        }
        let all: BTreeSet<_> = sent.iter().cloned().collect();
        prop_assert_eq!(all.len(), sent.len());
        prop_assert_eq!(all, ids);
    }
}

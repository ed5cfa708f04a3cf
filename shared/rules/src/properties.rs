//! Random rules on random events: parsing and evaluating never panics, terminates, and is deterministic.

use crate::testing::event;
use crate::{Event, Issue, MAX_VISITS, Past, Rule, dry_run, parse};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

fn path() -> impl Strategy<Value = &'static str> + Clone {
    select(
        &[
            "payload",
            "payload.a",
            "payload.b.c",
            "payload.items[0]",
            "/payload/a",
            "/payload/items/1/n",
            "type",
            "id",
            "source",
            "occurredAt",
            "receivedAt",
            "tenant.plan",
            "payload[\"odd key\"]",
        ][..],
    )
}

fn scalar() -> impl Strategy<Value = Value> + Clone {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..9_i64).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(&["", "a", "AB", "Straße", "10", "-1.5", "2026-11-03T10:00:00Z", "10.1.2.3", "payment.x"][..])
            .prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ]
}

fn payload() -> impl Strategy<Value = Value> + Clone {
    let value = scalar().prop_recursive(3, 24, 6, |inner| {
        let key =
            prop_oneof![select(&["a", "b", "c", "n", "items", "odd key"][..]).prop_map(str::to_owned), "\\PC{0,4}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    (value.clone(), value.clone(), value).prop_map(|(a, b, items)| {
        let items = if items.is_array() { items } else { json!([{"n": items}, items]) };
        json!({"a": a, "b": {"c": b}, "items": items})
    })
}

/// An operator with a value that it accepts, and `as` or `ci` where they have an effect.
fn test() -> impl Strategy<Value = Value> {
    let number = prop_oneof![(-5..50_i64).prop_map(Value::from), (-5.0..50.0_f64).prop_map(Value::from)];
    let reference = path().prop_map(|path| json!({"ref": path}));
    let moment = prop_oneof![
        Just(json!({"now": "-1d"})),
        Just(json!("2026-11-03T10:00:00Z")),
        (0..2e12 as i64).prop_map(Value::from)
    ];
    let any_value = prop_oneof![scalar(), reference.clone(), payload().prop_map(|value| json!({"lit": value}))];
    let list = prop_oneof![
        prop::collection::vec(scalar(), 1..6).prop_map(Value::from),
        reference.clone(),
        prop::collection::vec(payload(), 1..3).prop_map(|items| json!({"lit": items})),
    ];
    let pattern = select(&["^a", "(a|b)*c?$", r"\d+", "(?i)strasse", "", "[^x]{2,30}"][..]);
    let op = |names: &'static [&'static str]| select(names);
    prop_oneof![
        (op(&["eq", "ne", "contains", "not_contains"]), any_value, any::<bool>())
            .prop_map(|(op, value, ci)| json!({"op": op, "value": value, "ci": ci})),
        (op(&["gt", "gte", "lt", "lte"]), prop_oneof![number.clone(), reference])
            .prop_map(|(op, value)| json!({"op": op, "value": value})),
        (op(&["gt", "eq", "lte", "ne"]), number)
            .prop_map(|(op, value)| json!({"op": op, "value": value, "as": "number"})),
        (op(&["gt", "lte"]), "\\PC{0,5}").prop_map(|(op, value)| json!({"op": op, "value": value, "as": "string"})),
        (op(&["gt", "eq", "lte"]), moment.clone())
            .prop_map(|(op, value)| json!({"op": op, "value": value, "as": "time"})),
        (op(&["before", "after"]), moment).prop_map(|(op, value)| json!({"op": op, "value": value})),
        (-9..9_i64, 0..9_i64).prop_map(|(low, more)| json!({"op": "between", "value": [low, low + more]})),
        (op(&["in", "not_in", "contains_any", "contains_all"]), list, any::<bool>())
            .prop_map(|(op, value, ci)| json!({"op": op, "value": value, "ci": ci})),
        (op(&["starts_with", "ends_with"]), "\\PC{0,5}", any::<bool>())
            .prop_map(|(op, value, ci)| json!({"op": op, "value": value, "ci": ci})),
        pattern.prop_map(|value| json!({"op": "matches", "value": value})),
        (op(&["exists", "is_null"]), any::<bool>()).prop_map(|(op, value)| json!({"op": op, "value": value})),
        op(&["null", "boolean", "number", "string", "array", "object"])
            .prop_map(|value| json!({"op": "type", "value": value})),
        (0..5_u8, 0..9_u8).prop_map(|(low, high)| json!({"op": "size", "value": {"gte": low, "lt": high}})),
        op(&["within_last", "older_than"]).prop_map(|op| json!({"op": op, "value": "90m"})),
        Just(json!({"op": "time_of_day", "value": {"from": "22:00", "to": "06:30", "tz": "America/New_York"}})),
        Just(json!({"op": "weekday", "value": {"in": ["tue", "sun"], "tz": "Asia/Tokyo"}})),
        Just(json!({"op": "cidr", "value": ["10.0.0.0/8", "fe80::/10"]})),
    ]
}

fn leaf() -> impl Strategy<Value = Value> {
    let each = select(&["any", "all", "none"][..]);
    let many = select(&["payload.items[*]", "payload.items[*].n", "payload.a[*]", "payload.b.c[*][0]"][..]);
    let place = prop_oneof![
        3 => path().prop_map(|path| json!({"path": path})),
        1 => (many, each).prop_map(|(path, each)| json!({"path": path, "each": each})),
    ];
    (place, test(), any::<bool>()).prop_map(|(mut leaf, test, missing)| {
        let map = leaf.as_object_mut().unwrap();
        map.extend(test.as_object().unwrap().clone());
        if map["op"] != "exists" {
            map.insert("missing".to_owned(), missing.into());
        }
        leaf
    })
}

fn condition() -> impl Strategy<Value = Value> {
    prop_oneof![9 => leaf(), 1 => Just(json!(true))].prop_recursive(4, 24, 4, |inner| {
        let group = select(&["all", "any", "none"][..]);
        prop_oneof![
            (group, prop::collection::vec(inner.clone(), 1..5)).prop_map(|(group, parts)| json!({group: parts})),
            inner.prop_map(|part| json!({"not": part})),
        ]
    })
}

fn document() -> impl Strategy<Value = Value> {
    let threshold = select(
        &[
            r#"null"#,
            r#"{"count": 2, "window": "1h"}"#,
            r#"{"sum": "payload.a", "gte": 3, "window": "1h", "refire": "every", "by": ["tenant.slug"]}"#,
            r#"{"distinct": "payload.b.c", "gte": 2, "window": "1d", "mode": "tumbling"}"#,
        ][..],
    );
    let text = select(
        &[
            "plain",
            "{{ payload.a }} {{ payload.b.c | json | upper }} {{ payload.items | truncate(9) }}",
            "{% for item in payload.items %}{{ loop.index }}: {{ item.n | default('-') | round(1) }}{% endfor %}",
            "{% if payload.a %}{{ payload.a | date('%d %b', 'UTC') }}{% else %}{{ count }}{% endif %}{{ payload.a + 1 }}",
        ][..],
    );
    (condition(), condition(), threshold, text).prop_map(|(when, of_action, threshold, text)| {
        let action = json!({"type": "notify", "channel": "telegram", "text": text, "when": of_action});
        let mut definition = json!({"schema": 2, "when": when, "cooldown": {"for": "1h"}, "actions": [action]});
        let threshold: Value = serde_json::from_str(threshold).unwrap();
        if !threshold.is_null() {
            definition["threshold"] = threshold;
        }
        json!({"name": "N", "eventType": "payment.*", "definition": definition})
    })
}

/// `document` with one of its values replaced, or one of its keys removed or renamed.
fn mutated() -> impl Strategy<Value = Value> {
    (document(), any::<prop::sample::Index>(), scalar(), 0..4_u8).prop_map(|(mut document, place, value, how)| {
        let mut pointers = Vec::new();
        gather(&document, String::new(), &mut pointers);
        let pointer = place.get(&pointers).clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let key = key.replace("~1", "/").replace("~0", "~");
        match (document.pointer_mut(parent), how) {
            (Some(Value::Object(map)), 0) => drop(map.remove(&key)),
            (Some(Value::Object(map)), 1) => {
                let moved = map.remove(&key).unwrap();
                map.insert(format!("{key}x"), moved);
            }
            (Some(Value::Array(items)), 0 | 1) => items.clear(),
            _ => *document.pointer_mut(&pointer).unwrap() = if how == 2 { value } else { json!({"lit": [value]}) },
        }
        document
    })
}

fn gather(value: &Value, at: String, found: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Array(items) => items.iter().enumerate().map(|(number, item)| (number.to_string(), item)).collect(),
        Value::Object(map) => map.iter().map(|(key, item)| (key.clone(), item)).collect(),
        _ => return,
    };
    for (key, item) in inner {
        let pointer = crate::issue::child(&at, key);
        gather(item, pointer.clone(), found);
        found.push(pointer);
    }
}

fn arrays(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.len().max(items.iter().map(arrays).max().unwrap_or(0)),
        Value::Object(map) => map.values().map(arrays).max().unwrap_or(0),
        _ => 0,
    }
}

/// Evaluates `rule` in every way, and twice.
fn check(rule: &Rule, payload: &Value) -> Result<(), TestCaseError> {
    let event = event("payment.x", payload);
    let when = &rule.definition.when;
    let evaluation = when.evaluate(&event);
    prop_assert_eq!(evaluation, when.clone().evaluate(&event));
    let trace = when.trace(&event);
    // Each comparison looks at each element once, at that at most at each value of a list or of an array within it.
    let (elements, leaves) = (arrays(payload).max(6) + 1, trace.len());
    prop_assert!(evaluation.visits <= (leaves * elements * elements * 3 * elements) as u64);
    prop_assert!(evaluation.visits <= MAX_VISITS && !evaluation.is_exhausted);

    let earlier = [Event { id: "1", ..event }, Event { id: "2", ..event }];
    let past = Past { events: &earlier, last_fired_at: None };
    let run = dry_run(rule, ("r", 1), &event, past);
    prop_assert_eq!(run.matched, evaluation.holds);
    let again = dry_run(rule, ("r", 1), &event, past);
    prop_assert_eq!(serde_json::to_value(&run).unwrap(), serde_json::to_value(&again).unwrap());
    Ok(())
}

/// A pointer names a value of the document, or the place of a key that is not there.
fn is_pointer(document: &Value, issue: &Issue) -> bool {
    let parent = issue.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
    document.pointer(&issue.pointer).is_some() || document.pointer(parent).is_some_and(Value::is_object)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_valid_rule_is_read_and_always_finds_the_same(document in document(), payload in payload()) {
        let parsed = parse(&document);
        prop_assert!(parsed.is_ok(), "{:?} in {}", parsed.err(), document);
        check(&parsed.unwrap().rule, &payload)?;
    }

    #[test]
    fn a_damaged_rule_is_refused_with_pointers_or_works(document in mutated(), payload in payload()) {
        match parse(&document) {
            Ok(parsed) => check(&parsed.rule, &payload)?,
            Err(issues) => {
                prop_assert!(!issues.is_empty());
                for issue in &issues {
                    prop_assert!(is_pointer(&document, issue), "{issue:?} in {document}");
                }
            }
        }
    }
}

//! The contract's vectors and its fifteen examples, by their numbers.

use crate::testing::event;
use crate::*;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use switchyard_core::Channel;

fn document(definition: Value) -> Value {
    json!({"name": "Rule", "eventType": "*", "definition": definition})
}

/// A schema 2 document with this definition; adds `schema` and an action if absent.
fn rule(mut definition: Value) -> Rule {
    let map = definition.as_object_mut().unwrap();
    if !map.contains_key("conditions") {
        map.entry("schema").or_insert(json!(2));
    }
    map.entry("actions").or_insert(json!([{"type": "notify", "channel": "email"}]));
    parse(&document(definition)).unwrap_or_else(|issues| panic!("{issues:?}")).rule
}

fn holds(definition: &Value, payload: &Value) -> bool {
    rule(definition.clone()).definition.when.holds(&event("x", payload))
}

fn leaf_holds(leaf: Value, payload: Value) -> bool {
    holds(&json!({"when": leaf}), &payload)
}

fn issues(definition: Value) -> Vec<(String, Code)> {
    let issues = parse(&document(definition)).unwrap_err();
    issues.into_iter().map(|issue| (issue.pointer, issue.code)).collect()
}

fn legacy(equals: Value) -> Value {
    json!({"conditions": {"equals": equals}, "actions": [{"type": "notify", "channel": "email"}]})
}

#[test]
fn v20_legacy_compares_with_case() {
    assert!(!holds(&legacy(json!({"sev": "high"})), &json!({"sev": "High"})));
    assert!(holds(&legacy(json!({"sev": "high"})), &json!({"sev": "high"})));
    assert!(!holds(&legacy(json!({"a.b": 1})), &json!({"a": {"b": 1}})), "keys are no paths");
    assert!(holds(&legacy(json!({"a.b": 1})), &json!({"a.b": 1})));
}

#[test]
fn v21_legacy_null_is_not_absence() {
    assert!(holds(&legacy(json!({"x": null})), &json!({"x": null})));
    assert!(!holds(&legacy(json!({"x": null})), &json!({})));
}

#[test]
fn v22_an_unknown_condition_is_refused() {
    let mut definition = legacy(json!({}));
    definition["conditions"] = json!({"greaterThan": {"amount": 1000}});
    assert_eq!(issues(definition), [("/definition/conditions/greaterThan".to_owned(), Code::UnknownCondition)]);
}

#[test]
fn v23_an_unknown_operator_has_a_hint() {
    for at in ["", "/all/0", "/not/any/1"] {
        let leaf = json!({"path": "payload.a", "op": "greater", "value": 1});
        let when = match at {
            "" => leaf,
            "/all/0" => json!({"all": [leaf]}),
            _ => json!({"not": {"any": [{"path": "type", "op": "eq", "value": "x"}, leaf]}}),
        };
        let definition = json!({"schema": 2, "when": when, "actions": [{"type": "notify", "channel": "email"}]});
        let found = parse(&document(definition)).unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].code, found[0].hint.as_deref()), (Code::UnknownOperator, Some("gte")));
        assert_eq!(found[0].pointer, format!("/definition/when{at}/op"));
    }
}

#[test]
fn v24_absence_is_false_unless_the_author_says_otherwise() {
    let leaf = json!({"path": "payload.a", "op": "ne", "value": "x"});
    assert!(!leaf_holds(leaf.clone(), json!({})));
    let mut lenient = leaf.clone();
    lenient["missing"] = json!(true);
    assert!(leaf_holds(lenient, json!({})));
    assert!(leaf_holds(json!({"not": {"path": "payload.a", "op": "eq", "value": "x"}}), json!({})));
    assert!(leaf_holds(leaf, json!({"a": "y"})));
}

#[test]
fn v25_numbers_are_equal_by_value_and_texts_are_no_numbers() {
    let leaf = json!({"path": "payload.a", "op": "eq", "value": 1});
    assert!(leaf_holds(leaf.clone(), json!({"a": 1.0})));
    assert!(!leaf_holds(leaf.clone(), json!({"a": "1"})));
    let payload = json!({"a": "1"});
    let trace = rule(json!({"when": leaf})).definition.when.trace(&event("x", &payload));
    assert_eq!((trace[0].result, trace[0].note), (false, Some(Note::TypeMismatch)));
}

#[test]
fn v26_groups_nest() {
    let definition = example(4);
    assert!(holds(&definition, &json!({"country": "US", "plan": "free", "seats": 50})));
    assert!(!holds(&definition, &json!({"country": "US", "plan": "free", "seats": 49})));
    assert!(!holds(&definition, &json!({"country": "DE", "plan": "pro"})));
}

#[test]
fn v27_all_of_nothing_is_not_enough() {
    assert!(!holds(&example(8), &json!({"items": []})));
}

#[test]
fn v28_look_around_does_not_compile() {
    let when = json!({"path": "payload.a", "op": "matches", "value": "(?=a)b"});
    let found = issues(json!({"schema": 2, "when": when, "actions": [{"type": "notify", "channel": "email"}]}));
    assert_eq!(found, [("/definition/when/value".to_owned(), Code::BadRegex)]);
}

/// Runs events through threshold and cooldown as callers do, with states by group.
struct Flow {
    rule: Rule,
    thresholds: std::collections::HashMap<String, ThresholdState>,
    cooldowns: std::collections::HashMap<String, CooldownState>,
}

impl Flow {
    fn new(rule: Rule) -> Self {
        Self { rule, thresholds: Default::default(), cooldowns: Default::default() }
    }

    /// The event `id`, this many minutes after ten o'clock.
    fn fires(&mut self, id: &str, minutes: i64, payload: &Value) -> Option<Cooled> {
        let event = event("x", payload);
        let received_at = event.received_at + SignedDuration::from_mins(minutes);
        let event = Event { id, received_at, ..event };
        let definition = &self.rule.definition;
        let threshold = definition.threshold.as_ref().unwrap();
        let sample = threshold.sample(&event)?;
        let state = self.thresholds.remove(&sample.group).unwrap_or_default();
        let (state, counted) = threshold.step(state, event.id, &sample);
        self.thresholds.insert(sample.group, state);
        if !counted.fired {
            return None;
        }
        let cooldown = definition.cooldown.as_ref().unwrap();
        let group = cooldown.group(&event);
        let (state, cooled) =
            cooldown.step(self.cooldowns.remove(&group), event.id, event.received_at.as_millisecond());
        self.cooldowns.insert(group, state);
        Some(cooled)
    }
}

#[test]
fn v29_five_failures_in_ten_minutes_fire_once() {
    let mut flow = Flow::new(rule(example(12)));
    let (ann, bob) = (json!({"userId": "ann"}), json!({"userId": "bob"}));
    for minute in 0..=3 {
        assert_eq!(flow.fires(&format!("a{minute}"), minute, &ann), None);
    }
    assert_eq!(flow.fires("b3", 3, &bob), None);
    assert_eq!(flow.fires("a4", 4, &ann), Some(Cooled::Fires { suppressed: 0 }));
    assert_eq!(flow.fires("b4", 4, &bob), None);
    assert_eq!(flow.fires("n4", 4, &json!({})), None, "without a user it is not counted");
}

#[test]
fn v30_five_more_are_suppressed_and_counted() {
    let mut flow = Flow::new(rule(example(12)));
    let ann = json!({"userId": "ann"});
    let mut run = |minutes: std::ops::Range<i64>| -> Vec<_> {
        minutes.filter_map(|minute| flow.fires(&format!("a{minute}"), minute, &ann)).collect()
    };
    assert_eq!(run(0..10), [Cooled::Fires { suppressed: 0 }, Cooled::Suppressed]);
    assert_eq!(run(9..10), [Cooled::Suppressed], "a redelivery finds the stored outcome");
    assert_eq!(run(64..69), [Cooled::Fires { suppressed: 1 }]);
}

#[test]
fn v42_telegrams_html_is_escaped() {
    let actions = json!([{"type": "notify", "channel": "telegram", "text": "Hi {{payload.name}}"}]);
    let rule = rule(json!({"when": true, "actions": actions}));
    let payload = json!({"name": "<b>"});
    let message = render(&rule, &event("x", &payload), Markup::Html);
    assert_eq!(message.text, "Hi &lt;b&gt;");
}

fn render(rule: &Rule, event: &Event<'_>, markup: Markup) -> Message {
    let scope =
        Scope { event, rule_id: "r1", rule_name: &rule.name, rule_version: 3, count: 1.0, suppressed: 0, events: &[] };
    rule.definition.actions[0].render(&scope, markup).unwrap()
}

/// The definitions of the fifteen examples, as the contract writes them.
fn example(number: usize) -> Value {
    let text = [
        r#"{"conditions":{"equals":{"severity":"high"}},"actions":[{"type":"notify","channel":"email","subject":"Alert"}]}"#,
        r#"{"when":{"path":"payload.severity","op":"eq","value":"high"}}"#,
        r#"{"when":{"path":"payload.amount","op":"gt","value":1000}}"#,
        r#"{"when":{"all":[{"path":"payload.country","op":"in","value":["IN","US"]},{"any":[{"path":"payload.plan","op":"eq","value":"pro"},{"path":"payload.seats","op":"gte","value":50}]}]}}"#,
        r#"{"when":{"not":{"path":"payload.email","op":"ends_with","value":"@acme.test","ci":true}}}"#,
        r#"{"when":{"path":"payload.phone","op":"exists","value":false}}"#,
        r#"{"when":{"path":"payload.items[*].sku","op":"starts_with","value":"GIFT-"}}"#,
        r#"{"when":{"path":"payload.items[*].price","op":"lte","value":20,"each":"all"}}"#,
        r#"{"when":{"path":"payload.paid","op":"lt","value":{"ref":"payload.due"}}}"#,
        r#"{"when":{"path":"/payload/http.status","op":"between","value":[500,599]}}"#,
        r#"{"when":{"path":"payload.path","op":"matches","value":"^/admin(/|$)"}}"#,
        r#"{"when":true,"threshold":{"count":5,"window":"10m","by":["payload.userId"]},"cooldown":{"for":"1h","by":["payload.userId"]}}"#,
        r#"{"when":true,"threshold":{"sum":"payload.amount","gte":50000,"window":"24h","mode":"tumbling","by":["payload.currency"]}}"#,
        r#"{"when":{"path":"occurredAt","op":"time_of_day","value":{"from":"18:00","to":"08:00","tz":"Asia/Kolkata"}},"digest":{"window":"30m","lead":true}}"#,
        r#"{"when":{"path":"payload.trialEndsAt","op":"before","value":{"now":"-1d"}},"actions":[{"type":"notify","channel":"whatsapp","to":["{{payload.phone}}"],"text":"Trial ended {{payload.trialEndsAt | date('%d %b','UTC')}}","fallback":[{"type":"notify","channel":"email"}]}]}"#,
    ][number - 1];
    serde_json::from_str(text).unwrap()
}

#[test]
fn example_01_legacy_equality() {
    let rule = rule(example(1));
    let payload = json!({"n": 1, "severity": "high"});
    assert!(rule.definition.is_legacy && rule.definition.when.holds(&event("x", &payload)));
    let message = render(&rule, &event("x", &payload), Markup::Plain);
    assert_eq!((message.subject.as_str(), message.text.as_str()), ("Alert", r#"{"n":1,"severity":"high"}"#));
    assert!(message.to.is_empty() && rule.definition.actions[0].prefers_config);
}

#[test]
fn example_02_the_same_in_schema_2() {
    assert!(holds(&example(2), &json!({"severity": "high"})));
    assert!(!holds(&example(2), &json!({"severity": "High"})));
}

#[test]
fn example_03_amount_over_a_limit() {
    assert!(holds(&example(3), &json!({"amount": 1000.01})));
    assert!(!holds(&example(3), &json!({"amount": 1000})) && !holds(&example(3), &json!({"amount": "2000"})));
}

#[test]
fn example_04_nested() {
    assert!(holds(&example(4), &json!({"country": "IN", "plan": "pro"})));
    assert!(!holds(&example(4), &json!({"country": "IN"})));
}

#[test]
fn example_05_not_internal() {
    assert!(!holds(&example(5), &json!({"email": "Ann@ACME.test"})));
    assert!(holds(&example(5), &json!({"email": "ann@else.test"})) && holds(&example(5), &json!({})));
}

#[test]
fn example_06_an_absent_field() {
    assert!(holds(&example(6), &json!({})));
    assert!(!holds(&example(6), &json!({"phone": null})), "null is present");
}

#[test]
fn example_07_any_line_item() {
    assert!(holds(&example(7), &json!({"items": [{"price": 1}, {"sku": "GIFT-1"}]})));
    for payload in [json!({"items": [{"sku": "X"}, {}]}), json!({"items": []}), json!({"items": {}}), json!({})] {
        assert!(!holds(&example(7), &payload), "{payload}");
    }
}

#[test]
fn example_08_all_items_are_cheap() {
    assert!(holds(&example(8), &json!({"items": [{"price": 20}, {"price": 1.5}]})));
    for payload in [json!({"items": [{"price": 21}]}), json!({"items": [{"price": 1}, {}]}), json!({})] {
        assert!(!holds(&example(8), &payload), "{payload}");
    }
}

#[test]
fn example_09_a_field_against_another() {
    assert!(holds(&example(9), &json!({"paid": 1, "due": 2})));
    for payload in [json!({"paid": 2, "due": 2}), json!({"paid": 1}), json!({"due": 1}), json!({"paid": 1, "due": "2"})]
    {
        assert!(!holds(&example(9), &payload), "{payload}");
    }
}

#[test]
fn example_10_an_odd_key() {
    for (status, wanted) in [(499, false), (500, true), (599, true), (600, false)] {
        assert_eq!(holds(&example(10), &json!({"http.status": status})), wanted, "{status}");
    }
}

#[test]
fn example_11_a_pattern() {
    for (path, wanted) in [("/admin", true), ("/admin/x", true), ("/administrator", false), ("/x/admin", false)] {
        assert_eq!(holds(&example(11), &json!({"path": path})), wanted, "{path}");
    }
    assert!(!holds(&example(11), &json!({"path": format!("/admin/{}", "a".repeat(64 * 1024))})), "too long to try");
}

#[test]
fn example_12_five_failures_then_an_hour_of_quiet() {
    let rule = rule(example(12));
    let threshold = rule.definition.threshold.as_ref().unwrap();
    assert!(!threshold.needs_claim() && threshold.window_ms() == 600_000);
    assert_eq!(rule.definition.cooldown.as_ref().unwrap().for_ms(), 3_600_000);
}

#[test]
fn example_13_a_volume_of_refunds() {
    let rule = rule(example(13));
    let threshold = rule.definition.threshold.as_ref().unwrap();
    let mut state = ThresholdState::default();
    let mut fired = Vec::new();
    for (number, amount) in [20_000.0, 29_999.5, 0.5, 90_000.0].into_iter().enumerate() {
        let payload = json!({"amount": amount, "currency": "EUR"});
        let sample = threshold.sample(&event("x", &payload)).unwrap();
        let (next, counted) = threshold.step(state, &number.to_string(), &sample);
        state = next;
        fired.push(counted.fired);
    }
    assert_eq!(fired, [false, false, true, false]);
    for payload in [json!({"amount": "1", "currency": "EUR"}), json!({"currency": "EUR"}), json!({"amount": 1})] {
        assert_eq!(threshold.sample(&event("x", &payload)), None, "{payload}");
    }
}

#[test]
fn example_14_a_digest_out_of_hours() {
    let rule = rule(example(14));
    let payload = json!({});
    let moment = |text: &str| {
        let occurred_at: Timestamp = text.parse().unwrap();
        rule.definition.when.holds(&Event { occurred_at, ..event("x", &payload) })
    };
    assert!(moment("2026-11-03T12:30:00Z") && moment("2026-11-03T23:00:00Z") && !moment("2026-11-03T06:00:00Z"));
    let digest = rule.definition.digest.as_ref().unwrap();
    let step = digest.step(DigestState::default(), "a", 0);
    assert_eq!((step.outcome, step.state.closes_ms(digest)), (Digested::Lead, Some(1_800_000)));
}

#[test]
fn example_15_a_stale_trial_with_a_fallback() {
    let rule = rule(example(15));
    let paths: Vec<_> = rule.actions().iter().map(|action| (action.path.clone(), action.channel)).collect();
    assert_eq!(paths, [("0".to_owned(), Channel::Whatsapp), ("0.fallback.0".to_owned(), Channel::Email)]);
    let payload = json!({"trialEndsAt": "2026-11-01T08:00:00Z", "phone": "491701234567"});
    assert!(rule.definition.when.holds(&event("x", &payload)));
    let message = render(&rule, &event("x", &payload), Markup::Plain);
    assert_eq!((message.to, message.text.as_str()), (vec!["491701234567".to_owned()], "Trial ended 01 Nov"));
    assert!(!rule.definition.when.holds(&event("x", &json!({"trialEndsAt": "2026-11-02T10:00:00Z"}))));
}

#[test]
fn the_dry_run_of_the_contract() {
    let document = json!({"name":"Big card failure","eventType":"payment.*","definition":{"schema":2,
        "when":{"all":[{"path":"payload.method","op":"eq","value":"card","ci":true},{"path":"payload.amount","op":"gte","value":750}]},
        "cooldown":{"for":"15m","by":["payload.customerId"]},
        "actions":[{"type":"notify","channel":"slack","text":"{{payload.customerId}} failed {{payload.amount}} (+{{suppressed}} quiet)"},
                   {"type":"notify","channel":"email","to":["ops@acme.test"],"subject":"Card failure","when":{"path":"payload.amount","op":"gte","value":5000}}]}});
    let parsed = parse(&document).unwrap();
    assert_eq!(parsed.warnings, []);
    let payload = json!({"method": "Card", "amount": 900, "customerId": "c7"});
    let event = event("payment.failed", &payload);
    let run = dry_run(&parsed.rule, ("r1", 1), &event, Past::default());
    assert_eq!(
        serde_json::to_value(&run).unwrap(),
        json!({"typeMatched":true,"matched":true,"wouldFire":true,
            "trace":[{"pointer":"/definition/when/all/0","op":"eq","actual":"Card","expected":"card","result":true},
                     {"pointer":"/definition/when/all/1","op":"gte","actual":900,"expected":750,"result":true},
                     {"pointer":"/definition/actions/1/when","op":"gte","actual":900,"expected":5000,"result":false}],
            "renders":[{"action":0,"channel":"slack","to":["#webhook"],"text":"c7 failed 900 (+0 quiet)"}],"warnings":[]})
    );
    let last_fired_at = Some(event.received_at - SignedDuration::from_mins(14));
    let stopped = dry_run(&parsed.rule, ("r1", 1), &event, Past { last_fired_at, ..Past::default() });
    assert_eq!((stopped.stopped_by, stopped.would_fire), (Some(StoppedBy::Cooldown), false));
}

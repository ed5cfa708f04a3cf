//! Parses the rule document and reports all errors in it.

use crate::action::Action;
use crate::condition::Condition;
use crate::cooldown::Cooldown;
use crate::digest::Digest;
use crate::document::{Definition, Rule, Status, TypePattern};
use crate::duplicate::find_duplicates;
use crate::issue::{Code, Issue, Report, child};
use crate::legacy;
use crate::operator::PatternSize;
use crate::threshold::Threshold;
use serde_json::Value;

/// The most bytes of a document, as compact JSON.
pub const MAX_DOCUMENT: usize = 32 * 1024;

/// The most levels of nested arrays and objects in a document, literals included.
const MAX_NESTING: usize = 64;

/// A parsed rule document.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The rule.
    pub rule: Rule,
    /// Warnings: what the author probably did not mean.
    pub warnings: Vec<Issue>,
    /// The rule's patterns, which take memory while it is active.
    pub patterns: Vec<PatternSize>,
}

impl Parsed {
    /// The most bytes of all its patterns.
    pub fn pattern_bytes(&self) -> usize {
        self.patterns.iter().map(|pattern| pattern.bytes).sum()
    }
}

/// Parses a rule document, `{name,eventType,status?,priority?,description?,definition}`.
///
/// # Errors
/// All errors, at most [`crate::MAX_ISSUES`].
pub fn parse(document: &Value) -> Result<Parsed, Vec<Issue>> {
    finish(document, Report::default())
}

/// Parses a rule document from its text, and reports keys that appear twice.
///
/// # Errors
/// As [`parse`], and one of `bad_value` at the root for what is not JSON.
pub fn parse_text(text: &str) -> Result<Parsed, Vec<Issue>> {
    let document = serde_json::from_str(text).map_err(|error| {
        let mut report = Report::default();
        report.issue("", Code::BadValue, format!("not JSON: {error}"));
        report.issues
    })?;
    let mut report = Report::default();
    // The text as it was sent, since that is what is stored.
    if text.len() > MAX_DOCUMENT {
        report.issue("", Code::TooLarge, format!("a rule has at most {MAX_DOCUMENT} bytes"));
        return Err(report.issues);
    }
    find_duplicates(text, &mut report);
    finish(&document, report)
}

fn finish(document: &Value, mut report: Report) -> Result<Parsed, Vec<Issue>> {
    match read(document, &mut report) {
        Some(rule) if report.issues.is_empty() => {
            Ok(Parsed { rule, warnings: report.warnings, patterns: report.patterns })
        }
        _ => Err(report.issues),
    }
}

fn read(document: &Value, report: &mut Report) -> Option<Rule> {
    if !is_shallow(document, MAX_NESTING) {
        report.issue("", Code::TooDeep, format!("arrays and objects are nested more than {MAX_NESTING} deep"));
        return None;
    }
    if document.to_string().len() > MAX_DOCUMENT {
        report.issue("", Code::TooLarge, format!("a rule has at most {MAX_DOCUMENT} bytes"));
        return None;
    }
    let map = report.object(document, "", &["name", "eventType", "status", "priority", "description", "definition"])?;
    let definition = report.required(map, "", "definition");
    let is_legacy = definition.is_some_and(is_legacy);
    let name = report.required(map, "", "name").and_then(|name| report.text(name, "/name", 1..=150));
    let event_type = report.required(map, "", "eventType");
    let event_type = event_type.and_then(|value| TypePattern::read(value, "/eventType", is_legacy, report));
    let statuses = [("active", Status::Active), ("paused", Status::Paused)];
    let status = map.get("status").map(|value| report.choice(value, "/status", &statuses));
    let priority = map.get("priority").map(|value| report.integer(value, "/priority", -1000..=1000));
    let description = map.get("description").map(|value| report.text(value, "/description", 0..=usize::MAX));
    let definition = definition.and_then(|value| {
        let at = "/definition";
        if is_legacy { legacy::read(value, at, report) } else { read_definition(value, at, report) }
    });
    let definition = definition?;
    warn(&definition, report);
    Some(Rule {
        name: name?.to_owned(),
        event_type: event_type?,
        status: status.map_or(Some(None), |status| status.map(Some))?,
        priority: priority.unwrap_or(Some(0))?,
        description: description.map_or(Some(None), |text| text.map(Some))?.map(str::to_owned),
        definition,
    })
}

/// Without a `schema`, keys such as `when` show that schema 2 was meant.
fn is_legacy(definition: &Value) -> bool {
    match definition.get("schema") {
        Some(schema) => *schema == 1,
        None => definition.get("conditions").is_some() || definition.get("when").is_none(),
    }
}

fn read_definition(value: &Value, at: &str, report: &mut Report) -> Option<Definition> {
    let map = report.object(value, at, &["schema", "when", "threshold", "cooldown", "digest", "actions"])?;
    if let Some(schema) = report.required(map, at, "schema").filter(|schema| **schema != 2) {
        let code = if schema.is_number() { Code::BadValue } else { Code::ValueType };
        report.hinted(&child(at, "schema"), code, "expected 1 or 2", "2");
    }
    let field = |key: &str| map.get(key).map(|value| (value, child(at, key)));
    let when = report.required(map, at, "when");
    let when = when.and_then(|value| Condition::read(value, &child(at, "when"), report));
    let threshold = field("threshold").map(|(value, at)| Threshold::read(value, &at, report));
    let cooldown = field("cooldown").map(|(value, at)| Cooldown::read(value, &at, report));
    let digest = field("digest").map(|(value, at)| Digest::read(value, &at, report));
    let actions = report.required(map, at, "actions");
    let actions = actions.and_then(|value| Action::read_all(value, &child(at, "actions"), report));
    Some(Definition {
        is_legacy: false,
        when: when?,
        threshold: threshold.map_or(Some(None), |threshold| threshold.map(Some))?,
        cooldown: cooldown.map_or(Some(None), |cooldown| cooldown.map(Some))?,
        digest: digest.map_or(Some(None), |digest| digest.map(Some))?,
        actions: actions?,
    })
}

fn warn(definition: &Definition, report: &mut Report) {
    let at = if definition.is_legacy { "/definition/conditions" } else { "/definition/when" };
    match definition.when.constant() {
        Some(true) if definition.threshold.is_none() => {
            report.warning(at, Code::AlwaysTrue, "holds for every event of this type");
        }
        Some(false) => report.warning(at, Code::UnreachableBranch, "never true: nothing is ever sent"),
        _ => {}
    }
}

fn is_shallow(value: &Value, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    match value {
        Value::Array(items) => items.iter().all(|item| is_shallow(item, depth)),
        Value::Object(map) => map.values().all(|item| is_shallow(item, depth)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(when: Value) -> Value {
        let actions = json!([{"type": "notify", "channel": "email"}]);
        json!({"name": "N", "eventType": "a.b", "definition": {"schema": 2, "when": when, "actions": actions}})
    }

    fn found(document: &Value) -> Vec<(String, Code)> {
        match parse(document) {
            Ok(_) => Vec::new(),
            Err(issues) => issues.into_iter().map(|issue| (issue.pointer, issue.code)).collect(),
        }
    }

    #[test]
    fn patterns_say_what_memory_they_take_and_a_document_takes_so_much_at_most() {
        let leaf = |pattern: &str| json!({"path": "payload.a", "op": "matches", "value": pattern});
        let sizes = |patterns: &[&str]| {
            let leaves: Vec<_> = patterns.iter().map(|pattern| leaf(pattern)).collect();
            parse(&document(json!({"any": leaves}))).unwrap().patterns
        };
        let read = sizes(&["@example\\.(com|org)$", "\\w+@\\w+", "\\w{1,5}$"]);
        assert_eq!(read[2].pointer, "/definition/when/any/2/value");
        let kilobytes: Vec<_> = read.iter().map(|pattern| pattern.bytes / 1024).collect();
        assert_eq!(kilobytes, [52, 768, 1024]);
        let many = document(json!({"any": vec![leaf("\\w{1,5}$"); 34]}));
        assert_eq!(found(&many), [("/definition/when/any/32/value".to_owned(), Code::TooLarge)]);
    }

    /// The errors of one comparison, with pointers from there on.
    fn of_leaf(leaf: Value) -> Vec<(String, Code)> {
        let at = "/definition/when";
        let tail = |pointer: String| pointer.strip_prefix(at).unwrap_or(&pointer).to_owned();
        found(&document(leaf)).into_iter().map(|(pointer, code)| (tail(pointer), code)).collect()
    }

    #[test]
    fn every_value_is_checked_against_its_operator() {
        use Code::{BadDuration, BadPath, BadRegex, BadTimezone, BadValue, MissingKey, UnknownKey, ValueType};
        let long = "a".repeat(257);
        let many: Vec<_> = (0..201).collect();
        for (op, value, pointer, code) in [
            ("eq", json!({"x": 1}), "/value/x", UnknownKey),
            ("eq", json!({}), "/value", BadValue),
            ("eq", json!([{"a": 1}]), "/value", BadValue),
            ("eq", json!({"ref": "payload.b", "lit": 1}), "/value", BadValue),
            ("eq", json!({"ref": "payload[*]"}), "/value/ref", BadPath),
            ("eq", json!({"now": "-1d"}), "/value/now", ValueType),
            ("gt", json!("1000"), "/value", ValueType),
            ("gte", json!(null), "/value", ValueType),
            ("lt", json!([1]), "/value", ValueType),
            ("lte", json!({"lit": "x"}), "/value/lit", ValueType),
            ("between", json!([1]), "/value", BadValue),
            ("between", json!([2, 1]), "/value", BadValue),
            ("between", json!([1, "2"]), "/value/1", ValueType),
            ("between", json!(5), "/value", ValueType),
            ("in", json!("x"), "/value", ValueType),
            ("in", json!([]), "/value", BadValue),
            ("not_in", json!(many), "/value", BadValue),
            ("in", json!([1, {"ref": "payload.b"}]), "/value/1", BadValue),
            ("contains_any", json!({"now": "1d"}), "/value", ValueType),
            ("starts_with", json!(1), "/value", ValueType),
            ("matches", json!("("), "/value", BadRegex),
            ("matches", json!("(a)\\1"), "/value", BadRegex),
            ("matches", json!("(?:(?:a{1,99}){1,99}){1,99}"), "/value", BadRegex),
            ("matches", json!(format!("{}a{}", "(".repeat(30), ")".repeat(30))), "/value", BadRegex),
            ("matches", json!(long), "/value", BadValue),
            ("exists", json!("yes"), "/value", ValueType),
            ("type", json!("float"), "/value", BadValue),
            ("type", json!(["string", 1]), "/value/1", ValueType),
            ("size", json!(1), "/value", ValueType),
            ("size", json!({}), "/value", BadValue),
            ("size", json!({"gte": -1}), "/value/gte", BadValue),
            ("size", json!({"min": 1}), "/value/min", UnknownKey),
            ("before", json!("yesterday"), "/value", ValueType),
            ("after", json!({"now": "1 day"}), "/value/now", BadDuration),
            ("within_last", json!("5"), "/value", BadDuration),
            ("older_than", json!("0s"), "/value", BadDuration),
            ("time_of_day", json!({"from": "08:00", "to": "9:00", "tz": "UTC"}), "/value/to", BadValue),
            ("time_of_day", json!({"from": "08:00", "to": "09:00"}), "/value/tz", MissingKey),
            ("time_of_day", json!({"from": "08:00", "to": "08:00", "tz": "UTC"}), "/value/to", BadValue),
            ("weekday", json!({"in": ["Sat"], "tz": "UTC"}), "/value/in/0", BadValue),
            ("weekday", json!({"in": ["sat"], "tz": "Mars"}), "/value/tz", BadTimezone),
            ("cidr", json!("10.0.0.0/33"), "/value", BadValue),
            ("cidr", json!(["::/0", "x"]), "/value/1", BadValue),
        ] {
            let leaf = json!({"path": "payload.a", "op": op, "value": value});
            assert_eq!(of_leaf(leaf.clone()), [(pointer.to_owned(), code)], "{leaf}");
        }
    }

    #[test]
    fn every_other_key_of_a_comparison_is_checked_too() {
        let leaf = |extra: Value| {
            let mut leaf = json!({"path": "payload.a", "op": "eq", "value": 1});
            leaf.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            of_leaf(leaf)
        };
        for (extra, pointer, code) in [
            (json!({"valeu": 1}), "/valeu", Code::UnknownKey),
            (json!({"path": "pay.a"}), "/path", Code::BadPath),
            (json!({"op": 1}), "/op", Code::ValueType),
            (json!({"op": "cel"}), "/op", Code::UnknownOperator),
            (json!({"each": "any"}), "/each", Code::EachWithoutWildcard),
            (json!({"each": "some", "path": "payload[*]"}), "/each", Code::BadValue),
            (json!({"as": "date"}), "/as", Code::BadValue),
            (json!({"as": "number", "value": "x"}), "/value", Code::ValueType),
            (json!({"as": "time", "value": "x"}), "/value", Code::ValueType),
            (json!({"as": "string"}), "/value", Code::ValueType),
            (json!({"as": "number", "ci": true}), "/ci", Code::BadValue),
            (json!({"ci": 1}), "/ci", Code::ValueType),
            (json!({"missing": 0}), "/missing", Code::ValueType),
            (json!({"op": "exists", "value": true, "missing": true}), "/missing", Code::BadValue),
            (json!({"op": "exists", "value": true, "as": "number"}), "/as", Code::BadValue),
            (json!({"op": "size", "value": {"eq": 1}, "ci": true}), "/ci", Code::BadValue),
        ] {
            assert_eq!(leaf(extra.clone()), [(pointer.to_owned(), code)], "{extra}");
        }
        let missing = ["/path", "/op"].map(|at| (at.to_owned(), Code::MissingKey));
        assert_eq!(of_leaf(json!({"value": 1})), missing);
        assert_eq!(of_leaf(json!({"path": "id", "op": "eq"})), [("/value".to_owned(), Code::MissingKey)]);
    }

    #[test]
    fn groups_are_never_empty_nor_too_deep_nor_too_large() {
        let leaf = json!({"path": "id", "op": "exists"});
        let nested = |depth: usize| (0..depth).fold(leaf.clone(), |inner, _| json!({"not": inner}));
        assert_eq!(of_leaf(nested(10)), []);
        assert_eq!(of_leaf(nested(11)), [("/not".repeat(10), Code::TooDeep)]);
        assert_eq!(of_leaf(json!({"any": []})), [("/any".to_owned(), Code::EmptyGroup)]);
        assert_eq!(of_leaf(json!({"all": vec![true; 51]})), [("/all".to_owned(), Code::BadValue)]);
        assert_eq!(of_leaf(json!({"all": [true], "any": [true]})), [("/any".to_owned(), Code::UnknownKey)]);
        assert_eq!(of_leaf(json!(false)), [(String::new(), Code::ValueType)]);
        let group = json!({"all": vec![&leaf; 50]});
        assert_eq!(of_leaf(json!({"any": vec![&group; 4]})), []);
        let more = json!({"any": [group, group, group, group, leaf, leaf]});
        assert_eq!(of_leaf(more), [("/any/4".to_owned(), Code::TooLarge)]);
        let large = json!({"path": "id", "op": "eq", "value": "x".repeat(MAX_DOCUMENT)});
        assert_eq!(found(&document(large)), [(String::new(), Code::TooLarge)]);
        let deep = (0..70).fold(json!(1), |inner, _| json!([inner]));
        let deep = json!({"path": "id", "op": "eq", "value": {"lit": deep}});
        assert_eq!(found(&document(deep)), [(String::new(), Code::TooDeep)]);
    }

    #[test]
    fn all_mistakes_are_found_at_once() {
        let document = json!({
            "nmae": "x", "eventType": "a*", "status": "on", "priority": 1001, "description": 5,
            "definition": {"schema": 3, "when": {"all": [{"op": "eq"}, 5]}, "threshold": {}, "cooldown": {"for": "1w"},
                "digest": {"window": "1s", "max": 501, "lead": 1},
                "actions": [{"type": "webhook", "channel": "fax", "config": "", "to": [], "text": "{{ x", "fallback": [{}]}]},
        });
        let mut pointers: Vec<_> = found(&document).into_iter().map(|(pointer, _)| pointer).collect();
        pointers.sort();
        let wanted = [
            "/definition/actions/0/channel",
            "/definition/actions/0/config",
            "/definition/actions/0/fallback/0/channel",
            "/definition/actions/0/fallback/0/type",
            "/definition/actions/0/text",
            "/definition/actions/0/to",
            "/definition/actions/0/type",
            "/definition/cooldown/for",
            "/definition/digest/lead",
            "/definition/digest/max",
            "/definition/digest/window",
            "/definition/schema",
            "/definition/threshold/count",
            "/definition/threshold/window",
            "/definition/when/all/0/path",
            "/definition/when/all/0/value",
            "/definition/when/all/1",
            "/description",
            "/eventType",
            "/name",
            "/nmae",
            "/priority",
            "/status",
        ];
        assert_eq!(pointers, wanted);
        let many = document_of_mistakes(60);
        assert_eq!(found(&many).len(), crate::MAX_ISSUES);
    }

    fn document_of_mistakes(number: usize) -> Value {
        let map: serde_json::Map<_, _> = (0..number).map(|number| (format!("k{number}"), json!(1))).collect();
        Value::Object(map)
    }

    #[test]
    fn actions_are_bounded_and_have_what_their_channel_has() {
        let with = |action: Value| {
            let mut document = document(json!(true));
            document["definition"]["actions"] = action;
            found(&document)
        };
        let mail = json!({"type": "notify", "channel": "email"});
        let at = |tail: &str| format!("/definition/actions{tail}");
        assert_eq!(with(json!([])), [(at(""), Code::BadValue)]);
        assert_eq!(with(json!(vec![&mail; 11])), [(at(""), Code::BadValue)]);
        assert_eq!(with(json!([{"type": "log", "channel": "email"}])), [(at("/0/type"), Code::UnknownAction)]);
        assert_eq!(with(json!([{"type": "notify", "channel": "sms"}])), [(at("/0/channel"), Code::UnknownChannel)]);
        let html = json!([{"type": "notify", "channel": "slack", "html": "<b>"}]);
        assert_eq!(with(html), [(at("/0/html"), Code::BadValue)]);
        let template =
            json!([{"type": "notify", "channel": "whatsapp", "template": {"name": "n", "params": ["{{ x }}"]}}]);
        let wanted = [(at("/0/template/language"), Code::MissingKey), (at("/0/template/params/0"), Code::BadTemplate)];
        assert_eq!(with(template), wanted);
        let backed = |inner: Value| json!({"type": "notify", "channel": "email", "fallback": [inner]});
        assert_eq!(with(json!([backed(mail.clone())])), []);
        let deepest = backed(backed(backed(backed(mail.clone()))));
        assert_eq!(with(json!([deepest.clone()])), []);
        let too_deep = at("/0/fallback/0/fallback/0/fallback/0/fallback/0/fallback");
        assert_eq!(with(json!([backed(deepest)])), [(too_deep, Code::TooDeep)]);
    }

    #[test]
    fn keys_that_appear_twice_are_refused() {
        let text = document(json!(true)).to_string();
        assert!(parse_text(&text).is_ok());
        let twice = text.replace(r#""channel":"email""#, r#""channel":"email","channel":"slack""#);
        let found = parse_text(&twice).unwrap_err();
        assert_eq!((found.len(), found[0].pointer.as_str()), (1, "/definition/actions/0/channel"));
        assert_eq!(parse_text("{").unwrap_err()[0].code, Code::BadValue);
        let numbers =
            text.replace("true", r#"{"path":"id","op":"eq","value":[1.5,-1,1e3,null,"x",18446744073709551615]}"#);
        assert!(parse_text(&numbers).is_ok());
    }

    #[test]
    fn schema_2_without_its_number_is_not_taken_for_legacy() {
        let mut document = document(json!(true));
        document["definition"].as_object_mut().unwrap().remove("schema");
        assert_eq!(found(&document), [("/definition/schema".to_owned(), Code::MissingKey)]);
    }

    #[test]
    fn legacy_documents_are_checked_too() {
        let document = |definition: Value| json!({"name": "N", "eventType": "a.*", "definition": definition});
        let mail = json!([{"type": "notify", "channel": "email", "template": "Hi {{x}}", "destination": "a@b"}]);
        let parsed = parse(&document(json!({"conditions": {}, "actions": mail}))).unwrap();
        let warnings: Vec<_> = parsed.warnings.iter().map(|issue| (issue.pointer.as_str(), issue.code)).collect();
        let wanted = [
            ("/definition/actions/0/template", Code::LegacyBracesNotInterpolated),
            ("/definition/conditions", Code::AlwaysTrue),
        ];
        assert_eq!(warnings, wanted);
        assert_eq!(parsed.rule.event_type, TypePattern::Exact("a.*".into()), "no patterns in schema 1");
        let bad = json!({"schema": 1, "conditions": {"equals": {"a/b": {}, "c": 1}, "any": []},
            "actions": [{"type": "log", "channel": "email", "text": "x"}], "threshold": {}});
        let mut found = found(&document(bad));
        found.sort_by(|left, right| left.0.cmp(&right.0));
        let wanted = [
            ("/definition/actions/0/text", Code::UnknownKey),
            ("/definition/actions/0/type", Code::UnknownAction),
            ("/definition/conditions/any", Code::UnknownCondition),
            ("/definition/conditions/equals/a~1b", Code::LegacyNonScalar),
            ("/definition/threshold", Code::UnknownKey),
        ];
        assert_eq!(found, wanted.map(|(pointer, code)| (pointer.to_owned(), code)));
    }

    #[test]
    fn conditions_that_decide_nothing_are_warned_of() {
        let warnings = |when: Value| -> Vec<_> {
            let found = parse(&document(when)).unwrap().warnings;
            found.into_iter().map(|issue| (issue.pointer, issue.code)).collect()
        };
        let leaf = json!({"path": "id", "op": "exists"});
        let at = |tail: &str, code| (format!("/definition/when{tail}"), code);
        assert_eq!(warnings(json!(true)), [at("", Code::AlwaysTrue)]);
        assert_eq!(
            warnings(json!({"any": [leaf, true]})),
            [at("/any/0", Code::UnreachableBranch), at("", Code::AlwaysTrue)]
        );
        assert_eq!(
            warnings(json!({"all": [leaf, {"not": true}]})),
            [at("/all/0", Code::UnreachableBranch), at("", Code::UnreachableBranch)]
        );
        assert_eq!(warnings(json!({"all": [leaf, {"any": [leaf, {"not": true}]}]})), []);
        let mut counted = document(json!(true));
        counted["definition"]["threshold"] = json!({"count": 2, "window": "1m"});
        assert_eq!(parse(&counted).unwrap().warnings, []);
    }

    #[test]
    fn a_patterns_prefix_ends_at_its_dot() {
        let pattern = |text: &str| {
            let mut document = document(json!(true));
            document["eventType"] = json!(text);
            parse(&document).map(|parsed| parsed.rule.event_type)
        };
        let payment = pattern("payment.*").unwrap();
        assert!(payment.matches("payment.failed") && payment.matches("payment.card.x"));
        assert!(!payment.matches("payment") && !payment.matches("Payment.failed") && !payment.matches("payment."));
        assert!(pattern("*").unwrap().matches("anything") && pattern("a.b").unwrap().matches("a.b"));
        for text in ["pay*", ".*", "*.x", "a.*.b", "**", "a.**", ""] {
            assert_eq!(pattern(text).unwrap_err()[0].pointer, "/eventType", "{text}");
        }
    }
}

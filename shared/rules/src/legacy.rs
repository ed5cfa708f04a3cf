//! Rules of schema 1: `equals` on the payload's own members, and texts that are sent unchanged.

use crate::action::{Action, read_kind};
use crate::condition::{Condition, Each, Leaf};
use crate::document::Definition;
use crate::issue::{Code, Report, child};
use crate::operand::Operand;
use crate::operator::{Op, Test};
use crate::path::Path;
use crate::template::Template;
use crate::term::Cast;
use serde_json::Value;

const MAX_ACTIONS: usize = 10;
const MAX_PAIRS: usize = 200;

pub(crate) fn read(value: &Value, at: &str, report: &mut Report) -> Option<Definition> {
    let map = report.object(value, at, &["schema", "conditions", "actions"])?;
    let conditions = report.required(map, at, "conditions");
    let when = conditions.and_then(|value| read_conditions(value, &child(at, "conditions"), report));
    let actions = report.required(map, at, "actions").and_then(|value| {
        let at = child(at, "actions");
        let items = report.array(value, &at, 1..=MAX_ACTIONS)?;
        let actions: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(number, item)| read_action(item, &child(&at, number), number.to_string(), report))
            .collect();
        actions.into_iter().collect()
    });
    Some(Definition { is_legacy: true, when: when?, threshold: None, cooldown: None, digest: None, actions: actions? })
}

fn read_conditions(value: &Value, at: &str, report: &mut Report) -> Option<Condition> {
    let Value::Object(map) = value else {
        report.issue(at, Code::ValueType, "expected an object");
        return None;
    };
    for key in map.keys().filter(|key| *key != "equals") {
        let hint = "schema 2 has further comparisons";
        report.hinted(&child(at, key), Code::UnknownCondition, "the only condition is equals", hint);
    }
    let at = child(at, "equals");
    let pairs = match map.get("equals") {
        Some(Value::Object(pairs)) if pairs.len() <= MAX_PAIRS => pairs,
        Some(Value::Object(_)) => {
            report.issue(&at, Code::TooLarge, format!("a rule has at most {MAX_PAIRS} comparisons"));
            return None;
        }
        Some(_) => {
            report.issue(&at, Code::ValueType, "expected an object");
            return None;
        }
        None => return Some(Condition::Always),
    };
    let mut parts = Vec::new();
    for (key, value) in pairs {
        let at = child(&at, key);
        if value.is_object() || value.is_array() {
            report.issue(&at, Code::LegacyNonScalar, "objects and arrays never equal anything here");
        }
        parts.push(Condition::Leaf(Box::new(Leaf {
            pointer: at.into(),
            path: Path::member(key),
            op: Op::Eq,
            test: Test::Equal { want: Operand::Literal(value.clone()), negate: false },
            each: Each::Any,
            missing: false,
            ci: false,
            cast: Cast::None,
            value: value.clone(),
        })));
    }
    Some(if parts.is_empty() { Condition::Always } else { Condition::All(parts) })
}

fn read_action(value: &Value, at: &str, path: String, report: &mut Report) -> Option<Action> {
    let map = report.object(value, at, &["type", "channel", "subject", "template", "destination"])?;
    let channel = read_kind(map, at, report);
    let mut text = |key: &str| {
        let value = map.get(key)?;
        let at = child(at, key);
        let text = report.text(value, &at, 0..=usize::MAX)?;
        if key != "destination" && text.contains("{{") {
            let message = "braces are sent as they stand; schema 2 fills them in";
            report.warning(&at, Code::LegacyBracesNotInterpolated, message);
        }
        Some(Template::verbatim(text, &at))
    };
    let (subject, template, destination) = (text("subject"), text("template"), text("destination"));
    Some(Action {
        path,
        pointer: at.to_owned(),
        channel: channel?,
        config: None,
        prefers_config: true,
        fallback: Vec::new(),
        when: None,
        to: destination.into_iter().collect(),
        subject,
        text: template,
        html: None,
        template: None,
    })
}

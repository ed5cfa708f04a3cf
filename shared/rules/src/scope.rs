//! The values that a template can refer to.

use crate::event::Event;
use crate::number::Num;
use crate::path::Path;
use minijinja::Value;
use serde_json::Value as Json;
use switchyard_core::iso_millis;

/// The values for a rendering.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The event that fired the rule; for a digest the newest one.
    pub event: &'a Event<'a>,
    /// The rule's id.
    pub rule_id: &'a str,
    /// The rule's name.
    pub rule_name: &'a str,
    /// The rule's version.
    pub rule_version: u64,
    /// The threshold's value, the digest's number of events, or 1.
    pub count: f64,
    /// Firings that the cooldown suppressed since the last one.
    pub suppressed: u64,
    /// The digest's events, oldest first; empty without a digest.
    pub events: &'a [Event<'a>],
}

impl Scope<'_> {
    /// The values of `names`, and `extra`.
    pub(crate) fn context(&self, names: &[String], extra: (&'static str, &'static str)) -> Value {
        let is_used = |root: &str| names.iter().any(|name| name.split('.').next() == Some(root));
        let mut pairs = vec![(extra.0, Value::from(extra.1))];
        let mut put = |name: &'static str, value: &dyn Fn() -> Value| {
            if is_used(name) {
                pairs.push((name, value()));
            }
        };
        let event = self.event;
        put("payload", &|| to_template(event.payload));
        put("type", &|| event.kind.into());
        put("source", &|| event.source.map_or(Value::UNDEFINED, Value::from));
        put("occurredAt", &|| iso_millis(event.occurred_at).into());
        put("receivedAt", &|| iso_millis(event.received_at).into());
        put("id", &|| event.id.into());
        put("tenant", &|| {
            let tenant = event.tenant;
            Value::from_pairs([("slug", tenant.slug), ("plan", tenant.plan), ("name", tenant.name)])
        });
        put("rule", &|| {
            let version = Value::from(self.rule_version);
            Value::from_pairs([("id", self.rule_id.into()), ("name", self.rule_name.into()), ("version", version)])
        });
        put("count", &|| plain(self.count));
        put("suppressed", &|| self.suppressed.into());
        put("events", &|| self.events.iter().map(|event| to_template(&event.to_json())).collect());
        Value::from_pairs(pairs)
    }

    /// The default text of a rule without one: the payload, or the payloads of a digest, as compact JSON.
    pub(crate) fn default_text(&self) -> String {
        if self.events.is_empty() {
            return self.event.payload.to_string();
        }
        let payloads: Vec<String> = self.events.iter().map(|event| event.payload.to_string()).collect();
        format!("[{}]", payloads.join(","))
    }
}

/// Whether a dotted name has a value; `None` when that depends on the event.
pub(crate) fn lookup(name: &str, scope: &Scope<'_>) -> Option<bool> {
    Path::parse(name).ok().map(|path| path.find(scope.event).is_some())
}

fn plain(number: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "whole and within the range that floats hold exactly")]
    if number.fract() == 0.0 && number.abs() < 9e15 { (number as i64).into() } else { number.into() }
}

/// JSON as a value of the template engine. Not by serde, which would lose exact numbers.
fn to_template(json: &Json) -> Value {
    match json {
        Json::Null => ().into(),
        Json::Bool(is_true) => (*is_true).into(),
        Json::Number(number) => match Num::from_json(number) {
            Some(Num::Int(int)) => i64::try_from(int).map_or_else(|_| int.into(), Value::from),
            Some(Num::Float(float)) => float.into(),
            None => number.to_string().into(),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => items.iter().map(to_template).collect(),
        Json::Object(map) => Value::from_pairs(map.iter().map(|(key, value)| (key.as_str(), to_template(value)))),
    }
}

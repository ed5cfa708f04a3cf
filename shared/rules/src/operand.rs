//! The right-hand side of a leaf: literals, `{"ref":…}`, `{"now":…}` and `{"lit":…}`.

use crate::event::Event;
use crate::issue::{Code, Report, child};
use crate::number::Num;
use crate::path::Path;
use crate::term::{Cast, Term};
use crate::time::{offset_ms, shifted};
use crate::trace::Note;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// The most values of a list.
const MAX_LIST: usize = 200;

/// One value to compare with, parsed.
#[derive(Clone, Debug)]
pub(crate) enum Operand {
    Literal(Value),
    Number(Num),
    Time(Timestamp),
    /// An offset in milliseconds from the time of receipt.
    Now(i64),
    Ref(Path),
}

/// The kinds of values that an operator accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Anything,
    Ordered,
    Text,
    Moment,
}

impl Operand {
    pub(crate) fn term<'t>(&'t self, event: &Event<'t>) -> Result<Term<'t>, Note> {
        match self {
            Self::Literal(value) => Ok(Term::Json(value)),
            Self::Number(number) => Ok(Term::Number(*number)),
            Self::Time(time) => Ok(Term::Time(*time)),
            Self::Now(millis) => Ok(Term::Time(shifted(event.received_at, *millis))),
            Self::Ref(path) => path.find(event).ok_or(Note::MissingRef),
        }
    }

    pub(crate) fn read(value: &Value, at: &str, want: Want, cast: Cast, report: &mut Report) -> Option<Self> {
        let Value::Object(map) = value else { return literal(value, at, want, cast, report) };
        let (key, inner) = wrapper(map, at, report)?;
        let at_inner = child(at, key);
        match key {
            "ref" => Path::read(inner, &at_inner, false, report).map(Self::Ref),
            "now" => {
                if want != Want::Moment && cast != Cast::Time {
                    report.hinted(&at_inner, Code::ValueType, "now is a moment", "\"as\": \"time\"");
                    return None;
                }
                let text = report.text(inner, &at_inner, 0..=usize::MAX)?;
                let millis = offset_ms(text);
                if millis.is_none() {
                    report.hinted(&at_inner, Code::BadDuration, "expected a duration with a sign", "-1d");
                }
                millis.map(Self::Now)
            }
            _ if want == Want::Anything && cast == Cast::None => Some(Self::Literal(inner.clone())),
            _ => literal(inner, &at_inner, want, cast, report),
        }
    }
}

/// The one key of `{"ref":…}`, `{"now":…}` or `{"lit":…}`.
fn wrapper<'v>(map: &'v Map<String, Value>, at: &str, report: &mut Report) -> Option<(&'v str, &'v Value)> {
    let mut known = None;
    for (key, inner) in map {
        if matches!(key.as_str(), "ref" | "now" | "lit") {
            known = Some((key.as_str(), inner));
        } else {
            let hint = "write an object as {\"lit\": {…}}";
            report.hinted(&child(at, key), Code::UnknownKey, "expected ref, now or lit", hint);
        }
    }
    if known.is_none() && map.is_empty() {
        report.hinted(at, Code::BadValue, "expected ref, now or lit", "write an object as {\"lit\": {…}}");
    }
    if known.is_some() && map.len() > 1 {
        report.issue(at, Code::BadValue, "expected one of ref, now and lit alone");
        return None;
    }
    known
}

fn literal(value: &Value, at: &str, want: Want, cast: Cast, report: &mut Report) -> Option<Operand> {
    let term = Term::Json(value);
    let (found, expected) = match (cast, want) {
        (Cast::Number, _) => (number(term.cast(Cast::Number)), "a number or a text of digits"),
        (Cast::Time, _) | (Cast::None, Want::Moment) => {
            (term.time().map(Operand::Time), "a time of RFC 3339, or seconds or milliseconds since 1970")
        }
        (Cast::Text, _) | (Cast::None, Want::Text) => {
            (value.is_string().then(|| Operand::Literal(value.clone())), "a string")
        }
        (Cast::None, Want::Ordered) => (number(term.cast(Cast::Number).and(Ok(term))), "a number, unless as is set"),
        (Cast::None, Want::Anything) if has_object(value) => {
            report.hinted(at, Code::BadValue, "an object in a list would be compared as it stands", "{\"lit\": […]}");
            return None;
        }
        (Cast::None, Want::Anything) => (Some(Operand::Literal(value.clone())), "any value"),
    };
    if found.is_none() {
        report.issue(at, Code::ValueType, format!("expected {expected}"));
    }
    found
}

fn number(term: Result<Term<'_>, Note>) -> Option<Operand> {
    term.ok()?.number().map(Operand::Number)
}

fn has_object(value: &Value) -> bool {
    match value {
        Value::Object(_) => true,
        Value::Array(items) => items.iter().any(has_object),
        _ => false,
    }
}

/// Several values to compare with.
#[derive(Clone, Debug)]
pub(crate) enum List {
    Items(Box<[Operand]>),
    /// An array of the event.
    Ref(Path),
}

impl List {
    pub(crate) fn read(value: &Value, at: &str, cast: Cast, report: &mut Report) -> Option<Self> {
        let (value, at, verbatim) = match value {
            Value::Object(map) => match wrapper(map, at, report)? {
                ("ref", inner) => return Path::read(inner, &child(at, "ref"), false, report).map(Self::Ref),
                ("lit", inner) => (inner, child(at, "lit"), true),
                _ => {
                    report.issue(at, Code::ValueType, "expected an array");
                    return None;
                }
            },
            _ => (value, at.to_owned(), false),
        };
        let items = report.array(value, &at, 1..=MAX_LIST)?;
        if verbatim && cast == Cast::None {
            return Some(Self::Items(items.iter().cloned().map(Operand::Literal).collect()));
        }
        let read = |(number, item)| literal(item, &child(&at, number), Want::Anything, cast, report);
        let items: Vec<_> = items.iter().enumerate().map(read).collect();
        Some(Self::Items(items.into_iter().collect::<Option<_>>()?))
    }
}

/// `value` in a trace: `ref` and `now` with their values for this event.
pub(crate) fn resolved(value: &Value, event: &Event<'_>) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| resolved(item, event)).collect(),
        Value::Object(map) if map.len() == 1 => {
            let text = |key| map.get(key).and_then(Value::as_str);
            if let Some(path) = text("ref").and_then(|text| Path::parse(text).ok()) {
                return path.find(event).map_or(Value::Null, Term::to_json);
            }
            if let Some(millis) = text("now").and_then(offset_ms) {
                return Term::Time(shifted(event.received_at, millis)).to_json();
            }
            map.get("lit").unwrap_or(value).clone()
        }
        _ => value.clone(),
    }
}

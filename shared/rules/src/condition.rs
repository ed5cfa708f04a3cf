//! Conditions: parses a tree of groups and leaves. `evaluate` applies it to an event.

use crate::issue::{Code, Report, child};
use crate::operator::{Op, Test, read_test};
use crate::path::Path;
use crate::term::Cast;
use serde_json::Value;

/// The most levels of nested groups.
const MAX_DEPTH: usize = 10;
/// The most leaves of one document.
const MAX_LEAVES: usize = 200;
const MAX_GROUP: usize = 50;

/// A parsed condition.
#[derive(Clone, Debug)]
pub enum Condition {
    /// `true`.
    Always,
    /// All of them hold.
    All(Vec<Condition>),
    /// At least one of them holds.
    Any(Vec<Condition>),
    /// None of them holds.
    None(Vec<Condition>),
    /// The condition does not hold.
    Not(Box<Condition>),
    /// A comparison.
    Leaf(Box<Leaf>),
}

/// One comparison of a value of the event.
#[derive(Clone, Debug)]
pub struct Leaf {
    pub(crate) pointer: Box<str>,
    pub(crate) path: Path,
    pub(crate) op: Op,
    pub(crate) test: Test,
    pub(crate) each: Each,
    /// The leaf's result when its path is absent.
    pub(crate) missing: bool,
    pub(crate) ci: bool,
    pub(crate) cast: Cast,
    /// `value` as in the document.
    pub(crate) value: Value,
}

/// How many of the elements of `[*]` must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Each {
    Any,
    All,
    None,
}

impl Condition {
    /// Parses the condition at `at`. When this is `None`, `report` has the errors.
    pub(crate) fn read(value: &Value, at: &str, report: &mut Report) -> Option<Self> {
        let condition = read(value, at, 0, report)?;
        warn(&condition, at, report);
        Some(condition)
    }

    /// Its leaves, in the order of the document.
    pub(crate) fn leaves<'c>(&'c self, found: &mut Vec<&'c Leaf>) {
        match self {
            Self::Always => {}
            Self::All(parts) | Self::Any(parts) | Self::None(parts) => {
                parts.iter().for_each(|part| part.leaves(found));
            }
            Self::Not(part) => part.leaves(found),
            Self::Leaf(leaf) => found.push(leaf),
        }
    }

    /// The constant result of the condition, if it does not depend on the event.
    pub(crate) fn constant(&self) -> Option<bool> {
        let all = |parts: &[Self], wanted: bool| {
            if parts.iter().any(|part| part.constant() == Some(!wanted)) {
                return Some(false);
            }
            parts.iter().all(|part| part.constant() == Some(wanted)).then_some(true)
        };
        match self {
            Self::Always => Some(true),
            Self::All(parts) => all(parts, true),
            Self::Any(parts) => all(parts, false).map(|none_holds| !none_holds),
            Self::None(parts) => all(parts, false),
            Self::Not(part) => part.constant().map(|holds| !holds),
            Self::Leaf(_) => None,
        }
    }
}

fn read(value: &Value, at: &str, depth: usize, report: &mut Report) -> Option<Condition> {
    let map = match value {
        Value::Bool(true) => return Some(Condition::Always),
        Value::Object(map) => map,
        _ => {
            report.issue(at, Code::ValueType, "expected true, a group or a comparison");
            return None;
        }
    };
    let Some(group) = ["all", "any", "none", "not"].into_iter().find(|key| map.contains_key(*key)) else {
        return read_leaf(value, at, report).map(|leaf| Condition::Leaf(Box::new(leaf)));
    };
    report.object(value, at, &[group])?;
    if depth == MAX_DEPTH {
        report.issue(at, Code::TooDeep, format!("groups are nested more than {MAX_DEPTH} deep"));
        return None;
    }
    let at = child(at, group);
    if group == "not" {
        return read(&map[group], &at, depth + 1, report).map(|part| Condition::Not(Box::new(part)));
    }
    if map[group].as_array().is_some_and(Vec::is_empty) {
        report.issue(&at, Code::EmptyGroup, format!("{group} of nothing"));
        return None;
    }
    let items = report.array(&map[group], &at, 1..=MAX_GROUP)?;
    // All parts are parsed first, so that every error is reported.
    let parts: Vec<_> =
        items.iter().enumerate().map(|(number, item)| read(item, &child(&at, number), depth + 1, report)).collect();
    let parts = parts.into_iter().collect::<Option<_>>()?;
    Some(match group {
        "all" => Condition::All(parts),
        "any" => Condition::Any(parts),
        _ => Condition::None(parts),
    })
}

fn read_leaf(value: &Value, at: &str, report: &mut Report) -> Option<Leaf> {
    report.leaves += 1;
    if report.leaves > MAX_LEAVES {
        if report.leaves == MAX_LEAVES + 1 {
            report.issue(at, Code::TooLarge, format!("a rule has at most {MAX_LEAVES} comparisons"));
        }
        return None;
    }
    let map = report.object(value, at, &["path", "op", "value", "each", "missing", "ci", "as"])?;
    let path = report.required(map, at, "path").and_then(|path| Path::read(path, &child(at, "path"), true, report));
    let op = report.required(map, at, "op").and_then(|op| Op::read(op, &child(at, "op"), report));

    let each = map.get("each").map(|value| {
        let choices = [("any", Each::Any), ("all", Each::All), ("none", Each::None)];
        let at = child(at, "each");
        if path.as_ref().is_some_and(|path| !path.has_wildcard()) {
            report.issue(&at, Code::EachWithoutWildcard, "each needs a path with [*]");
        }
        report.choice(value, &at, &choices)
    });
    let cast = map.get("as").map(|value| {
        let choices = [("number", Cast::Number), ("string", Cast::Text), ("time", Cast::Time)];
        let at = child(at, "as");
        if let Some(op) = op.filter(|op| !op.takes_cast()) {
            report.issue(&at, Code::BadValue, format!("as changes nothing for {}", op.name()));
        }
        report.choice(value, &at, &choices)
    });
    let cast = cast.unwrap_or(Some(Cast::None));
    let ci = map.get("ci").map(|value| {
        let at = child(at, "ci");
        let is_text = matches!(cast, None | Some(Cast::None | Cast::Text));
        if let Some(op) = op.filter(|op| !op.takes_ci() || !is_text) {
            report.issue(&at, Code::BadValue, format!("ci changes nothing for {} here", op.name()));
        }
        report.boolean(value, &at)
    });
    let missing = map.get("missing").map(|value| {
        let at = child(at, "missing");
        if op == Some(Op::Exists) {
            report.issue(&at, Code::BadValue, "exists itself says what absence means");
        }
        report.boolean(value, &at)
    });

    let (ci, op, value) = (ci.unwrap_or(Some(false)), op?, map.get("value"));
    let options = (cast.unwrap_or(Cast::None), ci.unwrap_or(false));
    // Without a known `as` the value cannot be checked.
    let test = cast.and_then(|_| read_test(op, value, &child(at, "value"), options, report));
    Some(Leaf {
        pointer: at.into(),
        path: path?,
        op,
        test: test?,
        each: each.unwrap_or(Some(Each::Any))?,
        missing: missing.unwrap_or(Some(false))?,
        ci: ci?,
        cast: cast?,
        value: value.cloned().unwrap_or(Value::Bool(true)),
    })
}

/// Warns of parts that cannot change the result.
fn warn(condition: &Condition, at: &str, report: &mut Report) {
    let (group, parts) = match condition {
        Condition::All(parts) => ("all", parts),
        Condition::Any(parts) => ("any", parts),
        Condition::None(parts) => ("none", parts),
        Condition::Not(part) => return warn(part, &child(at, "not"), report),
        Condition::Always | Condition::Leaf(_) => return,
    };
    let at = child(at, group);
    // One part with this value decides the group.
    let decisive = parts.iter().position(|part| part.constant() == Some(group != "all"));
    for (number, part) in parts.iter().enumerate() {
        let at = child(&at, number);
        if decisive.is_some_and(|decisive| decisive != number) {
            report.warning(&at, Code::UnreachableBranch, format!("another part of this {group} decides it already"));
        } else {
            warn(part, &at, report);
        }
    }
}

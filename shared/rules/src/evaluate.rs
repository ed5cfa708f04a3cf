//! Evaluates a condition for an event. Nothing is parsed or copied, and nothing fails: a comparison of different types does
//! not hold.

use crate::condition::{Condition, Each, Leaf};
use crate::event::Event;
use crate::operand::{List, Operand, resolved};
use crate::operator::{Test, address};
use crate::term::{Kind, Term, contains_text, ends_with, equal, order, starts_with};
use crate::time::shifted;
use crate::trace::{Note, Trace, cut};
use serde_json::Value;

/// The most comparisons of one evaluation. Every element of `[*]`, every value of a list and every few hundred bytes of a
/// searched text count as one.
pub const MAX_VISITS: u64 = 1_000_000;

/// The most bytes of a text that a pattern is matched with.
const MAX_SUBJECT: usize = 64 * 1024;

/// Bytes of text that count as one comparison.
const SEARCHED: usize = 256;
/// Bytes that count as one comparison for a pattern, for each position of the pattern.
const MATCHED: usize = 16;

/// The most elements of `[*]` that a trace shows.
const SHOWN: usize = 20;

/// The result of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// Whether the condition holds; false when the evaluation was stopped.
    pub holds: bool,
    /// The number of comparisons.
    pub visits: u64,
    /// Whether the evaluation was stopped at [`MAX_VISITS`].
    pub is_exhausted: bool,
}

impl Condition {
    /// Whether it holds for `event`; false when the evaluation was stopped at [`MAX_VISITS`].
    pub fn holds(&self, event: &Event<'_>) -> bool {
        self.evaluate(event).holds
    }

    /// Evaluates the condition; stops as soon as the result is known.
    pub fn evaluate(&self, event: &Event<'_>) -> Evaluation {
        let mut run = Run { event, visits: 0 };
        let holds = run.condition(self);
        let is_exhausted = run.visits > MAX_VISITS;
        Evaluation { holds: holds && !is_exhausted, visits: run.visits, is_exhausted }
    }

    /// The result of every leaf, in the order of the document, also of those that [`Condition::evaluate`] skips.
    pub fn trace(&self, event: &Event<'_>) -> Vec<Trace> {
        let mut leaves = Vec::new();
        self.leaves(&mut leaves);
        let mut run = Run { event, visits: 0 };
        let trace = |leaf: &Leaf| {
            let outcome = run.leaf(leaf);
            let note = outcome.err();
            Trace {
                pointer: leaf.pointer.to_string(),
                op: leaf.op.name(),
                actual: actual(leaf, event),
                expected: cut(&resolved(&leaf.value, event)),
                result: settled(leaf, outcome),
                note,
            }
        };
        leaves.into_iter().map(trace).collect()
    }
}

fn actual(leaf: &Leaf, event: &Event<'_>) -> Option<Value> {
    if !leaf.path.has_wildcard() {
        return leaf.path.find(event).map(shown);
    }
    let elements = leaf.path.elements(event)?.iter().take(SHOWN);
    Some(elements.map(|element| leaf.path.within(element).map_or(Value::Null, shown)).collect())
}

fn shown(term: Term<'_>) -> Value {
    match term {
        Term::Json(value) => cut(value),
        other => other.to_json(),
    }
}

/// The result of a leaf: false when the values cannot be compared, and the document's choice when one is absent.
fn settled(leaf: &Leaf, outcome: Result<bool, Note>) -> bool {
    match outcome {
        Ok(holds) => holds,
        Err(Note::Missing | Note::MissingRef) => leaf.missing,
        Err(_) => false,
    }
}

struct Run<'r, 'e> {
    event: &'r Event<'e>,
    visits: u64,
}

impl Run<'_, '_> {
    fn condition(&mut self, condition: &Condition) -> bool {
        match condition {
            Condition::Always => true,
            Condition::All(parts) => parts.iter().all(|part| self.condition(part)),
            Condition::Any(parts) => parts.iter().any(|part| self.condition(part)),
            Condition::None(parts) => !parts.iter().any(|part| self.condition(part)),
            Condition::Not(part) => !self.condition(part),
            Condition::Leaf(leaf) => {
                let outcome = self.leaf(leaf);
                settled(leaf, outcome)
            }
        }
    }

    fn spend(&mut self, visits: usize) -> Result<(), Note> {
        self.visits = self.visits.saturating_add(visits as u64);
        if self.visits > MAX_VISITS { Err(Note::TooCostly) } else { Ok(()) }
    }

    fn leaf(&mut self, leaf: &Leaf) -> Result<bool, Note> {
        self.spend(1)?;
        let event = self.event;
        if let Test::Exists(wanted) = leaf.test
            && !leaf.path.has_wildcard()
        {
            return Ok(leaf.path.find(event).is_some() == wanted);
        }
        if !leaf.path.has_wildcard() {
            let term = leaf.path.find(event).ok_or(Note::Missing)?;
            return self.test(leaf, term);
        }
        match (leaf.path.elements(event), &leaf.test) {
            (Some(elements), _) => self.each(leaf, elements),
            (None, Test::Exists(wanted)) => Ok(!wanted),
            (None, _) => Err(Note::Missing),
        }
    }

    fn each(&mut self, leaf: &Leaf, elements: &[Value]) -> Result<bool, Note> {
        let mut mismatch = None;
        // The first element with this result decides.
        let settling = leaf.each != Each::All;
        for element in elements {
            self.spend(1)?;
            let passed = match (leaf.path.within(element), &leaf.test) {
                (found, Test::Exists(wanted)) => found.is_some() == *wanted,
                (None, _) => false,
                (Some(term), _) => match self.test(leaf, term) {
                    Ok(passed) => passed,
                    Err(note @ (Note::TooCostly | Note::MissingRef)) => return Err(note),
                    Err(note) => {
                        mismatch = mismatch.or(Some(note));
                        false
                    }
                },
            };
            if passed == settling {
                return Ok(leaf.each == Each::Any);
            }
        }
        let holds = leaf.each != Each::Any && !(leaf.each == Each::All && elements.is_empty());
        match mismatch {
            Some(note) if !holds => Err(note),
            _ => Ok(holds),
        }
    }

    fn test(&mut self, leaf: &Leaf, term: Term<'_>) -> Result<bool, Note> {
        let event = self.event;
        match &leaf.test {
            Test::Equal { want, negate } => {
                let equal = equal(term.cast(leaf.cast)?, want.term(event)?.cast(leaf.cast)?, leaf.ci)?;
                Ok(equal != *negate)
            }
            Test::Order { compare, bound } => Ok(compare.holds(order(term, bound.term(event)?, leaf.cast)?)),
            Test::Between { low, high } => self.between(leaf, term, low.term(event)?, high.term(event)?),
            Test::Within(path) => match path.find(event).ok_or(Note::MissingRef)?.array() {
                Some([low, high]) => self.between(leaf, term, Term::Json(low), Term::Json(high)),
                _ => Err(Note::TypeMismatch),
            },
            Test::In { list, negate } => {
                let term = term.cast(leaf.cast)?;
                let is_in = self.is_in(list, |want| equal(term, want.cast(leaf.cast)?, leaf.ci))?;
                Ok(is_in != *negate)
            }
            Test::Contains { want, negate } => Ok(self.contains(leaf, term, want.term(event)?)? != *negate),
            Test::ContainsMany { list, all } => self.contains_many(leaf, term, list, *all),
            Test::Affix { want, end } => {
                let (text, want) = (term.text(), want.term(event)?.text());
                let (text, want) = text.zip(want).ok_or(Note::TypeMismatch)?;
                Ok(if *end { ends_with(&text, &want, leaf.ci) } else { starts_with(&text, &want, leaf.ci) })
            }
            Test::Matches(pattern) => {
                let text = term.text().ok_or(Note::TypeMismatch)?;
                if text.len() > MAX_SUBJECT {
                    return Err(Note::TooLong);
                }
                self.spend(text.len().saturating_mul(pattern.places) / MATCHED)?;
                Ok(pattern.regex.is_match(&text))
            }
            // Absent values were handled before.
            Test::Exists(wanted) => Ok(*wanted),
            Test::IsNull(wanted) => Ok(term.is_null() == *wanted),
            Test::Kinds(kinds) => Ok(kinds.contains(&term.kind())),
            Test::Size(bounds) => {
                let size = size(term).ok_or(Note::TypeMismatch)?;
                Ok(bounds.iter().all(|(compare, bound)| compare.holds(size.cmp(bound))))
            }
            Test::Moment { bound, before } => {
                let (moment, bound) = (term.time(), bound.term(event)?.time());
                let (moment, bound) = moment.zip(bound).ok_or(Note::TypeMismatch)?;
                Ok(if *before { moment < bound } else { moment > bound })
            }
            Test::Age { millis, older } => {
                let moment = term.time().ok_or(Note::TypeMismatch)?;
                let (now, start) = (event.received_at, shifted(event.received_at, -millis));
                Ok(if *older { moment < start } else { start <= moment && moment <= now })
            }
            Test::DayPart(part) => term.time().map(|moment| part.contains(moment)).ok_or(Note::TypeMismatch),
            Test::Days(days) => term.time().map(|moment| days.contains(moment)).ok_or(Note::TypeMismatch),
            Test::Networks(networks) => {
                self.spend(networks.len())?;
                let address = address(term).ok_or(Note::TypeMismatch)?;
                Ok(networks.iter().any(|network| network.contains(&address)))
            }
        }
    }

    fn between(&self, leaf: &Leaf, term: Term<'_>, low: Term<'_>, high: Term<'_>) -> Result<bool, Note> {
        Ok(order(term, low, leaf.cast)?.is_ge() && order(term, high, leaf.cast)?.is_le())
    }

    /// Whether `list` has the value; a type mismatch only when no value has its type.
    fn is_in(&mut self, list: &List, mut is_it: impl FnMut(Term<'_>) -> Result<bool, Note>) -> Result<bool, Note> {
        let mut comparable = false;
        let mut is_empty = false;
        let mut check = |want| match is_it(want) {
            Ok(found) => {
                comparable = true;
                found
            }
            Err(_) => false,
        };
        let found = match list {
            List::Items(items) => {
                self.spend(items.len())?;
                items.iter().any(|item| item.term(self.event).is_ok_and(&mut check))
            }
            List::Ref(path) => {
                let items = path.find(self.event).ok_or(Note::MissingRef)?.array().ok_or(Note::TypeMismatch)?;
                self.spend(items.len())?;
                is_empty = items.is_empty();
                items.iter().any(|item| check(Term::Json(item)))
            }
        };
        if comparable || is_empty { Ok(found) } else { Err(Note::TypeMismatch) }
    }

    fn contains(&mut self, leaf: &Leaf, term: Term<'_>, want: Term<'_>) -> Result<bool, Note> {
        if let Some(items) = term.array() {
            self.spend(items.len())?;
            return Ok(items.iter().any(|item| equal(Term::Json(item), want, leaf.ci) == Ok(true)));
        }
        let (text, want) = term.text().zip(want.text()).ok_or(Note::TypeMismatch)?;
        self.spend(text.len() / SEARCHED)?;
        Ok(contains_text(&text, &want, leaf.ci))
    }

    fn contains_many(&mut self, leaf: &Leaf, term: Term<'_>, list: &List, all: bool) -> Result<bool, Note> {
        let event = self.event;
        let referred = match list {
            List::Items(_) => &[],
            List::Ref(path) => path.find(event).ok_or(Note::MissingRef)?.array().ok_or(Note::TypeMismatch)?,
        };
        let items = match list {
            List::Items(items) => &**items,
            List::Ref(_) => &[],
        };
        let wanted = items.iter().map(|item: &Operand| item.term(event));
        for want in wanted.chain(referred.iter().map(|item| Ok(Term::Json(item)))) {
            self.spend(1)?;
            let found = self.contains(leaf, term, want?)?;
            if found != all {
                return Ok(found);
            }
        }
        Ok(all && !(items.is_empty() && referred.is_empty()))
    }
}

/// Code points, elements or keys.
fn size(term: Term<'_>) -> Option<usize> {
    match (term, term.kind()) {
        (Term::Json(Value::Array(items)), _) => Some(items.len()),
        (Term::Json(Value::Object(map)), _) => Some(map.len()),
        (_, Kind::String) => term.text().map(|text| text.chars().count()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issue::Report;
    use crate::testing::event;
    use serde_json::json;

    fn condition(value: &Value) -> Condition {
        let mut report = Report::default();
        let found = Condition::read(value, "", &mut report);
        assert_eq!(report.issues, [], "{value}");
        found.unwrap()
    }

    /// A comparison of `payload.a`, and what it makes of `a`.
    fn outcome(mut leaf: Value, a: Value) -> (bool, Option<Note>) {
        leaf.as_object_mut().unwrap().entry("path").or_insert(json!("payload.a"));
        let payload = json!({"a": a, "b": 5, "low": [1, 9], "list": ["x", 5], "empty": []});
        let event = event("x.y", &payload);
        let condition = condition(&leaf);
        let trace = condition.trace(&event).remove(0);
        assert_eq!(condition.holds(&event), trace.result, "{leaf}");
        (trace.result, trace.note)
    }

    #[test]
    fn every_operator_holds_for_some_values_and_not_for_others() {
        let at_ten = "2026-11-03T10:00:00Z";
        for (leaf, holding, failing) in [
            (json!({"op": "eq", "value": {"lit": {"x": [1]}}}), json!({"x": [1.0]}), json!({"x": [2]})),
            (json!({"op": "eq", "value": null}), json!(null), json!(0)),
            (json!({"op": "eq", "value": "ÄB", "ci": true}), json!("äb"), json!("ab")),
            (json!({"op": "eq", "value": {"ref": "payload.b"}}), json!(5), json!(6)),
            (json!({"op": "eq", "value": {"now": "0s"}, "as": "time"}), json!(at_ten), json!("2026-11-03T10:00:01Z")),
            (json!({"op": "eq", "value": 10, "as": "number"}), json!("10.0"), json!("11")),
            (json!({"op": "ne", "value": null}), json!("x"), json!(null)),
            (json!({"op": "gt", "value": 1}), json!(1.5), json!(1)),
            (
                json!({"op": "gte", "value": 9007199254740993_i64}),
                json!(9007199254740993_i64),
                json!(9007199254740992_i64),
            ),
            (json!({"op": "lt", "value": "b", "as": "string"}), json!("a"), json!("c")),
            (json!({"op": "lte", "value": 1793700000, "as": "time"}), json!(at_ten), json!("2026-11-03T10:00:00.001Z")),
            (json!({"op": "between", "value": [1, {"ref": "payload.b"}]}), json!(5), json!(6)),
            (json!({"op": "between", "value": {"ref": "payload.low"}}), json!(9), json!(10)),
            (json!({"op": "between", "value": [{"now": "-1h"}, {"now": "1h"}], "as": "time"}), json!(at_ten), json!(0)),
            (json!({"op": "in", "value": ["x", 5, null]}), json!(5.0), json!("y")),
            (json!({"op": "in", "value": {"ref": "payload.list"}}), json!("x"), json!("y")),
            (json!({"op": "in", "value": {"lit": [{"k": 1}]}}), json!({"k": 1}), json!({"k": 2})),
            (json!({"op": "in", "value": [1, "2"], "as": "number"}), json!("2.0"), json!(3)),
            (json!({"op": "not_in", "value": ["x"], "ci": true}), json!("y"), json!("X")),
            (json!({"op": "not_in", "value": {"ref": "payload.empty"}}), json!("y"), json!({"never": "fails"})),
            (json!({"op": "contains", "value": "b"}), json!("abc"), json!("ac")),
            (json!({"op": "contains", "value": 2}), json!([1, 2.0]), json!(["2"])),
            (json!({"op": "not_contains", "value": "B", "ci": true}), json!(["a", 1]), json!("abc")),
            (json!({"op": "contains_any", "value": ["x", "b"]}), json!("abc"), json!("y")),
            (json!({"op": "contains_all", "value": [1, 2]}), json!([2, 1, 3]), json!([1])),
            (json!({"op": "contains_all", "value": {"ref": "payload.list"}}), json!(["x", 5]), json!(["x"])),
            (json!({"op": "starts_with", "value": "Ab", "ci": true}), json!("aBc"), json!("a")),
            (json!({"op": "ends_with", "value": "c"}), json!("abc"), json!("C")),
            (json!({"op": "matches", "value": "^a.c$", "ci": true}), json!("ABC"), json!("abcd")),
            (json!({"op": "exists"}), json!(null), json!("absent")),
            (json!({"op": "is_null"}), json!(null), json!(0)),
            (json!({"op": "is_null", "value": false}), json!(0), json!(null)),
            (json!({"op": "type", "value": ["number", "null"]}), json!(1), json!("1")),
            (json!({"op": "size", "value": {"gte": 1, "lt": 3}}), json!("é!"), json!("abc")),
            (json!({"op": "size", "value": {"eq": 1}}), json!({"k": 1}), json!([])),
            (
                json!({"op": "before", "value": "2026-11-03T10:00:00Z"}),
                json!("2026-11-03T11:59:59+02:00"),
                json!(at_ten),
            ),
            (json!({"op": "after", "value": {"ref": "receivedAt"}}), json!(1793700000001_i64), json!(1793700000)),
            (json!({"op": "within_last", "value": "1h"}), json!("2026-11-03T09:00:00Z"), json!("2026-11-03T10:00:01Z")),
            (json!({"op": "older_than", "value": "1h"}), json!("2026-11-03T08:59:59Z"), json!("2026-11-03T09:00:00Z")),
            (
                json!({"op": "weekday", "value": {"in": ["tue"], "tz": "UTC"}}),
                json!(at_ten),
                json!("2026-11-04T00:00:00Z"),
            ),
            (json!({"op": "cidr", "value": ["10.0.0.0/8", "::1"]}), json!("::ffff:10.1.2.3"), json!("11.0.0.1")),
        ] {
            assert_eq!(outcome(leaf.clone(), holding.clone()), (true, None), "{leaf} {holding}");
            if failing != json!("absent") && failing != json!({"never": "fails"}) {
                assert_eq!(outcome(leaf.clone(), failing.clone()), (false, None), "{leaf} {failing}");
            }
        }
    }

    #[test]
    fn what_cannot_be_compared_is_false_with_a_note() {
        let long = "x".repeat(MAX_SUBJECT + 1);
        for (leaf, a, note) in [
            (json!({"op": "ne", "value": 10}), json!("10"), Note::TypeMismatch),
            (json!({"op": "gt", "value": 10}), json!("11"), Note::TypeMismatch),
            (json!({"op": "not_in", "value": ["x"]}), json!(1), Note::TypeMismatch),
            (json!({"op": "not_contains", "value": "x"}), json!(1), Note::TypeMismatch),
            (json!({"op": "contains", "value": 1}), json!("1"), Note::TypeMismatch),
            (json!({"op": "size", "value": {"eq": 0}}), json!(null), Note::TypeMismatch),
            (json!({"op": "cidr", "value": "::/0"}), json!("localhost"), Note::TypeMismatch),
            (json!({"op": "before", "value": {"now": "1d"}}), json!("2026-11-03"), Note::TypeMismatch),
            (json!({"op": "between", "value": {"ref": "payload.b"}}), json!(1), Note::TypeMismatch),
            (json!({"op": "ne", "value": {"ref": "payload.x"}}), json!(1), Note::MissingRef),
            (json!({"op": "ne", "value": 1, "path": "payload.x"}), json!(1), Note::Missing),
            (json!({"op": "is_null", "path": "payload.x"}), json!(1), Note::Missing),
            (json!({"op": "matches", "value": "x"}), json!(long), Note::TooLong),
        ] {
            assert_eq!(outcome(leaf.clone(), a), (false, Some(note)), "{leaf}");
        }
        assert_eq!(outcome(json!({"op": "exists", "value": false, "path": "payload.x"}), json!(1)), (true, None));
        let lenient = json!({"op": "eq", "value": {"ref": "payload.x"}, "missing": true});
        assert_eq!(outcome(lenient, json!(1)), (true, Some(Note::MissingRef)));
    }

    #[test]
    fn elements_pass_by_any_all_or_none() {
        let holds = |each: &str, a: Value| {
            let leaf = json!({"path": "payload.a[*].n", "op": "gt", "value": 1, "each": each});
            outcome(leaf, a).0
        };
        for (a, any, all, none) in [
            (json!([]), false, false, true),
            (json!([{"n": 2}]), true, true, false),
            (json!([{"n": 2}, {"n": 1}]), true, false, false),
            (json!([{"n": 2}, {}]), true, false, false),
            (json!([{"n": "2"}, 5, null]), false, false, true),
            (json!({"n": 2}), false, false, false),
            (json!("n"), false, false, false),
        ] {
            assert_eq!(
                [holds("any", a.clone()), holds("all", a.clone()), holds("none", a.clone())],
                [any, all, none],
                "{a}"
            );
        }
        let absent = json!({"path": "payload.a[*].n", "op": "exists", "value": false});
        assert!(outcome(absent.clone(), json!([{"n": 1}, {}])).0 && !outcome(absent.clone(), json!([{"n": 1}])).0);
        assert!(outcome(absent, json!(5)).0, "without an array there is nothing");
    }

    #[test]
    fn an_event_is_more_than_its_payload() {
        for (leaf, wanted) in [
            (json!({"path": "type", "op": "starts_with", "value": "x."}), true),
            (json!({"path": "id", "op": "eq", "value": "evt-1"}), true),
            (json!({"path": "tenant.plan", "op": "in", "value": ["pro"]}), true),
            (json!({"path": "source", "op": "exists"}), false),
            (json!({"path": "occurredAt", "op": "lte", "value": {"ref": "receivedAt"}}), true),
            (json!({"path": "receivedAt", "op": "eq", "value": "2026-11-03T10:00:00.000Z"}), true),
            (
                json!({"path": "receivedAt", "op": "time_of_day", "value": {"from": "10:00", "to": "10:01", "tz": "UTC"}}),
                true,
            ),
        ] {
            assert_eq!(outcome(leaf.clone(), json!(1)).0, wanted, "{leaf}");
        }
    }

    #[test]
    fn a_costly_evaluation_is_given_up_and_never_holds() {
        let leaf = json!({"path": "payload.a[*]", "op": "in", "value": (0..40).collect::<Vec<_>>()});
        let costly = json!({"all": vec![json!({"not": leaf}); 50]});
        let payload = json!({"a": vec![99; 40_000]});
        let condition = condition(&costly);
        let evaluation = condition.evaluate(&event("x", &payload));
        assert!(evaluation.is_exhausted && !evaluation.holds);
        assert!(evaluation.visits < MAX_VISITS + 1_000);
        assert_eq!(condition.trace(&event("x", &payload))[49].note, Some(Note::TooCostly));
        let slow = json!({"op": "matches", "value": "(?:a{1,40}){1,40}b"});
        assert_eq!(outcome(slow, json!("a".repeat(MAX_SUBJECT))), (false, Some(Note::TooCostly)));
    }
}

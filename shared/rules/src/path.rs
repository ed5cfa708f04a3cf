//! Paths into an event, such as `payload.items[*].sku`.

use crate::event::Event;
use crate::issue::{Code, Report, child};
use crate::term::Term;
use serde_json::Value;
use std::fmt::{self, Display, Formatter};

const MAX_CHARS: usize = 200;
const MAX_STEPS: usize = 16;

/// A path to a value of an event: `payload.items[*].sku`, `tenant.plan`, or the JSON Pointer `/payload/http.status`.
#[derive(Clone, Debug)]
pub struct Path {
    text: Box<str>,
    root: Root,
    /// The steps before `[*]`.
    head: Box<[Step]>,
    /// The steps after `[*]`, if there is one.
    tail: Option<Box<[Step]>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    Payload,
    Kind,
    Source,
    OccurredAt,
    ReceivedAt,
    Id,
    TenantSlug,
    TenantPlan,
    TenantName,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(Box<str>),
    Index(usize),
    /// Of a JSON Pointer: a key of an object or, when it is a number, an index of an array.
    Token(Box<str>, Option<usize>),
    /// `[*]`; only while parsing.
    Each,
}

/// Why a path is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPath(&'static str);

impl Path {
    /// Parses both forms.
    ///
    /// # Errors
    /// The path is invalid; [`BadPath`] has the message for the rule's author.
    pub fn parse(text: &str) -> Result<Self, BadPath> {
        if text.is_empty() || text.chars().count() > MAX_CHARS {
            return Err(BadPath("a path has 1 to 200 characters"));
        }
        let (root, mut steps) = if text.starts_with('/') { pointer(text)? } else { dotted(text)? };
        if steps.len() > MAX_STEPS {
            return Err(BadPath("a path has at most 16 steps"));
        }
        if root != Root::Payload && !steps.is_empty() {
            return Err(BadPath("only payload has anything inside"));
        }
        let wildcard = steps.iter().position(|step| *step == Step::Each);
        let tail = wildcard.map(|at| steps.drain(at..).skip(1).collect::<Box<[_]>>());
        if tail.as_deref().is_some_and(|tail| tail.contains(&Step::Each)) {
            return Err(BadPath("a path has at most one [*]"));
        }
        Ok(Self { text: text.into(), root, head: steps.into(), tail })
    }

    /// The path as in the document.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it names a value inside the payload.
    pub fn is_below_payload(&self) -> bool {
        self.root == Root::Payload && (self.has_wildcard() || !self.head.is_empty())
    }

    pub(crate) fn has_wildcard(&self) -> bool {
        self.tail.is_some()
    }

    /// The value, of a path without `[*]`; `None` when it is absent.
    pub(crate) fn find<'a>(&self, event: &Event<'a>) -> Option<Term<'a>> {
        Some(match self.root {
            Root::Payload => Term::Json(walk(&self.head, event.payload)?),
            Root::Kind => Term::Text(event.kind),
            Root::Source => Term::Text(event.source?),
            Root::OccurredAt => Term::Time(event.occurred_at),
            Root::ReceivedAt => Term::Time(event.received_at),
            Root::Id => Term::Text(event.id),
            Root::TenantSlug => Term::Text(event.tenant.slug),
            Root::TenantPlan => Term::Text(event.tenant.plan),
            Root::TenantName => Term::Text(event.tenant.name),
        })
    }

    /// The array of `[*]`; `None` when there is no array.
    pub(crate) fn elements<'a>(&self, event: &Event<'a>) -> Option<&'a [Value]> {
        walk(&self.head, event.payload)?.as_array().map(Vec::as_slice)
    }

    /// The value in one element of that array.
    pub(crate) fn within<'a>(&self, element: &'a Value) -> Option<Term<'a>> {
        walk(self.tail.as_deref().unwrap_or_default(), element).map(Term::Json)
    }

    /// Parses a path of a document; `[*]` is an error where a single value is required.
    pub(crate) fn read(value: &Value, at: &str, many: bool, report: &mut Report) -> Option<Self> {
        let text = report.text(value, at, 0..=usize::MAX)?;
        match Self::parse(text) {
            Ok(path) if path.has_wildcard() && !many => {
                report.issue(at, Code::BadPath, "[*] may not stand here");
                None
            }
            Ok(path) => Some(path),
            Err(BadPath(message)) => {
                report.issue(at, Code::BadPath, message);
                None
            }
        }
    }

    /// Parses the list of a `by`.
    pub(crate) fn read_by(value: Option<&Value>, at: &str, report: &mut Report) -> Option<Vec<Self>> {
        let Some(value) = value else { return Some(Vec::new()) };
        let items = report.array(value, at, 0..=3)?;
        let paths: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(number, item)| Self::read(item, &child(at, number), false, report))
            .collect();
        paths.into_iter().collect()
    }

    /// The payload's member `key`, which may have any characters.
    pub(crate) fn member(key: &str) -> Self {
        Self { text: key.into(), root: Root::Payload, head: Box::new([Step::Key(key.into())]), tail: None }
    }
}

impl Display for Path {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

fn walk<'a>(steps: &[Step], value: &'a Value) -> Option<&'a Value> {
    steps.iter().try_fold(value, |value, step| match (step, value) {
        (Step::Key(key) | Step::Token(key, _), Value::Object(map)) => map.get(&**key),
        (Step::Index(index) | Step::Token(_, Some(index)), Value::Array(items)) => items.get(*index),
        _ => None,
    })
}

/// Replaces every value in `payload` that `paths` name with `***`. Where a path expects a list and finds an object, or the
/// other way round, the whole value is replaced: it may hold the secret.
pub fn redact(payload: &mut Value, paths: &[Path]) {
    for path in paths.iter().filter(|path| path.is_below_payload()) {
        hide(&path.head, path.tail.as_deref(), payload);
    }
}

/// Redacts the value at `steps`, or the value at `tail` in every element of the list there.
fn hide(steps: &[Step], tail: Option<&[Step]>, value: &mut Value) {
    let masked = || Value::from("***");
    let Some((step, rest)) = steps.split_first() else {
        match (tail, value) {
            (None, value) => *value = masked(),
            (Some(tail), Value::Array(items)) => items.iter_mut().for_each(|item| hide(tail, None, item)),
            (Some(_), value @ Value::Object(_)) => *value = masked(),
            (Some(_), _) => {}
        }
        return;
    };
    let next = match (step, value) {
        (Step::Key(key) | Step::Token(key, _), Value::Object(map)) => map.get_mut(&**key),
        (Step::Index(index) | Step::Token(_, Some(index)), Value::Array(items)) => items.get_mut(*index),
        (_, value @ (Value::Object(_) | Value::Array(_))) => {
            *value = masked();
            None
        }
        _ => None,
    };
    if let Some(next) = next {
        hide(rest, tail, next);
    }
}

const ROOTS: [(&str, Root); 6] = [
    ("payload", Root::Payload),
    ("type", Root::Kind),
    ("source", Root::Source),
    ("occurredAt", Root::OccurredAt),
    ("receivedAt", Root::ReceivedAt),
    ("id", Root::Id),
];

const TENANT: [(&str, Root); 3] = [("slug", Root::TenantSlug), ("plan", Root::TenantPlan), ("name", Root::TenantName)];

const BAD_ROOT: BadPath = BadPath(
    "a path starts with payload, type, source, occurredAt, receivedAt, id, tenant.slug, tenant.plan or tenant.name",
);

/// The root called `name`, and the number of steps that belong to it.
fn root(name: &str, first: Option<&str>) -> Result<(Root, usize), BadPath> {
    let pick = |from: &[(&str, Root)], name| from.iter().find(|(known, _)| *known == name).map(|(_, root)| *root);
    if name == "tenant" {
        return first.and_then(|first| pick(&TENANT, first)).map(|root| (root, 1)).ok_or(BAD_ROOT);
    }
    pick(&ROOTS, name).map(|root| (root, 0)).ok_or(BAD_ROOT)
}

/// Parses a JSON Pointer, RFC 6901.
fn pointer(text: &str) -> Result<(Root, Vec<Step>), BadPath> {
    let tokens: Vec<String> = text[1..].split('/').map(unescaped).collect::<Result<_, _>>()?;
    let (root, taken) = root(&tokens[0], tokens.get(1).map(String::as_str))?;
    let steps = tokens.into_iter().skip(1 + taken).map(|token| {
        let index = index(&token);
        Step::Token(token.into(), index)
    });
    Ok((root, steps.collect()))
}

fn unescaped(token: &str) -> Result<String, BadPath> {
    let is_escaped = |rest: &str| rest.starts_with(['0', '1']);
    if !token.split('~').skip(1).all(is_escaped) {
        return Err(BadPath("in a JSON Pointer, ~ is written ~0 and / is written ~1"));
    }
    Ok(token.replace("~1", "/").replace("~0", "~"))
}

fn index(digits: &str) -> Option<usize> {
    let is_plain = digits == "0" || !digits.starts_with('0');
    let is_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain && is_digits { digits.parse().ok() } else { None }
}

/// Parses `root.key[0][*]["any key"]`.
fn dotted(text: &str) -> Result<(Root, Vec<Step>), BadPath> {
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (step, after) = if let Some(rest) = rest.strip_prefix('.') { key(rest)? } else { bracket(rest)? };
        steps.push(step);
        rest = after;
    }
    let first = match steps.first() {
        Some(Step::Key(key)) => Some(&**key),
        _ => None,
    };
    let (root, taken) = root(name, first)?;
    Ok((root, steps.split_off(taken)))
}

fn key(rest: &str) -> Result<(Step, &str), BadPath> {
    let is_inside = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '$' | '-');
    let end = rest.find(|letter| !is_inside(letter)).unwrap_or(rest.len());
    let (key, after) = rest.split_at(end);
    if key.is_empty() || key.starts_with(|letter: char| letter.is_ascii_digit() || letter == '-') {
        return Err(BadPath(
            "after a dot comes a name of letters, digits, _, $ and -; write other keys [\"like this\"]",
        ));
    }
    Ok((Step::Key(key.into()), after))
}

fn bracket(rest: &str) -> Result<(Step, &str), BadPath> {
    const BAD: BadPath = BadPath("expected a dot, [0], [*] or [\"key\"]");
    let inner = rest.strip_prefix('[').ok_or(BAD)?;
    if let Some(after) = inner.strip_prefix("*]") {
        return Ok((Step::Each, after));
    }
    if inner.starts_with('"') {
        let mut texts = serde_json::Deserializer::from_str(inner).into_iter::<String>();
        let key = texts.next().and_then(Result::ok).ok_or(BAD)?;
        let after = inner.get(texts.byte_offset()..).and_then(|after| after.strip_prefix(']')).ok_or(BAD)?;
        return Ok((Step::Key(key.into()), after));
    }
    let (digits, after) = inner.split_once(']').ok_or(BAD)?;
    Ok((Step::Index(index(digits).ok_or(BAD)?), after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::event;
    use serde_json::json;

    #[test]
    fn both_forms_name_the_same_places() {
        let payload = json!({"a": {"b-c": [10, {"x y": "deep", "]": 1}]}, "a.b": "odd", "0": "zero", "~/": "tilde"});
        for (path, wanted) in [
            ("payload.a[\"b-c\"][0]", Some(json!(10))),
            ("payload.a.b-c[1][\"x y\"]", Some(json!("deep"))),
            ("payload.a.b-c[1][\"]\"]", Some(json!(1))),
            ("payload[\"a.b\"]", Some(json!("odd"))),
            ("/payload/a.b", Some(json!("odd"))),
            ("/payload/a/b-c/0", Some(json!(10))),
            ("/payload/0", Some(json!("zero"))),
            ("/payload/~0~1", Some(json!("tilde"))),
            ("payload[0]", None),
            ("/payload/a/b-c/00", None),
            ("payload.a.b-c.x", None),
            ("payload.constructor", None),
            ("type", Some(json!("a.b"))),
            ("/tenant/slug", Some(json!("acme"))),
            ("tenant.plan", Some(json!("pro"))),
            ("tenant[\"name\"]", Some(json!("Acme"))),
            ("source", None),
            ("receivedAt", Some(json!("2026-11-03T10:00:00.000Z"))),
        ] {
            let found = Path::parse(path).unwrap().find(&event("a.b", &payload)).map(|term| term.to_json());
            assert_eq!(found, wanted, "{path}");
        }
    }

    #[test]
    fn what_is_redacted_is_replaced_where_it_is_and_nothing_else_is_touched() {
        let payload = json!({
            "email": "ann@example.com", "a.b": {"deep": 1}, "plain": 2,
            "items": [{"phone": "1", "sku": "x"}, {"sku": "y"}, 7, {"phone": ["2"]}], "type": "t",
        });
        let redacted = |paths: &[&str]| {
            let (paths, mut payload) = (paths.iter().map(|path| Path::parse(path).unwrap()), payload.clone());
            redact(&mut payload, &paths.collect::<Vec<_>>());
            payload
        };
        let hidden = redacted(&["payload.email", "/payload/a.b", "payload.items[*].phone", "payload.none"]);
        let items = json!([{"phone": "***", "sku": "x"}, {"sku": "y"}, 7, {"phone": "***"}]);
        assert_eq!(hidden, json!({"email": "***", "a.b": "***", "plain": 2, "items": items, "type": "t"}));
        assert_eq!(redacted(&["payload.items[1]", "payload.items[9]"])["items"][1], "***");
        assert_eq!(redacted(&["payload.items[*]"])["items"], json!(vec!["***"; 4]));
        for nothing in [&["type", "payload"][..], &["payload.plain[*].a", "payload.email.x"], &[]] {
            assert_eq!(redacted(nothing), payload, "{nothing:?}");
        }
        // A list where the path expects an object, and an object where it expects a list.
        assert_eq!(redacted(&["payload.items.phone"])["items"], "***");
        assert_eq!(redacted(&["/payload/a.b/deep", "/payload/a.b"])["a.b"], "***");
        assert_eq!(redacted(&[r#"payload["a.b"][*].x"#])["a.b"], "***");
    }

    #[test]
    fn anything_else_is_no_path() {
        let long = format!("payload.{}", "a".repeat(200));
        let deep = format!("payload{}", ".a".repeat(17));
        for path in [
            "",
            "a",
            "payload.",
            "payload..a",
            "payload.1a",
            "payload[",
            "payload[]",
            "payload[-1]",
            "payload[01]",
            "payload[1",
            "payload[\"a]",
            "payload[\"a\"",
            "payload['a']",
            "payload.é",
            "payload a",
            "payload[*][*]",
            "payload.a[*].b[*]",
            "type.x",
            "id[0]",
            "tenant",
            "tenant.id",
            "tenant.slug.x",
            "/",
            "/x",
            "/payload/~2",
            "/payload/~",
            "//payload",
            "$.payload",
            "payload[99999999999999999999]",
            &long,
            &deep,
        ] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
        assert!(Path::parse(&format!("payload{}", "[\"é\"]".repeat(16))).is_ok());
    }
}

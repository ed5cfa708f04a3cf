//! Templates: minijinja, restricted to names, filters, `if` and `for`.

use crate::issue::{Code, Issue, Report};
use crate::markup::Markup;
use crate::scope::{Scope, lookup};
use crate::template_check::{NAMES, check, formatted, offset_of, place};
use crate::term::Term;
use crate::time::zone;
use jiff::tz::TimeZone;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value};
use serde_json::Value as Json;
use std::fmt::Write as _;
use std::io;
use std::sync::LazyLock;

/// The most bytes of a rendered text.
pub const MAX_OUTPUT: usize = 64 * 1024;

/// The most fuel of a rendering, in the engine's unit: about one step, or 64 bytes.
const FUEL: u64 = 50_000;

/// The variable with the mark-up for the formatter; no template can use this name.
const MARKUP: &str = "#markup";

static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(engine);

/// A text with placeholders, rendered for each event.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pointer: Box<str>,
    text: Text,
}

#[derive(Clone, Debug)]
enum Text {
    /// Text without placeholders.
    Verbatim(Box<str>),
    /// The engine holds one template, named by its pointer.
    Parsed { engine: Box<Environment<'static>>, names: Box<[String]> },
}

/// A template that could not be rendered for this event. Never transient.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The text would be longer than [`MAX_OUTPUT`].
    #[error("rendering {pointer}: more than {MAX_OUTPUT} bytes")]
    TooLong {
        /// The template's JSON Pointer.
        pointer: String,
    },
    /// The template loops too long over this event.
    #[error("rendering {pointer}: too costly")]
    TooCostly {
        /// The template's JSON Pointer.
        pointer: String,
    },
    /// The template failed, such as by adding a number to a text.
    #[error("rendering {pointer}: {reason}")]
    Failed {
        /// The template's JSON Pointer.
        pointer: String,
        /// The engine's message.
        reason: String,
    },
}

impl Template {
    /// A text that is not a template.
    pub(crate) fn verbatim(text: &str, at: &str) -> Self {
        Self { pointer: at.into(), text: Text::Verbatim(text.into()) }
    }

    pub(crate) fn read(value: &Json, at: &str, report: &mut Report) -> Option<Self> {
        let source = report.text(value, at, 0..=usize::MAX)?;
        if !["{{", "{%", "{#"].iter().any(|brace| source.contains(brace)) {
            return Some(Self::verbatim(source, at));
        }
        let mut engine = ENGINE.clone();
        if let Err(error) = engine.add_template_owned(at.to_owned(), source.to_owned()) {
            let place = match error.range() {
                Some(range) => place(source, range.start),
                None => format!("line {}", error.line().unwrap_or(1)),
            };
            let reason = error.detail().unwrap_or("not a template");
            report.issue(at, Code::BadTemplate, format!("{place}: {reason}"));
            return None;
        }
        let found = report.issues.len();
        check(source, at, report);
        let template = engine.get_template(at).ok()?;
        let mut names: Vec<_> = template.undeclared_variables(true).into_iter().collect();
        names.sort_unstable();
        for name in &names {
            check_name(name, source, at, report);
        }
        (report.issues.len() == found)
            .then(|| Self { pointer: at.into(), text: Text::Parsed { engine: Box::new(engine), names: names.into() } })
    }

    /// Renders the text. A name without a value prints nothing and adds a warning.
    pub(crate) fn render(
        &self,
        scope: &Scope<'_>,
        markup: Markup,
        warnings: &mut Vec<Issue>,
    ) -> Result<String, RenderError> {
        let (engine, names) = match &self.text {
            Text::Verbatim(text) => return Ok(text.to_string()),
            Text::Parsed { engine, names } => (engine, names),
        };
        let mut output = Limited(Vec::new());
        let context = scope.context(names, (MARKUP, name_of(markup)));
        let rendered = engine
            .get_template(&self.pointer)
            .and_then(|template| template.render_captured_to(context, &mut output))
            .map(|captured| captured.state().get_extension::<Absent>().is_some());
        let pointer = || self.pointer.to_string();
        match rendered {
            Ok(false) => {}
            Ok(true) => warnings.push(missing(&self.pointer, names, scope)),
            Err(error) if error.kind() == ErrorKind::OutOfFuel => {
                return Err(RenderError::TooCostly { pointer: pointer() });
            }
            Err(_) if output.0.len() > MAX_OUTPUT => return Err(RenderError::TooLong { pointer: pointer() }),
            Err(error) => return Err(RenderError::Failed { pointer: pointer(), reason: error.to_string() }),
        }
        Ok(String::from_utf8(output.0).unwrap_or_default())
    }
}

fn check_name(name: &str, source: &str, at: &str, report: &mut Report) {
    let mut parts = name.split('.');
    let (root, member) = (parts.next().unwrap_or_default(), parts.next());
    let members: &[&str] = match root {
        "tenant" => &["slug", "plan", "name"],
        "rule" => &["name", "id", "version"],
        _ => &[],
    };
    let is_member = |member: &str| members.is_empty() || members.contains(&member);
    if !NAMES.contains(&root) || !member.is_none_or(is_member) {
        let place = place(source, offset_of(source, root));
        let message = format!("{place}: {name} is not known; there are {}", NAMES.join(", "));
        report.issue(at, Code::BadTemplate, message);
    }
}

fn missing(pointer: &str, names: &[String], scope: &Scope<'_>) -> Issue {
    let absent: Vec<_> = names.iter().filter(|name| lookup(name, scope) == Some(false)).map(String::as_str).collect();
    let message = if absent.is_empty() {
        "a name without a value prints nothing".to_owned()
    } else {
        format!("no value: {}", absent.join(", "))
    };
    Issue { pointer: pointer.to_owned(), code: Code::MissingValue, message, hint: None }
}

/// A writer that fails beyond [`MAX_OUTPUT`].
struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(&bytes[..bytes.len().min(MAX_OUTPUT + 1)]);
        if self.0.len() > MAX_OUTPUT { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Set in the engine's state once a name without a value was printed.
struct Absent;

fn name_of(markup: Markup) -> &'static str {
    match markup {
        Markup::Plain => "plain",
        Markup::Html => "html",
        Markup::Slack => "slack",
        Markup::MarkdownV2 => "markdown",
    }
}

fn markup_of(state: &State<'_, '_>) -> Markup {
    let name = state.lookup(MARKUP);
    match name.as_ref().and_then(Value::as_str) {
        Some("plain") => Markup::Plain,
        Some("slack") => Markup::Slack,
        Some("markdown") => Markup::MarkdownV2,
        _ => Markup::Html,
    }
}

fn engine() -> Environment<'static> {
    let mut engine = Environment::empty();
    engine.set_fuel(Some(FUEL));
    engine.set_recursion_limit(50);
    engine.set_undefined_behavior(UndefinedBehavior::Chainable);
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
        engine.set_syntax(syntax);
    }
    engine.set_formatter(|output: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value| {
        let text = printed(state, value)?;
        output.write_str(&markup_of(state).escape(&text)).map_err(|_| Error::from(ErrorKind::WriteFailure))
    });
    engine.add_filter("default", |value: Value, other: Option<Value>| {
        if value.is_undefined() || value.is_none() { other.unwrap_or_else(|| "".into()) } else { value }
    });
    engine.add_filter("upper", |state: &mut State<'_, '_>, value: Value| -> Result<String, Error> {
        Ok(printed(state, &value)?.to_uppercase())
    });
    engine.add_filter("lower", |state: &mut State<'_, '_>, value: Value| -> Result<String, Error> {
        Ok(printed(state, &value)?.to_lowercase())
    });
    engine.add_filter("json", |state: &mut State<'_, '_>, value: Value| -> Result<String, Error> {
        if value.is_undefined() { printed(state, &value) } else { json(state, &value) }
    });
    engine.add_filter("truncate", |state: &mut State<'_, '_>, value: Value, length: Option<usize>| {
        printed(state, &value).map(|text| truncated(&text, length.unwrap_or(255)))
    });
    engine.add_filter("round", |state: &mut State<'_, '_>, value: Value, digits: Option<u32>| {
        rounded(state, value, digits.unwrap_or(0))
    });
    engine.add_filter("date", date);
    engine
}

/// `value` as text: empty when it is absent or null, a text without quotes, anything else as compact JSON.
fn printed(state: &mut State<'_, '_>, value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Undefined => {
            state.get_or_insert_extension(Absent);
            Ok(String::new())
        }
        ValueKind::None => Ok(String::new()),
        ValueKind::String => Ok(value.to_string()),
        _ => json(state, value),
    }
}

fn json(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let text = serde_json::to_string(value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, "not JSON").with_source(error))?;
    // The engine does not count the work of writing JSON.
    state.consume_fuel(text.len() as u64 / 64)?;
    Ok(text)
}

fn truncated(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        Some(_) if length == 0 => String::new(),
        Some(_) => text.chars().take(length - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

/// Rounds half away from zero; whole numbers stay as they are.
fn rounded(state: &mut State<'_, '_>, value: Value, digits: u32) -> Result<Value, Error> {
    if value.is_integer() {
        return Ok(value);
    }
    let Ok(float) = f64::try_from(value.clone()) else { return printed(state, &value).map(Value::from) };
    let mut text = String::new();
    let factor = 10_f64.powi(i32::try_from(digits.min(12)).unwrap_or(0));
    let scaled = (float * factor).round() / factor;
    let is_written = if digits == 0 { write!(text, "{scaled:.0}") } else { write!(text, "{scaled}") };
    Ok(if is_written.is_ok() && scaled.is_finite() { text.into() } else { value })
}

/// `value | date('%d %b', 'UTC')`; a value that is not a time is printed unchanged.
fn date(
    state: &mut State<'_, '_>,
    value: Value,
    format: Option<String>,
    name: Option<String>,
) -> Result<String, Error> {
    let text = printed(state, &value)?;
    let moment = match value.as_str() {
        Some(text) => Term::Text(text).time(),
        None if value.is_number() => {
            serde_json::from_str(&text).ok().and_then(|number: Json| Term::Json(&number).time())
        }
        None => None,
    };
    let Some(moment) = moment else { return Ok(text) };
    let refuse = |message: &'static str| Error::new(ErrorKind::InvalidOperation, message);
    let zone = match name {
        Some(name) => zone(&name).ok_or_else(|| refuse("not an IANA time zone"))?,
        None => TimeZone::UTC,
    };
    let format = format.as_deref().unwrap_or("%Y-%m-%d %H:%M");
    formatted(format, moment, &zone).ok_or_else(|| refuse("not a date format"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::testing::event;
    use serde_json::json;

    fn read(source: &str) -> Result<Template, Vec<Issue>> {
        let mut report = Report::default();
        Template::read(&json!(source), "/text", &mut report).ok_or(report.issues)
    }

    fn scope<'a>(event: &'a Event<'a>, events: &'a [Event<'a>]) -> Scope<'a> {
        Scope { event, rule_id: "r1", rule_name: "Big & bold", rule_version: 3, count: 5.0, suppressed: 2, events }
    }

    fn render(source: &str, payload: &Json) -> Result<(String, Vec<Issue>), RenderError> {
        let event = event("a.b", payload);
        let events = [event, event];
        let mut warnings = Vec::new();
        let text = read(source).unwrap().render(&scope(&event, &events), Markup::Plain, &mut warnings)?;
        Ok((text, warnings))
    }

    #[test]
    fn names_and_filters_fill_in_what_an_event_has() {
        let payload = json!({
            "name": "Ann", "n": 5, "f": 2.5, "w": 900.0, "big": 12345678901234567890_u64, "yes": true, "none": null,
            "list": [1, "x", null], "o": {"b": 1, "a": "<"}, "a b": "odd", "items": [{"sku": "S1"}, {"sku": "S2"}],
            "at": "2026-11-03T23:30:00Z", "epoch": 1793700000, "long": "äöüäöü",
        });
        for (source, wanted) in [
            ("plain { text } 100%", "plain { text } 100%"),
            ("Hi {{payload.name}}!\n", "Hi Ann!\n"),
            ("{{ payload['a b'] }} {{ payload.items[1].sku }}", "odd S2"),
            ("{{ payload.n }} {{ payload.f }} {{ payload.big }} {{ payload.yes }}", "5 2.5 12345678901234567890 true"),
            ("[{{ payload.none }}]", "[]"),
            ("{{ payload.list }} {{ payload.o }}", r#"[1,"x",null] {"a":"<","b":1}"#),
            ("{{ payload.o | json }} {{ payload.name | json }}", r#"{"a":"<","b":1} "Ann""#),
            ("{{ payload.x | default('-') }}{{ payload.none | default }}{{ payload.n | default('-') }}", "-5"),
            ("{{ payload.name | upper }} {{ payload.name | lower }}", "ANN ann"),
            (
                "{{ payload.long | truncate(4) }} {{ payload.name | truncate(3) }} {{ payload.name | truncate(0) }}",
                "äöü… Ann ",
            ),
            (
                "{{ payload.f | round }} {{ payload.n | round(2) }} {{ 2.345 | round(2) }} {{ payload.name | round }}",
                "3 5 2.35 Ann",
            ),
            ("{{ payload.at | date('%d %b %Y', 'Asia/Kolkata') }}", "04 Nov 2026"),
            ("{{ payload.epoch | date }} {{ occurredAt | date('%H:%M', 'Europe/Berlin') }}", "2026-11-03 10:00 11:00"),
            ("{{ payload.name | date('%d') }}", "Ann"),
            ("{{ type }} {{ id }} {{ tenant.slug }} {{ receivedAt }}", "a.b evt-1 acme 2026-11-03T10:00:00.000Z"),
            ("{{ rule.name }} {{ rule.id }} v{{ rule.version }} {{ count }} {{ suppressed }}", "Big & bold r1 v3 5 2"),
            ("{% for item in payload.items %}{{ loop.index }}={{ item.sku }};{% endfor %}", "1=S1;2=S2;"),
            ("{% for e in events %}{{ e.payload.name }} {{ e.type }},{% endfor %}", "Ann a.b,Ann a.b,"),
            ("{% if payload.n > 4 and payload.name == 'Ann' %}yes{% elif count %}no{% else %}-{% endif %}", "yes"),
            ("{% if payload.x.y %}a{% else %}b{% endif %}{{ 'a' if payload.n == 1 else 'b' }}{# note #}", "bb"),
        ] {
            assert_eq!(render(source, &payload).unwrap(), (wanted.to_owned(), vec![]), "{source}");
        }
    }

    #[test]
    fn a_name_without_a_value_prints_nothing_and_is_warned_of() {
        let (text, warnings) =
            render("[{{ payload.x.y }}{{ payload.z | upper }}{{ source }}{{ payload.a }}]", &json!({"a": 1})).unwrap();
        assert_eq!(text, "[1]");
        assert_eq!((warnings.len(), warnings[0].code, warnings[0].pointer.as_str()), (1, Code::MissingValue, "/text"));
        assert_eq!(warnings[0].message, "no value: payload.x.y, payload.z, source");
    }

    #[test]
    fn values_are_escaped_and_the_template_itself_is_not() {
        let payload = json!({"name": "<b>&'x'", "o": {"k": "<"}});
        let event = event("x", &payload);
        let template = read("<i>{{ payload.name | lower }} {{ payload.o }}</i>").unwrap();
        for (markup, wanted) in [
            (Markup::Plain, r#"<i><b>&'x' {"k":"<"}</i>"#),
            (Markup::Html, "<i>&lt;b&gt;&amp;&#39;x&#39; {&quot;k&quot;:&quot;&lt;&quot;}</i>"),
            (Markup::Slack, r#"<i>&lt;b&gt;&amp;'x' {"k":"&lt;"}</i>"#),
        ] {
            assert_eq!(template.render(&scope(&event, &[]), markup, &mut Vec::new()).unwrap(), wanted);
        }
    }

    #[test]
    fn templates_that_cannot_work_are_refused_with_their_place() {
        for (source, wanted) in [
            ("Hi {{ payload.name", "line 1, column "),
            ("Hi\n  {{ payload.name + }}", "line 2, column "),
            ("{% if payload.a %}x", "line 1, column "),
            ("a\nb {{ payloda.name }}", "line 2, column 6: payloda.name is not known"),
            ("{{ tenant.id }}", "line 1, column 4: tenant.id is not known"),
            ("{{ rule.secret }}", "line 1, column 4: rule.secret is not known"),
            ("{{ payload.a | nope }}", "line 1, column 16: no filter nope"),
            ("{% include 'x' %}", "line 1, column "),
            ("{{ payload.a | date('%d', 'Mars/X') }}", "line 1, column 27: Mars/X"),
        ] {
            let issues = read(source).unwrap_err();
            assert_eq!(issues[0].pointer, "/text");
            assert!(issues[0].message.starts_with(wanted), "{source}: {}", issues[0].message);
        }
    }

    #[test]
    fn rendering_is_bounded() {
        let payload = json!({"list": vec![1; 1_000], "text": "x".repeat(70_000)});
        let pointer = || "/text".to_owned();
        assert_eq!(render("{{ payload.text }}", &payload), Err(RenderError::TooLong { pointer: pointer() }));
        let looping =
            "{% for a in payload.list %}{% for b in payload.list %}{% if b == 2 %}x{% endif %}{% endfor %}{% endfor %}";
        assert_eq!(render(looping, &payload), Err(RenderError::TooCostly { pointer: pointer() }));
        let copying = "{% for a in payload.list %}{{ payload | json | truncate(1) }}{% endfor %}";
        assert_eq!(render(copying, &payload), Err(RenderError::TooCostly { pointer: pointer() }));
        assert!(matches!(render("{{ payload.text + 1 }}", &payload), Err(RenderError::Failed { .. })));
        assert_eq!(
            render("{{ payload.text | truncate(65536) }}", &json!({"text": "x".repeat(65_536)})).unwrap().0.len(),
            MAX_OUTPUT
        );
    }
}

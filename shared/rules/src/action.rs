//! Actions: whom a rule notifies, on which channel, with which text.

use crate::condition::Condition;
use crate::event::Event;
use crate::issue::{Code, Issue, Report, child};
use crate::markup::Markup;
use crate::scope::Scope;
use crate::template::{RenderError, Template};
use serde::Serialize;
use serde_json::{Map, Value};
use switchyard_core::Channel;

const MAX_ACTIONS: usize = 10;
const MAX_FALLBACKS: usize = 3;
/// One fallback after another over all five channels.
const MAX_DEPTH: usize = 4;
const MAX_RECIPIENTS: usize = 20;
const MAX_PARAMS: usize = 50;

/// The mark-up of a channel's texts; a Telegram config can choose HTML or MarkdownV2 instead.
pub fn markup_of(channel: Channel) -> Markup {
    if channel == Channel::Slack { Markup::Slack } else { Markup::Plain }
}

fn read_channel(value: &Value, at: &str, report: &mut Report) -> Option<Channel> {
    let name = report.text(value, at, 0..=usize::MAX)?;
    let found = name.parse().ok();
    if found.is_none() {
        let names = Channel::ALL.map(Channel::name).join(", ");
        report.issue(at, Code::UnknownChannel, format!("expected one of {names}"));
    }
    found
}

/// One notification that a rule sends.
#[derive(Clone, Debug)]
pub struct Action {
    /// Its position in the rule: `0`, and `0.fallback.1` for a fallback of it.
    pub path: String,
    /// JSON Pointer of the action in the document.
    pub pointer: String,
    /// The channel.
    pub channel: Channel,
    /// The notification config; `None` for the channel's default.
    pub config: Option<String>,
    /// Whether a config's own destination takes precedence over these recipients, as in legacy rules.
    pub prefers_config: bool,
    /// The actions that are tried, in this order, when this one is given up.
    pub fallback: Vec<Action>,
    pub(crate) when: Option<Condition>,
    pub(crate) to: Vec<Template>,
    pub(crate) subject: Option<Template>,
    pub(crate) text: Option<Template>,
    pub(crate) html: Option<Template>,
    pub(crate) template: Option<ProviderTemplate>,
}

/// A message template at the provider, with the values of its placeholders.
#[derive(Clone, Debug)]
pub(crate) struct ProviderTemplate {
    name: String,
    language: String,
    params: Vec<Template>,
}

/// A notification, ready to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The recipients that the rule names; none means the config's destination.
    pub to: Vec<String>,
    /// One line, not escaped.
    pub subject: String,
    /// The text, escaped for the requested mark-up.
    pub text: String,
    /// HTML, if the rule has a template for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// A message template at the provider, sent instead of `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<FilledTemplate>,
    /// Names without a value.
    pub warnings: Vec<Issue>,
}

/// A message template at the provider, with rendered values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FilledTemplate {
    /// The template's name at the provider.
    pub name: String,
    /// Such as `en_US`.
    pub language: String,
    /// The values of the placeholders, in order.
    pub params: Vec<String>,
}

impl Action {
    /// Whether the action's own condition holds; without one it does.
    pub fn applies(&self, event: &Event<'_>) -> bool {
        self.when.as_ref().is_none_or(|when| when.holds(event))
    }

    /// The action's own condition.
    pub fn when(&self) -> Option<&Condition> {
        self.when.as_ref()
    }

    /// Renders the templates. `markup` is the mark-up of `text`; see [`markup_of`].
    ///
    /// # Errors
    /// See [`RenderError`]; it is never transient.
    pub fn render(&self, scope: &Scope<'_>, markup: Markup) -> Result<Message, RenderError> {
        let mut warnings = Vec::new();
        let mut line = |template: &Template| -> Result<String, RenderError> {
            let text = template.render(scope, Markup::Plain, &mut warnings)?;
            Ok(text.replace(['\r', '\n'], ""))
        };
        let mut to = self.to.iter().map(&mut line).collect::<Result<Vec<_>, _>>()?;
        to.retain(|recipient| !recipient.trim().is_empty());
        let subject = match &self.subject {
            Some(subject) => line(subject)?,
            None => format!("Rule {} triggered", scope.rule_name).replace(['\r', '\n'], ""),
        };
        let template = self.template.as_ref().map(|template| -> Result<_, RenderError> {
            let params = template.params.iter();
            let params =
                params.map(|param| param.render(scope, Markup::Plain, &mut warnings)).collect::<Result<_, _>>()?;
            Ok(FilledTemplate { name: template.name.clone(), language: template.language.clone(), params })
        });
        let template = template.transpose()?;
        let text = match &self.text {
            Some(text) => text.render(scope, markup, &mut warnings)?,
            None => markup.escape(&scope.default_text()).into_owned(),
        };
        let html = self.html.as_ref().map(|html| html.render(scope, Markup::Html, &mut warnings)).transpose()?;
        Ok(Message { to, subject, text, html, template, warnings })
    }

    /// Reads the actions of a document.
    pub(crate) fn read_all(value: &Value, at: &str, report: &mut Report) -> Option<Vec<Self>> {
        read_list(value, at, "", MAX_ACTIONS, 0, report)
    }
}

fn read_list(
    value: &Value,
    at: &str,
    prefix: &str,
    most: usize,
    depth: usize,
    report: &mut Report,
) -> Option<Vec<Action>> {
    if depth > MAX_DEPTH {
        report.issue(at, Code::TooDeep, format!("fallbacks are nested more than {MAX_DEPTH} deep"));
        return None;
    }
    let items = report.array(value, at, 1..=most)?;
    let actions: Vec<_> = items
        .iter()
        .enumerate()
        .map(|(number, item)| read_action(item, &child(at, number), format!("{prefix}{number}"), depth, report))
        .collect();
    actions.into_iter().collect()
}

/// The `type` and `channel` that both schemas have.
pub(crate) fn read_kind(map: &Map<String, Value>, at: &str, report: &mut Report) -> Option<Channel> {
    let kind = report.required(map, at, "type");
    if let Some(kind) = kind.filter(|kind| *kind != "notify") {
        let code = if kind.is_string() { Code::UnknownAction } else { Code::ValueType };
        report.hinted(&child(at, "type"), code, "the only action is notify", "notify");
    }
    let channel = report.required(map, at, "channel");
    channel.and_then(|channel| read_channel(channel, &child(at, "channel"), report))
}

fn read_action(value: &Value, at: &str, path: String, depth: usize, report: &mut Report) -> Option<Action> {
    let keys = ["type", "channel", "config", "to", "subject", "text", "html", "template", "when", "fallback"];
    let map = report.object(value, at, &keys)?;
    let channel = read_kind(map, at, report);
    let field = |key: &str| map.get(key).map(|value| (value, child(at, key)));
    let config = field("config").map(|(value, at)| report.text(value, &at, 1..=100).map(str::to_owned));
    let to = field("to").map(|(value, at)| read_templates(value, &at, 1..=MAX_RECIPIENTS, report));
    let subject = field("subject").map(|(value, at)| Template::read(value, &at, report));
    let text = field("text").map(|(value, at)| Template::read(value, &at, report));
    let html = field("html").map(|(value, at)| {
        belongs_to(Channel::Email, channel, &at, report);
        Template::read(value, &at, report)
    });
    let template = field("template").map(|(value, at)| {
        belongs_to(Channel::Whatsapp, channel, &at, report);
        ProviderTemplate::read(value, &at, report)
    });
    let when = field("when").map(|(value, at)| {
        let when = Condition::read(value, &at, report)?;
        if when.constant() == Some(false) {
            report.warning(&at, Code::UnreachableBranch, "never true: this is never sent");
        }
        Some(when)
    });
    let fallback = field("fallback")
        .map(|(value, at)| read_list(value, &at, &format!("{path}.fallback."), MAX_FALLBACKS, depth + 1, report));
    Some(Action {
        path,
        pointer: at.to_owned(),
        channel: channel?,
        config: config.map_or(Some(None), |config| config.map(Some))?,
        prefers_config: false,
        fallback: fallback.unwrap_or_else(|| Some(Vec::new()))?,
        when: when.map_or(Some(None), |when| when.map(Some))?,
        to: to.unwrap_or_else(|| Some(Vec::new()))?,
        subject: subject.map_or(Some(None), |subject| subject.map(Some))?,
        text: text.map_or(Some(None), |text| text.map(Some))?,
        html: html.map_or(Some(None), |html| html.map(Some))?,
        template: template.map_or(Some(None), |template| template.map(Some))?,
    })
}

fn belongs_to(owner: Channel, channel: Option<Channel>, at: &str, report: &mut Report) {
    if channel.is_some_and(|channel| channel != owner) {
        report.issue(at, Code::BadValue, format!("only {owner} has this"));
    }
}

fn read_templates(
    value: &Value,
    at: &str,
    length: std::ops::RangeInclusive<usize>,
    report: &mut Report,
) -> Option<Vec<Template>> {
    let items = report.array(value, at, length)?;
    let templates: Vec<_> =
        items.iter().enumerate().map(|(number, item)| Template::read(item, &child(at, number), report)).collect();
    templates.into_iter().collect()
}

impl ProviderTemplate {
    fn read(value: &Value, at: &str, report: &mut Report) -> Option<Self> {
        let map = report.object(value, at, &["name", "language", "params"])?;
        let name = report.required(map, at, "name");
        let name = name.and_then(|name| report.text(name, &child(at, "name"), 1..=512));
        let language = report.required(map, at, "language");
        let language = language.and_then(|language| report.text(language, &child(at, "language"), 2..=35));
        let params = match map.get("params") {
            Some(params) => read_templates(params, &child(at, "params"), 0..=MAX_PARAMS, report),
            None => Some(Vec::new()),
        };
        Some(Self { name: name?.to_owned(), language: language?.to_owned(), params: params? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::event;
    use serde_json::json;

    fn message(action: Value, payload: &Value, markup: Markup) -> Message {
        let mut report = Report::default();
        let actions = Action::read_all(&json!([action]), "", &mut report);
        assert_eq!(report.issues, []);
        let event = event("x", payload);
        let (rule_id, rule_name) = ("r", "Rule\r\n & name");
        let scope =
            Scope { event: &event, rule_id, rule_name, rule_version: 1, count: 1.0, suppressed: 0, events: &[] };
        actions.unwrap()[0].render(&scope, markup).unwrap()
    }

    #[test]
    fn what_a_rule_does_not_say_has_a_default() {
        let payload = json!({"a": 1, "b": "<x>"});
        let message = message(json!({"type": "notify", "channel": "slack"}), &payload, Markup::Slack);
        assert_eq!(message.subject, "Rule Rule & name triggered");
        assert_eq!(message.text, r#"{"a":1,"b":"&lt;x&gt;"}"#);
        assert_eq!((message.to, message.html, message.template, message.warnings), (vec![], None, None, vec![]));
    }

    #[test]
    fn subjects_and_recipients_are_one_line_and_empty_recipients_are_none() {
        let payload = json!({"to": "a@b.test\r\nBcc: c@d.test", "name": "A\nB"});
        let action = json!({"type": "notify", "channel": "email", "to": ["{{ payload.to }}", "{{ payload.cc }}", "e@f.test"],
            "subject": "Hi {{ payload.name }}\r\nX: y", "text": "{{ payload.name }}", "html": "<p>{{ payload.to }}</p>"});
        let message = message(action, &payload, Markup::Plain);
        assert_eq!(message.to, ["a@b.testBcc: c@d.test", "e@f.test"]);
        assert_eq!((message.subject.as_str(), message.text.as_str()), ("Hi ABX: y", "A\nB"));
        assert_eq!(message.html.as_deref(), Some("<p>a@b.test\r\nBcc: c@d.test</p>"));
        assert_eq!((message.warnings.len(), message.warnings[0].pointer.as_str()), (1, "/0/to/1"));
    }

    #[test]
    fn a_providers_template_has_its_blanks_filled_in() {
        let template =
            json!({"name": "trial_over", "language": "en_US", "params": ["{{ payload.name | upper }}", "x"]});
        let action = json!({"type": "notify", "channel": "whatsapp", "template": template});
        let filled = message(action, &json!({"name": "ann"}), Markup::Plain).template.unwrap();
        assert_eq!((filled.name.as_str(), filled.params), ("trial_over", vec!["ANN".to_owned(), "x".to_owned()]));
    }
}

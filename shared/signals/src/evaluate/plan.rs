//! From a rule that fired to the messages it sends.

use crate::error::SignalsError;
use crate::evaluate::ruleset::Ruleset;
use crate::ids::{DeliveryId, EventId};
use crate::notify::delivery::row::{Content, DeliveryRow, Intent};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashSet;
use switchyard_core::Envelope;
use switchyard_io::Queue;
use switchyard_notify::{Channel, config::ParseMode, recipient};
use switchyard_rules::{Action, Markup, Rule, Scope};

/// Kind of the envelopes that ask for one delivery.
pub(crate) const DELIVERY_KIND: &str = "signals.delivery";

/// One delivery to be attempted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryJob {
    pub(crate) event_id: EventId,
    pub(crate) delivery_id: DeliveryId,
    /// Attempts made when this was sent; a message that is out of date does nothing.
    pub(crate) attempts: u32,
}

/// The largest intent, with what stands in for it, in bytes: a row holds 400 KB.
const LARGEST: usize = 250_000;

/// Messages that stand in for one that fails, at most: they are started in one transaction.
const MAX_FALLBACKS: usize = 90;

/// What a rule sends for an event.
pub(crate) struct DeliveryPlan {
    pub(crate) intents: Vec<Intent>,
    pub(crate) warnings: Vec<String>,
}

/// What the deliveries of one event may still be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    deliveries: usize,
    bytes: usize,
}

impl Capacity {
    /// For the first rule that fires.
    pub(crate) const ALL: Self = Self { deliveries: 1_000, bytes: 4_000_000 };

    /// Takes the room of these; `false` when there is not as much.
    fn take(&mut self, intents: &[Intent]) -> bool {
        let bytes = |intent: &Intent| serde_json::to_string(intent).map_or(usize::MAX, |text| text.len());
        let (Some(deliveries), Some(bytes)) = (
            self.deliveries.checked_sub(intents.len()),
            intents.iter().map(bytes).try_fold(self.bytes, usize::checked_sub),
        ) else {
            return false;
        };
        *self = Self { deliveries, bytes };
        true
    }
}

/// Works out every message of the rule's actions. What cannot be sent is an intent that has failed, so that it shows. `None`
/// when there is no room for all of them: then nothing is sent, and nothing of the room taken.
pub(crate) fn plan_deliveries(
    ruleset: &Ruleset,
    rule: &Rule,
    scope: &Scope<'_>,
    room: &mut Capacity,
) -> Option<DeliveryPlan> {
    let mut worked_out = DeliveryPlan { intents: Vec::new(), warnings: Vec::new() };
    let mut left = *room;
    for action in rule.actions_for(scope.event) {
        let intents = intents_of(ruleset, action, scope, &mut worked_out.warnings);
        if !left.take(&intents) {
            return None;
        }
        worked_out.intents.extend(intents);
    }
    *room = left;
    Some(worked_out)
}

/// An intent that a row can hold; one that is too large has failed.
fn within_bounds(intent: Intent) -> Intent {
    match serde_json::to_string(&intent) {
        Ok(text) if text.len() <= LARGEST => intent,
        _ => too_large(intent),
    }
}

fn too_large(intent: Intent) -> Intent {
    Intent { content: Content::default(), failed: Some("too_large".to_owned()), fallback: Vec::new(), ..intent }
}

fn intents_of(ruleset: &Ruleset, action: &Action, scope: &Scope<'_>, warnings: &mut Vec<String>) -> Vec<Intent> {
    let channel = action.channel;
    let config = ruleset.config(channel, action.config.as_deref());
    let open: Value = config.and_then(|config| serde_json::from_str(&config.open).ok()).unwrap_or_default();
    let markup = markup_of(channel, &open);
    let fallback: Vec<_> = action
        .fallback
        .iter()
        .filter(|fallback| fallback.applies(scope.event))
        .flat_map(|fallback| intents_of(ruleset, fallback, scope, warnings))
        .collect();
    // Each recipient has a copy of what stands in for it, which has copies of its own: looked at on each level, that stays
    // small.
    let bytes = serde_json::to_string(&fallback).map_or(usize::MAX, |text| text.len());
    let is_too_much = bytes > LARGEST || fallback.len() > MAX_FALLBACKS;
    let intent = |recipient: &str, content: Content, failed: Option<&str>| {
        let (action, config) = (action.path.clone(), config.map(|config| config.id.clone()));
        let (recipient, failed) = (recipient.to_owned(), failed.map(str::to_owned));
        within_bounds(Intent { action, channel, config, recipient, content, failed, fallback: fallback.clone() })
    };
    let failing = |recipient: &str, reason: &str| {
        // Nothing is tried here, so that what stands in for it goes at once.
        let mut intents = vec![intent(recipient, Content::default(), Some(reason))];
        intents.extend(fallback.iter().cloned());
        intents
    };
    if is_too_much {
        return vec![too_large(intent("", Content::default(), None))];
    }
    let Some(config) = config else { return failing("", "no_active_config") };
    let message = match action.render(scope, markup) {
        Ok(message) => message,
        Err(_) => return failing("", "template_failed"),
    };
    warnings.extend(message.warnings.iter().map(|warning| format!("{}: {}", warning.pointer, warning.message)));
    let content = Content {
        subject: message.subject,
        text: message.text,
        html: message.html,
        template: message.template.map(|template| (template.name, template.language, template.params)),
    };
    if !channel.takes_recipients() {
        return vec![intent("", content, None)];
    }
    let own = destinations(&open);
    let may_override = config.allow_override && !message.to.is_empty();
    let to = match (action.prefers_config && !own.is_empty(), may_override) {
        (true, _) | (false, false) => own,
        (false, true) => message.to,
    };
    if to.is_empty() {
        return failing("", "no_recipient");
    }
    let (mut seen, mut intents, mut has_failed) = (HashSet::new(), Vec::new(), false);
    for given in &to {
        match recipient::normalise(channel, given) {
            Ok(recipient) if seen.insert(recipient.clone()) => intents.push(intent(&recipient, content.clone(), None)),
            Ok(_) => {}
            Err(_) => {
                intents.push(intent(given, Content::default(), Some("invalid_recipient")));
                has_failed = true;
            }
        }
    }
    if has_failed {
        intents.extend(fallback.iter().cloned());
    }
    intents
}

/// The config's own recipients: one, or several.
pub(crate) fn destinations(open: &Value) -> Vec<String> {
    match &open["destination"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(several) => several.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// How the provider reads the text: with Telegram its config says.
fn markup_of(channel: Channel, open: &Value) -> Markup {
    match channel {
        Channel::Telegram if open["parseMode"] == ParseMode::Html.name() => Markup::Html,
        Channel::Telegram if open["parseMode"] == ParseMode::MarkdownV2.name() => Markup::MarkdownV2,
        _ => switchyard_rules::markup_of(channel),
    }
}

/// `rows` without those that are the same delivery as one before them.
pub(crate) fn distinct(mut rows: Vec<DeliveryRow>) -> Vec<DeliveryRow> {
    let mut seen = HashSet::new();
    rows.retain(|row| seen.insert(row.id.clone()));
    rows
}

/// One message for each delivery, at once.
pub(crate) async fn queue_deliveries(queue: &Queue, deliveries: &[DeliveryRow]) -> Result<(), SignalsError> {
    let messages = deliveries.iter().map(|row| message(row, row.attempts)).collect::<Result<Vec<_>, _>>()?;
    Ok(queue.send_all(&messages).await?)
}

pub(crate) fn message(row: &DeliveryRow, attempts: u32) -> Result<String, SignalsError> {
    let job = DeliveryJob { event_id: row.event_id(), delivery_id: row.delivery_id(), attempts };
    let envelope = Envelope::new(DELIVERY_KIND, row.id.clone(), row.tenant.clone(), None, job);
    envelope.to_json().map_err(SignalsError::Json)
}

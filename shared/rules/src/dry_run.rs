//! Dry runs: what a rule would do about an event, without state or messages.

use crate::action::{Action, markup_of};
use crate::cooldown::{Cooldown, Cooled};
use crate::document::{Rule, Status};
use crate::event::Event;
use crate::issue::{Code, Issue};
use crate::scope::Scope;
use crate::threshold::{Counted, Threshold, ThresholdState};
use crate::trace::Trace;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use switchyard_core::Channel;

/// What a rule would do about an event; `camelCase` on the wire.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DryRun {
    /// Whether the rule is for events of this type.
    pub type_matched: bool,
    /// Whether the condition holds.
    pub matched: bool,
    /// Whether the rule would send a message.
    pub would_fire: bool,
    /// The stage that keeps the rule from firing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<StoppedBy>,
    /// Every comparison of the rule and of its actions.
    pub trace: Vec<Trace>,
    /// The messages that it would send.
    pub renders: Vec<Render>,
    /// Names without a value, and texts that could not be rendered.
    pub warnings: Vec<Issue>,
}

/// The stage at which a rule stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoppedBy {
    /// The condition does not hold.
    When,
    /// The threshold is not reached.
    Threshold,
    /// The cooldown is not over.
    Cooldown,
    /// The rule is paused.
    Paused,
}

/// One message of a dry run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Render {
    /// The action's number.
    pub action: usize,
    /// The channel.
    pub channel: Channel,
    /// The recipients in the rule; `#webhook` where the config's URL decides.
    pub to: Vec<String>,
    /// The subject, on channels that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The text.
    pub text: String,
}

/// The past that a dry run assumes, in place of stored state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Past<'a> {
    /// Earlier events of the rule, in any order; each needs an id of its own.
    pub events: &'a [Event<'a>],
    /// When the event's group fired last.
    pub last_fired_at: Option<Timestamp>,
}

/// What `rule` would do about `event`. Templates use `rule_id` and `version`.
pub fn dry_run(rule: &Rule, (rule_id, version): (&str, u64), event: &Event<'_>, past: Past<'_>) -> DryRun {
    let definition = &rule.definition;
    let type_matched = rule.event_type.matches(event.kind);
    let matched = definition.when.holds(event);
    let mut trace = definition.when.trace(event);
    trace.extend(rule.actions().into_iter().filter_map(Action::when).flat_map(|when| when.trace(event)));

    let counted = definition.threshold.as_ref().map(|threshold| count(rule, threshold, event, past.events));
    let cooled = definition.cooldown.as_ref().is_some_and(|cooldown| is_cooling(cooldown, event, past.last_fired_at));
    let stopped_by = match () {
        () if rule.status == Some(Status::Paused) => Some(StoppedBy::Paused),
        () if !matched => Some(StoppedBy::When),
        () if counted.is_some_and(|counted| !counted.is_some_and(|counted| counted.fired)) => {
            Some(StoppedBy::Threshold)
        }
        () if cooled => Some(StoppedBy::Cooldown),
        () => None,
    };
    let mut run = DryRun {
        type_matched,
        matched,
        would_fire: type_matched && stopped_by.is_none(),
        stopped_by,
        trace,
        renders: Vec::new(),
        warnings: Vec::new(),
    };
    if run.would_fire {
        let count = counted.flatten().map_or(1.0, |counted| counted.count);
        let scope =
            Scope { event, rule_id, rule_name: &rule.name, rule_version: version, count, suppressed: 0, events: &[] };
        render(rule, &scope, &mut run);
    }
    run
}

/// `None` when the event is not counted at all.
fn count(rule: &Rule, threshold: &Threshold, event: &Event<'_>, earlier: &[Event<'_>]) -> Option<Counted> {
    let sample = threshold.sample(event)?;
    let relevant = |earlier: &Event<'_>| rule.event_type.matches(earlier.kind) && rule.definition.when.holds(earlier);
    let mut samples: Vec<_> = earlier
        .iter()
        .filter(|earlier| relevant(earlier))
        .filter_map(|earlier| threshold.sample(earlier).map(|sample| (earlier.id, sample)))
        .filter(|(_, earlier)| earlier.group == sample.group)
        .collect();
    samples.sort_by_key(|(_, sample)| sample.at_ms);
    let state =
        samples.iter().fold(ThresholdState::default(), |state, (id, sample)| threshold.step(state, id, sample).0);
    Some(threshold.step(state, event.id, &sample).1)
}

fn is_cooling(cooldown: &Cooldown, event: &Event<'_>, last_fired_at: Option<Timestamp>) -> bool {
    let Some(last) = last_fired_at else { return false };
    let (state, _) = cooldown.step(None, "", last.as_millisecond());
    cooldown.step(Some(state), event.id, event.received_at.as_millisecond()).1 == Cooled::Suppressed
}

fn render(rule: &Rule, scope: &Scope<'_>, run: &mut DryRun) {
    for (number, action) in rule.definition.actions.iter().enumerate().filter(|(_, action)| action.applies(scope.event))
    {
        let channel = action.channel;
        match action.render(scope, markup_of(channel)) {
            Ok(message) => {
                let is_fixed = !channel.takes_recipients();
                let to = if is_fixed && message.to.is_empty() { vec!["#webhook".to_owned()] } else { message.to };
                let subject = (channel == Channel::Email).then_some(message.subject);
                run.warnings.extend(message.warnings);
                run.renders.push(Render { action: number, channel, to, subject, text: message.text });
            }
            Err(error) => run.warnings.push(Issue {
                pointer: action.pointer.clone(),
                code: Code::BadTemplate,
                message: error.to_string(),
                hint: None,
            }),
        }
    }
}

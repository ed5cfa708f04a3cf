//! A parsed rule. `parse` defines its document.

use crate::action::Action;
use crate::condition::Condition;
use crate::cooldown::Cooldown;
use crate::digest::Digest;
use crate::event::Event;
use crate::issue::{Code, Report};
use crate::threshold::Threshold;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchyard_core::Channel;

/// A rule, compiled for evaluation.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The name, 1 to 150 characters.
    pub name: String,
    /// The types of events that it applies to.
    pub event_type: TypePattern,
    /// Whether it is active or paused; active when the document does not say.
    pub status: Option<Status>,
    /// -1000 to 1000; rules with a higher priority are evaluated first.
    pub priority: i64,
    /// The description.
    pub description: Option<String>,
    /// The condition and the actions.
    pub definition: Definition,
}

/// Whether a rule is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The rule is evaluated.
    Active,
    /// The rule is not evaluated.
    Paused,
}

/// A rule's condition, state and actions.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Whether the document has schema 1.
    pub is_legacy: bool,
    /// The condition.
    pub when: Condition,
    /// The threshold.
    pub threshold: Option<Threshold>,
    /// The cooldown.
    pub cooldown: Option<Cooldown>,
    /// The digest.
    pub digest: Option<Digest>,
    /// The actions, in order.
    pub actions: Vec<Action>,
}

/// An event type, a prefix of several, or all of them. Case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypePattern {
    /// One type.
    Exact(String),
    /// `payment.*`: all types that begin with `payment.`. Stored with the dot.
    Prefix(String),
    /// `*`.
    Any,
}

impl TypePattern {
    /// Whether it matches events of type `kind`.
    pub fn matches(&self, kind: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == kind,
            Self::Prefix(prefix) => kind.len() > prefix.len() && kind.starts_with(prefix.as_str()),
            Self::Any => true,
        }
    }

    pub(crate) fn read(value: &Value, at: &str, is_legacy: bool, report: &mut Report) -> Option<Self> {
        let text = report.text(value, at, 1..=120)?;
        if is_legacy {
            return Some(Self::Exact(text.to_owned()));
        }
        match text.strip_suffix('*') {
            Some("") => Some(Self::Any),
            Some(prefix) if prefix.len() > 1 && prefix.ends_with('.') && !prefix.contains('*') => {
                Some(Self::Prefix(prefix.to_owned()))
            }
            None if !text.contains('*') => Some(Self::Exact(text.to_owned())),
            _ => {
                report.hinted(at, Code::BadValue, "* stands alone or after a last dot", "payment.*");
                None
            }
        }
    }
}

impl Rule {
    /// Whether the rule is active and applies to events of type `kind`.
    pub fn is_for(&self, kind: &str) -> bool {
        self.status != Some(Status::Paused) && self.event_type.matches(kind)
    }

    /// Every action, with its fallbacks after it, so that the caller can check their configs.
    pub fn actions(&self) -> Vec<&Action> {
        fn gather<'a>(actions: &'a [Action], found: &mut Vec<&'a Action>) {
            for action in actions {
                found.push(action);
                gather(&action.fallback, found);
            }
        }
        let mut found = Vec::new();
        gather(&self.definition.actions, &mut found);
        found
    }

    /// The actions to take for `event`, without their fallbacks.
    pub fn actions_for(&self, event: &Event<'_>) -> impl Iterator<Item = &Action> {
        self.definition.actions.iter().filter(|action| action.applies(event))
    }

    /// The channels of all actions and fallbacks, each once.
    pub fn channels(&self) -> Vec<Channel> {
        let used = |channel: &Channel| self.actions().iter().any(|action| action.channel == *channel);
        Channel::ALL.into_iter().filter(used).collect()
    }
}

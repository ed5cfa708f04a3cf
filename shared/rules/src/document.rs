//! A rule, once it is read. `parse` says what its document may look like.

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

/// A rule: everything that can be worked out beforehand is.
#[derive(Clone, Debug)]
pub struct Rule {
    /// For people, 1 to 150 characters.
    pub name: String,
    /// The events it is for.
    pub event_type: TypePattern,
    /// Whether it is evaluated at all, if the document says so; it is when nobody does.
    pub status: Option<Status>,
    /// Higher ones go first; -1000 to 1000.
    pub priority: i64,
    /// For people.
    pub description: Option<String>,
    /// What it does.
    pub definition: Definition,
}

/// Whether a rule is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is.
    Active,
    /// It is not.
    Paused,
}

/// What a rule does, and when.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Whether it was written in schema 1.
    pub is_legacy: bool,
    /// What has to hold of an event.
    pub when: Condition,
    /// How many of them it takes.
    pub threshold: Option<Threshold>,
    /// How long it is quiet after firing.
    pub cooldown: Option<Cooldown>,
    /// How it gathers several firings into one message.
    pub digest: Option<Digest>,
    /// What it sends, in order.
    pub actions: Vec<Action>,
}

/// An event type, a prefix of several, or all of them. Case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypePattern {
    /// This one.
    Exact(String),
    /// `payment.*`: everything below `payment.`, not `payment` itself. Kept with its dot.
    Prefix(String),
    /// `*`.
    Any,
}

impl TypePattern {
    /// Whether events of type `kind` are meant.
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
    /// Whether it is not paused and meant for events of type `kind`.
    pub fn is_for(&self, kind: &str) -> bool {
        self.status != Some(Status::Paused) && self.event_type.matches(kind)
    }

    /// Every action, fallbacks after what they stand in for. Their pointers, channels and configs are what only
    /// someone with the stored configs can judge.
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

    /// The channels it uses, fallbacks included, each once.
    pub fn channels(&self) -> Vec<Channel> {
        let used = |channel: &Channel| self.actions().iter().any(|action| action.channel == *channel);
        Channel::ALL.into_iter().filter(used).collect()
    }
}

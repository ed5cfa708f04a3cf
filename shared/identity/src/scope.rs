//! What an API key may be allowed to do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// One permission of an API key, written `<subject>:<read or write>`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Scope {
    /// `events:write`: post events.
    #[serde(rename = "events:write")]
    EventsWrite,
    /// `events:read`: read stored events.
    #[serde(rename = "events:read")]
    EventsRead,
    /// `rules:read`: read, validate and test rules.
    #[serde(rename = "rules:read")]
    RulesRead,
    /// `rules:write`: create and change rules.
    #[serde(rename = "rules:write")]
    RulesWrite,
    /// `usage:read`: read usage and its exports.
    #[serde(rename = "usage:read")]
    UsageRead,
    /// `deliveries:read`: read deliveries.
    #[serde(rename = "deliveries:read")]
    DeliveriesRead,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 6] =
        [Self::EventsWrite, Self::EventsRead, Self::RulesRead, Self::RulesWrite, Self::UsageRead, Self::DeliveriesRead];

    /// The scope as keys and documents name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::EventsWrite => "events:write",
            Self::EventsRead => "events:read",
            Self::RulesRead => "rules:read",
            Self::RulesWrite => "rules:write",
            Self::UsageRead => "usage:read",
            Self::DeliveriesRead => "deliveries:read",
        }
    }
}

/// A text that names no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownScope;

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.name() == text).ok_or(UnknownScope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_is_read_by_its_name() {
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
        }
        assert_eq!("events".parse::<Scope>(), Err(UnknownScope));
    }
}

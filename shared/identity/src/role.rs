//! What a signed-in user may do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A user's role; each may do what those before it may.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads what is the tenant's.
    Member,
    /// Changes what is the tenant's, except the tenant itself.
    Admin,
    /// Changes the tenant too.
    Owner,
}

impl Role {
    const ALL: [Self; 3] = [Self::Member, Self::Admin, Self::Owner];

    /// Reads [`Self::name`].
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// The role as tokens and documents name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }
}

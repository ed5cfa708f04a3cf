//! Ids that stand in paths: one type for each kind of thing, so that they cannot be confused.

use serde_json::{Value, json};
use switchyard_api::PathParameter;

/// Longest id of anything, in bytes: that of a digest in hex.
pub(crate) const MAX_ID: usize = 64;

/// Whether a text could be an id of anything here.
fn is_id(text: &str) -> bool {
    text.len() <= MAX_ID && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub(crate) struct $name(String);

            impl $name {
                /// The id's text.
                pub(crate) fn as_str(&self) -> &str {
                    &self.0
                }
            }

            impl PathParameter for $name {
                fn parse(text: &str) -> Option<Self> {
                    is_id(text).then(|| Self(text.to_owned()))
                }

                fn schema() -> Value {
                    json!({"type": "string", "pattern": format!("^[A-Za-z0-9-]{{1,{MAX_ID}}}$")})
                }
            }
        )+
    };
}

ids! {
    /// A tenant's id.
    TenantId,
    /// A user's id.
    UserId,
    /// An API key's id; not the key.
    ApiKeyId,
    /// A rule's id.
    RuleId,
    /// A notification config's id.
    ConfigId,
    /// An event's id.
    EventId,
    /// A delivery's id.
    DeliveryId,
    /// A dead letter's id.
    DeadLetterId,
    /// A suppression's id.
    SuppressionId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_letters_digits_and_dashes() {
        assert!(RuleId::parse("01a2-B3").is_some());
        for odd in ["a.b", "a:b", "a_b", &"a".repeat(65)] {
            assert_eq!(RuleId::parse(odd), None, "{odd}");
        }
    }
}

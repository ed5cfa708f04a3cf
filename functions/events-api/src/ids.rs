//! Ids that stand in paths.

use serde_json::{Value, json};
use switchyard_api::PathParameter;

/// Longest id of anything, in bytes: that of a digest in hex.
pub(crate) const MAX_ID: usize = 64;

/// An id in a path, of the domain's type `T`.
pub(crate) struct Id<T>(pub(crate) T);

impl<T: From<String>> PathParameter for Id<T> {
    fn parse(text: &str) -> Option<Self> {
        let is_id = text.len() <= MAX_ID && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        is_id.then(|| Self(text.to_owned().into()))
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": format!("^[A-Za-z0-9-]{{1,{MAX_ID}}}$")})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_letters_digits_and_dashes() {
        let parse = |text: &str| Id::<String>::parse(text).map(|Id(id)| id);
        assert_eq!(parse("01a2-B3").as_deref(), Some("01a2-B3"));
        for odd in ["a.b", "a:b", "a_b", &"a".repeat(65)] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }
}

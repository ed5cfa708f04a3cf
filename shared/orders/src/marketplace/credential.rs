//! A store's credential: its access token, and how it is refreshed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_core::Secret;

/// A token is refreshed when it expires within this time.
const RENEW_BEFORE_EXPIRY: Duration = Duration::from_secs(60);

/// A longer lifetime from a marketplace is cut to this.
const MAX_TOKEN_LIFETIME: Duration = Duration::from_secs(366 * 86_400);

/// The content of a store's `accessToken`: a bare token, or JSON `{accessToken, refreshToken, expiresAt}`.
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    pub(crate) access_token: Secret<String>,
    pub(crate) refresh_token: Option<Secret<String>>,
    expires_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    access_token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

/// The response of a token endpoint (RFC 6749 §5.1).
#[derive(Deserialize)]
pub(crate) struct Grant {
    access_token: String,
    refresh_token: Option<String>,
    expires_in: Option<u64>,
}

impl Credential {
    pub(crate) fn parse(text: &str) -> Self {
        let wire = serde_json::from_str::<Wire>(text).ok();
        let wire =
            wire.unwrap_or_else(|| Wire { access_token: text.to_owned(), refresh_token: None, expires_at: None });
        Self {
            access_token: Secret::new(wire.access_token),
            refresh_token: wire.refresh_token.map(Secret::new),
            expires_at: wire.expires_at,
        }
    }

    /// Whether the token must be refreshed before it is used.
    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.refresh_token.is_some() && self.expires_at.is_some_and(|at| now + RENEW_BEFORE_EXPIRY >= at)
    }

    /// The credential to store after `grant`. Without a new refresh token the old one stays valid.
    pub(crate) fn renewed(&self, grant: Grant, now: Timestamp) -> Result<String, serde_json::Error> {
        let old = self.refresh_token.as_ref().map(|token| token.expose().clone());
        serde_json::to_string(&Wire {
            access_token: grant.access_token,
            refresh_token: grant.refresh_token.or(old),
            expires_at: grant.expires_in.map(|seconds| now + Duration::from_secs(seconds).min(MAX_TOKEN_LIFETIME)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_token_and_a_json_credential_both_read() {
        let now: Timestamp = "2026-01-05T10:00:00Z".parse().unwrap();
        let bare = Credential::parse("shpat_1");
        assert_eq!((bare.access_token.expose().as_str(), bare.has_expired(now)), ("shpat_1", false));
        let text = r#"{"accessToken":"a","refreshToken":"r","expiresAt":"2026-01-05T10:00:30Z"}"#;
        let full = Credential::parse(text);
        assert!(full.has_expired(now));
        let grant = Grant { access_token: "b".into(), refresh_token: None, expires_in: Some(3600) };
        let renewed = full.renewed(grant, now).unwrap();
        let wanted = r#"{"accessToken":"b","refreshToken":"r","expiresAt":"2026-01-05T11:00:00Z"}"#;
        assert_eq!(renewed, wanted);
        assert!(!Credential::parse(&renewed).has_expired(now));
    }
}

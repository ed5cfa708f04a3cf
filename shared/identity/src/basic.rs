//! HTTP Basic (RFC 7617): one user name and password, and their verification against a secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use switchyard_core::{Classify, Disposition, EnvError, Secret};
use switchyard_io::{SecretError, SecretValues, Secrets};

/// One user name and password, for HTTP Basic (RFC 7617).
#[derive(Clone, Debug)]
pub struct BasicCredentials {
    /// Must not contain a colon.
    pub user: String,
    /// Any text.
    pub password: Secret<String>,
}

impl BasicCredentials {
    /// The `Authorization` header that presents these credentials.
    pub fn header(&self) -> Secret<String> {
        Secret::new(format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password.expose()))))
    }

    /// Whether `header`, an `Authorization` value, presents exactly these credentials.
    ///
    /// Compares digests in constant time, so that the time taken shows neither length nor content.
    pub fn accepts(&self, header: Option<&str>) -> bool {
        let given = header
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, token)| STANDARD.decode(token.trim()).ok())
            .unwrap_or_default();
        let wanted = format!("{}:{}", self.user, self.password.expose());
        Sha256::digest(&given).ct_eq(&Sha256::digest(wanted.as_bytes())).into()
    }
}

/// The expected credentials could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BasicError {
    /// Secrets Manager.
    #[error("fetching the Basic credentials of callers")]
    Secret(#[source] SecretError),
    /// The secret lacks a value. Permanent.
    #[error("reading the Basic credentials of callers")]
    Value(#[source] EnvError),
}

impl Classify for BasicError {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Secret(source) => source.disposition(),
            Self::Value(_) => Disposition::Permanent,
        }
    }
}

/// Verifies Basic credentials against the values `<prefix>_USER` and `<prefix>_PASS` of one secret.
#[derive(Clone)]
pub struct Basic {
    secrets: Secrets,
    secret_id: String,
    prefix: &'static str,
}

impl Basic {
    /// The credentials in the secret `secret_id` (a name or an ARN). Opens no connection.
    pub fn new(secrets: Secrets, secret_id: String, prefix: &'static str) -> Self {
        Self { secrets, secret_id, prefix }
    }

    /// Whether `header`, an `Authorization` value, presents the credentials. On a mismatch the secret is fetched again, in
    /// case it was rotated.
    ///
    /// # Errors
    /// The secret could not be fetched, or lacks a value.
    pub async fn accepts(&self, header: Option<&str>) -> Result<bool, BasicError> {
        if self.current().await?.accepts(header) {
            return Ok(true);
        }
        let fresh = self.secrets.refreshed(&self.secret_id).await.map_err(BasicError::Secret)?;
        Ok(self.read(&fresh)?.accepts(header))
    }

    /// The credentials as they were fetched last.
    ///
    /// # Errors
    /// The secret could not be fetched, or lacks a value.
    pub async fn current(&self) -> Result<BasicCredentials, BasicError> {
        self.read(&*self.secrets.get(&self.secret_id).await.map_err(BasicError::Secret)?)
    }

    fn read(&self, values: &SecretValues) -> Result<BasicCredentials, BasicError> {
        let value = |part: &str| values.required(&format!("{}_{part}", self.prefix)).map_err(BasicError::Value);
        Ok(BasicCredentials { user: value("USER")?.expose().clone(), password: value("PASS")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_accepts_only_the_exact_pair() {
        let credentials = BasicCredentials { user: "alis".into(), password: Secret::new("p:w".into()) };
        assert!(credentials.accepts(Some(credentials.header().expose())));
        assert!(credentials.accepts(Some("basic YWxpczpwOnc=")));
        for wrong in
            [None, Some(""), Some("Basic"), Some("Basic ???"), Some("Bearer YWxpczpwOnc="), Some("Basic YWxpczo=")]
        {
            assert!(!credentials.accepts(wrong), "{wrong:?}");
        }
    }
}

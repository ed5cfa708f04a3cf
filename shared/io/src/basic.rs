//! Basic credentials that callers of ours present, kept in a secret.

use crate::{SecretError, Secrets};
use switchyard_core::access::BasicCredentials;
use switchyard_core::{Classify, Disposition, EnvError};

/// A pair that could not be had, so that nobody can be admitted.
#[derive(Debug, thiserror::Error)]
pub enum BasicError {
    /// The secret.
    #[error("fetching the credentials that callers present")]
    Secret(#[source] SecretError),
    /// The secret lacks a value. Permanent.
    #[error("reading the credentials that callers present")]
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

/// The values `<prefix>_USER` and `<prefix>_PASS` of one secret.
#[derive(Clone)]
pub struct Basic {
    secrets: Secrets,
    secret_id: String,
    prefix: &'static str,
}

impl Basic {
    /// The pair in the secret `secret_id` (a name or an ARN). Opens no connection.
    pub fn new(secrets: Secrets, secret_id: String, prefix: &'static str) -> Self {
        Self { secrets, secret_id, prefix }
    }

    /// Whether `header`, an `Authorization` value, presents the pair, as it is known or, in case it was replaced, as it is
    /// now.
    ///
    /// # Errors
    /// The secret cannot be had, or lacks a value.
    pub async fn accepts(&self, header: Option<&str>) -> Result<bool, BasicError> {
        if self.known().await?.accepts(header) {
            return Ok(true);
        }
        let fresh = self.secrets.refreshed(&self.secret_id).await.map_err(BasicError::Secret)?;
        Ok(self.read(&fresh)?.accepts(header))
    }

    /// The pair as it is known.
    ///
    /// # Errors
    /// The secret cannot be had, or lacks a value.
    pub async fn known(&self) -> Result<BasicCredentials, BasicError> {
        self.read(&*self.secrets.get(&self.secret_id).await.map_err(BasicError::Secret)?)
    }

    fn read(&self, values: &crate::SecretValues) -> Result<BasicCredentials, BasicError> {
        let value = |part: &str| values.required(&format!("{}_{part}", self.prefix)).map_err(BasicError::Value);
        Ok(BasicCredentials { user: value("USER")?.expose().clone(), password: value("PASS")? })
    }
}

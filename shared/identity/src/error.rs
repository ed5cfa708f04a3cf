//! Why a person's identity could not be read, verified or changed.

use crate::jwt::{BadToken, WeakSecret};
use crate::password::HashError;
use switchyard_core::{Classify, Disposition, EnvError};
use switchyard_io::SecretError;
use switchyard_io::dynamo::DynamoError;

/// A user, an operator or a token could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// DynamoDB.
    #[error("reading or writing identities")]
    Store(#[source] DynamoError),
    /// A password could not be hashed. Retried.
    #[error("hashing a password")]
    Password(#[source] HashError),
    /// Secrets Manager.
    #[error("fetching the secret that signs tokens")]
    TokenSecret(#[source] SecretError),
    /// The secret lacks `JWT_KEY`. Permanent.
    #[error("reading the secret that signs tokens")]
    TokenSetting(#[source] EnvError),
    /// The secret is too short. Permanent.
    #[error("checking the secret that signs tokens")]
    WeakTokenSecret(#[source] WeakSecret),
    /// There is no key to sign with. Permanent.
    #[error("the secret that signs tokens has no key")]
    NoTokenKey,
    /// A token could not be signed. Permanent.
    #[error("signing a token")]
    Token(#[source] BadToken),
    /// Other requests kept changing the same row. Retried.
    #[error("{what} was changed by other requests")]
    Contended {
        /// The row.
        what: &'static str,
    },
}

impl Classify for IdentityError {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Store(source) => source.disposition(),
            Self::TokenSecret(source) => source.disposition(),
            Self::Password(_) | Self::Contended { .. } => Disposition::Retry { after: None },
            Self::TokenSetting(_) | Self::WeakTokenSecret(_) | Self::NoTokenKey | Self::Token(_) => {
                Disposition::Permanent
            }
        }
    }
}

impl From<DynamoError> for IdentityError {
    fn from(source: DynamoError) -> Self {
        Self::Store(source)
    }
}

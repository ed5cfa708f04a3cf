//! Bearer tokens of people: issued when they sign in, verified on each request.

use crate::Role;
use crate::error::IdentityError;
use crate::jwt::{self, BadToken, Issuer, JwtKey};
use crate::operators::OPERATORS;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_core::{Clock, Env, EnvError, error_chain};
use switchyard_io::{Aws, SecretValues, Secrets};

const ISSUER: Issuer = Issuer { name: "switchyard", audience: "api" };

/// What a token says of the person who signed in.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// The user's or operator's id.
    #[serde(rename = "sub")]
    pub subject: String,
    /// The tenant's id; [`crate::operators::OPERATORS`] for an operator.
    #[serde(rename = "tid")]
    pub tenant: String,
    /// The role when the token was issued; requests go by the current one.
    pub role: Role,
    /// The token's own id.
    #[serde(rename = "jti")]
    pub id: String,
    /// The version of the password when the token was issued: a new password revokes earlier tokens.
    #[serde(rename = "pwv")]
    pub password_version: u64,
}

impl Claims {
    /// Whether the token was issued to an operator.
    pub fn is_operator(&self) -> bool {
        self.role == Role::Operator && self.tenant == OPERATORS
    }
}

/// A token that was issued.
#[derive(Clone, Debug)]
pub struct Token {
    /// The bearer token.
    pub text: String,
    /// How long it is valid.
    pub ttl: Duration,
}

/// Issues and verifies tokens.
#[derive(Clone)]
pub struct Tokens {
    secrets: Secrets,
    secret_id: String,
    ttl: Duration,
    clock: Clock,
}

impl Tokens {
    /// Reads `JWT_TTL_SECONDS` (default 3600), and `JWT_SECRET`, which names the secret whose `JWT_KEY` signs tokens; those
    /// signed by its `JWT_KEY_BEFORE` are valid too.
    ///
    /// # Errors
    /// A setting is missing or invalid.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            secrets: Secrets::new(aws),
            secret_id: env.required("JWT_SECRET")?,
            ttl: Duration::from_secs(env.parsed("JWT_TTL_SECONDS", 3_600)?),
            clock: Clock::system(),
        })
    }

    /// Replaces the clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Fetches the secret ahead of the first token, so that no function starts with one that is missing or weak.
    ///
    /// # Errors
    /// The secret could not be fetched, lacks `JWT_KEY`, or is too short.
    pub async fn warm_up(&self) -> Result<(), EnvError> {
        let unusable = |error| EnvError::Invalid { name: "JWT_SECRET".to_owned(), reason: error_chain(&error) };
        self.keys().await.map(drop).map_err(unusable)
    }

    /// How long a token is valid.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Issues a token.
    ///
    /// # Errors
    /// The secret could not be fetched, or the token not be signed.
    pub async fn issue(&self, claims: &Claims) -> Result<Token, IdentityError> {
        let (keys, now) = (self.keys().await?, self.clock.now());
        let [current, ..] = keys.as_slice() else { return Err(IdentityError::NoTokenKey) };
        let text = jwt::sign(claims, ISSUER, current, now, now + self.ttl).map_err(IdentityError::Token)?;
        Ok(Token { text, ttl: self.ttl })
    }

    /// The claims of a token; `None` for one that is malformed, forged or expired.
    ///
    /// # Errors
    /// The secret could not be fetched.
    pub async fn verify(&self, token: &str) -> Result<Option<Claims>, IdentityError> {
        let now = self.clock.now();
        match jwt::verify(token, ISSUER, &self.keys().await?, now) {
            Ok(claims) => Ok(Some(claims)),
            // Another function may sign with a key that was rotated in since the secret was fetched here.
            Err(BadToken::Refused(_)) => {
                let fresh = self.secrets.refreshed(&self.secret_id).await.map_err(IdentityError::TokenSecret)?;
                Ok(jwt::verify(token, ISSUER, &keys_of(&fresh)?, now).ok())
            }
            Err(BadToken::Untimely) => Ok(None),
        }
    }

    /// The key that signs, then the one before it.
    async fn keys(&self) -> Result<Vec<JwtKey>, IdentityError> {
        keys_of(&*self.secrets.get(&self.secret_id).await.map_err(IdentityError::TokenSecret)?)
    }
}

fn keys_of(values: &SecretValues) -> Result<Vec<JwtKey>, IdentityError> {
    let current = values.required("JWT_KEY").map_err(IdentityError::TokenSetting)?;
    let mut keys = vec![JwtKey::new(current).map_err(IdentityError::WeakTokenSecret)?];
    if let Ok(before) = values.required("JWT_KEY_BEFORE") {
        keys.push(JwtKey::new(before).map_err(IdentityError::WeakTokenSecret)?);
    }
    Ok(keys)
}

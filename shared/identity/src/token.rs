//! Bearer tokens of people: issued when they sign in, verified on each request.

use crate::error::IdentityError;
use crate::jwt::{self, BadToken, Issuer, JwtKey};
use crate::{OperatorId, Role, TenantId, TokenId, UserId};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_core::{Clock, Env, EnvError, error_chain};
use switchyard_io::{Aws, SecretValues, Secrets};

const ISSUER: Issuer = Issuer { name: "switchyard", audience: "api" };

/// The tenant that operators' tokens name; no tenant's id is like it.
const OPERATORS: &str = "operators";

/// The role that operators' tokens name.
const OPERATOR: &str = "operator";

/// Who signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A tenant's user.
    User {
        /// The user's id.
        id: UserId,
        /// The tenant's id.
        tenant: TenantId,
        /// The role when the token was issued; requests go by the current one.
        role: Role,
    },
    /// An operator of the platform.
    Operator(OperatorId),
}

/// What a token says of the person who signed in.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(try_from = "Payload", into = "Payload")]
pub struct Claims {
    /// Who signed in.
    pub subject: Subject,
    /// The token's own id.
    pub id: TokenId,
    /// The version of the password when the token was issued: a new password revokes earlier tokens.
    pub password_version: u64,
}

/// [`Claims`] as the token holds them.
#[derive(Deserialize, Serialize)]
struct Payload {
    sub: String,
    tid: String,
    role: String,
    jti: TokenId,
    pwv: u64,
}

impl From<Claims> for Payload {
    fn from(claims: Claims) -> Self {
        let (sub, tid, role) = match claims.subject {
            Subject::User { id, tenant, role } => (id.into(), tenant.into(), role.name()),
            Subject::Operator(id) => (id.into(), OPERATORS.to_owned(), OPERATOR),
        };
        Self { sub, tid, role: role.to_owned(), jti: claims.id, pwv: claims.password_version }
    }
}

impl TryFrom<Payload> for Claims {
    type Error = &'static str;

    fn try_from(payload: Payload) -> Result<Self, Self::Error> {
        let Payload { sub, tid, role, jti: id, pwv: password_version } = payload;
        let subject = match (&*tid, Role::parse(&role)) {
            (OPERATORS, None) if role == OPERATOR => Subject::Operator(sub.into()),
            (tenant, Some(role)) if tenant != OPERATORS => Subject::User { id: sub.into(), tenant: tid.into(), role },
            _ => return Err("the role is not one of the tenant's"),
        };
        Ok(Self { subject, id, password_version })
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

//! Who calls: everyone, or one organisation by its key.

use http::{HeaderName, header};
use switchyard_core::{Env, EnvError};
use switchyard_io::Aws;
use switchyard_io::keys::{ApiKeys, KeyError};
use switchyard_lambda::Call;

/// For whom a caller may act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// `AUTH_MODE=open`: for every organisation.
    Open,
    /// The bearer of this organisation's key.
    Organization(String),
}

impl Caller {
    /// Whether the caller may act for `organization`. Where not, its things do not exist: 404, never 403.
    pub fn may(&self, organization: &str) -> bool {
        match self {
            Self::Open => true,
            Self::Organization(own) => own == organization,
        }
    }

    /// A name for the caller's own things; no organisation's is the same as that of [`Self::Open`].
    pub fn name(&self) -> String {
        match self {
            Self::Open => "open".to_owned(),
            Self::Organization(own) => format!("organization {own}"),
        }
    }
}

/// How callers are told apart.
pub enum Access {
    /// Not at all.
    Open,
    /// By `X-Api-Key`, or `Authorization: Bearer` with a key in it.
    ApiKey(ApiKeys),
}

impl Access {
    /// Reads `AUTH_MODE` (`open` or `api_key`).
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        match env.required("AUTH_MODE")?.as_str() {
            "open" => Ok(Self::Open),
            "api_key" => Ok(Self::ApiKey(ApiKeys::from_env(aws, env, "ORDERS_TABLE")?)),
            _ => Err(EnvError::Invalid { name: "AUTH_MODE".into(), reason: "expected open or api_key".into() }),
        }
    }

    /// Who made this call; `None` for nobody we know.
    ///
    /// # Errors
    /// Keys could not be looked up.
    pub async fn caller(&self, call: &Call) -> Result<Option<Caller>, KeyError> {
        let keys = match self {
            Self::Open => return Ok(Some(Caller::Open)),
            Self::ApiKey(keys) => keys,
        };
        let bearer = call.header(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        let key = call.header(HeaderName::from_static("x-api-key")).or(bearer);
        match key {
            Some(key) => Ok(keys.tenant_of(key).await?.map(Caller::Organization)),
            None => Ok(None),
        }
    }
}

//! What the operations need, and who may call them: everybody, or one organization by its key.

use crate::health::Health;
use crate::mock::Mock;
use http::request::Parts;
use http::{HeaderValue, header};
use std::sync::Arc;
use switchyard_api::{Authenticate, Refusal};
use switchyard_callbacks::CallbacksDeps;
use switchyard_core::{Clock, Env, EnvError, OrganizationId};
use switchyard_identity::Access;
use switchyard_identity::api_keys::ApiKeys;
use switchyard_io::Aws;
use switchyard_orders::{InboundDeps, OrdersDeps};
use switchyard_work::idempotency::Idempotency;

/// What the operations need.
#[derive(Clone)]
pub struct State(pub(crate) Arc<Deps>);

pub(crate) struct Deps {
    pub(crate) orders: OrdersDeps,
    pub(crate) inbound: InboundDeps,
    pub(crate) callbacks: CallbacksDeps,
    pub(crate) mock: Mock,
    pub(crate) health: Health,
    pub(crate) clock: Clock,
    auth_mode: AuthMode,
    idempotency: Idempotency,
}

impl State {
    /// Reads the settings of all parts.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        let orders = OrdersDeps::from_env(aws, env)?;
        Ok(Self(Arc::new(Deps {
            auth_mode: AuthMode::from_env(aws, env)?,
            inbound: InboundDeps::from_env(aws, env, orders.clone())?,
            orders,
            callbacks: CallbacksDeps::from_env(aws, env)?,
            mock: Mock::from_env(env),
            health: Health::from_env(aws, env)?,
            idempotency: Idempotency::from_env(aws, env, "ORDERS_TABLE")?,
            clock: Clock::system(),
        })))
    }
}

/// For whom a caller may act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// `AUTH_MODE=open`: every organization.
    Open,
    /// The organization that the key belongs to.
    Organization(OrganizationId),
}

impl Account {
    /// Whether the caller may act for `organization`. Where not, its things do not exist: 404, never 403.
    pub(crate) fn may(&self, organization: &str) -> bool {
        match self {
            Self::Open => true,
            Self::Organization(own) => own.as_str() == organization,
        }
    }
}

/// How callers are identified.
enum AuthMode {
    /// Not at all.
    Open,
    /// By `X-Api-Key`, or `Authorization: Bearer` with a key in it.
    ApiKey(ApiKeys),
}

impl AuthMode {
    /// Reads `AUTH_MODE` (`open` or `api_key`).
    fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        match env.required("AUTH_MODE")?.as_str() {
            "open" => Ok(Self::Open),
            "api_key" => Ok(Self::ApiKey(ApiKeys::from_env(aws, env, "ORDERS_TABLE")?)),
            _ => Err(EnvError::Invalid { name: "AUTH_MODE".into(), reason: "expected open or api_key".into() }),
        }
    }
}

impl Authenticate for State {
    type Caller = Account;

    async fn authenticate(&self, parts: &Parts, _access: Access) -> Result<Account, Refusal> {
        let keys = match &self.0.auth_mode {
            AuthMode::Open => return Ok(Account::Open),
            AuthMode::ApiKey(keys) => keys,
        };
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let organization = match header("x-api-key").or(bearer) {
            Some(key) => keys.owner_of(key).await.map_err(|error| Refusal::unavailable(&error))?,
            None => None,
        };
        organization.map(|owner| Account::Organization(String::from(owner).into())).ok_or_else(|| {
            Refusal::unauthorized("An API key is required, as X-Api-Key or bearer token")
                .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
        })
    }

    fn idempotency(&self, caller: &Account) -> Option<(&Idempotency, String)> {
        // No organization's name is the same as that of open mode.
        let owner = match caller {
            Account::Open => "open".to_owned(),
            Account::Organization(own) => format!("organization {own}"),
        };
        Some((&self.0.idempotency, owner))
    }
}

//! What the operations need, and who may call them: tenants' users and API keys, and operators.

use crate::health::Health;
use http::header;
use http::request::Parts;
use std::sync::Arc;
use switchyard_api::{Authenticate, Refusal};
use switchyard_core::{Clock, Env, EnvError};
use switchyard_identity::{Access, Role, Scope};
use switchyard_io::Aws;
use switchyard_io::keys::ApiKeys;
use switchyard_signals::configs::ConfigDeps;
use switchyard_signals::events::EventDeps;
use switchyard_signals::receipts::ReceiptDeps;
use switchyard_signals::tenants::TenantDeps;
use switchyard_signals::trials::TrialDeps;
use switchyard_signals::users::{self, Session, UserDeps};
use switchyard_signals::{Identified, IngestDeps, Producer, QueueDeps, Tenant, TenantStatus};
use switchyard_work::idempotency::Idempotency;

/// The header with an API key.
const API_KEY: &str = "x-api-key";

/// The largest `MAX_EVENT_BYTES`: a row holds little more.
const LARGEST_EVENT: usize = 262_144;

/// What the operations need.
#[derive(Clone)]
pub struct State(pub(crate) Arc<Deps>);

pub(crate) struct Deps {
    pub(crate) ingest: IngestDeps,
    /// Largest event, in bytes.
    pub(crate) max_event_bytes: usize,
    pub(crate) users: UserDeps,
    pub(crate) tenants: TenantDeps,
    pub(crate) configs: ConfigDeps,
    pub(crate) events: EventDeps,
    pub(crate) trials: TrialDeps,
    pub(crate) receipts: ReceiptDeps,
    pub(crate) queues: QueueDeps,
    pub(crate) keys: ApiKeys,
    pub(crate) health: Health,
    pub(crate) clock: Clock,
    idempotency: Idempotency,
}

impl State {
    /// Reads the settings of all parts, `MAX_EVENT_BYTES` (default 102,400, at most 262,144), and the secrets for tokens
    /// and keys.
    ///
    /// # Errors
    /// A setting is missing or wrong, or a secret is weak or could not be fetched.
    pub async fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        let max_event_bytes = env.parsed("MAX_EVENT_BYTES", 102_400)?;
        if max_event_bytes > LARGEST_EVENT {
            let reason = format!("expected at most {LARGEST_EVENT}");
            return Err(EnvError::Invalid { name: "MAX_EVENT_BYTES".to_owned(), reason });
        }
        let (ingest, users) = (IngestDeps::from_env(aws, env)?, UserDeps::from_env(aws, env)?);
        tokio::try_join!(ingest.warm_up(), users.check_secret())?;
        Ok(Self(Arc::new(Deps {
            ingest,
            max_event_bytes,
            users,
            tenants: TenantDeps::from_env(aws, env)?,
            configs: ConfigDeps::from_env(aws, env)?,
            events: EventDeps::from_env(aws, env)?,
            trials: TrialDeps::from_env(aws, env)?,
            receipts: ReceiptDeps::from_env(aws, env)?,
            queues: QueueDeps::from_env(aws, env)?,
            keys: ApiKeys::from_env(aws, env, "SIGNALS_TABLE")?,
            health: Health::from_env(aws, env)?,
            clock: Clock::system(),
            idempotency: Idempotency::from_env(aws, env, "SIGNALS_TABLE")?,
        })))
    }
}

/// Who calls.
#[derive(Clone, Debug)]
pub struct Actor {
    /// `user:<id>` or `key:<id>`, for audit records.
    pub(crate) name: String,
    /// What a user may do; a key may do what its scopes say.
    pub(crate) role: Role,
    session: Option<Arc<Session>>,
    tenant: Option<Arc<Tenant>>,
}

impl Actor {
    /// The caller's tenant. It comes from the credential and never from the request.
    pub(crate) fn tenant(&self) -> Result<&Tenant, Refusal> {
        self.tenant.as_deref().ok_or_else(|| Refusal::new(403, "no_tenant", "An operator has no tenant of its own"))
    }

    /// The id of the caller's tenant.
    pub(crate) fn tenant_id(&self) -> Result<&str, Refusal> {
        Ok(&self.tenant()?.id)
    }

    /// The signed-in user; a key is not one.
    pub(crate) fn session(&self) -> Result<&Session, Refusal> {
        self.session.as_deref().ok_or_else(user_required)
    }
}

fn user_required() -> Refusal {
    Refusal::forbidden("A user's token is required")
}

pub(crate) fn suspended() -> Refusal {
    Refusal::new(403, "tenant_suspended", "Tenant suspended")
}

impl Authenticate for State {
    type Caller = Actor;

    async fn authenticate(&self, parts: &Parts, access: Access) -> Result<Actor, Refusal> {
        let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let actor = match (access, header(header::AUTHORIZATION.as_str()), header(API_KEY)) {
            (Access::ApiKey(scope), _, key) => self.producer(key, scope).await?,
            (access, None, Some(key)) => self.key(key, access).await?,
            (_, authorization, _) => self.user(authorization).await?,
        };
        let may = match access {
            Access::Tenant(role, _) => actor.role >= role && actor.tenant.is_some(),
            Access::AdminOrOperator => actor.role >= Role::Admin,
            Access::Operator => actor.role == Role::Operator,
            Access::User | Access::ApiKey(_) => true,
            Access::Anyone | Access::Signature | Access::Basic | Access::Organization => false,
        };
        if !may {
            return Err(Refusal::forbidden("This role does not allow it"));
        }
        let is_suspended = actor.tenant.as_ref().is_some_and(|tenant| tenant.status != TenantStatus::Active);
        // Users of a suspended tenant may read and sign in.
        let only_reads = parts.method == http::Method::GET || access == Access::User;
        if is_suspended && !only_reads {
            return Err(suspended());
        }
        Ok(actor)
    }

    fn idempotency(&self, caller: &Actor) -> Option<(&Idempotency, String)> {
        let owner = caller.tenant_id().map_or_else(|_| caller.name.clone(), |tenant| format!("manage {tenant}"));
        Some((&self.0.idempotency, owner))
    }
}

impl State {
    async fn user(&self, authorization: Option<&str>) -> Result<Actor, Refusal> {
        let authorization = authorization.ok_or_else(|| Refusal::unauthorized("Missing Authorization header"))?;
        let invalid = || Refusal::unauthorized("Invalid token");
        let token = authorization.strip_prefix("Bearer ").ok_or_else(invalid)?;
        let session = users::session(&self.0.users, token).await.map_err(|error| Refusal::fault(&error))?;
        let session = session.ok_or_else(invalid)?;
        Ok(Actor {
            name: format!("user:{}", session.user_id()),
            role: session.role(),
            tenant: session.tenant.clone().map(Arc::new),
            session: Some(Arc::new(session)),
        })
    }

    /// A key where users are expected: it may do what its scopes say, and only where the operation names a scope.
    async fn key(&self, key: &str, access: Access) -> Result<Actor, Refusal> {
        let producer = self.identify(key).await?;
        let Access::Tenant(role, Some(scope)) = access else { return Err(user_required()) };
        Ok(Actor { role, ..with_scope(&producer, scope)? })
    }

    async fn producer(&self, key: Option<&str>, scope: Scope) -> Result<Actor, Refusal> {
        with_scope(&*self.identify(key.unwrap_or_default()).await?, scope)
    }

    async fn identify(&self, key: &str) -> Result<Arc<Producer>, Refusal> {
        if key.is_empty() {
            return Err(Refusal::unauthorized("Missing API key"));
        }
        match self.0.ingest.identify(key).await.map_err(|error| Refusal::fault(&error))? {
            Identified::Unknown => Err(Refusal::unauthorized("Invalid API key")),
            Identified::Expired => Err(Refusal::unauthorized("API key expired")),
            Identified::Producer(producer) => Ok(producer),
        }
    }
}

fn with_scope(producer: &Producer, scope: Scope) -> Result<Actor, Refusal> {
    if !producer.may(scope.name()) {
        return Err(Refusal::new(403, "missing_scope", format!("API key lacks scope {}", scope.name())));
    }
    let name = format!("key:{}", producer.key.id);
    Ok(Actor { name, role: Role::Member, tenant: Some(producer.tenant.clone()), session: None })
}

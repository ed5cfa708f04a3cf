//! What the operations need, and who may call them: tenants' users and API keys, and operators.

use crate::health::Health;
use http::header;
use http::request::Parts;
use std::sync::Arc;
use switchyard_api::{Authenticate, OrFault as _, Refusal};
use switchyard_core::{ActorId, Clock, Env, EnvError};
use switchyard_identity::api_keys::ApiKeys;
use switchyard_identity::operators::{OperatorSession, Operators};
use switchyard_identity::{Access, Caller, Denied, Role, Subject};
use switchyard_io::Aws;
use switchyard_signals::configs::ConfigDeps;
use switchyard_signals::events::EventDeps;
use switchyard_signals::receipts::ReceiptDeps;
use switchyard_signals::tenants::TenantDeps;
use switchyard_signals::trials::TrialDeps;
use switchyard_signals::users::{self, UserDeps};
use switchyard_signals::{Identified, IngestDeps, QueueDeps, Tenant, TenantId, TenantStatus};
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
    pub(crate) operators: Operators,
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
        tokio::try_join!(ingest.warm_up(), users.tokens().warm_up())?;
        Ok(Self(Arc::new(Deps {
            ingest,
            max_event_bytes,
            users,
            operators: Operators::from_env(aws, env)?,
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

/// Who calls, with what the credential stands for.
#[derive(Clone, Debug)]
pub struct Actor {
    caller: Arc<Caller>,
    session: Option<Arc<Session>>,
    tenant: Option<Arc<Tenant>>,
}

/// A person who is signed in.
#[derive(Debug)]
pub(crate) enum Session {
    User(users::Session),
    Operator(OperatorSession),
}

impl Actor {
    /// The caller in audit records.
    pub(crate) fn id(&self) -> ActorId {
        self.caller.actor()
    }

    /// The role of a tenant's user; API keys and operators have none.
    pub(crate) fn role(&self) -> Result<Role, Refusal> {
        match *self.caller {
            Caller::User { role, .. } => Ok(role),
            _ => Err(Denied::UserRequired.into()),
        }
    }

    /// Whether an operator calls.
    pub(crate) fn is_operator(&self) -> bool {
        matches!(*self.caller, Caller::Operator { .. })
    }

    /// The caller's tenant. It comes from the credential and never from the request.
    pub(crate) fn tenant(&self) -> Result<&Tenant, Refusal> {
        self.tenant.as_deref().ok_or_else(|| Refusal::new(403, "no_tenant", "An operator has no tenant of its own"))
    }

    /// The id of the caller's tenant.
    pub(crate) fn tenant_id(&self) -> Result<&TenantId, Refusal> {
        Ok(&self.tenant()?.id)
    }

    /// The session of a user or an operator; an API key has none.
    pub(crate) fn session(&self) -> Result<&Session, Refusal> {
        self.session.as_deref().ok_or_else(|| Denied::UserRequired.into())
    }
}

pub(crate) fn suspended() -> Refusal {
    Refusal::new(403, "tenant_suspended", "Tenant suspended")
}

impl Authenticate for State {
    type Caller = Actor;

    async fn authenticate(&self, parts: &Parts, access: Access) -> Result<Actor, Refusal> {
        let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let actor = match (access, header(header::AUTHORIZATION.as_str()), header(API_KEY)) {
            (Access::ApiKey(_), _, key) => self.identify_key(key.unwrap_or_default()).await?,
            (_, None, Some(key)) => self.identify_key(key).await?,
            (_, authorization, _) => self.identify_person(authorization).await?,
        };
        actor.caller.check(access)?;
        let is_suspended = actor.tenant.as_ref().is_some_and(|tenant| tenant.status != TenantStatus::Active);
        // Users of a suspended tenant may read and sign in.
        let only_reads = parts.method == http::Method::GET || access == Access::User;
        if is_suspended && !only_reads {
            return Err(suspended());
        }
        Ok(actor)
    }

    fn idempotency(&self, caller: &Actor) -> Option<(&Idempotency, String)> {
        let owner = caller.tenant_id().map_or_else(|_| caller.id().to_string(), |tenant| format!("manage {tenant}"));
        Some((&self.0.idempotency, owner))
    }
}

impl State {
    async fn identify_person(&self, authorization: Option<&str>) -> Result<Actor, Refusal> {
        let authorization = authorization.ok_or_else(|| Refusal::unauthorized("Missing Authorization header"))?;
        let invalid = || Refusal::unauthorized("Invalid token");
        let token = authorization.strip_prefix("Bearer ").ok_or_else(invalid)?;
        let claims = self.0.users.tokens().verify(token).await.or_fault()?.ok_or_else(invalid)?;
        if matches!(claims.subject, Subject::Operator(_)) {
            let session = self.0.operators.session(&claims).await.or_fault()?.ok_or_else(invalid)?;
            let caller = Caller::Operator { id: session.operator.id.clone() };
            return Ok(Actor { caller: caller.into(), session: Some(Session::Operator(session).into()), tenant: None });
        }
        let session = users::session(&self.0.users, &claims).await.or_fault()?.ok_or_else(invalid)?;
        let (user, tenant) = (&session.user, session.tenant.clone());
        let caller = Caller::User { id: user.id.clone(), tenant: user.tenant.clone(), role: user.role };
        let session = Some(Arc::new(Session::User(session)));
        Ok(Actor { caller: caller.into(), session, tenant: Some(tenant.into()) })
    }

    async fn identify_key(&self, key: &str) -> Result<Actor, Refusal> {
        if key.is_empty() {
            return Err(Refusal::unauthorized("Missing API key"));
        }
        match self.0.ingest.identify(key).await.or_fault()? {
            Identified::Unknown => Err(Refusal::unauthorized("Invalid API key")),
            Identified::Expired => Err(Refusal::unauthorized("API key expired")),
            Identified::Producer(producer) => {
                let (caller, tenant) = (producer.caller.clone(), Some(producer.tenant.clone()));
                Ok(Actor { caller, session: None, tenant })
            }
        }
    }
}

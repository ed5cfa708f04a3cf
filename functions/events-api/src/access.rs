//! Who calls, and what they may do.

use crate::answer::Failure;
use crate::ingest::{API_KEY, Ingest, suspended};
use http::{Method, header};
use switchyard_lambda::Call;
use switchyard_signals::users::{self, Session, UserDeps};
use switchyard_signals::{Role, Tenant, TenantStatus};

/// What a route asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Nothing.
    Anyone,
    /// A producer's key, which the route looks at itself.
    Producer,
    /// A user's token, of whatever role.
    User,
    /// A user of at least this role; or a key with this scope, if there is one.
    Role(Role, Option<&'static str>),
    /// A user who is an admin at least, of what is the tenant's; or somebody who runs the platform, of all.
    AdminOrOperator,
    /// Somebody who runs the platform.
    Operator,
}

/// Who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    /// `user:<id>` or `key:<id>`, for the records.
    pub actor: String,
    /// What a user may do; a key may do what its scope says.
    pub role: Role,
    session: Option<Session>,
    tenant: Option<Tenant>,
}

impl Caller {
    /// The caller's tenant. It comes from the credential and never from the request.
    pub fn tenant(&self) -> Result<&Tenant, Failure> {
        self.tenant.as_ref().ok_or_else(|| Failure::new(403, "no_tenant", "An operator has no tenant of its own"))
    }

    /// The user who is logged in; keys are nobody.
    pub fn session(&self) -> Result<&Session, Failure> {
        self.session.as_ref().ok_or_else(|| forbidden("A user's token is needed"))
    }
}

/// Finds out who calls, and whether they may.
pub async fn caller(users: &UserDeps, ingest: &Ingest, call: &Call, who: Who) -> Result<Caller, Failure> {
    let caller = match (call.header(header::AUTHORIZATION), call.headers.contains_key(API_KEY)) {
        (None, true) => by_key(ingest, call, who).await?,
        (authorization, _) => by_token(users, authorization).await?,
    };
    let may = match who {
        Who::Anyone | Who::Producer | Who::User => true,
        Who::Role(role, _) => caller.role >= role && caller.tenant.is_some(),
        Who::AdminOrOperator => caller.role >= Role::Admin,
        Who::Operator => caller.role == Role::Operator,
    };
    if !may {
        return Err(forbidden("This role may not do that"));
    }
    let is_suspended = caller.tenant.as_ref().is_some_and(|tenant| tenant.status != TenantStatus::Active);
    // Who is suspended may still look, and log in.
    if is_suspended && call.method != Method::GET && who != Who::User {
        return Err(suspended());
    }
    Ok(caller)
}

async fn by_token(users: &UserDeps, authorization: Option<&str>) -> Result<Caller, Failure> {
    let unauthorized = |message| Failure::new(401, "unauthorized", message);
    let authorization = authorization.ok_or_else(|| unauthorized("Missing Authorization header"))?;
    let token = authorization.strip_prefix("Bearer ").ok_or_else(|| unauthorized("Invalid token"))?;
    let session = users::session(users, token).await?.ok_or_else(|| unauthorized("Invalid token"))?;
    Ok(Caller {
        actor: format!("user:{}", session.user_id()),
        role: session.role(),
        tenant: session.tenant.clone(),
        session: Some(session),
    })
}

/// A key stands for what its scope says, and that only where the route names a scope.
async fn by_key(ingest: &Ingest, call: &Call, who: Who) -> Result<Caller, Failure> {
    let producer = ingest.bearer(call).await?;
    let Who::Role(role, Some(scope)) = who else { return Err(forbidden("A user's token is needed")) };
    if !producer.may(scope) {
        return Err(Failure::new(403, "missing_scope", format!("API key lacks scope {scope}")));
    }
    Ok(Caller { actor: format!("key:{}", producer.key.id), role, tenant: Some(producer.tenant.clone()), session: None })
}

fn forbidden(message: &str) -> Failure {
    Failure::new(403, "forbidden", message)
}

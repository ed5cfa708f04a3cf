//! From a call to its part.

use crate::access::{Caller, Who, caller};
use crate::answer::{Failure, identified};
use crate::body::{self, MAX_ID};
use crate::docs::Docs;
use crate::health::Health;
use crate::hooks;
use crate::ingest::Ingest;
use crate::manage::{
    Deps, Request, api_keys, auth, configs, dead_letters, deliveries, events, rules, suppressions, tenants, usage,
    users,
};
use crate::table::{Does, Op, Open, ROUTES, Route};
use futures_util::FutureExt as _;
use http::Method;
use std::panic::AssertUnwindSafe;
use switchyard_core::{Env, EnvError};
use switchyard_io::Aws;
use switchyard_lambda::{Call, Reply, once};
use switchyard_signals::{ConfigStatus, RuleStatus, TenantStatus};
use switchyard_work::idempotency::Idempotency;

/// Every route of this function.
pub struct Routes {
    ingest: Ingest,
    deps: Deps,
    keys: Idempotency,
    docs: Docs,
    health: Health,
}

impl Routes {
    /// Reads the settings of all parts, and the secrets for tokens and keys.
    ///
    /// # Errors
    /// A setting is missing or wrong, or a secret is weak or could not be had.
    pub async fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        let (ingest, deps) = (Ingest::from_env(aws, env)?, Deps::from_env(aws, env)?);
        tokio::try_join!(ingest.warm_up(), deps.users.check_secret())?;
        Ok(Self {
            ingest,
            deps,
            keys: Idempotency::from_env(aws, env, "SIGNALS_TABLE")?,
            docs: Docs::from_env(env)?,
            health: Health::from_env(aws, env)?,
        })
    }

    /// Answers one request; a panic as our own fault.
    pub async fn answer(&self, call: Call) -> Reply {
        let answered = AssertUnwindSafe(self.route(&call)).catch_unwind().await;
        let answered = answered.unwrap_or_else(|_| Err(Failure::new(500, "internal", "Internal server error")));
        identified(answered.unwrap_or_else(|failure| failure.reply(&call)), &call)
    }

    async fn route(&self, call: &Call) -> Result<Reply, Failure> {
        let path = call.origin.path.as_str();
        let found = ROUTES.iter().find_map(|route| Some((route, route.matches(&call.method, path)?)));
        let Some((route, ids)) = found else {
            return Err(Failure::new(404, "not_found", format!("Cannot {} {path}", call.method)));
        };
        match route.does {
            Does::Open(op) => self.open(call, op).await,
            Does::Guarded(op) => self.guarded(call, route, op, ids).await,
        }
    }

    async fn open(&self, call: &Call, op: Open) -> Result<Reply, Failure> {
        match op {
            Open::Docs => self.docs.page(),
            Open::DocsJson => self.docs.json(),
            Open::DocsYaml => self.docs.yaml(),
            Open::Health => Ok(Health::answer()),
            Open::Ready => Ok(self.health.ready().await),
            Open::HookCheck => hooks::whatsapp_check(&self.deps.receipts, call).await,
            Open::HookWhatsapp => hooks::whatsapp(&self.deps.receipts, call).await,
            Open::HookSes => hooks::ses(&self.deps.receipts, call).await,
            Open::TakeEvent => self.ingest.event(call).await,
            Open::TakeBatch => self.ingest.batch(call).await,
            Open::LogIn => auth::log_in(&self.deps, call).await,
        }
    }

    async fn guarded(&self, call: &Call, route: &Route, op: Op, ids: Vec<&str>) -> Result<Reply, Failure> {
        let caller = caller(&self.deps.users, &self.ingest, call, route.who).await?;
        if !ids.iter().all(|id| is_id(id)) {
            return Err(Failure::not_found());
        }
        check_shape(call, route)?;
        let request = Request { deps: &self.deps, call, caller: &caller, ids };
        if call.method != Method::POST || route.who == Who::User {
            return act(op, &request).await;
        }
        Ok(once(&self.keys, call, &owner_of_keys(&caller), || act(op, &request)).await??)
    }
}

/// Whether a call has no parameters and no body but those that its route knows.
fn check_shape(call: &Call, route: &Route) -> Result<(), Failure> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    body::query(call, route.query)?;
    match route.body {
        None if call.method != Method::GET => body::fields(call).map(|Nothing {}| ()),
        _ => Ok(()),
    }
}

/// Whether a text could be an id of anything here.
fn is_id(text: &str) -> bool {
    text.len() <= MAX_ID && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whose idempotency keys a caller's are: its tenant's, or its own.
fn owner_of_keys(caller: &Caller) -> String {
    caller.tenant().map_or_else(|_| caller.actor.clone(), |tenant| format!("manage {}", tenant.id))
}

async fn act(op: Op, request: &Request<'_>) -> Result<Reply, Failure> {
    match op {
        Op::Me => auth::me(request).await,
        Op::Password => auth::password(request).await,
        Op::TenantCreate => tenants::create(request).await,
        Op::TenantList => tenants::list(request).await,
        Op::TenantShow => tenants::show(request).await,
        Op::TenantChange => tenants::change(request).await,
        Op::TenantSuspend => tenants::set_status(request, TenantStatus::Suspended).await,
        Op::TenantActivate => tenants::set_status(request, TenantStatus::Active).await,
        Op::TenantDelete => tenants::set_status(request, TenantStatus::Deleted).await,
        Op::OwnTenant => tenants::own(request).await,
        Op::OwnTenantChange => tenants::change_own(request).await,
        Op::UserCreate => users::create(request).await,
        Op::UserList => users::list(request).await,
        Op::UserChange => users::change(request).await,
        Op::UserRemove => users::remove(request).await,
        Op::KeyCreate => api_keys::create(request).await,
        Op::KeyList => api_keys::list(request).await,
        Op::KeyShow => api_keys::find(request).await,
        Op::KeyChange => api_keys::change(request).await,
        Op::KeyRotate => api_keys::rotate(request).await,
        Op::KeyRevoke => api_keys::revoke(request).await,
        Op::RuleCreate => rules::create(request).await,
        Op::RuleList => rules::list(request).await,
        Op::RuleValidate => rules::validate(request).await,
        Op::RuleTestDocument => rules::test_document(request).await,
        Op::RuleShow => rules::find(request).await,
        Op::RuleReplace => rules::replace(request).await,
        Op::RulePause => rules::set_status(request, RuleStatus::Paused).await,
        Op::RuleResume => rules::set_status(request, RuleStatus::Active).await,
        Op::RuleArchive => rules::set_status(request, RuleStatus::Archived).await,
        Op::RuleTest => rules::test(request).await,
        Op::RuleVersions => rules::versions(request).await,
        Op::RuleVersion => rules::version(request).await,
        Op::RuleActivate => rules::activate(request).await,
        Op::ConfigCreate => configs::create(request).await,
        Op::ConfigList => configs::list(request).await,
        Op::ConfigShow => configs::find(request).await,
        Op::ConfigReplace => configs::replace(request).await,
        Op::ConfigRemove => configs::remove(request).await,
        Op::ConfigEnable => configs::set_status(request, ConfigStatus::Active).await,
        Op::ConfigDisable => configs::set_status(request, ConfigStatus::Disabled).await,
        Op::ConfigTest => configs::test(request).await,
        Op::EventList => events::list(request).await,
        Op::EventShow => events::find(request).await,
        Op::EventReplay => events::replay(request).await,
        Op::DeliveryList => deliveries::list(request).await,
        Op::DeliveryShow => deliveries::find(request).await,
        Op::DeliveryRetry => deliveries::retry(request).await,
        Op::LetterList => dead_letters::list(request).await,
        Op::LetterShow => dead_letters::find(request).await,
        Op::LetterRemove => dead_letters::remove(request).await,
        Op::LetterRedrive => dead_letters::redrive(request).await,
        Op::LetterRedriveAll => dead_letters::redrive_all(request).await,
        Op::SuppressionList => suppressions::list(request).await,
        Op::SuppressionRemove => suppressions::remove(request).await,
        Op::Usage => usage::show(request).await,
        Op::UsageExport => usage::file(request).await,
    }
}

//! Making tenants and changing them.

mod purge;
pub(crate) mod row;
pub(crate) mod view;

use crate::audit::Audit;
use crate::error::SignalsError;
use crate::ids::{ActorId, TenantId, UserId};
use crate::manage::tenants::row::{Plan, TenantStatus};
use crate::manage::tenants::row::{Tenant, TenantChange};
use crate::table::SignalsTable;

use crate::view::TenantView;
use serde_json::{Map, Value, json};
use switchyard_core::{Clock, Env, EnvError};
use switchyard_identity::api_keys::ApiKeyRecord;
use switchyard_identity::{NewUser, User, Users};
use switchyard_io::dynamo::{DynamoError, Write};
use switchyard_io::{Aws, Table};
use switchyard_rules::Path;

/// Attempts at a change that others get in the way of.
const ATTEMPTS: u32 = 5;

/// Most rows that a tenant's usage may be spread over.
pub const MAX_USAGE_SHARDS: u32 = 64;

/// Most events that a tenant may be held to within a second: they are counted on one row, which takes so many writes.
pub const MAX_RATE: u32 = 1_000;

/// Most paths that are hidden from readers of a tenant's events.
pub const MAX_REDACTED: usize = 50;

/// In a tenant's metadata: the addresses and domains that it may send mail from over SES.
pub const SES_IDENTITIES: &str = "sesIdentities";

/// What only operators set in a tenant's metadata: who is billed, and who it may send mail as. Each with its field's name.
const OPERATORS_OWN: [(&str, &str); 3] = [
    ("stripeCustomerId", "metadata.stripeCustomerId"),
    ("lagoSubscriptionId", "metadata.lagoSubscriptionId"),
    (SES_IDENTITIES, "metadata.sesIdentities"),
];

/// What managing tenants needs.
#[derive(Clone)]
pub struct TenantDeps {
    pub(crate) store: SignalsTable,
    pub(crate) clock: Clock,
}

impl TenantDeps {
    /// Reads `SIGNALS_TABLE`.
    ///
    /// # Errors
    /// The setting is missing.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self { store: SignalsTable::new(Table::from_env(aws, env, "SIGNALS_TABLE")?), clock: Clock::system() })
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }
}

/// What to change about a tenant; `None` leaves a setting as it is.
#[derive(Clone, Debug, Default)]
pub struct TenantEdit {
    /// What people call it.
    pub name: Option<String>,
    /// Whether it may do anything.
    pub status: Option<TenantStatus>,
    /// What it pays for.
    pub plan: Option<Plan>,
    /// `Some(None)` for no limit; at most the hard limit.
    pub monthly_soft_limit: Option<Option<u64>>,
    /// `Some(None)` for no limit.
    pub monthly_hard_limit: Option<Option<u64>>,
    /// 1 to [`MAX_RATE`]; `Some(None)` for no limit.
    pub rate_per_second: Option<Option<u32>>,
    /// 1 to [`MAX_USAGE_SHARDS`].
    pub usage_shards: Option<u32>,
    /// A JSON object.
    pub metadata: Option<Option<String>>,
    /// The metadata but for what is the operators' (who is billed, who it may send mail as), which stays as it is.
    pub own_metadata: Option<Map<String, Value>>,
    /// Addresses and domains that mail over SES is sent from, in the metadata; the rest of it stays.
    pub ses_identities: Option<Vec<String>>,
    /// Paths below `payload` that readers of events do not see, at most [`MAX_REDACTED`].
    pub redact: Option<Vec<String>>,
}

/// Creates a tenant, with its first user if one is named; `None` when another tenant has the slug. `actor` is the caller's name.
///
/// # Errors
/// Limits that contradict each other, and paths that are none, are refused; DynamoDB could not be reached.
pub async fn create(
    deps: &TenantDeps,
    actor: &ActorId,
    slug: &str,
    name: &str,
    edit: &TenantEdit,
    owner: Option<&NewUser>,
) -> Result<Option<Tenant>, SignalsError> {
    let now = deps.clock.now();
    let mut tenant = Tenant::new(&deps.clock.new_id().to_string().into(), slug, name, now);
    apply(&mut tenant, edit)?;
    if let (None, Some(hard)) = (edit.monthly_soft_limit, tenant.monthly_hard_limit) {
        // The default soft limit must not exceed a hard limit that was set.
        tenant.monthly_soft_limit = tenant.monthly_soft_limit.map(|soft| soft.min(hard));
    }
    check(&tenant)?;
    let mut writes = vec![record(deps, actor, "tenant.create", None, &tenant)?];
    if let Some(owner) = owner {
        let user = User::new(&tenant.id, &UserId::from(deps.clock.new_id().to_string()), owner, now).await?;
        writes.extend(Users::new(deps.store.table().clone()).creation(&user)?);
    }
    Ok(deps.store.add_tenant(&tenant, writes).await?.then_some(tenant))
}

impl TenantDeps {
    /// The write that keeps the record of what is done with one of a tenant's keys, to be made with it.
    ///
    /// # Errors
    /// The record cannot be written as a row.
    pub fn record_of_key(&self, actor: &ActorId, action: &str, key: &ApiKeyRecord) -> Result<Vec<Write>, DynamoError> {
        let after = json!({"label": key.label, "prefix": key.prefix, "scopes": key.scopes, "expiresAt": key.ends_at()});
        let audit = Audit {
            tenant: key.tenant.as_str(),
            actor,
            action,
            subject: key.id.as_str(),
            before: None,
            after: Some(&after),
        };
        Ok(vec![self.store.audit(audit, self.clock.now())?])
    }
}

fn record(
    deps: &TenantDeps,
    actor: &ActorId,
    action: &str,
    before: Option<&Tenant>,
    after: &Tenant,
) -> Result<Write, SignalsError> {
    let (before, shown) = (before.map(|tenant| json!(TenantView::of(tenant))), json!(TenantView::of(after)));
    let audit = Audit {
        tenant: after.id.as_str(),
        actor,
        action,
        subject: after.id.as_str(),
        before: before.as_ref(),
        after: Some(&shown),
    };
    Ok(deps.store.audit(audit, deps.clock.now())?)
}

/// A tenant by its id.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn tenant(deps: &TenantDeps, id: &TenantId) -> Result<Option<Tenant>, SignalsError> {
    deps.store.tenant(id).await
}

/// A tenant by its slug.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn tenant_by_slug(deps: &TenantDeps, slug: &str) -> Result<Option<Tenant>, SignalsError> {
    deps.store.tenant_by_slug(slug).await
}

/// At most `limit` tenants in no order that means anything, from `cursor` on, and the cursor of the next page, which may turn
/// out to be empty.
///
/// # Errors
/// [`SignalsError::Refused`] names `cursor` when that is none of ours; else DynamoDB could not be reached.
pub async fn list(
    deps: &TenantDeps,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<Tenant>, Option<String>), SignalsError> {
    let page = deps.store.tenants(cursor, limit).await?;
    page.ok_or_else(|| SignalsError::refused("cursor", "is not valid; use `nextCursor` of an earlier page"))
}

/// Changes a tenant; `None` when there is none. Processes that know it act on the change within a minute; its hard limit and
/// the number of its shards are in force at once, and never exceeded in the meantime.
///
/// # Errors
/// Limits that contradict each other and paths that are none are refused, and so is another status of a tenant that is deleted;
/// DynamoDB could not be reached, or others kept changing it.
pub async fn change(
    deps: &TenantDeps,
    actor: &ActorId,
    id: &TenantId,
    edit: &TenantEdit,
) -> Result<Option<Tenant>, SignalsError> {
    for attempt in 0..ATTEMPTS {
        let Some(before) = deps.store.tenant(id).await? else { return Ok(None) };
        let mut after = before.clone();
        apply(&mut after, edit)?;
        check(&after)?;
        // The write is conditional on the tenant as read here, so that a deleted tenant stays deleted.
        if before.status == TenantStatus::Deleted && after.status != before.status {
            return Err(SignalsError::TenantDeleted);
        }
        let quota = |tenant: &Tenant| (tenant.monthly_hard_limit, tenant.usage_shards);
        let (now, edit) = (deps.clock.now(), |tenant: &mut Tenant| *tenant = after.clone());
        let record = |after: &Tenant| record(deps, actor, "tenant.change", Some(&before), after);
        let change = match quota(&after) == quota(&before) {
            true => deps.store.change_tenant(&before, now, edit, record).await?,
            false => deps.store.change_quota(&before, now, attempt > 0, edit, record).await?,
        };
        match change {
            TenantChange::Done(after) => return Ok(Some(*after)),
            TenantChange::Stale => {}
        }
    }
    Err(SignalsError::Contended { what: "the tenant" })
}

/// What there is of a tenant's metadata.
fn metadata(tenant: &Tenant) -> Map<String, Value> {
    tenant.metadata.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn apply(tenant: &mut Tenant, edit: &TenantEdit) -> Result<(), SignalsError> {
    if let Some(name) = &edit.name {
        tenant.name.clone_from(name);
    }
    tenant.status = edit.status.unwrap_or(tenant.status);
    tenant.plan = edit.plan.unwrap_or(tenant.plan);
    tenant.monthly_soft_limit = edit.monthly_soft_limit.unwrap_or(tenant.monthly_soft_limit);
    tenant.monthly_hard_limit = edit.monthly_hard_limit.unwrap_or(tenant.monthly_hard_limit);
    tenant.rate_per_second = edit.rate_per_second.unwrap_or(tenant.rate_per_second);
    tenant.set_usage_shards(edit.usage_shards.unwrap_or(tenant.usage_shards).clamp(1, MAX_USAGE_SHARDS));
    if let Some(metadata) = &edit.metadata {
        tenant.metadata.clone_from(metadata);
    }
    if let Some(own) = &edit.own_metadata {
        let (known, mut metadata) = (metadata(tenant), own.clone());
        for (name, field) in OPERATORS_OWN {
            match (own.get(name), known.get(name)) {
                (Some(given), kept) if Some(given) != kept => {
                    return Err(SignalsError::refused(field, "is set by operators only"));
                }
                (None, Some(kept)) => drop(metadata.insert(name.to_owned(), kept.clone())),
                _ => {}
            }
        }
        tenant.metadata = Some(Value::Object(metadata).to_string());
    }
    if let Some(identities) = &edit.ses_identities {
        let mut metadata = metadata(tenant);
        metadata.insert(SES_IDENTITIES.to_owned(), json!(identities));
        tenant.metadata = Some(Value::Object(metadata).to_string());
    }
    if let Some(redact) = &edit.redact {
        tenant.redact.clone_from(redact);
    }
    Ok(())
}

/// What readers of a tenant's events do not see.
pub(crate) fn hidden(tenant: &Tenant) -> Result<Vec<Path>, SignalsError> {
    let read = |text: &String| match Path::parse(text) {
        Ok(path) if path.is_below_payload() => Ok(path),
        Ok(_) => Err(SignalsError::refused("redact", format!("must name what is in payload; {text:?} does not"))),
        Err(why) => Err(SignalsError::refused("redact", format!("must hold paths; {text:?} is none: {why}"))),
    };
    tenant.redact.iter().map(read).collect()
}

/// Whether a tenant may send mail from an address over SES, which sends for everybody in the account: the address or its
/// domain has to be among the tenant's own.
pub(crate) fn may_send_from(tenant: &Tenant, address: &str) -> bool {
    let (metadata, domain) = (metadata(tenant), address.rsplit('@').next().unwrap_or_default());
    let identities = metadata.get(SES_IDENTITIES).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut identities = identities.iter().filter_map(Value::as_str);
    identities.any(|known| known.eq_ignore_ascii_case(address) || known.eq_ignore_ascii_case(domain))
}

fn check(tenant: &Tenant) -> Result<(), SignalsError> {
    if tenant.rate_per_second.is_some_and(|rate| !(1..=MAX_RATE).contains(&rate)) {
        return Err(SignalsError::refused("ratePerSecond", format!("must be 1 to {MAX_RATE}, or null")));
    }
    if tenant.redact.len() > MAX_REDACTED {
        return Err(SignalsError::refused("redact", format!("must have at most {MAX_REDACTED} paths")));
    }
    hidden(tenant)?;
    let identities = metadata(tenant).remove(SES_IDENTITIES).unwrap_or_else(|| json!([]));
    let is_identity = |identity: &Value| {
        identity.as_str().is_some_and(|text| {
            let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'*';
            text.contains('.') && text.bytes().all(is_plain)
        })
    };
    if !identities.as_array().is_some_and(|identities| identities.iter().all(is_identity)) {
        return Err(SignalsError::refused("metadata.sesIdentities", "must be a list of addresses and domains"));
    }
    match (tenant.monthly_soft_limit, tenant.monthly_hard_limit) {
        (Some(soft), Some(hard)) if soft > hard => {
            Err(SignalsError::refused("monthlySoftLimit", format!("must be at most the hard limit, {hard}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_core::Timestamp;

    #[test]
    fn mail_is_sent_from_a_tenants_own_addresses_and_domains_alone() {
        let mut tenant = Tenant::new(&"1".into(), "acme", "Acme", Timestamp::UNIX_EPOCH);
        assert!(!may_send_from(&tenant, "a@acme.test"));
        tenant.metadata = Some(r#"{"sesIdentities": ["acme.test", "news@example.com", 7]}"#.to_owned());
        for (address, may) in [
            ("a@acme.test", true),
            ("B@ACME.test", true),
            ("news@example.com", true),
            ("other@example.com", false),
            ("a@sub.acme.test", false),
            ("a@notacme.test", false),
            ("acme.test@example.com", false),
        ] {
            assert_eq!(may_send_from(&tenant, address), may, "{address}");
        }
    }
}

use super::{Store, tenant_partition};
use crate::error::SignalsError;
use crate::model::{Plan, TenantStatus};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use switchyard_io::dynamo::{Changes, IntoAttribute as _, Key, Transact, Write};

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    pk: String,
    sk: String,
    /// Changes with every write.
    pub(crate) version: i64,
    /// UUID v7.
    pub id: String,
    /// Its short name; nobody else has it.
    pub slug: String,
    /// What people call it.
    pub name: String,
    /// Whether it may do anything.
    pub status: TenantStatus,
    /// What it pays for.
    pub plan: Plan,
    /// Events a month beyond which it is warned; absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly_soft_limit: Option<u64>,
    /// Events a month that are taken at most; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly_hard_limit: Option<u64>,
    /// Rows that its events are counted on.
    pub usage_shards: u32,
    /// The most it ever had: past months are still there.
    #[serde(default)]
    most_usage_shards: u32,
    /// JSON, as it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

impl Tenant {
    /// A tenant with the limits of the service this one replaces.
    pub(crate) fn new(id: &str, slug: &str, name: &str, now: Timestamp) -> Self {
        let Key { pk, sk } = tenant_key(id);
        Self {
            pk,
            sk,
            version: 1,
            id: id.to_owned(),
            slug: slug.to_owned(),
            name: name.to_owned(),
            status: TenantStatus::Active,
            plan: Plan::Free,
            monthly_soft_limit: Some(100_000),
            monthly_hard_limit: Some(120_000),
            usage_shards: 1,
            most_usage_shards: 1,
            metadata: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// Sets the rows that its events are counted on.
    pub(crate) fn set_usage_shards(&mut self, shards: u32) {
        self.most_usage_shards = self.shards_to_read().max(shards);
        self.usage_shards = shards;
    }

    /// The rows that its events may have been counted on.
    pub(crate) fn shards_to_read(&self) -> u32 {
        self.most_usage_shards.max(self.usage_shards).max(1)
    }
}

/// What became of a change.
pub(crate) enum TenantChange {
    Done(Box<Tenant>),
    /// Another change came first.
    Stale,
}

#[derive(Serialize, Deserialize)]
struct SlugRow {
    pk: String,
    sk: String,
    tenant: String,
}

fn tenant_key(id: &str) -> Key {
    Key { pk: tenant_partition(id), sk: "META".into() }
}

fn slug_key(slug: &str) -> Key {
    Key { pk: format!("SLUG#{slug}"), sk: "-".into() }
}

impl Store {
    pub(crate) async fn tenant(&self, id: &str) -> Result<Option<Tenant>, SignalsError> {
        self.get(&tenant_key(id)).await
    }

    pub(crate) async fn tenant_by_slug(&self, slug: &str) -> Result<Option<Tenant>, SignalsError> {
        match self.get::<SlugRow>(&slug_key(slug)).await? {
            Some(row) => self.tenant(&row.tenant).await,
            None => Ok(None),
        }
    }

    /// Writes a tenant with its slug, and `with` it; `false` when the slug is taken.
    pub(crate) async fn add_tenant(&self, tenant: &Tenant, with: Vec<Write>) -> Result<bool, SignalsError> {
        let Key { pk, sk } = slug_key(&tenant.slug);
        let slug = SlugRow { pk, sk, tenant: tenant.id.clone() };
        let mut writes = vec![Write::Create(self.table.to_item(&slug)?), Write::Create(self.table.to_item(tenant)?)];
        writes.extend(with);
        Ok(matches!(self.table.transact(writes).await?, Transact::Done))
    }

    /// Replaces a tenant as it was read.
    pub(crate) async fn change_tenant(
        &self,
        before: &Tenant,
        now: Timestamp,
        edit: impl FnOnce(&mut Tenant),
        record: impl FnOnce(&Tenant) -> Result<Write, SignalsError>,
    ) -> Result<TenantChange, SignalsError> {
        let (after, write) = self.replaced(before, now, edit)?;
        let record = record(&after)?;
        Ok(match self.table.transact(vec![write, record]).await? {
            Transact::Done => TenantChange::Done(Box::new(after)),
            Transact::Refused { .. } => TenantChange::Stale,
        })
    }

    /// A tenant with its changes, and the write that makes them if it still is as it was read.
    pub(super) fn replaced(
        &self,
        before: &Tenant,
        now: Timestamp,
        edit: impl FnOnce(&mut Tenant),
    ) -> Result<(Tenant, Write), SignalsError> {
        let mut after = before.clone();
        edit(&mut after);
        after.version = before.version + 1;
        after.updated_at = now;
        let condition = Changes::new().only_if("#version = ?", [before.version.into_attribute()]);
        let write = Write::PutIf(self.table.to_item(&after)?, condition);
        Ok((after, write))
    }
}

//! The row of a tenant, by id, by slug, and in the list of all.

use crate::error::SignalsError;
use crate::ids::TenantId;
use crate::table::{SignalsTable, WORKFLOW, tenant_partition};

use futures_util::future::try_join_all;
use jiff::Timestamp;
use jiff::tz::Offset;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_core::{hex_sha256, random, shard_of};
use switchyard_io::dynamo::{Changes, Index, IntoAttribute as _, Item, Key, Page, Transact, Write};
use switchyard_work::outbox::{self, Due};

/// What a tenant pays for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Plan {
    /// Events are kept for 30 days.
    #[default]
    Free,
    /// 180 days.
    Pro,
    /// 400 days.
    Enterprise,
}

impl Plan {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Pro => "pro",
            Self::Enterprise => "enterprise",
        }
    }

    /// Days that events are kept.
    pub fn kept_days(self) -> i64 {
        match self {
            Self::Free => 30,
            Self::Pro => 180,
            Self::Enterprise => 400,
        }
    }
}

/// Whether a tenant may do anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TenantStatus {
    /// It may.
    #[default]
    Active,
    /// Its events are refused and its rules not evaluated.
    Suspended,
    /// Nor can it come back; what it has is removed after 30 days.
    Deleted,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    pk: String,
    sk: String,
    /// Changes with every write.
    pub(crate) version: i64,
    /// UUID v7.
    pub id: TenantId,
    /// Its unique short name.
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
    /// Most events a month; absent for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly_hard_limit: Option<u64>,
    /// Most events a second; absent for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_second: Option<u32>,
    /// Rows that its events are counted on.
    pub usage_shards: u32,
    /// The most it ever had: past months are still there.
    #[serde(default)]
    most_usage_shards: u32,
    /// JSON, as it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// Paths into payloads; readers of events see `***` there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redact: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// When it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
}

impl Tenant {
    /// A tenant with the limits of the service this one replaces.
    pub(crate) fn new(id: &TenantId, slug: &str, name: &str, now: Timestamp) -> Self {
        let Key { pk, sk } = tenant_key(id);
        Self {
            pk,
            sk,
            version: 1,
            id: id.clone(),
            slug: slug.to_owned(),
            name: name.to_owned(),
            status: TenantStatus::Active,
            plan: Plan::Free,
            monthly_soft_limit: Some(100_000),
            monthly_hard_limit: Some(120_000),
            rate_per_second: None,
            usage_shards: 1,
            most_usage_shards: 1,
            metadata: None,
            redact: Vec::new(),
            created_at: now,
            updated_at: now,
            deleted_at: None,
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

/// Outcome of a change.
pub(crate) enum TenantChange {
    Done(Box<Tenant>),
    /// Another change came first.
    Stale,
}

/// Partitions of the list of all tenants.
const LIST_SHARDS: u32 = 4;

/// The hour of the night, UTC, from which usage is compared with events, and the seconds that tenants are spread over.
const NIGHT: i8 = 2;
const NIGHT_SECONDS: u64 = 3_600;

/// A tenant in the list of all. It is due each night, when its usage is compared with its events.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TenantEntry {
    pk: String,
    sk: String,
    pub(crate) id: TenantId,
    /// Until when its usage was compared.
    pub(crate) reconciled_to: Timestamp,
    #[serde(flatten)]
    due: Due,
}

impl TenantEntry {
    fn new(tenant: &Tenant) -> Self {
        let digest = hex_sha256(&[tenant.id.as_str()]);
        Self {
            pk: list_partition(shard_of(&digest, LIST_SHARDS)),
            sk: tenant.id.to_string(),
            id: tenant.id.clone(),
            reconciled_to: tenant.created_at,
            due: Due::at(WORKFLOW, &digest, next_night(tenant.created_at).as_millisecond()),
        }
    }

    pub(crate) fn key(&self) -> Key {
        Key { pk: self.pk.clone(), sk: self.sk.clone() }
    }
}

fn list_partition(shard: u32) -> String {
    format!("TENANTS#{shard}")
}

/// Some time of the night that follows `now`.
fn next_night(now: Timestamp) -> Timestamp {
    let tomorrow = Offset::UTC.to_datetime(now).date().tomorrow();
    let night = tomorrow.and_then(|day| Offset::UTC.to_timestamp(day.at(NIGHT, 0, 0, 0)));
    night.unwrap_or(now) + Duration::from_secs(random::below(NIGHT_SECONDS))
}

#[derive(Serialize, Deserialize)]
struct SlugRow {
    pk: String,
    sk: String,
    tenant: TenantId,
}

pub(crate) fn tenant_key(id: &TenantId) -> Key {
    Key { pk: tenant_partition(id), sk: "META".into() }
}

pub(crate) fn slug_key(slug: &str) -> Key {
    Key { pk: format!("SLUG#{slug}"), sk: "-".into() }
}

impl SignalsTable {
    pub(crate) async fn tenant(&self, id: &TenantId) -> Result<Option<Tenant>, SignalsError> {
        self.get(&tenant_key(id)).await
    }

    pub(crate) async fn tenant_by_slug(&self, slug: &str) -> Result<Option<Tenant>, SignalsError> {
        match self.get::<SlugRow>(&slug_key(slug)).await? {
            Some(row) => self.tenant(&row.tenant).await,
            None => Ok(None),
        }
    }

    /// Creates a tenant with its slug, with further writes in the same transaction; `false` when another tenant has the slug.
    pub(crate) async fn add_tenant(&self, tenant: &Tenant, with: Vec<Write>) -> Result<bool, SignalsError> {
        let Key { pk, sk } = slug_key(&tenant.slug);
        let slug = SlugRow { pk, sk, tenant: tenant.id.clone() };
        let mut writes = vec![
            Write::Create(self.table.to_item(&slug)?),
            Write::Create(self.table.to_item(tenant)?),
            Write::Put(self.table.to_item(&TenantEntry::new(tenant))?),
        ];
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
    pub(crate) fn replaced(
        &self,
        before: &Tenant,
        now: Timestamp,
        edit: impl FnOnce(&mut Tenant),
    ) -> Result<(Tenant, Write), SignalsError> {
        let mut after = before.clone();
        edit(&mut after);
        after.version = before.version + 1;
        after.updated_at = now;
        if after.status == TenantStatus::Deleted {
            after.deleted_at = after.deleted_at.or(Some(now));
        }
        let condition = Changes::new().only_if("#version = ?", [before.version.into_attribute()]);
        let write = Write::PutIf(self.table.to_item(&after)?, condition);
        Ok((after, write))
    }

    /// At most `limit` tenants of the list of all, after `cursor`, and the cursor for the next page, which may be empty. `None`
    /// when the cursor is none.
    pub(crate) async fn tenants(
        &self,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Option<(Vec<Tenant>, Option<String>)>, SignalsError> {
        let Some((mut shard, mut last)) = read_cursor(cursor.unwrap_or("0:")) else { return Ok(None) };
        let mut ids = Vec::new();
        while shard < LIST_SHARDS && ids.len() < limit {
            let hash = list_partition(shard);
            let after = last.as_ref().map(|id| position(&hash, id));
            let most = i32::try_from(limit - ids.len()).unwrap_or(i32::MAX);
            let page = Page { index: Index::Table, hash, range: None, newest_first: false, limit: most, after };
            let (items, more) = self.table.page(page).await?;
            for item in items {
                ids.push(self.table.read::<TenantEntry>(item)?.id);
            }
            match more {
                Some(_) => last = ids.last().map(TenantId::to_string),
                None => (shard, last) = (shard + 1, None),
            }
        }
        let tenants = try_join_all(ids.iter().map(|id| self.tenant(id))).await?;
        let next = (shard < LIST_SHARDS).then(|| format!("{shard}:{}", last.unwrap_or_default()));
        Ok(Some((tenants.into_iter().flatten().collect(), next)))
    }

    /// Writes until when a tenant's usage was compared with its events.
    pub(crate) async fn reconciled_to(&self, entry: &TenantEntry, to: Timestamp) -> Result<(), SignalsError> {
        let changes = Changes::new().set("reconciled_to", to.to_string()).only_if("attribute_exists(#pk)", []);
        self.table.update(&entry.key(), changes).await?;
        Ok(())
    }

    /// Makes it due again the next night.
    pub(crate) async fn due_next_night(&self, entry: &TenantEntry, now: Timestamp) -> Result<(), SignalsError> {
        self.due_at(entry, next_night(now)).await
    }

    /// Makes it due again at that time.
    pub(crate) async fn due_at(&self, entry: &TenantEntry, at: Timestamp) -> Result<(), SignalsError> {
        let due = Due::at(WORKFLOW, &hex_sha256(&[entry.id.as_str()]), at.as_millisecond());
        let changes = outbox::marked(Changes::new(), due).only_if("attribute_exists(#pk)", []);
        self.table.update(&entry.key(), changes).await?;
        Ok(())
    }
}

/// A shard and the id after which to go on.
fn read_cursor(text: &str) -> Option<(u32, Option<String>)> {
    let (shard, id) = text.split_once(':')?;
    Some((shard.parse().ok()?, Some(id.to_owned()).filter(|id| !id.is_empty())))
}

fn position(pk: &str, sk: &str) -> Item {
    Item::from([("pk".to_owned(), pk.into_attribute()), ("sk".to_owned(), sk.into_attribute())])
}

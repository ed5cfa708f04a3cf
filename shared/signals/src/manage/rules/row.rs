//! The row of a rule, and of its versions.

use crate::error::SignalsError;
use crate::ids::{RuleId, TenantId};
use crate::table::{SignalsTable, tenant_partition};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchyard_io::dynamo::{Changes, Index, IntoAttribute as _, Key, Page, Transact, Write};

/// Whether a rule is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuleStatus {
    /// It is.
    Active,
    /// It is not, for now.
    Paused,
    /// Nor will it be again.
    Archived,
}

/// A rule with the document in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RuleRow {
    pub(crate) pk: String,
    pub(crate) sk: String,
    /// Changes with every write.
    pub(crate) lock: i64,
    pub(crate) id: RuleId,
    pub(crate) status: RuleStatus,
    /// The version in force.
    pub(crate) version: u64,
    /// The highest version there is.
    pub(crate) newest: u64,
    /// That version's document, as JSON.
    pub(crate) document: String,
    /// What that document's patterns may take once they are compiled.
    #[serde(default)]
    pub(crate) pattern_bytes: usize,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

impl RuleRow {
    pub(crate) fn new(tenant: &TenantId, id: &RuleId, status: RuleStatus, document: &str, now: Timestamp) -> Self {
        let Key { pk, sk } = rule_key(tenant, id);
        Self {
            pk,
            sk,
            lock: 1,
            id: id.clone(),
            status,
            version: 1,
            newest: 1,
            document: document.to_owned(),
            pattern_bytes: 0,
            created_at: now,
            updated_at: now,
        }
    }
}

/// One version of a rule; it never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionRow {
    pk: String,
    sk: String,
    pub(crate) version: u64,
    pub(crate) document: String,
    pub(crate) created_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct RulesetRow {
    rev: i64,
}

/// Outcome of [`SignalsTable::change_rule`].
pub(crate) enum RuleChange {
    Done,
    /// The rule is not any more as it was read.
    Stale,
    /// The tenant's other rules are not.
    OthersChanged,
}

/// The highest number that sorts as text.
const LAST_VERSION: u64 = 99_999;

fn rule_key(tenant: &TenantId, id: &RuleId) -> Key {
    Key { pk: tenant_partition(tenant), sk: format!("RULE#{id}") }
}

fn version_key(tenant: &TenantId, id: &RuleId, version: u64) -> Key {
    Key { pk: tenant_partition(tenant), sk: format!("RULEV#{id}#{version:05}") }
}

fn ruleset_key(tenant: &TenantId) -> Key {
    Key { pk: tenant_partition(tenant), sk: "RULESET".into() }
}

impl SignalsTable {
    pub(crate) async fn rule(&self, tenant: &TenantId, id: &RuleId) -> Result<Option<RuleRow>, SignalsError> {
        self.get(&rule_key(tenant, id)).await
    }

    pub(crate) async fn rules(&self, tenant: &TenantId) -> Result<Vec<RuleRow>, SignalsError> {
        let items = self.table.rows(&tenant_partition(tenant), "RULE#").await?;
        Ok(items.into_iter().map(|item| self.table.read(item)).collect::<Result<_, _>>()?)
    }

    pub(crate) async fn rule_version(
        &self,
        tenant: &TenantId,
        id: &RuleId,
        version: u64,
    ) -> Result<Option<VersionRow>, SignalsError> {
        self.get(&version_key(tenant, id, version)).await
    }

    /// At most `limit` of a rule's versions, newest first, from below `before` on, and whether there are more.
    pub(crate) async fn rule_versions(
        &self,
        tenant: &TenantId,
        id: &RuleId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<(Vec<VersionRow>, bool), SignalsError> {
        let last = before.map_or(LAST_VERSION, |before| before.saturating_sub(1).min(LAST_VERSION));
        let sort_key = |version| version_key(tenant, id, version).sk.into_attribute();
        let page = Page {
            index: Index::Table,
            hash: tenant_partition(tenant),
            range: Some((sort_key(0), sort_key(last))),
            newest_first: true,
            limit: i32::try_from(limit + 1).unwrap_or(i32::MAX),
            after: None,
        };
        let (items, more) = self.table.page(page).await?;
        let rows = items.into_iter().map(|item| self.table.read(item)).collect::<Result<Vec<_>, _>>()?;
        let has_more = more.is_some() || rows.len() > limit;
        Ok((rows.into_iter().take(limit).collect(), has_more))
    }

    /// A number that grows with every change of the tenant's rules and notification configs.
    pub(crate) async fn ruleset_rev(&self, tenant: &TenantId) -> Result<i64, SignalsError> {
        Ok(self.get::<RulesetRow>(&ruleset_key(tenant)).await?.map_or(0, |row| row.rev))
    }

    /// The write that says so.
    pub(crate) fn touch_ruleset(tenant: &TenantId) -> Write {
        Write::Update(ruleset_key(tenant), Changes::new().add("rev", 1))
    }

    /// The same, if nothing of that changed since `rev`.
    fn touch_ruleset_at(tenant: &TenantId, rev: i64) -> Write {
        let unchanged = match rev {
            0 => Changes::new().only_if("attribute_not_exists(#rev)", []),
            rev => Changes::new().only_if("#rev = ?", [rev.into_attribute()]),
        };
        Write::Update(ruleset_key(tenant), unchanged.add("rev", 1))
    }

    /// Writes a rule that is new, with its first version and the record of that; `false` when the tenant's rules are not any
    /// more as they were at `rev`.
    pub(crate) async fn add_rule(
        &self,
        tenant: &TenantId,
        rule: &RuleRow,
        rev: i64,
        record: Write,
    ) -> Result<bool, SignalsError> {
        let writes = vec![
            Self::touch_ruleset_at(tenant, rev),
            record,
            Write::Create(self.table.to_item(rule)?),
            Write::Create(self.table.to_item(&version_row(tenant, rule, &rule.document, rule.newest))?),
        ];
        Ok(matches!(self.table.transact(writes).await?, Transact::Done))
    }

    /// Replaces a rule as it was read, in a set of rules that is as it was at `rev`, if that is given. With `is_new_version` its
    /// document becomes the newest version.
    pub(crate) async fn change_rule(
        &self,
        tenant: &TenantId,
        before: &RuleRow,
        after: &RuleRow,
        is_new_version: bool,
        rev: Option<i64>,
        record: Write,
    ) -> Result<RuleChange, SignalsError> {
        let is_same = Changes::new().only_if("#lock = ?", [before.lock.into_attribute()]);
        let after = RuleRow { lock: before.lock + 1, ..after.clone() };
        // Of an archived rule the versions stay; no evaluation reads past it.
        let head = match after.status {
            RuleStatus::Archived => Write::Delete(rule_key(tenant, &after.id), is_same),
            RuleStatus::Active | RuleStatus::Paused => Write::PutIf(self.table.to_item(&after)?, is_same),
        };
        let touched = rev.map_or_else(|| Self::touch_ruleset(tenant), |rev| Self::touch_ruleset_at(tenant, rev));
        let mut writes = vec![head, touched, record];
        if is_new_version {
            let version = version_row(tenant, &after, &after.document, after.newest);
            writes.push(Write::Create(self.table.to_item(&version)?));
        }
        Ok(match self.table.transact(writes).await? {
            Transact::Done => RuleChange::Done,
            Transact::Refused { index: 1, .. } => RuleChange::OthersChanged,
            Transact::Refused { .. } => RuleChange::Stale,
        })
    }
}

fn version_row(tenant: &TenantId, rule: &RuleRow, document: &str, version: u64) -> VersionRow {
    let Key { pk, sk } = version_key(tenant, &rule.id, version);
    VersionRow { pk, sk, version, document: document.to_owned(), created_at: rule.updated_at }
}

//! The row of a notification config.

use crate::error::SignalsError;
use crate::ids::{ConfigId, TenantId};
use crate::table::{SignalsTable, tenant_partition};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use switchyard_io::dynamo::{Changes, IntoAttribute as _, Key, Transact, Update, Write};
use switchyard_io::reseal::{SealedColumn, Shape, text};
use switchyard_io::vault::Sealed;
use switchyard_notify::Channel;
use switchyard_work::circuit::Circuit;
use switchyard_work::idempotency;

/// Whether anything is sent with a config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConfigStatus {
    /// It is.
    Active,
    /// Its owner switched it off.
    Disabled,
    /// Its provider refuses it; editing or enabling it clears the error.
    Error,
}

/// A notification config: how a tenant reaches people on one channel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ConfigRow {
    pub(crate) pk: String,
    pub(crate) sk: String,
    pub(crate) lock: i64,
    pub(crate) id: ConfigId,
    pub(crate) name: String,
    pub(crate) channel: Channel,
    /// What may be shown, as JSON.
    pub(crate) open: String,
    /// Secret fields by their path, each sealed for the config's id.
    pub(crate) sealed: BTreeMap<String, Sealed>,
    pub(crate) status: ConfigStatus,
    /// Why it is in error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    pub(crate) is_default: bool,
    pub(crate) allow_override: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// What the signals table keeps sealed.
pub const SEALED: &[SealedColumn] = &[
    SealedColumn { attribute: "sealed", shape: Shape::Map, context: |row| text(row, "id"), lock: Some("lock") },
    idempotency::SEALED_RESPONSE,
];

impl ConfigRow {
    /// A config that holds nothing yet.
    pub(crate) fn new(tenant: &TenantId, id: &ConfigId, channel: Channel, now: Timestamp) -> Self {
        let Key { pk, sk } = config_key(tenant, id);
        Self {
            pk,
            sk,
            lock: 1,
            id: id.clone(),
            name: String::new(),
            channel,
            open: "{}".to_owned(),
            sealed: BTreeMap::new(),
            status: ConfigStatus::Active,
            reason: None,
            is_default: false,
            allow_override: true,
            created_at: now,
            updated_at: now,
        }
    }
}

/// The health of a webhook's config; a webhook that never failed has none.
#[derive(Deserialize)]
struct HealthRow {
    #[serde(flatten)]
    circuit: Circuit,
}

/// A record outlives the last change of it by this, in seconds: it is of no use to a config that is gone.
const HEALTH_KEPT_S: i64 = 30 * 86_400;

fn health_key(tenant: &TenantId, id: &ConfigId) -> Key {
    Key { pk: tenant_partition(tenant), sk: format!("HEALTH#{id}") }
}

fn config_key(tenant: &TenantId, id: &ConfigId) -> Key {
    Key { pk: tenant_partition(tenant), sk: format!("NCFG#{id}") }
}

impl SignalsTable {
    /// Writes a config, new or replacing the one of its id that was read; `false` when another change came first.
    pub(crate) async fn put_config(
        &self,
        tenant: &TenantId,
        row: &ConfigRow,
        replaces: Option<&ConfigRow>,
        record: Write,
    ) -> Result<bool, SignalsError> {
        let write = match replaces {
            None => Write::Create(self.table.to_item(row)?),
            Some(before) => {
                let after = ConfigRow { lock: before.lock + 1, ..row.clone() };
                let is_same = Changes::new().only_if("#lock = ?", [before.lock.into_attribute()]);
                Write::PutIf(self.table.to_item(&after)?, is_same)
            }
        };
        // An edited or enabled config starts with a clean record.
        let forgotten = Write::Delete(health_key(tenant, &row.id), Changes::new());
        let writes = vec![write, Self::touch_ruleset(tenant), record, forgotten];
        Ok(matches!(self.table.transact(writes).await?, Transact::Done))
    }

    /// Removes a config as it was read; `false` when another change came first.
    pub(crate) async fn remove_config(
        &self,
        tenant: &TenantId,
        row: &ConfigRow,
        record: Write,
    ) -> Result<bool, SignalsError> {
        let is_same = Changes::new().only_if("#lock = ?", [row.lock.into_attribute()]);
        let writes = vec![Write::Delete(config_key(tenant, &row.id), is_same), Self::touch_ruleset(tenant), record];
        Ok(matches!(self.table.transact(writes).await?, Transact::Done))
    }

    pub(crate) async fn config(&self, tenant: &TenantId, id: &ConfigId) -> Result<Option<ConfigRow>, SignalsError> {
        self.get(&config_key(tenant, id)).await
    }

    pub(crate) async fn configs(&self, tenant: &TenantId) -> Result<Vec<ConfigRow>, SignalsError> {
        let items = self.table.rows(&tenant_partition(tenant), "NCFG#").await?;
        Ok(items.into_iter().map(|item| self.table.read(item)).collect::<Result<_, _>>()?)
    }

    /// How a webhook answered until now.
    pub(crate) async fn circuit(&self, tenant: &TenantId, config: &ConfigId) -> Result<Circuit, SignalsError> {
        let row: Option<HealthRow> = self.get(&health_key(tenant, config)).await?;
        Ok(row.map(|row| row.circuit).unwrap_or_default())
    }

    /// Changes the health of a webhook, on the changes' condition; `None` when that does not hold.
    pub(crate) async fn change_circuit(
        &self,
        tenant: &TenantId,
        config: &ConfigId,
        changes: Changes,
        now: Timestamp,
    ) -> Result<Option<Circuit>, SignalsError> {
        let changes = changes.set("expires_at", now.as_second() + HEALTH_KEPT_S);
        match self.table.update(&health_key(tenant, config), changes).await? {
            Update::Applied(item) => Ok(Some(self.table.read::<HealthRow>(item)?.circuit)),
            Update::Refused(_) => Ok(None),
        }
    }

    /// Marks an active config, as it was read, as refused by its provider. One that was changed since stays as it is.
    pub(crate) async fn config_failed(
        &self,
        tenant: &TenantId,
        row: &ConfigRow,
        reason: &str,
    ) -> Result<(), SignalsError> {
        let failed = Changes::new()
            .set("status", "error")
            .set("reason", reason)
            .add("lock", 1)
            .only_if("#status = ? AND #lock = ?", ["active".into_attribute(), row.lock.into_attribute()]);
        let writes = vec![Write::Update(config_key(tenant, &row.id), failed), Self::touch_ruleset(tenant)];
        let (Transact::Done | Transact::Refused { .. }) = self.table.transact(writes).await?;
        Ok(())
    }
}

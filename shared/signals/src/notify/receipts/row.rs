//! Rows of what providers report: deliveries by the provider's id, and suppressions.

use crate::error::SignalsError;
use crate::ids::{DeliveryId, EventId, SuppressionId, TenantId};
use crate::notify::delivery::row::moved;
use crate::notify::delivery::row::{DeliveryRow, DeliveryStatus, delivery_key};
use crate::table::{SignalsTable, tenant_partition};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchyard_core::hex_sha256;
use switchyard_core::iso_millis;
use switchyard_io::dynamo::{Changes, IntoAttribute as _, Key, Update, Write};
use switchyard_notify::Channel;
use switchyard_notify::recipient::suppression_key;

/// Seconds that a provider's report is waited for.
const KEPT_S: i64 = 35 * 86_400;

/// Which delivery a provider means by its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReceiptRow {
    pk: String,
    sk: String,
    pub(crate) tenant: TenantId,
    pub(crate) event_id: EventId,
    pub(crate) delivery_id: DeliveryId,
    expires_at: i64,
}

/// An address that is not to be written to again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SuppressionRow {
    pk: String,
    sk: String,
    /// Digest of the address.
    pub(crate) id: SuppressionId,
    pub(crate) address: String,
    /// `bounced` or `complained`.
    pub(crate) reason: String,
    pub(crate) at: Timestamp,
}

impl ReceiptRow {
    /// The changes that give its delivery another status.
    fn moved(&self, status: DeliveryStatus, now: Timestamp) -> Changes {
        moved(Changes::new(), &self.tenant, &self.delivery_id, status, now)
    }
}

fn receipt_key(channel: Channel, provider_id: &str) -> Key {
    Key { pk: format!("R#{}", hex_sha256(&[channel.name(), provider_id])), sk: "-".into() }
}

fn suppression_row_key(tenant: &TenantId, id: &SuppressionId) -> Key {
    Key { pk: tenant_partition(tenant), sk: format!("SUP#{id}") }
}

impl SignalsTable {
    /// The write by which a provider's later reports find a delivery, to be made with the one that says it was sent.
    pub(crate) fn receipt(
        &self,
        delivery: &DeliveryRow,
        provider_id: &str,
        now: Timestamp,
    ) -> Result<Write, SignalsError> {
        let Key { pk, sk } = receipt_key(delivery.intent.channel, provider_id);
        let row = ReceiptRow {
            pk,
            sk,
            tenant: delivery.tenant_id(),
            event_id: delivery.event_id(),
            delivery_id: delivery.delivery_id(),
            expires_at: now.as_second() + KEPT_S,
        };
        Ok(Write::Put(self.table.to_item(&row)?))
    }

    pub(crate) async fn receipt_of(
        &self,
        channel: Channel,
        provider_id: &str,
    ) -> Result<Option<ReceiptRow>, SignalsError> {
        self.get(&receipt_key(channel, provider_id)).await
    }

    /// Writes what a provider reports of a delivery that was sent. What was reported before stays: reports come out of order
    /// and again.
    pub(crate) async fn report(
        &self,
        receipt: &ReceiptRow,
        status: DeliveryStatus,
        reason: Option<&str>,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<(), SignalsError> {
        let mut changes = receipt
            .moved(status, now)
            .set("reported_at", at.to_string())
            .only_if("#status = ?", [DeliveryStatus::Sent.name().into_attribute()]);
        if let Some(reason) = reason {
            changes = changes.set("last_error", reason);
        }
        self.change_reported(receipt, changes).await
    }

    /// Writes that a message was read, once.
    pub(crate) async fn report_read(
        &self,
        receipt: &ReceiptRow,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<(), SignalsError> {
        let was_taken = ["sent", "delivered"].map(|status| status.into_attribute());
        let read = receipt
            .moved(DeliveryStatus::Delivered, now)
            .set_once("read_at", at.to_string())
            .only_if("#status IN (?, ?)", was_taken);
        self.change_reported(receipt, read).await
    }

    async fn change_reported(&self, receipt: &ReceiptRow, changes: Changes) -> Result<(), SignalsError> {
        let key = delivery_key(&receipt.tenant, &receipt.event_id, &receipt.delivery_id);
        let (Update::Applied(_) | Update::Refused(_)) = self.table.update(&key, changes).await?;
        Ok(())
    }

    /// Puts an address on a tenant's list.
    pub(crate) async fn suppress(
        &self,
        tenant: &TenantId,
        address: &str,
        reason: &str,
        at: Timestamp,
    ) -> Result<(), SignalsError> {
        let address = suppression_key(address);
        let id = SuppressionId::from(hex_sha256(&[&address]));
        let Key { pk, sk } = suppression_row_key(tenant, &id);
        Ok(self.table.put(&SuppressionRow { pk, sk, id, address, reason: reason.to_owned(), at }).await?)
    }

    /// Whether an address is on a tenant's list.
    pub(crate) async fn is_suppressed(&self, tenant: &TenantId, address: &str) -> Result<bool, SignalsError> {
        let id = SuppressionId::from(hex_sha256(&[&suppression_key(address)]));
        Ok(self.table.get(&suppression_row_key(tenant, &id)).await?.is_some())
    }

    pub(crate) async fn suppressions(&self, tenant: &TenantId) -> Result<Vec<SuppressionRow>, SignalsError> {
        let items = self.table.rows(&tenant_partition(tenant), "SUP#").await?;
        Ok(items.into_iter().map(|item| self.table.read(item)).collect::<Result<_, _>>()?)
    }

    /// Takes an address off a tenant's list, with the record of that; `false` when it is not on it.
    pub(crate) async fn unsuppress(
        &self,
        tenant: &TenantId,
        id: &SuppressionId,
        record: Write,
    ) -> Result<bool, SignalsError> {
        let is_there = Changes::new().only_if("attribute_exists(#pk)", []);
        let writes = vec![Write::Delete(suppression_row_key(tenant, id), is_there), record];
        Ok(matches!(self.table.transact(writes).await?, switchyard_io::dynamo::Transact::Done))
    }
}

/// An address that messages are not sent to.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "Suppression")]
#[serde(rename_all = "camelCase")]
pub struct SuppressionView {
    /// The suppression's id.
    pub id: String,
    /// The address.
    pub address: String,
    /// Why, such as `bounce`.
    pub reason: String,
    /// RFC 3339.
    pub created_at: String,
}

impl SuppressionView {
    pub(crate) fn of(row: &SuppressionRow) -> Self {
        Self {
            id: row.id.to_string(),
            address: row.address.clone(),
            reason: row.reason.clone(),
            created_at: iso_millis(row.at),
        }
    }
}

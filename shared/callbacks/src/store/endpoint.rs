//! Endpoints: their rows, how many there are for each event, and the pace of each.

use super::CallbacksTable;
use crate::error::CallbacksError;
use crate::model::{EndpointId, NewEndpoint, RetryPolicy};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_core::{OrganizationId, hex_sha256};
use switchyard_io::dynamo::{AttributeValue, Changes, IntoAttribute, Key, Transact, Update, Write};
use switchyard_io::reseal::{SealedColumn, Shape, text};
use switchyard_io::vault::Sealed;
use switchyard_work::circuit::Circuit;
use switchyard_work::pace;

/// A signing secret; one that was rotated signs until its time is over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SigningSecret {
    /// Sealed for the endpoint's id.
    secret: Sealed,
    /// Epoch milliseconds; absent for the current secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<i64>,
}

impl SigningSecret {
    pub(crate) fn new(secret: Sealed) -> Self {
        Self { secret, until: None }
    }

    pub(crate) fn sealed(&self) -> &Sealed {
        &self.secret
    }

    /// Makes the secret sign until the given time only.
    pub(crate) fn ending(self, until: i64) -> Self {
        Self { until: Some(until), ..self }
    }

    pub(crate) fn signs_at(&self, now_ms: i64) -> bool {
        self.until.is_none_or(|until| now_ms < until)
    }
}

/// The sealed columns of the callbacks table.
pub const SEALED: &[SealedColumn] = &[SealedColumn {
    attribute: "secrets",
    shape: Shape::ListOf("secret"),
    context: |row| text(row, "id"),
    lock: None,
}];

/// An endpoint's row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EndpointRow {
    pub(super) pk: String,
    pub(super) sk: String,
    pub(crate) id: EndpointId,
    pub(crate) organization_id: OrganizationId,
    pub(crate) event: String,
    /// Byte for byte as it was registered.
    pub(crate) target_url: String,
    pub(crate) is_active: bool,
    /// Newest first.
    pub(crate) secrets: Vec<SigningSecret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rate_per_second: Option<u32>,
    #[serde(default)]
    pub(crate) retry_policy: RetryPolicy,
    #[serde(flatten)]
    pub(crate) circuit: Circuit,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) disabled_reason: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

impl EndpointRow {
    pub(crate) fn new(id: EndpointId, new: &NewEndpoint, secret: Sealed, now: Timestamp) -> Self {
        let Key { pk, sk } = endpoint_key(new);
        Self {
            pk,
            sk,
            id,
            organization_id: new.organization_id.clone(),
            event: new.event.clone(),
            target_url: new.target_url.clone(),
            is_active: true,
            secrets: vec![SigningSecret::new(secret)],
            timeout_ms: None,
            rate_per_second: None,
            retry_policy: RetryPolicy::default(),
            circuit: Circuit::default(),
            disabled_reason: None,
            created_at: now,
            updated_at: now,
        }
    }

    fn key(&self) -> Key {
        Key { pk: self.pk.clone(), sk: self.sk.clone() }
    }
}

#[derive(Serialize, Deserialize)]
struct LookupRow {
    pk: String,
    sk: String,
    endpoint_pk_of: String,
    endpoint_sk_of: String,
}

fn organization_partition(organization_id: &OrganizationId) -> String {
    format!("O#{organization_id}")
}

fn endpoint_key(new: &NewEndpoint) -> Key {
    let sk = format!("W#{}#{}", new.event, hex_sha256(&[&new.target_url]));
    Key { pk: organization_partition(&new.organization_id), sk }
}

fn lookup_key(endpoint_id: &EndpointId) -> Key {
    Key { pk: format!("W#{endpoint_id}"), sk: "META".into() }
}

/// The row that counts the organization's endpoints for one event.
fn count_key(endpoint: &EndpointRow) -> Key {
    Key { pk: endpoint.pk.clone(), sk: format!("N#{}", endpoint.event) }
}

fn pace_key(endpoint_id: &EndpointId) -> Key {
    Key { pk: format!("W#{endpoint_id}"), sk: "PACE".into() }
}

/// Outcome of [`CallbacksTable::add_endpoint`].
pub(crate) enum EndpointAdded {
    /// The endpoint is new.
    Created,
    /// An endpoint with the same three values exists.
    Exists(Box<EndpointRow>),
    /// The organization has too many endpoints for the event.
    LimitReached,
}

impl CallbacksTable {
    /// The organization's endpoints, for one event or for all.
    pub(crate) async fn endpoints(
        &self,
        organization_id: &OrganizationId,
        event: Option<&str>,
    ) -> Result<Vec<EndpointRow>, CallbacksError> {
        let prefix = event.map_or_else(|| "W#".to_owned(), |event| format!("W#{event}#"));
        let items = self.table.rows(&organization_partition(organization_id), &prefix).await?;
        Ok(items.into_iter().map(|item| self.table.read(item)).collect::<Result<_, _>>()?)
    }

    /// Adds an endpoint, unless it exists or its organization has `limit` of them for the event.
    pub(crate) async fn add_endpoint(&self, row: &EndpointRow, limit: i64) -> Result<EndpointAdded, CallbacksError> {
        let Key { pk, sk } = lookup_key(&row.id);
        let lookup = LookupRow { pk, sk, endpoint_pk_of: row.pk.clone(), endpoint_sk_of: row.sk.clone() };
        let one_more = Changes::new()
            .add("endpoints", 1)
            .only_if("attribute_not_exists(#endpoints) OR #endpoints < ?", [limit.into_attribute()]);
        let writes = vec![
            Write::Create(self.table.to_item(row)?),
            Write::Create(self.table.to_item(&lookup)?),
            Write::Update(count_key(row), one_more),
        ];
        Ok(match self.table.transact(writes).await? {
            Transact::Done => EndpointAdded::Created,
            Transact::Refused { index: 0, row: Some(known) } => {
                EndpointAdded::Exists(Box::new(self.table.read(known)?))
            }
            Transact::Refused { .. } => EndpointAdded::LimitReached,
        })
    }

    pub(crate) async fn endpoint(&self, endpoint_id: &EndpointId) -> Result<Option<EndpointRow>, CallbacksError> {
        let Some(item) = self.table.get(&lookup_key(endpoint_id)).await? else { return Ok(None) };
        let lookup: LookupRow = self.table.read(item)?;
        self.endpoint_at(&Key { pk: lookup.endpoint_pk_of, sk: lookup.endpoint_sk_of }).await
    }

    pub(crate) async fn endpoint_at(&self, key: &Key) -> Result<Option<EndpointRow>, CallbacksError> {
        let item = self.table.get(key).await?;
        Ok(item.map(|item| self.table.read(item)).transpose()?)
    }

    /// Changes an endpoint. Returns `None` when it was removed, when another endpoint is registered under its key, or when
    /// the condition of `changes` does not hold.
    pub(crate) async fn change_endpoint(
        &self,
        endpoint: &EndpointRow,
        changes: Changes,
    ) -> Result<Option<EndpointRow>, CallbacksError> {
        match self.table.update(&endpoint.key(), if_same_endpoint(changes, endpoint)).await? {
            Update::Applied(item) => Ok(Some(self.table.read(item)?)),
            Update::Refused(_) => Ok(None),
        }
    }

    /// The secrets as the table stores them.
    pub(crate) fn secrets(&self, secrets: &[SigningSecret]) -> Result<AttributeValue, CallbacksError> {
        #[derive(Serialize)]
        struct Column<'a> {
            secrets: &'a [SigningSecret],
        }
        let mut item = self.table.to_item(&Column { secrets })?;
        Ok(item.remove("secrets").unwrap_or(AttributeValue::Null(true)))
    }

    /// The policy as the table stores it.
    pub(crate) fn policy(&self, policy: &RetryPolicy) -> Result<AttributeValue, CallbacksError> {
        #[derive(Serialize)]
        struct Column<'a> {
            policy: &'a RetryPolicy,
        }
        let mut item = self.table.to_item(&Column { policy })?;
        Ok(item.remove("policy").unwrap_or(AttributeValue::Null(true)))
    }

    pub(crate) async fn remove_endpoint(&self, endpoint: &EndpointRow) -> Result<(), CallbacksError> {
        let writes = vec![
            Write::Delete(endpoint.key(), if_same_endpoint(Changes::new(), endpoint)),
            Write::Delete(lookup_key(&endpoint.id), Changes::new()),
            Write::Delete(pace_key(&endpoint.id), Changes::new()),
            Write::Update(count_key(endpoint), Changes::new().add("endpoints", -1)),
        ];
        self.table.transact(writes).await?;
        Ok(())
    }

    /// Reserves the endpoint's next free slot at `rate` requests a second. Returns the slot's time, or `None` when that is
    /// beyond `horizon`.
    pub(crate) async fn reserve(
        &self,
        endpoint_id: &EndpointId,
        rate: u32,
        now_ms: i64,
        horizon: Duration,
    ) -> Result<Option<i64>, CallbacksError> {
        let step = Duration::from_secs(1) / rate.max(1);
        Ok(pace::reserve(&self.table, &pace_key(endpoint_id), step, now_ms, horizon, &Changes::new()).await?)
    }
}

/// Adds the condition that the row is still this endpoint's, and not of one registered later at its address.
fn if_same_endpoint(changes: Changes, endpoint: &EndpointRow) -> Changes {
    changes.only_if("#id = ?", [endpoint.id.as_str().into_attribute()])
}
